// Genesis, one node and its ballots: what it promises, accepts and learns, to whom it says so, and after which write.
#include "unit/swim/genesis_node.hpp"

using namespace coterie;
using namespace coterie::swim;
using namespace coterie::swim::test::single;

TEST_CASE("genesis: own promise durable before Prepare, own accept before Accept, id and R before formed",
          "[genesis]") {
  node n(1);
  n.greet_all();
  n.pass(2900ms);
  CHECK(n.all<gen_persist>().empty());
  n.pass(300ms);
  REQUIRE(n.all<gen_persist>().size() == 1);
  const ballot b = n.all<gen_persist>().front().state.promised;
  CHECK(b == ballot{1, id(1)});
  CHECK(n.all<gen_send>().empty());
  n.synced();
  const auto prepares = n.sent<genesis_prepare>();
  REQUIRE(prepares.size() == 2);
  CHECK(prepares[0].second.ids == three);

  n.promise(b, 2);
  CHECK(n.all<gen_persist>().size() == 1);  // all ids, a majority is not enough
  n.promise(b, 2);                          // nor twice the same
  CHECK(n.all<gen_persist>().size() == 1);
  n.promise(b, 3);
  REQUIRE(n.all<gen_persist>().size() == 2);
  const acceptor_state own = n.all<gen_persist>().back().state;
  CHECK(own.accepted_ballot == b);
  CHECK(n.sent<genesis_accept>().empty());
  n.synced();
  REQUIRE(n.sent<genesis_accept>().size() == 2);
  const genesis_record r = n.sent<genesis_accept>().front().second.record;
  CHECK(r == own.accepted);
  CHECK(r.seeds[1] == seed_slot{id(2), "n2", at(2), {}});
  CHECK(r.voters == three);
  CHECK(n.sent<genesis_accepted>().size() == 2);

  n.receive(genesis_accepted{b, id(2), r.id(), r});
  REQUIRE(n.all<gen_persist>().size() == 3);
  CHECK(n.all<gen_persist>().back().state.id == r.id());
  CHECK(n.all<gen_persist>().back().state.committed == r);
  CHECK_FALSE(n.g.formed());
  CHECK_FALSE(n.g.own_hello().cluster_known);
  CHECK(n.all<gen_formed>().empty());
  n.synced();
  REQUIRE(n.all<gen_formed>().size() == 1);
  CHECK(n.all<gen_formed>().front().founder);
  CHECK(n.g.formed());
  CHECK(n.g.own_hello().cluster_known == r.id());

  // Commit goes to every slot until acknowledged
  CHECK(n.sent<genesis_commit>().size() == 2);
  CHECK(n.g.waiting_for() == std::vector<address>{at(2), at(3)});
  n.receive(genesis_commit_ack{id(2)});
  n.clear();
  n.pass(40s);
  const auto again = n.sent<genesis_commit>();
  CHECK(again.size() >= 5);
  CHECK(again.size() <= 9);  // backed off
  for (const auto& [to, m] : again) CHECK(to == id(3));
  n.g.on_stream_down(id(3), n.now);
  n.clear();
  n.pass(30s);
  CHECK(n.all<gen_dial>().size() >= 3);
  n.receive(genesis_commit_ack{id(3)});
  CHECK(n.g.next_wake() == never);
}

TEST_CASE("genesis: rank k proposes k seconds later", "[genesis]") {
  for (const int self : {1, 2, 3}) {
    node n(self);
    n.greet_all();
    n.pass(3s + (self - 1) * 1s - 1ms);
    CHECK(n.all<gen_persist>().empty());
    n.pass(200ms);
    CHECK(n.all<gen_persist>().size() == 1);
  }
}

