// Streams, formation, joining: from a stranger's hello to a member with a log.
#include <algorithm>
#include <tuple>

#include <fmt/format.h>

#include "base/overloaded.hpp"
#include "engine/state.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr std::size_t mesh_size = 32;  // up to this many members everybody keeps a stream to everybody
constexpr duration join_period = 1s;
constexpr duration stand_back_for = 5s;   // longer than it takes to be told again
constexpr duration forgotten_after = 3s;  // without a word of a leader

bool is_of_a_log(const wire::peer_message& m) {
  return std::holds_alternative<raft::message>(m) || std::holds_alternative<wire::forward>(m) ||
         std::holds_alternative<wire::forward_refused>(m) || std::holds_alternative<wire::fetch>(m) ||
         std::holds_alternative<wire::fetched>(m) || std::holds_alternative<wire::snapshot_chunk>(m) ||
         std::holds_alternative<wire::snapshot_ack>(m);
}

/// The leader if there is a stream to it, else anybody, who passes it on.
void ask(links& all, context& c, node_id leader, const wire::join_request& r, group_id group = meta_group) {
  if (leader && all.up(leader)) return void(all.send(leader, r, group));
  auto others = all.connected();
  std::erase(others, c.self);
  if (!others.empty()) all.send(others[c.random.below(others.size())], r, group);
}
}  // namespace

swim::hello engine::state::own_hello() const {
  swim::hello h;
  if (genesis) {
    h = genesis->own_hello();
  } else {
    h.cluster = opt.cluster;
    h.name = opt.name;
    h.id = ctx.self;
    h.epoch = ctx.boot;
    h.advertise = opt.advertise;
  }
  h.version = opt.version;
  h.start = ctx.start;
  h.log_end = ctx.recovered_ends[0];
  if (genesis) h.data_log_ends.assign(ctx.recovered_ends.begin() + 1, ctx.recovered_ends.begin() + 1 + opt.data_groups);
  return h;
}

void engine::state::greet_all() {
  for (const auto id : links.connected()) links.send(id, own_hello());
  for (const auto id : links.silent()) links.send_on(id, own_hello());  // what they hear first may be the old one
}

void engine::state::on_stream_up(const stream_up& e) {
  links.on_up(e);
  links.send_on(e.id, own_hello());
}

void engine::state::on_stream_down(const stream_down& e) {
  const auto down = links.on_down(e);
  if (!down.who || down.who == ctx.self) return;
  if (down.refused) members.on_refused(down.who, ctx.now);
  if (!down.last) return;
  if (genesis) genesis->on_stream_down(down.who, ctx.now.steady);
  each_group([&](group_parts g) { g.replica.on_unreachable(down.who, down.refused); });
  // A process that is gone refuses at once: the sooner it is asked, the sooner that is known.
  if (!down.refused) links.keep({down.who});
}

void engine::state::on_refused(const address& to) {
  for (const auto& m : members.members())
    if (m.info.at == to && m.info.id != ctx.self) return members.on_refused(m.info.id, ctx.now);
}

void engine::state::on_datagram(const datagram_in& e) {
  auto d = wire::decode_datagram(e.data);
  if (!d) return ctx.stats.add("datagram.undecodable");
  members.on_datagram(e.from, *d, ctx.now);
}

void engine::state::on_frame(const frame_in& f) {
  if (!links.heard(f.id)) return;
  auto e = wire::decode_peer(f.body);
  if (!e) {
    ctx.stats.add("frame.undecodable");
    return links.hang_up(f.id);
  }
  if (e->cluster && ctx.cluster && e->cluster != ctx.cluster) {
    ctx.stats.add("frame.other_cluster");
    if (!std::holds_alternative<swim::hello>(e->body)) return links.hang_up(f.id);
  }
  if (const auto* h = std::get_if<swim::hello>(&e->body)) return on_hello(f.id, *h);
  const auto from = links.owner(f.id);
  if (!from) {
    ctx.stats.add("frame.before_hello");
    return links.hang_up(f.id);
  }
  if (!e->group) return on_peer(*from, std::move(e->body));
  if (const auto parts = parts_of(e->group); parts && is_heard_of(*from, e->body))
    on_log_message(*from, e->body, *parts);
  else
    ctx.stats.add("frame.other_group");
}

