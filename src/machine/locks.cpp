// Queues and hand-over. Knows sessions only by whether they take work.
#include "machine/locks.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace coterie::machine {

void lock_table::grant(turn& t, lock_record& l, session_epoch session, request_seq request, const std::string& label) {
  const bool reused = t.max.bug == planted_bug::reused_token && l.holder;
  l.holder = lock_holder{session, request, reused ? l.holder->grant : grant_id(t.index.value), label, t.stamp};
  t.happened.emplace_back(lock_granted{l.name, *l.holder});
}

answer lock_table::acquire(turn& t, const lock_acquire& c, const registry& who) {
  if (!who.takes_work(t.session))
    return refuse(errc::passive, "the node is stopping and takes no locks: ask another one");
  const auto it = locks_.find(c.name);
  if (it == locks_.end()) {
    if (locks_.size() >= t.max.locks)
      return refuse(errc::limit, fmt::format("{} locks are held in the cluster: release some", locks_.size()));
    auto& l = locks_.emplace(c.name, lock_record{}).first->second;
    l.name = c.name;
    grant(t, l, t.session, t.seq, c.label);
    owners_.emplace(t.session, std::string_view(locks_.find(c.name)->first), t.seq);
    changed_.mark(c.name);
    return done(fence_of(t.index));
  }
  auto& l = it->second;
  if (c.try_only)
    return refuse(errc::held, fmt::format("the lock '{}' is held by another owner: try later or wait", c.name));
  if (l.waiters.size() >= t.max.waiters_per_lock)
    return refuse(errc::limit, fmt::format("{} requests wait for the lock '{}': try later", l.waiters.size(), c.name));
  l.waiters.push_back({t.session, t.seq, c.label});
  t.happened.emplace_back(lock_waited{l.name, *l.holder, t.session});
  owners_.emplace(t.session, std::string_view(it->first), t.seq);
  changed_.mark(c.name);
  return done();
}

answer lock_table::release(turn& t, const lock_release& c, const registry& who) {
  const auto it = locks_.find(c.name);
  if (it == locks_.end() || it->second.holder->session != t.session || it->second.holder->grant != c.grant)
    return refuse(errc::not_owner,
                  fmt::format("the lock '{}' is not held under this grant: it was lost or released", c.name));
  free_holder(t, it, who);
  return done();
}

std::optional<answer> lock_table::cancel(turn& t, const lock_cancel& c, const registry& who) {
  const auto it = locks_.find(c.name);
  if (it == locks_.end()) return std::nullopt;
  auto& l = it->second;
  const auto owner = owners_.find({t.session, it->first, c.request});
  if (owner == owners_.end()) return std::nullopt;
  if (l.holder->session == t.session && l.holder->request == c.request) {
    const auto fence = fence_of(l.holder->grant);
    free_holder(t, it, who);
    return done(fence);
  }
  owners_.erase(owner);
  const auto same = [&](const lock_waiter& w) { return w.session == t.session && w.request == c.request; };
  l.waiters.erase(std::find_if(l.waiters.begin(), l.waiters.end(), same));
  changed_.mark(c.name);
  return done();
}

// The next living waiter gets the lock in the same entry; without one the record vanishes.
void lock_table::free_holder(turn& t, map::iterator it, const registry& who) {
  auto& l = it->second;
  const std::string_view name = it->first;
  changed_.mark(name);
  owners_.erase({l.holder->session, name, l.holder->request});
  t.happened.emplace_back(lock_freed{l.name, l.holder->grant});
  auto next = l.waiters.begin();
  // Waiters of ended and passive sessions were dropped at that time already; this is the second net (etcd#11456).
  while (next != l.waiters.end() && !who.takes_work(next->session)) {
    owners_.erase({next->session, name, next->request});
    ++next;
  }
  if (next == l.waiters.end()) {
    for (const auto& w : l.waiters) owners_.erase({w.session, name, w.request});
    locks_.erase(it);
    return;
  }
  grant(t, l, next->session, next->request, next->label);
  l.waiters.erase(l.waiters.begin(), std::next(next));
  if (!l.waiters.empty()) t.happened.emplace_back(lock_waited{l.name, *l.holder, l.waiters.front().session});
}

std::vector<std::string> lock_table::names_of(session_epoch epoch) const {
  std::vector<std::string> names;
  for (auto it = owners_.lower_bound({epoch, {}, {}}); it != owners_.end() && std::get<0>(*it) == epoch; ++it)
    if (names.empty() || names.back() != std::get<1>(*it)) names.emplace_back(std::get<1>(*it));
  return names;
}

void lock_table::drop_waiters(lock_record& l, session_epoch epoch) {
  for (const auto& w : l.waiters)
    if (w.session == epoch) owners_.erase({epoch, l.name, w.request});
  if (std::erase_if(l.waiters, [&](const lock_waiter& w) { return w.session == epoch; }) > 0) changed_.mark(l.name);
}

void lock_table::drop_waiters(session_epoch epoch) {
  for (const auto& name : names_of(epoch)) drop_waiters(locks_.find(name)->second, epoch);
}

void lock_table::end_session(turn& t, session_epoch epoch, const registry& who) {
  for (const auto& name : names_of(epoch)) {
    const auto it = locks_.find(name);
    drop_waiters(it->second, epoch);
    if (it->second.holder->session == epoch) free_holder(t, it, who);
  }
}

void lock_table::restore(const lock_record& r) {
  if (!r.holder) return;  // not written by this machine
  const auto it = locks_.insert_or_assign(r.name, r).first;
  owners_.emplace(r.holder->session, std::string_view(it->first), r.holder->request);
  for (const auto& w : r.waiters) owners_.emplace(w.session, std::string_view(it->first), w.request);
}

void lock_table::collect(std::vector<write>& out) {
  changed_.drain([&](const std::string& name) {
    const auto it = locks_.find(name);
    if (it != locks_.end()) return void(out.emplace_back(put{it->second}));
    lock_record gone;
    gone.name = name;
    out.emplace_back(erase{key_of(gone)});
  });
}

void lock_table::add_to(digest_builder& d) const {
  for (const auto& [name, l] : locks_) d.add(l);
}

}  // namespace coterie::machine
