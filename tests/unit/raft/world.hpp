// A small random world of five nodes: messages lost, doubled and reordered, nodes crashed and stopped, clocks apart,
// configurations changed. Who uses the cluster is up to others: stress.cpp, kv.cpp.
#pragma once

#include <cstdint>
#include <functional>

#include "cluster.hpp"

namespace coterie::raft::test {

struct world {
  static constexpr std::uint64_t nodes = 5;

  /// With a lease: leaders answer reads by leases of up to that length, which change, and all clocks go at rates of
  /// their own within the assumed bound.
  world(std::uint64_t seed, options o, std::chrono::milliseconds lease = {});

  std::uint64_t any() { return 1 + random.below(nodes); }
  std::uint64_t any_or_leader();

  void move_messages();
  void move_disks();
  void move_time();
  /// Changes the configuration, hands leadership over, compacts, breaks links.
  void disturb(std::uint64_t n);
  void break_things();
  /// One of the things that broke works again, perhaps.
  void mend();
  /// Everything works again, for long enough. True when all members agree on everything then, with a new entry.
  bool recover();

  rng random;
  std::chrono::milliseconds lease{0};
  cluster c;
  double loss = 0, fault = 0, disk_speed = 1;
  bool slow_disks = false;
  std::uint64_t deaf = 0;                      ///< hears no message and no clock for now; 0 = nobody
  std::size_t configurations = 0;              ///< changes begun
  std::function<void(std::uint64_t)> crashed;  ///< told of each crash
};

}  // namespace coterie::raft::test
