// Paper section 6: changes by joint consensus.
#include "catch.hpp"
#include "cluster.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;

namespace {

cluster of(std::initializer_list<std::uint64_t> nodes, std::initializer_list<std::uint64_t> in) {
  cluster c;
  for (const auto n : nodes) c.add(n, voters(in));
  return c;
}

result<log_index> change(cluster& c, std::uint64_t leader, std::initializer_list<std::uint64_t> to,
                         std::initializer_list<std::uint64_t> learners = {}) {
  return c[leader].propose_configuration(ids(to), ids(learners), c.now());
}

}  // namespace

TEST_CASE("paper 6: the change is joint first, and left by the leader once that is committed (etcd#5004, eraft#80)",
          "[lesson]") {
  auto c = of({1, 2, 3, 4, 5}, {1, 2, 3});
  REQUIRE(c.elect(1));
  const auto at = change(c, 1, {1, 4, 5}, {2});
  REQUIRE(at);
  // Effective as soon as it is appended.
  CHECK(c[1].conf() == configuration{ids({1, 4, 5}), ids({1, 2, 3}), ids({2})});
  CHECK_FALSE(c[1].conf_committed());
  c.settle();
  CHECK(c[1].conf() == configuration{ids({1, 4, 5}), {}, ids({2})});
  CHECK(c[1].conf_committed());
  CHECK(c[1].entry_at(*at)->conf.joint());
  CHECK(c[1].last_index() == at->next());
  CHECK(c[5].conf() == c[1].conf());
  CHECK(c[2].conf() == c[1].conf());
  CHECK(c[1].progress().size() == 3);
}

TEST_CASE("paper 6: in the joint phase both majorities have to agree") {
  auto c = of({1, 2, 3, 4, 5}, {1, 2, 3});
  REQUIRE(c.elect(1));
  SECTION("the old one is missing") {
    c.isolate(2);
    c.isolate(3);
  }
  SECTION("the new one is missing") {
    c.isolate(4);
    c.isolate(5);
  }
  REQUIRE(change(c, 1, {1, 4, 5}));
  c.settle();
  CHECK(c[1].conf().joint());
  CHECK_FALSE(c[1].conf_committed());
  CHECK(c[1].commit() == log_index(1));
  c.heal();
  c.advance(300ms);
  CHECK_FALSE(c[1].conf().joint());
  CHECK(c[1].conf_committed());
}

TEST_CASE("paper 6: in the joint phase elections need both majorities (etcd#7625)", "[lesson]") {
  auto c = of({1, 2, 3, 4, 5}, {1, 2, 3});
  REQUIRE(c.elect(1));
  c.drop = [](const message& m) { return std::holds_alternative<append_response>(m.body); };
  REQUIRE(change(c, 1, {3, 4, 5}));
  c.settle();
  REQUIRE(c[3].conf().joint());
  c.drop = nullptr;
  c.crash(1);
  c.crash(2);
  CHECK_FALSE(c.elect(3));  // 3, 4 and 5 are all of the new, but one of three old
  c.restart(2);
  CHECK((c.elect(3) || c.elect(3)));
}

TEST_CASE("paper 6: a rolled back change is forgotten with its entry") {
  auto c = of({1, 2, 3, 4, 5}, {1, 2, 3});
  REQUIRE(c.elect(1));
  c.isolate(1);
  REQUIRE(change(c, 1, {1, 4, 5}));
  c.pump(1);
  CHECK(c[1].conf().joint());
  c.advance(2s);
  REQUIRE(c.leader() != 0);
  REQUIRE(c.propose(c.leader()));
  c.heal();
  c.advance(1s);
  CHECK(c[1].conf() == voters({1, 2, 3}));
  CHECK(c.violations.empty());
}

TEST_CASE(
    "paper 6: none before the leader's own entry is committed and applied, and one at a time (raft-dev 2015, "
    "copycat#23, openraft#2051, braft#182)",
    "[lesson]") {
  auto c = of({1, 2, 3, 4}, {1, 2, 3});
  c.drop = [](const message& m) { return std::holds_alternative<append_response>(m.body); };
  REQUIRE(c.elect(1));
  CHECK_FALSE(c[1].leader_ready());
  CHECK(change(c, 1, {1, 2, 4}).error().code == errc::unavailable);
  c.drop = nullptr;
  c.advance(100ms);
  c.isolate(1);
  REQUIRE(change(c, 1, {1, 2, 4}));
  CHECK(change(c, 1, {1, 2}).error().code == errc::unavailable);
  CHECK(change(c, 2, {1, 2}).error().code == errc::unavailable);
}

