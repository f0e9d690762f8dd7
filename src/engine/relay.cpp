#include "engine/relay.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace coterie::engine {

namespace {
constexpr duration dial_patience = 500ms;   // until a stream to a parent is there
constexpr duration state_patience = 5s;     // from one chunk of a received state to the next
constexpr duration pause = 200ms;           // after everybody was asked in vain
constexpr std::size_t quick_questions = 8;  // in a row; with many nodes and no leader ...
constexpr duration question_period = 20ms;  // ... one by one
constexpr duration look_up_period = 10s;    // a worse place than could be is given up for a better one
constexpr duration child_patience = 3s;     // its place is free after so long without a question
constexpr duration gather = 50ms;           // keep-alives of children, into one message
constexpr duration route_patience = 10s;    // an answer that comes later is of no use
constexpr std::size_t max_routes = 65'536, max_gathered = 16'384;
}  // namespace

// ---- child ---------------------------------------------------------------------------------------------------------

// Neither the leader's word nor a place in the configuration may be old: one that was taken out of it is told by nobody
// but the entries.
bool relay::needs_parent(const replica& r) const {
  const auto& c = r.core();
  if (c.current_role() == raft::role::leader) return false;
  const auto patience = ctx_.opt->raft.election_timeout_max;
  const auto& conf = c.conf();
  const auto in = [&](const std::vector<node_id>& list) {
    return std::binary_search(list.begin(), list.end(), ctx_.self);
  };
  const bool member = in(conf.voters) || in(conf.learners);  // whom a joint one removes will not see its end
  if (conf.is_voter(ctx_.self) && !member) return true;
  return ctx_.now.steady - c.last_fed() > (member ? 2 : 1) * patience;
}

void relay::set_parents(std::vector<relay_parent> list) {
  const auto now_at = at_ < list_.size() ? list_[at_].id : node_id{};
  list_ = std::move(list);
  const auto it = std::ranges::find(list_, now_at, &relay_parent::id);
  at_ = it == list_.end() ? 0 : static_cast<std::size_t>(it - list_.begin());
  if (it != list_.end()) return;
  asked_.reset();
  waits_for_state_ = false;
  next_question_ = ctx_.now.steady;
}

node_id relay::parent() const {
  const bool feeds = asking_ && parent_ && parent_->heard + child_patience >= ctx_.now.steady;
  return feeds ? parent_->id : node_id{};
}

std::vector<node_id> relay::likely_parents() const {
  std::vector<node_id> r;
  if (!asking_) return r;
  for (std::size_t i = 0; i < std::min<std::size_t>(2, list_.size()); ++i) r.push_back(list_[i].id);
  if (at_ < list_.size()) r.push_back(list_[at_].id);
  return r;
}

std::uint32_t relay::depth() const {
  if (parent()) return std::min(parent_->depth + 1, relay_nowhere);
  return asking_ ? relay_nowhere : 0;
}

void relay::tick(replica& r) {
  if (const bool needs = needs_parent(r); needs != asking_) {
    asking_ = needs;
    asked_.reset();
    parent_.reset();
    lagging_.reset();
    suspicious_ = waits_for_state_ = false;
    accusers_.clear();
    unwritten_.clear();
    at_ = refusals_ = 0;
    anywhere_ = false;
    next_look_up_ = ctx_.now.steady + look_up_period;
  }
  const auto now = ctx_.now.steady;
  if (asked_ && asked_->id == 0 && links_.up(asked_->to)) send_question(r);
  if (asked_ && (now >= asked_->deadline || (asked_->id != 0 && !links_.up(asked_->to))))
    turn_to_next("relay.silent_parents");
  if (asking_ && !asked_ && now >= next_question_ && may_ask(r)) ask(r);
  serve(r);
  if (now >= flush_at_) flush_keepalives(r);
}

