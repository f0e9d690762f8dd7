// A key-value machine on the core, and its clients, in the world of world.hpp. What the clients called and what they
// were told is judged by the project's own checker, by nothing else.
#pragma once

#include <cstdint>

#include "linearizability/checker.hpp"
#include "raft/core.hpp"

namespace coterie::raft::test {

struct kv_result {
  linearizability::history history;
  /// Operations by what came of them. An unsure one may take effect at any later time, or never.
  std::size_t written = 0, swapped = 0, mismatched = 0, unsure = 0, read = 0;
  std::size_t last_reads = 0;  ///< after the faults ended
};

/// Clients on random nodes put, get, and compare-and-set a few keys. `lost_fsync` and `unordered_apply`, bugs of the
/// engine, are planted in the disks and the machine of this test.
kv_result kv(std::uint64_t seed, options o, std::chrono::milliseconds lease = {});

linearizability::report judge(const linearizability::history&);

}  // namespace coterie::raft::test
