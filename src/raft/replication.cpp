// Log replication, commitment and snapshots, at the leader and at the follower (paper 5.3, 5.4.2, 7). Appends are
// pipelined and sent while the leader's own disk still syncs (thesis 10.2.1). Knows nothing of how a snapshot travels.
#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "raft/core.hpp"
#include "raft/quorum.hpp"

namespace coterie::raft {

// ---- leader: sending ------------------------------------------------------------------------------------------------

/// Everything that is due to the followers in this turn, so that all proposals and answers of the turn share one
/// message.
void core::flush_peers() {
  for (auto& [id, p] : progress_) {
    const auto before = send_now_.size();
    send_appends(id, p);
    if (send_now_.size() != before) continue;
    const bool answer = heartbeat_due_ || (p.round_sent < round_ && log_.conf().is_voter(id));
    const bool news = answer || p.commit_sent < commit_;
    if (heartbeat_due_ || (news && p.active(now_, options_.election_timeout_max))) send_empty(id, p, !answer);
  }
  heartbeat_due_ = false;
}

void core::send_appends(node_id id, follower_progress& p) {
  if (p.state == flow::snapshot) return;
  if (p.next < log_.first()) return maybe_send_snapshot(id, p);
  if (p.paused) return;
  if (p.state == flow::probe) {
    send_append(id, p, p.next.prev(), options_.max_append_entries, false);
    p.paused = true;
    return;
  }
  while (p.next <= log_.last() && p.inflight.size() < options_.max_inflight_appends) {
    send_append(id, p, p.next.prev(), options_.max_append_entries, false);
  }
}

void core::send_append(node_id id, follower_progress& p, log_index prev, std::size_t max_entries, bool quiet) {
  append_request a{prev, *log_.term_at(prev), commit_, {}, round_, quiet};
  std::size_t bytes = 0;
  for (auto i = prev.next(); i <= log_.last() && a.entries.size() < max_entries; ++i) {
    const auto& e = *log_.at(i);
    bytes += e.payload.size();
    if (!a.entries.empty() && bytes > options_.max_append_bytes) break;
    a.entries.push_back(e);
  }
  if (!a.entries.empty() && p.state == flow::replicate) {
    p.next = a.entries.back().index.next();
    p.inflight.push_back(a.entries.back().index);
  }
  p.commit_sent = commit_;
  p.round_sent = round_;
  send_now(id, std::move(a));
}

/// Heartbeat, commit index, confirmation round. Being at `next`, it also finds out that an earlier append was lost, and
/// it goes out when the window is full or a snapshot is on its way: an answer may free a stuck follower (etcd#14633).
void core::send_empty(node_id id, follower_progress& p, bool quiet) {
  send_append(id, p, std::max(p.next.prev(), log_.base().index), 0, quiet);
}

void core::maybe_send_snapshot(node_id id, follower_progress& p) {
  if (!p.active(now_, options_.election_timeout_max) || now_ < p.snapshot_timer) return;
  p.become_snapshot(applied_);
  stats_.add("raft_snapshots_requested");
  send_now(id, snapshot_request{*meta_at(applied_)});
}

void core::on_snapshot_sent(node_id id, bool ok, instant now) {
  observe(now);
  const auto it = progress_.find(id);
  if (role_ != role::leader || it == progress_.end() || it->second.state != flow::snapshot) return;
  auto& p = it->second;
  if (ok) {
    p.snapshot_timer = now_ + options_.snapshot_ack_timeout;
  } else {
    p.become_probe(p.match.next());
    p.snapshot_timer = now_ + options_.election_timeout_max;
  }
}

// ---- leader: answers ------------------------------------------------------------------------------------------------

void core::heard(node_id follower) {
  const auto it = progress_.find(follower);
  if (it == progress_.end()) return;
  it->second.last_contact = now_;
  it->second.heard = true;
}

void core::on_append_response(const message& m, const append_response& a) {
  const auto it = progress_.find(m.from);
  if (role_ != role::leader || it == progress_.end()) return drop("raft_unexpected_append_response");
  if (a.round > round_ || (a.ok && a.match > log_.last())) return drop("raft_bad_append_response");
  heard(m.from);
  auto& p = it->second;
  p.round = std::max(p.round, a.round);
  if (!a.ok) {
    on_reject(p, a);
    return confirm_reads();
  }
  const bool moved = p.acknowledge(a.match);
  const bool connected = p.match >= log_.base().index;
  if (p.state == flow::probe || (p.state == flow::snapshot && connected)) p.become_replicate();
  // The log may have been compacted beyond the snapshot meanwhile: then the next one is due.
  if (p.state == flow::snapshot && p.match >= p.snapshot) p.become_probe(p.match.next());
  if (moved && log_.conf().is_voter(m.from)) moved_at_ = now_;
  if (moved && transfer_ && transfer_->to == m.from) push_transfer();
  confirm_reads();
  if (moved) maybe_commit();  // may change the table of followers
}

/// The follower's log has no such entry: go back to where the terms may meet, over a whole term at a time (paper 5.3,
/// end).
void core::on_reject(follower_progress& p, const append_response& a) {
  const auto refused = a.match;
  if (refused <= p.match) return drop(a.hint < p.match ? "raft_match_regressed" : "raft_stale_reject");
  const auto probed = std::max(p.next.prev(), log_.base().index);
  const bool current = p.state == flow::replicate || (p.state == flow::probe && refused == probed);
  if (!current) return drop("raft_stale_reject");
  const auto meet = log_.last_not_newer_than(std::min({a.hint, refused.prev(), log_.last()}), a.hint_term);
  p.become_probe(meet.next());
}

/// Paper 5.3, 5.4.2: an entry of the own term on a quorum is committed, and all before it with it; never older ones by
/// counting (figure 8). This node counts itself when its own disk has the entry.
void core::maybe_commit() {
  const auto& conf = log_.conf();
  const auto replicated = quorum_value(conf, [this](node_id id) {
    if (id == self_) return log_.synced();
    const auto it = progress_.find(id);
    return it == progress_.end() ? log_index{} : it->second.match;
  });
  if (replicated <= commit_ || awaits_leases()) return;
  const bool own = log_.term_at(replicated) == hard_.current;
  if (!own && options_.bug != planted_bug::commit_old_term) return;
  advance_commit(replicated);
  moved_at_ = now_;
  after_commit();
}

// ---- follower -------------------------------------------------------------------------------------------------------

/// A message of the current term's leader. False when there is another leader in this term already, which can't be.
bool core::follow(node_id leader) {
  if (role_ == role::leader || (leader_ && leader_ != leader && leader_term_ == hard_.current)) {
    drop("raft_two_leaders");
    return false;
  }
  if (role_ != role::follower) become_follower(hard_.current, leader);
  failed_campaigns_ = 0;
  set_leader(leader);
  leader_term_ = hard_.current;
  last_leader_contact_ = last_fed_ = now_;
  reset_election_timer();
  return true;
}

bool core::well_formed(log_index prev, term prev_term, const std::vector<entry>& entries, term newest) {
  auto index = prev;
  auto when = prev_term;
  for (const auto& e : entries) {
    ++index;
    if (e.index != index || e.when < when || e.when > newest) return false;
    if (e.kind == entry_kind::configuration && !e.conf.well_formed()) return false;
    when = e.when;
  }
  return index >= prev;
}

void core::on_append_request(const message& m, const append_request& a) {
  if (!well_formed(a.prev_index, a.prev_term, a.entries, m.when)) return drop("raft_bad_append");
  if (!follow(m.from)) return;
  // Entries at or below the start of the log are committed here: the leader's are the same (paper 5.4, leader
  // completeness).
  const auto base = log_.base().index;
  const auto skip = std::min<std::uint64_t>(distance(a.prev_index, base), a.entries.size());
  const bool behind = a.prev_index < base;
  if (!behind && log_.term_at(a.prev_index) != a.prev_term) {
    if (a.prev_index <= commit_) return drop("raft_conflict_below_commit");
    return reject(a, m.from);
  }
  if (!append_entries(a, skip)) return drop("raft_conflict_below_commit");
  // Never beyond what this message showed to be equal (paper figure 2, AppendEntries 5).
  const auto verified = std::max(a.prev_index + a.entries.size(), commit_);
  advance_commit(std::clamp(a.commit, commit_, verified));
  acknowledge(a, m.from, verified);
}

/// Paper figure 2, AppendEntries 3 and 4. False when the leader contradicts what is committed here.
bool core::append_entries(const append_request& a, std::size_t skip) {
  auto e = a.entries.begin() + static_cast<std::ptrdiff_t>(skip);
  while (e != a.entries.end() && log_.term_at(e->index) == e->when) ++e;
  if (e == a.entries.end()) return true;
  if (e->index <= commit_) return false;
  log_.truncate(e->index);
  for (; e != a.entries.end(); ++e) log_.append(*e);
  lease_.received();
  return true;
}

/// An answer to entries waits for the disk. One to a heartbeat tells what is durable anyway and leaves at once, so that
/// a slow disk does not look like a dead node (etcd#7617); a leader without commits is another matter (stalled).
void core::acknowledge(const append_request& a, node_id leader, log_index verified) {
  if (a.quiet && a.entries.empty()) return;
  append_response answer{true, verified, {}, {}, a.round};
  if (options_.bug == planted_bug::early_ack) return send_now(leader, answer);
  if (!a.entries.empty() || !hard_durable()) {
    // One answer for all appends of a turn: the latest says everything that the earlier ones do.
    auto* before = send_after_persist_.empty() || send_after_persist_.back().to != leader
                       ? nullptr
                       : std::get_if<append_response>(&send_after_persist_.back().body);
    if (!before || !before->ok || send_after_persist_.back().when != hard_.current) return send_durable(leader, answer);
    before->match = std::max(before->match, verified);
    before->round = std::max(before->round, a.round);
    return;
  }
  answer.match = std::min(verified, log_.synced());
  send_now(leader, answer);
}

void core::reject(const append_request& a, node_id leader) {
  const auto hint = log_.last_not_newer_than(std::min(a.prev_index, log_.last()), a.prev_term);
  send_durable(leader, append_response{false, a.prev_index, hint, log_.term_at(hint).value_or(term{}), a.round});
}

void core::on_snapshot_request(const message& m, const snapshot_request& s) {
  if (!follow(m.from)) return;
  if (s.meta.index <= commit_) send_durable(m.from, append_response{true, commit_, {}, {}, 0});
}

void core::on_snapshot_installed(const snapshot_meta& meta, instant now) {
  observe(now);
  replacing_ = false;
  if (meta.index < applied_ || !meta.conf.well_formed()) return drop("raft_old_snapshot");
  const bool extends = log_.term_at(meta.index) == meta.when;
  if (!extends && role_ != role::follower) become_follower(hard_.current, {});
  if (!extends && meta.index <= commit_) return drop("raft_conflict_below_commit");
  log_.install(meta);
  lease_.received();
  commit_ = std::max(commit_, meta.index);
  handed_apply_ = std::max(handed_apply_, meta.index);
  applied_ = std::max(applied_, meta.index);
  if (meta.when > hard_.current) become_follower(meta.when, {});
  if (election_deadline_ == never) reset_election_timer();
  stats_.add("raft_snapshots_installed");
  if (role_ == role::follower && leader_) send_durable(leader_, append_response{true, meta.index, {}, {}, 0});
}

}  // namespace coterie::raft
