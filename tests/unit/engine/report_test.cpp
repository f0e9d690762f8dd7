// What a node says of itself and of its cluster: its state, its warnings, the members, and what happens.
#include <algorithm>
#include <set>

#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct report_world : nodes {
  using nodes::nodes;
  wire::status_info status(std::size_t i) { return expect<wire::status_info>(ask(i, wire::get_status{}, 10ms)); }
  bool warns(std::size_t i, std::string_view part) {
    const auto all = status(i).warnings;
    return std::ranges::any_of(all, [&](const auto& w) { return w.find(part) != std::string::npos; });
  }
  std::map<std::string, wire::member_info> members(std::size_t i) {
    std::map<std::string, wire::member_info> r;
    for (auto& m : expect<wire::member_list>(ask(i, wire::get_members{}, 10ms)).members) r[m.name] = std::move(m);
    return r;
  }
  std::vector<wire::event_out> events(engine::call_id id, std::string_view kind) {
    std::vector<wire::event_out> r;
    for (const auto& a : answers(id).list)
      if (const auto* e = std::get_if<wire::event_out>(&a); e && e->kind == kind) r.push_back(*e);
    return r;
  }
  wire::event_out last(engine::call_id id, std::string_view kind) {
    const auto all = events(id, kind);
    INFO(kind);
    REQUIRE(!all.empty());
    return all.back();
  }
};

/// Long active: a leader, a member that something is to happen to, and another one that is asked.
struct watched_world : report_world {
  std::size_t leader, victim, other;
  explicit watched_world(std::size_t n) : report_world(n) {
    REQUIRE(run_until_active());
    run(2s);
    leader = *nodes::leader();
    victim = (leader + 1) % n;
    other = (leader + 2) % n;
  }
};

constexpr std::string_view no_majority = "no contact with a majority of the voters";

}  // namespace

TEST_CASE("a node is forming, then active, and ready when it has a session") {
  report_world w(3);
  w.cut(0);
  auto s = w.status(0);
  REQUIRE(s.state == "forming");
  REQUIRE(!s.ready);
  REQUIRE(!s.id);
  REQUIRE(s.leader.empty());
  REQUIRE(w.warns(0, "waiting for"));
  REQUIRE(w.members(0).at("a").role.empty());
  w.cut(0, false);
  REQUIRE(w.run_until_active());
  w.run(1s);
  s = w.status(0);
  REQUIRE(s.state == "active");
  REQUIRE(s.ready);
  REQUIRE(s.quorum);
  REQUIRE(s.quorum_size == 3);
  REQUIRE(s.quorum_alive == 3);
  REQUIRE(s.leader == w.name(*w.leader()));
  REQUIRE(s.commit >= s.applied);
  w.tell(0, engine::datagram_in{{"10.9.9.9", 1}, to_bytes("what is this")});
  w.settle();
  REQUIRE(w.status(0).counters.at("datagram.undecodable") == 1);
}

TEST_CASE("a node that no leader lets in is joining") {
  report_world w(3);
  REQUIRE(w.run_until_active());
  w.lose = [](std::size_t from, std::size_t, const wire::peer_message& m) {
    return from == 3 && std::holds_alternative<wire::join_request>(m);
  };
  const auto d = w.add("d");
  REQUIRE(w.run_until([&] { return w[d].look().raft != nullptr; }));
  w.run(1s);
  REQUIRE(w.status(d).state == "joining");
  REQUIRE(!w.status(d).ready);
  REQUIRE(w.members(0).at("d").role == "observer");
  w.lose = nullptr;
  REQUIRE(w.run_until([&] { return w.status(d).state == "active"; }));
  REQUIRE(w.run_until([&] { return w.members(0).at("d").role == "standby"; }));
}

TEST_CASE("a node that loses its majority says so, and is joining when its session is over") {
  report_world w(3);
  REQUIRE(w.run_until_active());
  REQUIRE(!w.warns(0, no_majority));
  w.cut(0);
  REQUIRE(w.run_until([&] { return w.warns(0, no_majority); }));
  REQUIRE(!w.status(0).ready);
  REQUIRE(w.run_until([&] { return w.status(0).state == "joining"; }));
  REQUIRE(w.status(0).quorum_alive == 1);
  w.cut(0, false);
  REQUIRE(w.run_until([&] { return w.status(0).ready; }));
}

