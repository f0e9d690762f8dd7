// A small cluster of real node processes on loopback that demonstrates what coterie does. Everything that is shown
// comes from the nodes, over their control sockets; this process is only their client. Leaves nothing behind.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <set>

#include <poll.h>

#include <fmt/format.h>

#include "commands.hpp"
#include "local_cluster.hpp"
#include "output.hpp"

namespace coterie::command {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

const std::string job = "demo.tick", lock = "demo.turn", news = "demo.news", cache = "demo.names";

/// One node, and our conversation with it.
struct dev_node {
  const local_node* process = nullptr;
  const std::string& name() const { return process->name; }
  std::optional<client> talk;
  // Calls by number; zero = none.
  std::uint64_t events = 0, runner = 0, cached = 0, watching = 0, turn = 0, batch = 0, members = 0, status = 0,
                jobs = 0, append = 0, adding = 0, locks = 0;
  clock::time_point retry{}, release{};
  std::uint64_t fence = 0, processed = 0, cursor = 0;
  bool ready_news = false;
};

/// What the last answers said.
struct shown {
  wire::member_list members;
  wire::status_info status;
  std::string owner, last, next, holder, invalidated;
  std::uint64_t fence = 0, entries = 0;
  std::uint32_t waiting = 0;
};

class show_case {
 public:
  show_case(const common& c, const dev_options& o)
      : common_(c), opt_(o), signals_({SIGINT, SIGTERM, SIGHUP, SIGCHLD}) {}
  ~show_case() {
    for (auto& n : nodes_) n.talk.reset();
    cluster_.end(&signals_);
  }

  int run() {
    start_nodes();
    const auto until = clock::now() + 60s;
    auto draw = clock::now();
    while (!asked_to_end_) {
      wait();
      for (auto& n : nodes_) talk(n);
      tick();
      if (clock::now() >= draw && stdout_is_terminal() && !opt_.once) {
        draw = clock::now() + 500ms;
        print_text(screen());
      }
      if (opt_.once && missing().empty()) {
        line("all four were observed on another node");
        return ok;
      }
      if (opt_.once && clock::now() >= until)
        throw command_error(failed, fmt::format("within 60 s these were not observed on another node: {}", missing()));
      if (std::ranges::all_of(cluster_.nodes(), &local_node::gone))
        throw command_error(failed, "all nodes have ended" + cluster_.last_log(cluster_.nodes().front()));
    }
    return opt_.once ? failed : ok;
  }

 private:
  void start_nodes() {
    cluster_.start();
    std::string text = fmt::format("starting {} nodes on loopback ", opt_.nodes);
    for (const auto& n : cluster_.nodes()) {
      nodes_.emplace_back().process = &n;
      text += fmt::format("  {} pid {}", n.name, n.pid);
    }
    print_text(text + "\n");
  }

  void wait() {
    std::vector<pollfd> p{{signals_.fd(), POLLIN, 0}};
    for (const auto& n : nodes_)
      if (n.talk) p.push_back({n.talk->fd(), POLLIN, 0});
    ::poll(p.data(), p.size(), 100);
    while (const int s = signals_.next()) asked_to_end_ |= s != SIGCHLD;
    for (const auto* ended : cluster_.reap()) {
      std::ranges::find(nodes_, ended, &dev_node::process)->talk.reset();
      line(fmt::format("node {} (pid {}) has ended", ended->name, ended->pid));
    }
  }

  void talk(dev_node& n) {
    try {
      while (n.talk)
        if (auto a = n.talk->poll())
          hear(n, *a);
        else
          break;
    } catch (const command_error&) {
      forget(n);
    }
  }

  void forget(dev_node& n) {
    dev_node fresh;
    fresh.process = n.process;
    fresh.processed = n.processed;
    n = std::move(fresh);
  }