void engine::state::on_hello(stream_id id, const swim::hello& h) {
  const bool again = links.owner(id).has_value();
  // First of all, so that it is told why: the rules of genesis drop it too, without a word.
  const bool of_others = h.cluster_known && ctx.cluster && h.cluster_known != ctx.cluster;
  if (h.cluster == opt.cluster && !of_others && h.id != ctx.self && !again)
    if (auto refusal = judge(h)) {
      ctx.stats.add("hello.outdated");
      if (std::exchange(last_refusal, refusal->reason) != refusal->reason) ctx.log(log_level::warn, refusal->reason);
      links.send_on(id, std::move(*refusal));
      return links.mute(id);
    }
  if (auto ok =
          genesis ? genesis->on_hello(h, links.dialled(id), ctx.now.steady) : swim::genesis::check_kind(h, opt.cluster);
      !ok) {
    ctx.stats.add("hello.refused");
    // A forming node says it in its situation; one without genesis has no other place.
    const auto text = fmt::format("{} at {} {}", h.name, h.advertise.str(), ok.error().message);
    const bool first = !genesis && std::exchange(last_refusal, text) != text;
    ctx.log(first ? log_level::warn : log_level::debug, text);
    return links.hang_up(id);
  }
  // A digest has who has a seed list, and so a log.
  if (genesis && h.digest != 0 && h.data_log_ends.size() != opt.data_groups) {
    const auto text = fmt::format("{} at {} has {} data groups, this node {}: start all with the same number", h.name,
                                  h.advertise.str(), h.data_log_ends.size(), opt.data_groups);
    if (std::exchange(last_refusal, text) != text) ctx.log(log_level::warn, text);
    ctx.stats.add("hello.other_groups");
    return links.hang_up(id);
  }
  links.bind(id, h.id, h.epoch);
  if (h.id == ctx.self) return;
  links.learn(h.id, h.advertise);
  if (!again || out_of_scope.contains(h.id)) introduce(h);
}

// Before genesis gossip is for nodes with one seed list, afterwards for those with one id. Who knows no id yet, and has
// another list, may still be taken in: then both say hello again.
void engine::state::introduce(const swim::hello& h) {
  if (!members.meets({h.cluster, h.cluster_known, h.digest})) {
    ctx.stats.add("hello.other_scope");
    out_of_scope[h.id] = h;
    return;
  }
  out_of_scope.erase(h.id);
  members.on_peer_up({.id = h.id,
                      .name = h.name,
                      .at = h.advertise,
                      .version = h.version,
                      .protocol_min = h.protocol_min,
                      .protocol_max = h.protocol_max,
                      .tags = {}},
                     {h.epoch, 0}, ctx.now);
}

// Of a stranger only what leads to one cluster, or tells that it is none.
bool engine::state::is_heard_of(node_id from, const wire::peer_message& what) const {
  return !out_of_scope.contains(from) || std::holds_alternative<swim::genesis_message>(what) ||
         std::holds_alternative<wire::join_answer>(what);
}

// A disk that was copied or put back in time comes with a start that is over, or without what it acknowledged. Its
// votes and acks must not count (docs/consensus.md 1.6).
std::optional<wire::join_answer> engine::state::judge(const swim::hello& h) {
  const auto outdated = [&](std::string_view what) {
    return wire::join_answer{wire::join_verdict::outdated,
                             fmt::format("{} ({}) at {} runs on an older copy of its data directory: {}", h.name,
                                         h.id.short_str(), h.advertise.str(), what)};
  };
  if (opt.bug == planted_bug::trusted_copy) return std::nullopt;
  const auto* seen = members.find(h.id);
  if (seen && is_living(seen->state) && seen->info.at != h.advertise)
    return wire::join_answer{
        wire::join_verdict::elsewhere,
        fmt::format(
            "node {} is alive at {}: a second one at {} waits until that is gone; is its data directory a copy?",
            h.id.short_str(), seen->info.at.str(), h.advertise.str())};
  const auto [older, first] = links.judge(h.id, h.epoch, h.start);
  if (older || (seen && seen->inc.epoch > h.epoch)) return outdated("a later start of it is known");
  if (!replica) return std::nullopt;
  for (const auto& [epoch, s] : replica->machine().sessions())
    if (s.node == h.id && s.boot > h.epoch) return outdated("a later start of it had a session");
  // Said at the first hello of a start only: from then on it acknowledges more than it began with.
  if (!first) return std::nullopt;
  const auto forgotten = [&](const coterie::engine::replica& r, log_index last) -> std::optional<log_index> {
    if (r.leading())
      for (const auto& p : r.core().progress())
        if (p.id == h.id && last < std::min(p.match, r.core().commit())) return p.match;
    return std::nullopt;
  };
  if (const auto had = forgotten(*replica, h.log_end))
    return outdated(fmt::format("its log ends at {}, it had acknowledged {}", h.log_end, *had));
  for (std::size_t i = 0; i < std::min(data.size(), h.data_log_ends.size()); ++i)
    if (const auto had = forgotten(data[i].replica, h.data_log_ends[i]))
      return outdated(
          fmt::format("its log of group {} ends at {}, it had acknowledged {}", i + 1, h.data_log_ends[i], *had));
  return std::nullopt;
}