// What is due and still waits, waits for the disk.
instant relay::next_wake() const {
  const auto now = ctx_.now.steady;
  auto t = std::max(flush_at_, now);
  if (asked_)
    t = std::min(t, asked_->deadline);
  else if (asking_ && !list_.empty() && next_question_ > now)
    t = std::min(t, next_question_);
  for (const auto& [id, c] : children_)
    if (c.open && c.due > now) t = std::min(t, c.due);
  return t;
}

/// As many answers on their way to the disk as a leader would have appends.
bool relay::may_ask(const replica& r) {
  while (!unwritten_.empty() && unwritten_.front() <= r.core().written_index()) unwritten_.pop_front();
  return !r.installing() && unwritten_.size() < ctx_.opt->raft.max_inflight_appends;
}

void relay::ask(replica& r) {
  const auto now = ctx_.now.steady;
  if (list_.empty()) return;
  if (at_ > 0 && parent() && now >= next_look_up_) {
    next_look_up_ = now + look_up_period;
    at_ = 0;
  }
  while (suspicious_ && at_ < list_.size() && list_[at_].level != 0) ++at_;
  if (at_ >= list_.size()) {
    at_ = 0;
    anywhere_ = !parent();
    next_question_ = now + pause;
    return;
  }
  const auto to = list_[at_].id;
  auto as_deep_as = anywhere_ ? relay_nowhere : list_[at_].depth;
  if (to == parent()) as_deep_as = std::max(as_deep_as, std::min(parent_->depth + 1, relay_nowhere));
  asked_ = question{to, 0, {}, as_deep_as, now + dial_patience};
  if (links_.up(asked_->to))
    send_question(r);
  else
    links_.keep({asked_->to});
}

void relay::send_question(replica& r) {
  const auto next = r.core().commit().next();
  const auto chain = r.chain_at(next.prev());
  if (!chain) return;
  const auto id = ctx_.random.next() | 1;
  if (!links_.send(asked_->to, wire::fetch{id, next, *chain, asked_->depth}, group_)) return;
  asked_->id = id;
  asked_->next = next;
  asked_->deadline = ctx_.now.steady + 2 * ctx_.opt->raft.election_timeout_max;
}

void relay::turn_to_next(const char* why) {
  ctx_.stats.add(why);
  asked_.reset();
  lagging_.reset();
  waits_for_state_ = false;
  next_question_ = ctx_.now.steady + (++refusals_ > quick_questions ? question_period : duration::zero());
  ++at_;
}

bool relay::on_fetched(node_id from, const wire::fetched& f, replica& r) {
  if (!asked_ || asked_->to != from || asked_->id != f.id || waits_for_state_) {
    ctx_.stats.add("relay.late_answers");
    return true;
  }
  if (f.depth == 0 && (f.verdict == wire::fetch_verdict::entries || f.verdict == wire::fetch_verdict::full)) {
    suspicious_ = false;  // the voters have the same history: who said otherwise will find out
    accusers_.clear();
  }
  switch (f.verdict) {
    case wire::fetch_verdict::entries:
      if (f.depth >= asked_->depth) break;
      {
        raft::relayed what{asked_->next.prev(), f.entries, f.leader, f.when, f.age};
        if (!r.on_relayed(what)) return on_fork(from, f);
      }
      take(f, r);
      return true;
    case wire::fetch_verdict::full:
      turn_to_next("relay.full_parents");
      return true;
    case wire::fetch_verdict::snapshot:
      waits_for_state_ = true;
      asked_->deadline = ctx_.now.steady + state_patience;
      return true;
    case wire::fetch_verdict::fork:
      return on_fork(from, f);
    case wire::fetch_verdict::not_yet:
      break;
  }
  turn_to_next("relay.parents_behind");
  return true;
}