TEST_CASE("genesis acceptor: only a ballot that names us is answered, and only when that is durable", "[genesis]") {
  node n(1);
  const ballot b{4, id(2)};
  SECTION("not named") {
    n.receive(genesis_prepare{b, {id(9), id(2), id(3)}});
    n.receive(genesis_accept{b, {id(9), id(2), id(3)}, record_of(three)});
    n.receive(genesis_prepare{b, {id(1), id(2)}});                  // another list's
    n.receive(genesis_prepare{{4, id(8)}, {id(1), id(2), id(3)}});  // not even the proposer
    n.receive(genesis_prepare{b, {id(1), id(2), {}}});              // fine: one slot dropped
    n.receive(genesis_prepare{{5, id(2)}, {id(2), id(1), id(2)}});  // twice
    n.receive(genesis_prepare{{~0ull, id(2)}, three});              // absurd
    CHECK(n.all<gen_persist>().size() == 1);
    CHECK(n.g.state().promised == b);
    CHECK(n.g.stats().get("ballots that do not name us") == 6);
  }
  SECTION("promise") {
    n.receive(genesis_prepare{b, three});
    CHECK(n.g.state().promised == b);
    CHECK(n.sent<genesis_promise>().empty());
    n.synced();
    REQUIRE(n.sent<genesis_promise>().size() == 1);
    CHECK(n.sent<genesis_promise>().front().first == id(2));
    // a lower ballot is refused with the promised one, in both phases
    n.receive(genesis_prepare{{3, id(3)}, three});
    n.receive(genesis_accept{{3, id(3)}, three, record_of(three)});
    REQUIRE(n.sent<genesis_reject>().size() == 2);
    CHECK(n.sent<genesis_reject>().front().second.promised == b);
    CHECK_FALSE(n.g.state().accepted);
  }
  SECTION("accept: a record that lists us, told to everybody in the ballot") {
    n.receive(genesis_accept{b, three, record_of({id(9), id(2), id(3)})});
    genesis_record shorter = record_of({id(1), id(2)});
    n.receive(genesis_accept{b, three, shorter});
    CHECK_FALSE(n.g.state().accepted);
    CHECK(n.all<gen_persist>().empty());
    const genesis_record r = record_of(three);
    n.receive(genesis_accept{b, three, r});
    CHECK(n.g.state().accepted == r);
    CHECK(n.g.state().promised == b);
    CHECK(n.sent<genesis_accepted>().empty());
    n.synced();
    CHECK(n.sent<genesis_accepted>().size() == 2);
    // later promises report it
    n.receive(genesis_prepare{{5, id(3)}, three});
    n.synced();
    REQUIRE(n.sent<genesis_promise>().size() == 1);
    CHECK(n.sent<genesis_promise>().front().second.accepted == r);
    CHECK(n.sent<genesis_promise>().front().second.accepted_ballot == b);
    // and the ballot it is in can't change its record
    n.receive(genesis_accept{{5, id(3)}, three, r});
    n.receive(genesis_accept{{5, id(3)}, three, record_of(three, 8)});
    CHECK(n.g.state().accepted == r);
  }
}

TEST_CASE("genesis proposer: the accepted record of the highest ballot is proposed again", "[genesis]") {
  const genesis_record low = record_of(three, 1), high = record_of(three, 2);
  node n(1);
  const ballot b = n.prepare();
  n.receive(genesis_reject{{9, id(1)}, id(2), {10, id(2)}});  // of another ballot: only its round counts
  n.promise(b, 2, {b.round, node_id{0, 1}}, high);
  n.promise(b, 3, {b.round, node_id{0, 0}}, low);
  n.synced();
  REQUIRE(n.sent<genesis_accept>().size() == 2);
  CHECK(n.sent<genesis_accept>().front().second.record == high);
}

TEST_CASE("genesis proposer: its own accepted record counts, too", "[genesis]") {
  acceptor_state s;
  s.promised = s.accepted_ballot = {3, id(2)};
  s.accepted = record_of(three);
  node n(1, options(1), s);
  const ballot b = n.prepare();
  CHECK(b.round == 4);  // above every round promised
  n.promise(b, 2);
  n.promise(b, 3);
  n.synced();
  REQUIRE(n.sent<genesis_accept>().size() == 2);
  CHECK(n.sent<genesis_accept>().front().second.record == s.accepted);
}

TEST_CASE("genesis proposer: a record that does not list it is left to others", "[genesis]") {
  node n(1);
  const ballot b = n.prepare();
  n.promise(b, 2, {b.round, {}}, record_of({id(9), id(2), id(3)}));
  n.promise(b, 3);
  n.synced();
  CHECK(n.sent<genesis_accept>().empty());
  n.clear();
  n.pass(4s);  // longer than any other seed needs to begin
  CHECK(n.all<gen_persist>().empty());
  n.pass(10s);
  CHECK_FALSE(n.all<gen_persist>().empty());  // but it does not stop for ever
}

TEST_CASE("genesis proposer: overtaken by another ballot it gives up", "[genesis]") {
  node n(1);
  const ballot b = n.prepare();
  n.promise(b, 2);
  n.receive(genesis_prepare{{b.round, id(2)}, three});  // a higher one: same round, larger id
  n.synced();
  CHECK(n.sent<genesis_promise>().size() == 1);
  n.promise(b, 3);
  n.synced();
  CHECK(n.sent<genesis_accept>().empty());
  CHECK_FALSE(n.g.state().accepted);
}

