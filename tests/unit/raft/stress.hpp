// Proposals and reads in the world of world.hpp; the properties of figure 3 and linearizable reads are watched at every
// step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "raft/core.hpp"

namespace coterie::raft::test {

struct stress_result {
  std::vector<std::string> violations;
  std::size_t committed = 0, reads = 0, leaders = 0, configurations = 0, snapshots = 0, lease_reads = 0;
  bool live = false;  ///< after the faults ended all voters agreed on everything, with a new entry
};

stress_result stress(std::uint64_t seed, options o, std::chrono::milliseconds lease = {});

}  // namespace coterie::raft::test