void relay::take(const wire::fetched& f, replica& r) {
  const auto now = ctx_.now.steady;
  const auto patience = 2 * ctx_.opt->raft.election_timeout_max;
  if (!f.entries.empty()) unwritten_.push_back(f.entries.back().index);
  if (!f.entries.empty() || f.commit <= r.core().commit())
    lagging_.reset();
  else if (!lagging_)
    lagging_ = now;
  // It can't give what it knows of, or heard of no leader for long: another one may do better.
  if (f.age > patience || (lagging_ && now - *lagging_ > patience)) {
    if (parent() == asked_->to) parent_->heard = instant::min();
    return turn_to_next("relay.stale_parents");
  }
  if (parent() != asked_->to) {
    if (parent_) ctx_.stats.add("relay.reparented");
    ctx_.stats.add(f.depth == 0 ? "relay.fed_by_voters" : "relay.fed_by_observers");
  }
  parent_ = feeder{asked_->to, f.depth, now};
  next_question_ = now;
  refusals_ = 0;
  anywhere_ = false;
  asked_.reset();
}

// Two committed histories: one of the two nodes is wrong. Between observers nobody can tell which; but each of them
// asks with the hash of all that it has, so the wrong one comes to stand before somebody who is right, in the end
// before those whom the leader feeds. When most of them say so, it is this node.
bool relay::on_fork(node_id from, const wire::fetched& f) {
  ctx_.stats.add("relay.forks");
  if (f.depth == 0) accusers_.insert(from);
  const auto roots = std::ranges::count(list_, 0u, &relay_parent::level);
  if (2 * static_cast<std::ptrdiff_t>(accusers_.size()) > roots && f.depth == 0) return false;
  if (!suspicious_)
    ctx_.log(log_level::error, "a parent has another history of the log: asking the voters who is right");
  turn_to_next("relay.forked_parents");
  if (!std::exchange(suspicious_, true)) at_ = 0;
  return true;
}

void relay::on_chunk(node_id from) {
  if (expects_state(from)) asked_->deadline = ctx_.now.steady + state_patience;
}

void relay::on_installed() {
  unwritten_.clear();
  if (!waits_for_state_) return;
  waits_for_state_ = false;
  asked_.reset();
  next_question_ = ctx_.now.steady;
}

// ---- parent --------------------------------------------------------------------------------------------------------

void relay::on_fetch(node_id from, const wire::fetch& f, replica* r) {
  using enum wire::fetch_verdict;
  if (r == nullptr || !f.next || r->installing()) return answer(from, f.id, not_yet, r);
  const auto prev = f.next.prev();
  const auto have = r->available();
  if (const auto chain = prev <= have ? r->chain_at(prev) : std::nullopt; chain && *chain != f.chain) {
    // It asks again and again, until it knows who is wrong.
    if (ctx_.stats.get("relay.forked_children") % 64 == 0)
      ctx_.log(log_level::error,
               fmt::format("{} has another history of the log up to entry {}", from.short_str(), prev));
    ctx_.stats.add("relay.forked_children");
    return answer(from, f.id, fork, r);
  }
  if (depth() >= f.depth || prev > have) {
    children_.erase(from);
    return answer(from, f.id, not_yet, r);
  }
  drop_silent_children();
  if (!children_.contains(from) && children_.size() >= ctx_.opt->relay_fan_out) return answer(from, f.id, full, r);
  auto& c = children_[from];
  c.heard = ctx_.now.steady;
  c.open.reset();
  if (prev < r->chain_begin()) {
    const bool offered = r->offer_state(from);
    if (offered && depth() > 0) ctx_.stats.add("relay.state_from_observers");
    if (!offered) children_.erase(from);
    return answer(from, f.id, offered ? snapshot : full, r);
  }
  c.open = f;
  c.due = ctx_.now.steady + 2 * ctx_.opt->raft.heartbeat;
}

void relay::drop_silent_children() {
  std::erase_if(children_, [&](const auto& c) {
    return !links_.up(c.first) || ctx_.now.steady - c.second.heard > child_patience;
  });
}