TEST_CASE("without a log a node is active and ready alone") {
  engine::options o;
  o.gossip_only = true;
  report_world w(1, o);
  const auto s = w.status(0);
  REQUIRE(s.state == "active");
  REQUIRE(s.ready);
  REQUIRE(w.members(0).at("a").role.empty());
  REQUIRE(!w.members(0).at("a").leader);
}

TEST_CASE("a node warns of what is wrong with where it runs") {
  report_world w(1);
  REQUIRE(w.run_until_active());
  REQUIRE(!w.warns(0, "the disk is nearly full"));
  for (int i = 0; i < 2; ++i) w.tell(0, engine::disk_space{true});
  w.settle();
  REQUIRE(w.warns(0, "the disk is nearly full"));
  REQUIRE(w.logged(0, "the disk is nearly full") == 1);
  w.tell(0, engine::disk_space{false});
  w.settle();
  REQUIRE(!w.warns(0, "the disk is nearly full"));
  REQUIRE(w.logged(0, "there is disk space again") == 1);

  REQUIRE(w.warns(0, "without encryption"));
  report_world home(0);
  home.add("a", address{"127.0.0.1", 7400});
  REQUIRE(!home.warns(0, "without encryption"));
}

TEST_CASE("a stopping node says so, and so does a leaving one") {
  for (const bool leaving : {false, true}) {
    report_world w(3);
    REQUIRE(w.run_until_active());
    REQUIRE(is<wire::lock_granted>(w.ask(0, wire::acquire_lock{"l", "", {}})));  // held: the end waits for it
    w.call(0, leaving ? wire::request(wire::leave_cluster{}) : wire::stop_node{});
    REQUIRE(w.status(0).state == (leaving ? "leaving" : "stopping"));
  }
}

TEST_CASE("after a disk failure a node does nothing more") {
  report_world w(1);
  REQUIRE(w.run_until_active());
  w.tell(0, engine::disk_failed{"I/O error"});
  w.settle();
  REQUIRE(w.end_of(0)->reason == "the disk failed: I/O error");
  REQUIRE(!w.end_of(0)->exit_ok);
  REQUIRE(w[0].next_wake() == never);
}

TEST_CASE("the list of members has those that gossip has not met, and what is known of each") {
  engine::options o;
  o.tags = {{"zone", "z1"}};
  report_world w(4, o);
  REQUIRE(w.run_until_active());
  w.run(2s);
  const auto leader = *w.leader();
  const auto all = w.members(leader);
  REQUIRE(all.size() == 4);
  std::multiset<std::string> roles;
  for (const auto& [name, m] : all) {
    roles.insert(m.role);
    REQUIRE(m.state == "alive");
    REQUIRE(m.tags == o.tags);
    REQUIRE(m.log > 0);
    REQUIRE(m.self == m.leader);
    REQUIRE(m.rtt_ms.has_value() == !m.self);
  }
  REQUIRE(roles == std::multiset<std::string>{"standby", "voter", "voter", "voter"});
  for (std::size_t i = 1; i < 4; ++i) w.kill(i);
  w.restart(0);
  const auto alone = w.members(0);
  REQUIRE(alone.size() == 4);
  REQUIRE(alone.at("b").state == "unreachable");
  REQUIRE(alone.at("b").at == address{"10.0.0.2", 7400});
  REQUIRE(alone.at("b").log == 0);
  REQUIRE(alone.at("a").self);
}

TEST_CASE("a member that left is shown as left, and by its name") {
  report_world w(4);
  REQUIRE(w.run_until_active());
  const auto i = (*w.leader() + 1) % 4;
  const auto name = w.name(i);
  const auto news = w.call(*w.leader(), wire::follow_events{});
  w.call(i, wire::leave_cluster{});
  REQUIRE(w.run_until([&] { return w.end_of(i).has_value(); }));
  w.run(1s);
  REQUIRE(w.members(*w.leader()).at(name).state == "left");
  const auto e = w.last(news, "view.changed");
  REQUIRE(e.fields.at("change") == "left");
  REQUIRE(e.fields.at("node") == name);
  REQUIRE(w.events(news, "member.left").size() == 1);
}