  /// What each node is asked for, and again when it refused.
  void connect(dev_node& n) {
    if (n.process->gone || clock::now() < n.retry) return;
    n.retry = clock::now() + 300ms;
    try {
      if (!n.talk) n.talk.emplace(n.process->socket());
      auto& t = *n.talk;
      if (n.events == 0) n.events = t.send(wire::follow_events{0, true});
      if (n.runner == 0) n.runner = t.send(wire::add_runner{job});
      if (n.cached == 0) n.cached = t.send(wire::register_cache{cache, false});
      if (n.watching == 0) n.watching = t.send(wire::watch_journal{news});
      if (n.turn == 0) n.turn = t.send(wire::acquire_lock{lock, "dev", {}});
      if (n.members == 0) n.members = t.send(wire::get_members{});
      if (n.status == 0) n.status = t.send(wire::get_status{});
      if (n.ready_news && n.batch == 0) {
        n.ready_news = false;
        n.batch = t.send(wire::begin_process{news, 100});
      }
    } catch (const command_error&) {  // not there yet, or not any more
      if (n.talk) forget(n);
    }
  }

  void tick() {
    for (auto& n : nodes_) {
      connect(n);
      if (n.talk && n.fence != 0 && clock::now() >= n.release) {
        n.talk->send(wire::release_lock{lock, std::exchange(n.fence, 0)});
        n.release = clock::time_point::max();
      }
    }
    if (clock::now() < next_round_) return;
    next_round_ = clock::now() + 1s;
    std::vector<dev_node*> up;
    for (auto& n : nodes_)
      if (n.talk) up.push_back(&n);
    if (up.empty() || !formed_) return;
    ++round_;
    auto& n = *up[round_ % up.size()];
    try {
      if (!job_added_ && n.adding == 0) {
        machine::schedule_job j;
        j.id = job;
        j.config.runner = job;
        j.config.when.emplace<1>();
        std::get<1>(j.config.when).every = 2s;
        n.adding = n.talk->send(wire::add_job{std::move(j)});
      }
      if (n.jobs == 0) n.jobs = n.talk->send(wire::list_jobs{job, ""});
      if (n.locks == 0) n.locks = n.talk->send(wire::list_locks{lock});
      if (round_ % 3 == 0 && n.append == 0)
        n.append =
            n.talk->send(wire::append_journal{news, "", {{"tick", fmt::format("news {} from {}", round_, n.name())}}});
      if (round_ % 3 == 1) invalidate(n);
    } catch (const command_error&) {
      forget(n);
    }
  }

  void invalidate(dev_node& n) {
    invalidating_ = {n.name(), clock::now(), {}};
    n.talk->send(wire::invalidate_cache{cache, fmt::format("name-{}", round_), false, 0});
  }

  // ---- answers

  void hear(dev_node& n, const client::answer& a) {
    if (const auto* f = std::get_if<failure>(&a.what)) return refused(n, a.call, *f);
    if (const auto* e = std::get_if<wire::event_out>(&a.what)) return on_event(n, *e);
    if (const auto* m = std::get_if<wire::member_list>(&a.what)) {
      n.members = 0;
      if (first_up() == &n) shown_.members = *m;
    } else if (const auto* s = std::get_if<wire::status_info>(&a.what)) {
      n.status = 0;
      if (first_up() == &n) on_status(*s);
    } else if (const auto* r = std::get_if<wire::run_job>(&a.what)) {
      machine::finish_run f{r->run.job, r->run.fence, machine::outcome::success, "tick on " + n.name(), wall_now(), {}};
      n.talk->send(wire::finish_job{std::move(f)});
    } else if (const auto* g = std::get_if<wire::lock_granted>(&a.what)) {
      n.fence = g->fence;
      n.release = clock::now() + 2s;
    } else if (const auto* l = std::get_if<wire::job_list>(&a.what)) {
      n.jobs = 0;
      if (!l->jobs.empty()) {
        shown_.owner = l->jobs.front().owner;
        shown_.next = l->jobs.front().job.next ? clock_of(*l->jobs.front().job.next) : "-";
      }
    } else if (const auto* k = std::get_if<wire::lock_list>(&a.what)) {
      n.locks = 0;
      if (!k->locks.empty()) shown_.waiting = k->locks.front().waiters;
    } else if (const auto* i = std::get_if<wire::invalidation_out>(&a.what)) {
      on_invalidation(n, *i);
    } else if (std::holds_alternative<wire::job_added>(a.what)) {
      job_added_ = true;
      n.adding = 0;
    } else if (const auto* x = std::get_if<wire::appended>(&a.what)) {
      n.append = 0;
      for (const auto id : x->ids) appended_by_[id] = n.name();
    } else if (std::holds_alternative<wire::journal_ready>(a.what)) {
      n.ready_news = true;
      n.retry = {};
    } else if (const auto* e = std::get_if<wire::entries>(&a.what); e != nullptr && a.call == n.batch) {
      on_entries(n, *e);
      if (a.last) n.batch = 0;
    } else if (std::holds_alternative<wire::done>(a.what) && a.last) {
      if (a.call == n.batch) n.batch = 0, n.retry = {};
      if (a.call == n.turn) n.turn = 0;
    }
  }

