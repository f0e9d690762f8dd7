// The end of a node: stopping, which keeps its place in the cluster, and leaving, which gives it up. Knows the order in
// which things are put down, not what they are.
#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "engine/state.hpp"

namespace coterie::engine {

namespace {
constexpr duration removal_period = 500ms, handover_period = 500ms;
}

void engine::state::begin_end(call_id id, bool leaving, duration timeout) {
  if (leaving) {
    if (!replica || !is_member())
      return ctx.refuse(id, errc::unavailable, "the node is not a member yet: stop it instead");
    std::size_t others = 0;
    for (const auto& [m, x] : replica->machine().members()) others += m != ctx.self && !x.removed;
    if (others == 0)
      return ctx.refuse(id, errc::unavailable, "the last member can't leave its cluster: stop it instead");
    if (!outbox::quorum_contact(&*replica, ctx.now.steady))
      return ctx.refuse(id, errc::no_quorum,
                        "leaving is a log entry and needs a majority of the voters: stop the node instead");
  }
  end.emplace();
  end->call = id;
  end->leaving = leaving;
  end->deadline = ctx.now.steady + std::max<duration>(timeout, 1s);
  end->drain_until = ctx.now.steady + std::max<duration>(timeout, 1s) / 2;
  if (!leaving) members.say_stopping(ctx.now);
  if (session.epoch()) outbox.submit_quietly(machine::set_activity{false, true});
  locks.begin_stop();
  jobs.begin_stop();
  for (const auto& [w, x] : member_waits) ctx.refuse(w, errc::closed, "the node is stopping");
  member_waits.clear();
  for (const auto& [w, x] : handovers) ctx.refuse(w, errc::closed, "the node is stopping");
  handovers.clear();
}

// Drain, (leave the registry,) close the session, hand over leadership, go.
void engine::state::tend_end() {
  auto& e = *end;
  if (e.done) return;
  const auto now = ctx.now.steady;
  const bool late = now >= e.deadline;
  const bool contact = replica && outbox::quorum_contact(&*replica, now);
  // A client that went away without giving its lock back may believe in it until the deadline it was told: the session,
  // and with it the lock, must not end before. No renewal is handed on while stopping, so that is within the TTL.
  const bool held = !locks.idle();
  if (!late && (held || (now < e.drain_until && contact && !jobs.idle()))) return;
  if (e.leaving && !e.removed) {
    // A leader hands over first, so that its own removal is somebody else's work.
    if (!late && hand_over_all()) return;
    if (!held && now >= e.next_removal) {
      e.next_removal = now + removal_period;
      send_to_leader(machine::remove_member{ctx.self, true});
    }
    if (late) give_up_leaving();
    return;
  }
  // Out of the registry, but its vote may still be needed to take it out of the configuration (thesis 4.2.2).
  if (e.leaving && !e.out) {
    e.out = is_out();
    if (!e.out && late && !std::exchange(e.late_told, true))
      ctx.log(log_level::warn, "this node has left the cluster, but its vote is needed yet: it ends when it is not");
    if (!e.out) return;
  }
  if (!e.session_abandoned) {
    e.session_abandoned = true;
    e.closed = !session.epoch() || held;
    session.abandon(!held);
    if (!e.closed && contact) return;
  }
  if (!e.closed && contact && !late) return;
  if (!e.leaving && !late && contact && hand_over_all()) return;
  e.done = true;
  ctx.reply(e.call, wire::done{});
  if (!e.leaving) return halt(true, "stopped");
  members.say_left(ctx.now);
  settle_members();
  disk.write({mark_ended(end_of_identity::left)}, true, end_saved{end_of_identity::left});
}

void engine::state::give_up_leaving() {
  ctx.refuse(end->call, errc::timeout, "leaving was not confirmed in time: the node goes on; try again");
  locks.resume();
  jobs.resume();
  outbox.submit_quietly(machine::set_activity{true, false});
  end.reset();
}

// As the leader: asks a voter that answers to take over, first one whose disk has room. True while there are other
// voters, so while it may happen yet.
bool engine::state::hand_over(coterie::engine::replica& r) {
  if (r.leader() != ctx.self) return false;
  auto& c = r.core();
  if (c.conf().voters.size() <= 1) return false;
  auto followers = c.progress();
  std::stable_partition(followers.begin(), followers.end(), [&](const auto& p) { return has_room(p.id); });
  for (const auto& p : followers)
    if (c.conf().is_voter(p.id) && p.recently_active && c.transfer_leadership(p.id, ctx.now.steady)) break;
  return true;
}

bool engine::state::hand_over_all() {
  bool under_way = false;
  each_group([&](group_parts g) { under_way |= hand_over(g.replica); });
  return under_way;
}

bool engine::state::has_room(node_id id) const {
  return std::ranges::none_of(members.user_of(id),
                              [](const auto& d) { return d.key == low_disk_key && d.value.size() > 0; });
}

// A leader that may take no data stands in the way of those that could (docs/consensus.md 1.6).
void engine::state::relieve() {
  if (!low_disk || end || ctx.now.steady < next_relief) return;
  next_relief = ctx.now.steady + relief_patience;
  each_group([&](group_parts g) {
    const auto& c = g.replica.core();
    const auto fit = [&](const auto& p) { return c.conf().is_voter(p.id) && p.recently_active && has_room(p.id); };
    if (!g.replica.leading() || std::ranges::none_of(c.progress(), fit) || !hand_over(g.replica)) return;
    ctx.stats.add("disk.handed_over");
    ctx.log(log_level::warn, "the disk of this leader is nearly full: another voter is asked to lead");
  });
}

// An operator's wish, from whatever node: repeated to whoever leads until it is so.
void engine::state::begin_handover(call_id id, const std::string& node, instant deadline) {
  node_id to;
  for (const auto& [m, x] : replica->machine().members())
    if (!x.removed && x.name == node) to = m;
  if (!to) return ctx.refuse(id, errc::not_found, fmt::format("there is no member '{}': see coterie members", node));
  if (!replica->core().conf().is_voter(to))
    return ctx.refuse(id, errc::bad_argument,
                      fmt::format("{} has no vote, and only a voter can lead: see coterie cluster voters", node));
  handovers[id] = {to, deadline, ctx.now.steady};
  check_handovers();
}

void engine::state::check_handovers() {
  const auto now = ctx.now.steady;
  for (auto it = handovers.begin(); it != handovers.end();) {
    auto& [to, deadline, again] = it->second;
    if (replica->leader() == to) {
      ctx.reply(it->first, wire::done{});
    } else if (now >= deadline) {
      ctx.refuse(
          it->first, outbox::quorum_contact(&*replica, now) ? errc::timeout : errc::no_quorum,
          fmt::format("{} does not lead yet: is it alive, and near the end of the log? see coterie cluster voters",
                      name_of(to)));
    } else {
      if (now >= again) {
        again = now + handover_period;
        if (replica->leading())
          std::ignore = replica->core().transfer_leadership(to, now);
        else if (replica->leader())
          links.send(replica->leader(), wire::hand_over{to});
      }
      ++it;
      continue;
    }
    it = handovers.erase(it);
  }
}

}  // namespace coterie::engine
