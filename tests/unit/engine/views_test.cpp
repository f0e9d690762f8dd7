// Which members a view calls failed or back, and when it is proposed.
#include "catch.hpp"

#include "engine/views.hpp"

using namespace coterie;
using namespace coterie::engine;
using swim::member_state;

namespace {

node_id n(std::uint64_t i) { return {1, i}; }

/// A leader that looks every 100 ms.
struct looking {
  view_cut cut{view_rules{}};
  instant now{};
  std::vector<sighting> members;

  explicit looking(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) members.push_back({n(i), false, false, member_state::alive});
  }
  /// Time passes until there is a change to propose; how long that took.
  std::optional<machine::change_view> next(duration limit = 10s) {
    const auto from = now;
    for (; now < from + limit; now += 100ms)
      if (auto change = cut.next(members, now)) {
        took = now - from;
        return change;
      }
    return std::nullopt;
  }
  void apply(const machine::change_view& c) {
    for (auto& m : members)
      for (const auto& [list, failed] : {std::pair(&c.failed, true), std::pair(&c.back, false)})
        if (std::ranges::find(*list, m.id) != list->end()) m.failed = failed;
  }
  void tell(swim::event_kind kind, member_state state, std::uint64_t who, std::uint64_t accuser) {
    swim::event e{kind, {}, "", n(accuser)};
    e.who.info.id = n(who);
    e.who.state = state;
    cut.on_event(e, now);
  }
  void suspect(std::uint64_t who, std::uint64_t by) { tell(swim::event_kind::suspect, member_state::suspect, who, by); }
  duration took{};
};

}  // namespace

TEST_CASE("nothing is proposed while gossip and the view agree") {
  looking w(3);
  CHECK_FALSE(w.next());
  w.members[1].seen = member_state::unreachable;
  w.members[1].failed = true;
  w.members[2].seen.reset();  // never met: that says nothing
  CHECK_FALSE(w.next());
}

TEST_CASE("an unreachable member fails once the verdicts have settled, and comes back likewise") {
  looking w(3);
  w.members[1].seen = member_state::unreachable;
  auto change = w.next();
  REQUIRE(change);
  CHECK(change->failed == std::vector{n(1)});
  CHECK(change->back.empty());
  CHECK(w.took == view_rules{}.settled_after);
  CHECK(w.next(1ms));  // not applied yet: again
  w.apply(*change);
  CHECK_FALSE(w.next());
  w.members[1].seen = member_state::alive;
  change = w.next();
  REQUIRE(change);
  CHECK(change->back == std::vector{n(1)});
  CHECK(change->failed.empty());
}

TEST_CASE("who stopped in order has not failed") {
  looking w(3);
  w.members[1].seen = member_state::unreachable;
  w.members[1].stopped = true;
  CHECK_FALSE(w.next());
}

TEST_CASE("failures that are seen one after the other make one view") {
  looking w(12);
  for (std::size_t i = 1; i <= 10; ++i) {
    w.members[i].seen = member_state::unreachable;
    CHECK_FALSE(w.next(200ms));
  }
  auto change = w.next();
  REQUIRE(change);
  CHECK(change->failed.size() == 10);
}

TEST_CASE("a member in doubt is waited for, but not for ever") {
  looking w(3);
  w.members[1].seen = member_state::unreachable;
  w.members[2].seen = member_state::suspect;
  CHECK_FALSE(w.next(2s));
  w.members[2].seen = member_state::alive;
  REQUIRE(w.next(100ms));
  looking v(3);
  v.members[1].seen = member_state::unreachable;
  v.members[2].seen = member_state::suspect;
  const auto change = v.next();
  REQUIRE(change);
  CHECK(change->failed == std::vector{n(1)});
  CHECK(v.took == view_rules{}.longest);
}

TEST_CASE("a member that is suspected again and again by several has failed, until it is left in peace") {
  looking w(4);
  const auto suspect = [&](std::uint64_t who, std::uint64_t by) {
    w.suspect(who, by);
    CHECK_FALSE(w.next(5s));
  };
  suspect(1, 2);
  suspect(1, 3);
  w.suspect(1, 2);
  auto change = w.next();
  REQUIRE(change);
  CHECK(change->failed == std::vector{n(1)});
  w.apply(*change);
  CHECK_FALSE(w.next(15s));
  w.suspect(1, 3);  // once more, though that alone would not be enough
  CHECK_FALSE(w.next(view_rules{}.memory - 1s));
  change = w.next();
  REQUIRE(change);
  CHECK(change->back == std::vector{n(1)});
}

