// The simulated targets of membership, each a run with a name: it prints what was measured beside the target, and the
// program fails when one is missed. All times are virtual.
//
//   swim_targets [--reduced] [--seeds N] [--first SEED] [--nodes N] [--hours NODE_HOURS] NAME...
//
// NAME is one of `targets` below, or `all`. The options replace the usual sizes of each run, or the reduced ones.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "bench/lone_member.hpp"
#include "engine/views.hpp"

namespace {

using namespace coterie;
using namespace coterie::swim;
using swim::test::lone_member;
using swim::test::network;

constexpr std::size_t seed_nodes = 3;

double seconds(duration d) { return std::chrono::duration<double>(d).count(); }
duration hours(double n) { return std::chrono::duration_cast<duration>(std::chrono::duration<double>(n * 3600)); }

struct sizes {
  std::size_t nodes = 0;
  std::uint64_t seeds = 0;
  double node_hours = 0;
  std::uint64_t first = 1;
};

/// What one run found: each figure beside its target.
class findings {
 public:
  void at_most(std::string_view what, double measured, double target, std::string_view unit) {
    line(measured <= target, fmt::format("{}: {:.3g}{} (at most {:g}{})", what, measured, unit, target, unit));
  }
  void none(std::string_view what, std::size_t measured) {
    line(measured == 0, fmt::format("{}: {} (none)", what, measured));
  }
  void all(std::string_view what, std::size_t measured, std::size_t of) {
    line(measured == of, fmt::format("{}: {} of {} (all)", what, measured, of));
  }
  void note(std::string_view text) { fmt::print("  {}\n", text); }
  bool missed() const { return missed_; }

 private:
  void line(bool met, const std::string& text) {
    missed_ |= !met;
    fmt::print("  {}{}\n", text, met ? "" : "  MISSED");
    std::fflush(stdout);
  }
  bool missed_ = false;
};

/// Streams lead to the seeds only, as in a large cluster, and loss is as usual.
void make_usual(network& w) {
  w.all_streams = false;
  w.loss = 0.02;
}

/// What takes up to 0.4 ms takes up to 50 ms while everybody talks to the seeds at once.
void crowd(network& w) { w.delay_max = 50ms; }

/// Starts nodes from `from` on, at moments within `within`.
void start(network& w, std::size_t from, duration within) {
  std::vector<std::pair<duration, std::size_t>> moments;
  for (std::size_t i = from; i < w.size(); ++i) moments.emplace_back(w.now() + w.random().between({}, within), i);
  std::sort(moments.begin(), moments.end());
  for (const auto& [at, i] : moments) {
    w.run(at - w.now());
    w.start(i);
    w.seek(i, seed_nodes);
  }
}

/// A cluster that formed long ago.
void settle(network& w) {
  w.settle();
  for (std::size_t i = 0; i < w.size(); ++i) w.seek(i, seed_nodes);
  for (std::size_t s = 0; s < seed_nodes; ++s) {
    for (std::size_t i = s + 1; i < w.size(); ++i) w.streams.insert({s, i});
  }
  w.run(3s);
}

/// The views that a node would make as the leader, of what gossip tells it.
class leading {
 public:
  leading(network& w, std::size_t at) : w_(w), at_(at), told_(w[at].events.size()) {
    w.on_unanswered = [this](std::size_t by, node_id whom) {
      told_later_.push_back({w_.now() + renewal, w_[by].info.id, whom});
    };
  }
  leading(const leading&) = delete;
  ~leading() { w_.on_unanswered = nullptr; }

  /// As w.run(); nobody clears the events meanwhile.
  void run(duration length) {
    for (const auto end = w_.now() + length; w_.now() < end;) {
      w_.run(std::min<duration>(100ms, end - w_.now()));
      look();
    }
  }
  /// Members that a view has named as failed, and when first.
  const std::map<std::size_t, duration>& failed() const { return failed_; }
  std::size_t changes() const { return changes_; }

