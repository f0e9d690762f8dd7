// Measures a throw-away cluster of node processes on this machine, three unless it grows, and beside it the floor that
// the machine sets in the same run: a round trip over loopback, and an fdatasync with as many processes at it as there
// are nodes.
#include <algorithm>
#include <atomic>
#include <csignal>
#include <map>
#include <mutex>
#include <thread>

#include <fmt/format.h>

#include "commands.hpp"
#include "coterie/locks.hpp"
#include "coterie/node.hpp"
#include "local_cluster.hpp"
#include "measure.hpp"
#include "output.hpp"

namespace coterie::command {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

constexpr unsigned nodes = 3;
constexpr int kept_batch = 100;
const std::string journal = "bench.append";

struct row {
  std::string what;
  unsigned in_flight = 1;
  double ops_per_s = 0;
  std::vector<double> us;  ///< sorted
  std::optional<double> fsyncs_per_op, cpu_us_per_op, mib_per_s;
};

// ---- the cluster

class subject {
 public:
  /// With `hosted` the first node is in this process.
  explicit subject(const std::string& data, unsigned count = nodes, bool hosted = false)
      : cluster_({.nodes = count, .data = data, .cluster = "bench", .first_port = port_of_this_process()}) {
    for (auto& n : cluster_.nodes())
      if (hosted && !host_)
        host_.emplace(start_here(n));
      else
        cluster_.start(n);
    wait_ready();
  }

  local_cluster& cluster() { return cluster_; }
  node& host() { return *host_; }
  /// One of the nodes, in this process.
  node start_here(const local_node& here) const {
    node_options o;
    for (const auto& n : cluster_.nodes()) o.seeds.push_back(n.address());
    o.name = here.name;
    o.cluster = "bench";
    o.bind = here.address();
    o.local_home = here.home;
    return node::start(std::move(o));
  }
  client talk(const local_node& n) const { return client(n.socket()); }

