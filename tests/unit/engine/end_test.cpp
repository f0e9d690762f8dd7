// Stopping, leaving and handing over: in which order a node puts things down, and what it says when it can't.
#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct ending_world : active_nodes {
  using active_nodes::active_nodes;
  bool ended(std::size_t i) {
    return run_until([&] { return end_of(i).has_value(); });
  }
};

}  // namespace

TEST_CASE("a node that stops closes its session, hands over and keeps its place") {
  ending_world w(3);
  const auto leader = *w.leader(), other = (leader + 1) % 3;
  const auto waits = w.call(leader, wire::wait_members{9}, 60'000ms);
  const auto wish = w.call(leader, wire::transfer_leadership{w.name(other)}, 60'000ms);
  const auto stop = w.call(leader, wire::stop_node{});
  REQUIRE(refusal(w.answers(waits).list.front()) == errc::closed);
  REQUIRE(refusal(w.answers(wish).list.front()) == errc::closed);
  REQUIRE(w.ended(leader));
  REQUIRE(is<wire::done>(w.answers(stop).list.front()));
  REQUIRE(w.end_of(leader)->reason == "stopped");
  REQUIRE(w.end_of(leader)->exit_ok);
  w.run(200ms);
  REQUIRE(w.leader().has_value());
  const auto* m = w[other].look().machine;
  REQUIRE(m->sessions().size() == 2);
  REQUIRE(!m->member(w.id(leader))->removed);
}

TEST_CASE("a node that was never let in stops at once, and can't leave") {
  nodes w(3);
  REQUIRE(refusal(w.ask(0, wire::leave_cluster{})) == errc::unavailable);
  const auto stop = w.call(0, wire::stop_node{});
  REQUIRE(w.run_until([&] { return w.end_of(0).has_value(); }, 1s));
  REQUIRE(is<wire::done>(w.answers(stop).list.front()));
}

TEST_CASE("a node that stops without a majority does not wait for one") {
  ending_world w(3);
  w.cut(0);
  w.run(2s);
  const auto stop = w.call(0, wire::stop_node{});
  REQUIRE(w.run_until([&] { return w.end_of(0).has_value(); }, 6s));
  REQUIRE(is<wire::done>(w.answers(stop).list.front()));
}

TEST_CASE("the last member, and one without a majority, can't leave") {
  ending_world one(1);
  auto r = one.ask(0, wire::leave_cluster{});
  REQUIRE(refusal(r) == errc::unavailable);
  REQUIRE_THAT(reason(r), Contains("the last member can't leave"));
  ending_world w(3);
  w.cut(0);
  w.run(3s);
  r = w.ask(0, wire::leave_cluster{});
  REQUIRE(refusal(r) == errc::no_quorum);
  REQUIRE(!w.end_of(0));
}

TEST_CASE("a leader that leaves is out of the registry and the configuration, and knows it at its next start") {
  ending_world w(3);
  const auto leader = *w.leader();
  const auto id = w.id(leader);
  const auto left = w.call(leader, wire::leave_cluster{});
  REQUIRE(w.ended(leader));
  REQUIRE(is<wire::done>(w.answers(left).list.front()));
  REQUIRE(w.end_of(leader)->reason == "left");
  REQUIRE(w.run_until([&] { return w.leader().has_value(); }));
  const auto& now = w[*w.leader()].look();
  REQUIRE(now.machine->member(id)->left);
  REQUIRE(!now.raft->conf().contains(id));
  w.restart(leader);
  REQUIRE_THAT(w.end_of(leader)->reason, Contains("has left its cluster"));
  w.restart(leader, true);
  REQUIRE(w.run_until_active());
  REQUIRE(w.id(leader) != id);
}

TEST_CASE("a node whose leaving is not confirmed in time goes on") {
  ending_world w(3);
  const auto other = (*w.leader() + 1) % 3;
  expect<wire::lock_granted>(w.ask(other, wire::acquire_lock{"l", "", {}}));
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    return from == other && (std::holds_alternative<wire::forward>(m) || std::holds_alternative<wire::join_request>(m));
  };
  const auto r = w.ask(other, wire::leave_cluster{});
  REQUIRE(refusal(r) == errc::timeout);
  REQUIRE_THAT(reason(r), Contains("leaving was not confirmed in time: the node goes on"));
  w.lose = nullptr;
  REQUIRE(is<wire::lock_granted>(w.ask(other, wire::acquire_lock{"m", "", {}})));
  w.run(5s);
  REQUIRE(!w.end_of(other));
}

TEST_CASE("a lock whose client does not give it back is kept until its deadline") {
  ending_world w(3);
  const auto other = (*w.leader() + 1) % 3;
  const auto hold = w.call(other, wire::acquire_lock{"l", "", {}});
  REQUIRE(w.run_until([&] { return !w.answers(hold).list.empty(); }));
  w.run(2s);
  const auto stop = w.call(other, wire::stop_node{}, 20'000ms);
  REQUIRE(refusal(w.answers(hold).list.back()) == errc::closed);
  w.run(1s);
  REQUIRE(w.answers(stop).list.empty());
  REQUIRE(w.ended(other));
  REQUIRE(w.end_of(other)->exit_ok);
  w.run(100ms);
  REQUIRE(!w[*w.leader()].look().machine->locks().contains("l"));
}

// ---- handing over by an operator's wish ----------------------------------------------------------------------------

TEST_CASE("leadership goes to the voter that is named, whomever one asks") {
  ending_world w(3);
  for (int i = 0; i < 3; ++i) {
    const auto from = *w.leader(), to = (from + 1) % 3, asked = (from + static_cast<std::size_t>(i)) % 3;
    REQUIRE(is<wire::done>(w.ask(asked, wire::transfer_leadership{w.name(to)})));
    REQUIRE(w.run_until([&] { return w.leader() == to; }, 1s));
  }
  REQUIRE(is<wire::done>(w.ask(0, wire::transfer_leadership{w.name(*w.leader())})));
}

TEST_CASE("leadership goes to no stranger, to nobody without a vote, and to nobody who is gone") {
  ending_world w(4);
  const auto leader = *w.leader();
  REQUIRE(refusal(w.ask(leader, wire::transfer_leadership{"nobody"})) == errc::not_found);
  const auto& conf = w[leader].look().raft->conf();
  for (std::size_t i = 0; i < 4; ++i)
    if (!conf.is_voter(w.id(i))) REQUIRE(refusal(w.ask(0, wire::transfer_leadership{w.name(i)})) == errc::bad_argument);
  auto to = (leader + 1) % 4;
  if (!conf.is_voter(w.id(to))) to = (leader + 2) % 4;
  w.kill(to);
  const auto r = w.ask(leader, wire::transfer_leadership{w.name(to)});
  REQUIRE(refusal(r) == errc::timeout);
  REQUIRE_THAT(reason(r), Contains(w.name(to) + " does not lead yet"));
}

TEST_CASE("a wish that nobody waits for any more is forgotten, one without a majority is told so") {
  ending_world w(3);
  const auto leader = *w.leader();
  w.cut(leader);
  const auto id = w.call(leader, wire::transfer_leadership{w.name((leader + 1) % 3)});
  const auto gone = w.call(leader, wire::transfer_leadership{w.name((leader + 1) % 3)});
  w.cancel(leader, gone);
  REQUIRE(w.run_until([&] { return w.answers(id).over; }));
  REQUIRE(refusal(w.answers(id).list.front()) == errc::no_quorum);
  REQUIRE(w.answers(gone).list.empty());
}
