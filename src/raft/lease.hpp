// The times that read leases are measured by (LeaseGuard, arXiv 2512.15659: the log is the lease; docs/consensus.md
// 1.8): when a leader made its own entries, and when a node last took any of another's. A holder believes the faster of
// both clocks, who waits for it the slower one. Knows nothing of roles, of quorums or of what is in an entry.
#pragma once

#include <algorithm>
#include <deque>
#include <optional>

#include "base/ids.hpp"
#include "base/time.hpp"

namespace coterie::raft {

class lease_times {
 public:
  /// `rate_error` bounds how much faster or slower than real time any clock goes.
  explicit lease_times(double rate_error) : rate_error_(rate_error) {}

  /// What both clocks say, read after everything that comes until the next call was there. Before the first one nothing
  /// is held and nothing is over.
  void read(const times& now) {
    now_ = now;
    if (!received_) received_ = now;  // what the disk had at the start
  }

  // ---- a leader's own lease ----
  void made(log_index i) {
    if (!now_) return;
    if (!made_.empty() && made_.back().at.steady == now_->steady) made_.pop_back();
    made_.push_back({i, *now_});
  }
  void committed(log_index upto) {
    for (; !made_.empty() && made_.front().last <= upto; made_.pop_front()) from_ = made_.front().at;
  }
  /// No entry that was made so far gives a lease any more.
  void give_up() {
    made_.clear();
    from_.reset();
  }
  /// Something was made and is not committed yet.
  bool under_way() const { return !made_.empty(); }
  /// What is left of a lease of that length by the newest committed entry; zero = none.
  duration left(duration lease) const {
    if (!from_ || lease <= duration::zero()) return {};
    const duration raw = now_->steady - from_->steady, boot = now_->boot - from_->boot;
    if (std::min(raw, boot) < duration::zero()) return {};  // a clock that goes backwards tells nothing
    return std::max(scaled(lease, 1.0 - rate_error_) - std::max(raw, boot), duration::zero());
  }

  // ---- leases of others ----
  /// An entry that this node did not make came into the log.
  void received() { received_ = now_; }
  /// How long any lease of that length by a received entry may last; zero = it is over.
  duration wait(duration lease) const {
    const auto whole = scaled(lease, 1.0 + rate_error_);
    return received_ ? std::max(whole - elapsed_for_granter(*received_, *now_), duration::zero()) : whole;
  }

 private:
  struct made_entries {  // of one turn
    log_index last;
    times at;
  };
  double rate_error_;
  std::optional<times> now_, received_;
  std::deque<made_entries> made_;  ///< not committed yet
  std::optional<times> from_;      ///< when the newest committed one was made
};

}  // namespace coterie::raft