void engine::state::on_peer(node_id from, wire::peer_message what) {
  if (!is_heard_of(from, what)) return ctx.stats.add("frame.other_scope");
  if (const auto parts = parts_of(meta_group); parts && is_of_a_log(what)) return on_log_message(from, what, *parts);
  const auto formed = [&] { return replica.has_value(); };
  std::visit(overloaded{
                 [&](const swim::hello&) {},
                 [&](const swim::genesis_message& m) {
                   if (genesis) genesis->on_message(m, ctx.now.steady);
                 },
                 [&](const swim::push_pull& m) {
                   if (m.from == from) members.on_push_pull(m, ctx.now);
                 },
                 [&](const swim::stream_ping& m) { members.on_stream_ping(from, m, ctx.now); },
                 [&](const swim::stream_ack& m) { members.on_stream_ack(m, ctx.now); },
                 [&](const wire::raft_messages& all) {
                   for (const auto& m : all.list)
                     if (const auto parts = parts_of(m.group)) on_log_message(from, m.what, *parts);
                 },
                 [&](const wire::join_request& m) { on_join_request(from, m); },
                 [&](const wire::join_answer& m) { on_join_answer(m); },
                 [&](const wire::hand_over& m) {
                   if (formed() && replica->leading())
                     std::ignore = replica->core().transfer_leadership(m.to, ctx.now.steady);
                 },
                 [&](const wire::keepalives& m) {
                   if (!keeper.leading()) return relay.on_keepalives(from, m, replica ? &*replica : nullptr);
                   for (const auto& k : m.list) on_keepalive(from, k);
                 },
                 [&](const wire::keepalive_acks& m) {
                   for (const auto& a : relay.on_keepalive_acks(m)) on_keepalive_ack(a);
                 },
                 [&](wire::lock_question& m) { locks.on_question(from, std::move(m)); },
                 [&](wire::lock_reply& m) { inquiries.on_reply(std::move(m)); },
                 [&](const wire::fetch& m) { relay.on_fetch(from, m, replica ? &*replica : nullptr); },
                 [&](const wire::fetched& m) {
                   if (healer) healer->on_fetched(from, m);
                 },
                 [&](const wire::snapshot_chunk& m) {
                   if (healer) healer->on_chunk(from, m);
                 },
                 [&](const auto&) {},
                 [&](const wire::invalidations& m) { bus.on_invalidations(from, m); },
                 [&](const wire::invalidation_ack& m) { bus.on_ack(from, m); },
                 [&](const wire::invalidation_pull& m) { bus.on_pull(from, m); },
                 [&](const wire::invalidation_gone& m) { bus.on_gone(from, m); },
                 [&](const wire::user_message& m) { bus.on_message(from, m); },
             },
             what);
}

// What is about the log of one group.
void engine::state::on_log_message(node_id from, const wire::peer_message& what, group_parts g) {
  std::visit(overloaded{
                 [&](const raft::message& m) {
                   if (m.from == from && m.to == ctx.self) on_raft(from, m, g);
                 },
                 [&](const wire::forward& m) { on_forward(from, m, g); },
                 [&](const wire::forward_refused& m) { on_forward_refused(m, g); },
                 [&](const wire::fetch& m) { g.relay.on_fetch(from, m, &g.replica); },
                 [&](const wire::fetched& m) {
                   if (!g.relay.on_fetched(from, m, g.replica)) on_forked();
                 },
                 [&](const wire::snapshot_chunk& m) {
                   g.replica.on_chunk(from, m, g.relay.expects_state(from));
                   g.relay.on_chunk(from);
                 },
                 [&](const wire::snapshot_ack& m) { g.replica.on_chunk_ack(from, m); },
                 [&](const wire::join_request& m) { on_asked_whether_out(from, m, g); },
                 [&](const wire::join_answer& m) {
                   if (m.verdict == wire::join_verdict::removed) told_out[g.replica.group()] = m.as_of;
                 },
                 [&](const auto&) { ctx.stats.add("frame.other_group"); },
             },
             what);
}