TEST_CASE("a member that is killed fails by a view, with its evidence, and is back by the next") {
  watched_world w(4);
  const auto leader = w.leader, victim = w.victim, other = w.other;
  const auto name = w.name(victim);
  const auto view = w.status(leader).view;
  const auto news = w.call(other, wire::follow_events{});
  w.kill(victim);
  REQUIRE(w.run_until([&] { return w.members(other).at(name).state == "failed"; }, 8s));
  REQUIRE(w.status(other).view == view + 1);
  const auto failed = w.last(news, "member.failed");
  CHECK(failed.fields.at("node") == name);
  CHECK(!failed.fields.at("evidence").empty());
  CHECK(w.last(news, "view.changed").fields.at("change") == "failed");
  CHECK(w.last(news, "view.changed").fields.at("view") == std::to_string(view + 1));

  auto e = expect<wire::explanation>(w.ask(other, wire::explain_member{name}, 10ms));
  CHECK(e.who.state == "failed");
  CHECK(e.epoch > 0);
  std::vector<std::string> what;
  for (const auto& t : e.transitions) what.push_back(t.what);
  CHECK(what.front() == "joined");
  CHECK(what.back() == "failed");
  CHECK(std::ranges::find(what, "unreachable") != what.end());

  w.restart(victim);
  REQUIRE(w.run_until([&] { return w.status(other).view == view + 2; }, 15s));
  CHECK(w.members(other).at(name).state == "alive");
  CHECK(w.last(news, "view.changed").fields.at("change") == "back");
  CHECK(w.events(news, "member.failed").size() == 1);
}

TEST_CASE("a member that was stopped in order is unreachable and has not failed") {
  watched_world w(3);
  const auto leader = w.leader, gone = w.victim;
  const auto name = w.name(gone);
  const auto view = w.status(leader).view;
  w.call(gone, wire::stop_node{});
  REQUIRE(w.run_until([&] { return w.end_of(gone).has_value(); }));
  w.kill(gone);
  REQUIRE(w.run_until([&] { return w.members(leader).at(name).state == "unreachable"; }));
  w.run(8s);
  CHECK(w.members(leader).at(name).state == "unreachable");
  CHECK(w.status(leader).view == view);
}

TEST_CASE("a member that is gone for good is removed by whoever is asked, one that is alive is not") {
  watched_world w(4);
  const auto leader = w.leader, gone = w.victim, other = w.other;
  const auto name = w.name(gone), self = w.name(other);
  CHECK(reason(w.ask(other, wire::remove_node{name})).find("is alive: run coterie leave on it") != std::string::npos);
  CHECK(reason(w.ask(other, wire::remove_node{self})).find("use coterie leave") != std::string::npos);
  CHECK(refusal(w.ask(other, wire::remove_node{"nobody"})) == errc::not_found);
  CHECK(refusal(w.ask(other, wire::remove_node{""})) == errc::not_found);
  w.kill(gone);
  REQUIRE(w.run_until([&] { return w.members(other).at(name).state == "failed"; }));
  const auto id = w.members(other).at(name).id.str();
  const auto removed = w.ask(other, wire::remove_node{id});
  INFO(reason(removed));
  REQUIRE(is<wire::done>(removed));
  w.run(1s);
  for (const auto i : {leader, other}) CHECK(!w.members(i).contains(name));
  const auto e = expect<wire::explanation>(w.ask(other, wire::explain_member{name}, 10ms));
  CHECK(e.who.state == "left");
  CHECK(e.transitions.back().what == "removed");
  // It comes back, and while nobody can tell it yet, it is alive and no member.
  w.lose = [&](std::size_t, std::size_t to, const wire::peer_message& m) {
    return to == gone && !std::holds_alternative<swim::hello>(m);
  };
  w.restart(gone);
  REQUIRE(w.run_until([&] { return w[other].look().members->alive_count() == 4; }));
  const auto wait = w.call(other, wire::wait_members{4}, 2s);
  REQUIRE(w.run_until([&] { return w.answers(wait).over; }));
  CHECK(reason(w.answers(wait).list.front()).find("3 of 4 members are alive") != std::string::npos);
  CHECK(is<wire::member_list>(w.ask(other, wire::wait_members{3}, 2s)));
  // Then it is told so, and ends.
  w.lose = nullptr;
  REQUIRE(w.run_until([&] { return w.end_of(gone).has_value(); }));
  CHECK(w.end_of(gone)->reason.find("removed") != std::string::npos);
  CHECK(w.end_of(gone)->reason.find("--rejoin") != std::string::npos);
  w.restart(gone, true);
  REQUIRE(w.run_until([&] { return w.active(gone); }));
  CHECK(w.id(gone).str() != id);
  CHECK(w.members(other).at(name).id == w.id(gone));
}