TEST_CASE("paper 6: a change that an earlier leader left behind can't be committed beside a later one (raft-dev 2015)",
          "[lesson]") {
  auto c = of({1, 2, 3, 4, 5}, {1, 2, 3, 4});
  REQUIRE(c.elect(1));
  for (const std::uint64_t n : {2, 3, 4}) c.cut(1, n);
  REQUIRE(change(c, 1, {1, 2, 3, 4, 5}));
  c.settle();
  REQUIRE(c[5].conf().joint());
  c.drop = [](const message& m) { return std::holds_alternative<append_response>(m.body); };
  REQUIRE(c.elect(2));
  CHECK(change(c, 2, {2, 3, 4}).error().code == errc::unavailable);
  c.drop = nullptr;
  c.advance(100ms);
  REQUIRE(change(c, 2, {2, 3, 4}));
  c.settle();
  REQUIRE(c[3].conf() == voters({2, 3, 4}));
  // Who has only the earlier change can't win any more, whoever is gone.
  c.crash(2);
  c.heal();
  for (int i = 0; i < 3; ++i) {
    CHECK_FALSE(c.elect(1));
    CHECK_FALSE(c.elect(5));
  }
  c.advance(3s);
  CHECK((c.leader() == 3 || c.leader() == 4));
  CHECK(c[4].conf() == voters({2, 3, 4}));
  CHECK(c.violations.empty());
}

TEST_CASE("paper 6: senseless changes are refused") {
  auto c = of({1, 2, 3}, {1, 2, 3});
  REQUIRE(c.elect(1));
  CHECK(change(c, 1, {}).error().code == errc::bad_argument);
  CHECK(change(c, 1, {1, 2, 3}).error().code == errc::bad_argument);
  CHECK(change(c, 1, {1, 2}, {2}).error().code == errc::bad_argument);
  CHECK(change(c, 1, {0, 1, 2}).error().code == errc::bad_argument);
  CHECK(c[1].last_index() == log_index(1));
}

TEST_CASE("paper 6: learners come and go by one entry, get the log and do not count") {
  auto c = of({1, 2, 3, 4}, {1, 2, 3});
  REQUIRE(c.elect(1));
  REQUIRE(change(c, 1, {3, 2, 1, 1}, {4}));
  CHECK_FALSE(c[1].conf().joint());
  c.settle();
  CHECK(c[4].commit() == log_index(2));
  CHECK(c[4].conf().is_learner(id(4)));
  CHECK(c[4].next_wake() != never);  // it watches the leader, though it never campaigns
  c.isolate(2);
  c.isolate(3);
  REQUIRE(c.propose(1));
  c.settle();
  CHECK(c[4].last_index() == log_index(3));
  CHECK(c[1].commit() == log_index(2));
}

TEST_CASE("paper 6: a learner that was promoted counts") {
  auto c = of({1, 2, 3}, {1});
  c.advance(10ms);
  REQUIRE(c.leader() == 1);
  REQUIRE(change(c, 1, {1}, {2}));
  c.settle();
  REQUIRE(change(c, 1, {1, 2}));
  c.settle();
  CHECK(c[1].conf() == voters({1, 2}));
  c.at(1).hold_writes = true;
  REQUIRE(c.propose(1));
  c.settle();
  CHECK(c[1].commit() == c[1].last_index().prev());
  c.complete_write(1);
  c.settle();
  CHECK(c[1].commit() == c[1].last_index());
  c.crash(1);
  CHECK_FALSE(c.elect(2));
  c.at(1).hold_writes = false;
  c.restart(1);
  c.advance(3s);
  CHECK(c.leader() != 0);
}

TEST_CASE(
    "paper 6: a leader that is not in the new configuration leaves when that is committed, and another follows at once "
    "(eraft#83)",
    "[lesson]") {
  auto c = of({1, 2, 3, 4}, {1, 2, 3});
  REQUIRE(c.elect(1));
  REQUIRE(change(c, 1, {2, 3, 4}));
  c.settle();
  CHECK(c[1].current_role() == role::follower);
  CHECK(c.leader() > 1);
  const auto next = c.leader();
  for (std::uint64_t n = 2; n <= 4; ++n) CHECK(c[n].conf() == voters({2, 3, 4}));
  c.advance(5s);
  CHECK(c.leader() == next);
  CHECK(c[1].next_wake() == never);
  CHECK(c.violations.empty());
}

