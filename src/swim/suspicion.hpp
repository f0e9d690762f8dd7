// How long a suspect has to refute, and how sure this node may be of itself: the two dynamic parts of Lifeguard (arXiv
// 1707.00788). Knows nothing of members, datagrams or probes.
#pragma once

#include <cstddef>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"

namespace coterie::swim {

/// One suspicion. Its time-out starts at max and shrinks to min with independent confirmations (Lifeguard, "local
/// health aware suspicion"): max - (max - min) * log(c + 1) / log(k + 1), c confirmations of k wanted.
class suspicion {
 public:
  static constexpr std::size_t max_accusers = 8;

  /// `wanted` confirmations by others bring the time-out down to `min`; with 0 wanted it is `min` from the start.
  suspicion(instant now, duration min, duration max, unsigned wanted, node_id accuser);

  /// True when this accuser is new and still counts: then the deadline may have moved and the accusation is news.
  bool accuse(node_id);
  /// Crash evidence: not later than `at`.
  void hurry(instant at);
  /// The full time again from now: this node stood still and can't tell what it missed.
  void restart(instant now);

  instant started() const { return started_; }
  /// Its end when nobody confirms or hurries it.
  instant latest() const { return started_ + max_; }
  instant deadline() const;
  const std::vector<node_id>& accusers() const { return accusers_; }

 private:
  instant started_;
  duration min_, max_;
  unsigned wanted_;
  instant latest_ = never;
  std::vector<node_id> accusers_;  // the first is not a confirmation
};

/// Local health multiplier (Lifeguard, "local health aware probe"): 0 is healthy; all time-outs of this node are
/// multiplied by score + 1, because who misses answers from everybody should doubt itself first.
class health_multiplier {
 public:
  explicit health_multiplier(unsigned max) : max_(max) {}
  void raise(unsigned by) { score_ = by >= max_ - score_ ? max_ : score_ + by; }
  /// A probe succeeded. Counts at most once per `pace`, so that many pairs can't talk a sick node healthy at once.
  void ease(instant now, duration pace);
  unsigned score() const { return score_; }
  /// How often a duration fits.
  int multiplier() const { return static_cast<int>(score_) + 1; }

 private:
  unsigned max_;
  unsigned score_ = 0;
  instant eased_{};
  bool ever_eased_ = false;
};

}  // namespace coterie::swim