// Reads of nodes that take this one for their parent, or for the leader, go on to whoever leads; the answers come back.
void engine::state::on_raft(node_id from, const raft::message& m, group_parts g) {
  const bool leads = g.replica.core().current_role() == raft::role::leader;
  if (const auto* r = std::get_if<raft::read_request>(&m.body); r != nullptr && !leads)
    return g.relay_up.read(from, r->id);
  if (const auto* a = std::get_if<raft::read_response>(&m.body); a != nullptr && g.relay_up.on_answer(from, *a)) return;
  g.replica.on_message(m);
}

bool engine::state::settle_genesis() {
  if (!genesis) return false;
  for (auto& l : genesis->take_log()) ctx.emit(std::move(l));
  auto actions = genesis->take();
  for (auto& a : actions) {
    std::visit(overloaded{
                   [&](const swim::gen_dial& x) { links.dial(x.to, 200ms); },
                   [&](swim::gen_send& x) { links.send(x.to, std::move(x.what)); },
                   [&](const swim::gen_persist& x) {
                     disk.write({disk::put(disk::space::meta, to_bytes("acceptor"), wire::encode(x.state))}, true,
                                genesis_persist{x.sequence});
                   },
                   [&](const swim::gen_formed&) { form(); },
                   [&](const swim::gen_fatal& x) { halt(false, x.message); },
               },
               a);
  }
  if (!replica && !healer && genesis->formed()) form();
  return !actions.empty();
}

// The cluster id and the genesis record are durable: from here on there is a log (docs/membership.md 2, steps 6 and 7).
void engine::state::form() {
  if (replica || healer) return;
  const auto& a = genesis->state();
  ctx.cluster = a.id;
  members.set_cluster_id(a.id);
  auto r = std::move(initial);
  r.acceptor = a;
  initial = {};
  initial.self = ctx.self;
  initial.boot = ctx.boot;
  const auto found = [&](raft::recovered& log) {
    if (log.snapshot.index || !a.committed || !a.committed->lists(ctx.self)) return;
    log.snapshot = founder_base(*a.committed);
    log.applied = log.snapshot.index;
    log.hard.current = std::max(log.hard.current, log.snapshot.when);
  };
  found(r.log);
  for (auto& g : r.data) found(g.log);
  if (a.committed)
    for (const auto& s : a.committed->seeds)
      if (s.id && !links.where(s.id)) links.learn(s.id, s.at);
  const bool whole = !r.damaged;
  if (whole)
    begin_log(std::move(r));
  else
    healer.emplace(ctx, links, disk, std::move(r));
  ctx.log(log_level::info, fmt::format("formed: cluster {}", a.id));
  greet_all();
  links.close_to(ctx.self);
  for (const auto& [id, h] : std::exchange(out_of_scope, {}))
    if (links.up(id)) introduce(h);
  if (whole) each_group([](group_parts g) { g.replica.tick(); });
}

void engine::state::begin_log(recovered_state r) {
  machine::machine m(opt.limits);
  restore(m, r);
  replica.emplace(ctx, links, disk, meta_group, r, std::move(m));
  bool others = std::ranges::any_of(opt.seeds, [&](const address& s) { return s != opt.advertise; });
  for (const auto& [id, member] : replica->machine().members()) {
    if (member.removed) continue;
    others |= id != ctx.self;
    if (!links.up(id)) links.learn(id, member.at);
  }
  if (others) replica->core().wait_for_others();
  begin_data(r.data, others);
}

// What was damaged is replaced on the disk: now this is a node like others that were started again.
void engine::state::on_healed() {
  auto r = healer->on_installed();
  if (!r) return;
  healer.reset();
  begin_log(std::move(*r));
  replica->tick();
}

