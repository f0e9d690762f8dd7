// A host as coterie is made for: a search service of three equal nodes. Documents arrive at any node and go into a
// journal, from which each node feeds an index of its own. One node at a time imports the catalogue, under a lock. A
// job counts the documents, on one node each time. Titles come from a database through a cache that all nodes forget
// together.
//
// Here the three nodes are in one process, with a map for the database; in life each is a process on a machine of its
// own. It checks what it has shown and ends with 1 when something is not as promised.
#include <coterie/coterie.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr auto patience = 20s;  // all of it takes a second or two; a busy machine may take longer

/// The one thing outside the cluster: what a real service keeps in a database.
class database {
 public:
  void set(const std::string& id, std::string title) {
    const std::scoped_lock lock(mutex_);
    titles_[id] = std::move(title);
  }
  std::string title(const std::string& id) const {
    const std::scoped_lock lock(mutex_);
    const auto it = titles_.find(id);
    return it == titles_.end() ? std::string() : it->second;
  }
  /// A conditional write: whoever comes with an older fence has lost the lock meanwhile.
  bool import_once(std::uint64_t fence) {
    const std::scoped_lock lock(mutex_);
    if (fence <= fence_) return false;
    fence_ = fence;
    return std::exchange(imported_, true) == false;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::string> titles_;
  std::uint64_t fence_ = 0;
  bool imported_ = false;
};

/// What the job of all nodes has done, by scheduled time.
struct job_log {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<coterie::wall_time, int> runs;
};

class search_node {
 public:
  search_node(coterie::node n, database& db, job_log& log)
      : node_(std::move(n)),
        db_(db),
        documents_(node_.open_journal("search.documents")),
        titles_(node_.caches().get<std::string, std::string>("search.titles",
                                                             [&db](const std::string& id) { return db.title(id); },
                                                             {.max_entries = 10'000, .expire_after_access = 30min})) {
    counting_ = node_.jobs().register_runner("search.count",
                                             [this, &log](const coterie::job_run& run) { return count(run, log); });
    ready_ = documents_.on_ready([this] { wake(); });
    indexer_ = std::jthread([this](std::stop_token stop) { keep_index(stop); });
  }

  coterie::node& node() { return node_; }

  /// Durable on a majority when it returns; every node has it in its index soon after.
  void add(const std::string& id, const std::string& text) { documents_.enqueue(id, text, "doc-" + id); }

  std::set<std::string> find(const std::string& word) const {
    const std::scoped_lock lock(mutex_);
    const auto it = index_.find(word);
    return it == index_.end() ? std::set<std::string>() : it->second;
  }

  std::string title(const std::string& id) { return *titles_.get(id); }
  void rename(const std::string& id, const std::string& title) {
    db_.set(id, title);
    titles_.remove(id);  // after the commit; all nodes forget it
  }

  /// On all nodes at once, and yet done by one.
  bool import_catalogue() {
    auto only_one = node_.locks().get("search.import");
    const std::scoped_lock lock(only_one);
    if (!db_.import_once(only_one.fence())) return false;
    for (int i = 0; i < 5 && !only_one.lost().stop_requested(); ++i)
      add("book" + std::to_string(i), "old book " + std::to_string(i));
    return true;
  }

 private:
  void wake() {
    {
      const std::scoped_lock lock(mutex_);
      more_ = true;
    }
    wake_.notify_one();
  }

  // Callbacks say when; this thread does the work, in batches, each of them once (or again after a crash).
  void keep_index(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      {
        std::unique_lock lock(mutex_);
        if (!wake_.wait(lock, stop, [&] { return more_; })) return;
        more_ = false;
      }
      std::error_code ec;
      while (documents_.process(
                 100, [this](auto batch) { return index(batch); }, ec) > 0) {
      }
      if (ec == coterie::errc::closed) return;
      if (ec) wake();  // such as a gap: go on where the journal goes on
    }
  }

  coterie::processed index(std::span<const coterie::journal_entry> batch) {
    const std::scoped_lock lock(mutex_);
    for (const auto& e : batch) {
      std::istringstream words(e.message);
      for (std::string word; words >> word;) index_[word].insert(e.type);
    }
    return coterie::processed::all();
  }

  coterie::job_result count(const coterie::job_run& run, job_log& log) {
    {
      const std::scoped_lock lock(log.mutex);
      ++log.runs[run.scheduled];
    }
    log.changed.notify_all();
    return coterie::job_result::success(std::to_string(documents_.size()) + " documents");
  }

  coterie::node node_;
  database& db_;
  coterie::journal documents_;
  coterie::cache<std::string, std::string> titles_;
  coterie::subscription counting_, ready_;
  mutable std::mutex mutex_;
  std::condition_variable_any wake_;
  bool more_ = false;
  std::map<std::string, std::set<std::string>> index_;
  std::jthread indexer_;
};

int failures = 0;
void expect(bool ok, const std::string& what) {
  std::cout << (ok ? "  ok      " : "  FAILED  ") << what << std::endl;
  failures += !ok;
}

template <class F>
bool eventually(F f) {
  for (const auto until = std::chrono::steady_clock::now() + patience; !f();) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(5ms);
  }
  return true;
}

coterie::node start(const std::filesystem::path& home, const std::string& name, const std::string& address,
                    const std::vector<std::string>& seeds) {
  return coterie::node::start(
      {.name = name, .cluster = "search", .seeds = seeds, .bind = address, .local_home = home / name});
}

void show(std::vector<std::unique_ptr<search_node>>& nodes, job_log& log) {
  std::cout << "documents from every node, an index on every node\n";
  nodes[0]->add("a1", "red apple");
  nodes[1]->add("b1", "green apple");
  nodes[2]->add("c1", "red herring");
  for (auto& n : nodes) {
    const auto& name = n->node().name();
    expect(eventually([&] { return n->find("red") == std::set<std::string>{"a1", "c1"}; }), name + " finds red things");
    expect(eventually([&] { return n->find("apple") == std::set<std::string>{"a1", "b1"}; }), name + " finds apples");
  }

  std::cout << "three imports at once, one is done\n";
  std::atomic<int> imports = 0;
  {
    std::vector<std::jthread> threads;
    for (auto& n : nodes) threads.emplace_back([&] { imports += n->import_catalogue(); });
  }
  expect(imports == 1, "one node imported");
  for (auto& n : nodes)
    expect(eventually([&] { return n->find("book").size() == 5; }), n->node().name() + " has the books");

  std::cout << "a title changes on one node, all forget the old one\n";
  for (auto& n : nodes) expect(n->title("a1") == "Apple", n->node().name() + " has the title");
  nodes[1]->rename("a1", "Apple, red");
  expect(nodes[1]->title("a1") == "Apple, red", "the node that changed it sees it at once");
  for (auto& n : nodes)
    expect(eventually([&] { return n->title("a1") == "Apple, red"; }), n->node().name() + " has the new title");

  std::cout << "a job for the whole cluster\n";
  int created = 0;
  for (auto& n : nodes)
    created +=
        n->node().jobs().schedule_job("search.count", {.runner = "search.count", .when = coterie::interval{200ms}});
  expect(created == 1, "scheduled by all, created once");
  {
    std::unique_lock lock(log.mutex);
    expect(log.changed.wait_for(lock, patience, [&] { return log.runs.size() >= 5; }), "it has run five times");
  }
  nodes[2]->node().jobs().unschedule("search.count");
  const std::scoped_lock lock(log.mutex);
  expect(std::all_of(log.runs.begin(), log.runs.end(), [](const auto& r) { return r.second == 1; }),
         "each time on one node");
}

}  // namespace

