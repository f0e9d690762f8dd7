// Paper section 8, thesis 6.4: linearizable reads.
#include <algorithm>

#include "catch.hpp"
#include "cluster.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;

namespace {

cluster of(std::initializer_list<std::uint64_t> nodes, options o = {}) {
  cluster c(o);
  for (const auto n : nodes) c.add(n, voters(nodes));
  return c;
}

bool is_answer(const message& m) { return std::holds_alternative<append_response>(m.body); }

template <class Body>
std::size_t count(const std::deque<message>& network) {
  return static_cast<std::size_t>(std::count_if(network.begin(), network.end(),
                                                [](const message& m) { return std::holds_alternative<Body>(m.body); }));
}

}  // namespace

TEST_CASE("paper 8: a single voter answers without messages") {
  cluster c;
  c.add(1, voters({1}));
  c.advance(10ms);
  REQUIRE(c.propose(1));
  c.settle();
  c.read(1, 7);
  c.pump(1);
  REQUIRE(c.read_result(1, 7));
  CHECK(c.read_result(1, 7)->ok);
  CHECK(c.read_result(1, 7)->index == log_index(2));
}

TEST_CASE("paper 8: the leader's read waits for a quorum that answers after it began") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  REQUIRE(c.propose(1));
  c.settle();
  c.read(1, 1);
  c.pump(1);
  CHECK_FALSE(c.read_result(1, 1));
  c.settle();
  REQUIRE(c.read_result(1, 1));
  CHECK(c.read_result(1, 1)->ok);
  CHECK(c.read_result(1, 1)->index == log_index(2));
}

TEST_CASE("paper 8: an answer to a message from before the read does not confirm it") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  c.advance(60ms);
  REQUIRE(c.propose(1));  // leaves before the read
  c.pump(1);
  REQUIRE(count<append_request>(c.network) == 2);
  c.read(1, 1);
  c.pump(1);
  REQUIRE(count<append_request>(c.network) == 4);
  c.deliver(0);
  c.deliver(0);  // the appends from before
  const auto later = std::find_if(c.network.begin(), c.network.end(), is_answer);
  REQUIRE(later != c.network.end());
  while (true) {
    const auto it = std::find_if(c.network.begin(), c.network.end(), is_answer);
    if (it == c.network.end()) break;
    c.deliver(static_cast<std::size_t>(it - c.network.begin()));
  }
  CHECK(c[1].commit() == log_index(2));
  CHECK_FALSE(c.read_result(1, 1));
  c.settle();
  CHECK(c.read_result(1, 1)->ok);
}

TEST_CASE("paper 8: a round on its way does not serve a later read, and rounds are shared") {
  options o;
  o.max_read_rounds = 1;
  auto c = of({1, 2, 3}, o);
  REQUIRE(c.elect(1));
  c.read(1, 1);
  c.read(1, 2);
  c.pump(1);
  CHECK(count<append_request>(c.network) == 2);  // one round for both
  c.read(1, 3);
  c.pump(1);
  CHECK(count<append_request>(c.network) == 2);  // waits for the first to end
  c.deliver(0);
  c.deliver(0);
  c.deliver(0);
  CHECK(c.read_result(1, 1)->ok);
  CHECK(c.read_result(1, 2)->ok);
  CHECK_FALSE(c.read_result(1, 3));
  c.settle();
  CHECK(c.read_result(1, 3)->ok);
  CHECK(c[1].stats().get("raft_read_rounds") == 2);
}

TEST_CASE("paper 8: a lost round is confirmed by a later heartbeat") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  c.drop = [](const message&) { return true; };
  c.read(1, 1);
  c.settle();
  c.drop = nullptr;
  c.advance(60ms);
  CHECK(c.read_result(1, 1)->ok);
}

TEST_CASE("paper 8: reads wait until the leader committed in its own term (rp#5025)", "[lesson]") {
  auto c = of({1, 2, 3});
  c.drop = is_answer;
  REQUIRE(c.elect(1));
  CHECK_FALSE(c[1].leader_ready());
  c.read(1, 1);
  c.advance(100ms);
  CHECK_FALSE(c.read_result(1, 1));
  c.drop = nullptr;
  c.advance(100ms);
  CHECK(c[1].leader_ready());
  REQUIRE(c.read_result(1, 1));
  CHECK(c.read_result(1, 1)->index == log_index(1));
}