TEST_CASE("round trips are estimated between any two, and measured where this node is one") {
  report_world w(3);
  REQUIRE(w.run_until_active());
  w.run(10s);
  const auto ab = expect<wire::round_trip>(w.ask(0, wire::get_round_trip{"", "b"}, 10ms));
  CHECK(ab.from == "a");
  CHECK(ab.to == "b");
  CHECK(ab.measured_ms);
  const auto bc = expect<wire::round_trip>(w.ask(0, wire::get_round_trip{"b", "c"}, 10ms));
  CHECK(!bc.measured_ms);
  CHECK(bc.error <= 1.5);
  CHECK(bc.estimated_ms.has_value() == (bc.error < 1));
  CHECK(refusal(w.ask(0, wire::get_round_trip{"", "a"}, 10ms)) == errc::bad_argument);
  CHECK(refusal(w.ask(0, wire::get_round_trip{"", "x"}, 10ms)) == errc::not_found);
}

TEST_CASE("what happens to locks, journals and sessions is told to who follows") {
  report_world w(3);
  REQUIRE(w.run_until_active());
  const auto leader = *w.leader();
  const auto news = w.call(leader, wire::follow_events{});
  const auto other = (leader + 1) % 3;
  const auto granted = expect<wire::lock_granted>(w.ask(other, wire::acquire_lock{"l", "backup", {}}));
  auto e = w.last(news, "lock.granted");
  REQUIRE(e.fields.at("lock") == "l");
  REQUIRE(e.fields.at("label") == "backup");
  REQUIRE(e.fields.at("node") == w.name(other));
  REQUIRE(e.fields.at("fence") == std::to_string(granted.fence));
  REQUIRE(is<wire::done>(w.ask(other, wire::release_lock{"l", granted.fence})));
  REQUIRE(is<wire::lock_granted>(w.ask(leader, wire::acquire_lock{"l", "", {}})));  // else its node keeps it
  w.run(100ms);
  REQUIRE(w.last(news, "lock.released").fields.at("fence") == std::to_string(granted.fence));

  w.ask(other, wire::append_journal{"orders", "", {{"t", "m"}}});
  w.ask(other, wire::keep_journal{"orders", 2s});
  REQUIRE(w.last(news, "journal.appended").fields.at("journal") == "orders");
  REQUIRE(w.run_until([&] { return !w.events(news, "journal.trimmed").empty(); }));

  w.ask(other, wire::invalidate_cache{"c", "k"});
  e = w.last(news, "cache.invalidated");
  REQUIRE(e.fields.at("key") == "k");
  REQUIRE(e.fields.at("all") == "false");
  w.ask(other, wire::invalidate_cache{"c", {}});
  REQUIRE(w.last(news, "cache.invalidated").fields.at("all") == "true");

  w.kill(other);
  REQUIRE(w.run_until([&] { return !w.events(news, "session.ended").empty(); }));
  REQUIRE(w.last(news, "session.ended").fields.at("how") == "expired");
  REQUIRE(w.events(news, "member.unreachable").size() == 1);
  w.restart(other);
  REQUIRE(w.run_until_active());
  REQUIRE(!w.events(news, "session.opened").empty());
  REQUIRE(!w.events(news, "member.alive").empty());
  w.call(other, wire::stop_node{});
  REQUIRE(w.run_until([&] { return w.events(news, "session.ended").size() == 2; }));
  REQUIRE(w.last(news, "session.ended").fields.at("how") == "closed");
}