TEST_CASE("genesis proposer: a ballot is given up after a second; the next is above all seen", "[genesis]") {
  node n(1);
  const ballot b = n.prepare();
  SECTION("no answer") {
    n.clear();
    n.pass(990ms);
    CHECK(n.all<gen_persist>().empty());
    n.g.on_message(genesis_promise{b, id(2), {}, {}}, n.now);
    n.pass(1s);
    n.promise(b, 3);  // too late
    n.synced();
    CHECK(n.sent<genesis_accept>().empty());
    REQUIRE(n.sent<genesis_prepare>().size() >= 2);
    CHECK(n.sent<genesis_prepare>().front().second.b.round == b.round + 1);
  }
  SECTION("refused") {
    n.receive(genesis_reject{b, id(2), {70, id(3)}});
    n.clear();
    n.pass(2s);
    n.synced();
    REQUIRE(n.sent<genesis_prepare>().size() >= 2);
    CHECK(n.sent<genesis_prepare>().front().second.b.round == 71);
  }
  SECTION("fresh ids") {
    n.g.on_stream_down(id(3), n.now);
    CHECK(n.g.on_hello(n.from(7), at(3), n.now));
    n.clear();
    n.pass(8s);
    n.synced();
    REQUIRE(!n.sent<genesis_prepare>().empty());
    CHECK(n.sent<genesis_prepare>().back().second.ids == std::vector<node_id>{id(1), id(2), id(7)});
  }
}

TEST_CASE("genesis learner: a majority of all slots, counted per ballot", "[genesis]") {
  node n(1);
  const genesis_record r = record_of(three);
  n.receive(genesis_accepted{{1, id(2)}, id(2), r.id(), r});
  n.receive(genesis_accepted{{2, id(3)}, id(3), r.id(), r});
  n.receive(genesis_accepted{{1, id(2)}, id(2), r.id(), r});
  n.receive(genesis_accepted{{1, id(2)}, id(8), r.id(), r});  // R does not list it
  CHECK_FALSE(n.g.state().id);
  n.receive(genesis_accepted{{2, id(3)}, id(2), r.id(), r});
  CHECK(n.g.state().id == r.id());
  CHECK(n.all<gen_persist>().size() == 1);
}

TEST_CASE("genesis learner: the number of ballots counted at a time is bounded", "[genesis]") {
  node n(1);
  const genesis_record r = record_of(three);
  for (std::uint64_t k = 1; k < 200; ++k) n.receive(genesis_accepted{{k, id(2)}, id(2), r.id(), r});
  CHECK(n.g.stats().get("tallies dropped") >= 100);
  n.receive(genesis_accepted{{199, id(2)}, id(3), r.id(), r});
  CHECK(n.g.state().id == r.id());
}

TEST_CASE("genesis: a committed node answers Prepare and Accept only with Commit", "[genesis]") {
  node n(1);
  const genesis_record r = record_of(three);
  n.receive(genesis_prepare{{1, id(3)}, three});  // its promise is not out yet, and never will be
  n.receive(genesis_commit{id(2), r});
  n.receive(genesis_prepare{{5, id(3)}, three});
  n.receive(genesis_accept{{5, id(3)}, three, record_of(three, 9)});
  CHECK(n.all<gen_send>().empty());
  CHECK(n.g.situation().find("is being written") != std::string::npos);
  n.synced();
  CHECK(n.all<gen_formed>().size() == 1);
  CHECK(n.sent<genesis_promise>().empty());
  CHECK(n.sent<genesis_accepted>().empty());
  CHECK(n.sent<genesis_commit_ack>().size() == 1);
  const auto commits = n.sent<genesis_commit>();
  CHECK(std::count_if(commits.begin(), commits.end(), [](auto& c) { return c.first == id(3); }) >= 2);
  CHECK(n.g.state().promised.round == 1);
  // another record is not acknowledged
  n.clear();
  n.receive(genesis_commit{id(2), record_of(three, 9)});
  CHECK(n.all<gen_send>().empty());
  CHECK(n.g.state().id == r.id());
}

TEST_CASE("genesis: what waits for the disk is bounded", "[genesis]") {
  genesis_options o = options(1);
  o.max_held = 5;
  node n(1, o);
  for (std::uint64_t k = 1; k <= 10; ++k) n.receive(genesis_prepare{{k, id(2)}, three});
  CHECK(n.g.stats().get("messages over limit") == 5);
  n.synced();
  CHECK(n.sent<genesis_promise>().size() == 5);
}
