#include "engine/lock_calls.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "machine/check.hpp"
#include "machine/machine.hpp"

namespace coterie::engine {

void lock_calls::acquire(call_id id, const wire::acquire_lock& a, duration patience) {
  if (auto ok = machine::check_name("lock", a.name); !ok) return ctx_.reply(id, ok.error());
  if (stopping_) return ctx_.refuse(id, errc::closed, "the node is stopping: ask another one");
  if (waiters_.size() + holds_.size() >= ctx_.opt->max_calls)
    return ctx_.refuse(id, errc::limit, "too many locks are waited for on this node");
  waiter w;
  w.name = a.name;
  w.label = a.label;
  w.patience = patience;
  w.try_only = a.wait && a.wait->count() <= 0;
  if (a.wait && !w.try_only) w.until = ctx_.now.steady + *a.wait;
  w.contact = ctx_.now.steady;
  submit(id, waiters_[id] = std::move(w));
}

void lock_calls::submit(call_id id, waiter& w) {
  w.queued = false;
  w.seq = {};
  auto t = outbox_.submit(machine::lock_acquire{w.name, w.try_only, w.label}, ctx_.now.steady + w.patience);
  if (t) {
    w.id = *t;
  } else {
    ctx_.reply(id, t.error());
    waiters_.erase(id);
  }
}

bool lock_calls::on_answer(const outbox::answered& a) {
  const auto it = std::find_if(waiters_.begin(), waiters_.end(), [&](const auto& x) { return x.second.id == a.id; });
  if (it == waiters_.end()) return false;
  auto& w = it->second;
  w.id = {};
  w.seq = a.seq;
  if (a.what.ok() && a.what.value == 0) {
    w.queued = true;
    w.contact = ctx_.now.steady;
    return true;
  }
  if (a.what.ok()) {
    grant(it->first, w, {session_.epoch(), a.seq, machine::grant_of(a.what.value), w.label, {}});
    return true;
  }
  // Unsure: whatever it is granted later is given back, because nobody waits for it any more.
  ctx_.refuse(it->first, a.what.code, a.what.text);
  waiters_.erase(it);
  return true;
}

void lock_calls::on_granted(const machine::lock_granted& g) {
  if (g.holder.session != session_.epoch() || !session_.epoch()) return;
  for (auto& [id, w] : waiters_)
    if (w.name == g.name && w.seq == g.holder.request && w.seq) {
      if (!w.granted) grant(id, w, g.holder);
      return;
    }
  for (const auto& [id, h] : holds_)
    if (h.name == g.name && h.grant == g.holder.grant) return;
  give_back(g.name, g.holder.grant);
}

void lock_calls::grant(call_id id, waiter& w, const machine::lock_holder& h) {
  w.granted = h;
  w.queued = false;
  promote(id, w);
}

// A grant is handed out only with at least half of the validity left (the flaw of etcd-io/etcd#11456).
bool lock_calls::promote(call_id id, waiter& w) {
  if (session_.left() < session_.ttl() / 2) {
    session_.hurry();
    return false;
  }
  const auto d = session_.validity();
  hold h{w.name, w.granted->grant, machine::fence_of(w.granted->grant), d.steady, d.boot};
  ctx_.reply(id,
             wire::lock_granted{h.fence, session_.epoch(), d.steady.time_since_epoch().count(),
                                d.boot.time_since_epoch().count()},
             false);
  holds_[id] = std::move(h);
  waiters_.erase(id);
  return true;
}

void lock_calls::give_back(const std::string& name, grant_id g) {
  outbox_.submit_quietly(machine::lock_release{name, g});
}

// Ends a wait wherever it stands.
void lock_calls::withdraw(waiter& w) {
  if (w.granted) return give_back(w.name, w.granted->grant);
  const auto seq = w.seq ? w.seq : outbox_.seq_of(w.id);
  if (w.id) outbox_.abandon(w.id);
  if (!seq) return;  // never numbered, hence never sent
  outbox_.submit_quietly(machine::lock_cancel{w.name, seq});
}

void lock_calls::release(call_id id, const wire::release_lock& r) {
  const auto it = std::find_if(holds_.begin(), holds_.end(),
                               [&](const auto& x) { return x.second.name == r.name && x.second.fence == r.fence; });
  if (it == holds_.end())
    return ctx_.refuse(
        id, errc::lock_lost,
        fmt::format("{} is not held here with fence {}: its lease ended or it was released", r.name, r.fence));
  give_back(r.name, it->second.grant);
  if (!it->second.gone) ctx_.reply(it->first, wire::done{});
  holds_.erase(it);
  ctx_.reply(id, wire::done{});
}

void lock_calls::cancel(call_id id) {
  if (const auto w = waiters_.find(id); w != waiters_.end()) {
    withdraw(w->second);
    waiters_.erase(w);
  }
  if (const auto h = holds_.find(id); h != holds_.end()) h->second.gone = true;
}

void lock_calls::on_renewed() {
  const auto d = session_.validity();
  for (auto& [id, h] : holds_) {
    if (h.gone) continue;
    h.told_steady = d.steady;
    h.told_boot = d.boot;
    ctx_.reply(id, wire::lock_renewed{d.steady.time_since_epoch().count(), d.boot.time_since_epoch().count()}, false);
  }
  std::vector<call_id> ready;
  for (auto& [id, w] : waiters_)
    if (w.granted) ready.push_back(id);
  for (const auto id : ready) promote(id, waiters_.at(id));
}

void lock_calls::on_lapsed() {
  for (const auto& [id, h] : std::exchange(holds_, {}))
    if (!h.gone)
      ctx_.refuse(id, errc::lock_lost, fmt::format("{} was lost: the session could not be renewed in time", h.name));
  std::vector<call_id> again;
  for (auto& [id, w] : waiters_)
    if (w.queued || w.granted) again.push_back(id);
  for (const auto id : again) {
    auto& w = waiters_.at(id);
    w.granted.reset();
    submit(id, w);
  }
}

void lock_calls::on_installed(const machine::machine& m) {
  for (const auto& [name, l] : m.locks())
    if (l.holder) on_granted({name, *l.holder});
}

void lock_calls::begin_stop() {
  stopping_ = true;
  for (auto& [id, w] : waiters_) {
    withdraw(w);
    ctx_.refuse(id, errc::closed, "the node is stopping: ask another one");
  }
  waiters_.clear();
  for (auto& [id, h] : holds_) {
    if (h.gone) continue;
    ctx_.refuse(id, errc::closed, fmt::format("the node is stopping: {} ends now", h.name));
    h.gone = true;
  }
}

void lock_calls::tick(const machine::machine* m, bool quorum) {
  const auto now = ctx_.now.steady;
  for (auto it = holds_.begin(); it != holds_.end();) {
    if (it->second.gone && (now >= it->second.told_steady || ctx_.now.boot >= it->second.told_boot)) {
      give_back(it->second.name, it->second.grant);
      it = holds_.erase(it);
    } else {
      ++it;
    }
  }
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    auto& w = it->second;
    if (quorum) w.contact = now;
    const bool late = w.until && now >= *w.until;
    const bool alone = !w.id && now - w.contact >= w.patience;
    if (!late && !alone) {
      ++it;
      continue;
    }
    withdraw(w);
    std::string owner = "another owner";
    if (m)
      if (const auto l = m->locks().find(w.name); l != m->locks().end() && l->second.holder)
        owner = fmt::format("fence {}", machine::fence_of(l->second.holder->grant));
    if (alone || !quorum)  // without a majority nobody knows who holds it
      ctx_.refuse(it->first, errc::no_quorum,
                  "no contact with a majority of the voters while waiting: nothing is held; see coterie status");
    else
      ctx_.refuse(it->first, errc::held,
                  fmt::format("{} is held by {}: wait longer, or see coterie lock show {}", w.name, owner, w.name));
    it = waiters_.erase(it);
  }
}

instant lock_calls::next_wake() const {
  auto t = never;
  for (const auto& [id, h] : holds_)
    if (h.gone) t = std::min(t, h.told_steady);
  for (const auto& [id, w] : waiters_) {
    if (w.until) t = std::min(t, *w.until);
    if (!w.id) t = std::min(t, std::max(w.contact + w.patience, ctx_.now.steady + 10ms));
  }
  return t;
}

}  // namespace coterie::engine