TEST_CASE("one accuser alone, or suspicions that are far apart, prove nothing") {
  looking w(4);
  for (int i = 0; i < 10; ++i) {
    w.suspect(1, 2);
    w.suspect(2, 1);
    CHECK_FALSE(w.next(1s));
  }
  w.now += 1min;
  for (const std::uint64_t by : {1, 2, 3, 1, 2, 3}) {
    w.suspect(3, by);
    CHECK_FALSE(w.next(view_rules{}.memory * 3 / 5));
  }
}

TEST_CASE("a member whose pings many miss has failed, until that is over") {
  const view_rules rules{};
  const auto many = static_cast<std::uint64_t>(rules.missed_by);
  looking w(3);
  for (std::uint64_t by = 100; by < 99 + many; ++by) {
    w.cut.on_unanswered(n(by), n(1), w.now);
    w.cut.on_unanswered(n(by), n(1), w.now);
    w.cut.on_unanswered(n(100), n(2), w.now);
  }
  CHECK_FALSE(w.next(5s));
  w.cut.on_unanswered(n(200), n(1), w.now);
  w.suspect(1, 2);
  w.suspect(2, 1);
  auto change = w.next();
  REQUIRE(change);
  CHECK(change->failed == std::vector{n(1)});
  w.apply(*change);
  CHECK_FALSE(w.next(rules.memory - 4s));  // longer than the pings count, for the suspicion
  change = w.next();
  REQUIRE(change);
  CHECK(change->back == std::vector{n(1)});
}

TEST_CASE("where all lose many pings a member has failed that loses many more") {
  const view_rules rules{};
  looking w(5);
  const auto usual = static_cast<std::uint64_t>(rules.missed_by / rules.missed_factor + 2);
  const auto miss = [&](std::uint64_t whom, std::uint64_t from, std::uint64_t count) {
    for (std::uint64_t by = from; by < from + count; ++by) w.cut.on_unanswered(n(by), n(whom), w.now);
  };
  for (const std::uint64_t whom : {1, 2, 3, 4, 5}) miss(whom, 100, usual);
  miss(1, 200, rules.missed_factor * usual - usual - 1);
  CHECK_FALSE(w.next(5s));
  miss(1, 300, 1);
  const auto change = w.next();
  REQUIRE(change);
  CHECK(change->failed == std::vector{n(1)});
}

TEST_CASE("pings that were missed one after the other, or before it joined, prove nothing") {
  looking w(3);
  for (std::uint64_t by = 100; by < 200; ++by) {
    w.cut.on_unanswered(n(by), n(1), w.now);
    w.suspect(1, 2);
    CHECK_FALSE(w.next(by % 2 == 0 ? 1s : 5s));
    if (by % 10 == 0) w.tell(swim::event_kind::joined, member_state::alive, 1, 0);
  }
}

TEST_CASE("what was suspected before a verdict or a restart is forgotten") {
  looking w(4);
  for (const std::uint64_t by : {2, 3, 2}) w.suspect(1, by);
  w.tell(swim::event_kind::unreachable, member_state::unreachable, 1, 3);
  CHECK_FALSE(w.next());
  w.members[1].seen = member_state::unreachable;
  auto change = w.next();
  REQUIRE(change);
  w.apply(*change);
  w.members[1].seen = member_state::alive;
  REQUIRE(w.next(1s));
}

TEST_CASE("a new leader gathers anew") {
  looking w(3);
  w.members[1].seen = member_state::unreachable;
  CHECK_FALSE(w.next(300ms));
  w.now += 1min;  // somebody else led
  w.cut.start_over();
  REQUIRE(w.next());
  CHECK(w.took == view_rules{}.settled_after);
}

TEST_CASE("a verdict that is taken back in time changes nothing") {
  looking w(3);
  w.members[1].seen = member_state::unreachable;
  CHECK_FALSE(w.next(300ms));
  w.members[1].seen = member_state::alive;
  CHECK_FALSE(w.next());
  w.members[2].seen = member_state::unreachable;  // it has its own time to settle
  CHECK_FALSE(w.next(300ms));
}
