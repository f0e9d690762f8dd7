// What one node refuses, forgets and bounds: names and identities that are taken, strangers, user data, views.
#include <algorithm>

#include "unit/swim/membership_solo.hpp"

namespace coterie::swim::test {
namespace {

TEST_CASE("a newcomer with a living member's name is refused", "[swim][conflict]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  statement twin = said(2, inc(1, 0));
  twin.info.name = "n1";
  for (int i = 0; i < 3; ++i) s.m.on_peer_up(twin.info, twin.inc, s.clock());
  s.collect();
  CHECK_FALSE(s.m.find(id_of(2)));
  CHECK(*s.m.find_name("n1") == id_of(1));
  CHECK(s.m.stats().get("name_conflicts") == 3);
  REQUIRE(s.log.size() == 1);
  CHECK(s.log[0].find(id_of(1).short_str()) != std::string::npos);
  CHECK(s.log[0].find(id_of(2).short_str()) != std::string::npos);
  SECTION("until the first has left") {
    s.hear(said(1, inc(1, 1), left));
    s.hear(twin);
    CHECK(*s.m.find_name("n1") == id_of(2));
  }
  SECTION("also this node's own name") {
    statement mine = said(3, inc(1, 0));
    mine.info.name = "n0";
    s.hear(mine);
    CHECK_FALSE(s.m.find(id_of(3)));
  }
  SECTION("and a renamed member does not take it") {
    s.hear(said(4, inc(1, 0)));
    statement renamed = said(4, inc(2, 0));
    renamed.info.name = "n1";
    s.hear(renamed);
    CHECK(s.m.find(id_of(4))->info.name == "n4");
  }
}

TEST_CASE("an introduction without tags is completed by the member itself", "[swim][join]") {
  solo s;
  s.m.on_peer_up(info_of(1), inc(2, 0), s.clock());
  s.collect();
  CHECK(s.state(1) == alive);
  statement full = said(1, inc(2, 1));
  full.info.tags = {{"zone", "a"}};
  s.hear(full);
  CHECK(s.m.find(id_of(1))->info.tags.size() == 1);
  s.m.on_peer_up(info_of(1), inc(2, 0), s.clock());  // another stream
  s.collect();
  CHECK(s.m.find(id_of(1))->info.tags.size() == 1);
  CHECK(s.kinds() == std::vector{event_kind::joined, event_kind::updated});
}

TEST_CASE("one id at two addresses", "[swim][conflict]") {
  solo s;
  s.hear(said(1, inc(3, 2)));
  statement clone = said(1, inc(3, 2));
  clone.info.at.host = "10.6.6.6";
  s.hear(clone);
  s.hear(clone);
  CHECK(s.m.find(id_of(1))->info.at.host == "10.0.0.1");
  CHECK(s.m.stats().get("same_id_elsewhere") == 2);
  CHECK(s.log.size() == 1);
  clone.inc = inc(2, 9);
  s.hear(clone);
  CHECK(s.m.find(id_of(1))->info.at.host == "10.0.0.1");
  clone.inc = inc(4, 0);
  s.hear(clone);
  CHECK(s.m.find(id_of(1))->info.at.host == "10.6.6.6");
}

TEST_CASE("who is replaced at its place stays dead, and is let in when it lives", "[swim][conflict]") {
  solo s;
  const auto at_the_place_of_1 = [](std::size_t id, member_state state) {
    statement x = said(id, inc(1, 1));
    x.info.name = info_of(1).name;
    x.info.at = info_of(1).at;
    x.state = state;
    return x;
  };
  s.hear(said(1, inc(1, 1)));
  statement dead = at_the_place_of_1(1, member_state::unreachable);
  dead.accuser = id_of(3);
  s.hear(dead);
  s.pass(10s);
  REQUIRE(s.m.find(id_of(1))->state == member_state::unreachable);
  s.hear(at_the_place_of_1(5, member_state::alive));
  CHECK_FALSE(s.m.find(id_of(1)));
  CHECK(s.m.find(id_of(5)));
  s.hear(dead);
  CHECK_FALSE(s.m.find(id_of(1)));
  // The newcomer was the past: it is gone, and the other one says that it lives.
  s.hear(at_the_place_of_1(5, member_state::left));
  s.hear(said(1, inc(1, 1)));
  REQUIRE(s.m.find(id_of(1)));
  CHECK(s.m.find(id_of(1))->state == member_state::alive);
}

TEST_CASE("this node's own id from elsewhere is dropped and said once", "[swim][conflict]") {
  solo s;
  s.hear(s.from(0, {said(1, inc(1, 0))}));
  s.hear(s.from(0, {}));
  CHECK(s.m.stats().get("own_id_heard") == 2);
  CHECK(s.log.size() == 1);
  CHECK_FALSE(s.m.find(id_of(1)));
  statement clone = said(0, inc(5, 1));
  clone.info.at.host = "10.6.6.6";
  s.hear(clone);
  CHECK(s.m.self_incarnation() == inc(5, 1));
  CHECK(s.m.self().at.host == "10.0.0.0");
}

TEST_CASE("foreign clusters are counted and ignored", "[swim][isolation]") {
  solo s({.seeds = 77});
  const auto taken = [&](std::size_t i, const scope& of) {
    datagram d = s.from(i, {said(i, inc(1, 0))});
    d.of = of;
    const auto refused = s.m.stats().get("foreign_cluster");
    s.hear(d);
    CHECK(s.m.meets(of) == (s.m.find(id_of(i)) != nullptr));
    CHECK(s.m.stats().get("foreign_cluster") == refused + (s.m.meets(of) ? 0 : 1));
    return s.m.meets(of);
  };
  // Before it has an id, of its name, those with its seed list, whether they have one or not.
  CHECK_FALSE(taken(1, {"other", {}, 77}));
  CHECK_FALSE(taken(1, {"default", {}, 78}));
  CHECK_FALSE(taken(1, {"default", {1, 2}, 78}));
  CHECK(taken(1, {"default", {}, 77}));
  CHECK(taken(2, {"default", {1, 2}, 77}));
  // Then those with its id, whatever their list, and those with its list and no id.
  s.m.set_cluster_id({1, 2});
  CHECK_FALSE(taken(3, {"other", {1, 2}, 77}));
  CHECK_FALSE(taken(3, {"default", {3, 4}, 77}));
  CHECK_FALSE(taken(3, {"default", {}, 78}));
  CHECK(taken(3, {"default", {1, 2}, 78}));
  CHECK(taken(4, {"default", {}, 77}));
  // It says its own.
  for (const auto& d : s.sent_to(1)) CHECK(d.of.seeds == 77);
  s.actions.clear();
  s.pass(1s);
  REQUIRE_FALSE(s.sent_to(1).empty());
  CHECK(s.sent_to(1).back().of == scope{"default", {1, 2}, 77});
}

TEST_CASE("unusable statements are dropped and counted", "[swim][limits]") {
  solo s;
  std::vector<statement> bad(6, said(1, inc(1, 0)));
  bad[0].info.id = {};
  bad[1].info.name.clear();
  bad[2].info.at = {};
  bad[3].info.tags = {{"x", std::string(600, 'y')}};
  bad[4].info.name = std::string(300, 'n');
  bad[5].state = static_cast<member_state>(77);
  s.hear(s.from(8, bad));
  CHECK(s.m.stats().get("malformed") == bad.size());
  CHECK(s.m.members().size() == 1);
  datagram nobody = s.from(8, {});
  nobody.from = {};
  s.hear(nobody);
  CHECK(s.m.stats().get("malformed") == bad.size() + 1);
}

TEST_CASE("at max_members the gone make room, the living do not", "[swim][limits]") {
  options o;
  o.max_members = 4;
  solo s(o);
  s.hear(said(1, inc(1, 0)));
  s.hear(said(2, inc(1, 0)));
  s.hear(said(3, inc(1, 0)));
  s.hear(said(4, inc(1, 0)));
  CHECK(s.m.stats().get("members_full") == 1);
  CHECK_FALSE(s.m.find(id_of(4)));
  s.hear(said(2, inc(1, 1), left));
  s.hear(said(4, inc(1, 0)));
  CHECK(s.m.find(id_of(4)));
  CHECK_FALSE(s.m.find(id_of(2)));
  CHECK(s.m.members().size() == 4);
}

TEST_CASE("a forgotten member stays out until it says something new", "[swim][forget]") {
  solo s;
  s.hear(said(1, inc(1, 3), suspect));
  s.m.forget(id_of(1));
  CHECK_FALSE(s.m.find(id_of(1)));
  s.hear(said(1, inc(1, 3)));
  s.hear(said(1, inc(1, 9), unreachable));
  s.pass(10s);
  CHECK_FALSE(s.m.find(id_of(1)));
  CHECK(s.m.alive_count() == 1);
  s.hear(said(1, inc(1, 4)));
  CHECK(s.state(1) == alive);
  s.m.forget(id_of(0));
  CHECK(s.m.find(id_of(0)));
}

TEST_CASE("left members are forgotten in the end", "[swim][forget]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  s.hear(said(1, inc(1, 1), left));
  s.pass(23h);
  CHECK(s.state(1) == left);
  s.pass(2h);
  CHECK_FALSE(s.m.find(id_of(1)));
}

TEST_CASE("user data: the newest wins, bounded, nothing of strangers and of ourselves", "[swim][user]") {
  options o;
  o.max_user_data = 3;
  solo s(o);
  s.hear(said(1, inc(1, 0)));
  const auto datum = [](std::size_t origin, std::uint64_t epoch, std::string key, std::uint64_t version) {
    return user_datum{id_of(origin), boot_epoch(epoch), std::move(key), version, to_bytes("v")};
  };
  datagram d = s.from(8, {});
  d.user = {datum(1, 1, "a", 5), datum(1, 1, "a", 4), datum(1, 1, "a", 5), datum(2, 1, "a", 1), datum(0, 5, "a", 9)};
  s.hear(d);
  CHECK(s.user.size() == 1);
  CHECK(s.m.user_of(id_of(0)).empty());
  d.user = {datum(1, 2, "a", 1)};  // a new life counts anew
  s.hear(d);
  REQUIRE(s.m.user_of(id_of(1)).size() == 1);
  CHECK(s.m.user_of(id_of(1))[0].epoch == boot_epoch(2));
  d.user = {datum(1, 2, "b", 1), datum(1, 2, "c", 1), datum(1, 2, "d", 1), datum(1, 2, "b", 2)};
  s.hear(d);
  CHECK(s.m.stats().get("user_full") == 1);
  CHECK(s.m.user_of(id_of(1)).size() == 3);
  const auto full = s.m.set_user("k", to_bytes("v"), s.clock());
  REQUIRE_FALSE(full);
  CHECK(full.error().code == errc::limit);
  d.user = {datum(1, 2, "a", 2)};
  d.user[0].value = bytes(600);
  s.hear(d);
  CHECK(s.m.user_of(id_of(1))[0].version == 1);
}

TEST_CASE("push-pull: equal views exchange nothing, others what differs", "[swim][push-pull]") {
  solo s;
  for (std::size_t i = 1; i <= 4; ++i) s.hear(said(i, inc(1, 0)));
  s.actions.clear();
  push_pull q;
  q.from = id_of(1);
  q.statements = {said(1, inc(1, 0)), said(2, inc(1, 2)), said(3, inc(1, 0))};
  s.m.on_push_pull(q, s.clock());
  s.collect();
  const auto answer = [&]() -> push_pull {
    for (const auto& a : s.actions) {
      if (const auto* p = std::get_if<send_push_pull>(&a)) return p->what;
    }
    FAIL("no answer");
    return {};
  };
  auto a = answer();
  CHECK(a.answer);
  REQUIRE(a.statements.size() == 2);  // ourselves and 4
  CHECK(s.m.find(id_of(2))->inc == inc(1, 2));
  s.actions.clear();
  q.statements.clear();
  q.view_digest = a.view_digest;
  s.m.on_push_pull(q, s.clock());
  s.collect();
  a = answer();
  CHECK(a.statements.empty());
  CHECK(a.ranges.empty());
  s.actions.clear();
  q.view_digest = 1;  // a bare question by somebody who knows something else
  s.m.on_push_pull(q, s.clock());
  s.collect();
  a = answer();
  CHECK(a.statements.empty());
  REQUIRE(a.ranges.size() == view_ranges);
  s.actions.clear();
  q.ranges = a.ranges;
  const auto differs = range_of(id_of(4));
  ++q.ranges[differs];
  s.m.on_push_pull(q, s.clock());
  s.collect();
  a = answer();
  REQUIRE_FALSE(a.statements.empty());
  CHECK(a.statements.size() < 5);
  for (const auto& x : a.statements) CHECK(range_of(x.info.id) == differs);
  s.actions.clear();
  q.answer = true;
  s.m.on_push_pull(q, s.clock());  // never asked for
  q.answer = false;
  q.ranges.pop_back();
  s.m.on_push_pull(q, s.clock());
  s.collect();
  for (const auto& x : s.actions) CHECK_FALSE(std::holds_alternative<send_push_pull>(x));
  CHECK(s.m.stats().get("malformed") == 1);
}

TEST_CASE("push-pull: of large views that differ a little, little is sent, and then they are equal",
          "[swim][push-pull]") {
  constexpr std::size_t members = 500;
  solo a, b;
  membership other(info_of(1), boot_epoch(1), b.opts, size_of_statement, size_of_user, b.clock(), 8);
  for (std::size_t i = 0; i < members; ++i) {
    datagram d = a.from(2, {said(i, inc(1, i == 1 ? 1 : 0))});
    if (i > 0) a.hear(d);
    if (i != 1) other.on_datagram({"10.0.0.2", 7400}, d, b.clock());
  }
  // Each knows something that the other does not.
  a.hear(said(members, inc(1, 0)));
  a.hear(said(17, inc(2, 0)));
  other.on_datagram({"10.0.0.2", 7400}, a.from(2, {said(18, inc(2, 0)), said(0, inc(5, 1))}), b.clock());
  std::ignore = other.take();
  a.actions.clear();
  a.m.on_peer_up(info_of(1), inc(1, 0), a.clock());  // asks
  a.collect();
  std::size_t messages = 0, statements = 0;
  for (bool from_a = true;; from_a = !from_a) {
    std::vector<push_pull> said_now;
    if (from_a) {
      a.collect();
      for (const auto& x : std::exchange(a.actions, {}))
        if (const auto* p = std::get_if<send_push_pull>(&x)) said_now.push_back(p->what);
    } else {
      for (const auto& x : other.take().actions)
        if (const auto* p = std::get_if<send_push_pull>(&x)) said_now.push_back(p->what);
    }
    if (said_now.empty()) break;
    for (const auto& p : said_now) {
      ++messages;
      statements += p.statements.size();
      if (from_a)
        other.on_push_pull(p, a.clock());
      else
        a.m.on_push_pull(p, a.clock());
    }
  }
  CHECK(messages == 4);
  CHECK(statements > 0);
  CHECK(statements < members / 5);
  CHECK(a.m.find(id_of(18))->inc == inc(2, 0));
  REQUIRE(other.find(id_of(members)) != nullptr);
  CHECK(other.find(id_of(17))->inc == inc(2, 0));
}

TEST_CASE("members are sorted by name and tell since when", "[swim]") {
  solo s;
  s.hear(said(3, inc(1, 0)));
  s.pass(200ms);
  s.hear(said(2, inc(1, 0)));
  const auto all = s.m.members();
  REQUIRE(all.size() == 3);
  CHECK(all[0].info.name == "n0");
  CHECK(all[1].info.name == "n2");
  CHECK(all[2].info.name == "n3");
  CHECK(all[1].since - all[2].since == 200ms);
  CHECK(s.m.find_name("n2") == id_of(2));
  CHECK_FALSE(s.m.find_name("n7"));
}

}  // namespace
}  // namespace coterie::swim::test