 private:
  void look() {
    const auto now = w_.clock(at_).steady;
    for (const auto& events = w_[at_].events; told_ < events.size(); ++told_) cut_.on_event(events[told_].what, now);
    for (; !told_later_.empty() && told_later_.front().at <= w_.now(); told_later_.pop_front())
      cut_.on_unanswered(told_later_.front().by, told_later_.front().whom, now);
    std::vector<engine::sighting> all;
    for (const auto& m : w_.at(at_).members())
      all.push_back({m.info.id, view_.contains(m.info.id), m.state == member_state::stopping, m.state});
    const auto change = cut_.next(all, now);
    if (!change) return;
    ++changes_;
    for (const auto id : change->failed) {
      view_.insert(id);
      failed_.try_emplace(w_.index_of(id), w_.now());
    }
    for (const auto id : change->back) view_.erase(id);
  }

  static constexpr duration renewal = 5s / 3;  // of a session, which tells the leader of unanswered pings
  struct unanswered {
    duration at;
    node_id by, whom;
  };

  network& w_;
  std::size_t at_, told_, changes_ = 0;
  std::deque<unanswered> told_later_;
  engine::view_cut cut_{engine::view_rules{}};
  std::set<node_id> view_;
  std::map<std::size_t, duration> failed_;
};

/// How fast several networks came to one view, and whether that stayed.
class convergence {
 public:
  void await(network& w, duration from) {
    const auto same = [&] { return w.agreed(); };
    differ_ += w.run_until(same, 1min) ? 0 : 1;
    slowest_ = std::max(slowest_, w.now() - from);
    w.run(10s);
    differ_ += same() ? 0 : 1;
    lost_ += w.verdicts(true).size();
  }
  void tell(findings& f, std::string_view what, double limit) const {
    f.at_most(what, seconds(slowest_), limit, " s");
    f.none("members lost", lost_);
    f.none("views that differ in the end", differ_);
  }

