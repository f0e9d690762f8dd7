// The local validity of this node's session as any thread may read it, without a lock (docs/consensus.md 2). A hold is
// bound to its epoch. Knows clocks and deadlines, not who renews them.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/seam.hpp"

namespace coterie::runtime {

/// One writer (the loop), any readers. A sequence lock, so that epoch and both deadlines are always read as one.
class lease_page {
 public:
  /// Set by the loop only.
  void set(const engine::lease&);
  session_epoch epoch() const noexcept;
  /// Valid now, by both clocks, for exactly this epoch.
  bool valid(session_epoch) const noexcept;
  /// Remaining validity for this epoch; zero when over.
  duration left(session_epoch) const noexcept;

 private:
  std::atomic<std::uint64_t> sequence_{0};  // odd while it is written
  std::atomic<std::uint64_t> epoch_{0};
  std::atomic<std::int64_t> steady_{0}, boot_{0};
};

}  // namespace coterie::runtime
