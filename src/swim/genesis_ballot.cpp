// The ballots of genesis (docs/membership.md 2, steps 3 to 6): proposer, acceptor and learner. The rules are those
// of the exhaustive model, by its names: own_first, own_accept, overtaken, bound, listed, phase1_all, repropose. Knows
// nothing of dialling.
#include <algorithm>

#include "base/assert.hpp"
#include "swim/genesis.hpp"

namespace coterie::swim {
namespace {

constexpr std::uint64_t max_round = std::uint64_t{1} << 48;  // a larger one is not from a ballot of ours
constexpr std::size_t max_tallies = 64;                      // ballots counted at a time; the oldest goes first

bool contains(const std::vector<node_id>& ids, node_id id) {
  return id && std::find(ids.begin(), ids.end(), id) != ids.end();
}

}  // namespace

int genesis::rank() const {
  return static_cast<int>(
      std::count_if(standing_.begin(), standing_.end(), [&](const auto& s) { return s.first && s.first < self_; }));
}

instant genesis::start_at() const {
  if (standing_.empty()) return never;
  return std::max(standing_since_ + opt_.stable_margin, quiet_until_) + opt_.rank_delay * rank() + jitter_;
}

/// Rule `bound`: only the present id that a ballot names for its slot answers it.
bool genesis::names_us(const ballot& b, const std::vector<node_id>& ids) const {
  if (!b || b.round > max_round || b.proposer == self_ || ids.size() != slots_.size()) return false;
  if (!contains(ids, self_) || !contains(ids, b.proposer)) return false;
  std::vector<node_id> sorted = ids;
  std::sort(sorted.begin(), sorted.end());
  const auto first = std::find_if(sorted.begin(), sorted.end(), [](node_id id) { return static_cast<bool>(id); });
  const auto dropped = static_cast<std::size_t>(first - sorted.begin());
  return dropped + majority() <= slots_.size() && std::adjacent_find(first, sorted.end()) == sorted.end();
}

/// A record of this seed list: only such a one may be accepted, because majorities are of the list.
bool genesis::fits(const genesis_record& r) const {
  return r.cluster == opt_.cluster && same_list(r) && !r.voters.empty();
}

bool genesis::same_list(const genesis_record& r) const {
  return r.digest == digest_ && r.seeds.size() == slots_.size();
}

// ---- proposer -------------------------------------------------------------------------------------------------------

/// Step 4. own_first: Prepare leaves when our own promise is durable.
void genesis::start_ballot() {
  attempt a;
  a.b = {std::max(state_.promised.round, round_seen_) + 1, self_};
  for (const slot& s : slots_) {
    seed_slot named;
    if (s.own && !s.dropped) {
      named = {self_, opt_.name, opt_.advertise ? opt_.advertise : s.at, {}};
    } else if (!s.dropped) {
      named = {s.answer->id, s.answer->name, s.answer->advertise ? s.answer->advertise : s.at, {}};
    }
    a.ids.push_back(named.id);
    a.slots.push_back(std::move(named));
  }
  stats_.add("ballots started");
  say(log_level::debug, fmt::format("genesis: ballot {} prepared", a.b.round));
  state_.promised = a.b;
  persist();
  hold(own_promise{a.b});
  for (const node_id id : a.ids) {
    if (id && id != self_) send(id, genesis_prepare{a.b, a.ids});
  }
  attempt_ = std::move(a);
}

void genesis::give_up(instant now, const std::string& why) {
  if (!attempt_) return;
  say(log_level::debug, fmt::format("genesis: ballot {} given up: {}", attempt_->b.round, why));
  stats_.add("ballots given up");
  attempt_.reset();
  // A proposer that fails again and again leaves room for the others; one that cannot finish a record leaves more.
  failures_ = std::min(failures_ + 1, 4);
  quiet_until_ = now + (failures_ - 1) * opt_.ballot_timeout;
  if (blocked_) quiet_until_ += opt_.rank_delay * static_cast<int>(slots_.size()) + 2 * opt_.ballot_timeout;
  jitter_ = rng_.between(0s, opt_.rank_delay / 2);
}

/// Another ballot moves on: rule `overtaken`, and a pause so that it can finish.
void genesis::yield_to(const ballot& b, instant now) {
  if (attempt_ && attempt_->b < b) {
    stats_.add("ballots overtaken");
    attempt_.reset();
  }
  quiet_until_ = std::max(quiet_until_, now + opt_.ballot_timeout);
}

genesis_record genesis::fresh_record(const attempt& a) {
  genesis_record r;
  r.cluster = opt_.cluster;
  r.digest = digest_;
  r.nonce = rng_.next();
  r.seeds = a.slots;
  std::vector<node_id> present;
  for (const node_id id : a.ids) {
    if (id) present.push_back(id);
  }
  const std::size_t voters = present.size() >= 5 ? 5 : present.size() >= 3 ? 3 : 1;
  for (std::size_t i = 0; i < present.size() && i < voters + 2; ++i) {
    (i < voters ? r.voters : r.standbys).push_back(present[i]);
  }
  return r;
}

/// Step 5, when all ids of the ballot have promised (phase1_all). Repropose: the accepted record of the highest ballot
/// wins. own_accept: Accept leaves when our own accept is durable.
void genesis::propose(instant now) {
  COTERIE_ASSERT(attempt_ && !attempt_->proposed && state_.promised == attempt_->b);  // else yield_to() ended it
  const promise_seen* highest = nullptr;
  for (const auto& [id, p] : attempt_->promises) {
    if (p.accepted && (!highest || highest->accepted_ballot < p.accepted_ballot)) highest = &p;
  }
  const genesis_record r = highest ? *highest->accepted : fresh_record(*attempt_);
  const auto listed = static_cast<std::size_t>(
      std::count_if(attempt_->ids.begin(), attempt_->ids.end(), [&](node_id id) { return r.lists(id); }));
  blocked_.reset();
  if (!fits(r) || !r.lists(self_) || listed < majority()) {
    blocked_ = r;
    return give_up(now, "an accepted record must be finished, but not by this node");
  }
  attempt_->proposed = true;
  attempt_->deadline = never;
  state_.accepted_ballot = attempt_->b;
  state_.accepted = r;
  persist();
  hold(own_accept{attempt_->b, r});
  const cluster_id id = r.id();
  for (const node_id to : attempt_->ids) {
    if (!to || to == self_) continue;
    send(to, genesis_accept{attempt_->b, attempt_->ids, r});
    send(to, genesis_accepted{attempt_->b, self_, id, r});
  }
}

void genesis::receive(const genesis_promise& m, instant now) {
  if (!attempt_ || attempt_->b != m.b || attempt_->proposed || m.from == self_ || !contains(attempt_->ids, m.from) ||
      m.accepted.has_value() != static_cast<bool>(m.accepted_ballot) || m.accepted_ballot > m.b) {
    return stats_.add("promises not used");
  }
  add_promise(m.from, {m.accepted_ballot, m.accepted}, now);
}

void genesis::add_promise(node_id from, promise_seen p, instant now) {
  attempt_->promises.try_emplace(from, std::move(p));
  const auto wanted =
      std::count_if(attempt_->ids.begin(), attempt_->ids.end(), [](node_id id) { return static_cast<bool>(id); });
  if (attempt_->promises.size() == static_cast<std::size_t>(wanted)) propose(now);
}

void genesis::receive(const genesis_reject& m, instant now) {
  if (m.promised.round > max_round) return stats_.add("messages malformed");
  round_seen_ = std::max(round_seen_, m.promised.round);
  if (attempt_ && attempt_->b == m.b && m.promised > m.b && contains(attempt_->ids, m.from)) {
    give_up(now, "a higher ballot was promised");
  }
}

// ---- acceptor -------------------------------------------------------------------------------------------------------

void genesis::receive(const genesis_prepare& m, instant now) {
  if (state_.committed) return send(m.b.proposer, genesis_commit{self_, *state_.committed});
  if (found_) return stats_.add("messages after genesis was dropped");
  if (!names_us(m.b, m.ids)) return stats_.add("ballots that do not name us");
  round_seen_ = std::max(round_seen_, m.b.round);
  if (m.b < state_.promised) return send(m.b.proposer, genesis_reject{m.b, self_, state_.promised});
  if (m.b == state_.accepted_ballot) return stats_.add("messages repeated");  // nothing new to tell
  yield_to(m.b, now);
  if (m.b != state_.promised) {
    state_.promised = m.b;
    persist();
  }
  send(m.b.proposer, genesis_promise{m.b, self_, state_.accepted_ballot, state_.accepted});
}

void genesis::receive(const genesis_accept& m, instant now) {
  if (state_.committed) return send(m.b.proposer, genesis_commit{self_, *state_.committed});
  if (found_) return stats_.add("messages after genesis was dropped");
  if (!names_us(m.b, m.ids)) return stats_.add("ballots that do not name us");
  round_seen_ = std::max(round_seen_, m.b.round);
  if (m.b < state_.promised) return send(m.b.proposer, genesis_reject{m.b, self_, state_.promised});
  if (!fits(m.record) || !m.record.lists(self_)) return stats_.add("records that do not list us");  // rule `listed`
  const bool again = state_.accepted_ballot == m.b;
  if (again && state_.accepted != m.record) return stats_.add("messages malformed");
  yield_to(m.b, now);
  if (!again) {
    state_.promised = state_.accepted_ballot = m.b;
    state_.accepted = m.record;
    persist();
    hold(own_accept{m.b, m.record});
  }
  const cluster_id id = m.record.id();
  for (const node_id to : m.ids) {
    if (to && to != self_) send(to, genesis_accepted{m.b, self_, id, m.record});
  }
}

// ---- learner --------------------------------------------------------------------------------------------------------

void genesis::receive(const genesis_accepted& m) {
  if (state_.committed || found_) return;
  if (!m.b || m.b.round > max_round || m.from == self_ || !fits(m.record) || !m.record.lists(m.from) ||
      m.record.id() != m.record_id) {
    return stats_.add("messages malformed");
  }
  round_seen_ = std::max(round_seen_, m.b.round);
  count(m.b, m.from, m.record_id, m.record);
}

/// Phase-2 quorum: a majority of all slots, counted per ballot. A ballot names one id per slot, so ids count slots.
void genesis::count(const ballot& b, node_id from, cluster_id id, const genesis_record& r) {
  if (state_.committed || found_) return;
  const auto [it, fresh] = tallies_.try_emplace(b, tally{id, {}});
  if (it->second.id != id) return stats_.add("messages malformed");
  it->second.from.insert(from);
  if (it->second.from.size() >= majority()) return commit(r);
  if (fresh && tallies_.size() > max_tallies) {
    stats_.add("tallies dropped");
    tallies_.erase(tallies_.begin());
  }
}

/// Step 6: id and R in one write; what follows waits for it.
void genesis::commit(const genesis_record& r) {
  if (state_.committed) return;
  attempt_.reset();
  found_.reset();
  tallies_.clear();
  standing_.clear();
  blocked_.reset();
  held_.clear();  // from now on we answer only with Commit
  state_.id = r.id();
  state_.committed = r;
  persist();
  hold(own_commit{});
}

void genesis::receive(const genesis_commit& m) {
  const cluster_id id = m.record.id();
  if (state_.committed) {
    if (state_.id != id) return stats_.add("other cluster ids");
    return send(m.from, genesis_commit_ack{self_});
  }
  if (m.record.cluster != opt_.cluster || m.record.seeds.size() > max_seeds || m.record.voters.empty() ||
      (m.record.digest != digest_ && !m.record.lists(self_))) {
    return stats_.add("commits of another list");
  }
  if (found_ && found_->id != id) {
    return stop(fmt::format("two clusters are named '{}': {} (shown by {}) and {} (committed by node {})", opt_.cluster,
                            found_->id.str(), found_->where, id.str(), m.from.str()));
  }
  commit(m.record);
  send(m.from, genesis_commit_ack{self_});
}

void genesis::receive(const genesis_commit_ack& m) {
  if (!state_.committed) return stats_.add("messages malformed");
  const genesis_record& r = *state_.committed;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const node_id occupant = slots_[i].answer ? slots_[i].answer->id : same_list(r) ? r.seeds[i].id : node_id{};
    if (occupant && occupant == m.from) slots_[i].acknowledged = true;
  }
}

}  // namespace coterie::swim