TEST_CASE("paper 6: a leader may demote itself") {
  auto c = of({1, 2, 3}, {1, 2, 3});
  REQUIRE(c.elect(1));
  REQUIRE(change(c, 1, {2, 3}, {1}));
  c.advance(100ms);
  CHECK(c.leader() > 1);
  CHECK(c[1].leader() == id(c.leader()));
  CHECK(c[1].conf().is_learner(id(1)));
}

TEST_CASE("a new leader leaves a joint configuration that it inherits, after its own first entry (etcd#12136)",
          "[lesson]") {
  auto c = of({1, 2, 3, 4}, {1, 2, 3});
  REQUIRE(c.elect(1));
  // Everybody has the joint entry, the leader learns nothing of it and dies.
  c.drop = [](const message& m) { return std::holds_alternative<append_response>(m.body); };
  REQUIRE(change(c, 1, {2, 3, 4}));
  c.settle();
  REQUIRE(c[2].conf().joint());
  c.crash(1);
  CHECK((c.elect(2) || c.elect(2)));
  CHECK(c[2].conf().joint());  // its own first entry has no majority yet
  CHECK(c[2].last_index() == log_index(3));
  c.drop = nullptr;
  c.advance(500ms);
  CHECK(c.leader() == 2);
  CHECK(c[2].conf() == voters({2, 3, 4}));
  CHECK(c[2].conf_committed());
  CHECK(c[2].last_index() == log_index(4));
  CHECK(c.violations.empty());
}

namespace {

std::size_t configurations_in(const raft::core& c) {
  std::size_t n = 0;
  for (auto i = c.first_index(); i <= c.last_index(); ++i) n += c.entry_at(i)->kind == entry_kind::configuration;
  return n;
}

}  // namespace

TEST_CASE("paper 6: the joint phase is left once, however often the commit index moves meanwhile (etcd#12582)",
          "[lesson]") {
  options o;
  o.max_append_entries = 1;  // each entry is acknowledged by itself
  cluster c(o);
  for (const std::uint64_t n : {1, 2, 3}) c.add(n, voters({1, 2}));
  REQUIRE(c.elect(1));
  // The end of the joint phase does not leave node 1 before it dies, only node 2 gets it.
  c.drop = [&](const message& m) {
    const auto* a = std::get_if<append_request>(&m.body);
    return m.from == id(1) && a && a->prev_index >= log_index(4) && m.to != id(2);
  };
  REQUIRE(change(c, 1, {1, 2, 3}));
  for (const auto* s : {"a", "b"}) REQUIRE(c.propose(1, s));
  c.at(2).hold_writes = true;
  c.settle();
  REQUIRE(c[1].commit() == log_index(1));
  for (int i = 0; i < 3; ++i) {  // "a" and "b" are committed behind the first, before the end of the phase
    c.complete_write(2);
    c.settle();
    CHECK(c[1].commit() == log_index(4));
    CHECK(c[1].last_index() == log_index(5));
    CHECK(configurations_in(c[1]) == 2);
  }
  // The next leader has both, and the second one is not committed yet.
  c.crash(1);
  c.drop = nullptr;
  c.at(2).hold_writes = false;
  REQUIRE(c[2].last_index() == log_index(5));
  c.advance(2s);
  REQUIRE(c.leader() == 2);
  CHECK(c[2].conf_committed());
  CHECK(c[3].conf() == voters({1, 2, 3}));
  CHECK(configurations_in(c[3]) == 2);
}

