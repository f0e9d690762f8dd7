// See world.hpp.
#include "world.hpp"

#include <algorithm>

namespace coterie::raft::test {

namespace {

/// What a seed does to the options of all of its nodes.
options of_seed(std::uint64_t seed, options o) {
  o.snapshot_ack_timeout = 2s;
  o.max_append_entries = 1 + seed % 7;
  o.max_inflight_appends = 1 + seed % 5;
  return o;
}

}  // namespace

world::world(std::uint64_t seed, options o, std::chrono::milliseconds l)
    : random(seed), lease(l), c(of_seed(seed, o), seed) {
  configuration first = voters({1, 2, 3});
  if (random.chance(0.3)) first = voters({1, 2, 3, 4, 5});
  first.read_lease = lease;
  for (std::uint64_t n = 1; n <= nodes; ++n) c.add(n, first);
  for (std::uint64_t n = 1; n <= nodes && lease > 0ms; ++n)
    c.set_rate(n, 0.99 + 0.00002 * static_cast<double>(random.below(1'001)));
  loss = random.chance(0.5) ? 0.0 : 0.1;
  fault = random.chance(0.3) ? 0.0 : 0.02;
  slow_disks = random.chance(0.8);
  disk_speed = random.chance(0.5) ? 0.5 : 0.08;
  for (std::uint64_t n = 1; n <= nodes; ++n) c.at(n).hold_writes = slow_disks;
}

std::uint64_t world::any_or_leader() {
  const auto leader = c.leader();
  return leader && random.chance(0.5) ? leader : any();
}

void world::move_messages() {
  for (int i = 0; i < 4 && !c.network.empty(); ++i) {
    // Mostly in order, sometimes not.
    const auto position = random.chance(0.8) ? 0 : random.below(std::min<std::size_t>(c.network.size(), 20));
    if (c.network[position].to == id(deaf) || random.chance(loss)) {
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

void world::move_disks() {
  for (std::uint64_t n = 1; n <= nodes; ++n) {
    if (!c.up(n) || c.at(n).writes.empty() || !random.chance(disk_speed)) continue;
    c.complete_write(n);
    c.pump(n);
  }
}

void world::move_time() {
  c.skip(duration(static_cast<duration::rep>(random.below(20'000'000))));
  for (std::uint64_t n = 1; n <= nodes; ++n) {
    if (n != deaf && c.up(n) && c[n].next_wake() <= c.time(n) && random.chance(0.8)) c.tick(n);
  }
}

void world::disturb(std::uint64_t n) {
  if (random.chance(0.05)) {
    std::vector<node_id> in, learners;
    for (std::uint64_t i = 1; i <= nodes; ++i) {
      if (random.chance(0.6))
        in.push_back(id(i));
      else if (random.chance(0.5))
        learners.push_back(id(i));
    }
    configurations += c[n].propose_configuration(in, learners, c.time(n)).has_value();
    c.pump(n);
  }
  if (lease > 0ms && random.chance(0.05)) {
    (void)c[n].propose_read_lease(lease * static_cast<int>(random.below(4)) / 3, c.time(n));
    c.pump(n);
  }
  if (random.chance(0.02)) (void)c[n].transfer_leadership(id(any()), c.time(n));
  if (random.chance(0.05))
    c.compact(n, c[n].applied().value - random.below(1 + std::min<std::uint64_t>(3, c[n].applied().value)));
  if (random.chance(0.02)) c[n].on_unreachable(id(any()), random.chance(0.5), c.time(n));
}

void world::break_things() {
  if (!random.chance(fault)) return;
  const auto n = any();
  if (c.up(n)) {
    c.crash(n);
    if (crashed) crashed(n);
  } else {
    c.restart(n);
  }
  if (random.chance(0.3)) deaf = deaf ? 0 : any_or_leader();
  if (random.chance(0.3)) c.isolate(any_or_leader());
  if (random.chance(0.4)) c.heal();
}

void world::mend() {
  const auto n = any();
  if (!c.up(n)) c.restart(n);
  if (random.chance(0.3)) deaf = 0;
  if (random.chance(0.3)) c.heal();
}

bool world::recover() {
  c.heal();
  deaf = 0;
  for (std::uint64_t n = 1; n <= nodes; ++n) {
    if (!c.up(n)) c.restart(n);
    c.at(n).hold_writes = false;
    while (!c.at(n).writes.empty()) c.complete_write(n);
  }
  c.advance(6s);
  const auto leader = c.leader();
  if (!leader || !c.propose(leader, "end")) return false;
  c.advance(500ms);
  const auto conf = c[leader].conf();
  const auto members = conf.members();
  return !conf.joint() && c.committed().back() == "end" && std::all_of(members.begin(), members.end(), [&](node_id n) {
    return c[n.lo].commit() == c[leader].commit() && c[n.lo].applied() == c[leader].applied();
  });
}

}  // namespace coterie::raft::test
