// The failure detector of one node: what it answers, asks and believes of an answer, and when it doubts itself.
#include <algorithm>

#include "unit/swim/membership_solo.hpp"

namespace coterie::swim::test {
namespace {

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

TEST_CASE("poor health stretches the period of probes and their time-out alike", "[swim][health]") {
  struct paces {
    std::ptrdiff_t probes;  ///< in 20 s, all answered
    duration timeout;       ///< of one that is not
  };
  const auto measure = [](std::size_t others, bool sick) {
    solo s;
    for (std::size_t i = 1; i <= others; ++i) s.hear(said(i, inc(1, 0)));
    const auto accused = [&] {
      if (sick) s.hear(said(0, s.m.self_incarnation(), suspect));
    };
    for (unsigned i = 0; i < s.opts.max_health; ++i) accused();
    const auto pings = [&](bool answered) {
      std::ptrdiff_t n = 0;
      for (const auto& a : std::exchange(s.actions, {})) {
        const auto* d = std::get_if<send_datagram>(&a);
        const auto* p = d ? std::get_if<ping>(&d->what.body) : nullptr;
        if (!p) continue;
        ++n;
        if (!answered) continue;
        for (std::size_t i = 1; i <= others; ++i) {
          if (p->target != id_of(i)) continue;
          auto reply = s.from(i, {});
          reply.body = ack{p->probe};
          s.hear(reply);
        }
      }
      return n;
    };
    paces r{0, {}};
    for (duration at{}; at < 20s; at += 50ms) {
      accused();
      s.pass(50ms);
      r.probes += pings(true);
    }
    while (pings(true) == 0) s.pass(1ms);
    while (pings(false) == 0) s.pass(1ms);
    const auto widened = [&] { return s.m.stats().get("indirect_probes"); };
    for (const auto before = widened(); widened() == before; r.timeout += 1ms) s.pass(1ms);
    return r;
  };
  for (const std::size_t others : {3u, 12u}) {
    const auto well = measure(others, false), sick = measure(others, true);
    CAPTURE(others, well.probes, sick.probes, well.timeout.count(), sick.timeout.count());
    CHECK(well.probes >= (others == 3 ? 200 : 19));
    CHECK(sick.probes * 6 <= well.probes);
    CHECK(sick.probes > 0);
    CHECK(sick.timeout >= 7 * well.timeout);
  }
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

}  // namespace
}  // namespace coterie::swim::test