bool engine::state::settle_members() {
  auto out = members.take();
  for (auto& l : out.log) ctx.emit(std::move(l));
  for (auto& a : out.actions) {
    std::visit(overloaded{
                   [&](const swim::send_datagram& x) {
                     ctx.emit(send_datagram{x.to, wire::encode(x.what)});
                   },
                   [&](swim::send_push_pull& x) {
                     links.learn(x.to, x.at);
                     links.send(x.to, std::move(x.what));
                   },
                   [&](const swim::send_stream_ping& x) {
                     links.learn(x.to, x.at);
                     links.send(x.to, x.what);
                   },
                   [&](const swim::send_stream_ack& x) { links.send(x.to, x.what); },
               },
               a);
  }
  if (!out.events.empty()) members_moved();
  for (const auto& e : out.events) {
    if (e.who.info.id == ctx.self) {  // its tags
      say(e);
      continue;
    }
    if (e.kind == swim::event_kind::joined || e.kind == swim::event_kind::updated)
      links.learn(e.who.info.id, e.who.info.at);
    if (is_living(e.who.state))
      living_since.try_emplace(e.who.info.id, ctx.now.steady);
    else
      living_since.erase(e.who.info.id);
    cut.on_event(e, ctx.now.steady);
    bus.on_member(e);
    say(e);
  }
  for (const auto id : out.forgotten) bus.on_forgotten(id);
  for (const auto id : out.unanswered)
    if (unanswered.size() < max_unanswered) unanswered.insert(id);
  for (const auto& d : out.user) bus.on_digest(d);
  for (const auto& s : bus.take_seen())
    news.say("cache.invalidated", {{"cache", s.cache},
                                   {"key", s.key.value_or("")},
                                   {"all", s.key ? "false" : "true"},
                                   {"origin", name_of(s.origin)}});
  return !out.actions.empty() || !out.events.empty();
}

void engine::state::dial_members() {
  // Before and after formation alike: a node that sees nobody asks its seeds again, for ever.
  const bool alone = members.alive_count() <= 1;
  if (alone || healer || (replica && !is_member()) || opt.gossip_only)
    for (const auto& s : opt.seeds)
      if (s != opt.advertise && (alone || !links.up(s))) links.dial(s, 1s);
  if (genesis && !replica && !healer) return;
  std::vector<node_id> wanted;
  const auto known = members.members();
  const bool mesh = known.size() <= mesh_size && !opt.gossip_only;
  // Of many, those by whom the halves of a partition find each other again.
  const auto lost_seed = [&](const swim::member& m) {
    return m.state == swim::member_state::unreachable && std::ranges::count(opt.seeds, m.info.at) > 0;
  };
  for (const auto& m : known)
    if (m.state != swim::member_state::left && (mesh || lost_seed(m))) wanted.push_back(m.info.id);
  if (replica) {
    const auto& conf = replica->core().conf();
    const bool all = conf.is_voter(ctx.self) || replica->leader() == ctx.self;
    if (all || conf.contains(ctx.self))
      for (const auto id : conf.members())
        if (all || id == replica->leader()) wanted.push_back(id);
    for (const auto id : relay.likely_parents()) wanted.push_back(id);
    for (const auto& g : data) {
      for (const auto id : g.relay.likely_parents()) wanted.push_back(id);
      if (conf.contains(ctx.self) && g.replica.leader()) wanted.push_back(g.replica.leader());
    }
  }
  links.keep(wanted);
}

bool engine::state::is_member() const {
  if (!replica) return false;
  const auto* m = replica->machine().member(ctx.self);
  return m && !m->removed;
}

// A node that the registry does not have, or has with another name or address, asks to be entered. So does one that no
// leader has spoken to for a while: once it is removed nobody sends it the entry that says so.
void engine::state::seek_membership() {
  if (!replica || (end && !end->leaving)) return;
  const auto* m = replica->machine().member(ctx.self);
  // Its vote may be needed until the configuration is without it: of two nodes, it may be the only one.
  const bool removed = (m && m->removed) || told_out.contains(meta_group);
  if (removed && !end && is_out()) return on_ended(end_of_identity::removed);
  const bool forgotten =
      (end && end->removed && replica->leader() != ctx.self) ||
      (!replica->leading() && ctx.now.steady - replica->core().last_leader_contact() > forgotten_after);
  const bool known = m && m->name == opt.name && m->at == opt.advertise && !forgotten;
  if ((known && !removed) || ctx.now.steady < next_join) return;
  next_join = ctx.now.steady + join_period;
  if (removed) ask_whether_out();
  if (known) return;
  const wire::join_request r{ctx.self, opt.name, opt.advertise, ctx.boot};
  if (replica->leading()) return on_join_request(ctx.self, r);
  ask(links, ctx, replica->leader(), r);
}

