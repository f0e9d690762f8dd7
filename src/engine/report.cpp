// What there is to say about this node and its cluster: status, members, events.
#include <algorithm>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/overloaded.hpp"
#include "engine/state.hpp"

namespace coterie::engine {

namespace {
std::string text(wall_time t) { return fmt::format("{:%FT%T}Z", t); }
}  // namespace

std::string engine::state::name_of(node_id id) const {
  if (id == ctx.self) return opt.name;
  if (const auto* m = members.find(id); m && !m->info.name.empty()) return m->info.name;
  if (replica)
    if (const auto* m = replica->machine().member(id)) return m->name;
  return id.short_str();
}

std::string engine::state::name_of(session_epoch e) const {
  const auto* s = replica ? replica->machine().session(e) : nullptr;
  return s ? name_of(s->node) : std::string("?");
}

std::string engine::state::node_state() const {
  if (failed) return "failed";
  if (end) return end->leaving ? "leaving" : "stopping";
  if (opt.gossip_only) return "active";
  if (!replica) return healer ? "joining" : "forming";
  if (!is_member()) return "joining";
  return session.valid() ? "active" : "joining";
}

std::string engine::state::role_of(node_id id) const {
  if (!replica) return "";
  const auto& conf = replica->core().conf();
  if (conf.is_voter(id)) return "voter";
  return conf.is_learner(id) ? "standby" : "observer";
}

std::string engine::state::zone_of(const swim::member_info& m) {
  const auto zone = m.tags.find("zone");
  return zone == m.tags.end() ? "" : zone->second;
}

wire::status_info engine::state::status() const {
  wire::status_info s;
  s.cluster = opt.cluster;
  s.node = opt.name;
  s.version = opt.version;
  s.id = ctx.cluster;
  s.self = ctx.self;
  s.boot = ctx.boot;
  s.state = node_state();
  if (healer) s.warnings.push_back(healer->situation());
  if (genesis && ((!replica && !healer) || !genesis->waiting_for().empty())) s.warnings.push_back(genesis->situation());
  if (replica) {
    const auto& c = replica->core();
    s.leader = c.leader() ? name_of(c.leader()) : "";
    s.view = replica->machine().globals().view;
    s.term = c.current_term().value;
    s.commit = c.commit().value;
    s.applied = c.applied().value;
    s.quorum = outbox::quorum_contact(&*replica, ctx.now.steady);
    s.read_lease_ms = static_cast<std::uint32_t>(c.conf().read_lease.count());
    s.quorum_size = static_cast<std::uint32_t>(c.conf().voters.size());
    for (const auto v : c.conf().voters) {
      const auto* m = members.find(v);
      s.quorum_alive += v == ctx.self || (m && is_living(m->state));
    }
    s.place.role = role_of(ctx.self);
    if (const auto parent = relay.parent()) {
      s.place.parent = name_of(parent);
      s.place.depth = relay.depth();
    }
    s.place.children = static_cast<std::uint32_t>(relay.children());
    s.ready = session.valid() && s.quorum && c.applied() >= c.commit();
    if (!s.quorum)
      s.warnings.push_back(
          "no contact with a majority of the voters: locks, appends and cluster jobs wait; start or reconnect the "
          "other voters");
  } else {
    s.ready = opt.gossip_only;
  }
  if (low_disk) s.warnings.push_back("the disk is nearly full: data is refused until space is freed");
  if (!opt.advertise.is_loopback())
    s.warnings.push_back(
        "this node talks without encryption (--insecure): anyone who reaches its port can join and read");
  for (const auto* c : {&ctx.stats, &members.stats()})
    for (const auto& [k, v] : c->all()) s.counters[std::string(k)] += v;
  if (genesis)
    for (const auto& [k, v] : genesis->stats().all()) s.counters[std::string(k)] += v;
  if (replica) {
    for (const auto& [k, v] : replica->core().stats().all()) s.counters[std::string(k)] += v;
    for (const auto& [k, v] : replica->machine().stats().all()) s.counters[std::string(k)] += v;
  }
  return s;
}

wire::member_list engine::state::member_list() const {
  wire::member_list out;
  std::map<node_id, std::uint64_t> matched;
  if (replica)
    for (const auto& p : replica->core().progress()) matched[p.id] = p.match.value;
  const relay_tree tree(replica ? tree_members(replica->core().conf()) : relay_members(), opt.relay_fan_out);
  // What is true of this node; of the others what should be, as far as this one knows.
  const auto place = [&](wire::member_info& i) {
    i.role = role_of(i.id);
    if (i.role != "observer") return;
    const auto parent = i.self ? relay.parent() : tree.first_parent(i.id);
    if (!parent) return;
    i.parent = name_of(parent);
    i.depth = i.self ? relay.depth() : tree.depth(i.id);
  };
  for (const auto& m : members.members()) {
    wire::member_info i;
    i.name = m.info.name;
    i.state = swim::to_string(m.state);
    i.version = m.info.version;
    i.id = m.info.id;
    i.at = m.info.at;
    i.since = m.since;
    if (m.rtt) i.rtt_ms = std::chrono::duration<double, std::milli>(*m.rtt).count();
    i.tags = m.info.tags;
    i.self = m.info.id == ctx.self;
    place(i);
    i.leader = replica && replica->leader() == m.info.id;
    i.log = i.self && replica ? replica->core().applied().value : matched.contains(m.info.id) ? matched[m.info.id] : 0;
    if (const auto* known = replica ? replica->machine().member(m.info.id) : nullptr) {
      if (known->removed) i.state = "left";
      if (known->failed && !is_living(m.state)) i.state = "failed";
    }
    out.members.push_back(std::move(i));
  }
  // Members that gossip has not met since this node started.
  if (replica)
    for (const auto& [id, m] : replica->machine().members()) {
      if (m.removed || members.find(id)) continue;
      wire::member_info i;
      i.name = m.name;
      i.state = m.failed ? "failed" : "unreachable";
      i.id = id;
      i.role = role_of(id);
      i.at = m.at;
      i.log = matched.contains(id) ? matched[id] : 0;
      out.members.push_back(std::move(i));
    }
  std::sort(out.members.begin(), out.members.end(),
            [](const auto& a, const auto& b) { return std::tie(a.name, a.id) < std::tie(b.name, b.id); });
  return out;
}

result<node_id> engine::state::find_member(std::string_view wanted) const {
  std::map<node_id, std::string> known;
  if (replica)
    for (const auto& [id, m] : replica->machine().members()) known[id] = m.name;
  for (const auto& m : members.members()) known[m.info.id] = m.info.name;
  // Of several with one name, that of the living, then of the registry.
  const auto rank = [&](node_id id) {
    const auto* seen = members.find(id);
    const auto* entered = replica ? replica->machine().member(id) : nullptr;
    return std::pair(seen && is_living(seen->state), entered && !entered->removed);
  };
  std::optional<node_id> found;
  for (const auto& [id, name] : known)
    if (name == wanted && (!found || rank(id) > rank(*found))) found = id;
  if (found) return *found;
  for (const auto& [id, name] : known) {
    if (wanted.empty() || !id.str().starts_with(wanted)) continue;
    if (found) return fail(errc::bad_argument, fmt::format("more than one member's id begins with {}", wanted));
    found = id;
  }
  if (found) return *found;
  return fail(errc::not_found, fmt::format("no member is called {}: see coterie members", wanted));
}

result<wire::explanation> engine::state::explain(const std::string& node) const {
  const auto who = find_member(node);
  if (!who) return tl::unexpected(who.error());
  wire::explanation e;
  const auto list = member_list().members;
  if (const auto it = std::ranges::find(list, *who, &wire::member_info::id); it != list.end()) {
    e.who = *it;
  } else {  // out of the registry, and forgotten by gossip
    e.who.name = name_of(*who);
    e.who.id = *who;
    e.who.state = "left";
  }
  if (const auto* seen = members.find(*who)) {
    e.epoch = seen->inc.epoch.value;
    e.counter = seen->inc.counter;
  }
  e.local_health = members.local_health();
  e.transitions = chronicle.of(*who);
  return e;
}

result<wire::round_trip> engine::state::round_trip(const wire::get_round_trip& q) const {
  const auto from = q.from.empty() ? result<node_id>(ctx.self) : find_member(q.from);
  const auto to = find_member(q.to);
  if (!from) return tl::unexpected(from.error());
  if (!to) return tl::unexpected(to.error());
  if (*from == *to) return fail(errc::bad_argument, "a round trip is between two different nodes");
  const auto *a = members.find(*from), *b = members.find(*to);
  if (!a || !b)
    return fail(errc::unavailable, fmt::format("gossip has not met {} yet: try again later", a ? q.to : q.from));
  const auto ms = [](duration d) { return std::chrono::duration<double, std::milli>(d).count(); };
  wire::round_trip r{a->info.name, b->info.name, {}, {}, std::max(a->place.error, b->place.error)};
  if (const auto way = estimate(a->place, b->place)) r.estimated_ms = ms(*way);
  for (const auto* m : {a, b})
    if (m->rtt) r.measured_ms = ms(*m->rtt);  // of a pair, only one is another than this node
  if (*from != ctx.self && *to != ctx.self) r.measured_ms.reset();
  return r;
}

void engine::state::say(const swim::event& e) {
  const std::string what = e.kind == swim::event_kind::alive_again ? "alive" : swim::to_string(e.kind);
  chronicle.note(e.who.info.id, ctx.now.wall, what, e.evidence);
  std::map<std::string, std::string> fields = {{"node", e.who.info.name},
                                               {"id", e.who.info.id.str()},
                                               {"address", e.who.info.at.str()},
                                               {"evidence", e.evidence}};
  if (e.accuser) fields["by"] = name_of(e.accuser);
  news.say("member." + what, std::move(fields));
  if (e.kind == swim::event_kind::unreachable)
    ctx.log(log_level::warn, fmt::format("{} is unreachable: {}", e.who.info.name, e.evidence));
  if (e.kind == swim::event_kind::joined)
    ctx.log(log_level::info, fmt::format("{} joined at {}", e.who.info.name, e.who.info.at.str()));
}

void engine::state::say(const machine::happening& h) {
  const auto number = [](std::uint64_t v) { return fmt::format("{}", v); };
  std::visit(
      overloaded{
          [&](const machine::session_opened& x) {
            news.say("session.opened", {{"node", name_of(x.session.node)}, {"epoch", number(x.session.epoch.value)}});
          },
          [&](const machine::session_ended& x) {
            news.say("session.ended", {{"node", name_of(x.node)},
                                       {"epoch", number(x.epoch.value)},
                                       {"how", x.expired ? "expired" : "closed"}});
          },
          [&](const machine::lock_granted& x) {
            news.say("lock.granted", {{"lock", x.name},
                                      {"node", name_of(x.holder.session)},
                                      {"fence", number(machine::fence_of(x.holder.grant))},
                                      {"label", x.holder.label}});
          },
          [](const machine::lock_waited&) {},
          [&](const machine::lock_freed& x) {
            news.say("lock.released", {{"lock", x.name}, {"fence", number(machine::fence_of(x.grant))}});
          },
          [&](const machine::run_claimed& x) {
            news.say("job.started", {{"job", x.run.job},
                                     {"node", name_of(x.run.node)},
                                     {"scheduled", text(x.run.scheduled)},
                                     {"attempt", number(x.run.attempt)},
                                     {"fence", number(x.run.fence)}});
          },
          [&](const machine::run_finished& x) {
            std::map<std::string, std::string> f{{"job", x.run.job},
                                                 {"scheduled", text(x.run.scheduled)},
                                                 {"attempt", number(x.run.attempt)},
                                                 {"coalesced", number(x.run.coalesced)},
                                                 {"outcome", x.run.what ? machine::to_string(*x.run.what) : ""},
                                                 {"message", x.run.message},
                                                 {"node", x.run.node ? name_of(x.run.node) : ""}};
            if (x.run.took) f["took_ms"] = number(static_cast<std::uint64_t>(x.run.took->count()));
            news.say("job.finished", std::move(f));
          },
          [&](const machine::job_changed& x) {
            news.say(x.removed ? "job.removed" : "job.changed", {{"job", x.id}});
          },
          [&](const machine::job_assigned& x) {
            news.say("job.assigned", {{"job", x.id}, {"node", x.owner ? name_of(x.owner) : ""}});
          },
          [](const machine::journal_grew&) {},  // once a turn: tell_growth
          [&](const machine::journal_trimmed& x) {
            news.say("journal.trimmed", {{"journal", x.journal}, {"first", number(x.first)}});
          },
          [&](const machine::member_changed& x) {
            if (x.what == machine::member_change::failed)
              news.say("member.failed", {{"node", x.member.name},
                                         {"id", x.member.id.str()},
                                         {"evidence", chronicle.last(x.member.id, "unreachable")}});
            chronicle.note(x.member.id, ctx.now.wall, to_string(x.what), fmt::format("view {}", x.view));
            news.say("view.changed", {{"view", number(x.view)},
                                      {"node", x.member.name},
                                      {"id", x.member.id.str()},
                                      {"change", to_string(x.what)}});
          },
      },
      h);
}

void engine::state::watch_state() {
  auto now = node_state();
  if (now == shown_state) return;
  news.say("node.state", {{"state", now}, {"before", shown_state}});
  shown_state = std::move(now);
  if (shown_state == "active" && replica)
    ctx.log(log_level::info,
            fmt::format("ready: active, leader {}, log at {}",
                        replica->leader() ? name_of(replica->leader()) : "unknown", replica->core().applied()));
}

}  // namespace coterie::engine
