// The planted bugs: each breaks its rule visibly, so that a test which looks for the rule can be trusted.
#include "catch.hpp"
#include "cluster.hpp"
#include "stress.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;

namespace {

constexpr instant start{1s};
using bug = planted_bug;

options with(bug b) {
  options o;
  o.bug = b;
  return o;
}

recovered of_three() {
  recovered r;
  r.snapshot.conf = voters({1, 2, 3});
  return r;
}

std::size_t votes_granted(bug b) {
  raft::core c(id(1), with(b), of_three(), start, 1);
  for (const std::uint64_t n : {2, 3}) c.step({id(n), id(1), term(1), vote_request{}}, start);
  std::size_t granted = 0;
  for (const auto& m : c.take().send_after_persist) granted += std::get<vote_response>(m.body).granted;
  return granted;
}

bool acknowledges_early(bug b) {
  raft::core c(id(1), with(b), of_three(), start, 1);
  c.step({id(2), id(1), term(1), append_request{{}, {}, {}, {command(1, 1)}, 0}}, start);
  return !c.take().send_now.empty();
}

bool answers_unconfirmed(bug b) {
  cluster c(with(b));
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, voters({1, 2, 3}));
  c.elect(1);
  c.isolate(1);
  c.read(1, 1);
  c.settle();
  return c.read_result(1, 1).has_value();
}

/// Entry 1 of term 1 is on both nodes, the leader's own-term entry only here.
bool commits_old_term(bug b) {
  auto r = of_three();
  r.hard.current = term(1);
  r.entries = entries_of_terms({1});
  raft::core c(id(1), with(b), r, start, 1);
  c.tick(c.next_wake());
  c.step({id(2), id(1), term(2), vote_response{true, true}}, start);
  c.on_persisted(c.take().persist.sequence, start);
  c.step({id(2), id(1), term(2), vote_response{false, true}}, start);
  c.step({id(2), id(1), term(2), append_response{true, log_index(1), {}, {}, 0}}, start);
  return c.commit() == log_index(1);
}

}  // namespace

TEST_CASE("planted bugs break their rule, and nothing else does") {
  CHECK(votes_granted(bug::double_vote) == 2);
  CHECK(votes_granted(bug::none) == 1);
  CHECK(acknowledges_early(bug::early_ack));
  CHECK_FALSE(acknowledges_early(bug::none));
  CHECK(answers_unconfirmed(bug::skip_read_confirmation));
  CHECK_FALSE(answers_unconfirmed(bug::none));
  CHECK(commits_old_term(bug::commit_old_term));
  CHECK_FALSE(commits_old_term(bug::none));
}

TEST_CASE("the stress test finds a leader that does not wait for its predecessor's lease") {
  std::uint64_t seed = 1;
  while (seed <= 500 && stress(seed, with(bug::early_commit), 900ms).violations.empty()) ++seed;
  CHECK(seed <= 500);
}

TEST_CASE("the stress test finds planted bugs") {
  for (const auto b : {bug::double_vote, bug::early_ack, bug::skip_read_confirmation}) {
    std::uint64_t seed = 1;
    while (seed <= 500 && stress(seed, with(b)).violations.empty()) ++seed;
    CAPTURE(static_cast<int>(b));
    CHECK(seed <= 500);
  }
}