TEST_CASE("what happens to jobs is told to who follows") {
  report_world w(1);
  REQUIRE(w.run_until_active());
  const auto news = w.call(0, wire::follow_events{});
  const auto runner = w.call(0, wire::add_runner{"backup"});
  wire::add_job job;
  job.job.id = "nightly";
  job.job.config.runner = "backup";
  job.job.config.when = calendar::interval_schedule{2s, {}};
  REQUIRE(is<wire::job_added>(w.ask(0, job)));
  REQUIRE(w.last(news, "job.changed").fields.at("job") == "nightly");
  REQUIRE(w.run_until([&] { return !w.events(news, "job.started").empty(); }));
  REQUIRE(w.last(news, "job.assigned").fields.at("node") == "a");
  REQUIRE(w.last(news, "job.started").fields.at("attempt") == "1");
  const auto run = expect<wire::run_job>(w.answers(runner).list.back()).run;
  machine::finish_run f;
  f.id = run.job;
  f.fence = run.fence;
  f.message = "all fine";
  f.started = w.now().wall;
  f.took = 20ms;
  REQUIRE(is<wire::done>(w.ask(0, wire::finish_job{f})));
  const auto e = w.last(news, "job.finished");
  REQUIRE(e.fields.at("outcome") == "success");
  REQUIRE(e.fields.at("took_ms") == "20");
  REQUIRE(e.fields.at("node") == "a");
  REQUIRE(e.fields.at("message") == "all fine");
  // Nobody runs it any more.
  w.cancel(0, runner);
  REQUIRE(w.run_until([&] { return w.last(news, "job.finished").fields.at("outcome") == "unavailable"; }));
  REQUIRE(w.last(news, "job.finished").fields.at("node").empty());
  REQUIRE(!w.last(news, "job.finished").fields.contains("took_ms"));
  REQUIRE(w.last(news, "job.assigned").fields.at("node").empty());
  w.ask(0, wire::remove_job{"nightly"});
  REQUIRE(w.last(news, "job.removed").fields.at("job") == "nightly");
}

TEST_CASE("events are kept up to their number, told from where one asks, and no longer than one listens") {
  engine::options o;
  o.max_events = 3;
  report_world w(1, o);
  REQUIRE(w.run_until_active());
  for (int i = 0; i < 5; ++i) w.ask(0, wire::append_journal{"orders", "", {{"t", "m"}}});
  const auto all = w.call(0, wire::follow_events{0, false});
  REQUIRE(w.answers(all).over);
  REQUIRE(w.answers(all).list.size() == 4);  // three, and the end
  const auto last = std::get<wire::event_out>(w.answers(all).list[2]).index;
  const auto some = w.call(0, wire::follow_events{last - 1, false});
  REQUIRE(w.answers(some).list.size() == 2);
  const auto later = w.call(0, wire::follow_events{last + 1, true});
  w.ask(0, wire::append_journal{"orders", "", {{"t", "m"}}});
  REQUIRE(w.answers(later).list.empty());
  w.ask(0, wire::append_journal{"orders", "", {{"t", "m"}}});
  REQUIRE(w.answers(later).list.size() == 1);
  w.cancel(0, later);
  w.ask(0, wire::append_journal{"orders", "", {{"t", "m"}}});
  REQUIRE(w.answers(later).list.size() == 1);
}

