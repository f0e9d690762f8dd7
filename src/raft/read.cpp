// Linearizable reads without log entries (thesis 6.4): a read is served at the commit index of its beginning once a
// quorum confirmed, after that, that this is still the leader, or at once under a read lease (docs/consensus.md 1.8).
// Knows nothing of what is read.
#include <algorithm>
#include <utility>

#include "raft/core.hpp"
#include "raft/quorum.hpp"

namespace coterie::raft {

/// Until then the leader does not know how far its predecessors committed.
bool core::committed_in_own_term() const { return commit_ >= noop_index_; }

void core::read_index(std::uint64_t id, instant now) {
  observe(now);
  if (role_ == role::leader) return on_leader_read({self_, id});
  if (!leader_ || pending_reads_ >= options_.max_pending_reads) {
    drop(leader_ ? "raft_reads_refused" : "raft_reads_without_leader");
    reads_.push_back({id, false, {}});
    return;
  }
  ++pending_reads_;
  waiting_reads_.push_back({self_, id});
}

void core::confirm_leadership(std::uint64_t id, instant now) {
  observe(now);
  if (role_ == role::leader) return add_leader_read({self_, id});
  reads_.push_back({id, false, {}});
}

// ---- leader ---------------------------------------------------------------------------------------------------------

void core::answer_read(const read& r, bool ok, log_index index) {
  if (r.from == self_) {
    reads_.push_back({r.id, ok, index});
  } else {
    send_now(r.from, read_response{r.id, index, ok});
  }
}

void core::add_leader_read(read r) {
  if (pending_reads_ >= options_.max_pending_reads) {
    drop("raft_reads_refused");
    return answer_read(r, false, {});
  }
  ++pending_reads_;
  waiting_reads_.push_back(r);
}

/// A follower in this term that asks after its read began confirms the term itself. Where it and the leader are a
/// quorum (two or three voters), a leader of a larger term that was elected before the read began would have needed the
/// vote of one of them, and both were still here afterwards: no round is needed (docs/consensus.md 1.8).
void core::on_read_request(const message& m, const read_request& r) {
  if (role_ != role::leader) return send_now(m.from, read_response{r.id, {}, false});
  heard(m.from);
  const auto both = [&](node_id id) { return id == self_ || id == m.from; };
  if (committed_in_own_term() && is_quorum(log_.conf(), both)) return answer_read({m.from, r.id}, true, commit_);
  on_leader_read({m.from, r.id});
}

/// Under a lease nobody else has committed anything yet: what this leader knows is all that anybody was told.
void core::on_leader_read(read r) {
  renew_read_lease();
  if (!holds_read_lease()) return add_leader_read(r);
  stats_.add("raft_lease_reads");
  answer_read(r, true, commit_);
}

bool core::holds_read_lease() const {
  return role_ == role::leader && lease_.left(log_.conf_at(commit_).read_lease) > duration::zero();
}

/// Where reads come often and entries seldom, a no-op is made when half of the lease is gone; reads that come one by
/// one are no reason to write.
void core::renew_read_lease() {
  const duration lease = log_.conf().read_lease;
  if (lease == duration::zero()) return;
  const auto before = std::exchange(last_read_, now_);
  if (!before || now_ - *before >= lease || !committed_in_own_term()) return;
  if (transfer_ || lease_.under_way() || lease_.left(lease) > lease / 2) return;
  append_own(entry_kind::noop, {}, {});
  stats_.add("raft_leases_renewed");
}

/// All reads that wait become one round. The messages of this turn leave after it, so their answers confirm it; answers
/// to earlier messages carry an earlier round.
void core::start_read_round() {
  if (waiting_reads_.empty() || !committed_in_own_term() || rounds_.size() >= options_.max_read_rounds) return;
  rounds_.push_back({++round_, commit_, std::exchange(waiting_reads_, {})});
  stats_.add("raft_read_rounds");
  confirm_reads();
}

void core::confirm_reads() {
  if (rounds_.empty()) return;
  auto confirmed = quorum_value(log_.conf(), [this](node_id id) {
    if (id == self_) return round_;
    const auto it = progress_.find(id);
    return it == progress_.end() ? 0 : it->second.round;
  });
  if (options_.bug == planted_bug::skip_read_confirmation) confirmed = round_;
  while (!rounds_.empty() && rounds_.front().round <= confirmed) {
    const auto done = std::move(rounds_.front());
    rounds_.pop_front();
    pending_reads_ -= done.reads.size();
    for (const auto& r : done.reads) answer_read(r, true, done.index);
  }
}

// ---- follower -------------------------------------------------------------------------------------------------------

/// Reads are merged only into a request that starts after they came (docs/consensus.md 1.8).
void core::forward_reads() {
  if (waiting_reads_.empty() || attempts_.size() >= options_.max_read_rounds) return;
  read_attempt a{rng_.next(), now_ + std::max(options_.election_timeout_max, 3 * pace_), {}};
  a.reads.reserve(waiting_reads_.size());
  for (const auto& r : waiting_reads_) a.reads.push_back(r.id);
  waiting_reads_.clear();
  // In the leader's term: an own one that is larger, of an election long ago, is not known to a leader that does not
  // feed this node.
  send_now_.push_back({self_, leader_, leader_term_, read_request{a.id}});
  attempts_.push_back(std::move(a));
}

void core::on_read_response(const message& m, const read_response& r) {
  const auto it = std::find_if(attempts_.begin(), attempts_.end(), [&](const auto& a) { return a.id == r.id; });
  if (it == attempts_.end() || m.from != leader_) return drop("raft_late_read_response");
  pending_reads_ -= it->reads.size();
  for (const auto id : it->reads) reads_.push_back({id, r.ok, r.index});
  attempts_.erase(it);
}

void core::expire_reads() {
  while (!attempts_.empty() && now_ >= attempts_.front().deadline) {
    stats_.add("raft_reads_expired");
    pending_reads_ -= attempts_.front().reads.size();
    for (const auto id : attempts_.front().reads) reads_.push_back({id, false, {}});
    attempts_.pop_front();
  }
}

// ---- both -----------------------------------------------------------------------------------------------------------

/// The leader changed: nobody will answer these any more, or may.
void core::fail_reads() {
  for (const auto& r : waiting_reads_) answer_read(r, false, {});
  for (const auto& round : rounds_) {
    for (const auto& r : round.reads) answer_read(r, false, {});
  }
  for (const auto& a : attempts_) {
    for (const auto id : a.reads) reads_.push_back({id, false, {}});
  }
  waiting_reads_.clear();
  rounds_.clear();
  attempts_.clear();
  pending_reads_ = 0;
}

}  // namespace coterie::raft
