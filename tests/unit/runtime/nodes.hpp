// Real nodes on loopback for tests of the public API.
#pragma once

#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "coterie/coterie.hpp"
#include "support/temporary_directory.hpp"

namespace coterie::test {

using namespace std::chrono_literals;

inline constexpr auto patience = 20s;  ///< for things that take milliseconds on an idle machine

/// A few values that one thread says and another waits for.
template <class T>
class mailbox {
 public:
  void put(T v) {
    const std::scoped_lock lock(mutex_);
    list_.push_back(std::move(v));
    changed_.notify_all();
  }
  /// Throws when it does not come.
  T take() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, patience, [&] { return !list_.empty(); })) throw std::runtime_error("nothing came");
    T v = std::move(list_.front());
    list_.pop_front();
    return v;
  }
  std::size_t size() const {
    const std::scoped_lock lock(mutex_);
    return list_.size();
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<T> list_;
};

inline node start_node(const std::string& name, const std::filesystem::path& home, std::vector<std::string> seeds,
                       node_options o = {}) {
  o.name = name;
  o.seeds = std::move(seeds);
  if (o.bind.empty()) o.bind = "127.0.0.1:0";
  o.local_home = home / name;
  o.session_ttl = 1s;
  o.bootstrap_single = o.seeds.empty();
  return node::start(std::move(o));
}

/// A cluster of one, ready.
struct one_node {
  temporary_directory home;
  node n;
  explicit one_node(node_options o = {}) : n(start_node("a", home, {}, std::move(o))) {
    if (!n.wait_ready(patience)) throw std::runtime_error("the node is not ready");
  }
};

/// A cluster of three, ready, known to each other.
struct three_nodes {
  temporary_directory home;
  std::vector<node> list;
  three_nodes() {
    // Founders know each other's addresses before they start: all of 127.0.0.0/8 is this machine.
    std::random_device random;
    const auto net = "127." + std::to_string(random() % 250 + 1) + "." + std::to_string(random() % 250 + 1) + ".";
    const std::vector<std::string> seeds{net + "1", net + "2", net + "3"};
    for (std::size_t i = 0; i < 3; ++i)
      list.push_back(start_node({static_cast<char>('a' + i)}, home, seeds, {.bind = seeds[i]}));
    const auto until = std::chrono::steady_clock::now() + patience;
    for (auto& n : list) {
      if (!n.wait_ready(patience)) throw std::runtime_error(n.name() + " is not ready");
      for (;;) {
        const auto all = n.members();
        const auto alive = std::count_if(all.begin(), all.end(), [](const auto& m) { return m.state == "alive"; });
        if (alive == 3) break;
        if (std::chrono::steady_clock::now() > until) throw std::runtime_error(n.name() + " does not see all members");
        std::this_thread::yield();
      }
    }
  }
  node& operator[](std::size_t i) { return list[i]; }
};

/// Asks again and again, for states that another node reaches in its own time.
template <class F>
bool eventually(F f) {
  const auto until = std::chrono::steady_clock::now() + patience;
  while (!f()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

inline std::error_code code_of(const auto& f) {
  try {
    f();
  } catch (const error& e) {
    return e.code();
  }
  return {};
}

}  // namespace coterie::test
