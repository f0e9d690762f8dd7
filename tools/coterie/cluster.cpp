// Members, status, events, leaving: what a node knows of its cluster. Knows requests and how their answers are shown.
#include <algorithm>
#include <thread>
#include <tuple>

#include <fmt/format.h>

#include "commands.hpp"
#include "output.hpp"

namespace coterie::command {

namespace {

json to_json(const wire::member_info& m) {
  json tags = json::object();
  for (const auto& [k, v] : m.tags) tags[k] = v;
  return {{"name", m.name},
          {"id", m.id.str()},
          {"address", m.at.str()},
          {"state", m.state},
          {"role", m.role},
          {"since", m.since == wall_time() ? json(nullptr) : json(rfc3339(m.since))},
          {"rtt_ms", or_null(m.rtt_ms)},
          {"tags", tags},
          {"version", m.version},
          {"leader", m.leader},
          {"self", m.self},
          {"log", m.log},
          {"parent", or_null(m.parent)},
          {"depth", m.depth}};
}

json to_json(const wire::member_list& l) {
  json r = json::array();
  for (const auto& m : l.members) r.push_back(to_json(m));
  return r;
}

std::string to_text(const wire::member_list& l) {
  table t({"NODE", "ID", "ADDRESS", "STATE", "ROLE", "LOG", "RTT", "SINCE", "VERSION", "TAGS"});
  const auto now = wall_now();
  for (const auto& m : l.members) {
    std::string tags;
    for (const auto& [k, v] : m.tags) tags += fmt::format("{}{}={}", tags.empty() ? "" : " ", k, v);
    t.add({m.name, m.id.short_str(), m.at.str(), paint(colour_of(m.state), m.state), m.role.empty() ? "-" : m.role,
           m.log == 0 ? "-" : fmt::format("{}{}", m.log, m.leader ? " *" : ""),
           m.rtt_ms ? fmt::format("{:.2f} ms", *m.rtt_ms) : "-", m.since == wall_time() ? "-" : human(now - m.since),
           m.version, tags});
  }
  return t.text();
}

void show(const common& c, const wire::member_list& l) {
  if (c.as_json)
    print(to_json(l));
  else
    print_text(to_text(l));
}

/// Until the cluster is formed and so many are alive; also until the node answers at all.
int wait_for_members(const common& c, std::uint32_t count) {
  const auto until = in(c.timeout);
  std::string why = "no node answers";
  int status = no_node;
  do {
    try {
      auto node = c.connect();
      for (;;) {
        const auto left = std::chrono::ceil<ms>(until - std::chrono::steady_clock::now());
        if (left.count() <= 0) break;
        const auto call = node.send(wire::wait_members{count}, left);
        const auto a = node.next(until + ms(1'000));  // it knows best what is missing
        if (!a) {
          node.cancel(call);
          break;
        }
        if (const auto* list = std::get_if<wire::member_list>(&a->what)) {
          show(c, *list);
          return ok;
        }
        const auto* f = std::get_if<failure>(&a->what);
        if (f == nullptr || f->code != errc::timeout) raise(f != nullptr ? *f : failure{errc::closed, ""});
        why = f->message;
        status = timed_out;
      }
      if (status == no_node) {
        status = timed_out;
        why = fmt::format("not yet {} members in a formed cluster: see coterie status", count);
        const auto s = node.ask<wire::status_info>(wire::get_status{}, ms(1'000));
        if (!s.warnings.empty()) why += fmt::format(" ({})", s.warnings.front());
      }
    } catch (const command_error& e) {
      if (e.exit_status() != no_node && e.exit_status() != timed_out) throw;
      why = e.what();
      status = e.exit_status();
    }
    std::this_thread::sleep_for(ms(50));
  } while (std::chrono::steady_clock::now() < until);
  throw command_error(status, why);
}

int watch_members(const common& c) {
  auto node = c.connect();
  for (std::string shown;;) {
    const auto l = node.ask<wire::member_list>(wire::get_members{}, c.patience());
    if (c.as_json) {
      print_line(to_json(l));
    } else if (stdout_is_terminal()) {
      print_text(fmt::format("\x1b[H\x1b[2J{}", to_text(l)));
    } else {
      print_text(to_text(l) + "\n");
    }
    std::this_thread::sleep_for(ms(1'000));
  }
}

std::string text(const wire::event_out& e) {
  std::string r = fmt::format("{}  {:<18}", clock_of(e.time), e.kind);
  for (const auto& [k, v] : e.fields)
    if (!v.empty() && !(k == "id" && v.size() == 32)) r += fmt::format("  {} {}", k, v);
  return r + "\n";
}

}  // namespace

int members(const common& c, bool watch, std::optional<std::uint32_t> wait) {
  if (wait) {
    const int r = wait_for_members(c, *wait);
    if (!watch) return r;
  }
  if (watch) return watch_members(c);
  show(c, c.connect().ask<wire::member_list>(wire::get_members{}, c.patience()));
  return ok;
}

int show_status(const common& c) {
  const auto s = c.connect().ask<wire::status_info>(wire::get_status{}, c.patience());
  if (c.as_json) {
    print(json{{"cluster", s.cluster},
               {"cluster_id", s.id ? json(s.id.str()) : json(nullptr)},
               {"node", s.node},
               {"node_id", s.self.str()},
               {"state", s.state},
               {"ready", s.ready},
               {"view_id", s.view},
               {"leader", or_null(s.leader)},
               {"term", s.term},
               {"commit_index", s.commit},
               {"applied_index", s.applied},
               {"quorum", s.quorum},
               {"read_lease_ms", s.read_lease_ms},
               {"warnings", s.warnings},
               {"voters", s.quorum_size},
               {"voters_in_contact", s.quorum_alive},
               {"role", s.place.role},
               {"parent", or_null(s.place.parent)},
               {"depth", s.place.depth},
               {"children", s.place.children},
               {"boot", s.boot.value},
               {"version", s.version},
               {"counters", s.counters}});
    return ok;
  }
  print_text(fmt::format("node {} ({})  {}{}        cluster {}{}  view {}\n", s.node, s.self.short_str(),
                         paint(colour_of(s.state), s.state), s.ready ? ", ready" : ", not ready", s.cluster,
                         s.id ? fmt::format(" ({})", s.id.short_str()) : "", s.view));
  if (s.quorum_size > 0)
    print_text(fmt::format("leader {}  term {}  commit {}  applied {}  quorum {}{} of {}\n",
                           s.leader.empty() ? "none" : s.leader, s.term, s.commit, s.applied,
                           s.quorum ? "" : "lost: ", s.quorum_alive, s.quorum_size));
  else
    print_text(s.ready ? "no log: this node runs with --gossip-only\n" : "no log yet\n");
  if (!s.place.role.empty())
    print_text(
        fmt::format("role {}{}{}\n", s.place.role,
                    s.place.parent.empty() ? "" : fmt::format("  fed by {} at depth {}", s.place.parent, s.place.depth),
                    s.place.children == 0 ? "" : fmt::format("  feeds {}", s.place.children)));
  for (const auto& w : s.warnings) print_text(fmt::format("{} {}\n", paint(colour::yellow, "warning:"), w));
  return ok;
}

int events(const common& c, std::uint64_t since) {
  auto node = c.connect();
  node.send(wire::follow_events{since, true});
  while (auto a = node.next(deadline::max())) {
    if (const auto* f = std::get_if<failure>(&a->what)) raise(*f);
    const auto* e = std::get_if<wire::event_out>(&a->what);
    if (e == nullptr) continue;
    if (!c.as_json) {
      print_text(text(*e));
      continue;
    }
    json j{{"index", e->index}, {"time", rfc3339(e->time)}, {"kind", e->kind}};
    for (const auto& [k, v] : e->fields) j[k] = v;
    print_line(j);
  }
  return ok;
}

int why(const common& c, const std::string& node) {
  const auto e = c.connect().ask<wire::explanation>(wire::explain_member{node}, c.patience());
  if (c.as_json) {
    auto j = to_json(e.who);
    j["incarnation"] = {{"epoch", e.epoch}, {"counter", e.counter}};
    j["local_health"] = e.local_health;
    j["transitions"] = json::array();
    for (const auto& t : e.transitions)
      j["transitions"].push_back({{"time", rfc3339(t.when)}, {"what", t.what}, {"evidence", t.evidence}});
    print(j);
    return ok;
  }
  print_text(fmt::format("{} ({}) at {} is {}{}\n", e.who.name, e.who.id.short_str(), e.who.at.str(),
                         paint(colour_of(e.who.state), e.who.state),
                         e.who.since == wall_time() ? "" : " since " + clock_of(e.who.since)));
  print_text(fmt::format("incarnation {}.{}; health of the node that says so: {}\n", e.epoch, e.counter,
                         e.local_health == 0 ? "good" : fmt::format("{} (0 is good)", e.local_health)));
  if (e.transitions.empty()) {
    print_text("nothing was seen of it since this node started\n");
    return ok;
  }
  table t({"TIME", "WHAT", "EVIDENCE"});
  for (const auto& x : e.transitions) t.add({clock_of(x.when), paint(colour_of(x.what), x.what), x.evidence});
  print_text(t.text());
  return ok;
}

int rtt(const common& c, std::vector<std::string> nodes) {
  if (nodes.size() == 1) nodes.insert(nodes.begin(), "");
  const auto r = c.connect().ask<wire::round_trip>(wire::get_round_trip{nodes[0], nodes[1]}, c.patience());
  if (c.as_json) {
    print(json{{"from", r.from},
               {"to", r.to},
               {"estimated_ms", or_null(r.estimated_ms)},
               {"measured_ms", or_null(r.measured_ms)},
               {"error", r.error}});
    return ok;
  }
  print_text(fmt::format("{} - {}: {}{}\n", r.from, r.to,
                         r.estimated_ms
                             ? fmt::format("estimated {:.2f} ms (+-{:.0f} %)", *r.estimated_ms, r.error * 100)
                             : "not estimated yet, their coordinates are still moving",
                         r.measured_ms ? fmt::format(", measured {:.2f} ms", *r.measured_ms) : ""));
  return ok;
}

int remove_member(const common& c, const std::string& node) {
  c.connect().ask(wire::remove_node{node}, c.patience(), true);
  if (c.as_json)
    print(json{{"node", node}, {"state", "removed"}});
  else
    print_text(fmt::format("{} has lost its place; it comes back only with a new identity (run --rejoin)\n", node));
  return ok;
}

int leave(const common& c) {
  auto node = c.connect();
  const auto s = node.ask<wire::status_info>(wire::get_status{}, c.patience());
  node.ask(wire::leave_cluster{}, std::max(c.timeout, ms(15'000)), true);
  if (c.as_json)
    print(json{{"node", s.node}, {"state", "left"}});
  else
    print_text(fmt::format("{} has left the cluster {}\n", s.node, s.cluster));
  return ok;
}

/// Those with a vote first, then those that may get one, then those that observe, with who feeds them.
int cluster_voters(const common& c) {
  auto l = c.connect().ask<wire::member_list>(wire::get_members{}, c.patience());
  std::erase_if(l.members, [](const auto& m) { return m.role.empty() || (m.role == "observer" && m.state == "left"); });
  std::ranges::stable_sort(l.members, {},
                           [](const auto& m) { return std::tuple(m.role != "voter", m.role != "standby", m.depth); });
  if (c.as_json) {
    print(to_json(l));
    return ok;
  }
  table t({"NODE", "ROLE", "ZONE", "STATE", "LOG", "FED BY", "ADDRESS"});
  for (const auto& m : l.members) {
    const auto zone = m.tags.find("zone");
    t.add({m.name, m.role, zone == m.tags.end() ? "-" : zone->second, paint(colour_of(m.state), m.state),
           m.log == 0 ? "-" : fmt::format("{}{}", m.log, m.leader ? " *" : ""),
           m.parent.empty() ? "-" : fmt::format("{} ({})", m.parent, m.depth), m.at.str()});
  }
  print_text(t.text());
  return ok;
}

int cluster_transfer(const common& c, const std::string& node) {
  c.connect().ask(wire::transfer_leadership{node}, c.patience(), true);
  if (c.as_json)
    print(json{{"leader", node}});
  else
    print_text(fmt::format("{} leads\n", node));
  return ok;
}

/// What is in force follows the setting within a moment, as soon as no other change of the configuration is under way.
int cluster_read_lease(const common& c, std::optional<ms> lease) {
  auto node = c.connect();
  if (lease)
    node.ask(wire::set_read_lease{*lease}, c.patience(), true);
  else
    lease = ms(node.ask<wire::status_info>(wire::get_status{}, c.patience()).read_lease_ms);
  if (c.as_json)
    print(json{{"read_lease_ms", lease->count()}});
  else
    print_text(lease->count() == 0 ? "off: a quorum confirms each read\n"
                                   : fmt::format("{} ms: leaders read without a quorum\n", lease->count()));
  return ok;
}

/// Formation by the operator's word. What that word is has to be seen whatever is asked for.
int cluster_init(const common& c, const cluster_init_options& o) {
  if (o.without.empty() == o.discard.empty())
    throw command_error(
        wrong_usage,
        "cluster init takes either --without SEED... or --discard RECORD: a cluster whose seeds all answer "
        "forms by itself");
  if (!o.discard.empty()) {
    const auto record = cluster_id::parse(o.discard);
    if (!record)
      throw command_error(wrong_usage,
                          fmt::format("--discard {}: a record has 32 digits, as coterie status shows it", o.discard));
    c.connect().ask(wire::discard_record{*record}, c.patience(), true);
    complain(
        fmt::format("the record {} is erased on this node. By this you say that no node ever formed a cluster by "
                    "it; if one did, there will be two clusters",
                    o.discard));
    if (c.as_json) print(json{{"discarded", o.discard}});
    return ok;
  }
  wire::init_without request;
  json left_out = json::array();
  std::string names;
  for (const auto& text : o.without) {
    auto a = address::parse(text);
    if (!a) throw command_error(wrong_usage, a.error().message);
    left_out.push_back(a->str());
    names += (names.empty() ? "" : ", ") + a->str();
    request.seeds.push_back(std::move(*a));
  }
  c.connect().ask(request, c.patience(), true);
  complain(
      fmt::format("{} will not be waited for. By this you say that no such node ever returns with its data, and "
                  "that no other seed has lost its own; if that is wrong, there may be two clusters. It holds on "
                  "this node, until that ends or is told otherwise",
                  names));
  if (c.as_json) print(json{{"without", left_out}});
  return ok;
}

std::pair<std::string, std::string> parse_tag(const std::string& what, const std::string& text) {
  const auto eq = text.find('=');
  if (eq == 0 || eq == std::string::npos)
    throw command_error(wrong_usage, fmt::format("{} {}: write it as KEY=VALUE", what, text));
  return {text.substr(0, eq), text.substr(eq + 1)};
}

/// Changes the node's tags when told to, and shows them.
int tag(const common& c, const tag_options& o) {
  wire::set_tags request{{}, o.remove};
  for (const auto& t : o.set) {
    auto [k, v] = parse_tag("tag", t);
    request.set[k] = std::move(v);
  }
  for (const auto& k : o.remove)
    if (request.set.contains(k))
      throw command_error(wrong_usage, fmt::format("tag {} is both set and removed: leave out one", k));
  auto node = c.connect();
  if (!o.set.empty() || !o.remove.empty()) node.ask(request, c.patience(), true);
  for (const auto& m : node.ask<wire::member_list>(wire::get_members{}, c.patience()).members) {
    if (!m.self) continue;
    if (c.as_json)
      print(json{{"node", m.name}, {"tags", to_json(m).at("tags")}});
    else
      for (const auto& [k, v] : m.tags) print_text(fmt::format("{}={}\n", k, v));
  }
  return ok;
}

/// The socket stands in the node's home, or is linked from there.
int home(const common& c) {
  const auto socket = find_node(c.node, c.timeout);
  client answers(socket);
  std::error_code ec;
  const auto real = std::filesystem::canonical(socket, ec);
  const bool known = !ec && real.filename() == "control.sock";
  if (!known) throw command_error(failed, "this node keeps its control socket elsewhere: its home is what --data said");
  if (c.as_json)
    print(json{{"local", real.parent_path().string()}, {"shared", nullptr}});
  else
    print_text(real.parent_path().string() + "\n");
  return ok;
}

}  // namespace coterie::command