void engine::state::ask_whether_out() {
  const wire::join_request r{ctx.self, opt.name, opt.advertise, ctx.boot};
  for (auto& g : data)
    if (g.replica.leader() != ctx.self && !is_out(g.replica, ctx.self))
      ask(links, ctx, g.replica.leader(), r, g.replica.group());
}

void engine::state::on_join_request(node_id from, const wire::join_request& r) {
  if (!replica) return;
  using enum wire::join_verdict;
  const auto answer = [&](wire::join_verdict verdict, std::string reason) {
    const wire::join_answer a{verdict, std::move(reason), replica->core().commit()};
    if (r.id == ctx.self) return on_join_answer(a);
    links.learn(r.id, r.at);
    links.send(r.id, a);
  };
  if (!replica->leading()) {
    const auto leader = replica->leader();
    if (leader && leader != from && leader != ctx.self && links.up(leader))
      links.send(leader, r);
    else
      answer(later, "there is no leader now");
    return;
  }
  if (const auto* m = replica->machine().member(r.id)) {
    // It is out only when no majority needs it any more.
    if (m->removed && !is_out(*replica, r.id)) return answer(later, "its vote still counts for a moment");
    if (m->removed) return answer(removed, "this node was removed from the cluster");
    if (m->name == r.name && m->at == r.at) return answer(accepted, "");
  }
  for (const auto& [id, m] : replica->machine().members()) {
    if (id == r.id || m.removed || m.name != r.name) continue;
    const auto* seen = members.find(id);
    const bool here = id == ctx.self || (seen && is_living(seen->state));
    if (id == ctx.self || m.at != r.at)
      return answer(refused, fmt::format("the name '{}' is taken by node {} at {}{}: choose another --name", r.name, id,
                                         m.at.str(), here ? "" : ", which is unreachable now"));
    // The same place with an empty disk: who was there never comes back, but gossip has to see that first, and clients
    // of its last session may still believe in their locks until that has expired.
    if (here) return answer(later, "the node that had this name and address is not yet known to be gone");
    for (const auto& [epoch, s] : replica->machine().sessions())
      if (s.node == id)
        return answer(later, "the session of the node that had this name and address has not expired yet");
    ctx.log(log_level::warn, fmt::format("{} is back at {} with another identity: {} takes the place of {}", r.name,
                                         m.at.str(), r.id.short_str(), id.short_str()));
    propose({machine::remove_member{id, false}, machine::add_member{r.id, r.name, r.at}});
    return answer(accepted, "");
  }
  propose({machine::add_member{r.id, r.name, r.at}});
  answer(accepted, "");
}

// What was committed can't change: a log that contradicts the voters' was damaged, or is of somewhere else.
void engine::state::on_forked() {
  const auto reason = fmt::format(
      "this node's log, committed up to {}, is not the cluster's: most of the voters have another history; its data "
      "directory is damaged or was exchanged: move it away and start with an empty one",
      replica->core().commit());
  ctx.log(log_level::error, reason);
  halt(false, reason);
}

// This identity is over, by the cluster's word.
void engine::state::on_ended(end_of_identity why) {
  if (std::exchange(failed, true)) return;
  disk.write({mark_ended(why)}, true, end_saved{why});
}

void engine::state::on_join_answer(const wire::join_answer& a) {
  switch (a.verdict) {
    case wire::join_verdict::accepted:
      return;
    case wire::join_verdict::later:
      if (std::exchange(told_to_wait, a.reason) != a.reason) ctx.log(log_level::info, "joining waits: " + a.reason);
      return;
    case wire::join_verdict::elsewhere:
      if (std::exchange(told_to_wait, a.reason) != a.reason) ctx.log(log_level::error, a.reason);
      each_group([&](group_parts g) { g.replica.core().stand_back(ctx.now.steady + stand_back_for, ctx.now.steady); });
      return;
    case wire::join_verdict::refused:
      if (!is_member()) halt(false, "join refused: " + a.reason);
      return;
    case wire::join_verdict::removed:
      told_out[meta_group] = a.as_of;
      if (end)
        end->removed = true;
      else if (!replica || is_out())
        on_ended(end_of_identity::removed);
      return;
    case wire::join_verdict::outdated:
      ctx.log(log_level::error, a.reason);
      return on_ended(end_of_identity::outdated);
  }
}

}  // namespace coterie::engine
