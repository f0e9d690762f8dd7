// The rules of one node, statement by statement: which evidence overrides which, and what is refuted.
#include <algorithm>

#include "unit/swim/membership_solo.hpp"

namespace coterie::swim::test {
namespace {

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

TEST_CASE("a verdict about a member that was heard since it was accused gives it time to refute", "[swim][evidence]") {
  solo s;
  s.hear(said(8, inc(1, 0)));
  s.hear(said(1, inc(1, 0)));
  s.hear(s.from(1, {}));
  s.pass(10ms);
  s.hear(said(1, inc(1, 0), suspect));
  s.pass(10ms);
  SECTION("heard before only: taken over at once") {
    s.hear(said(1, inc(1, 0), unreachable));
    CHECK(s.state(1) == unreachable);
  }
  SECTION("heard in a former life only: taken over at once") {
    s.hear(s.from(1, {}, 0));
    s.hear(said(1, inc(1, 0), unreachable));
    CHECK(s.state(1) == unreachable);
  }
  SECTION("heard since") {
    s.hear(s.from(1, {}));
    s.actions.clear();
    s.hear(said(1, inc(1, 0), unreachable));
    CHECK(s.state(1) == suspect);
    s.pass(300ms);
    // It is told of the verdict, and so are others.
    const auto told = s.sent_to(8);
    CHECK(std::any_of(told.begin(), told.end(), [](const datagram& d) {
      return std::any_of(d.statements.begin(), d.statements.end(),
                         [](const statement& x) { return x.info.id == id_of(1) && x.state == unreachable; });
    }));
    CHECK(s.state(1) == suspect);
    SECTION("it refutes") {
      s.hear(said(1, inc(1, 1)));
      CHECK(s.state(1) == alive);
      s.pass(1s);
      CHECK(std::ranges::count(s.kinds(), event_kind::unreachable) == 0);
    }
    SECTION("it does not") {
      s.pass(5s);
      CHECK(s.state(1) == unreachable);
    }
  }
}

TEST_CASE("who was just heard is not given up before its answer can come, and not for ever", "[swim][evidence]") {
  // With one other there is nobody to confirm: the time-out is the shortest.
  const auto shortest = [](const solo& s) {
    return s.opts.small_period * static_cast<int>(s.opts.suspicion_min_periods);
  };
  solo s;
  s.hear(s.from(1, {said(1, inc(1, 0))}));
  s.hear(s.from(1, {said(1, inc(1, 0), suspect)}));
  REQUIRE(s.state(1) == suspect);
  SECTION("silent: on time") {
    s.pass(shortest(s));
    CHECK(s.state(1) == unreachable);
  }
  SECTION("heard at the last moment: until its answer could have come") {
    s.pass(shortest(s) - 5ms);
    s.hear(s.from(1, {}));
    s.pass(s.opts.probe_timeout_min - 5ms);
    CHECK(s.state(1) == suspect);
    s.pass(5s);
    CHECK(s.state(1) == unreachable);
  }
  SECTION("heard again and again without a refutation: as long as an unconfirmed suspicion") {
    const duration longest = shortest(s) * static_cast<int>(s.opts.suspicion_max_factor);
    for (duration at{}; at < longest - 20ms; at += 10ms) {
      s.pass(10ms);
      s.hear(s.from(1, {}));
    }
    CHECK(s.state(1) == suspect);
    s.pass(s.opts.period);
    CHECK(s.state(1) == unreachable);
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
        case 0: {
          push_pull p{r.chance(0.5), d.from, number(), {}, d.statements, d.user};
          p.ranges.resize(r.chance(0.5) ? view_ranges : r.below(2));
          for (auto& x : p.ranges) x = number();
          s.m.on_push_pull(p, s.clock());
          break;
        }
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