  void refused(dev_node& n, std::uint64_t call, const failure& f) {
    for (auto* c : {&n.events, &n.runner, &n.cached, &n.watching, &n.turn, &n.batch, &n.members, &n.status, &n.jobs,
                    &n.append, &n.adding, &n.locks})
      if (*c == call) *c = 0;
    if (call == n.turn) n.fence = 0;
    if (f.code == errc::retention_gap) n.ready_news = true;
  }

  void on_status(const wire::status_info& s) {
    if (!formed_ && s.ready) {
      formed_ = true;
      line(fmt::format("formed: cluster {}, leader {}", s.id.short_str(), s.leader));
    }
    if (formed_ && !s.leader.empty() && s.leader != shown_.status.leader && !shown_.status.leader.empty())
      line(fmt::format("leader is {} (term {})", s.leader, s.term));
    shown_.status = s;
  }

  void on_event(const dev_node& n, const wire::event_out& e) {
    const auto field = [&](const char* k) {
      const auto i = e.fields.find(k);
      return i == e.fields.end() ? std::string() : i->second;
    };
    const bool first = first_up() == &n;
    if (e.kind == "job.finished" && field("job") == job) {
      if (field("outcome") == "success" && field("node") != n.name()) seen_.insert("job");
      if (!first) return;
      shown_.last =
          fmt::format("{} {} {} ms", clock_of(e.time), field("outcome") == "success" ? "ok" : field("outcome"),
                      field("took_ms").empty() ? "0" : field("took_ms"));
      line(fmt::format("job      {}  {} on {}, seen by {}", job, field("outcome"), field("node"), n.name()));
    } else if (e.kind == "lock.granted" && field("lock") == lock) {
      if (field("node") != n.name()) seen_.insert("lock");
      if (!first) return;
      shown_.holder = field("node");
      shown_.fence = std::strtoull(field("fence").c_str(), nullptr, 10);
      line(fmt::format("lock     {}  {} has it, fence {}, seen by {}", lock, field("node"), field("fence"), n.name()));
    } else if (first && (e.kind == "member.unreachable" || e.kind == "member.alive")) {
      line(fmt::format("member   {} is {}", field("node"), e.kind.substr(7)));
    }
  }

  void on_entries(dev_node& n, const wire::entries& e) {
    if (e.list.empty()) return;
    n.processed += e.list.size();
    for (const auto& x : e.list) {
      const auto by = appended_by_.find(x.id);
      const std::string from = by == appended_by_.end() ? x.message.substr(x.message.size() - 1) : by->second;
      if (from != n.name()) seen_.insert("journal");
      line(fmt::format("journal  {}  {} processed \"{}\"", news, n.name(), x.message));
      shown_.entries = std::max(shown_.entries, n.processed);
    }
    n.talk->send(wire::end_process{news, e.token, e.list.back().id});
  }

