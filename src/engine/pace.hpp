// How fast this node and the voters are, as election time-outs need to know it (docs/consensus.md 1.5).
#pragma once

#include <deque>

#include "base/time.hpp"
#include "raft/types.hpp"
#include "swim/membership.hpp"

namespace coterie::engine {

/// How long the latest synced writes took, from the order to the answer, with what they had to wait for.
class sync_times {
 public:
  void add(instant done, duration took);
  /// Of the last 128, none older than a minute: what all but two of them keep to, about the p99. Zero when there are no
  /// more than two.
  duration usual(instant now) const;

 private:
  struct sample {
    instant done;
    duration took;
  };
  std::deque<sample> samples_;
};

/// The round trip to the nearest quorum of the voters that gossip sees, this node included if it is one; to the
/// farthest of them when they are no quorum. What was never measured, and where coordinates say nothing, counts as
/// zero.
duration quorum_round_trip(const raft::configuration&, const swim::membership&);

}  // namespace coterie::engine