int main() try {
  // All of 127.0.0.0/8 is this machine: three addresses that nobody else uses, known before the nodes start.
  std::random_device random;
  const auto number = [&] { return std::to_string(random() % 250 + 1); };
  const auto net = "127." + number() + "." + number() + ".";
  const std::vector<std::string> seeds{net + "1", net + "2", net + "3"};
  const auto home = std::filesystem::temp_directory_path() / ("coterie-search-" + net);
  database db;
  db.set("a1", "Apple");
  job_log log;
  {
    std::vector<coterie::node> started;
    for (std::size_t i = 0; i < 3; ++i) started.push_back(start(home, {"abc"[i]}, seeds[i], seeds));
    std::vector<std::unique_ptr<search_node>> nodes;
    for (auto& n : started) {
      if (!n.wait_ready(patience)) throw std::runtime_error(n.name() + " is not ready");
      nodes.push_back(std::make_unique<search_node>(std::move(n), db, log));
    }
    const auto all_here = [&] {
      return std::all_of(nodes.begin(), nodes.end(), [](auto& n) {
        const auto members = n->node().members();
        return std::count_if(members.begin(), members.end(), [](const auto& m) { return m.state == "alive"; }) == 3;
      });
    };
    expect(eventually(all_here), "three nodes know each other");
    show(nodes, log);
  }
  std::filesystem::remove_all(home);
  std::cout << (failures == 0 ? "all as promised" : "something is not as promised") << std::endl;
  return failures == 0 ? 0 : 1;
} catch (const std::exception& e) {
  std::cerr << "search_service: " << e.what() << std::endl;
  return 1;
}
