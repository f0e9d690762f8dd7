// See stress.hpp.
#include "stress.hpp"

#include <algorithm>

#include "cluster.hpp"

namespace coterie::raft::test {
namespace {

constexpr std::uint64_t nodes = 5;
constexpr int steps = 1500;

struct world {
  world(std::uint64_t seed, options o) : random(seed), c(o, seed) {
    configuration first = voters({1, 2, 3});
    if (random.chance(0.3)) first = voters({1, 2, 3, 4, 5});
    for (std::uint64_t n = 1; n <= nodes; ++n) c.add(n, first);
    loss = random.chance(0.5) ? 0.0 : 0.1;
    fault = random.chance(0.3) ? 0.0 : 0.02;
    slow_disks = random.chance(0.8);
    disk_speed = random.chance(0.5) ? 0.5 : 0.08;
    for (std::uint64_t n = 1; n <= nodes; ++n) c.at(n).hold_writes = slow_disks;
  }

  std::uint64_t any() { return 1 + random.below(nodes); }

  void move_messages() {
    for (int i = 0; i < 4 && !c.network.empty(); ++i) {
      // Mostly in order, sometimes not.
      const auto position = random.chance(0.8) ? 0 : random.below(std::min<std::size_t>(c.network.size(), 20));
      if (random.chance(loss)) {
        c.lose(c.network[position]);
        c.network.erase(c.network.begin() + static_cast<std::ptrdiff_t>(position));
      } else {
        c.deliver(position, random.chance(0.02));
      }
    }
    while (c.network.size() > 400) {
      c.lose(c.network.front());
      c.network.pop_front();
    }
  }

  void move_disks() {
    for (std::uint64_t n = 1; n <= nodes; ++n) {
      if (!c.up(n) || c.at(n).writes.empty() || !random.chance(disk_speed)) continue;
      c.complete_write(n);
      c.pump(n);
    }
  }

  void move_time() {
    c.skip(duration(static_cast<duration::rep>(random.below(20'000'000))));
    for (std::uint64_t n = 1; n <= nodes; ++n) {
      if (c.up(n) && c[n].next_wake() <= c.now() && random.chance(0.8)) c.tick(n);
    }
  }

  void use() {
    const auto n = any();
    if (!c.up(n)) return;
    if (random.chance(0.4) && c.propose(n, std::to_string(++proposals))) c.pump(n);
    if (random.chance(0.2)) {
      c.read(n, ++reads);
      c.pump(n);
    }
    if (random.chance(0.05)) {
      std::vector<node_id> in, learners;
      for (std::uint64_t i = 1; i <= nodes; ++i) {
        if (random.chance(0.6))
          in.push_back(id(i));
        else if (random.chance(0.5))
          learners.push_back(id(i));
      }
      result.configurations += c[n].propose_configuration(in, learners, c.now()).has_value();
      c.pump(n);
    }
    if (random.chance(0.02)) (void)c[n].transfer_leadership(id(any()), c.now());
    if (random.chance(0.05))
      c.compact(n, c[n].applied().value - random.below(1 + std::min<std::uint64_t>(3, c[n].applied().value)));
    if (random.chance(0.02)) c[n].on_unreachable(id(any()), random.chance(0.5), c.now());
  }

  void break_things() {
    if (!random.chance(fault)) return;
    const auto n = any();
    if (c.up(n)) {
      c.crash(n);
    } else {
      c.restart(n);
    }
    if (random.chance(0.3)) c.isolate(any());
    if (random.chance(0.4)) c.heal();
  }

  void recover() {
    c.heal();
    for (std::uint64_t n = 1; n <= nodes; ++n) {
      if (!c.up(n)) c.restart(n);
      c.at(n).hold_writes = false;
      while (!c.at(n).writes.empty()) c.complete_write(n);
    }
    c.advance(6s);
    const auto leader = c.leader();
    if (!leader || !c.propose(leader, "end")) return;
    c.advance(500ms);
    result.live = c.committed().back() == "end";
    const auto conf = c[leader].conf();
    for (const auto n : conf.members()) result.live = result.live && c[n.lo].commit() == c[leader].commit();
    for (const auto n : conf.members()) result.live = result.live && c[n.lo].applied() == c[leader].applied();
    result.live = result.live && !conf.joint();
  }

  void run() {
    for (int i = 0; i < steps && c.violations.empty(); ++i) {
      move_messages();
      move_disks();
      move_time();
      use();
      break_things();
      if (i % 50 == 0) c.check_logs();
    }
    if (c.violations.empty()) recover();
    c.check_logs();
    result.violations = c.violations;
    result.committed = c.committed().size();
    for (std::uint64_t n = 1; n <= nodes; ++n) {
      if (!c.up(n)) continue;
      result.leaders += c[n].stats().get("raft_elections_won");
      result.snapshots += c[n].stats().get("raft_snapshots_installed");
      for (const auto& r : c.at(n).reads) result.reads += r.ok;
    }
  }

  rng random;
  cluster c;
  double loss = 0, fault = 0, disk_speed = 1;
  bool slow_disks = false;
  std::uint64_t proposals = 0, reads = 0;
  stress_result result;
};

}  // namespace

stress_result stress(std::uint64_t seed, options o) {
  o.snapshot_ack_timeout = 2s;
  o.max_append_entries = 1 + seed % 7;
  o.max_inflight_appends = 1 + seed % 5;
  world w(seed, o);
  w.run();
  return w.result;
}

}  // namespace coterie::raft::test
