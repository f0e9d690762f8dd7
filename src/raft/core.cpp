// The frame of the core: construction, what comes in, what goes out, questions about the state. The protocol itself is
// in election.cpp, replication.cpp, relay.cpp, configuration.cpp and read.cpp.
#include "raft/core.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"
#include "raft/quorum.hpp"

namespace coterie::raft {
namespace {

bool is_from_leader(const message& m) {
  return std::holds_alternative<append_request>(m.body) || std::holds_alternative<snapshot_request>(m.body);
}

}  // namespace

bool ready::empty() const {
  return persist.empty() && send_now.empty() && send_after_persist.empty() && committed.empty() && reads.empty() &&
         !role_changed;
}

core::core(node_id self, const options& o, recovered r, instant now, std::uint64_t seed)
    : self_(self),
      options_(o),
      rng_(seed),
      now_(now),
      hard_(r.hard),
      handed_hard_(r.hard),
      log_(std::move(r.snapshot), std::move(r.entries)),
      lease_(o.clock_rate_error),
      commit_(std::max(log_.base().index, r.applied)),
      handed_apply_(commit_),
      applied_(commit_),
      last_leader_contact_(now - o.election_timeout_max),
      last_fed_(last_leader_contact_) {
  COTERIE_ASSERT(commit_ <= log_.last());
  COTERIE_ASSERT(hard_.current >= log_.last_term());
  reset_election_timer();
  // With nobody else there is nothing to wait for. Where others are, they may know that this disk is an older copy.
  if (alone() && log_.conf().members().size() == 1) election_deadline_ = now;
}

void core::wait_for_others() { reset_election_timer(); }
void core::set_pace(duration pace) {
  pace_ = std::max(pace, duration::zero());
  if (longest_election_timeout() > options_.election_timeout_max) stats_.add("raft_long_timeouts");
}

void core::observe(instant now) { now_ = std::max(now_, now); }

// ---- input ----------------------------------------------------------------------------------------------------------

void core::step(const message& m, instant now) {
  observe(now);
  if (!m.from || m.from == self_ || (m.to && m.to != self_)) return drop("raft_misdirected");
  if (!m.when || m.when.value > largest_term) return drop("raft_bad_term");
  // Prevotes speak of a term that nobody is in yet: they change none (thesis 9.6).
  const auto* request = std::get_if<vote_request>(&m.body);
  const auto* response = std::get_if<vote_response>(&m.body);
  const bool hypothetical = (request && request->pre) || (response && response->pre && response->granted);
  // The answer to a read stands by its id: its quorum confirmed it after the read began, whatever this node heard
  // since.
  const bool timeless = std::holds_alternative<read_response>(m.body) && m.when < hard_.current;
  if (!hypothetical && !timeless) {
    if (m.when < hard_.current) return answer_stale(m);
    if (m.when > hard_.current && !accept_newer_term(m)) return;
  }
  dispatch(m);
}

void core::dispatch(const message& m) {
  std::visit(
      [&](const auto& body) {
        using body_type = std::decay_t<decltype(body)>;
        if constexpr (std::is_same_v<body_type, vote_request>) on_vote_request(m, body);
        if constexpr (std::is_same_v<body_type, vote_response>) on_vote_response(m, body);
        if constexpr (std::is_same_v<body_type, append_request>) on_append_request(m, body);
        if constexpr (std::is_same_v<body_type, append_response>) on_append_response(m, body);
        if constexpr (std::is_same_v<body_type, snapshot_request>) on_snapshot_request(m, body);
        if constexpr (std::is_same_v<body_type, timeout_now>) on_timeout_now(m, body);
        if constexpr (std::is_same_v<body_type, read_request>) on_read_request(m, body);
        if constexpr (std::is_same_v<body_type, read_response>) on_read_response(m, body);
      },
      m.body);
}

/// A sender that lags behind learns the current term from the answer: a stale leader steps down, a stuck one comes
/// back.
void core::answer_stale(const message& m) {
  if (is_from_leader(m)) {
    stats_.add("raft_stale_leader");
    send_durable(m.from, append_response{});
  } else if (std::holds_alternative<vote_request>(m.body)) {
    stats_.add("raft_stale_candidate");
    send_durable(m.from, vote_response{});
  } else if (const auto* r = std::get_if<read_request>(&m.body)) {
    send_durable(m.from, read_response{r->id, {}, false});
  } else {
    drop("raft_stale_term");
  }
}

/// Paper 5.1: a larger term turns this node into a follower. Exceptions: a vote request while a leader is heard (thesis
/// 4.2.3), and answers of nodes that are no members (removed ones may have any term).
bool core::accept_newer_term(const message& m) {
  if (is_from_leader(m)) {
    become_follower(m.when, m.from);
    return true;
  }
  if (const auto* v = std::get_if<vote_request>(&m.body)) {
    if (sticky() && !v->transfer) {
      drop("raft_disruptive_candidate");
      return false;
    }
  } else if (!log_.conf().contains(m.from)) {
    drop("raft_unknown_peer_term");
    return false;
  }
  become_follower(m.when, {});
  return true;
}

void core::tick(instant now) {
  observe(now);
  expire_reads();
  if (role_ == role::leader) return tick_leader();
  tick_follower();
}

instant core::next_wake() const {
  auto wake = role_ == role::leader ? heartbeat_deadline_ : election_deadline_;
  if (role_ == role::candidate || role_ == role::pre_candidate) wake = std::min(wake, heartbeat_deadline_);
  if (transfer_) wake = std::min(wake, transfer_->deadline);
  if (awaited_lease_ > duration::zero()) wake = std::min(wake, now_ + lease_.wait(awaited_lease_));
  if (!attempts_.empty()) wake = std::min(wake, attempts_.front().deadline);
  if (log_.lazy_since()) wake = std::min(wake, *log_.lazy_since() + options_.lazy_sync_period);
  return wake;
}

result<log_index> core::propose(std::vector<shared_bytes> commands, instant now) {
  observe(now);
  if (role_ != role::leader) return fail(errc::unavailable, "this node is not the leader: ask the leader");
  if (transfer_) return fail(errc::unavailable, "leadership is being handed over: ask the next leader");
  if (commands.empty()) return fail(errc::bad_argument, "a proposal needs at least one command");
  auto bytes = uncommitted_bytes_;
  for (const auto& c : commands) bytes += cost(c.size());
  if (bytes > options_.max_uncommitted_bytes) {
    stats_.add("raft_proposals_refused");
    return fail(errc::limit, "too many bytes wait for commitment (max_uncommitted_bytes): try again later");
  }
  const auto first = log_.last().next();
  for (auto& c : commands) append_own(entry_kind::command, std::move(c), {});
  return first;
}

void core::on_persisted(std::uint64_t sequence, instant now) {
  observe(now);
  if (sequence <= persisted_sequence_ || sequence > sequence_) return drop("raft_unknown_persist");
  persisted_sequence_ = sequence;
  log_.persisted(sequence);
  if (role_ == role::leader) maybe_commit();
  if (role_ == role::candidate && hard_durable()) {
    votes_.emplace(self_, true);
    count();
  }
}

void core::on_applied(log_index i) {
  if (i > handed_apply_) return drop("raft_applied_beyond_committed");
  applied_ = std::max(applied_, i);
}

snapshot_meta core::compact(log_index upto) {
  log_.compact(std::min(upto, applied_));
  return log_.base();
}

// ---- output ---------------------------------------------------------------------------------------------------------

ready core::take() {
  if (role_ == role::leader) {
    start_read_round();
    flush_peers();
  } else {
    forward_reads();
  }
  ready r;
  hand_out_persist(r.persist);
  hand_out_committed(r.committed);
  r.send_now = std::exchange(send_now_, {});
  r.send_after_persist = std::exchange(send_after_persist_, {});
  r.reads = std::exchange(reads_, {});
  r.role_changed = std::exchange(changed_, false);
  return r;
}

void core::hand_out_persist(persist_request& p) {
  if (hard_ != handed_hard_) p.hard = hard_;
  log_.hand_out(p.truncate_from, p.entries);
  p.sync = wants_sync(p);
  if (!p.empty()) {
    log_.mark(++sequence_, p.sync, now_);
    if (p.hard) {
      handed_hard_ = hard_;
      hard_sequence_ = sequence_;
    }
  }
  p.sequence = sequence_;
}

/// A node that the configuration does not know of acknowledges and elects nothing, and gets what is committed from any
/// other one again: its entries are synced now and then, or with what others may rely on (docs/consensus.md 1.3).
bool core::wants_sync(const persist_request& p) const {
  if (p.hard || p.truncate_from) return true;
  if (p.entries.empty() && !log_.lazy_since()) return false;  // all of it is synced, or will be
  const bool due = log_.lazy_bytes() >= options_.lazy_sync_bytes ||
                   (log_.lazy_since() && now_ - *log_.lazy_since() >= options_.lazy_sync_period);
  if (due || log_.last() > commit_) return true;
  if (options_.bug == planted_bug::lazy_learner) return promotable();
  return !send_after_persist_.empty() || log_.conf().contains(self_) || promotable();
}

/// Committed and written here. The applied index follows behind the entries in one journal of the disk: it never runs
/// ahead of them there, whatever is lost (docs/consensus.md 1.6).
void core::hand_out_committed(std::vector<entry>& out) {
  if (replacing_) return;
  const auto upto = std::min(commit_, log_.written());
  std::size_t bytes = 0;
  while (handed_apply_ < upto && (out.empty() || bytes < options_.max_committed_bytes)) {
    const auto& e = *log_.at(handed_apply_.next());
    if (!out.empty() && bytes + e.payload.size() > options_.max_committed_bytes) break;
    bytes += e.payload.size();
    out.push_back(e);
    ++handed_apply_;
  }
}

bool core::hard_durable() const { return hard_ == handed_hard_ && hard_sequence_ <= persisted_sequence_; }

void core::set_hard_state(hard_state h) {
  COTERIE_ASSERT(h.current >= hard_.current);
  COTERIE_ASSERT(h.current > hard_.current || !hard_.vote || h.vote == hard_.vote ||
                 options_.bug == planted_bug::double_vote);
  changed_ = changed_ || h.current != hard_.current;
  hard_ = h;
}

void core::set_leader(node_id id) {
  if (id == leader_) return;
  fail_reads();
  leader_ = id;
  changed_ = true;
}

void core::advance_commit(log_index to) {
  COTERIE_ASSERT(to >= commit_ && to <= log_.last());
  if (role_ == role::leader) {
    for (auto i = commit_.next(); i <= to; ++i)
      uncommitted_bytes_ -= std::min(uncommitted_bytes_, cost(log_.at(i)->payload.size()));
    lease_.committed(to);
  }
  commit_ = to;
}

log_index core::append_own(entry_kind kind, shared_bytes payload, configuration conf) {
  if (commit_ == log_.last()) moved_at_ = now_;
  entry e{hard_.current, log_.last().next(), kind, std::move(payload), std::move(conf)};
  uncommitted_bytes_ += cost(e.payload.size());
  log_.append(std::move(e));
  if (log_.conf().read_lease.count() > 0) lease_.made(log_.last());
  return log_.last();
}

// ---- state ----------------------------------------------------------------------------------------------------------

node_id core::self() const { return self_; }
role core::current_role() const { return role_; }
term core::current_term() const { return hard_.current; }
node_id core::leader() const { return leader_; }
term core::leader_term() const { return leader_term_; }
bool core::leader_commits() const { return leader_ && log_.term_at(commit_) == leader_term_; }
bool core::leader_ready() const { return role_ == role::leader && applied_ >= noop_index_; }
instant core::leader_since() const { return leader_since_; }
instant core::last_leader_contact() const { return role_ == role::leader ? quorum_contact() : last_leader_contact_; }
instant core::last_fed() const { return last_fed_; }
bool core::has_quorum_contact(instant now) const {
  const int patience = log_.conf().contains(self_) ? 1 : 2;
  return leader_ && now - std::min(now, last_leader_contact()) <= patience * longest_election_timeout();
}
duration core::longest_election_timeout() const { return stretched(options_.election_timeout_max); }
log_index core::commit() const { return commit_; }
log_index core::applied() const { return applied_; }
log_index core::first_index() const { return log_.first(); }
log_index core::last_index() const { return log_.last(); }
log_index core::written_index() const { return log_.written(); }
log_index core::synced_index() const { return log_.synced(); }
const configuration& core::conf() const { return log_.conf(); }
bool core::conf_committed() const { return log_.conf_index() <= commit_; }
std::optional<term> core::term_at(log_index i) const { return log_.term_at(i); }
const entry* core::entry_at(log_index i) const { return log_.at(i); }
std::size_t core::log_bytes() const { return log_.bytes(); }
const counters& core::stats() const { return stats_; }

std::optional<snapshot_meta> core::meta_at(log_index i) const {
  const auto when = log_.term_at(i);
  if (!when) return std::nullopt;
  return snapshot_meta{i, *when, log_.conf_at(i)};
}

std::vector<progress_view> core::progress() const {
  std::vector<progress_view> out;
  out.reserve(progress_.size());
  for (const auto& [id, p] : progress_) {
    out.push_back({id, p.match, p.next, p.active(now_, options_.election_timeout_max), p.state == flow::snapshot,
                   p.last_contact});
  }
  return out;
}

}  // namespace coterie::raft
