// The duties of a leader: commands of others proposed, sessions expired, jobs fired, journals trimmed, the
// configuration kept like the registry.
#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "engine/admission.hpp"
#include "engine/state.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr duration lead_period = 100ms;
constexpr std::size_t max_duties = 256;
}  // namespace

void engine::state::on_role() {
  const auto& c = replica->core();
  const bool leading = c.current_role() == raft::role::leader;
  if (leading && (!was_leading || led_term != c.current_term())) {
    keeper.on_lead();
    cut.start_over();
    led_term = c.current_term();
    last_duty = {};
    next_lead = led_since = ctx.now.steady;
    rounds.clear();
  } else if (!leading && was_leading) {
    keeper.on_follow();
    rounds.clear();
  }
  was_leading = leading;
  if (c.leader() != shown_leader) {
    shown_leader = c.leader();
    news.say("leader.changed",
             {{"leader", shown_leader ? name_of(shown_leader) : ""}, {"term", fmt::format("{}", c.current_term())}});
    if (shown_leader) {
      ctx.log(log_level::info, fmt::format("leader is {} in term {}", name_of(shown_leader), c.current_term()));
      session.hurry();
    }
  }
}

// The round is confirmed: rules (a) and (b) of docs/consensus.md 1.9 are looked at now, when the acks leave. `commit`
// was this leader's when the round began.
void engine::state::acknowledge(const std::vector<session_keeper::waiting>& list, log_index commit) {
  if (!replica->leading() || !keeper.leading()) return;
  std::map<node_id, wire::keepalive_acks> acks;  // who passed several on gets one answer
  for (const auto& w : list) {
    const bool exists = replica->machine().session(w.epoch) != nullptr;
    if (exists && !keeper.may_ack(w.epoch)) continue;
    // A follower may have applied the Open before this leader has: not gone, only not here yet. The node asks again.
    if (!exists && log_index(w.epoch.value) > replica->core().applied()) continue;
    const wire::keepalive_ack ack{w.epoch, w.id, !exists, commit};
    if (w.from != ctx.self)
      acks[w.from].list.push_back(ack);
    else
      on_keepalive_ack(ack);
  }
  for (auto& [to, a] : acks) links.send(to, std::move(a));
}

void engine::state::send_to_leader(machine::command_body body) {
  if (!replica || !replica->leader()) return;
  if (replica->leader() == ctx.self) return void(propose({std::move(body)}));
  machine::command c;
  c.body = std::move(body);
  links.send(replica->leader(), wire::forward{{wire::encode(c)}});
}

// False: the log takes nothing now, while leadership is handed over or too much waits for its commit.
bool engine::state::propose(std::vector<machine::command_body> bodies) {
  std::vector<machine::command> commands;
  for (auto& b : bodies) {
    commands.emplace_back();
    commands.back().body = std::move(b);
  }
  const auto n = commands.size();
  const auto first = replica->propose(std::move(commands));
  if (first) last_duty = *first + (n - 1);
  return first.has_value();
}

