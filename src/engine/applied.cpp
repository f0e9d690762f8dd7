// What follows from the log on every node: applied entries told to whoever waits for them, received states, confirmed
// reads, and the own session kept alive.
#include <fmt/format.h>

#include "base/overloaded.hpp"
#include "engine/state.hpp"

namespace coterie::engine {

bool engine::state::settle_replica() {
  if (!replica) return false;
  bool busy = false;
  while (replica->settle()) busy = true;
  if (replica->take_installed()) on_installed();
  if (replica->take_role_changed()) on_role();
  for (auto& a : replica->take_applied()) on_applied(a);
  on_reads();
  busy |= settle_data();
  tell_growth();
  check_barriers();
  return busy;
}

void engine::state::on_applied(applied_entry& a) {
  if (a.configuration) {
    tree_changed = true;
    for (auto& g : data) g.next_lead = ctx.now.steady;
    return;
  }
  // The answer first: it says which request of ours the grant or claim that follows belongs to. That of a duplicate is
  // news when the number was used up by a cancellation.
  if (a.command.session && a.command.session == session.epoch()) {
    outbox.on_applied(a.command, a.outcome.result);
    settle_answers();
  }
  for (const auto& h : a.outcome.happened) {
    on_happening(h);
    say(h);
  }
}

// Thousands of appends may be applied in a turn: for those who wait for them they are one event a journal.
void engine::state::tell_growth() {
  for (const auto& [journal, last] : grown) {
    journals.on_grew(journal, last);
    news.say("journal.appended", {{"journal", journal}, {"last", fmt::format("{}", last)}});
  }
  grown.clear();
}

void engine::state::on_happening(const machine::happening& h) {
  std::visit(overloaded{
                 [&](const machine::session_opened& x) {
                   session.on_opened(x.session);
                   if (session.epoch() == x.session.epoch) jobs.on_session();
                   for (auto& g : data) g.next_lead = ctx.now.steady;
                 },
                 [&](const machine::session_ended& x) {
                   session.on_ended(x.epoch);
                   keeper.on_ended(x.epoch);
                   if (end && x.node == ctx.self) end->closed = true;
                   for (auto& g : data) g.next_lead = ctx.now.steady;
                 },
                 [&](const machine::lock_granted& x) { locks.on_granted(x); },
                 [&](const machine::lock_waited& x) { locks.on_waited(x); },
                 [&](const machine::run_claimed& x) { jobs.on_claimed(x); },
                 [&](const machine::journal_grew& x) { grown[x.journal] = x.last; },
                 [&](const machine::member_changed& x) {
                   members_moved();
                   if (x.what == machine::member_change::failed) ctx.stats.add("view.failed");
                   if (x.what == machine::member_change::back) ctx.stats.add("view.back");
                   if (x.member.id == ctx.self && x.member.removed && end) end->removed = true;
                   if (x.member.removed) {
                     links.forget(x.member.id);
                     // Nobody looks for it any more; that it left it says itself.
                     const auto* seen = members.find(x.member.id);
                     if (seen && seen->state == swim::member_state::unreachable) members.forget(x.member.id);
                   } else if (x.member.id != ctx.self)
                     links.learn(x.member.id, x.member.at);
                 },
                 // Of interest to followers of the event stream only: see report.cpp.
                 [](const machine::lock_freed&) {},
                 [](const machine::run_finished&) {},
                 [](const machine::job_changed&) {},
                 [](const machine::job_assigned&) {},
                 [](const machine::journal_trimmed&) {},
             },
             h);
}

void engine::state::settle_answers() {
  for (const auto& a : outbox.take_answers()) on_answer(a);
  for (auto& g : data)
    for (const auto& a : g.outbox.take_answers()) on_answer(a);
}

void engine::state::on_installed() {
  const auto& m = replica->machine();
  ctx.log(log_level::info, fmt::format("state received: log at {}", replica->core().applied()));
  for (const auto& [id, x] : m.members())
    if (!x.removed && id != ctx.self && !links.up(id)) links.learn(id, x.at);
  const auto before = session.epoch();
  session.on_installed(m.sessions());
  if (session.epoch() && session.epoch() != before) jobs.on_session();
  outbox.on_installed(m.session(session.epoch()));
  settle_answers();
  locks.on_installed();
  jobs.on_installed(m);
  relay.on_installed();
  members_moved();
}

void engine::state::on_reads() {
  for (const auto& r : replica->take_reads())
    if (!relay_up.on_answer(r)) on_read_state(r);
  for (const auto& r : relay_up.take_reads()) on_read_state(r);
}

void engine::state::on_read_state(const raft::read_state& r) {
  if (const auto it = rounds.find(r.id); it != rounds.end()) {
    if (r.ok) acknowledge(it->second, r.index);
    rounds.erase(it);
    return;
  }
  const auto it = barriers.find(r.id);
  if (it == barriers.end()) return;
  if (r.ok) {
    it->second.index = r.index;
    if (it->second.group == meta_group) own_age.confirmed(r.index, it->second.asked);
  } else {
    it->second.retry = ctx.now.steady + 50ms;
  }
}

// Estimated round trips change by and by, and nobody says so.
constexpr duration tree_period = 10s;

void engine::state::tend_relays() {
  const auto now = ctx.now.steady;
  const bool again = now >= next_tree;
  if (again) next_tree = now + tree_period;
  each_group([&](group_parts g) {
    g.relay.tick(g.replica);
    if (!g.relay.asking() || !(std::exchange(g.parents_due, false) || again)) return;
    std::vector<relay_parent> strangers;
    const auto members_of_tree = tree_members(g.replica.core().conf(), &strangers);
    auto parents = relay_tree(members_of_tree, opt.relay_fan_out).parents(ctx.self);
    parents.insert(parents.end(), strangers.begin(), strangers.end());
    g.relay.set_parents(std::move(parents));
    g.relay.tick(g.replica);
  });
}

// The tree is made of the living members of the registry. One that was away for long, or is new, may not know them:
// then it asks strangers, whom only gossip knows, last of all.
relay_members engine::state::tree_members(const raft::configuration& conf, std::vector<relay_parent>* strangers) const {
  const auto& registry = replica->machine().members();
  relay_members tree;
  for (const auto& m : members.members()) {
    const auto id = m.info.id;
    if (!is_living(m.state) && id != ctx.self) continue;
    const auto known = registry.find(id);
    if (id != ctx.self && (known == registry.end() || known->second.removed)) {
      if (strangers) strangers->push_back({.id = id});
      continue;
    }
    auto& part = conf.contains(id) ? tree.roots : tree.others;
    part.push_back({id, zone_of(m.info), m.place});
  }
  return tree;
}

void engine::state::tend_session() {
  if (!replica) return;
  const auto w = session.tick(is_member(), end && (end->session_abandoned || end->removed));
  if (w.lapsed) {
    locks.on_lapsed();
    jobs.on_lapsed();
    outbox.on_session_over(w.old);
    for (auto& g : data) g.outbox.on_session_over(w.old);
    settle_answers();
  }
  if (w.open) send_to_leader(*w.open);
  for (const auto& c : w.close) send_to_leader(c);
  if (w.renew) {
    const std::vector<node_id> missed(unanswered.begin(), unanswered.end());
    unanswered.clear();
    if (keeper.leading())
      on_keepalive(ctx.self, {session.epoch(), *w.renew, missed});
    else
      relay.renew({session.epoch(), *w.renew, missed}, session.left() < session.ttl() / 2, *replica);
  }
}

void engine::state::on_keepalive(node_id from, const wire::keepalive& k) {
  keeper.on_keepalive({from, k.epoch, k.id});
  const auto* teller = replica->machine().session(k.epoch);
  if (teller == nullptr) return;
  for (const auto id : k.unanswered)
    if (replica->machine().members().contains(id)) cut.on_unanswered(teller->node, id, ctx.now.steady);
}

// The leader confirmed a renewal, by a message or, here, by itself.
void engine::state::on_keepalive_ack(const wire::keepalive_ack& a) {
  if (const auto sent = session.sent_at(a.epoch, a.id); sent && a.commit)
    own_age.confirmed(a.commit, opt.bug == planted_bug::young_age ? ctx.now : *sent);
  if (!session.on_ack(a.epoch, a.id, a.ended)) return;
  locks.on_renewed();
  jobs.on_renewed();
}

}  // namespace coterie::engine
