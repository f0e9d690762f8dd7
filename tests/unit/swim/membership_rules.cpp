// The rules of one node, statement by statement: which evidence overrides which, what is refuted, refused and bounded.
#include <algorithm>

#include "unit/swim/membership_catch.hpp"

namespace coterie::swim::test {
namespace {

using enum member_state;

member_info info_of(std::size_t i) {
  member_info m;
  m.id = id_of(i);
  m.name = "n" + std::to_string(i);
  m.at = {"10.0.0." + std::to_string(i), 7400};
  return m;
}

incarnation inc(std::uint64_t epoch, std::uint64_t counter) { return {boot_epoch(epoch), counter}; }

statement said(std::size_t i, incarnation n, member_state s = alive, std::size_t accuser = 9) {
  return {info_of(i), n, s, s == suspect || s == unreachable ? id_of(accuser) : node_id{}};
}

/// One node (number 0, epoch 5) that is told things.
struct solo {
  explicit solo(options o = {})
      : opts(o), m(info_of(0), boot_epoch(5), o, size_of_statement, size_of_user, clock(), 7) {}

  times clock() const {
    return {instant(100s + now), boot_instant(100s + now),
            wall_time(1'700'000'000s + duration_cast<std::chrono::milliseconds>(now))};
  }
  datagram from(std::size_t i, std::vector<statement> statements, std::uint64_t epoch = 1) const {
    datagram d;
    d.cluster = opts.cluster;
    d.from = id_of(i);
    d.epoch = boot_epoch(epoch);
    d.body = gossip_only{};
    d.statements = std::move(statements);
    return d;
  }
  /// Node 8 tells it by datagram.
  void hear(statement s) { hear(from(8, {std::move(s)})); }
  void hear(const datagram& d) {
    m.on_datagram({"10.0.0.8", 7400}, d, clock());
    collect();
  }
  void pass(duration d) {
    const duration end = now + d;
    while (m.next_wake() <= instant(100s + end)) {
      now = std::max(now, m.next_wake().time_since_epoch() - 100s);
      m.tick(clock());
      collect();
    }
    now = end;
  }
  void collect() {
    output o = m.take();
    for (auto& e : o.events) events.push_back(std::move(e));
    for (auto& a : o.actions) actions.push_back(std::move(a));
    for (auto& l : o.log) log.push_back(std::move(l.text));
    for (auto& u : o.user) user.push_back(std::move(u));
  }
  std::vector<event_kind> kinds() const {
    std::vector<event_kind> k;
    for (const auto& e : events) k.push_back(e.kind);
    return k;
  }
  member_state state(std::size_t i) const {
    const member* x = m.find(id_of(i));
    REQUIRE(x);
    return x->state;
  }
  bool sent_about_self(incarnation at_least, member_state s) const {
    for (const auto& a : actions) {
      const auto* d = std::get_if<send_datagram>(&a);
      if (!d) continue;
      for (const auto& x : d->what.statements) {
        if (x.info.id == id_of(0) && x.inc >= at_least && x.state == s) return true;
      }
    }
    return false;
  }
  std::vector<datagram> sent_to(std::size_t i) const {
    std::vector<datagram> out;
    for (const auto& a : actions) {
      const auto* d = std::get_if<send_datagram>(&a);
      if (d && d->to == info_of(i).at) out.push_back(d->what);
    }
    return out;
  }

  options opts;
  duration now{};
  membership m;
  std::vector<event> events;
  std::vector<action> actions;
  std::vector<std::string> log;
  std::vector<user_datum> user;
};

TEST_CASE("the evidence rule", "[swim][evidence]") {
  struct row {
    incarnation known;
    member_state known_state;
    incarnation told;
    member_state told_state;
    member_state becomes;
    bool takes;  ///< the told incarnation
  };
  const row table[] = {
      // equal incarnation: the stronger state
      {inc(1, 3), alive, inc(1, 3), suspect, suspect, true},
      {inc(1, 3), alive, inc(1, 3), stopping, stopping, true},
      {inc(1, 3), alive, inc(1, 3), left, left, true},
      {inc(1, 3), suspect, inc(1, 3), alive, suspect, true},
      {inc(1, 3), suspect, inc(1, 3), unreachable, unreachable, true},
      {inc(1, 3), stopping, inc(1, 3), suspect, stopping, true},
      {inc(1, 3), stopping, inc(1, 3), unreachable, unreachable, true},
      {inc(1, 3), unreachable, inc(1, 3), alive, unreachable, true},
      {inc(1, 3), unreachable, inc(1, 3), suspect, unreachable, true},
      {inc(1, 3), unreachable, inc(1, 3), stopping, unreachable, true},
      {inc(1, 3), unreachable, inc(1, 3), left, left, true},
      {inc(1, 3), left, inc(1, 3), unreachable, left, true},
      // lower: nothing
      {inc(1, 3), alive, inc(1, 2), suspect, alive, false},
      {inc(1, 3), alive, inc(1, 2), left, alive, false},
      {inc(1, 3), unreachable, inc(1, 2), alive, unreachable, false},
      {inc(2, 0), alive, inc(1, 999), unreachable, alive, false},
      {inc(2, 0), unreachable, inc(1, 999), alive, unreachable, false},
      // higher: whatever it says
      {inc(1, 3), suspect, inc(1, 4), alive, alive, true},
      {inc(1, 3), unreachable, inc(1, 4), alive, alive, true},
      {inc(1, 3), unreachable, inc(2, 0), alive, alive, true},
      {inc(1, 3), unreachable, inc(1, 4), suspect, suspect, true},
      {inc(1, 3), alive, inc(1, 4), left, left, true},
      {inc(1, 3), stopping, inc(2, 0), alive, alive, true},
      // who left stays out until its next life says that it is alive
      {inc(1, 3), left, inc(1, 4), alive, left, false},
      {inc(1, 3), left, inc(1, 9), suspect, left, false},
      {inc(1, 3), left, inc(2, 0), unreachable, left, false},
      {inc(1, 3), left, inc(2, 0), alive, alive, true},
      // absurd: dropped
      {inc(1, 3), alive, inc(1, 3 + (1ull << 33)), unreachable, alive, false},
      {inc(1, 3), alive, inc(1ull << 40, 0), left, alive, false},
      {inc(1, 3), alive, inc(1, ~0ull), suspect, alive, false},
  };
  std::size_t n = 0;
  for (const auto& r : table) {
    INFO("row " << n++);
    solo s;
    s.hear(said(1, inc(r.known.epoch.value, r.known.counter)));
    if (r.known_state == unreachable) s.hear(said(1, r.known, suspect));
    if (r.known_state != alive) s.hear(said(1, r.known, r.known_state));
    REQUIRE(s.state(1) == r.known_state);
    s.hear(said(1, r.told, r.told_state));
    CHECK(s.state(1) == r.becomes);
    CHECK(s.m.find(id_of(1))->inc == (r.takes ? r.told : r.known));
  }
}

TEST_CASE("the outcome does not depend on the order of statements", "[swim][evidence]") {
  std::vector<statement> all = {
      said(1, inc(1, 0)), said(1, inc(1, 0), suspect), said(1, inc(1, 1)),           said(1, inc(1, 1), suspect),
      said(1, inc(1, 2)), said(1, inc(1, 2), suspect), said(1, inc(1, 2), stopping), said(1, inc(1, 0), unreachable)};
  rng r(3);
  for (int i = 0; i < 200; ++i) {
    r.shuffle(all);
    solo s;
    for (const auto& x : all) s.hear(x);
    CHECK(s.state(1) == stopping);
    CHECK(s.m.find(id_of(1))->inc == inc(1, 2));
  }
}

TEST_CASE("a verdict about a member that nobody accused gives it time to refute", "[swim][evidence]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  s.hear(said(1, inc(1, 0), unreachable));
  CHECK(s.state(1) == suspect);
  s.hear(said(1, inc(1, 0), unreachable, 7));  // saying it twice makes it no truer
  CHECK(s.state(1) == suspect);
  SECTION("it refutes") {
    s.hear(said(1, inc(1, 1)));
    CHECK(s.state(1) == alive);
    s.pass(10s);
    auto kinds = s.kinds();
    kinds.resize(3);
    CHECK(kinds == std::vector{event_kind::joined, event_kind::suspect, event_kind::alive_again});
  }
  SECTION("it does not") {
    s.pass(3s);
    CHECK(s.state(1) == unreachable);
    CHECK(s.kinds() == std::vector{event_kind::joined, event_kind::suspect, event_kind::unreachable});
  }
}

TEST_CASE("events come once each", "[swim][events]") {
  solo s;
  for (int twice = 0; twice < 2; ++twice) {
    s.hear(said(1, inc(1, 0)));
    s.hear(said(1, inc(1, 0), suspect, 2));
    s.hear(said(1, inc(1, 0), suspect, 3));
    s.hear(said(1, inc(1, 0), unreachable, 3));
    s.hear(said(1, inc(1, 0), unreachable, 2));
    s.hear(said(1, inc(1, 1)));
    s.hear(said(1, inc(1, 2), left));
  }
  CHECK(s.kinds() == std::vector{event_kind::joined, event_kind::suspect, event_kind::unreachable,
                                 event_kind::alive_again, event_kind::left});
  CHECK(s.events[2].evidence.find("accused by") != std::string::npos);
}

TEST_CASE("the end of somebody never seen is no event", "[swim][events]") {
  solo s;
  s.hear(said(1, inc(1, 0), left));
  s.hear(said(2, inc(1, 0), unreachable));
  CHECK(s.events.empty());
  CHECK(s.state(1) == left);
  CHECK(s.state(2) == unreachable);
  s.hear(said(1, inc(1, 0)));  // and a stale alive does not resurrect it
  CHECK(s.state(1) == left);
  s.hear(said(2, inc(1, 1)));
  CHECK(s.kinds() == std::vector{event_kind::joined});
}

TEST_CASE("what is wrongly said of this node is refuted above it", "[swim][refutation]") {
  struct row {
    incarnation told;
    member_state state;
    bool refuted;
    std::uint64_t counter;  ///< afterwards
  };
  const row table[] = {
      {inc(5, 1), suspect, true, 2},
      {inc(5, 1), unreachable, true, 2},
      {inc(5, 1), left, true, 2},
      {inc(5, 1), stopping, true, 2},
      {inc(5, 7), suspect, true, 8},
      {inc(5, 7), alive, true, 8},
      {inc(5, (1ull << 32) + 1), left, true, (1ull << 32) + 2},
      {inc(5, (1ull << 32) + 2), left, false, 1},
      {inc(5, ~0ull), unreachable, false, 1},
      {inc(6, 0), unreachable, false, 1},
      {inc(~0ull, ~0ull), alive, false, 1},
      {inc(4, 99), unreachable, true, 1},
      {inc(5, 0), unreachable, true, 1},
      {inc(5, 1), alive, false, 1},
  };
  std::size_t n = 0;
  for (const auto& r : table) {
    INFO("row " << n++);
    solo s;
    s.hear(said(8, inc(1, 0)));
    s.pass(1ms);
    s.actions.clear();
    s.hear(said(0, r.told, r.state));
    CHECK(s.m.self_incarnation() == inc(5, r.counter));
    bool answered = false;  // the accuser hears of it at once
    for (const auto& d : s.sent_to(8)) {
      for (const auto& x : d.statements) answered |= x.info.id == id_of(0) && x.state == alive && x.inc > r.told;
    }
    CHECK(answered == r.refuted);
    const bool absurd = r.told.epoch > boot_epoch(5) || r.told.counter > (1ull << 32) + 1;
    CHECK(s.m.stats().get("absurd_incarnations") == (absurd ? 1 : 0));
    CHECK(s.state(0) == alive);
  }
}

TEST_CASE("what this node said itself is not refuted", "[swim][refutation]") {
  solo s;
  s.hear(said(8, inc(1, 0)));
  s.m.say_stopping(s.clock());
  s.collect();
  CHECK(s.sent_about_self(inc(5, 2), stopping));
  s.hear(said(0, inc(5, 2), unreachable));
  CHECK(s.m.self_incarnation() == inc(5, 2));
  CHECK(s.state(0) == stopping);
  s.m.say_left(s.clock());
  s.collect();
  CHECK(s.sent_about_self(inc(5, 3), left));
  s.hear(said(0, inc(5, 1), suspect));
  CHECK(s.state(0) == left);
  CHECK(s.m.self_incarnation() == inc(5, 3));
}

TEST_CASE("a refutation raises the doubt in this node's own health", "[swim][health]") {
  solo s;
  s.hear(said(8, inc(1, 0)));
  for (std::uint64_t i = 0; i < 20; ++i) {
    s.hear(said(0, s.m.self_incarnation(), suspect));
    CHECK(s.m.self_incarnation().counter == i + 2);
  }
  CHECK(s.m.local_health() == s.opts.max_health);
}

TEST_CASE("a ping to an accused member carries the accusation first", "[swim][buddy]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  s.pass(1600ms);
  REQUIRE(s.state(1) == suspect);  // nobody answers here
  s.actions.clear();
  s.pass(700ms);
  bool pinged = false;
  for (const auto& d : s.sent_to(1)) {
    if (!std::holds_alternative<ping>(d.body)) continue;
    pinged = true;
    REQUIRE_FALSE(d.statements.empty());
    CHECK(d.statements[0].info.id == id_of(1));
    CHECK(d.statements[0].state == suspect);
  }
  CHECK(pinged);
}

TEST_CASE("pings are answered where they come from, others' are not", "[swim][probe]") {
  solo s;
  datagram d = s.from(1, {});
  d.body = ping{77, id_of(0)};
  s.m.on_datagram({"192.0.2.9", 99}, d, s.clock());
  s.collect();
  REQUIRE(s.actions.size() == 1);
  const auto& a = std::get<send_datagram>(s.actions[0]);
  CHECK(a.to == address{"192.0.2.9", 99});
  CHECK(std::get<ack>(a.what.body).probe == 77);
  d.body = ping{78, id_of(3)};
  s.hear(d);
  CHECK(s.actions.size() == 1);
  CHECK(s.m.stats().get("ping_for_another") == 1);
}

TEST_CASE("a helper asks on, and says in time that there is no answer", "[swim][probe]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  s.hear(said(2, inc(1, 0)));
  s.actions.clear();
  datagram d = s.from(1, {});
  d.body = ping_request{1003, id_of(2), info_of(2).at};
  s.m.on_datagram(info_of(1).at, d, s.clock());
  s.collect();
  REQUIRE(s.sent_to(2).size() == 1);
  const auto number = std::get<ping>(s.sent_to(2)[0].body).probe;
  const auto answers = [&](auto which) {
    using T = decltype(which);
    std::size_t n = 0;
    for (const auto& x : s.sent_to(1))
      n += std::holds_alternative<T>(x.body) && std::get<T>(x.body).probe == 1003 ? 1 : 0;
    return n;
  };
  SECTION("answered") {
    datagram back = s.from(2, {});
    back.body = ack{number};
    s.hear(back);
    s.hear(back);  // a duplicate is not passed on
    CHECK(answers(indirect_ack{}) == 1);
    s.pass(3s);
    CHECK(answers(indirect_nack{}) == 0);
  }
  SECTION("silent") {
    s.pass(600ms);
    CHECK(answers(indirect_nack{}) == 1);
    CHECK(answers(indirect_ack{}) == 0);
    s.pass(20s);
    CHECK(answers(indirect_nack{}) == 1);
  }
}

TEST_CASE("strangers get no probes made for them, and members a limited number", "[swim][limits]") {
  options o;
  o.max_relays = 5;
  solo s(o);
  datagram d = s.from(1, {});
  d.body = ping_request{1003, id_of(2), info_of(2).at};
  s.hear(d);
  CHECK(s.sent_to(2).empty());
  s.hear(said(1, inc(1, 0)));
  for (int i = 0; i < 50; ++i) s.hear(d);
  CHECK(s.sent_to(2).size() == 5);
  CHECK(s.m.stats().get("relays_full") == 45);
}

TEST_CASE("crash evidence from one node leads to suspicion, never straight to a verdict", "[swim][evidence]") {
  for (std::size_t others : {1u, 3u}) {
    solo s;
    for (std::size_t i = 1; i <= others; ++i) s.hear(said(i, inc(1, 0)));
    s.m.on_refused(id_of(1), s.clock());
    s.collect();
    CHECK(s.state(1) == alive);
    const bool asked_stream = std::any_of(s.actions.begin(), s.actions.end(),
                                          [](const action& a) { return std::holds_alternative<send_stream_ping>(a); });
    CHECK(asked_stream);
    std::optional<duration> suspected, gone;
    for (duration t{}; t < 5s && !gone; t += 10ms) {
      s.pass(10ms);
      s.m.on_refused(id_of(1), s.clock());  // said again and again it counts once
      s.collect();
      if (s.state(1) == suspect && !suspected) suspected = t;
      if (s.state(1) == unreachable) gone = t;
    }
    REQUIRE(suspected);
    REQUIRE(gone);
    CHECK(*gone - *suspected >= 400ms);
    CHECK(s.m.stats().get("crash_evidence") == 1);
    CHECK(s.events.back().evidence.find("refuses") != std::string::npos);
  }
}

TEST_CASE("an answer after crash evidence clears it", "[swim][evidence]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  s.actions.clear();
  s.m.on_refused(id_of(1), s.clock());
  s.collect();
  const auto pings = s.sent_to(1);
  REQUIRE_FALSE(pings.empty());
  datagram back = s.from(1, {});
  back.body = ack{std::get<ping>(pings[0].body).probe};
  s.hear(back);
  s.pass(200ms);
  CHECK(s.state(1) == alive);
}

TEST_CASE("an ack counts once, from the right member, for an open probe", "[swim][probe]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  s.hear(said(2, inc(1, 0)));
  s.actions.clear();
  s.m.on_refused(id_of(1), s.clock());
  s.collect();
  const auto number = std::get<ping>(s.sent_to(1).at(0).body).probe;
  datagram wrong = s.from(2, {});
  wrong.body = ack{number};
  s.hear(wrong);
  wrong.body = indirect_ack{number + 400, id_of(1)};
  s.hear(wrong);
  s.m.on_stream_ack({number + 400, id_of(1)}, s.clock());
  s.pass(900ms);
  CHECK(s.state(1) == suspect);
}

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
  solo s;
  s.m.set_cluster_id({1, 2});
  datagram d = s.from(1, {said(1, inc(1, 0))});
  d.cluster = "other";
  s.hear(d);
  d.cluster = s.opts.cluster;
  d.id = {3, 4};
  s.hear(d);
  CHECK(s.m.stats().get("foreign_cluster") == 2);
  CHECK(s.m.members().size() == 1);
  d.id = {};  // zero matches any
  s.hear(d);
  CHECK(s.m.members().size() == 2);
}

TEST_CASE("a former life's datagrams are dropped, a new life's are answered with what we hold", "[swim][evidence]") {
  solo s;
  s.hear(said(1, inc(3, 0)));
  s.actions.clear();
  datagram d = s.from(1, {}, 2);
  d.body = ping{5, id_of(0)};
  s.hear(d);
  CHECK(s.m.stats().get("former_life") == 1);
  CHECK(s.sent_to(8).empty());
  d.epoch = boot_epoch(4);
  s.hear(d);
  REQUIRE(s.sent_to(8).size() == 1);
  REQUIRE_FALSE(s.sent_to(8)[0].statements.empty());
  CHECK(s.sent_to(8)[0].statements[0].info.id == id_of(1));
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
  s.actions.clear();
  q.view_digest = 1;  // a bare question by somebody who knows something else
  s.m.on_push_pull(q, s.clock());
  s.collect();
  CHECK(answer().statements.size() == 5);
  s.actions.clear();
  q.answer = true;
  s.m.on_push_pull(q, s.clock());  // never asked for
  s.collect();
  for (const auto& x : s.actions) CHECK_FALSE(std::holds_alternative<send_push_pull>(x));
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

TEST_CASE("a host that was suspended accuses nobody either", "[swim][pause]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  times t = s.clock();
  t.boot += 20s;  // steady time stood still meanwhile
  s.m.tick(t);
  s.collect();
  CHECK(s.m.stats().get("pauses") == 1);
  CHECK(s.m.local_health() > 0);
}

TEST_CASE("a wake that is later than a probe waits is poor health, once a period", "[swim][health]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  s.pass(10ms);
  const auto late = [&](duration by) {
    s.now = s.m.next_wake().time_since_epoch() - 100s + by;
    s.m.tick(s.clock());
    s.collect();
  };
  late(30ms);
  CHECK(s.m.local_health() == 0);
  late(240ms);  // nothing was measured yet: a quarter of a period is waited
  CHECK(s.m.local_health() == 0);
  late(260ms);
  CHECK(s.m.local_health() == 1);
  late(260ms);
  const auto after_two = s.m.local_health();
  CHECK(after_two >= 1);
  CHECK(s.m.stats().get("late_wakes") == 2);
  CHECK(s.m.stats().get("pauses") == 0);
}

TEST_CASE("dropped datagrams are poor health, once a period", "[swim][health]") {
  solo s;
  s.hear(said(1, inc(1, 0)));
  for (int i = 0; i < 10; ++i) s.m.on_dropped(100, s.clock());
  CHECK(s.m.local_health() == 1);
  CHECK(s.m.stats().get("socket_drops") == 1'000);
  for (int i = 0; i < 100; ++i) {
    s.now += 20ms;
    s.m.on_dropped(1, s.clock());
  }
  CHECK(s.m.local_health() > 1);
  CHECK(s.m.local_health() <= options{}.max_health);
}

TEST_CASE("any input is survived and bounded", "[swim][total]") {
  options o;
  o.max_members = 12;
  o.max_user_data = 10;
  o.max_queued = 20;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    solo s(o);
    rng r(seed);
    const std::uint64_t numbers[] = {0, 1, 2, 3, 4, 5, 8, 12, ~0ull, 1ull << 33};
    const auto number = [&] { return numbers[r.below(10)]; };
    const auto any_id = [&] { return r.chance(0.1) ? node_id{} : id_of(r.below(20)); };
    const auto any_said = [&] {
      statement x = said(r.below(20), inc(number(), number()), static_cast<member_state>(r.below(7)), r.below(20));
      if (r.chance(0.1)) x.info.name = "n" + std::to_string(r.below(20));
      if (r.chance(0.1)) x.info.at.host = "";
      if (r.chance(0.1)) x.info.tags = {{"t", std::string(r.below(600), 'x')}};
      if (r.chance(0.1)) x.accuser = {};
      return x;
    };
    for (int step = 0; step < 1500; ++step) {
      datagram d = s.from(r.below(20), {}, number());
      if (r.chance(0.05)) d.from = any_id();
      d.view_digest = number();
      switch (r.below(6)) {
        case 0:
          d.body = ping{number(), any_id()};
          break;
        case 1:
          d.body = ack{number()};
          break;
        case 2:
          d.body = ping_request{number(), any_id(), {"h", 1}};
          break;
        case 3:
          d.body = indirect_ack{number(), any_id()};
          break;
        case 4:
          d.body = indirect_nack{number(), any_id()};
          break;
        default:
          break;
      }
      for (std::size_t i = r.below(4); i > 0; --i) d.statements.push_back(any_said());
      for (std::size_t i = r.below(2); i > 0; --i) {
        d.user.push_back({any_id(), boot_epoch(number()), std::string(r.below(4), 'k'), number(), bytes(r.below(500))});
      }
      switch (r.below(8)) {
        case 0:
          s.m.on_push_pull({r.chance(0.5), d.from, number(), d.statements, d.user}, s.clock());
          break;
        case 1:
          s.m.on_refused(any_id(), s.clock());
          break;
        case 2:
          s.m.on_stream_ack({number(), any_id()}, s.clock());
          break;
        case 3:
          s.m.on_peer_up(any_said().info, inc(number(), number()), s.clock());
          break;
        case 4:
          s.m.on_stream_ping(any_id(), {number(), any_id()}, s.clock());
          break;
        default:
          s.m.on_datagram({"h", 1}, d, s.clock());
          break;
      }
      if (r.chance(0.01)) s.m.forget(any_id());
      s.pass(r.between({}, r.chance(0.02) ? 20s : 100ms));
      REQUIRE(s.m.members().size() <= 12);
      REQUIRE(s.m.self_incarnation().epoch == boot_epoch(5));
      REQUIRE(s.actions.size() < 1000);
      for (const auto& a : s.actions) {
        if (const auto* x = std::get_if<send_datagram>(&a)) REQUIRE(size_of(x->what) <= o.max_datagram);
      }
      s.actions.clear();
      s.events.clear();
    }
    std::size_t living = 0;
    for (const auto& m : s.m.members()) living += m.state <= suspect ? 1 : 0;
    CHECK(living == s.m.alive_count());
  }
}

}  // namespace
}  // namespace coterie::swim::test