TEST_CASE(
    "paper 6: a new leader goes on from the last configuration in its log, and adds none of its own (nuraft#67, "
    "nuraft#107)",
    "[lesson]") {
  const configuration next{ids({1, 2, 3}), {}, ids({4})};
  cluster c;
  for (std::uint64_t n = 1; n <= 3; ++n) {
    disk d;
    d.snapshot.conf = voters({1, 2, 3});
    d.hard.current = term(1);
    d.entries = entries_of_terms({1});
    d.applied = log_index(1);
    // Two have the change, neither knows that it is committed.
    if (n != 3) d.entries.push_back({term(1), log_index(2), entry_kind::configuration, {}, next});
    c.add(n, d);
  }
  c.add(4, configuration{});
  REQUIRE(c[1].conf() == next);
  REQUIRE(c.elect(1));
  CHECK(c[1].conf() == next);
  CHECK(c[1].progress().size() == 3);
  CHECK(c[1].conf_committed());
  c.advance(100ms);
  for (const std::uint64_t n : {1, 3, 4}) {
    CHECK(c[n].conf() == next);
    CHECK(configurations_in(c[n]) == 1);
    CHECK(c[n].term_at(log_index(2)) == term(1));
    CHECK(c[n].commit() == log_index(3));
  }
}

TEST_CASE("an inherited joint configuration is not left before the leader's own entry is committed (camunda#61854)",
          "[lesson]") {
  cluster c;
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, configuration{ids({1, 2}), ids({1, 3}), {}});
  // Answers to the leader's entry are lost, those to its heartbeats are not.
  c.drop = [](const message& m) {
    const auto* a = std::get_if<append_response>(&m.body);
    return a && a->match >= log_index(1);
  };
  REQUIRE(c.elect(1));
  REQUIRE(c[1].conf().joint());
  REQUIRE(c[1].transfer_leadership(id(2), c.now()));
  for (int i = 0; i < 7; ++i) {  // a quorum is heard until the transfer is given up
    for (const std::uint64_t n : {2, 3})
      c[1].step({id(n), id(1), term(1), append_response{true, {}, {}, {}, 0}}, c.now());
    c.advance(100ms);
  }
  REQUIRE(c[1].stats().get("raft_transfers_aborted") == 1);
  REQUIRE(c[1].current_role() == role::leader);
  CHECK(c[1].last_index() == log_index(1));
  c.drop = nullptr;
  c.advance(100ms);
  CHECK(c[1].conf() == voters({1, 2}));
}

TEST_CASE(
    "thesis 4.2.2: who is removed still campaigns while the removal may not be committed, and leaves after that") {
  auto c = of({1, 2, 3}, {1, 2});
  REQUIRE(c.elect(1));
  // Node 1 alone has the final configuration {2, 3}; nobody with less can win without it.
  c.drop = [](const message& m) {
    const auto* a = std::get_if<append_request>(&m.body);
    return a && !a->entries.empty() && a->entries.back().index > log_index(2);
  };
  REQUIRE(change(c, 1, {2, 3}));
  c.settle();
  REQUIRE(c[1].conf() == voters({2, 3}));
  REQUIRE_FALSE(c[1].conf_committed());
  REQUIRE(c[2].conf().joint());
  c.crash(1);
  c.restart(1);
  c.drop = nullptr;
  c.advance(5s);
  REQUIRE(c.leader() > 1);
  CHECK(c[2].conf() == voters({2, 3}));
  CHECK(c[3].conf_committed());
  CHECK(c[1].next_wake() == never);
  CHECK(c.violations.empty());
}

TEST_CASE("paper 6: a transfer holds the end of the joint phase back, its end does not forget it") {
  auto c = of({1, 2, 3, 4}, {1, 2, 3});
  REQUIRE(c.elect(1));
  c.isolate(3);
  REQUIRE(change(c, 1, {1, 2, 4}));
  REQUIRE(c[1].transfer_leadership(id(3), c.now()));
  c.settle();
  CHECK(c[1].conf().joint());
  c.advance(700ms);
  CHECK(c[1].conf() == voters({1, 2, 4}));
}

TEST_CASE("paper 6: the configuration survives restart and snapshot") {
  auto c = of({1, 2, 3, 4}, {1, 2, 3});
  REQUIRE(c.elect(1));
  REQUIRE(change(c, 1, {1, 2, 3}, {4}));
  c.isolate(4);
  c.settle();
  for (int i = 0; i < 5; ++i) REQUIRE(c.propose(1));
  c.settle();
  c.compact(1, 6);
  CHECK(c[1].conf().is_learner(id(4)));
  c.heal();
  c.advance(300ms);
  CHECK(c[4].conf() == c[1].conf());
  CHECK(c[4].commit() == c[1].commit());
  c.crash(1);
  c.restart(1);
  CHECK(c[1].conf().is_learner(id(4)));
}
