// How old this node's applied state may be (docs/consensus.md 1.8): from what a leader confirmed, by a quorum round
// begun after this node had asked, to be all that was committed before. Knows nothing of what is read.
#pragma once

#include <deque>
#include <optional>

#include "base/ids.hpp"
#include "base/time.hpp"

namespace coterie::engine {

class freshness {
 public:
  /// `rate_error`: the assumed bound on both clocks.
  explicit freshness(double rate_error) : rate_error_(rate_error) {}

  /// All that anybody knew to be committed when this node asked stands at or below `upto`.
  void confirmed(log_index upto, const times& asked);
  /// Nothing that was committed longer ago than this is missing from the state at `applied`, which never falls.
  /// nullopt: nothing was confirmed yet.
  std::optional<duration> age(log_index applied, const times& now);

 private:
  struct confirmation {
    log_index upto;
    times asked;
  };
  double rate_error_;
  std::optional<times> known_;        ///< when the newest one was asked for that is applied
  std::deque<confirmation> waiting_;  ///< for their entries to be applied, by index and time
};

}  // namespace coterie::engine