  /// Until all are members, alive in every view, and ready.
  void wait_ready() {
    const auto until = clock::now() + 60s;
    const auto count = static_cast<std::uint32_t>(cluster_.nodes().size());
    for (const auto& n : cluster_.nodes())
      for (;;) {
        try {
          auto c = talk(n);
          c.ask<wire::member_list>(wire::wait_members{count}, ms(10'000));
          if (c.ask<wire::status_info>(wire::get_status{}, ms(1'000)).ready) break;
        } catch (const command_error&) {  // not yet
        }
        if (clock::now() >= until)
          throw command_error(
              failed, "the nodes did not become a cluster within 60 s" + cluster_.last_log(cluster_.nodes().front()));
        std::this_thread::sleep_for(20ms);
      }
  }

  local_node& leader() {
    const auto until = clock::now() + 20s;
    for (;;) {
      for (auto& n : cluster_.nodes()) {
        try {
          const auto s = talk(n).ask<wire::status_info>(wire::get_status{}, ms(1'000));
          for (auto& l : cluster_.nodes())
            if (l.name == s.leader && s.quorum) return l;
        } catch (const command_error&) {  // the next one
        }
      }
      if (clock::now() >= until) throw command_error(failed, "there is no leader");
      std::this_thread::sleep_for(20ms);
    }
  }
  local_node& follower() {
    const auto& l = leader();
    return *std::ranges::find_if(cluster_.nodes(), [&](const auto& n) { return n.name != l.name && !n.gone; });
  }

  /// Of the node with most of them.
  std::uint64_t fsyncs() {
    std::uint64_t most = 0;
    for (const auto& n : cluster_.nodes()) {
      auto s = talk(n).ask<wire::status_info>(wire::get_status{}, ms(5'000));
      most = std::max(most, s.counters["disk.syncs"]);
    }
    return most;
  }

  /// Processor time of all nodes so far, in seconds.
  double cpu_seconds() {
    double sum = 0;
    for (const auto& n : cluster_.nodes()) sum += command::cpu_seconds(n.pid > 0 ? n.pid : ::getpid());
    return sum;
  }
  /// Waits until it is the leader.
  void lead(const local_node& n) {
    const auto until = clock::now() + 20s;
    while (leader().name != n.name) {
      if (clock::now() >= until) throw command_error(failed, fmt::format("node {} does not become the leader", n.name));
      talk(n).ask(wire::transfer_leadership{n.name}, ms(20'000));
    }
  }

 private:
  local_cluster cluster_;
  std::optional<node> host_;
};

/// One client on one connection that always has so many requests under way, each answered by itself.
template <class Make>
class flow {
 public:
  flow(client c, unsigned in_flight, Make make)
      : client_(std::move(c)), in_flight_(in_flight), make_(std::move(make)) {}

  /// Goes on until `over`, and adds to `us` what each took. Gives what was answered per second.
  template <class Over>
  double run(Over over, std::vector<double>* us) {
    const auto begun = clock::now();
    std::uint64_t done = 0;
    while (!over()) {
      while (pending_.size() < in_flight_) {
        const auto t = clock::now();
        pending_[client_.queue(make_())] = t;
      }
      client_.flush();
      for (auto a = client_.next(in(50ms)); a; a = client_.poll()) {
        if (const auto* f = std::get_if<failure>(&a->what)) raise(*f);
        const auto it = pending_.find(a->call);
        if (it == pending_.end()) continue;
        if (us) us->push_back(us_since(it->second));
        pending_.erase(it);
        ++done;
      }
    }
    return static_cast<double>(done) / (us_since(begun) / 1e6);
  }

 private:
  client client_;
  unsigned in_flight_;
  Make make_;
  std::map<std::uint64_t, clock::time_point> pending_;
};

auto until(clock::time_point t) {
  return [t] { return clock::now() >= t; };
}

/// What `run(over, us)` does, after a fifth of the time that warms up.
template <class Run>
row measure(subject& s, std::string what, unsigned in_flight, ms lasts, Run run) {
  row r{std::move(what), in_flight, 0, {}, {}, {}, {}};
  run(until(clock::now() + lasts / 5), nullptr);
  const auto before = s.fsyncs();
  const auto cpu_before = s.cpu_seconds();
  r.ops_per_s = run(until(clock::now() + lasts), &r.us);
  const auto cpu = s.cpu_seconds() - cpu_before;
  std::ranges::sort(r.us);
  if (!r.us.empty()) {
    const auto ops = static_cast<double>(r.us.size());
    r.fsyncs_per_op = static_cast<double>(s.fsyncs() - before) / ops;
    r.cpu_us_per_op = cpu * 1e6 / ops;
  }
  return r;
}

template <class Make>
row load(subject& s, const local_node& at, std::string what, unsigned in_flight, ms lasts, Make make) {
  flow f(s.talk(at), in_flight, std::move(make));
  return measure(s, std::move(what), in_flight, lasts,
                 [&](auto over, std::vector<double>* us) { return f.run(over, us); });
}

/// The same by a host of a node: so many of its threads call it, each again and again.
template <class Call>
row load_host(subject& s, std::string what, unsigned in_flight, ms lasts, Call call) {
  return measure(s, std::move(what), in_flight, lasts, [&](auto over, std::vector<double>* us) {
    const auto begun = clock::now();
    std::mutex mutex;
    std::uint64_t done = 0;
    std::string failure;
    {
      std::vector<std::jthread> callers;
      for (unsigned i = 0; i < in_flight; ++i)
        callers.emplace_back([&] {
          std::vector<double> mine;
          std::string why;
          try {
            while (!over()) {
              const auto t = clock::now();
              call();
              mine.push_back(us_since(t));
            }
          } catch (const std::runtime_error& e) {
            why = e.what();
          }
          const std::lock_guard lock(mutex);
          done += mine.size();
          if (us) us->insert(us->end(), mine.begin(), mine.end());
          if (!why.empty()) failure = why;
        });
    }
    if (!failure.empty()) throw command_error(failed, "a call of the host failed: " + failure);
    return static_cast<double>(done) / (us_since(begun) / 1e6);
  });
}

wire::request append_of(std::size_t size) {
  return wire::append_journal{journal, "", {{"bench", std::string(size, 'x')}}};
}

/// From the moment that the leader goes until an append that began after it is acknowledged at another node.
row failover(subject& s, const std::string& what, unsigned times, std::size_t size) {
  row r{what, 1, 0, {}, {}, {}, {}};
  for (unsigned i = 0; i < times; ++i) {
    auto& old = s.leader();
    auto& at = s.follower();
    auto c = s.talk(at);
    c.ask(append_of(size), ms(5'000));
    const auto begun = clock::now();
    if (what == "transfer")
      c.send(wire::transfer_leadership{at.name}, ms(10'000));
    else
      s.cluster().signal(old, what == "killed" ? SIGKILL : SIGSTOP);
    for (bool done = false; !done;) {
      const auto call = c.send(append_of(size), ms(10'000));
      for (auto a = c.next(in(ms(12'000))); a; a = c.next(in(ms(12'000))))
        if (a->call == call) {
          done = !std::holds_alternative<failure>(a->what);
          break;
        }
      if (us_since(begun) > 20e6) throw command_error(failed, "no append was acknowledged within 20 s");
    }
    r.us.push_back(us_since(begun));
    if (what == "stopped") s.cluster().signal(old, SIGCONT);
    if (what == "killed") {
      s.cluster().wait_gone(old);
      s.cluster().start(old);
    }
    s.wait_ready();
  }
  std::ranges::sort(r.us);
  return r;
}

/// An empty node joins a cluster with so much state, while clients go on appending; and their latency before.
std::vector<row> catch_up(subject& s, std::size_t mib, const bench_options& o) {
  constexpr std::size_t message = 2'000, messages = 32;  // of one append
  constexpr unsigned in_flight = 8;
  const auto& leader = s.leader();
  std::size_t appended = 0;
  flow(s.talk(leader), 16, [&] {
    appended += message * messages;
    return wire::append_journal{journal, "", {messages, {"bench", std::string(message, 'x')}}};
  }).run([&] { return appended >= mib << 20; }, nullptr);
  std::vector<row> rows;
  rows.push_back(load(s, leader, "append before", in_flight, o.lasts, [&] { return append_of(o.size); }));
  const auto applied = s.talk(leader).ask<wire::status_info>(wire::get_status{}, ms(5'000)).applied;
  auto& joiner = s.cluster().add();
  const auto begun = clock::now();
  s.cluster().start(joiner);
  row all{"catch-up", 1, 0, {}, {}, {}, {}};
  std::atomic<bool> over = false;
  std::thread watch([&] {
    while (!over && us_since(begun) < 600e6) {
      std::this_thread::sleep_for(10ms);
      try {
        const auto status = s.talk(joiner).template ask<wire::status_info>(wire::get_status{}, ms(1'000));
        if (!status.ready || status.applied < applied) continue;
        all.us.push_back(us_since(begun));
        over = true;
      } catch (const command_error&) {  // not yet
      }
    }
    over = true;
  });
  row meanwhile{"append meanwhile", in_flight, 0, {}, {}, {}, {}};
  try {
    meanwhile.ops_per_s = flow(s.talk(leader), in_flight, [&] {
                            return append_of(o.size);
                          }).run([&] { return over.load(); }, &meanwhile.us);
  } catch (...) {
    over = true;
    watch.join();
    throw;
  }
  watch.join();
  if (all.us.empty()) throw command_error(failed, "the empty node did not catch up within 10 minutes");
  std::ranges::sort(meanwhile.us);
  all.mib_per_s = static_cast<double>(mib) / (all.us.front() / 1e6);
  rows.push_back(std::move(meanwhile));
  rows.push_back(std::move(all));
  return rows;
}

/// One append after the other by one client of the first node, however long each takes; told apart by phases.
class writer {
 public:
  writer(client c, std::size_t size) : client_(std::move(c)), size_(size), thread_([this] { run(); }) {}
  ~writer() {
    over_ = true;
    thread_.join();
  }
  /// What was measured since the last phase ended.
  row end_phase(std::string what) {
    const std::lock_guard lock(mutex_);
    if (!error_.empty()) throw command_error(failed, error_);
    row r{std::move(what), 1, 0, std::exchange(us_, {}), {}, {}, {}};
    r.ops_per_s = static_cast<double>(r.us.size()) / (us_since(std::exchange(begun_, clock::now())) / 1e6);
    std::ranges::sort(r.us);
    return r;
  }

 private:
  void run() {
    while (!over_) {
      const auto begun = clock::now();
      try {
        client_.ask(append_of(size_), ms(20'000));
      } catch (const command_error& e) {
        const std::lock_guard lock(mutex_);
        error_ = fmt::format("an append failed: {}", e.what());
        return;
      }
      const std::lock_guard lock(mutex_);
      us_.push_back(us_since(begun));
    }
  }

  client client_;
  const std::size_t size_;
  std::mutex mutex_;
  std::vector<double> us_;
  std::string error_;
  clock::time_point begun_ = clock::now();
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

/// From one voter to three, to five, and back, each time until the configuration has them; meanwhile a client appends.
std::vector<row> grow(subject& s, std::size_t size) {
  auto& first = s.cluster().nodes().front();
  writer w(s.talk(first), size);
  const auto voters = [&](std::size_t wanted) {
    for (const auto until = clock::now() + 120s; clock::now() < until; std::this_thread::sleep_for(50ms)) {
      const auto list = s.talk(first).ask<wire::member_list>(wire::get_members{}, ms(5'000)).members;
      const auto have =
          std::ranges::count_if(list, [](const auto& m) { return m.role == "voter" && m.state != "left"; });
      if (static_cast<std::size_t>(have) == wanted) return;
    }
    throw command_error(failed, fmt::format("there are not {} voters after 120 s", wanted));
  };
  std::vector<row> rows;
  for (const std::size_t wanted : {3, 5}) {
    while (s.cluster().nodes().size() < wanted) s.cluster().start(s.cluster().add());
    voters(wanted);
    rows.push_back(w.end_phase(fmt::format("{} to {} voters", wanted - 2, wanted)));
  }
  for (const std::size_t wanted : {3, 1}) {
    // The last ones go, one of them as the leader.
    auto& leads = s.cluster().nodes()[wanted];
    s.talk(first).ask(wire::transfer_leadership{leads.name}, ms(20'000));
    for (auto* n : {&leads, &s.cluster().nodes()[wanted + 1]}) {
      s.talk(*n).ask(wire::leave_cluster{}, ms(30'000));
      s.cluster().wait_gone(*n);
    }
    voters(wanted);
    rows.push_back(w.end_phase(fmt::format("{} to {} voters", wanted + 2, wanted)));
  }
  return rows;
}

/// By a host: appends where its node leads, reads where it follows.
std::vector<row> by_host(subject& s, const bench_options& o) {
  const bool appends = o.what == "append";
  s.lead(appends ? s.cluster().nodes().front() : s.cluster().nodes().back());
  auto j = s.host().open_journal(journal);
  const std::string message(o.size, 'x');
  std::vector<row> rows;
  for (const auto n : o.in_flight)
    rows.push_back(load_host(s, o.what + " by a host", n, o.lasts, [&] {
      if (appends)
        j.enqueue("bench", message);
      else if (!j.wait_visible(ms(5'000)))
        throw command_error(failed, "a read took longer than 5 s");
    }));
  return rows;
}

/// At a follower; and when a lease is given at the leader as well, both without it and with it.
std::vector<row> read(subject& s, const bench_options& o) {
  std::vector<row> rows;
  const auto measure = [&](const local_node& at, const std::string& what) {
    for (const auto n : o.in_flight)
      rows.push_back(load(s, at, what, n, o.lasts, [] { return wire::request(wire::wait_visible{}); }));
  };
  measure(s.follower(), "read");
  if (!o.read_lease) return rows;
  measure(s.leader(), "read at leader");
  s.talk(s.leader()).ask(wire::set_read_lease{*o.read_lease}, ms(20'000));
  const auto in_force = [&] {
    const auto status = s.talk(s.leader()).ask<wire::status_info>(wire::get_status{}, ms(1'000));
    return ms(status.read_lease_ms) == *o.read_lease;
  };
  for (const auto until = clock::now() + 20s; !in_force(); std::this_thread::sleep_for(50ms))
    if (clock::now() >= until) throw command_error(failed, "the read lease is not in force after 20 s");
  measure(s.follower(), "read, leased");
  measure(s.leader(), "read at leader, leased");
  return rows;
}

/// Takes locks and gives them back until the time is over, each time the one that `name` says; adds to `us` how long
/// each took, with or without the release.
template <class Name>
void take_turns(client c, clock::time_point end, bool with_release, std::vector<double>& us, Name name) {
  while (clock::now() < end) {
    const std::string lock = name();
    const auto begun = clock::now();
    const auto g = c.ask<wire::lock_granted>(wire::acquire_lock{lock, "", std::nullopt}, ms(20'000));
    if (!with_release) us.push_back(us_since(begun));
    c.ask(wire::release_lock{lock, g.fence}, ms(20'000));
    if (with_release) us.push_back(us_since(begun));
  }
}

/// A host with a node of its own in the cluster that takes the same lock again and again; a hundred at a time are
/// timed.
std::vector<double> take_kept(subject& s, ms lasts) {
  auto host = s.start_here(s.cluster().add());
  if (!host.wait_ready(ms(20'000))) throw command_error(failed, "the host's node did not join within 20 s");
  auto m = host.locks().get("bench.kept");
  std::vector<double> us;
  for (const auto end = clock::now() + lasts; clock::now() < end;) {
    const auto begun = clock::now();
    for (int i = 0; i < kept_batch; ++i) std::scoped_lock one(m);
    us.push_back(us_since(begun) / kept_batch);
  }
  host.stop(ms(5'000));
  return us;
}

/// One client by itself at the leader, with locks that its node has not and that it has; several on all nodes that want
/// the same one; and a host.
std::vector<row> take_locks(subject& s, ms lasts, unsigned contenders) {
  constexpr auto same = [] { return "bench"; };
  std::vector<row> rows;
  const auto by_one = [&](const char* what, auto name) {
    row r{what, 1, 0, {}, {}, {}, {}};
    const auto syncs = s.fsyncs();
    take_turns(s.talk(s.leader()), clock::now() + lasts, true, r.us, name);
    if (!r.us.empty()) r.fsyncs_per_op = static_cast<double>(s.fsyncs() - syncs) / static_cast<double>(r.us.size());
    return r;
  };
  auto alone = by_one("lock and release, a new one each", [n = 0]() mutable { return fmt::format("bench.{}", ++n); });
  auto again = by_one("the same, kept by the node", same);
  row contended{"hand-over", contenders, 0, {}, {}, {}, {}};
  std::vector<std::vector<double>> each(contenders);
  std::vector<std::string> errors(contenders);
  std::vector<std::thread> clients;
  const auto end = clock::now() + lasts;
  for (unsigned i = 0; i < contenders; ++i)
    clients.emplace_back([&, i] {
      try {
        take_turns(s.talk(s.cluster().nodes()[i % nodes]), end, false, each[i], same);
      } catch (const command_error& e) {
        errors[i] = e.what();
      }
    });
  for (auto& c : clients) c.join();
  for (const auto& e : errors)
    if (!e.empty()) throw command_error(failed, "a client of the lock failed: " + e);
  for (const auto& us : each) contended.us.insert(contended.us.end(), us.begin(), us.end());
  row hosted{"the same, kept by a host", 1, 0, take_kept(s, lasts), {}, {}, {}};
  for (auto* r : {&alone, &again, &contended, &hosted}) {
    const auto taken = static_cast<double>(r->us.size()) * (r == &hosted ? kept_batch : 1);
    r->ops_per_s = taken / std::chrono::duration<double>(lasts).count();
    std::ranges::sort(r->us);
    rows.push_back(std::move(*r));
  }
  return rows;
}

json to_json(const row& r) {
  return {{"what", r.what},
          {"system", "coterie"},
          {"in_flight", r.in_flight},
          {"ops_per_s", r.ops_per_s > 0 ? json(r.ops_per_s) : json(nullptr)},
          {"p50_us", quantile(r.us, 0.5)},
          {"p99_us", quantile(r.us, 0.99)},
          {"p999_us", quantile(r.us, 0.999)},
          {"longest_us", quantile(r.us, 1)},
          {"fsyncs_per_op", or_null(r.fsyncs_per_op)},
          {"cpu_us_per_op", or_null(r.cpu_us_per_op)},
          {"mib_per_s", or_null(r.mib_per_s)},
          {"samples", r.us.size()}};
}

std::string human_us(double us) {
  if (us >= 10e6) return fmt::format("{:.1f} s", us / 1e6);
  if (us < 1) return fmt::format("{:.0f} ns", us * 1'000);
  return us < 1'000 ? fmt::format("{:.0f} us", us) : fmt::format("{:.1f} ms", us / 1'000);
}

}  // namespace

int bench(const common& c, const bench_options& o) {
  subject s(o.data, o.what == "grow" ? 1 : o.nodes, o.hosted);
  const auto where = s.cluster().nodes().front().home;
  const double rtt = loopback_round_trip(o.size), sync = shared_fdatasync(where, o.nodes, o.size);
  json floor{{"rtt_us", rtt}, {"fdatasync_us", sync}};
  std::string disk;
  if (o.what == "catchup") {
    const double rate = sequential_write(where, o.state_mib);
    floor["write_mib_per_s"] = rate;
    disk = fmt::format(", a file of {} MiB written and synced {:.0f} MiB/s", o.state_mib, rate);
  }
  std::vector<row> rows;
  if (o.hosted) {
    rows = by_host(s, o);
  } else if (o.what == "append") {
    for (const auto n : o.in_flight)
      rows.push_back(load(s, s.leader(), "append", n, o.lasts, [&] { return append_of(o.size); }));
  } else if (o.what == "read") {
    rows = read(s, o);
  } else if (o.what == "catchup") {
    rows = catch_up(s, o.state_mib, o);
  } else if (o.what == "grow") {
    rows = grow(s, o.size);
  } else if (o.what == "lock") {
    rows = take_locks(s, o.lasts, o.contenders);
  } else {
    for (const auto* how : {"killed", "stopped", "transfer"}) rows.push_back(failover(s, how, o.times, o.size));
  }
  if (c.as_json) {
    json all = json::array();
    for (const auto& r : rows) all.push_back(to_json(r));
    print(json{{"floor", floor},
               {"machine", {{"cores", std::thread::hardware_concurrency()}, {"nodes", o.nodes}, {"bytes", o.size}}},
               {"rows", all}});
    return ok;
  }
  print_text(fmt::format(
      "{} nodes on this machine ({} cores), {} bytes; the floor: a round trip over loopback {}, an fdatasync "
      "with {} processes at it {}{}\n",
      o.nodes, std::thread::hardware_concurrency(), o.size, human_us(rtt), o.nodes, human_us(sync), disk));
  table t(
      {"WHAT", "IN FLIGHT", "PER SECOND", "P50", "P99", "P99.9", "LONGEST", "FSYNCS/OP", "CPU/OP", "MIB/S", "SAMPLES"});
  for (const auto& r : rows)
    t.add({r.what, fmt::format("{}", r.in_flight), r.ops_per_s > 0 ? fmt::format("{:.0f}", r.ops_per_s) : "-",
           human_us(quantile(r.us, 0.5)), human_us(quantile(r.us, 0.99)), human_us(quantile(r.us, 0.999)),
           human_us(quantile(r.us, 1)), r.fsyncs_per_op ? fmt::format("{:.3f}", *r.fsyncs_per_op) : "-",
           r.cpu_us_per_op ? human_us(*r.cpu_us_per_op) : "-", r.mib_per_s ? fmt::format("{:.1f}", *r.mib_per_s) : "-",
           fmt::format("{}", r.us.size())});
  print_text(t.text());
  return ok;
}

}  // namespace coterie::command
