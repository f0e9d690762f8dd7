// Data groups beside the meta group (docs/consensus.md 1.10): which one has what, what follows from their logs, and
// what their leaders owe: the meta group's configuration, its sessions, and trims of journals.
#include <algorithm>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/hash.hpp"
#include "engine/state.hpp"

namespace coterie::engine {

namespace {
constexpr duration lead_period = 100ms;
constexpr std::size_t max_duties = 256;
constexpr duration spread_period = 10s;

/// As the group's leader sees it: it answers, and has nearly all of the log.
bool keeps_up(const raft::core& c, node_id id) {
  const auto progress = c.progress();
  const auto p = std::ranges::find(progress, id, &raft::progress_view::id);
  return p != progress.end() && coterie::engine::keeps_up(*p, c.last_index());
}
}  // namespace

void engine::state::begin_data(const std::vector<recovered_group>& all, bool others) {
  COTERIE_ASSERT(all.size() == opt.data_groups);
  for (std::uint32_t i = 0; i < opt.data_groups; ++i) {
    const group_id g(i + 1);
    machine::machine m(opt.limits, g);
    m.restore(all[i].state);
    data.emplace_back(ctx, links, disk, g, all[i], std::move(m));
    if (others) data.back().replica.core().wait_for_others();
  }
}

std::optional<group_parts> engine::state::parts_of(group_id g) {
  if (!replica || g.value > data.size()) return std::nullopt;
  if (!g) return group_parts{*replica, outbox, relay, relay_up, tree_changed};
  auto& d = data[g.value - 1];
  return group_parts{d.replica, d.outbox, d.relay, d.relay_up, d.parents_due};
}

replica& engine::state::journal_log(std::string_view journal) {
  return parts_of(group_of(journal, opt.data_groups))->replica;
}

group_id engine::state::group_for(const machine::command_body& body) const {
  if (const auto* a = std::get_if<machine::journal_append>(&body)) return group_of(a->journal, opt.data_groups);
  if (const auto* k = std::get_if<machine::journal_retention>(&body)) return group_of(k->journal, opt.data_groups);
  return meta_group;
}

outbox& engine::state::outbox_of(group_id g) { return g && g.value <= data.size() ? data[g.value - 1].outbox : outbox; }

bool engine::state::is_out(const coterie::engine::replica& r, node_id id) const {
  return r.core().conf_committed() && !r.core().conf().contains(id);
}

// No configuration that is in force counts on this node's vote or memory any more: of no group. This node has what it
// is needed for in its own log; what it was not sent any more, that it is out, the leaders tell it, each of its group.
bool engine::state::is_out() const {
  const auto out = [this](group_id g, const coterie::engine::replica& r) {
    if (is_out(r, ctx.self)) return true;
    const auto told = told_out.find(g);
    if (told == told_out.end()) return false;
    // A removed node comes into the meta group never again, into another one by a leader that has not heard of it yet.
    if (!g) return true;
    const auto then = r.core().meta_at(std::min(told->second, r.core().last_index()));
    return then && then->conf == r.core().conf();
  };
  return out(meta_group, *replica) &&
         std::ranges::all_of(data, [&](const auto& g) { return out(g.replica.group(), g.replica); });
}

// Only who leads the group knows, and only when it knows of the removal: any other node may be behind, or have nothing
// of the group yet.
void engine::state::on_asked_whether_out(node_id from, const wire::join_request& r, group_parts g) {
  if (!g.replica.leading()) {
    const auto leader = g.replica.leader();
    if (leader && leader != from && leader != ctx.self && links.up(leader)) links.send(leader, r, g.replica.group());
    return;
  }
  const auto* m = replica->machine().member(r.id);
  if (!m || !m->removed || !is_out(*replica, r.id) || !is_out(g.replica, r.id)) return;
  links.learn(r.id, r.at);
  links.send(r.id, wire::join_answer{wire::join_verdict::removed, "", g.replica.core().commit()}, g.replica.group());
}

void engine::state::members_moved() {
  tree_changed = true;
  for (auto& g : data) g.parents_due = true;
}

bool engine::state::settle_data() {
  bool busy = false;
  for (auto& g : data) {
    while (g.replica.settle()) busy = true;
    if (g.replica.take_installed()) {
      ctx.log(log_level::info,
              fmt::format("state of group {} received: log at {}", g.replica.group(), g.replica.core().applied()));
      ctx.stats.add("group.installed");
      g.outbox.on_installed(g.replica.machine().session(session.epoch()));
      g.relay.on_installed();
      g.parents_due = true;
    }
    if (g.replica.take_role_changed()) on_data_role(g);
    for (auto& a : g.replica.take_applied()) on_data_applied(g, a);
    for (const auto& r : g.replica.take_reads())
      if (!g.relay_up.on_answer(r)) on_read_state(r);
    for (const auto& r : g.relay_up.take_reads()) on_read_state(r);
  }
  return busy;
}

void engine::state::on_data_applied(data_group& g, applied_entry& a) {
  if (a.configuration) {
    g.parents_due = true;
    return;
  }
  if (std::holds_alternative<machine::fence_session>(a.command.body) && a.outcome.result.ok())
    ctx.stats.add("group.fenced");
  if (a.command.session && a.command.session == session.epoch()) g.outbox.on_applied(a.command, a.outcome.result);
  for (const auto& h : a.outcome.happened) {
    on_happening(h);
    say(h);
  }
}

void engine::state::on_data_role(data_group& g) {
  const auto& c = g.replica.core();
  if (c.current_role() == raft::role::leader && g.led_term != c.current_term()) {
    g.led_term = c.current_term();
    g.last_duty = {};
    g.next_lead = ctx.now.steady;
    g.next_spread = ctx.now.steady + spread_period;
  }
  if (c.leader() == g.shown_leader) return;
  g.shown_leader = c.leader();
  if (!g.shown_leader) return;
  if (replica->leader() && replica->leader() != g.shown_leader) ctx.stats.add("group.led_by_another");
  ctx.log(log_level::info, fmt::format("leader of group {} is {} in term {}", g.replica.group(),
                                       name_of(g.shown_leader), c.current_term()));
}

void engine::state::lead_data() {
  for (auto& g : data)
    if (g.replica.leading() && ctx.now.steady >= g.next_lead) lead_data(g);
}

// Leaders of several groups are spread over the voters, so that not one processor and disk carries them all.
void engine::state::spread_leaders(data_group& g) {
  if (ctx.now.steady < g.next_spread || end) return;
  g.next_spread = ctx.now.steady + spread_period;
  auto& c = g.replica.core();
  const auto& voters = c.conf().voters;
  const auto to = voters[(g.replica.group().value - 1) % voters.size()];
  if (!keeps_up(c, to) || !has_room(to)) return;
  if (c.transfer_leadership(to, ctx.now.steady)) ctx.stats.add("group.handed_over");
}

void engine::state::lead_data(data_group& g) {
  const auto now = ctx.now;
  auto& r = g.replica;
  g.next_lead = now.steady + lead_period;
  follow_configuration(r);
  spread_leaders(g);
  if (g.last_duty > r.core().applied()) return;
  auto duties = r.machine().session_duties(replica->machine(), replica->core().applied(), max_duties);
  for (auto& d : r.machine().duties(now.wall, max_duties)) duties.push_back(std::move(d));
  if (!duties.empty()) {
    std::vector<machine::command> commands(duties.size());
    for (std::size_t i = 0; i < duties.size(); ++i) commands[i].body = std::move(duties[i]);
    if (const auto first = r.propose(std::move(commands))) g.last_duty = *first + (duties.size() - 1);
  }
  if (const auto due = r.machine().next_duty(now.wall))
    g.next_lead = std::min(g.next_lead, now.steady + std::max<duration>(*due - now.wall, 1ms));
}

// The same voters and standbys as the meta group has by a committed decision, and the same read lease. Who is to vote
// here has to have this log first, too.
void engine::state::follow_configuration(coterie::engine::replica& r) {
  auto& c = r.core();
  const auto& meta = replica->core();
  if (!meta.conf_committed() || meta.conf().joint() || !c.conf_committed() || c.conf().joint()) return;
  const auto now = ctx.now.steady;
  const auto& wanted = meta.conf();
  if (wanted.read_lease != c.conf().read_lease) return void(c.propose_read_lease(wanted.read_lease, now));
  if (wanted.voters == c.conf().voters && wanted.learners == c.conf().learners) return;
  const auto fit = [&](node_id id) { return id == ctx.self || c.conf().is_voter(id) || keeps_up(c, id); };
  if (std::ranges::all_of(wanted.voters, fit))
    return void(c.propose_configuration(wanted.voters, wanted.learners, now));
  auto learners = wanted.members();
  std::erase_if(learners, [&](node_id id) { return c.conf().is_voter(id); });
  if (learners != c.conf().learners) std::ignore = c.propose_configuration(c.conf().voters, learners, now);
}

}  // namespace coterie::engine
