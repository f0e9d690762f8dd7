// Members, sessions and runners applied. Knows nothing of locks, jobs or time-outs.
#include "machine/registry.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/hash.hpp"

namespace coterie::machine {

const char* to_string(member_change c) {
  switch (c) {
    case member_change::added:
      return "added";
    case member_change::moved:
      return "moved";
    case member_change::left:
      return "left";
    case member_change::removed:
      return "removed";
    case member_change::failed:
      return "failed";
    case member_change::back:
      return "back";
  }
  return "?";
}

namespace {

template <class Map, class Key>
auto* lookup(Map& map, const Key& key) {
  const auto it = map.find(key);
  return it == map.end() ? nullptr : &it->second;
}

answer no_session() { return refuse(errc::bad_argument, "the command needs a session: open one first"); }

}  // namespace

const member_record* registry::member(node_id id) const { return lookup(members_, id); }
const session_record* registry::session(session_epoch epoch) const { return lookup(sessions_, epoch); }

session_record* registry::change(session_epoch epoch) {
  auto* s = lookup(sessions_, epoch);
  if (s != nullptr) changed_sessions_.mark(epoch);
  return s;
}

// ---- members -------------------------------------------------------------------------------------------------------

void registry::found(const std::vector<member_record>& founders) {
  for (const auto& m : founders) {
    members_[m.id] = m;
    changed_members_.mark(m.id);
  }
}

answer registry::add(turn& t, const add_member& c, std::uint64_t& view) {
  auto* known = lookup(members_, c.id);
  if (known != nullptr && known->removed)
    return refuse(errc::closed, "this node was removed from the cluster: wipe its local home to join as a new one");
  if (known != nullptr && known->name == c.name && known->at == c.at) return done(view);
  std::size_t living = 0;
  for (const auto& [id, m] : members_) {
    if (m.removed) continue;
    ++living;
    if (!c.name.empty() && m.name == c.name && id != c.id)
      return refuse(errc::exists,
                    fmt::format("the name '{}' is taken by node {}: choose another", c.name, id.short_str()));
  }
  const auto what = known == nullptr ? member_change::added : member_change::moved;
  if (known == nullptr) {
    if (living >= t.max.members)
      return refuse(errc::limit, fmt::format("the cluster has {} members: remove one first", living));
    known =
        &members_.emplace(c.id, member_record{.id = c.id, .name = {}, .at = {}, .view_joined = view + 1}).first->second;
  }
  known->name = c.name;
  known->at = c.at;
  ++view;
  changed_members_.mark(c.id);
  t.happened.emplace_back(member_changed{*known, what, view});
  return done(view);
}

answer registry::remove(turn& t, const remove_member& c, std::uint64_t& view) {
  auto* known = lookup(members_, c.id);
  if (known == nullptr)
    return refuse(errc::not_found, fmt::format("no member has the id {}: see the member list", c.id.str()));
  if (known->removed) return done(view);
  known->removed = true;
  known->left = c.by_itself;
  known->stopped = known->failed = false;
  ++view;
  changed_members_.mark(c.id);
  t.happened.emplace_back(member_changed{*known, c.by_itself ? member_change::left : member_change::removed, view});
  forget_oldest_removed(t.max.members);
  return done(view);
}

answer registry::judge(turn& t, const change_view& c, std::uint64_t& view) {
  std::vector<member_record*> changed;
  const auto set = [&](const std::vector<node_id>& ids, bool failed) {
    for (const auto id : ids) {
      auto* m = lookup(members_, id);
      if (m == nullptr || m->removed || m->failed == failed || (failed && m->stopped)) continue;
      m->failed = failed;
      changed.push_back(m);
    }
  };
  set(c.back, false);
  set(c.failed, true);
  if (changed.empty()) return done(view);
  ++view;
  for (const auto* m : changed) {
    changed_members_.mark(m->id);
    t.happened.emplace_back(member_changed{*m, m->failed ? member_change::failed : member_change::back, view});
  }
  return done(view);
}

void registry::mark_stopped(node_id id, bool stopped) {
  auto* m = lookup(members_, id);
  if (m == nullptr || m->removed || m->stopped == stopped) return;
  m->stopped = stopped;
  changed_members_.mark(id);
}

void registry::forget_oldest_removed(std::size_t keep) {
  std::vector<std::pair<std::uint64_t, node_id>> removed;
  for (const auto& [id, m] : members_)
    if (m.removed) removed.emplace_back(m.view_joined, id);
  if (removed.size() <= keep) return;
  const auto oldest = std::min_element(removed.begin(), removed.end());
  members_.erase(oldest->second);
  changed_members_.mark(oldest->second);
}

// ---- sessions ------------------------------------------------------------------------------------------------------

std::vector<session_epoch> registry::sessions_of(node_id node) const {
  std::vector<session_epoch> out;
  for (auto it = by_node_.lower_bound({node, session_epoch{}}); it != by_node_.end() && it->first == node; ++it)
    out.push_back(it->second);
  return out;
}

answer registry::open(turn& t, const open_session& c) {
  for (const auto epoch : sessions_of(c.node))
    if (sessions_.at(epoch).nonce == c.nonce) return done(epoch.value);
  if (const auto* m = member(c.node); m != nullptr && m->removed)
    return refuse(errc::closed, "this node was removed from the cluster: wipe its local home to join as a new one");
  if (sessions_.size() >= t.max.sessions)
    return refuse(errc::limit, fmt::format("the cluster has {} sessions: wait until some end", sessions_.size()));
  session_record s;
  s.epoch = session_epoch(t.index.value);
  s.node = c.node;
  s.boot = c.boot;
  s.nonce = c.nonce;
  s.ttl = c.ttl;
  s.active = c.active;
  by_node_.emplace(s.node, s.epoch);
  mark_stopped(s.node, false);
  changed_sessions_.mark(s.epoch);
  t.happened.emplace_back(session_opened{s});
  const auto epoch = s.epoch;
  sessions_.emplace(epoch, std::move(s));
  return done(epoch.value);
}

void registry::admit(session_epoch epoch, node_id node) {
  session_record s;
  s.epoch = epoch;
  s.node = node;
  by_node_.emplace(node, epoch);
  changed_sessions_.mark(epoch);
  sessions_.emplace(epoch, std::move(s));
}

/// A node whose last session was closed has stopped in order; one whose session expired has not.
void registry::end(session_epoch epoch, bool expired) {
  const auto it = sessions_.find(epoch);
  if (it == sessions_.end()) return;
  for (const auto& runner : it->second.runners) {
    const auto with = with_runner_.find(runner);
    with->second.erase(epoch);
    if (with->second.empty()) with_runner_.erase(with);
  }
  const auto node = it->second.node;
  by_node_.erase({node, epoch});
  if (!expired && sessions_of(node).empty()) mark_stopped(node, true);
  sessions_.erase(it);
  changed_sessions_.mark(epoch);
}

answer registry::register_runner(turn& t, const std::string& runner) {
  auto* s = change(t.session);
  if (s == nullptr) return no_session();
  const auto at = std::lower_bound(s->runners.begin(), s->runners.end(), runner);
  if (at != s->runners.end() && *at == runner)
    return refuse(errc::exists, fmt::format("the runner '{}' is registered on this node already", runner));
  if (s->runners.size() >= t.max.runners_per_session)
    return refuse(errc::limit, fmt::format("this node has {} runners: unregister some", s->runners.size()));
  s->runners.insert(at, runner);
  with_runner_[runner].insert(t.session);
  return done();
}

answer registry::unregister_runner(turn& t, const std::string& runner) {
  auto* s = change(t.session);
  if (s == nullptr) return no_session();
  const auto at = std::lower_bound(s->runners.begin(), s->runners.end(), runner);
  if (at == s->runners.end() || *at != runner)
    return refuse(errc::not_found, fmt::format("the runner '{}' is not registered on this node", runner));
  s->runners.erase(at);
  const auto with = with_runner_.find(runner);
  with->second.erase(t.session);
  if (with->second.empty()) with_runner_.erase(with);
  return done();
}

bool registry::takes_work(session_epoch epoch) const {
  const auto* s = session(epoch);
  return s != nullptr && s->active && !s->stopping;
}

bool registry::may_own(session_epoch epoch, std::string_view runner) const {
  const auto with = with_runner_.find(runner);
  if (with == with_runner_.end() || !with->second.contains(epoch) || !takes_work(epoch)) return false;
  const auto node = sessions_.at(epoch).node;
  const auto newer = by_node_.upper_bound({node, epoch});
  if (newer != by_node_.end() && newer->first == node) return false;
  const auto* m = member(node);
  return m != nullptr && !m->removed;
}

session_epoch registry::first_for(std::string_view job, std::string_view runner) const {
  session_epoch best;
  std::uint64_t best_weight = 0;
  const auto with = with_runner_.find(runner);
  if (with == with_runner_.end()) return best;
  for (const auto epoch : with->second) {
    if (!may_own(epoch, runner)) continue;
    const auto weight = rendezvous_weight(job, sessions_.at(epoch).node);
    if (best && weight <= best_weight) continue;
    best = epoch;
    best_weight = weight;
  }
  return best;
}

// ---- storage -------------------------------------------------------------------------------------------------------

void registry::restore(const member_record& r) { members_[r.id] = r; }

void registry::restore(const session_record& r) {
  sessions_[r.epoch] = r;
  by_node_.emplace(r.node, r.epoch);
  for (const auto& runner : r.runners) with_runner_[runner].insert(r.epoch);
}

void registry::collect(std::vector<write>& out) {
  changed_members_.drain([&](node_id id) {
    if (const auto* m = member(id)) return void(out.emplace_back(put{*m}));
    member_record gone;
    gone.id = id;
    out.emplace_back(erase{key_of(gone)});
  });
  changed_sessions_.drain([&](session_epoch epoch) {
    if (const auto* s = session(epoch)) return void(out.emplace_back(put{*s}));
    session_record gone;
    gone.epoch = epoch;
    out.emplace_back(erase{key_of(gone)});
  });
}

void registry::add_to(digest_builder& d) const {
  for (const auto& [id, m] : members_) d.add(m);
  for (const auto& [epoch, s] : sessions_) d.add(s);
}

}  // namespace coterie::machine
