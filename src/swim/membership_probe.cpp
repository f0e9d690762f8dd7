// The failure detector: whom to probe when, direct, indirect and stream probes, and what an answer or none of them
// means (SWIM 3.1, Lifeguard 3). States are changed by the evidence rule alone.
#include <algorithm>
#include <cmath>

#include "swim/membership.hpp"

namespace coterie::swim {

// ---- whom and when -------------------------------------------------------------------------------------------------

/// Up to small_cluster members, each has a timer of its own.
void membership::start_probing(record& r, const times& now) {
  const bool in_ring = r.m.state <= member_state::stopping;
  if (!active() || !in_ring || r.m.info.id == self_ || !small()) return;
  timers_.arm({chore::probe, r.m.info.id}, now.steady + rng_.between({}, options_.small_period));
}

void membership::probe_due(record& r, const times& now) {
  if (!active() || !small() || r.m.state > member_state::stopping) return;
  timers_.arm({chore::probe, r.m.info.id}, now.steady + options_.small_period * health_.multiplier());
  if (!r.round) begin_round(r, false, now);
}

/// Above small_cluster: one probe per period. Time is cut into numbered periods; everybody with the same view shuffles
/// the same offsets for a ring's length of periods and probes the member that many places after itself. So each node
/// walks a shuffled ring (SWIM 4.3) and each member is probed about once per period, by somebody else each time,
/// instead of once on average. It is only as even as clocks and views are equal; uneven, it is SWIM's random choice.
node_id membership::slot_target(std::uint64_t slot) {
  const auto& ring = roster_.ring();
  const std::size_t others = ring.size() - 1;
  const std::uint64_t round = slot / others;
  if (order_.size() != others || order_round_ != round) {
    order_.resize(others);
    for (std::size_t i = 0; i < others; ++i) order_[i] = static_cast<std::uint32_t>(i + 1);
    rng(round * 0x9e3779b97f4a7c15ull + others).shuffle(order_);
    order_round_ = round;
  }
  return ring[(roster_.own_rank() + order_[slot % others]) % ring.size()];
}

void membership::schedule_slot(const times& now) {
  const auto n = roster_.ring().size();
  if (n < 2 || !active()) {
    slot_at_ = never;
    return;
  }
  if (slot_at_ == never || next_slot_ % (n - 1) == 0) {
    slot_anchor_ = now.wall.time_since_epoch() - now.steady.time_since_epoch();
  }
  const duration elapsed = std::max(now.steady.time_since_epoch() + slot_anchor_, duration{});
  const auto current = static_cast<std::uint64_t>(elapsed / options_.period);
  if (next_slot_ < current || next_slot_ > current + static_cast<std::uint64_t>(health_.multiplier())) {
    next_slot_ = slot_at_ == never ? current : current + 1;
  }
  slot_target_id_ = slot_target(next_slot_);
  // The moment inside a period belongs to the target, so that its probes are evenly spaced.
  const auto phase = rng(slot_target_id_.hi ^ slot_target_id_.lo).between({}, options_.period - duration{1});
  const auto start = static_cast<duration::rep>(next_slot_) * options_.period - slot_anchor_;
  slot_at_ = std::max(instant(start) + phase, now.steady + duration{1});
}

void membership::slot_due(const times& now) {
  record* r = roster_.find(slot_target_id_);
  if (r && r->m.state <= member_state::stopping && !r->round && slot_target_id_ != self_) begin_round(*r, false, now);
  next_slot_ += static_cast<std::uint64_t>(health_.multiplier());
  schedule_slot(now);
}

// ---- one round -----------------------------------------------------------------------------------------------------

duration membership::expected_ack(const record* r) const {
  duration guess = options_.period / 4;
  if (r && r->rtt.mean) {
    guess = r->rtt.bound();
  } else if (typical_rtt_.mean) {
    guess = 2 * typical_rtt_.bound();
  }
  return std::clamp(guess, options_.probe_timeout_min, options_.period / 2);
}

duration membership::ack_timeout(const record* r) const { return expected_ack(r) * health_.multiplier(); }

/// How long a widened round stays open: there and back twice, a lost TCP segment sent again.
duration membership::window(const record& r) const {
  return std::max(4 * expected_ack(&r), options_.period * 3 / 10) * health_.multiplier();
}

void membership::measure(record& r, duration took) {
  r.rtt.add(took);
  typical_rtt_.add(took);
  r.m.rtt = r.rtt.mean;
  auto& own = roster_.find(self_)->m.place;
  own = moved(own, r.m.place, *r.rtt.mean, place_random_);
}

void membership::begin_round(record& r, bool evidence, const times& now) {
  auto& round = r.round.emplace();
  round.base = next_probe_;
  next_probe_ += probe_round::ids;
  round.started = now.steady;
  round.evidence = evidence;
  if (r.failed.direct == 0) r.failed.since = now.steady;
  counters_.add("probes");
  ping_direct(r, now);
  if (!evidence) {
    timers_.arm({chore::round, r.m.info.id}, now.steady + ack_timeout(&r));
    return;
  }
  widen(r, now);
  round.deadline = now.steady + 3 * ack_timeout(&r);
  timers_.arm({chore::round, r.m.info.id}, round.deadline);
}

void membership::ping_direct(record& r, const times& now) {
  auto& round = *r.round;
  if (round.direct >= probe_round::max_direct) return;
  round.sent[round.direct] = now.steady;
  send(r.m.info.at, r.m.info.id, ping{round.base + round.direct, r.m.info.id});
  ++round.direct;
}

/// Of some drawn at random those over whom the way is shortest, so that none is asked always.
std::vector<node_id> membership::nearest_helpers(const record& target) {
  auto drawn = random_members(2 * options_.helpers, target.m.info.id);
  const auto way = [&](node_id id) {
    const auto& place = roster_.find(id)->m.place;
    return distance(roster_.find(self_)->m.place, place) + distance(place, target.m.place);
  };
  std::ranges::stable_sort(drawn, {}, way);
  if (drawn.size() > options_.helpers) drawn.resize(options_.helpers);
  return drawn;
}

/// Helpers, and a stream beside them.
void membership::widen(record& r, const times& now) {
  auto& round = *r.round;
  round.widened = true;
  round.helpers = nearest_helpers(r);
  const auto number = round.base + probe_round::max_direct;
  for (const auto id : round.helpers) {
    send(roster_.find(id)->m.info.at, id, ping_request{number, r.m.info.id, r.m.info.at});
  }
  out_.actions.push_back(send_stream_ping{r.m.info.id, r.m.info.at, {number, r.m.info.id}});
  counters_.add("indirect_probes");
  round.deadline = now.steady + window(r);
}

void membership::round_due(record& r, const times& now) {
  if (!r.round) return;
  auto& round = *r.round;
  if (!round.widened) {
    out_.unanswered.push_back(r.m.info.id);
    widen(r, now);
    ping_direct(r, now);
    timers_.arm({chore::round, r.m.info.id}, now.steady + window(r) / 2);
  } else if (now.steady < round.deadline) {
    ping_direct(r, now);
    timers_.arm({chore::round, r.m.info.id}, round.deadline);
  } else if (round.stream_acked) {
    counters_.add("stream_only");
    if (!std::exchange(r.stream_warned, true)) {
      say(log_level::warn, fmt::format("{} reaches {} by TCP, but not by UDP: is {}/udp open on the way?", self().name,
                                       r.m.info.name, r.m.info.at.str()));
    }
    succeed(r, now);
  } else {
    fail_round(r, now);
  }
}

void membership::succeed(record& r, const times& now) {
  r.round.reset();
  timers_.cancel({chore::round, r.m.info.id});
  r.failed = {};
  r.refused = false;
  health_.ease(now.steady, options_.small_period);
}

void membership::fail_round(record& r, const times& now) {
  const probe_round round = *r.round;
  r.round.reset();
  counters_.add("failed_probes");
  r.failed.direct += round.direct;
  r.failed.indirect += static_cast<unsigned>(round.helpers.size());
  ++r.failed.stream;
  if (!active()) return;
  statement s = statement_of(r);
  s.accuser = self_;
  if (r.m.state == member_state::stopping) {
    s.state = member_state::unreachable;
    turn(r, s, now, "stopped, as it said");
    return;
  }
  const duration shortest = shortest_suspicion();
  if (r.m.state == member_state::alive) {
    // Helpers that say nothing at all are a sign that the silence is ours (Lifeguard 3, nacks).
    if (!round.evidence) {
      health_.raise(round.helpers.empty() ? 1 : static_cast<unsigned>(round.helpers.size()) - round.nacks);
    }
    s.state = member_state::suspect;
    turn(r, s, now, blame(r, now));
    send(r.m.info.at, r.m.info.id, gossip_only{});  // it should be the first to know
  } else if (r.m.state == member_state::suspect) {
    confirm(r, self_);
  }
  if (r.refused && r.doubt) {
    r.doubt->hurry(std::max(now.steady, r.doubt->started() + shortest / 2));
    timers_.arm({chore::suspicion, r.m.info.id}, r.doubt->deadline());
  }
}

/// Long enough for an accusation to reach the accused and for its refutation to reach everybody: grows as gossip does.
duration membership::shortest_suspicion() const {
  const double rounds = std::max(1.0, std::log2(static_cast<double>(roster_.ring_size()) + 1) / 3);
  const double periods = std::max(0.0, options_.suspicion_min_periods) * rounds;
  return duration(static_cast<duration::rep>(static_cast<double>(options_.small_period.count()) * periods));
}

// ---- other signs ---------------------------------------------------------------------------------------------------

void membership::on_refused(node_id id, const times& now) {
  observe(now);
  record* r = roster_.find(id);
  if (!r || id == self_ || !active()) return;
  if (r->m.state == member_state::stopping) {
    statement s = statement_of(*r);
    s.state = member_state::unreachable;
    s.accuser = self_;
    turn(*r, s, now, "stopped, as it said; its address refuses connections");
  } else if (r->m.state <= member_state::suspect && !r->refused) {
    counters_.add("crash_evidence");
    r->refused = true;
    begin_round(*r, true, now);
  }
  settle(now);
}

void membership::on_stream_ping(node_id from, const stream_ping& p, const times& now) {
  observe(now);
  if (p.target == self_ && from) out_.actions.push_back(send_stream_ack{from, {p.probe, self_}});
  settle(now);
}

void membership::on_stream_ack(const stream_ack& a, const times& now) {
  observe(now);
  record* r = roster_.find(a.from);
  if (r && r->round && r->round->base == a.probe - a.probe % probe_round::ids) r->round->stream_acked = true;
  settle(now);
}

/// An unreachable member is asked for ever, so that a partition heals by itself; the ping tells it what we believe.
void membership::retry_due(record& r, const times& now) {
  if (r.m.state != member_state::unreachable || !active()) return;
  send(r.m.info.at, r.m.info.id, ping{next_probe_, r.m.info.id});
  next_probe_ += probe_round::ids;
  r.retry = std::min(2 * r.retry, options_.retry_max);
  const auto crowd = static_cast<int>(1 + roster_.unreachable() / 64);  // half of a large cluster is not asked at once
  timers_.arm({chore::retry, r.m.info.id}, now.steady + rng_.between(r.retry * 3 / 4, r.retry) * crowd);
}

void membership::relay_due(std::uint64_t number, const times& now) {
  const auto it = relays_.find(number);
  if (it == relays_.end()) return;
  relay& r = it->second;
  if (r.nacked || now.steady >= r.until) {
    relays_.erase(it);
    return;
  }
  r.nacked = true;
  relay_timers_.arm(number, r.until);
  send(r.at, r.requester, indirect_nack{r.probe, r.target});
}

}  // namespace coterie::swim
