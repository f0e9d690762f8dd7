// Datagrams and push-pull: what goes into them, which are let in, what is answered. The limits of a datagram are kept
// here.
#include <algorithm>
#include <utility>

#include "swim/membership.hpp"

namespace coterie::swim {

namespace {

constexpr std::size_t header_bytes = 192;  // of an encoded datagram, without the cluster name and a request's host name
constexpr std::size_t max_repair_steps = 64;
constexpr std::size_t max_strangers = 256;
constexpr std::size_t max_asked = 1'024;
constexpr duration first_catch_up = 300ms;
constexpr duration settled_after = 2s;  // views that differ longer than news takes are compared over a stream

std::size_t overhead(const datagram& d) {
  const auto* request = std::get_if<ping_request>(&d.body);
  return header_bytes + d.of.cluster.size() + (request ? request->at.host.size() + 16 : 0);
}

bool is_accused(const record& r) {
  return r.m.state == member_state::suspect || r.m.state == member_state::unreachable;
}

}  // namespace

// ---- out -----------------------------------------------------------------------------------------------------------

statement membership::statement_of(const record& r) const {
  statement s{r.m.info, r.m.inc, r.verdict ? member_state::unreachable : r.m.state, {}};
  if (is_accused(r)) s.accuser = r.accuser;
  return s;
}

/// λ·log(N + 1), SWIM 4.1.
unsigned membership::transmissions() const {
  unsigned log = 1;
  for (std::size_t n = roster_.ring_size(); n > 1; n /= 2) ++log;
  return options_.retransmit_lambda * log;
}

/// One datagram: first what the receiver has to know of itself (Lifeguard's buddy system) and of us, then news, and in
/// what room is left, when its view differs from ours, a piece of our view.
void membership::send(const address& to, node_id whom, message body, corrections c) {
  datagram d;
  d.of = scope_;
  d.from = self_;
  d.epoch = epoch_;
  d.view_digest = roster_.view_digest();
  d.exchange_digest = exchange_digest();
  d.place = roster_.find(self_)->m.place;
  d.body = std::move(body);
  const bool bare = std::holds_alternative<gossip_only>(d.body);
  std::size_t budget = options_.max_datagram - std::min(options_.max_datagram, overhead(d));
  const auto add = [&](const record& r) {
    statement s = statement_of(r);
    const auto size = size_of_statement_(s);
    if (size > budget) return;
    budget -= size;
    d.statements.push_back(std::move(s));
  };
  const record* them = whom == self_ ? nullptr : roster_.find(whom);
  const bool differs = them && them->m.view_digest != 0 && them->m.view_digest != d.view_digest;
  if (them && (c.them || is_accused(*them))) add(*them);
  if (c.self || differs) add(*roster_.find(self_));
  // News is not spent on who may not hear it.
  if (!them || them->m.state != member_state::unreachable) {
    const std::size_t kept = differs ? budget / 4 : 0;
    budget -= queue_.fill(budget - kept, transmissions(), d.statements, d.user);
    if (differs) repair(budget, d);
  }
  if (bare && !c.even_empty && d.statements.empty() && d.user.empty()) return;
  out_.actions.push_back(send_datagram{to, std::move(d)});
}

/// Anti-entropy by datagram: the next members in turn, as many as fit.
void membership::repair(std::size_t budget, datagram& d) {
  const auto& all = roster_.all();
  auto it = all.lower_bound(repair_at_);
  for (std::size_t steps = 0; steps < std::min(all.size(), max_repair_steps); ++steps, ++it) {
    if (it == all.end()) it = all.begin();
    const record& r = it->second;
    if (r.second_hand) continue;
    const bool told = std::any_of(d.statements.begin(), d.statements.end(),
                                  [&](const statement& s) { return s.info.id == r.m.info.id; });
    if (told) continue;
    statement s = statement_of(r);
    const auto size = size_of_statement_(s);
    if (size > budget) break;
    budget -= size;
    d.statements.push_back(std::move(s));
  }
  repair_at_ = it == all.end() ? node_id{} : it->first;
}

/// A question: with our view, or bare, when likely nothing differs or the other side has less to send.
void membership::ask(const record& r, bool with_view, const times& now) {
  push_pull p{false, self_, exchange_digest(), {}, {}, {}};
  if (with_view) {
    add_what_differs(p, {});
  } else if (asked_.size() < max_asked || asked_.contains(r.m.info.id)) {
    asked_[r.m.info.id] = now.steady;
  }
  counters_.add("push_pulls");
  out_.actions.push_back(send_push_pull{r.m.info.id, r.m.info.at, std::move(p)});
}

/// Somebody whose view is not ours, by the last digest that it told; for a newcomer anybody, for what it was told is
/// soon old. Streams lead to few members at times, so every other time, or always, it is one that we know to have one.
node_id membership::exchange_partner(bool newcomer) {
  std::vector<node_id> linked, all;
  for (const auto& [id, r] : roster_.all()) {
    if (id == self_ || r.m.state != member_state::alive) continue;
    if (!newcomer && r.exchange_digest == exchange_digest()) continue;
    all.push_back(id);
    if (r.linked) linked.push_back(id);
  }
  const auto& from = !linked.empty() && (newcomer || rng_.chance(0.5)) ? linked : all;
  return from.empty() ? node_id{} : from[rng_.below(from.size())];
}

/// When many join at once, what a newcomer was given at first is soon old: it asks again, less and less often.
void membership::catch_up(const times& now) {
  catch_up_ *= 2;
  catch_up_at_ = catch_up_ < options_.push_pull_period ? now.steady + catch_up_ : never;
  if (const auto id = exchange_partner(true)) ask(*roster_.find(id), false, now);
}

std::vector<std::uint64_t> membership::digests_of_ranges() const {
  std::vector<std::uint64_t> sums(view_ranges);
  for (const auto& [id, r] : roster_.all()) sums[range_of(id)] += r.full_part;
  for (const auto& [key, u] : user_.all()) sums[range_of(u.origin)] += user_table::digest_of(u);
  return sums;
}

/// What we know and they, by what they sent, do not; of the ranges that differ, when they told theirs.
void membership::add_what_differs(push_pull& p, const push_pull& theirs) const {
  const auto ours = theirs.ranges.empty() ? theirs.ranges : digests_of_ranges();
  const auto same = [&](node_id id) { return !ours.empty() && ours[range_of(id)] == theirs.ranges[range_of(id)]; };
  std::map<node_id, std::pair<incarnation, member_state>> told;
  for (const auto& s : theirs.statements) told[s.info.id] = {s.inc, s.state};
  for (const auto& [id, r] : roster_.all()) {
    if (r.second_hand || same(id)) continue;
    const auto it = told.find(id);
    if (it == told.end() || std::pair(r.m.inc, r.m.state) > it->second) p.statements.push_back(statement_of(r));
  }
  std::map<std::pair<node_id, std::string>, std::pair<boot_epoch, std::uint64_t>> data;
  for (const auto& u : theirs.user) data[{u.origin, u.key}] = {u.epoch, u.version};
  for (const auto& [key, u] : user_.all()) {
    if (same(u.origin)) continue;
    const auto it = data.find(key);
    if (it == data.end() || std::pair(u.epoch, u.version) > it->second) p.user.push_back(u);
  }
}

// ---- in ------------------------------------------------------------------------------------------------------------

bool membership::admissible(const address& from, const datagram& d) {
  if (!meets(d.of)) {
    counters_.add("foreign_cluster");
    return false;
  }
  if (!d.from) {
    counters_.add("malformed");
    return false;
  }
  if (d.from == self_) {
    // From its own address it is its own, sent to somebody who had that address before.
    counters_.add("own_id_heard");
    if (from != self().at && !std::exchange(own_warned_, true)) {
      say(log_level::error, fmt::format("{} has the same node id as this node ({}): is one a copy of the other's disk?",
                                        from.str(), self_));
    }
    return false;
  }
  const record* r = roster_.find(d.from);
  if (r && d.epoch < r->m.inc.epoch) {
    counters_.add("former_life");
    return false;
  }
  return true;
}

void membership::on_datagram(const address& from, const datagram& d, const times& now) {
  observe(now);
  if (!admissible(from, d)) return;
  corrections c{};
  for (const auto& s : d.statements) c.self |= hear(s, {d.from, false}, now);
  for (const auto& u : d.user) hear_user(u, false);
  record* r = roster_.find(d.from);
  if (r) {
    r->m.view_digest = d.view_digest;
    r->exchange_digest = d.exchange_digest;
    if (plausible(d.place)) r->m.place = d.place;
    c.them = d.epoch > r->m.inc.epoch;  // a new life whose statement has not come yet
    if (!c.them) r->heard = now.steady;
  } else if (strangers_.size() < max_strangers || strangers_.contains(d.from)) {
    strangers_[d.from] = d.view_digest;
  }
  const bool answered = answer(from, d, c, now);
  r = roster_.find(d.from);
  if (r && !answered && (c.self || c.them || is_accused(*r)) &&
      (!r->told || now.steady - *r->told >= options_.small_period / 4)) {
    r->told = now.steady;
    send(from, d.from, gossip_only{}, c);
  }
  if (r) maybe_exchange(*r, now);
  settle(now);
}

/// True when something was sent back to the sender.
bool membership::answer(const address& from, const datagram& d, corrections c, const times& now) {
  if (const auto* p = std::get_if<ping>(&d.body)) {
    if (p->target != self_) {
      counters_.add("ping_for_another");
      return false;
    }
    send(from, d.from, ack{p->probe}, c);
    return true;
  }
  if (const auto* a = std::get_if<ack>(&d.body)) {
    answer_ack(d.from, a->probe, now);
  } else if (const auto* q = std::get_if<ping_request>(&d.body)) {
    answer_ping_request(from, d.from, *q, now);
  } else if (const auto* ia = std::get_if<indirect_ack>(&d.body)) {
    record* target = roster_.find(ia->target);
    if (target && target->round && target->round->base == ia->probe - ia->probe % probe_round::ids) {
      const auto& h = target->round->helpers;
      if (std::find(h.begin(), h.end(), d.from) != h.end()) succeed(*target, now);
    }
  } else if (const auto* n = std::get_if<indirect_nack>(&d.body)) {
    record* target = roster_.find(n->target);
    if (target && target->round && target->round->base == n->probe - n->probe % probe_round::ids) {
      auto& round = *target->round;
      round.nacks = std::min(round.nacks + 1, static_cast<unsigned>(round.helpers.size()));
    }
  }
  return false;
}

void membership::answer_ack(node_id from, std::uint64_t probe, const times& now) {
  const auto base = probe - probe % probe_round::ids;
  const auto nth = probe % probe_round::ids;
  record* r = roster_.find(from);
  if (r && r->round && r->round->base == base && nth < r->round->direct) {
    measure(*r, now.steady - r->round->sent[nth]);
    succeed(*r, now);
    return;
  }
  const auto it = relays_.find(base);
  if (it == relays_.end() || it->second.target != from) {
    counters_.add("unmatched_acks");
    return;
  }
  const relay done = it->second;
  relay_timers_.cancel(base);
  relays_.erase(it);
  send(done.at, done.requester, indirect_ack{done.probe, done.target});
}

/// Probes on behalf of a member (SWIM 3.1); a nack says in time that at least we are there (Lifeguard).
bool membership::answer_ping_request(const address& from, node_id requester, const ping_request& q, const times& now) {
  if (!roster_.find(requester) || !q.target || !q.at || q.target == self_ || q.target == requester) {
    counters_.add("unusable_requests");
    return false;
  }
  if (relays_.size() >= options_.max_relays) {
    counters_.add("relays_full");
    return false;
  }
  const auto number = next_probe_;
  next_probe_ += probe_round::ids;
  const duration timeout = ack_timeout(roster_.find(q.target));
  relays_[number] = {requester, from, q.probe, q.target, false, now.steady + 4 * timeout};
  relay_timers_.arm(number, now.steady + timeout);
  send(q.at, q.target, ping{number, q.target});
  return true;
}

void membership::on_push_pull(const push_pull& p, const times& now) {
  observe(now);
  if (!p.from || p.from == self_ || (!p.ranges.empty() && p.ranges.size() != view_ranges)) {
    counters_.add("malformed");
    return;
  }
  const bool quiet = roster_.living() <= 2;  // a newcomer learns what all others know
  for (const auto& s : p.statements) hear(s, {p.from, quiet}, now);
  for (const auto& u : p.user) hear_user(u, quiet);
  if (record* r = roster_.find(p.from)) r->exchange_digest = p.view_digest;
  answer_push_pull(p);
  settle(now);
}

void membership::answer_push_pull(const push_pull& p) {
  const bool differs = p.view_digest != exchange_digest();
  push_pull out{!p.answer, self_, exchange_digest(), {}, {}, {}};
  if (p.answer) {
    const bool asked_bare = asked_.erase(p.from) > 0;
    if (!asked_bare || !differs || p.ranges.empty()) return;
    out.ranges = digests_of_ranges();
    add_what_differs(out, p);
  } else if (differs) {
    if (p.ranges.empty() && p.statements.empty())
      out.ranges = digests_of_ranges();
    else
      add_what_differs(out, p);
  }
  const record* r = roster_.find(p.from);
  out_.actions.push_back(send_push_pull{p.from, r ? r->m.info.at : address{}, std::move(out)});
}

void membership::on_peer_up(const member_info& info, incarnation inc, const times& now) {
  observe(now);
  if (info.id == self_) {
    counters_.add("own_id_heard");
    return;
  }
  // Gossip may reach a node before its first stream does, when many come at once.
  const bool newcomer = roster_.living() <= 1 || catch_up_ == duration{};
  hear({info, inc, member_state::alive, {}}, {info.id, false}, now);
  record* r = roster_.find(info.id);
  // An unreachable one learns of it by our view, and refutes. One that was refused or has left gets nothing.
  if (r && r->m.state != member_state::left) {
    r->linked = r->m.state == member_state::alive;
    if (newcomer) {
      catch_up_ = first_catch_up;
      catch_up_at_ = now.steady + catch_up_;
    }
    ask(*r, roster_.living() <= options_.small_cluster || r->m.state == member_state::unreachable, now);
  }
  settle(now);
}

/// A view that goes on differing from ours is compared over a stream, earlier than by the periodic push-pull.
void membership::maybe_exchange(const record& r, const times& now) {
  if (r.m.view_digest == roster_.view_digest() || r.m.state != member_state::alive) return;
  if (now.steady < next_exchange_ || now.steady - digest_changed_ < settled_after) return;
  next_exchange_ = now.steady + settled_after;
  ask(r, false, now);
}

}  // namespace coterie::swim
