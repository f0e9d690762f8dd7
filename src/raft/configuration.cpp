// Changes of the configuration by joint consensus (paper section 6, thesis 4.3): one at a time, effective when
// appended, the joint phase left by whoever leads once it is committed.
#include <algorithm>
#include <utility>

#include "raft/core.hpp"

namespace coterie::raft {
namespace {

void normalise(std::vector<node_id>& ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

}  // namespace

result<void> core::may_change_configuration() const {
  if (role_ != role::leader) return fail(errc::unavailable, "this node is not the leader: ask the leader");
  // Before an own-term entry is committed, a configuration of an older term could still win (raft-dev 2015).
  if (!leader_ready()) return fail(errc::unavailable, "the leader is not ready: try again later");
  if (transfer_) return fail(errc::unavailable, "leadership is being handed over: ask the next leader");
  if (!conf_committed() || log_.conf().joint()) {
    return fail(errc::unavailable, "a configuration change is pending: try again when it is done");
  }
  return {};
}

result<log_index> core::propose_configuration(std::vector<node_id> voters, std::vector<node_id> learners, instant now) {
  observe(now);
  if (auto ok = may_change_configuration(); !ok) return tl::unexpected(std::move(ok.error()));
  normalise(voters);
  normalise(learners);
  std::vector<node_id> both;
  std::set_intersection(voters.begin(), voters.end(), learners.begin(), learners.end(), std::back_inserter(both));
  const auto has_zero = [](const auto& ids) { return !ids.empty() && !ids.front(); };
  if (voters.empty()) return fail(errc::bad_argument, "a configuration needs a voter");
  if (!both.empty() || has_zero(voters) || has_zero(learners)) {
    return fail(errc::bad_argument, "every member needs an id and is a voter or a learner, not both");
  }
  configuration next{std::move(voters), {}, std::move(learners), log_.conf().read_lease};
  if (next == log_.conf()) return fail(errc::bad_argument, "the configuration is already like this");
  if (next.voters != log_.conf().voters) next.outgoing = log_.conf().voters;
  append_configuration(std::move(next));
  return log_.conf_index();
}

result<log_index> core::propose_read_lease(std::chrono::milliseconds lease, instant now) {
  observe(now);
  if (auto ok = may_change_configuration(); !ok) return tl::unexpected(std::move(ok.error()));
  if (lease < lease.zero()) return fail(errc::bad_argument, "a read lease has a positive length, or zero for none");
  auto next = log_.conf();
  if (next.read_lease == lease) return fail(errc::bad_argument, "the read lease is already like this");
  next.read_lease = lease;
  append_configuration(std::move(next));
  return log_.conf_index();
}

void core::append_configuration(configuration conf) {
  append_own(entry_kind::configuration, {}, std::move(conf));
  reconcile_progress();
  stats_.add("raft_configurations_proposed");
}

/// The table holds exactly the other members of the latest configuration.
void core::reconcile_progress() {
  const auto& conf = log_.conf();
  std::erase_if(progress_, [&](const auto& p) { return !conf.contains(p.first); });
  for (const auto id : conf.members()) {
    if (id == self_ || progress_.contains(id)) continue;
    auto& p = progress_[id];
    p.next = log_.last().next();
    p.last_contact = now_;
  }
  if (transfer_ && !conf.is_voter(transfer_->to)) transfer_.reset();
}

/// What a leader owes when its commit index moved. "Leave joint" is derived from the configuration alone, so a new
/// leader does it as well and nobody does it twice (etcd#12136, #12582), and only after the own-term no-op
/// (camunda#61854).
void core::after_commit() {
  if (role_ != role::leader || !conf_committed() || noop_index_ > commit_) return;
  const auto& conf = log_.conf();
  if (conf.joint() && !transfer_) return append_configuration({conf.voters, {}, conf.learners, conf.read_lease});
  if (!conf.joint() && !conf.is_voter(self_)) leave_office();
}

/// The final configuration without this leader is committed: the others learn that, the most advanced one takes over.
void core::leave_office() {
  heartbeat_due_ = true;
  flush_peers();
  for (const auto& [id, p] : progress_) {
    if (log_.conf().is_voter(id) && p.match == log_.last()) {
      send_now(id, timeout_now{unleased()});
      break;
    }
  }
  stats_.add("raft_left_office");
  become_follower(hard_.current, {});
}

}  // namespace coterie::raft
