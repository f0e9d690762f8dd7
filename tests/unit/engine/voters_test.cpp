// Which members vote (docs/consensus.md 1.4), rule by rule, and that no sequence of choices ever loses a quorum.
#include <algorithm>
#include <map>

#include "catch.hpp"

#include "base/random.hpp"
#include "engine/voters.hpp"

using namespace coterie;
using namespace coterie::engine;

namespace {

node_id n(std::uint64_t i) { return {1, i}; }

std::vector<node_id> ids(std::initializer_list<std::uint64_t> list) {
  std::vector<node_id> r;
  for (const auto i : list) r.push_back(n(i));
  return r;
}

raft::configuration conf(std::initializer_list<std::uint64_t> voters,
                         std::initializer_list<std::uint64_t> learners = {}) {
  return {ids(voters), {}, ids(learners)};
}

voter_candidate fit(std::uint64_t i, std::string zone = {}) {
  return {n(i), std::move(zone), true, 1h, 0s, true, true};
}
voter_candidate dead(std::uint64_t i, duration silent, std::string zone = {}) {
  return {n(i), std::move(zone), false, 0s, silent, false};
}

std::vector<voter_candidate> fit_up_to(std::uint64_t count) {
  std::vector<voter_candidate> r;
  for (std::uint64_t i = 1; i <= count; ++i) r.push_back(fit(i));
  return r;
}

std::optional<raft::configuration> choose(const raft::configuration& now, const std::vector<voter_candidate>& members,
                                          bool may_swap = true, const voter_rules& rules = {}) {
  return choose_voters(now, n(1), members, may_swap, rules);
}

}  // namespace

TEST_CASE("voters are odd, five at most, and one of two") {
  const voter_rules rules;
  const std::vector<std::size_t> wanted = {1, 1, 1, 3, 3, 5, 5, 5, 5};
  for (std::size_t members = 0; members < wanted.size(); ++members) {
    CAPTURE(members);
    CHECK(wanted_voters(members, rules) == wanted[members]);
  }
  CHECK(wanted_voters(9, {7, 10s, 30s}) == 7);
}

TEST_CASE("a right configuration is left alone") {
  CHECK(!choose(conf({1, 2, 3}), fit_up_to(3)));
  CHECK(!choose(conf({1, 2, 3}, {4}), fit_up_to(4)));
  CHECK(!choose(conf({1, 2, 3, 4, 5}, {6, 7}), fit_up_to(7)));
}

TEST_CASE("a new member learns first, and votes when it is stable and has the log") {
  CHECK(choose(conf({1}), fit_up_to(2)) == conf({1}, {2}));
  // Growing from one to three takes both in one joint change.
  CHECK(choose(conf({1}, {2, 3}), fit_up_to(3)) == conf({1, 2, 3}));
  auto members = fit_up_to(3);
  members[1].alive_for = 9s;
  CHECK(choose(conf({1}, {2, 3}), members) == conf({1, 3}, {2}));
  members[1] = fit(2);
  members[1].caught_up = false;
  CHECK(!choose(conf({1, 3}, {2}), members));
  members[1] = dead(2, 1s);
  CHECK(!choose(conf({1, 3}, {2}), members));
}

TEST_CASE("whoever still gets its first state is no standby yet: the leader would begin that anew") {
  auto members = fit_up_to(4);
  members[3].follows = false;
  CHECK(!choose(conf({1, 2, 3}), members));
  members[3].follows = true;
  CHECK(choose(conf({1, 2, 3}), members) == conf({1, 2, 3}, {4}));
  // One that is a standby stays it while its session is renewed.
  members[3].follows = false;
  CHECK(!choose(conf({1, 2, 3}, {4}), members));
}

TEST_CASE("a voter that left is made up for at once, in one change") {
  auto members = fit_up_to(6);
  members.erase(members.begin() + 2);
  CHECK(choose(conf({1, 2, 3, 4, 5}, {6}), members) == conf({1, 2, 4, 5, 6}));
}

TEST_CASE("shrinking members shrink the voters: the dead first, the leader never") {
  auto members = fit_up_to(4);
  CHECK(choose(conf({1, 2, 3, 4}), members) == conf({1, 3, 4}, {2}));
  members[3] = dead(4, 1s);
  CHECK(choose(conf({1, 2, 3, 4}), members) == conf({1, 2, 3}, {4}));
  CHECK(choose(conf({1, 2}), fit_up_to(2)) == conf({1}, {2}));
  // Of five one left: four stay, one of which goes in the same change.
  members = fit_up_to(4);
  CHECK(choose(conf({1, 2, 3, 4, 5}), members) == conf({1, 3, 4}, {2}));
}

