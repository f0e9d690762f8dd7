// Roles and how they change: elections with prevote, check-quorum and leader stickiness (paper 5.2, 5.4.1;
// thesis 4.2.3, 9.6), leadership transfer (thesis 3.10), and the watch over a leader that makes no progress. Knows
// nothing of replication beyond how far each follower is.
#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "raft/core.hpp"
#include "raft/quorum.hpp"

namespace coterie::raft {

namespace {
// A campaign is two rounds and two synced writes; the rest is for those who lose the race.
constexpr int paces_of_timeout = 5;
constexpr double largest_stretch = 10;
// What is measured may be wrong, or another voter's disk slower: after more than so many campaigns without an outcome
// they last longer.
constexpr unsigned patient_campaigns = 2, doublings = 3;
}  // namespace

bool core::alone() const {
  return is_quorum(log_.conf(), [this](node_id id) { return id == self_; });
}

/// A voter of the latest configuration; or one that it removes, as long as that may not be committed: those who have
/// the entry may be the only ones who can still win, without a vote of their own (thesis 4.2.2, figure 4.6).
bool core::promotable() const {
  if (log_.conf().is_voter(self_)) return true;
  return !conf_committed() && log_.conf_at(log_.conf_index().prev()).is_voter(self_);
}

/// A leader was heard within the shortest election time-out: nobody needs another one.
bool core::sticky() const {
  return role_ == role::leader || (leader_ && now_ - last_leader_contact_ < options_.election_timeout_min);
}

void core::reset_election_timer() {
  election_deadline_ = promotable() || leader_
                           ? now_ + rng_.between(stretched(options_.election_timeout_min), longest_election_timeout())
                           : never;
}

/// Each node goes by its own pace: who asks far voters waits longer for them, and is in no hurry to depose who leads.
duration core::stretched(duration configured) const {
  double stretch = static_cast<double>((paces_of_timeout * pace_).count()) /
                   static_cast<double>(options_.election_timeout_min.count());
  stretch = std::max(stretch, 1.0);
  if (failed_campaigns_ > patient_campaigns)
    stretch *= 1u << std::min(failed_campaigns_ - patient_campaigns, doublings);
  return std::chrono::duration_cast<duration>(configured * std::min(stretch, largest_stretch));
}

instant core::next_heartbeat() const {
  const auto next = now_ + options_.heartbeat;
  return options_.align_heartbeats ? next - next.time_since_epoch() % options_.heartbeat : next;
}

// ---- roles ----------------------------------------------------------------------------------------------------------

void core::become_follower(term t, node_id leader) {
  changed_ = changed_ || role_ != role::follower;
  if (role_ == role::leader) {
    set_leader({});  // fails the reads while the followers that asked for them can still be told
    progress_.clear();
    transfer_.reset();
    lease_.give_up();
    awaited_lease_ = {};
    last_read_.reset();
    heartbeat_due_ = false;
  }
  role_ = role::follower;
  if (t > hard_.current) set_hard_state({t, {}});
  votes_.clear();
  set_leader(leader);
  reset_election_timer();
}

void core::become_leader() {
  COTERIE_ASSERT(role_ == role::candidate);
  role_ = role::leader;
  changed_ = true;
  votes_.clear();
  set_leader(self_);
  leader_term_ = hard_.current;
  leader_since_ = moved_at_ = now_;
  stall_handover_ = false;
  failed_campaigns_ = 0;
  heartbeat_deadline_ = next_heartbeat();
  uncommitted_bytes_ = 0;
  for (auto i = commit_.next(); i <= log_.last(); ++i) uncommitted_bytes_ += cost(log_.at(i)->payload.size());
  progress_.clear();
  reconcile_progress();
  await_leases();
  // Paper section 8: an entry of the own term, since only with it older ones can be committed (5.4.2).
  noop_index_ = append_own(entry_kind::noop, {}, {});
  stats_.add("raft_elections_won");
}

void core::start_prevote() {
  if (!promotable()) return;
  changed_ = changed_ || role_ != role::pre_candidate;
  role_ = role::pre_candidate;
  set_leader({});
  votes_.clear();
  votes_.emplace(self_, true);
  reset_election_timer();
  stats_.add("raft_prevotes_started");
  ask_for_votes();
  count();
}

/// The own vote counts when it is durable (on_persisted), like any other.
void core::start_election(bool on_order) {
  if (!promotable()) return;
  role_ = role::candidate;
  set_leader({});
  set_hard_state({hard_.current.next(), self_});
  votes_.clear();
  campaign_on_order_ = on_order;
  reset_election_timer();
  stats_.add("raft_elections_started");
  ask_for_votes();
}

/// Also repeats the request to those who have not answered: they may have been deaf to it while they heard the old
/// leader.
void core::ask_for_votes() {
  heartbeat_deadline_ = now_ + options_.heartbeat;
  const bool pre = role_ == role::pre_candidate;
  const vote_request request{pre, !pre && campaign_on_order_, log_.last(), log_.last_term()};
  const auto in = pre ? hard_.current.next() : hard_.current;
  auto& lane = pre ? send_now_ : send_after_persist_;
  for (const auto id : log_.conf().members()) {
    if (id == self_ || !log_.conf().is_voter(id) || votes_.contains(id)) continue;
    lane.push_back({self_, id, in, request});
  }
}

void core::count() {
  switch (count_votes(log_.conf(), votes_)) {
    case tally::pending:
      return;
    case tally::lost:
      return become_follower(hard_.current, {});
    case tally::won:
      return role_ == role::pre_candidate ? start_election(false) : become_leader();
  }
}

// ---- votes ----------------------------------------------------------------------------------------------------------

/// Decided on the request alone, not on this node's view of its own role: the candidate may know a newer configuration
/// (etcd#10998).
void core::on_vote_request(const message& m, const vote_request& v) {
  const bool current = std::pair(v.last_term, v.last_index) >= std::pair(log_.last_term(), log_.last());  // paper 5.4.1
  if (v.pre) {
    if (m.when > hard_.current && sticky()) {
      if (log_.conf().contains(m.from)) early_prevotes_.insert_or_assign(m.from, early_prevote{now_, m});
      return drop("raft_prevote_while_led");
    }
    const bool granted = m.when > hard_.current && current;
    // Who is behind this node can't win: the turn is the next one's.
    if (!current && !leader_ && role_ == role::follower && promotable())
      election_deadline_ = std::max(now_, election_deadline_ - options_.heartbeat / 2);
    // A refusal carries the own term, so that a node that fell behind catches up and can try again.
    send_now_.push_back({self_, m.from, granted ? m.when : hard_.current, vote_response{true, granted}});
    return;
  }
  const bool free = (!hard_.vote && !leader_) || options_.bug == planted_bug::double_vote;
  const bool granted = current && (hard_.vote == m.from || free);
  if (granted) {
    if (role_ == role::pre_candidate) become_follower(hard_.current, {});
    set_hard_state({hard_.current, m.from});
    reset_election_timer();
  }
  send_durable(m.from, vote_response{false, granted});
}

void core::on_vote_response(const message& m, const vote_response& v) {
  const bool expected =
      v.pre ? role_ == role::pre_candidate && m.when == (v.granted ? hard_.current.next() : hard_.current)
            : role_ == role::candidate;
  if (!expected || !log_.conf().is_voter(m.from)) return drop("raft_late_vote");
  votes_.emplace(m.from, v.granted);
  count();
}

/// The first to notice that the leader's process is gone asks those who do not know it yet. They need not be asked
/// again, but what a candidate has repeated meanwhile would be an answer twice.
void core::answer_early_prevotes() {
  for (const auto& [from, asked] : std::exchange(early_prevotes_, {}))
    if (now_ - asked.came < options_.heartbeat)
      on_vote_request(asked.request, std::get<vote_request>(asked.request.body));
}

// ---- time -----------------------------------------------------------------------------------------------------------

void core::tick_follower() {
  if (now_ >= election_deadline_) {
    failed_campaigns_ += role_ == role::candidate;
    if (promotable()) return start_prevote();
    set_leader({});
    reset_election_timer();
  }
  if (role_ != role::follower && now_ >= heartbeat_deadline_) ask_for_votes();
}

void core::tick_leader() {
  if (now_ - quorum_contact() > longest_election_timeout()) {
    stats_.add("raft_lost_quorum");
    return become_follower(hard_.current, {});
  }
  if (transfer_ && now_ >= transfer_->deadline) abort_transfer();
  if (awaited_lease_ > duration::zero()) {
    moved_at_ = now_;  // nothing may be committed yet: that is no stall
    if (!awaits_leases()) maybe_commit();
    if (role_ != role::leader) return;
  }
  if (stalled()) {
    if (!hand_over_stalled()) return;
  } else {
    stall_handover_ = false;
  }
  if (now_ < heartbeat_deadline_) return;
  heartbeat_deadline_ = next_heartbeat();
  heartbeat_due_ = true;
  for (auto& [id, p] : progress_) {
    if (p.state == flow::replicate && !p.active(now_, options_.election_timeout_max)) p.become_probe(p.match.next());
    if (p.state == flow::snapshot && now_ >= p.snapshot_timer) p.become_probe(p.snapshot.next());
  }
  push_transfer();
}

/// When the last quorum was heard, this node included if it is a voter.
instant core::quorum_contact() const {
  return quorum_value(log_.conf(), [this](node_id id) {
    if (id == self_) return now_;
    const auto it = progress_.find(id);
    return it == progress_.end() ? leader_since_ : it->second.last_contact;
  });
}

void core::on_unreachable(node_id id, bool crashed, instant now) {
  observe(now);
  if (role_ == role::leader) {
    if (const auto it = progress_.find(id); it != progress_.end() && it->second.state == flow::replicate) {
      it->second.become_probe(it->second.match.next());
    }
    return;
  }
  if (!crashed || !id || id != leader_) return;
  set_leader({});
  reset_election_timer();
  if (promotable()) {
    // Staggered by rank, so that the first one usually has all votes before the second one asks.
    std::int64_t rank = 0;
    for (const auto member : log_.conf().members())
      rank += member != id && member < self_ && log_.conf().is_voter(member);
    election_deadline_ = std::min(election_deadline_, now_ + rank * std::max(options_.heartbeat / 2, pace_));
  }
  answer_early_prevotes();
}

// ---- a leader without progress --------------------------------------------------------------------------------------

/// Heartbeats alone must not keep a leader in office whose disk or whose followers take nothing any more (hraft#503).
bool core::stalled() const {
  if (alone()) return false;  // nobody else could do better
  const auto since = log_.waiting_since();
  if (since && now_ - *since > options_.stall_timeout) return true;
  if (commit_ == log_.last() || now_ - moved_at_ <= options_.stall_timeout) return false;
  return std::none_of(progress_.begin(), progress_.end(), [this](const auto& p) {
    return p.second.state == flow::snapshot && log_.conf().is_voter(p.first);
  });
}

/// First tries to give leadership to the follower that is furthest, then steps down. False when it did.
bool core::hand_over_stalled() {
  if (transfer_) return true;
  if (!stall_handover_) {
    const std::pair<const node_id, follower_progress>* best = nullptr;
    for (const auto& p : progress_) {
      const bool fit = p.second.active(now_, options_.election_timeout_max) && log_.conf().is_voter(p.first);
      if (fit && (!best || p.second.match > best->second.match)) best = &p;
    }
    stall_handover_ = true;
    stats_.add("raft_stalled");
    if (best) {
      start_transfer(best->first);
      return true;
    }
  }
  become_follower(hard_.current, {});
  return false;
}

// ---- transfer -------------------------------------------------------------------------------------------------------

result<void> core::transfer_leadership(node_id to, instant now) {
  observe(now);
  if (role_ != role::leader) return fail(errc::unavailable, "this node is not the leader: ask the leader");
  if (to == self_) return {};
  if (!log_.conf().is_voter(to)) return fail(errc::bad_argument, "leadership can only be handed to a voter");
  if (transfer_ && transfer_->to == to) return {};
  if (transfer_) return fail(errc::unavailable, "leadership is being handed to another node already");
  start_transfer(to);
  return {};
}

void core::stand_back(instant until, instant now) {
  observe(now);
  if (role_ != role::follower) become_follower(hard_.current, {});
  election_deadline_ = std::max(election_deadline_, until);
}

void core::start_transfer(node_id to) {
  transfer_ = transfer{to, now_ + (stall_handover_ ? options_.election_timeout_max : longest_election_timeout())};
  stats_.add("raft_transfers_started");
  push_transfer();
}

/// Orders the target to campaign once it has the whole log; repeated, since the order may be lost. The read lease goes
/// first, so that nobody has to wait for it.
void core::push_transfer() {
  if (!transfer_) return;
  const auto it = progress_.find(transfer_->to);
  if (it == progress_.end() || it->second.match != log_.last()) return;
  lease_.give_up();
  send_now(transfer_->to, timeout_now{unleased()});
}

void core::abort_transfer() {
  transfer_.reset();
  stats_.add("raft_transfers_aborted");
  after_commit();
}

void core::on_timeout_now(const message& m, const timeout_now& order) {
  if (role_ == role::leader || (leader_ && leader_ != m.from)) return drop("raft_timeout_now_not_from_leader");
  if (role_ == role::candidate) return;
  if (order.unleased) unleased_ = {m.when, order.unleased};
  start_election(true);
}

// ---- read leases of predecessors ------------------------------------------------------------------------------------

/// Up to where this leader may say that nobody has any: it has none, and its predecessors' were over when it committed.
/// Zero where there is nothing to be said.
log_index core::unleased() const {
  return committed_in_own_term() && log_.longest_lease(commit_).count() > 0 ? log_.last() : log_index{};
}

/// A new leader. Whoever led before it may answer reads for so long after it made an entry that is committed, which is
/// in this log, and was made before it was received here. How long, its configuration said: that is the one at the
/// commit index known here, or a later one (docs/consensus.md 1.8).
void core::await_leases() {
  const bool nobody = !log_.last() || unleased_ == std::pair(log_.last_term(), log_.last());
  awaited_lease_ = nobody ? duration::zero() : duration(log_.longest_lease(commit_));
}

/// Until it is over nothing is committed, so that nobody is told of what those reads would not show.
bool core::awaits_leases() {
  if (awaited_lease_ == duration::zero()) return false;
  if (lease_.wait(awaited_lease_) > duration::zero() && options_.bug != planted_bug::early_commit) return true;
  stats_.add("raft_leases_awaited");
  awaited_lease_ = {};
  return false;
}

}  // namespace coterie::raft
