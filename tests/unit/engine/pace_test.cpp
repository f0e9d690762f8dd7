// What election time-outs go by: synced writes as they were lately, and round trips to a quorum of the voters.
#include "engine/pace.hpp"
#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

using namespace coterie;
using namespace coterie::test;

TEST_CASE("of synced writes the slowest but two counts, of the last minute") {
  const instant start{1h};
  engine::sync_times t;
  CHECK(t.usual(start) == duration{});
  t.add(start, 900ms);
  t.add(start, 700ms);
  CHECK(t.usual(start) == duration{});  // one stall, and what waited for it
  for (int i = 0; i < 1'000; ++i) t.add(start, 1ms);
  t.add(start, 900ms);
  t.add(start, 700ms);
  CHECK(t.usual(start) == 1ms);
  t.add(start, 800ms);
  CHECK(t.usual(start) == 700ms);
  CHECK(t.usual(start + 1min) == 700ms);
  CHECK(t.usual(start + 61s) == duration{});
  for (int i = 0; i < 3; ++i) t.add(start + 61s, 3ms);
  CHECK(t.usual(start + 61s) == 3ms);
}

TEST_CASE("election time-outs follow the round trips to a quorum of the voters") {
  // Of three voters one is far: the two others elect without it, it does not without one of them.
  active_nodes w(3);
  const auto longest = [&](std::size_t i) { return w[i].look().raft->longest_election_timeout(); };
  for (std::size_t i = 0; i < 3; ++i) CHECK(longest(i) == 600ms);
  w.way = [](std::size_t from, std::size_t to) { return from == 2 || to == 2 ? 150ms : 0ms; };
  REQUIRE(w.run_until([&] { return longest(2) >= 2'500ms; }, 10min));
  CHECK(longest(2) <= 4s);
  CHECK(longest(0) == 600ms);
  CHECK(longest(1) == 600ms);
  CHECK(w.logged(2, "an election time-out is up to") >= 1);
  CHECK(w.logged(0, "an election time-out is up to") == 0);
  // With one of the near ones gone the far one is needed.
  const auto gone = *w.leader() == 0 ? 1U : 0U;
  w.kill(gone);
  REQUIRE(w.run_until([&] { return longest(1 - gone) >= 2'500ms; }, 1min));
  w.restart(gone);
  w.way = nullptr;
  REQUIRE(w.run_until([&] { return longest(0) == 600ms && longest(1) == 600ms && longest(2) == 600ms; }, 10min));
  CHECK(w.logged(2, "an election time-out is up to 600 ms") == 1);
}

TEST_CASE("election time-outs follow the disk that everything has to wait for") {
  active_nodes w(1);
  REQUIRE(w[0].look().raft->longest_election_timeout() == 600ms);
  for (int i = 0; i < 3; ++i) {
    w.hold_disk(0);
    w.call(0, wire::append_journal{"j", "", {{"t", "x"}}});
    w.run(400ms);
    w.release_disk(0);
  }
  w.run(1s);
  CHECK(w[0].look().raft->longest_election_timeout() >= 4s);
  w.run(1min);
  w.call(0, wire::append_journal{"j", "", {{"t", "x"}}});
  w.run(10s);
  CHECK(w[0].look().raft->longest_election_timeout() == 600ms);
}