TEST_CASE("a last voter that left gives its vote to whoever is made ready for it") {
  const auto members = std::vector{fit(2), fit(3)};
  const auto ready = choose(conf({1}), members);
  REQUIRE(ready);
  REQUIRE(ready->voters == ids({1}));
  REQUIRE(!ready->learners.empty());
  const auto given = choose(*ready, members);
  REQUIRE(given);
  REQUIRE(given->voters.size() == 1);
  REQUIRE(given->voters.front() != n(1));
}

TEST_CASE("a dead voter is exchanged when its grace is over") {
  auto members = fit_up_to(4);
  members[2] = dead(3, 29s);
  CHECK(!choose(conf({1, 2, 3}, {4}), members));
  members[2] = dead(3, 30s);
  CHECK(choose(conf({1, 2, 3}, {4}), members) == conf({1, 2, 4}, {3}));
  SECTION("not within the pause after another exchange") { CHECK(!choose(conf({1, 2, 3}, {4}), members, false)); }
  SECTION("not when gossip still sees it: only its word to the leader is lost") {
    members[2].living = true;
    CHECK(!choose(conf({1, 2, 3}, {4}), members));
  }
  SECTION("not when the leader still hears it: gossip is wrong") {
    members[2].silent_for = 0s;
    CHECK(!choose(conf({1, 2, 3}, {4}), members));
  }
  SECTION("not by one that is not fit") {
    members[3].alive_for = 1s;
    CHECK(!choose(conf({1, 2, 3}, {4}), members));
  }
  SECTION("not when a majority is gone: a minority changes nothing") {
    members[1] = dead(2, 60s);
    CHECK(!choose(conf({1, 2, 3}, {4}), members));
  }
}

TEST_CASE("one at a time of several dead ones") {
  auto members = fit_up_to(7);
  members[3] = dead(4, 60s);
  members[4] = dead(5, 60s);
  CHECK(choose(conf({1, 2, 3, 4, 5}, {6, 7}), members) == conf({1, 2, 3, 5, 6}, {4, 7}));
}

TEST_CASE("two are kept ready, the others observe") {
  CHECK(choose(conf({1, 2, 3, 4, 5}), fit_up_to(9)) == conf({1, 2, 3, 4, 5}, {6, 7}));
  CHECK(choose(conf({1, 2, 3, 4, 5}, {6, 7, 8, 9}), fit_up_to(9)) == conf({1, 2, 3, 4, 5}, {6, 7}));
  auto members = fit_up_to(9);
  SECTION("those that are stay, however long others are alive") {
    members[7].alive_for = members[8].alive_for = 1s;
    CHECK(!choose(conf({1, 2, 3, 4, 5}, {8, 9}), members));
  }
  SECTION("who is not stable does not begin to be one") {
    for (std::size_t i = 5; i < 8; ++i) members[i].alive_for = 9s;
    CHECK(choose(conf({1, 2, 3, 4, 5}), members) == conf({1, 2, 3, 4, 5}, {9}));
  }
  SECTION("a dead one makes room, when its grace is over and there is another one") {
    members[5] = dead(6, 29s);
    CHECK(!choose(conf({1, 2, 3, 4, 5}, {6, 7}), members));
    members[5] = dead(6, 30s);
    CHECK(choose(conf({1, 2, 3, 4, 5}, {6, 7}), members) == conf({1, 2, 3, 4, 5}, {7, 8}));
    members.resize(7);
    CHECK(!choose(conf({1, 2, 3, 4, 5}, {6, 7}), members));
  }
  SECTION("none, if so wanted, but while a vote is missing") {
    voter_rules rules;
    rules.standbys = 0;
    CHECK(choose(conf({1, 2, 3, 4, 5}, {6, 7}), members, true, rules) == conf({1, 2, 3, 4, 5}));
    CHECK(choose(conf({1}), fit_up_to(4), true, rules) == conf({1}, {2, 3}));
    CHECK(choose(conf({1}, {2, 3}), fit_up_to(4), true, rules) == conf({1, 2, 3}));
    members[2] = dead(3, 30s);
    CHECK(choose(conf({1, 2, 3, 4, 5}), members, true, rules) == conf({1, 2, 3, 4, 5}, {6}));
    CHECK(choose(conf({1, 2, 3, 4, 5}, {6}), members, true, rules) == conf({1, 2, 4, 5, 6}));
  }
}