TEST_CASE("paper 8: a deposed leader's reads fail, and it never answers from the past") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  c.isolate(1);
  c.read(1, 1);
  REQUIRE(c.elect(2));
  REQUIRE(c.propose(2));
  c.settle();
  CHECK_FALSE(c.read_result(1, 1));
  c.advance(1s);
  REQUIRE(c.read_result(1, 1));
  CHECK_FALSE(c.read_result(1, 1)->ok);
  c.read(1, 2);
  c.pump(1);
  CHECK_FALSE(c.read_result(1, 2)->ok);  // knows no leader
}

TEST_CASE("paper 8: a follower forwards; with two or three voters its request is the confirmation") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  REQUIRE(c.propose(1));
  c.settle();
  c.isolate(3);
  c.read(2, 1);
  c.read(2, 2);
  c.pump(2);
  CHECK(count<read_request>(c.network) == 1);
  c.deliver(0);
  CHECK(count<append_request>(c.network) == 0);
  c.deliver(0);
  CHECK(c.read_result(2, 1)->ok);
  CHECK(c.read_result(2, 2)->index == log_index(2));
}

TEST_CASE("paper 8: with five voters a forwarded read takes a round; a learner's as well") {
  cluster c;
  const configuration conf{ids({1, 2, 3, 4, 5}), {}, ids({6})};
  for (std::uint64_t n = 1; n <= 6; ++n) c.add(n, conf);
  REQUIRE(c.elect(1));
  for (const std::uint64_t n : {2, 6}) {
    const auto before = c[1].stats().get("raft_read_rounds");
    c.read(n, 1);
    c.settle();
    REQUIRE(c.read_result(n, 1));
    CHECK(c.read_result(n, 1)->ok);
    CHECK(c[1].stats().get("raft_read_rounds") == before + 1);
  }
}

TEST_CASE("every attempt has a fresh id, also in the next life (etcd#20418, eraft#397, etcd#21399)", "[lesson]") {
  std::set<std::uint64_t> seen;
  auto c = of({1, 2, 3});
  c.drop = [&](const message& m) {
    if (const auto* r = std::get_if<read_request>(&m.body)) {
      CHECK(seen.insert(r->id).second);
      return true;
    }
    return false;
  };
  REQUIRE(c.elect(1));
  for (std::uint64_t life = 0; life < 3; ++life) {
    for (std::uint64_t i = 0; i < 3; ++i) {
      c.read(2, life * 10 + i);
      c.pump(2);
    }
    c.crash(2);
    c.restart(2);
    c.advance(100ms);
  }
  CHECK(seen.size() == 9);
  c.inject({id(1), id(2), c[1].current_term(), read_response{*seen.begin(), log_index(1), true}});
  c.settle();
  CHECK(c[2].stats().get("raft_late_read_response") == 1);
}

TEST_CASE("paper 8: a follower's reads fail at an election time-out and when the leader changes") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  c.drop = [](const message& m) { return std::holds_alternative<read_request>(m.body); };
  c.read(2, 1);
  c.advance(550ms);
  CHECK_FALSE(c.read_result(2, 1));
  c.advance(100ms);
  REQUIRE(c.read_result(2, 1));
  CHECK_FALSE(c.read_result(2, 1)->ok);

  c.read(2, 2);
  c.pump(2);
  REQUIRE(c[1].transfer_leadership(id(3), c.now()));
  c.settle();
  REQUIRE(c.leader() == 3);
  REQUIRE(c.read_result(2, 2));
  CHECK_FALSE(c.read_result(2, 2)->ok);
}

TEST_CASE("paper 8: a leader that steps down tells the followers whose reads it had") {
  auto c = of({1, 2, 3, 4, 5});
  REQUIRE(c.elect(1));
  c.drop = is_answer;
  c.read(2, 1);
  c.settle();
  append_response later;
  c[1].step({id(3), id(1), term(9), later}, c.now());
  c.settle();
  REQUIRE(c.read_result(2, 1));
  CHECK_FALSE(c.read_result(2, 1)->ok);
}

TEST_CASE("paper 8: pending reads are limited") {
  options o;
  o.max_pending_reads = 2;
  auto c = of({1, 2, 3}, o);
  REQUIRE(c.elect(1));
  c.drop = [](const message&) { return true; };
  for (const std::uint64_t n : {1, 2}) {
    for (std::uint64_t i = 1; i <= 3; ++i) c.read(n, i);
    c.pump(n);
    CHECK_FALSE(c.read_result(n, 1));
    REQUIRE(c.read_result(n, 3));
    CHECK_FALSE(c.read_result(n, 3)->ok);
  }
}
