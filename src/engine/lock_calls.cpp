#include "engine/lock_calls.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "machine/check.hpp"
#include "machine/machine.hpp"

namespace coterie::engine {

namespace {

constexpr duration turn = 2ms;            // callers here may overtake those of other nodes for so long
constexpr duration try_patience = 500ms;  // for a lock that nobody uses, until its node gives it back
constexpr duration question_patience = 200ms;
constexpr std::size_t max_questions = 1'000;
constexpr std::uint64_t owners_a_grant = 1ull << fence_sequence_bits;

}  // namespace

const machine::lock_record* lock_calls::record(const std::string& name) const {
  if (!replica_) return nullptr;
  const auto it = replica_->machine().locks().find(name);
  return it == replica_->machine().locks().end() ? nullptr : &it->second;
}

node_id lock_calls::holder_of(const machine::lock_record& l) const {
  const auto* s = replica_->machine().session(l.holder->session);
  return s == nullptr ? node_id() : s->node;
}

std::vector<std::string> lock_calls::names() const {
  std::vector<std::string> all;
  for (const auto& [name, l] : lines_) all.push_back(name);
  return all;
}

// ---- callers -------------------------------------------------------------------------------------------------------

void lock_calls::acquire(call_id id, const wire::acquire_lock& a, duration patience) {
  if (auto ok = machine::check_name("lock", a.name); !ok) return ctx_.reply(id, ok.error());
  if (stopping_) return ctx_.refuse(id, errc::closed, "the node is stopping: ask another one");
  if (waiters_.size() + holds_.size() >= ctx_.opt->max_calls)
    return ctx_.refuse(id, errc::limit, "too many locks are waited for on this node");
  waiter w;
  w.name = a.name;
  w.label = a.label;
  w.patience = patience;
  w.keeps = a.keeps;
  w.try_only = a.wait && a.wait->count() <= 0;
  if (a.wait && !w.try_only) w.until = ctx_.now.steady + *a.wait;
  w.contact = ctx_.now.steady;
  w.order = ++last_order_;
  const auto it = lines_.try_emplace(a.name).first;
  it->second.waiting.emplace(w.order, id);
  waiters_.emplace(id, std::move(w));
  serve(it);
}

void lock_calls::release(call_id id, const wire::release_lock& r) {
  const auto it = lines_.find(r.name);
  const auto h = it != lines_.end() && it->second.held ? holds_.find(it->second.held->user) : holds_.end();
  const bool fits = h != holds_.end() &&
                    (h->second.keep ? machine::grant_of(r.fence) == it->second.held->id && r.fence >= h->second.fence
                                    : r.fence == h->second.fence);
  if (!fits)
    return ctx_.refuse(
        id, errc::lock_lost,
        fmt::format("{} is not held here with fence {}: its lease ended or it was released", r.name, r.fence));
  auto& g = *it->second.held;
  g.next = r.fence % owners_a_grant + 1;
  g.user = {};
  g.since = ctx_.now.steady;
  g.used = ctx_.now.wall;
  if (!h->second.gone) ctx_.reply(h->first, wire::done{});
  holds_.erase(h);
  ctx_.reply(id, wire::done{});
  serve(it);
}

void lock_calls::cancel(call_id id) {
  if (const auto w = waiters_.find(id); w != waiters_.end()) {
    const auto name = w->second.name;
    remove(id);
    serve({name});
  }
  if (const auto h = holds_.find(id); h != holds_.end()) h->second.gone = true;
}

// Out of the line; with nobody left in it nothing is asked for any more, wherever that stands.
void lock_calls::remove(call_id id) {
  const auto w = waiters_.extract(id);
  const auto it = lines_.find(w.mapped().name);
  auto& l = it->second;
  l.waiting.erase(w.mapped().order);
  if (!l.waiting.empty()) return;
  auto seq = l.seq;
  if (l.request) {
    seq = outbox_.seq_of(l.request);
    outbox_.abandon(l.request);
    requests_.erase(l.request);
  }
  if (seq) outbox_.submit_quietly(machine::lock_cancel{it->first, seq});  // else never numbered, hence never sent
  l.request = {};
  l.seq = {};
  if (!l.held) l.wanted.reset();
}

// ---- a line moves on -----------------------------------------------------------------------------------------------

void lock_calls::serve(const std::vector<std::string>& all) {
  for (const auto& name : all)
    if (const auto it = lines_.find(name); it != lines_.end()) serve(it);
}

void lock_calls::serve(lines::iterator it) {
  auto& l = it->second;
  if (l.held && !l.held->user) {
    if (must_pass_on(l) || (l.waiting.empty() && !may_keep(l)))
      give_back(it);
    else if (l.waiting.empty())
      keep(it);
    else
      hand_out(it);
  }
  try_again(it);
  const auto waits = [&](const auto& w) { return !waiters_.at(w.second).try_only; };
  if (!l.held && !l.request && !l.seq && std::ranges::any_of(l.waiting, waits)) request(it);
  if (l.held && l.held->user && std::ranges::any_of(l.waiting, waits)) want(*l.held);
  forget(it);
}

void lock_calls::forget(lines::iterator it) {
  const auto& l = it->second;
  if (l.waiting.empty() && !l.held && l.not_kept_until <= ctx_.now.steady) lines_.erase(it);
}

bool lock_calls::must_pass_on(const line& l) const {
  if (l.held->next >= owners_a_grant) return true;
  if (!l.wanted) return false;
  if (l.waiting.empty()) return true;
  return l.waiting.begin()->first > l.wanted->before && ctx_.now.steady - l.wanted->since >= turn;
}

// Nobody keeps what he does not need while half of the locks that there may be are taken.
bool lock_calls::may_keep(const line& l) const {
  return !stopping_ && !l.wanted && l.not_kept_until <= ctx_.now.steady &&
         (lines_.size() <= ctx_.opt->max_kept_locks || !idle_.empty()) && replica_ &&
         replica_->machine().locks().size() <= ctx_.opt->limits.locks / 2;
}

// To the first that waits, with at least half of the validity left (the flaw of etcd-io/etcd#11456).
void lock_calls::hand_out(lines::iterator it) {
  if (session_.left() < session_.ttl() / 2) return session_.hurry();
  auto& l = it->second;
  auto& g = *l.held;
  const auto id = l.waiting.begin()->second;
  const auto& w = waiters_.at(id);
  const auto d = session_.validity();
  hold h;
  h.name = it->first;
  h.label = w.label;
  h.fence = machine::fence_of(log_index(g.id.value), g.next++);
  h.since = ctx_.now.wall;
  h.told_steady = d.steady;
  h.told_boot = d.boot;
  h.keep = w.keeps && l.waiting.size() == 1 && may_keep(l);
  g.user = id;
  idle_.erase(std::exchange(g.idle, 0));
  ctx_.reply(id,
             wire::lock_granted{h.fence, session_.epoch(), d.steady.time_since_epoch().count(),
                                d.boot.time_since_epoch().count(), h.keep},
             false);
  holds_.emplace(id, std::move(h));
  remove(id);
}

void lock_calls::want(const kept_grant& g) {
  auto& h = holds_.at(g.user);
  if (!h.keep || h.gone || std::exchange(h.wanted, true)) return;
  ctx_.reply(g.user, wire::lock_wanted{}, false);
}

// Where there is no room, what was not used for longest makes it.
void lock_calls::keep(lines::iterator it) {
  auto& g = *it->second.held;
  if (g.idle) return;
  if (lines_.size() > ctx_.opt->max_kept_locks) {
    const auto longest = lines_.find(idle_.begin()->second);
    give_back(longest);
    forget(longest);
  }
  g.idle = ++last_idle_;
  idle_.emplace(g.idle, it->first);
}

void lock_calls::give_back(lines::iterator it) {
  auto& l = it->second;
  idle_.erase(std::exchange(l.held->idle, 0));
  give_back(it->first, l.held->id);
  if (l.wanted && l.held->next <= 1 && lines_.size() <= ctx_.opt->max_kept_locks)
    l.not_kept_until = ctx_.now.steady + ctx_.opt->keep_locks;
  if (ctx_.opt->bug == planted_bug::kept_grant) return;
  l.held.reset();
  l.wanted.reset();
}

void lock_calls::give_back(const std::string& name, grant_id g) {
  outbox_.submit_quietly(machine::lock_release{name, g});
}

// ---- those that only try -------------------------------------------------------------------------------------------

void lock_calls::refuse_held(call_id id, const std::string& name) {
  std::string owner = "another owner";
  if (const auto* l = record(name); l && l->holder)
    owner = fmt::format("fence {}", machine::fence_of(l->holder->grant));
  ctx_.refuse(id, errc::held,
              fmt::format("{} is held by {}: wait longer, or see coterie lock show {}", name, owner, name));
  remove(id);
}

// False is the answer only when somebody uses the lock, which is known where its grant is kept.
void lock_calls::try_again(lines::iterator it) {
  auto& l = it->second;
  std::vector<call_id> tries;
  for (const auto& [order, id] : l.waiting)
    if (const auto& w = waiters_.at(id); w.try_only && !w.asked) tries.push_back(id);
  if (tries.empty()) return;
  const auto ask = [&](node_id where, grant_id g) {
    for (const auto id : tries) waiters_.at(id).asked = inquiries_.begin({{where, {{it->first, g}}}});
  };
  if (l.held) {
    if (!l.held->user) return;  // the lease is renewed first
    const auto& user = holds_.at(l.held->user);
    if (user.keep && !user.gone) return ask(ctx_.self, l.held->id);
    for (const auto id : tries) refuse_held(id, it->first);
    return;
  }
  if (l.request) return;  // its answer will tell
  if (const auto* r = record(it->first); r && r->holder)
    ask(holder_of(*r), r->holder->grant);
  else if (!l.seq)
    request(it);
}

bool lock_calls::on_inquired(const lock_inquiries::finished& f) {
  const auto w = std::ranges::find_if(waiters_, [&](const auto& x) { return x.second.asked == f.id; });
  if (w == waiters_.end()) return false;
  const auto id = w->first;
  const auto name = w->second.name;
  const auto use = f.uses.find(name);
  if (!f.complete || (use != f.uses.end() && use->second.used)) {
    refuse_held(id, name);
  } else {
    // Nobody uses it, so it will be given to whoever waits.
    w->second.asked = {};
    w->second.try_only = false;
    w->second.until = ctx_.now.steady + try_patience;
  }
  serve({name});
  return true;
}

// ---- the replicated queue ------------------------------------------------------------------------------------------

void lock_calls::request(lines::iterator it) {
  auto& l = it->second;
  duration patience{};
  bool try_only = true;
  for (const auto& [order, id] : l.waiting) {
    const auto& w = waiters_.at(id);
    patience = std::max(patience, w.patience);
    try_only &= w.try_only;
  }
  const auto& first = waiters_.at(l.waiting.begin()->second);
  auto t = outbox_.submit(machine::lock_acquire{it->first, try_only, first.label}, ctx_.now.steady + patience);
  if (!t) return refuse_all(it, t.error().code, t.error().message);
  l.request = *t;
  requests_[*t] = it->first;
}

void lock_calls::refuse_all(lines::iterator it, errc code, const std::string& why) {
  const auto waiting = it->second.waiting;
  for (const auto& [order, id] : waiting) {
    ctx_.refuse(id, code, why);
    remove(id);
  }
}

bool lock_calls::on_answer(const outbox::answered& a) {
  const auto r = requests_.extract(a.id);
  if (!r) return false;
  const auto it = lines_.find(r.mapped());
  auto& l = it->second;
  l.request = {};
  if (a.what.ok() && a.what.value != 0) {
    take(it, machine::grant_of(a.what.value));
  } else if (a.what.ok()) {
    l.seq = a.seq;
    l.wanted.reset();  // who was there before is served before
    for (const auto& [order, id] : l.waiting) waiters_.at(id).contact = ctx_.now.steady;
  } else if (a.what.code != errc::held) {
    // Unsure: whatever it is granted later is given back, because nobody waits for it any more.
    refuse_all(it, a.what.code, a.what.text);
  }
  serve(it);
  return true;
}

void lock_calls::take(lines::iterator it, grant_id g) {
  auto& l = it->second;
  l.seq = {};
  l.held = kept_grant{g, 0, {}, ctx_.now.steady, 0, ctx_.now.wall};
  const auto* r = record(it->first);
  if (r && r->holder && r->holder->grant == g && r->waiters.empty()) l.wanted.reset();
  if (l.wanted) l.wanted->since = ctx_.now.steady;
}

void lock_calls::on_granted(const machine::lock_granted& g) {
  if (g.holder.session != session_.epoch() || !session_.epoch()) return;
  const auto it = lines_.find(g.name);
  if (it != lines_.end() && it->second.held && it->second.held->id == g.holder.grant) return;
  if (it == lines_.end() || !it->second.seq || it->second.seq != g.holder.request)
    return give_back(g.name, g.holder.grant);
  take(it, g.holder.grant);
  serve(it);
}

void lock_calls::on_waited(const machine::lock_waited& x) {
  const auto it = lines_.find(x.name);
  if (it == lines_.end() || !session_.epoch()) return;
  auto& l = it->second;
  const bool behind = l.seq && x.waiter != session_.epoch();
  const bool ours = l.held && x.holder.session == session_.epoch() && x.holder.grant == l.held->id;
  if (!behind && !ours) return;
  if (!l.wanted) l.wanted = demand{last_order_, ctx_.now.steady};
  if (!ours) return;
  if (l.held->user)
    want(*l.held);
  else
    serve(it);
}

void lock_calls::on_installed() {
  for (const auto& [name, l] : replica_->machine().locks()) {
    if (!l.holder) continue;
    on_granted({name, *l.holder});
    if (!l.waiters.empty()) on_waited({name, *l.holder, l.waiters.front().session});
  }
}

void lock_calls::on_renewed() {
  const auto d = session_.validity();
  for (auto& [id, h] : holds_) {
    if (h.gone) continue;
    h.told_steady = d.steady;
    h.told_boot = d.boot;
    ctx_.reply(id, wire::lock_renewed{d.steady.time_since_epoch().count(), d.boot.time_since_epoch().count()}, false);
  }
  std::vector<std::string> ready;
  for (const auto& [name, l] : lines_)
    if (l.held && !l.held->user && !l.waiting.empty()) ready.push_back(name);
  serve(ready);
}

void lock_calls::on_lapsed() {
  for (const auto& [id, h] : std::exchange(holds_, {}))
    if (!h.gone)
      ctx_.refuse(id, errc::lock_lost, fmt::format("{} was lost: the session could not be renewed in time", h.name));
  idle_.clear();
  for (auto& [name, l] : lines_) {
    l.held.reset();
    l.wanted.reset();
    l.seq = {};
  }
  serve(names());
}

// ---- time, and the end ---------------------------------------------------------------------------------------------

void lock_calls::begin_stop() {
  stopping_ = true;
  for (const auto& name : names()) refuse_all(lines_.find(name), errc::closed, "the node is stopping: ask another one");
  for (auto& [id, h] : holds_) {
    if (h.gone) continue;
    ctx_.refuse(id, errc::closed, fmt::format("the node is stopping: {} ends now", h.name));
    h.gone = true;
  }
  serve(names());
}

void lock_calls::tick(bool quorum) {
  const auto now = ctx_.now.steady;
  std::vector<std::string> moved;
  for (auto it = holds_.begin(); it != holds_.end();) {
    const auto& h = it->second;
    if (!h.gone || (now < h.told_steady && ctx_.now.boot < h.told_boot)) {
      ++it;
      continue;
    }
    // Nobody knows what its last fence was, if it was kept.
    const auto l = lines_.find(h.name);
    l->second.held->user = {};
    l->second.held->next = owners_a_grant;
    moved.push_back(h.name);
    it = holds_.erase(it);
  }
  std::vector<std::pair<call_id, bool>> over;  // and whether alone
  for (auto& [id, w] : waiters_) {
    if (quorum) w.contact = now;
    const bool late = w.until && now >= *w.until;
    const bool alone = !lines_.at(w.name).request && now - w.contact >= w.patience;
    if (late || alone) over.emplace_back(id, alone);
  }
  for (const auto& [id, alone] : over) {
    const auto name = waiters_.at(id).name;
    moved.push_back(name);
    if (!alone && quorum) {
      refuse_held(id, name);
      continue;
    }
    // Without a majority nobody knows who holds it.
    ctx_.refuse(id, errc::no_quorum,
                "no contact with a majority of the voters while waiting: nothing is held; see coterie status");
    remove(id);
  }
  serve(moved);
  for (std::size_t i = questions_.size(); i-- > 0;)
    if (now >= questions_[i].until) answer_question(i);
  if (now >= next_sweep_) sweep();
}

// What nobody has used for a while is given back; clients that keep a grant are asked whether they use it.
void lock_calls::sweep() {
  const auto now = ctx_.now.steady;
  next_sweep_ = now + ctx_.opt->keep_locks / 2;
  for (const auto& name : names()) {
    const auto it = lines_.find(name);
    auto& l = it->second;
    if (l.held && l.held->user) {
      auto& h = holds_.at(l.held->user);
      if (!h.keep || h.gone) continue;
      h.asked = true;
      ctx_.reply(l.held->user, wire::lock_asked{}, false);
    } else if (l.held && l.waiting.empty() && (now - l.held->since >= ctx_.opt->keep_locks || !may_keep(l))) {
      give_back(it);
    }
    forget(it);
  }
}

instant lock_calls::next_wake() const {
  auto t = lines_.empty() ? never : next_sweep_;
  for (const auto& [id, h] : holds_)
    if (h.gone) t = std::min(t, h.told_steady);
  for (const auto& [id, w] : waiters_) {
    if (w.until) t = std::min(t, *w.until);
    if (!lines_.at(w.name).request) t = std::min(t, std::max(w.contact + w.patience, ctx_.now.steady + 10ms));
  }
  for (const auto& q : questions_) t = std::min(t, q.until);
  return t;
}

// ---- who uses what -------------------------------------------------------------------------------------------------

void lock_calls::on_question(node_id from, wire::lock_question q) {
  if (questions_.size() >= max_questions) return;
  question mine{from, {q.id, {}}, {}, ctx_.now.steady + question_patience};
  for (const auto& asked : q.grants) {
    const auto it = lines_.find(asked.name);
    if (it == lines_.end() || !it->second.held || it->second.held->id != asked.grant) continue;
    const auto& g = *it->second.held;
    if (!g.user) {
      const auto last = machine::fence_of(log_index(g.id.value), g.next == 0 ? 0 : g.next - 1);
      mine.so_far.uses.push_back({asked.name, last, false, g.used, {}, 0});
      continue;
    }
    const auto& h = holds_.at(g.user);
    if (h.keep && !h.gone) {
      mine.missing.emplace(g.user, asked.name);
      ctx_.reply(g.user, wire::lock_asked{}, false);
    } else {
      mine.so_far.uses.push_back({asked.name, h.fence, true, h.since, h.label, 0});
    }
  }
  questions_.push_back(std::move(mine));
  if (questions_.back().missing.empty()) answer_question(questions_.size() - 1);
}

// What a client did not say in time it uses.
void lock_calls::answer_question(std::size_t i) {
  auto& q = questions_[i];
  for (const auto& [id, name] : q.missing)
    if (const auto h = holds_.find(id); h != holds_.end())
      q.so_far.uses.push_back({name, h->second.fence, true, h->second.since, h->second.label, 0});
  for (auto& u : q.so_far.uses)
    if (const auto it = lines_.find(u.name); it != lines_.end())
      u.waiters = static_cast<std::uint32_t>(it->second.waiting.size());
  replies_.push_back({q.from, std::move(q.so_far)});
  questions_.erase(questions_.begin() + static_cast<std::ptrdiff_t>(i));
}

void lock_calls::on_told(call_id id, const wire::tell_lock& t) {
  ctx_.reply(id, wire::done{});
  const auto it = lines_.find(t.use.name);
  if (it == lines_.end() || !it->second.held || it->second.held->id != machine::grant_of(t.use.fence)) return;
  const auto user = it->second.held->user;
  const auto h = holds_.find(user);
  if (h == holds_.end() || !h->second.keep) return;
  for (std::size_t i = questions_.size(); i-- > 0;) {
    auto& q = questions_[i];
    if (q.missing.erase(user) == 0) continue;
    q.so_far.uses.push_back(t.use);
    if (q.missing.empty()) answer_question(i);
  }
  // Idle at two sweeps, and not used between them.
  if (!std::exchange(h->second.asked, false)) return;
  if (!t.use.used && h->second.idle_at == t.use.fence) want(*it->second.held);
  h->second.idle_at = t.use.used ? 0 : t.use.fence;
}

}  // namespace coterie::engine