void engine::state::lead() {
  if (!replica || !replica->leading()) return;
  // One confirmation round for every keepalive of this turn, begun after their receipt.
  if (auto waiting = keeper.take_unconfirmed(); !waiting.empty()) {
    const auto id = ++next_round;
    rounds[id] = std::move(waiting);
    replica->core().confirm_leadership(id, ctx.now.steady);
    if (rounds.size() > 1'000) rounds.erase(rounds.begin());
  }
  if (ctx.now.steady < next_lead && ctx.now.steady < keeper.next_wake()) return;
  next_lead = ctx.now.steady + lead_period;
  for (const auto e : keeper.due(replica->machine().sessions())) {
    if (!propose({machine::expire_session{e, replica->core().current_term()}})) break;
    keeper.on_expiring(e);
    ctx.log(log_level::info, fmt::format("session of {} expires", name_of(e)));
  }
  reconcile_configuration();
  if (last_duty > replica->core().applied()) return;
  reconcile_view();
  if (auto duties = replica->machine().duties(ctx.now.wall, max_duties); !duties.empty()) propose(std::move(duties));
  if (const auto due = replica->machine().next_duty(ctx.now.wall)) {
    const auto wait = std::max<duration>(*due - ctx.now.wall, 1ms);
    next_lead = std::min(next_lead, ctx.now.steady + wait);
  }
}

// The Raft configuration follows the registry and the setting of read leases, and who votes is chosen anew whenever
// that changes or a voter is gone.
void engine::state::reconcile_configuration() {
  auto& c = replica->core();
  if (!c.conf_committed() || c.conf().joint()) return;
  const auto now = ctx.now.steady;
  if (const auto lease = replica->machine().globals().read_lease; lease != c.conf().read_lease) {
    if (c.propose_read_lease(lease, now))
      ctx.log(log_level::info, lease.count() == 0
                                   ? "reads are confirmed by a quorum from now on"
                                   : fmt::format("leaders answer reads by leases of {} ms", lease.count()));
    return;
  }
  const auto progress = c.progress();
  std::set<node_id> following;
  for (const auto& [epoch, s] : replica->machine().sessions()) following.insert(s.node);
  std::vector<voter_candidate> candidates;
  for (const auto& [id, m] : replica->machine().members()) {
    if (m.removed) continue;
    voter_candidate v;
    v.id = id;
    v.follows = following.contains(id);
    if (const auto* seen = members.find(id)) v.zone = zone_of(seen->info);
    if (const auto since = living_since.find(id); since != living_since.end()) {
      v.living = true;
      v.alive_for = now - since->second;
    }
    const auto p = std::ranges::find(progress, id, &raft::progress_view::id);
    if (id == ctx.self) {
      v.living = v.caught_up = true;
    } else if (p != progress.end()) {
      v.silent_for = now - std::max(p->last_contact, led_since);
      v.caught_up = keeps_up(*p, c.last_index());
    }
    candidates.push_back(std::move(v));
  }
  const auto next = choose_voters(c.conf(), ctx.self, candidates, now >= next_swap, opt.voters);
  if (!next) return;
  const bool swaps = next->voters.size() == c.conf().voters.size() && next->voters != c.conf().voters;
  if (auto ok = c.propose_configuration(next->voters, next->learners, now); !ok) return;
  if (swaps) next_swap = now + opt.voters.dead_grace;
  std::string names;
  for (const auto id : next->voters) names += (names.empty() ? "" : ", ") + name_of(id);
  ctx.log(log_level::info, fmt::format("configuration changes to {} voters ({}), {} standbys", next->voters.size(),
                                       names, next->learners.size()));
}

// The view follows gossip, one entry for all that failed or came back together.
void engine::state::reconcile_view() {
  std::vector<sighting> all;
  for (const auto& [id, m] : replica->machine().members()) {
    if (m.removed) continue;
    sighting s{.id = id, .failed = m.failed, .stopped = m.stopped, .seen = {}};
    if (id == ctx.self)
      s.seen = swim::member_state::alive;
    else if (const auto* seen = members.find(id))
      s.seen = seen->state;
    all.push_back(s);
  }
  if (auto change = cut.next(all, ctx.now.steady)) propose({std::move(*change)});
}

namespace {
/// Expire, Admit and Fence are the proposer's own and are never forwarded (docs/consensus.md 1.9 and 1.10).
bool is_of_leaders_own(const machine::command_body& b) {
  return std::holds_alternative<machine::expire_session>(b) || std::holds_alternative<machine::admit_session>(b) ||
         std::holds_alternative<machine::fence_session>(b);
}
}  // namespace

// Commands of other nodes.
void engine::state::on_forward(node_id from, const wire::forward& f, group_parts g) {
  // Of a node that takes this one for its parent, or for the leader.
  const auto up = g.relay.parent() ? g.relay.parent() : g.replica.leader();
  if (up && up != ctx.self && up != from) return g.relay_up.pass(f.commands);
  std::vector<machine::command> commands;
  wire::forward_refused refused;
  for (const auto& bytes : f.commands) {
    auto c = wire::decode_command(bytes.view());
    if (!c) {
      ctx.stats.add("forward.undecodable");
      continue;
    }
    if (is_of_leaders_own(c->body)) {
      ctx.stats.add("forward.expire_refused");
    } else if (low_disk && grows_data(c->body)) {
      refused.code = errc::limit;
      refused.requests.emplace_back(c->session, c->seq);
    } else {
      commands.push_back(std::move(*c));
    }
  }
  const auto group = g.replica.group();
  if (!refused.requests.empty()) links.send(from, std::exchange(refused, {}), group);
  if (commands.empty()) return;
  for (const auto& c : commands) refused.requests.emplace_back(c.session, c.seq);
  if (g.replica.leading()) {
    auto ok = g.replica.propose(std::move(commands));
    if (ok) return;
    refused.code = ok.error().code == errc::limit ? errc::timeout : ok.error().code;
  } else {
    refused.code = errc::unavailable;
  }
  ctx.stats.add("forward.refused");
  links.send(from, std::move(refused), group);
}

// Each to the node that asked, if there is a stream to it; else it asks again, the leader itself.
void engine::state::on_forward_refused(const wire::forward_refused& m, group_parts g) {
  g.outbox.on_refused(m);
  std::map<node_id, wire::forward_refused> others;
  for (const auto& r : m.requests) {
    const auto* s = replica->machine().session(r.first);
    if (s != nullptr && s->node != ctx.self && links.up(s->node)) others[s->node].requests.push_back(r);
  }
  for (auto& [to, refused] : others) {
    refused.code = m.code;
    links.send(to, std::move(refused), g.replica.group());
  }
}

}  // namespace coterie::engine