 private:
  duration slowest_{};
  std::size_t differ_ = 0, lost_ = 0;
};

void restart(const sizes& z, findings& f) {
  convergence c;
  for (auto seed = z.first; seed < z.first + z.seeds; ++seed) {
    network w(z.nodes, seed);
    make_usual(w);
    settle(w);
    const auto from = w.now();
    for (std::size_t i = 0; i < w.size(); ++i) {
      w.kill(i);
      ++w[i].epoch;
    }
    crowd(w);
    start(w, 0, 1s);
    c.await(w, from);
  }
  c.tell(f, "one view", 15);
}

void joins(const sizes& z, findings& f) {
  convergence c;
  for (auto seed = z.first; seed < z.first + z.seeds; ++seed) {
    network w(z.nodes + seed_nodes, seed);
    make_usual(w);
    for (std::size_t i = 0; i < seed_nodes; ++i) {
      w.start(i);
      w.seek(i, seed_nodes);
    }
    w.run(5s);
    w.clear_events();
    const auto from = w.now();
    crowd(w);
    start(w, seed_nodes, {});
    c.await(w, from);
  }
  c.tell(f, "one view", 10);
}

void leave(const sizes& z, findings& f) {
  constexpr std::size_t leaves = 10;  // of one network
  double least = 100;
  duration slowest{};
  for (auto seed = z.first; seed < z.first + z.seeds; ++seed) {
    network w(z.nodes, seed);
    make_usual(w);
    settle(w);
    for (std::size_t k = 0; k < leaves; ++k) {
      const auto who = seed_nodes + k * (z.nodes - seed_nodes) / leaves;
      w.at(who).say_left(w.clock(who));
      w.touch(who);
      w.run(1ms);
      w.kill(who);  // it does not wait
      const auto known = [&] {
        std::size_t n = 0, others = 0;
        for (std::size_t i = 0; i < w.size(); ++i) {
          if (!w.up(i)) continue;
          ++others;
          n += w.state(i, who) == member_state::left ? 1 : 0;
        }
        return 100.0 * static_cast<double>(n) / static_cast<double>(others);
      };
      const auto said = w.now();
      const auto took = w.run_until([&] { return w.all_believe(who, member_state::left); }, 2s);
      least = std::min(least, known());
      if (!took) w.run_until([&] { return w.all_believe(who, member_state::left); }, 1min);
      slowest = std::max(slowest, w.now() - said);
      w.run(5s);
    }
  }
  f.at_most("nodes that do not know within 2 s", 100 - least, 0.1, " %");
  f.note(fmt::format("known to all after {:.2f} s at most, {} leaves", seconds(slowest), leaves * z.seeds));
}

struct sickness {
  const char* name;
  double loss_in, loss_out;
  bool flips = false;  ///< sick for 20 s, well for 20 s, and so on
};
constexpr sickness one_way[] = {{"hears nothing", 1, 0}, {"is not heard", 0, 1}, {"flip-flop", 1, 0, true}};
constexpr sickness lossy[] = {{"80 % loss both ways", 0.8, 0.8},
                              {"80 % loss of what it receives", 0.8, 0},
                              {"80 % loss of what it sends", 0, 0.8}};

template <std::size_t N>
void sick(const sickness (&kinds)[N], const sizes& z, findings& f) {
  constexpr duration length = 60s, phase = 20s;
  for (const auto& kind : kinds) {
    const bool silent = kind.loss_in == 1 || kind.loss_out == 1;  // else it refutes what is said of it
    std::size_t seen = 0, healthy = 0, suspicions = 0, named = 0, named_healthy = 0;
    duration slowest{}, slowest_view{};
    for (auto seed = z.first; seed < z.first + z.seeds; ++seed) {
      network w(z.nodes, seed);
      w.settle();
      w.run(w.random().between({}, 2s));
      std::set<std::size_t> them;
      while (them.size() < std::max<std::size_t>(z.nodes / 100, 1)) them.insert(w.random().below(z.nodes));
      w.clear_events();
      const auto observer = std::size_t{them.contains(0) ? 1u : 0u};
      leading leader(w, observer);
      const auto from = w.now();
      for (duration at{}; at < length; at += phase) {
        const bool on = !kind.flips || (at / phase) % 2 == 0;
        for (const auto i : them) {
          w[i].loss_in = on ? kind.loss_in : 0;
          w[i].loss_out = on ? kind.loss_out : 0;
        }
        leader.run(phase);
      }
      std::size_t in_time = 0;
      for (const auto& v : w.verdicts(true)) {
        if (them.contains(v.by)) continue;  // what a sick one believes is another matter
        if (!them.contains(v.of)) {
          ++healthy;
        } else if (v.at - from <= 30s) {
          ++in_time;
          slowest = std::max(slowest, v.at - from);
        }
      }
      for (const auto& e : w[observer].events)
        suspicions += e.what.kind == event_kind::suspect && them.contains(w.index_of(e.what.who.info.id)) ? 1 : 0;
      seen += in_time == them.size() * (z.nodes - them.size()) ? 1 : 0;
      std::size_t in_view = 0;
      for (const auto& [who, when] : leader.failed()) {
        if (!them.contains(who)) {
          ++named_healthy;
        } else if (when - from <= 30s) {
          ++in_view;
          slowest_view = std::max(slowest_view, when - from);
        }
      }
      named += in_view == them.size() ? 1 : 0;
    }
    f.all(fmt::format("{}: failed by a view within 30 s", kind.name), named, z.seeds);
    f.none(fmt::format("{}: healthy nodes in a view", kind.name), named_healthy);
    f.none(fmt::format("{}: verdicts on healthy nodes by healthy nodes", kind.name), healthy);
    if (silent) f.all(fmt::format("{}: seen unreachable by all within 30 s", kind.name), seen, z.seeds);
    f.note(fmt::format("{}: in a view after {:.1f} s at most{}; {:.1f} suspicions a minute", kind.name,
                       seconds(slowest_view),
                       silent ? fmt::format(", the last verdict after {:.1f} s", seconds(slowest)) : "",
                       static_cast<double>(suspicions) / static_cast<double>(z.seeds)));
  }
}

/// One virtual hour with 5 % of the nodes standing still again and again; returns who was called unreachable, healthy
/// and starved.
std::pair<std::size_t, std::size_t> starve(std::size_t nodes, std::uint64_t seed, duration length) {
  network w(nodes, seed);
  make_usual(w);
  settle(w);
  // It stands still for 0.1 to 3 s, then runs as long or for a moment only, in which it sends and reads no answer.
  const auto still = [&] { return w.random().between(100ms, 3s); };
  const auto runs = [&] { return w.random().chance(0.5) ? still() : w.random().between({}, 20ms); };
  std::set<std::size_t> starved;
  while (starved.size() < std::max<std::size_t>(nodes / 20, 1)) starved.insert(w.random().below(nodes));
  std::set<std::pair<duration, std::size_t>> changes;
  for (const auto i : starved) changes.emplace(w.now() + runs(), i);
  std::size_t healthy = 0, of_starved = 0;
  const auto end = w.now() + length;
  for (auto judged = w.now(); w.now() < end;) {
    const auto [at, i] = *changes.begin();
    changes.erase(changes.begin());
    w.run(at - w.now());
    const bool wakes = w[i].paused;
    if (wakes)
      w.wake(i, w.random().chance(0.5));
    else
      w.pause(i);
    changes.emplace(w.now() + (wakes ? runs() : still()), i);
    if (w.now() - judged < 1min && w.now() < end) continue;
    judged = w.now();
    for (const auto& v : w.verdicts(true)) ++(starved.contains(v.of) ? of_starved : healthy);
    w.clear_events();
  }
  return {healthy, of_starved};
}

void starved(const sizes& z, findings& f) {
  std::size_t healthy = 0, of_starved = 0;
  double done = 0;
  for (auto seed = z.first; done < z.node_hours; ++seed) {
    const auto length = std::min(1.0, (z.node_hours - done) / static_cast<double>(z.nodes));
    const auto [h, s] = starve(z.nodes, seed, hours(length));
    healthy += h;
    of_starved += s;
    done += std::max(length, 1e-3) * static_cast<double>(z.nodes);
  }
  f.none(fmt::format("false verdicts in {:.0f} node-hours on nodes that are not starved", done), healthy);
  if (healthy == 0) f.note(fmt::format("95 % bound: {:.1e} per node-hour", 3 / done));
  f.note(fmt::format("verdicts on starved nodes, one a minute at each other node: {}", of_starved));
}

/// How far later values exceed the first.
class growth {
 public:
  void add(double x) {
    if (!first_) first_ = x;
    most_ = std::max(most_, x / *first_);
  }
  double most() const { return most_; }