void relay::serve(replica& r) {
  if (children_.empty() || r.installing()) return;
  const auto now = ctx_.now.steady;
  const auto have = r.available();
  std::vector<std::pair<node_id, wire::fetch>> again;
  for (auto& [id, c] : children_) {
    if (!c.open) continue;
    const auto next = c.open->next;
    // The log may have been cut, or this node moved in the tree, since the question came.
    if (next.prev() < r.chain_begin() || depth() >= c.open->depth) {
      again.emplace_back(id, *c.open);
    } else if (have >= next || now >= c.due || (c.told_leader && c.told_leader != r.leader())) {
      answer(id, c.open->id, wire::fetch_verdict::entries, &r, next);
      c.told_leader = r.leader();
      c.open.reset();
    }
  }
  for (const auto& [id, f] : again) on_fetch(id, f, &r);
}

void relay::answer(node_id to, std::uint64_t id, wire::fetch_verdict verdict, const replica* r, log_index next) {
  wire::fetched a;
  a.id = id;
  a.verdict = verdict;
  a.depth = relay_nowhere;
  if (r != nullptr) {
    const auto& core = r->core();
    a.commit = core.commit();
    a.leader = core.leader();
    a.when = core.leader_term();
    a.depth = depth();
    a.age = std::chrono::ceil<std::chrono::milliseconds>(ctx_.now.steady -
                                                         std::min(ctx_.now.steady, core.last_leader_contact()));
    const auto& o = ctx_.opt->raft;
    std::size_t bytes = 0;
    for (auto i = next; next && i <= r->available() && a.entries.size() < o.max_append_entries; ++i) {
      const auto& e = *core.entry_at(i);
      bytes += e.payload.size();
      if (!a.entries.empty() && bytes > o.max_append_bytes) break;
      a.entries.push_back(e);
    }
  }
  links_.send(to, std::move(a), group_);
}

// ---- keep-alives ---------------------------------------------------------------------------------------------------

void relay::on_keepalives(node_id from, const wire::keepalives& m, const replica* r) {
  if (m.for_leader || r == nullptr) return ctx_.stats.add("keepalive.not_leader");
  const auto now = ctx_.now.steady;
  if (routes_.size() + m.list.size() > max_routes)
    std::erase_if(routes_, [&](const auto& x) { return now - x.second.since > route_patience; });
  for (const auto& k : m.list) {
    if (to_pass_.size() >= max_gathered || routes_.size() >= max_routes) return ctx_.stats.add("keepalive.dropped");
    // One that comes again went in a circle, while the tree changed.
    if (routes_.try_emplace({k.epoch, k.id}, route{from, now}).second) to_pass_.push_back(k);
  }
  flush_at_ = std::min(flush_at_, now + gather);
}

void relay::renew(const wire::keepalive& k, bool urgent, const replica& r) {
  // When answers are missing the way through the tree may be at fault.
  if (urgent && parent() && r.leader()) links_.send(r.leader(), wire::keepalives{{k}, true});
  to_pass_.push_back(k);
  flush_keepalives(r);
}

void relay::flush_keepalives(const replica& r) {
  flush_at_ = never;
  auto list = std::exchange(to_pass_, {});
  if (list.empty()) return;
  const auto up = parent();
  const auto to = up ? up : r.leader();
  if (!to || to == ctx_.self) return ctx_.stats.add("keepalive.dropped");
  links_.send(to, wire::keepalives{std::move(list), !up || up == r.leader()});
}

std::vector<wire::keepalive_ack> relay::on_keepalive_acks(const wire::keepalive_acks& m) {
  std::vector<wire::keepalive_ack> mine;
  std::map<node_id, wire::keepalive_acks> others;
  for (const auto& a : m.list) {
    if (const auto it = routes_.extract({a.epoch, a.id}))
      others[it.mapped().to].list.push_back(a);
    else
      mine.push_back(a);
  }
  for (auto& [to, acks] : others) {
    ctx_.stats.add("keepalive.passed_back");
    links_.send(to, std::move(acks));
  }
  return mine;
}

}  // namespace coterie::engine
