// What a leader knows of one follower: how far its log is known to match, what is on its way, and how to go on. Knows
// nothing of the log's content or of quorums.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

#include "base/time.hpp"
#include "raft/types.hpp"

namespace coterie::raft {

/// probe: one append at a time, until an answer shows where the logs meet. replicate: pipelined, `next` is optimistic.
/// snapshot: the follower needs entries that are gone; only heartbeats until the transfer is over or an answer
/// reconnects.
enum class flow : std::uint8_t { probe, replicate, snapshot };

struct follower_progress {
  log_index match;  ///< durable at the follower and equal to the leader's log
  log_index next;   ///< the next entry to send; match < next
  flow state = flow::probe;
  bool paused = false;             ///< probe: the append is on its way
  std::deque<log_index> inflight;  ///< replicate: last index of each append with entries that has no answer yet

  instant last_contact;     ///< last answer in this term, or when this follower came into the table
  bool heard = false;       ///< an answer came in this term
  std::uint64_t round = 0;  ///< newest leadership-confirmation round it answered
  std::uint64_t round_sent = 0;
  log_index commit_sent;

  log_index snapshot;  ///< snapshot: index of the transfer
  /// In snapshot: when to stop waiting for the answer after a finished transfer. Otherwise: no transfer before this.
  instant snapshot_timer = instant::min();

  bool active(instant now, duration timeout) const { return heard && now - last_contact <= timeout; }

  void become_probe(log_index from) {
    if (state == flow::snapshot) snapshot_timer = instant::min();
    state = flow::probe;
    next = std::max(from, match.next());
    paused = false;
    inflight.clear();
  }
  void become_replicate() {
    state = flow::replicate;
    next = match.next();
    paused = false;
    inflight.clear();
    snapshot_timer = instant::min();
  }
  void become_snapshot(log_index upto) {
    state = flow::snapshot;
    snapshot = upto;
    snapshot_timer = never;
    paused = false;
    inflight.clear();
  }
  /// Everything up to `upto` arrived: frees the window. True if that is news.
  bool acknowledge(log_index upto) {
    while (!inflight.empty() && inflight.front() <= upto) inflight.pop_front();
    next = std::max(next, upto.next());
    if (upto <= match) return false;
    match = upto;
    return true;
  }
};

}  // namespace coterie::raft