 private:
  std::optional<double> first_;
  double most_ = 0;
};

void scale(const sizes& z, findings& f) {
  constexpr duration calm = 1min;
  growth time, bytes_sent;
  for (const auto n : {z.nodes / 10, z.nodes * 3 / 10, z.nodes}) {
    duration sum{}, slowest{};
    std::size_t said = 0, bytes = 0;
    for (auto seed = z.first; seed < z.first + z.seeds; ++seed) {
      network w(n, seed);
      settle(w);
      for (std::size_t k = 0; k < 10; ++k, ++said) {
        const auto who = w.random().below(n);
        COTERIE_ASSERT(w.at(who).set_tags({{"round", std::to_string(said)}}, w.clock(who)));
        w.touch(who);
        const auto id = w[who].info.id;
        const auto took = w.run_until(
            [&] {
              for (std::size_t i = 0; i < n; ++i) {
                if (w.at(i).find(id)->inc != w.at(who).self_incarnation()) return false;
              }
              return true;
            },
            1min);
        sum += took.value_or(1min);
        slowest = std::max(slowest, took.value_or(1min));
        w.run(3s);
      }
      w.run(10s);
      const auto before = w.bytes;
      w.run(calm);
      bytes += w.bytes - before;
    }
    const auto mean = seconds(sum) / static_cast<double>(said);
    const auto rate = static_cast<double>(bytes) / static_cast<double>(n * z.seeds) / seconds(calm);
    f.note(
        fmt::format("{} nodes: a statement is known to all after {:.2f} s, {:.2f} s at most; {:.0f} bytes per node "
                    "and second",
                    n, mean, seconds(slowest), rate));
    time.add(mean / std::log2(static_cast<double>(n)));
    bytes_sent.add(rate);
  }
  f.at_most("dissemination time by log N, largest over smallest", time.most(), 2, "");
  f.at_most("bytes per node and second, largest over smallest", bytes_sent.most(), 1.2, "");
}

/// The same for sizes that fit no memory, from the side of one member: calm, and with a restart each ten seconds, of
/// which each member tells O(log N) times.
void scale_one(const sizes& z, findings& f) {
  constexpr duration length = 1h;
  for (const bool restarts : {false, true}) {
    growth bytes;
    std::size_t removed = 0;
    for (const auto n : {z.nodes / 100, z.nodes / 10, z.nodes}) {
      const auto c = lone_member(n, restarts ? 10s : length).run(length);
      const auto rate = static_cast<double>(c.bytes) / seconds(length);
      f.note(fmt::format("one of {} members, {}: {:.0f} bytes a second", n, restarts ? "with restarts" : "calm", rate));
      removed += c.removed;
      bytes.add(restarts ? rate / std::log2(static_cast<double>(n)) : rate);
    }
    f.at_most(restarts ? "with restarts, bytes a second by log N, largest over smallest"
                       : "calm, bytes a second, largest over smallest",
              bytes.most(), 1.2, "");
    f.none("removed", removed);
  }
}

/// How many changes of the view somebody would make of these verdicts who gathers for so long after the first.
std::size_t batches(const std::vector<duration>& sorted, duration length) {
  std::size_t n = 0;
  std::optional<duration> opened;
  for (const auto t : sorted) {
    if (opened && t - *opened < length) continue;
    ++n;
    opened = t;
  }
  return n;
}

void crashes(const sizes& z, findings& f) {
  for (const bool evidence : {false, true}) {
    duration slowest{}, widest{};
    std::size_t missing = 0, healthy = 0, most = 0, changes = 0, wrong = 0;
    std::map<std::size_t, std::size_t> of_a_second;
    for (auto seed = z.first; seed < z.first + z.seeds; ++seed) {
      network w(z.nodes, seed);
      make_usual(w);
      w.evidence = evidence;
      settle(w);
      w.run(w.random().between({}, 2s));
      const auto victims = z.nodes / 10;
      const auto from = w.now();
      for (std::size_t k = 0; k < victims; ++k) w.kill(seed_nodes + k * (z.nodes - seed_nodes) / victims);
      leading leader(w, 0);
      leader.run(30s);
      changes = std::max(changes, leader.changes());
      wrong += leader.failed().size() != victims ? 1 : 0;
      std::map<std::size_t, std::vector<duration>> at;  // of each node: its verdicts
      for (const auto& v : w.verdicts(false)) at[v.by].push_back(v.at);
      for (std::size_t i = 0; i < w.size(); ++i) {
        if (!w.up(i)) continue;
        auto& mine = at[i];
        missing += victims - mine.size();
        if (mine.empty()) continue;
        std::sort(mine.begin(), mine.end());
        most = std::max(most, batches(mine, 2s));
        ++of_a_second[batches(mine, 1s)];
        slowest = std::max(slowest, mine.back() - from);
        widest = std::max(widest, mine.back() - mine.front());
      }
      healthy += w.verdicts(true).size();
    }
    const auto how = evidence ? "with refused connections" : "without a sign";
    f.at_most(fmt::format("{}: changes of the view", how), static_cast<double>(changes), 2, "");
    f.none(fmt::format("{}: seeds in which the view names others than those, or not all", how), wrong);
    f.at_most(fmt::format("{}: windows of 2 s that the verdicts at one node fall into", how), static_cast<double>(most),
              2, "");
    f.none(fmt::format("{}: verdicts that are missing", how), missing);
    f.none(fmt::format("{}: verdicts on living nodes", how), healthy);
    f.note(fmt::format("{}: all known to all after {:.1f} s; first to last verdict at one node {:.1f} s at most", how,
                       seconds(slowest), seconds(widest)));
    for (const auto& [n, at_nodes] : of_a_second)
      f.note(fmt::format("{}: {} windows of 1 s at {} nodes", how, n, at_nodes));
  }
}

void partition(const sizes& z, findings& f) {
  convergence c;
  std::size_t apart = 0;
  const auto length = hours(z.node_hours / static_cast<double>(z.nodes));
  for (auto seed = z.first; seed < z.first + z.seeds; ++seed) {
    network w(z.nodes, seed);
    make_usual(w);
    settle(w);
    std::set<std::size_t> side;  // two fifths, with all of the seeds, two of them, one
    for (std::size_t i = 0; i < z.nodes * 2 / 5; ++i) side.insert((seed - 1) % 3 + i < 3 ? i : z.nodes - 1 - i);
    w.streams.clear();
    w.partition(side);
    w.run(length);
    for (std::size_t i = 0; i < w.size(); ++i)
      apart += w.at(i).alive_count() == (side.contains(i) ? side.size() : w.size() - side.size()) ? 1 : 0;
    w.clear_events();
    w.cut.clear();
    c.await(w, w.now());
  }
  f.all("nodes that saw their own side only", apart, z.nodes * z.seeds);
  c.tell(f, fmt::format("one view again after {:.1f} hours", seconds(length) / 3600), 15);
}

struct target {
  const char* name;
  const char* what;
  void (*run)(const sizes&, findings&);
  sizes usual, reduced;
};
const target targets[] = {
    {"restart", "all stop at once, and start again within a second", restart, {1000, 3}, {100, 2}},
    {"joins", "so many join 3 nodes at once", joins, {1000, 3}, {100, 2}},
    {"leave", "a graceful leave", leave, {1000, 3}, {200, 1}},
    {"sick",
     "1 % of the nodes hear or say nothing",
     [](const sizes& z, findings& f) { sick(one_way, z, f); },
     {100, 1000},
     {50, 2}},
    {"lossy",
     "1 % of the nodes lose most datagrams",
     [](const sizes& z, findings& f) { sick(lossy, z, f); },
     {100, 1000},
     {50, 2}},
    {"starved", "5 % of the nodes stand still for 0.1 to 3 s, again and again", starved, {40, 0, 50'000}, {40, 0, 10}},
    {"scale", "a tenth, three tenths and all of so many nodes", scale, {1000, 1}, {200, 1}},
    {"scale_one", "a hundredth, a tenth and all of so many nodes", scale_one, {10'000, 1}, {1000, 1}},
    {"crashes", "a tenth of the nodes crash at once", crashes, {100, 100}, {100, 1}},
    {"partition", "a partition of many hours heals", partition, {20, 3, 500}, {20, 1, 20}},
};

int usage() {
  fmt::print(stderr, "swim_targets [--reduced] [--seeds N] [--first SEED] [--nodes N] [--hours NODE_HOURS] NAME...\n");
  for (const auto& t : targets) fmt::print(stderr, "  {:10} {}\n", t.name, t.what);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  bool reduced = false, missed = false;
  std::map<std::string_view, double> given;
  std::set<std::string_view> names;
  for (int i = 1; i < argc; ++i) {
    const std::string_view a = argv[i];
    if (a == "--reduced") {
      reduced = true;
    } else if (a == "--seeds" || a == "--first" || a == "--nodes" || a == "--hours") {
      if (++i == argc) return usage();
      given[a] = std::strtod(argv[i], nullptr);
      if (given[a] <= 0) return usage();
    } else {
      names.insert(a);
    }
  }
  std::size_t ran = 0;
  for (const auto& t : targets) {
    if (!names.contains(t.name) && !names.contains("all")) continue;
    ++ran;
    sizes z = reduced ? t.reduced : t.usual;
    const auto set = [&](std::string_view name, auto& value) {
      if (given.contains(name)) value = static_cast<std::decay_t<decltype(value)>>(given[name]);
    };
    set("--seeds", z.seeds);
    set("--first", z.first);
    set("--nodes", z.nodes);
    set("--hours", z.node_hours);
    fmt::print("{}: {} nodes, {}\n", t.name, z.nodes, t.what);
    findings f;
    t.run(z, f);
    missed |= f.missed();
  }
  if (ran == 0 || (ran < names.size() && !names.contains("all"))) return usage();
  return missed ? 1 : 0;
}