TEST_CASE("events with large keys are kept up to 4 MiB, and the newest always") {
  report_world w(1);
  REQUIRE(w.run_until_active());
  for (int i = 0; i < 200; ++i) w.ask(0, wire::invalidate_cache{"c", std::string(60'000, 'k')});
  const auto all = w.call(0, wire::follow_events{0, false});
  REQUIRE(w.answers(all).over);
  std::size_t bytes = 0;
  for (const auto& a : w.answers(all).list)
    if (const auto* e = std::get_if<wire::event_out>(&a)) bytes += e->fields.at("key").size();
  CHECK(bytes > 3u << 20);
  CHECK(bytes <= 4u << 20);
}

TEST_CASE("tags are changed at run time, and every node hears of it once") {
  watched_world w(3);
  const auto name = nodes::name(w.victim);
  const auto here = w.call(w.victim, wire::follow_events{}), there = w.call(w.other, wire::follow_events{});
  // A hello tells all that there is to tell of a member without tags.
  for (const auto events : {here, there}) REQUIRE(w.events(events, "member.updated").empty());
  const auto all_see = [&](const swim::tag_map& tags) {
    return w.run_until(
        [&] {
          for (std::size_t i = 0; i < w.size(); ++i)
            if (w.members(i).at(name).tags != tags) return false;
          return true;
        },
        2s);
  };
  REQUIRE(is<wire::done>(w.ask(w.victim, wire::set_tags{{{"zone", "b"}, {"rack", "7"}}, {}})));
  REQUIRE(all_see({{"zone", "b"}, {"rack", "7"}}));
  REQUIRE(is<wire::done>(w.ask(w.victim, wire::set_tags{{{"zone", "c"}}, {"rack", "none"}})));
  REQUIRE(all_see({{"zone", "c"}}));
  REQUIRE(is<wire::done>(w.ask(w.victim, wire::set_tags{{{"zone", "c"}}, {}})));  // nothing new
  w.run(2s);
  for (const auto events : {here, there}) {
    const auto said = w.events(events, "member.updated");
    REQUIRE(said.size() == 2);
    REQUIRE(said.back().fields.at("node") == name);
  }

  auto refused = w.ask(w.victim, wire::set_tags{{{"note", std::string(600, 'x')}}, {}});
  REQUIRE(refusal(refused) == errc::limit);
  REQUIRE_THAT(reason(refused), Contains("at most 512"));
  swim::tag_map many;
  for (int i = 0; i < 100; ++i) many[std::to_string(i)] = "x";
  refused = w.ask(w.victim, wire::set_tags{many, {}});
  REQUIRE(refusal(refused) == errc::limit);
  REQUIRE_THAT(reason(refused), Contains("use fewer tags"));
  REQUIRE(refusal(w.ask(w.victim, wire::set_tags{{{"", "x"}}, {}})) == errc::bad_argument);
  REQUIRE(all_see({{"zone", "c"}}));

  // They end with the process.
  w.restart(w.victim);
  REQUIRE(w.run_until_active());
  REQUIRE(all_see({}));
}

TEST_CASE("a zone that is set at run time moves votes") {
  report_world w(4);
  REQUIRE(w.run_until_active());
  w.run(15s);
  const auto leader = *w.leader();
  std::vector<std::size_t> voters;
  std::size_t standby = leader;
  for (std::size_t i = 0; i < w.size(); ++i) {
    if (i == leader) continue;
    const auto role = w.members(leader).at(nodes::name(i)).role;
    if (role == "voter") voters.push_back(i);
    if (role == "standby") standby = i;
  }
  REQUIRE(voters.size() == 2);
  REQUIRE(standby != leader);
  const auto put = [&](std::size_t i, const char* zone) {
    REQUIRE(is<wire::done>(w.ask(i, wire::set_tags{{{"zone", zone}}, {}})));
  };
  put(leader, "a");
  put(voters[0], "a");
  put(voters[1], "b");
  w.run(10s);
  REQUIRE(w.members(leader).at(nodes::name(standby)).role == "standby");
  put(standby, "c");
  REQUIRE(w.run_until([&] { return w.members(leader).at(nodes::name(standby)).role == "voter"; }));
  REQUIRE(w.members(leader).at(nodes::name(voters[0])).role != "voter");
  REQUIRE(w.members(leader).at(nodes::name(voters[1])).role == "voter");
}
