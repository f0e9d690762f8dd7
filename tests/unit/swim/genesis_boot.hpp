// One boot of a cluster under everything at once, a function of its seed: crashes around writes, wipes, partitions,
// lost, doubled and late messages, competing proposers; then quiet. Shared by the test and by tests/bench/genesis_bulk.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "unit/swim/genesis_world.hpp"

namespace genesis_test {

/// What one boot came to.
struct outcome {
  std::string violation;
  bool formed = false, chosen_early = false, wiped = false, competing = false, forked = false, stuck = false;
  std::uint64_t crashes = 0, wipes = 0, partitions = 0, events = 0;
};

/// The sum of many: a run in which nothing happens proves nothing.
struct totals {
  std::uint64_t boots = 0, formed = 0, chosen_early = 0, wiped = 0, competing = 0, forked = 0, stuck = 0;
  std::uint64_t crashes = 0, wipes = 0, partitions = 0, events = 0;

  void add(const outcome& o) {
    ++boots;
    formed += o.formed && !o.forked;
    chosen_early += o.chosen_early;
    wiped += o.wiped;
    competing += o.competing;
    forked += o.forked;
    stuck += o.stuck;
    crashes += o.crashes;
    wipes += o.wipes;
    partitions += o.partitions;
    events += o.events;
  }
  std::string str() const {
    return fmt::format(
        "{} boots with {} crashes, {} wipes, {} partitions, {} events: {} formed, {} with competing proposers, {} "
        "chosen "
        "among faults, {} with wipes, {} rightly stuck, {} formed again after all that held the first record were "
        "wiped",
        boots, crashes, wipes, partitions, events, formed, competing, chosen_early, wiped, stuck, forked);
  }
};

/// From the defaults on a quick network to duels of many ballots on a slow one.
inline world_options draw_options(rng& r) {
  world_options o;
  o.seeds = 3 + r.below(3);
  o.others = r.below(2);
  constexpr duration units[] = {1s, 200ms, 20ms, 20ms};
  const duration unit = units[r.below(4)];
  const auto either = [&](duration a, duration b) { return r.chance(0.5) ? a : b; };
  o.genesis.redial = unit;
  o.genesis.stable_margin = either(3 * unit, unit + 1ms);
  o.genesis.rank_delay = either(unit, unit / 10);
  o.genesis.ballot_timeout = either(unit, 3 * unit);
  o.genesis.settle = unit / 3;
  o.latency_max = either(unit / 100, either(unit / 4, unit));
  o.latency_min = o.latency_max / 10;
  o.sync_max = either(unit / 100, unit / 4);
  o.sync_min = o.sync_max / 10;
  o.notice_max = either(0s, unit);
  o.restart_max = either(unit / 10 + 1ms, 2 * unit);
  o.lose = r.chance(0.5) ? 0 : r.chance(0.5) ? 0.05 : 0.25;
  o.repeat = r.chance(0.5) ? 0 : 0.2;
  o.outlive = r.chance(0.5);
  o.crash_at_persist = r.chance(0.5) ? 0 : r.chance(0.5) ? 0.05 : 0.2;
  return o;
}

/// One fault: a crash, a wipe, or a partition, and its end.
inline void harm(world& w, rng& r, bool may_wipe) {
  const auto i = static_cast<std::size_t>(r.below(w.machines.size()));
  const duration pause = r.between(0s, 3 * w.opt.genesis.redial / 2);
  switch (r.below(may_wipe ? 6 : 3)) {
    case 0:
      w.crash(i);
      w.start_at(w.now + pause, i);
      break;
    case 1:
      w.heal();
      break;
    case 2: {
      if (r.chance(0.7)) w.later(pause, [&w] { w.heal(); });
      std::vector<std::size_t> away;
      for (std::size_t k = 0; k < w.machines.size(); ++k) {
        if (r.chance(0.4)) away.push_back(k);
      }
      w.partition(away);
      break;
    }
    default: {
      // one slot, or many at once: the machines of one rack
      const bool many = r.chance(0.3);
      for (std::size_t k = 0; k < w.opt.seeds; ++k) {
        if (k != i && !(many && r.chance(0.6))) continue;
        w.wipe(k);
        w.start_at(w.now + pause, k);
      }
    }
  }
}

/// Stuck is right: an accepted record that too few of the present ids may accept.
inline bool rightly_stuck(const world& w) {
  for (const auto& m : w.machines) {
    if (!m.disk.accepted || m.disk.id) continue;
    std::size_t listed = 0;
    for (std::size_t k = 0; k < w.opt.seeds; ++k) listed += m.disk.accepted->lists(w.machines[k].id);
    if (listed < w.majority()) return true;
  }
  return false;
}

inline outcome boot(std::uint64_t seed) {
  rng r(seed);
  world w(r.next(), draw_options(r));
  const duration margin = w.opt.genesis.stable_margin;
  for (std::size_t i = 0; i < w.machines.size(); ++i) w.start_at(w.now + r.between(0s, margin / 4), i);
  const bool may_wipe = r.chance(0.8);
  const auto faults = r.chance(0.5) ? 0 : r.below(6);
  // most faults hit the moments around the first ballots
  std::vector<instant> moments;
  for (std::uint64_t k = 0; k < faults; ++k) moments.push_back(w.now + r.between(margin / 2, 3 * margin));
  std::sort(moments.begin(), moments.end());
  // the others follow a message of the ballots at once
  int aimed = r.chance(0.5) ? 0 : 6;
  w.filter = [&](std::size_t, std::size_t, const genesis_message&) {
    if (aimed > 0 && r.chance(0.06)) {
      --aimed;
      w.later(r.between(0s, 2 * w.opt.latency_max), [&] {
        if (aimed >= 0) harm(w, r, may_wipe);
      });
    }
    return true;
  };
  for (const instant t : moments) {
    w.run_for(t - w.now);
    harm(w, r, may_wipe);
  }
  w.run_for(margin + r.between(0s, 4 * margin));
  aimed = -1;
  outcome out;
  out.chosen_early = !w.chosen.empty();
  // the tail: nothing fails any more
  w.heal();
  w.calm = true;
  for (std::size_t i = 0; i < w.machines.size(); ++i) {
    if (w.machines[i].fatal.empty()) w.start_at(w.now + 2s, i);
  }
  out.formed = w.run_until(40s, [&] { return w.all_formed() || w.ever.size() > 1 || !w.violation.empty(); });
  out.forked = w.ever.size() > 1;
  out.wiped = !w.wiped.empty();
  out.competing = w.proposers() > 1;
  out.crashes = w.crashes;
  out.wipes = w.wipes;
  out.partitions = w.partitions;
  out.violation = w.violation;
  if (!out.formed) {
    out.stuck = rightly_stuck(w);
    if (!out.stuck) {
      out.violation = "not formed in a fault-free tail:";
      for (std::size_t i = 0; i < w.machines.size(); ++i) out.violation += "\n  " + w.situation(i);
    }
  }
  out.events = w.events;
  return out;
}

}  // namespace genesis_test