TEST_CASE("standbys are where voters are few") {
  std::vector<voter_candidate> members = {fit(1, "a"), fit(2, "a"), fit(3, "b"), fit(4, "a"), fit(5, "b"), fit(6, "c")};
  voter_rules rules;
  rules.max_voters = 3;
  CHECK(choose(conf({1, 2, 3}), members, false, rules) == conf({1, 2, 3}, {5, 6}));
  // One in a zone with half of the voters is of no use to spread them.
  CHECK(choose(conf({1, 2, 3}, {4, 5}), members, false, rules) == conf({1, 2, 3}, {5, 6}));
  CHECK(choose(conf({1, 2, 3}, {5, 6}), members, true, rules) == conf({1, 3, 6}, {2, 5}));
}

TEST_CASE("voters spread over zones") {
  std::vector<voter_candidate> members = {fit(1, "a"), fit(2, "a"), fit(3, "b"), fit(4, "b"), fit(5, "c"), fit(6, "c")};
  SECTION("the emptiest zone is filled first") {
    const auto next = choose(conf({1}, {2, 3, 5}), {fit(1, "a"), fit(2, "a"), fit(3, "b"), fit(5, "c")});
    CHECK(next == conf({1, 3, 5}, {2}));
  }
  SECTION("a zone with half of them gives one up") {
    members = {fit(1, "a"), fit(2, "a"), fit(3, "b"), fit(4, "c")};
    CHECK(choose(conf({1, 2, 3}, {4}), members) == conf({1, 3, 4}, {2}));
  }
  SECTION("two zones can't help it") {
    members = {fit(1, "a"), fit(2, "a"), fit(3, "b"), fit(4, "b")};
    CHECK(!choose(conf({1, 2, 3}, {4}), members));
  }
  SECTION("the leader stays") {
    members = {fit(1, "a"), fit(2, "a"), fit(3, "b"), fit(4, "c")};
    const auto next = choose_voters(conf({1, 2, 3}, {4}), n(2), members, true, {});
    REQUIRE(next);
    CHECK(next->is_voter(n(2)));
    CHECK(!next->is_voter(n(1)));
  }
}

TEST_CASE("no sequence of failures and choices loses a quorum or stops short") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    CAPTURE(seed);
    rng r(seed);
    auto now = conf({1, 2, 3});
    std::map<node_id, voter_candidate> members;
    for (std::uint64_t i = 1; i <= 3; ++i) members[n(i)] = fit(i);
    std::uint64_t next_id = 4;
    const auto list = [&] {
      std::vector<voter_candidate> v;
      for (const auto& [id, m] : members) v.push_back(m);
      return v;
    };
    const auto living = [&](const std::vector<node_id>& voters) {
      return std::ranges::count_if(voters, [&](auto id) { return members.contains(id) && members[id].living; });
    };
    for (int step = 0; step < 60; ++step) {
      const auto what = r.below(4);
      const auto who = std::next(members.begin(), static_cast<std::ptrdiff_t>(r.below(members.size())))->first;
      if (what == 0 && members.size() < 9) {
        members[n(next_id)] = fit(next_id, std::string(1, static_cast<char>('a' + r.below(3))));
        ++next_id;
      } else if (what == 1 && who != n(1) && members.size() > 1) {
        members.erase(who);
      } else if (what == 2 && who != n(1)) {
        // No more than a minority dies before something is done about it.
        members[who].living = members[who].caught_up = false;
        members[who].silent_for = 60s;
        if (static_cast<std::size_t>(living(now.voters)) <= now.voters.size() / 2) members[who] = fit(who.lo);
      } else {
        members[who] = fit(who.lo, members[who].zone);
      }
      if (static_cast<std::size_t>(living(now.voters)) <= now.voters.size() / 2)
        break;  // as after too many left at once
      int changes = 0;
      for (; changes < 20; ++changes) {
        const auto next = choose(now, list());
        if (!next) break;
        REQUIRE(next->well_formed());
        REQUIRE(next->is_voter(n(1)));
        const auto missing = wanted_voters(members.size(), {}) - static_cast<std::size_t>(living(next->voters));
        REQUIRE(next->learners.size() <= std::max<std::size_t>(2, missing));
        // Only a standby gets a vote.
        for (const auto id : next->voters) REQUIRE(now.contains(id));
        REQUIRE(static_cast<std::size_t>(living(next->voters)) > next->voters.size() / 2);
        now = *next;
      }
      REQUIRE(changes < 20);
    }
  }
}