  void on_invalidation(const dev_node& n, const wire::invalidation_out& i) {
    if (!i.remote || !i.key || i.origin != invalidating_.from) return;
    const auto us = std::chrono::duration<double, std::milli>(clock::now() - invalidating_.at).count();
    seen_.insert("invalidation");
    invalidating_.gone +=
        fmt::format(", {}on {} in {:.1f} ms", invalidating_.gone.empty() ? "gone " : "", n.name(), us);
    shown_.invalidated = fmt::format("invalidated on {}{}", invalidating_.from, invalidating_.gone);
    line(fmt::format("cache    {}  {} invalidated on {}, gone on {} in {:.1f} ms", cache, *i.key, i.origin, n.name(),
                     us));
  }

  // ---- what people see

  const dev_node* first_up() const {
    for (const auto& n : nodes_)
      if (n.talk) return &n;
    return nullptr;
  }

  /// A line of the story; on a terminal the table tells it.
  void line(const std::string& s) const {
    if (!stdout_is_terminal() || opt_.once) print_text(fmt::format("{} {}\n", clock_of(wall_now()), s));
  }

  std::string missing() const {
    std::string r;
    for (const auto* what : {"job", "lock", "journal", "invalidation"})
      if (!seen_.contains(what)) r += (r.empty() ? "" : ", ") + std::string(what);
    return r;
  }

  std::string screen() const {
    const auto& s = shown_.status;
    std::string r = fmt::format("\x1b[H\x1b[2J{}   cluster {}   view {}   leader {}   term {}\n",
                                paint(colour::bold, "coterie dev"), s.id ? s.id.short_str() : "forming", s.view,
                                s.leader.empty() ? "none" : s.leader, s.term);
    table t({"NODE", "PID", "ADDRESS", "STATE", "ROLE", "LOG", "RTT", "SINCE"});
    const auto now = wall_now();
    for (const auto& m : shown_.members.members) {
      const auto n = std::find_if(nodes_.begin(), nodes_.end(), [&](const auto& x) { return x.name() == m.name; });
      t.add({m.name, n == nodes_.end() ? "-" : fmt::format("{}", n->process->pid), m.at.str(),
             paint(colour_of(m.state), m.state), m.role,
             m.log == 0 ? "-" : fmt::format("{}{}", m.log, m.leader ? " *" : ""),
             m.rtt_ms ? fmt::format("{:.2f} ms", *m.rtt_ms) : "-",
             m.since == wall_time() ? "-" : human(now - m.since)});
    }
    r += t.text() + "\n";
    std::string counts;
    for (const auto& n : nodes_) counts += fmt::format("  {} {}", n.name(), n.processed);
    r += fmt::format("job      {:<11} every 2 s   owner {}   last {}   next {}\n", job, shown_.owner, shown_.last,
                     shown_.next);
    r += fmt::format("lock     {:<11} holder {}   fence {}   {} waiting\n", lock, shown_.holder, shown_.fence,
                     shown_.waiting);
    r += fmt::format("journal  {:<11} {} entries {}\n", news, shown_.entries, counts);
    r += fmt::format("cache    {:<11} {}\n\n", cache, shown_.invalidated);
    const auto& all = cluster_.nodes();
    const auto victim = std::find_if(all.rbegin(), all.rend(), [](const auto& n) { return !n.gone; });
    if (victim != all.rend())
      r += fmt::format(
          "Try: kill -9 {}        or in another terminal: coterie members --node {}, coterie events --node {}\n",
          victim->pid, all.front().name, all.front().name);
    return r + "Ctrl-C stops and removes everything.\n";
  }

  struct measured {
    std::string from;
    clock::time_point at;
    std::string gone;
  };
  const common& common_;
  const dev_options& opt_;
  local_cluster cluster_{{opt_.nodes, opt_.data, "dev"}};
  signal_queue signals_;
  std::vector<dev_node> nodes_;
  shown shown_;
  measured invalidating_;
  std::map<std::uint64_t, std::string> appended_by_;
  std::set<std::string> seen_;
  clock::time_point next_round_{};
  std::uint64_t round_ = 0;
  bool formed_ = false, job_added_ = false, asked_to_end_ = false;
};

}  // namespace

int dev(const common& c, const dev_options& o) { return show_case(c, o).run(); }

}  // namespace coterie::command
