// Read leases (docs/consensus.md 1.8; LeaseGuard, arXiv 2512.15659): who may answer at once, and who has to wait for
// it. What clients see of it in a world of faults is in kv_test.cpp and stress_test.cpp.
#include <algorithm>

#include "catch.hpp"
#include "cluster.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;

namespace {

constexpr std::chrono::milliseconds lease(3'000);  // longer than any election here
constexpr auto held = lease * 99 / 100;            // by who has it
constexpr auto awaited = lease * 101 / 100;        // by who comes after
constexpr std::uint64_t old_leader = 1, follower = 2, other = 3;

configuration leased(std::initializer_list<std::uint64_t> nodes, std::chrono::milliseconds length = lease) {
  auto c = voters(nodes);
  c.read_lease = length;
  return c;
}

/// Node 1 leads, and what it made last is committed everywhere.
cluster led(std::initializer_list<std::uint64_t> nodes = {1, 2, 3}, options o = {}) {
  cluster c(o);
  for (const auto n : nodes) c.add(n, leased(nodes));
  REQUIRE(c.elect(old_leader));
  REQUIRE(c.propose(old_leader, "before"));
  c.settle();
  REQUIRE(c[old_leader].holds_read_lease());
  return c;
}

/// Whether a read is answered without any message.
bool reads_alone(cluster& c, std::uint64_t n, std::uint64_t read) {
  const auto waiting = c.network.size();
  c.read(n, read);
  c.pump(n);
  return c.network.size() == waiting && c.read_result(n, read) && c.read_result(n, read)->ok;
}

/// The follower leads as well, and has an entry that nobody may know of yet.
void elect_follower(cluster& c) {
  c.isolate(old_leader);
  REQUIRE(c.elect(follower));
  c.settle();
}

bool committed(const cluster& c, std::string_view what) {
  const auto all = c.committed();
  return std::find(all.begin(), all.end(), what) != all.end();
}

}  // namespace

// ---- the leader -----------------------------------------------------------------------------------------------------

TEST_CASE("lease: a leader whose newest entry is young and committed answers reads without a message") {
  auto c = led();
  CHECK(reads_alone(c, old_leader, 1));
  CHECK(c.read_result(old_leader, 1)->index == c[old_leader].commit());
  CHECK(c[old_leader].stats().get("raft_lease_reads") == 1);
}

TEST_CASE("lease: a follower's or a learner's read takes one round trip, with five voters as well") {
  cluster c;
  auto conf = leased({1, 2, 3, 4, 5});
  conf.learners = ids({6});
  for (std::uint64_t n = 1; n <= 6; ++n) c.add(n, conf);
  REQUIRE(c.elect(1));
  c.settle();
  for (const std::uint64_t n : {2, 6}) {
    c.read(n, 1);
    c.pump(n);
    REQUIRE(c.network.size() == 1);
    c.deliver(0);
    REQUIRE(c.network.size() == 1);
    c.deliver(0);
    CHECK(c.read_result(n, 1)->ok);
  }
}

TEST_CASE("lease: it counts from the making of the entry, for less than its length (etcd#6005)", "[lesson]") {
  auto c = led();
  c.skip(held - 1ms);
  CHECK(reads_alone(c, old_leader, 1));
  c.skip(1ms);
  CHECK_FALSE(reads_alone(c, old_leader, 2));
  c.settle();
  CHECK(c.read_result(old_leader, 2)->ok);  // by a round

  // Its answers came late: so much of the lease is over when the entry is committed.
  auto late = led();
  REQUIRE(late.propose(old_leader, "slow"));
  late.pump(old_leader);
  late.skip(held);
  late.settle();
  REQUIRE(committed(late, "slow"));
  CHECK_FALSE(late[old_leader].holds_read_lease());
}

TEST_CASE("lease: an entry that is not committed gives none, nor does one of an earlier term") {
  cluster c;
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, leased({1, 2, 3}));
  c.drop = [](const message& m) { return std::holds_alternative<append_response>(m.body); };
  REQUIRE(c.elect(1));
  CHECK_FALSE(c[1].holds_read_lease());
  c.read(1, 1);
  c.settle();
  CHECK_FALSE(c.read_result(1, 1));
}

TEST_CASE("lease: without the setting there is none, and nobody waits") {
  cluster c;
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, voters({1, 2, 3}));
  REQUIRE(c.elect(1));
  CHECK_FALSE(c[1].holds_read_lease());
  CHECK_FALSE(reads_alone(c, 1, 1));
  c.isolate(1);
  REQUIRE(c.elect(2));
  CHECK(c[2].leader_ready());
}

TEST_CASE("lease: frequent reads renew it by a no-op when half is gone, single ones don't") {
  auto c = led();
  const auto before = c[old_leader].last_index();
  c.skip(lease / 2 + 1ms);
  CHECK(reads_alone(c, old_leader, 1));  // the first for long
  CHECK(c[old_leader].last_index() == before);
  c.read(old_leader, 2);
  c.settle();
  REQUIRE(c[old_leader].last_index() == before.next());
  CHECK(c[old_leader].entry_at(before.next())->kind == entry_kind::noop);
  c.read(old_leader, 3);
  c.settle();
  CHECK(c[old_leader].last_index() == before.next());  // fresh again
  c.skip(held);
  c.tick(old_leader);
  c.settle();
  REQUIRE(c[old_leader].last_index() == before.next());
  CHECK_FALSE(c[old_leader].holds_read_lease());
}

TEST_CASE("lease: leadership that others build on is confirmed by a quorum all the same") {
  auto c = led();
  elect_follower(c);
  CHECK(reads_alone(c, old_leader, 1));
  c[old_leader].confirm_leadership(2, c.time(old_leader));
  c.settle();
  CHECK_FALSE(c.read_result(old_leader, 2));
  c.heal();
  c.advance(60ms);
  REQUIRE(c.read_result(old_leader, 2));
  CHECK_FALSE(c.read_result(old_leader, 2)->ok);
  c[other].confirm_leadership(3, c.time(other));
  c.pump(other);
  CHECK_FALSE(c.read_result(other, 3)->ok);  // does not lead
}

// ---- the next leader ------------------------------------------------------------------------------------------------

TEST_CASE("lease: the next leader commits nothing before the last entry of others is old enough") {
  auto c = led();
  const auto made = c.now();
  elect_follower(c);
  REQUIRE(c.propose(follower, "after"));
  c.settle();
  CHECK_FALSE(c[follower].leader_ready());
  c.read(follower, 1);
  for (; c.now() < made + awaited - 10ms; c.advance(5ms)) {
    REQUIRE_FALSE(committed(c, "after"));
    REQUIRE(c[follower].commit() == log_index(2));
    REQUIRE(c[follower].current_role() == role::leader);  // longer than a stalled leader may stay
  }
  CHECK_FALSE(c.read_result(follower, 1));
  c.advance(20ms);
  CHECK(committed(c, "after"));
  CHECK(c.read_result(follower, 1)->ok);
  CHECK(c[follower].holds_read_lease());
  CHECK(c[follower].stats().get("raft_leases_awaited") == 1);
  CHECK(c.violations == std::vector<std::string>{});
}

TEST_CASE("lease: when the wait is over and nothing can be committed, nobody is woken for it again") {
  auto c = led();
  c.drop = [](const message& m) {
    const auto* a = std::get_if<append_request>(&m.body);
    return a && !a->entries.empty();
  };
  elect_follower(c);
  c.advance(awaited);
  REQUIRE(c[follower].current_role() == role::leader);
  REQUIRE(c[follower].stats().get("raft_leases_awaited") == 1);
  CHECK(c[follower].next_wake() > c.time(follower));
  c.drop = nullptr;
  c.advance(100ms);
  CHECK(c[follower].leader_ready());
}

TEST_CASE("lease: one that does not wait makes a stale read (early_commit)") {
  options o;
  o.bug = planted_bug::early_commit;
  auto c = led({1, 2, 3}, o);
  elect_follower(c);
  REQUIRE(c.propose(follower, "after"));
  c.settle();
  REQUIRE(committed(c, "after"));
  CHECK(reads_alone(c, old_leader, 1));
  CHECK(c.violations == std::vector<std::string>{"stale read"});
}

TEST_CASE("lease: old and new leader never overlap while clocks keep their bound, and do beyond it") {
  const auto overlap = [](double holder, double waiter) {
    auto c = led();
    c.set_rate(old_leader, holder);  // what was noted by the earlier rate is one instant
    c.set_rate(follower, waiter);
    REQUIRE(c.propose(old_leader, "at these rates"));
    c.settle();
    c.isolate(old_leader);
    c.skip(1s);
    c.tick(follower);
    c.settle();
    REQUIRE(c[follower].current_role() == role::leader);
    while (!c[follower].leader_ready()) {
      c.skip(1ms);
      c.tick(follower);
      c.settle();
    }
    return c[old_leader].holds_read_lease();
  };
  for (const double holder : {0.99, 1.0, 1.01})
    for (const double waiter : {0.99, 1.0, 1.01}) CHECK_FALSE(overlap(holder, waiter));
  CHECK(overlap(0.97, 1.03));
}

TEST_CASE("lease: suspend ends the holder's and not the wait of the next leader") {
  auto c = led();
  c.skip(held);
  c.suspend(old_leader, held);
  CHECK_FALSE(reads_alone(c, old_leader, 1));

  auto d = led();
  elect_follower(d);
  d.skip(awaited);
  d.suspend(follower, awaited);
  d.tick(follower);
  d.settle();
  CHECK_FALSE(d[follower].leader_ready());
  d.advance(awaited);
  CHECK(d[follower].leader_ready());
}

TEST_CASE("lease: clocks that go backwards, or that nobody tells, give none, and end no wait") {
  auto c = led();
  c.suspend(old_leader, 1ms);  // backwards
  CHECK_FALSE(c[old_leader].holds_read_lease());

  recovered r;
  r.snapshot.conf = leased({1});
  r.entries = entries_of_terms({1});
  r.hard.current = term(1);
  raft::core untold(id(1), {}, r, instant(1s), 1);
  untold.tick(untold.next_wake());
  untold.on_persisted(untold.take().persist.sequence, untold.next_wake());
  untold.on_persisted(untold.take().persist.sequence, untold.next_wake());
  REQUIRE(untold.current_role() == role::leader);
  untold.tick(instant(1h));
  CHECK(untold.commit() == log_index(0));
}

TEST_CASE("lease: what the disk had at the start counts from then") {
  auto c = led();
  c.isolate(old_leader);
  c.skip(awaited - 100ms);
  c.crash(follower);
  c.restart(follower);
  const auto started = c.now();
  REQUIRE(c.elect(follower));
  c.settle();
  while (c.now() < started + awaited - 10ms) {
    REQUIRE_FALSE(c[follower].leader_ready());
    c.advance(5ms);
  }
  c.advance(20ms);
  CHECK(c[follower].leader_ready());
}

TEST_CASE("lease: a state that was installed counts from then, with the lease of its configuration") {
  cluster c;
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, voters({1, 2, 3}));
  REQUIRE(c.elect(1));
  c.crash(other);
  REQUIRE(c[1].propose_read_lease(lease, c.now()));
  c.settle();
  REQUIRE(c.propose(1, "before"));
  c.settle();
  c.compact(1, c[1].applied().value);
  c.compact(2, c[2].applied().value);
  c.restart(other);
  c.advance(500ms);
  REQUIRE(c[other].stats().get("raft_snapshots_installed") == 1);
  CHECK(c[other].conf().read_lease == lease);
  const auto known = c[other].commit();
  c.isolate(1);
  REQUIRE(c.elect(other));
  CHECK(c[1].holds_read_lease());
  CHECK(c[other].commit() == known);
  c.advance(awaited);
  CHECK(c[other].leader_ready());
}

TEST_CASE("lease: an entry that was passed on by another node counts like the leader's own message") {
  auto c = led();
  c.isolate(follower);
  REQUIRE(c.propose(old_leader, "passed on"));
  c.settle();
  c.skip(2s);  // the other two go on without it
  const auto at = c[other].commit();
  REQUIRE(c[follower].on_relayed({at.prev(), {*c[other].entry_at(at)}, {}, {}, {}}, c.time(follower)));
  c.pump(follower);
  const auto received = c.now();
  c.heal();
  c.isolate(old_leader);
  REQUIRE(c.elect(follower));
  c.settle();
  while (c.now() < received + awaited - 10ms) {
    REQUIRE_FALSE(c[follower].leader_ready());
    c.advance(5ms);
  }
  c.advance(20ms);
  CHECK(c[follower].leader_ready());
}

TEST_CASE("lease: who follows itself waits for nothing") {
  auto c = led();
  c.advance(awaited);  // since its start, too
  REQUIRE(c.propose(old_leader, "young"));
  c.settle();
  c.isolate(old_leader);
  c.skip(601ms);
  c.tick(old_leader);
  REQUIRE(c[old_leader].current_role() == role::follower);
  CHECK_FALSE(c[old_leader].holds_read_lease());
  c.heal();
  REQUIRE(c.elect(old_leader));
  CHECK(c[old_leader].leader_ready());
}

// ---- leadership that is handed over ---------------------------------------------------------------------------------

TEST_CASE("lease: one that hands over gives it up first, and nobody waits") {
  auto c = led();
  REQUIRE(c[old_leader].transfer_leadership(id(follower), c.now()));
  c.pump(old_leader);
  CHECK_FALSE(c[old_leader].holds_read_lease());
  c.settle();
  CHECK(c[follower].leader_ready());
  CHECK(c[follower].holds_read_lease());
  CHECK_FALSE(c[old_leader].holds_read_lease());
}

TEST_CASE("lease: one that waits itself can't say that nobody has any") {
  auto c = led();
  elect_follower(c);
  REQUIRE_FALSE(c[follower].leader_ready());
  REQUIRE(c[follower].transfer_leadership(id(other), c.now()));
  c.settle();
  REQUIRE(c[other].current_role() == role::leader);
  CHECK(c[old_leader].holds_read_lease());
  CHECK_FALSE(c[other].leader_ready());
  c.advance(awaited);
  CHECK(c[other].leader_ready());
}

TEST_CASE("lease: after a transfer that failed only new entries give one, and the order is no excuse then") {
  auto c = led();
  std::optional<message> order;
  c.drop = [&](const message& m) {
    if (!std::holds_alternative<timeout_now>(m.body)) return false;
    order = m;
    return true;
  };
  REQUIRE(c[old_leader].transfer_leadership(id(follower), c.now()));
  c.advance(700ms);
  REQUIRE(order);
  REQUIRE(c[old_leader].stats().get("raft_transfers_aborted") == 1);
  CHECK_FALSE(c[old_leader].holds_read_lease());
  REQUIRE(c.propose(old_leader, "anew"));
  c.settle();
  CHECK(c[old_leader].holds_read_lease());
  c.drop = nullptr;
  c.isolate(old_leader);
  c[follower].step(*order, c.time(follower));
  c.settle();
  REQUIRE(c[follower].current_role() == role::leader);
  CHECK(c[old_leader].holds_read_lease());
  CHECK_FALSE(c[follower].leader_ready());
  CHECK(c.violations == std::vector<std::string>{});
}

TEST_CASE("lease: a leader that the configuration removes leaves none behind") {
  auto c = led();
  REQUIRE(c[old_leader].propose_configuration(ids({2, 3}), {}, c.now()));
  c.settle();
  c.advance(100ms);
  REQUIRE(c[old_leader].current_role() == role::follower);
  CHECK_FALSE(c[old_leader].holds_read_lease());
  REQUIRE(c.leader() != 0);
  CHECK(c[c.leader()].leader_ready());
}

TEST_CASE("lease: one that is removed behind its back is gone before that is committed") {
  auto c = led();
  elect_follower(c);
  CHECK_FALSE(c[follower].propose_configuration(ids({2, 3}), {}, c.now()));
  while (!c[follower].propose_configuration(ids({2, 3}), {}, c.now())) c.advance(5ms);
  CHECK_FALSE(c[old_leader].holds_read_lease());
}

// ---- the setting ----------------------------------------------------------------------------------------------------

TEST_CASE("lease: switched on, it is given by the setting's own entry at the earliest (scylla#30697, scylla#30777)",
          "[lesson]") {
  cluster c;
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, voters({1, 2, 3}));
  REQUIRE(c.elect(1));
  REQUIRE(c.propose(1));
  c.settle();
  REQUIRE(c[1].propose_read_lease(lease, c.now()));
  c.pump(1);
  CHECK_FALSE(c[1].holds_read_lease());
  c.settle();
  CHECK(c[1].holds_read_lease());
  CHECK(c[2].conf().read_lease == lease);
  CHECK_FALSE(c[1].propose_read_lease(lease, c.now()));  // already
  CHECK_FALSE(c[1].propose_read_lease(-1ms, c.now()));
  CHECK_FALSE(c[2].propose_read_lease(0ms, c.now()));  // does not lead

  // It stays when the members change.
  REQUIRE(c[1].propose_configuration(ids({1, 2}), ids({3}), c.now()));
  c.settle();
  CHECK_FALSE(c[1].conf().joint());
  CHECK(c[1].conf().read_lease == lease);
}

TEST_CASE("lease: while a change is not known to be committed, the longer one binds") {
  const auto other_length = GENERATE(0ms, 500ms, 6000ms);
  auto c = led();
  // The change reaches the others, and no answer comes back.
  c.drop = [](const message& m) { return m.to == id(old_leader); };
  REQUIRE(c[old_leader].propose_read_lease(other_length, c.now()));
  c.settle();
  c.drop = nullptr;
  CHECK(c[follower].conf().read_lease == other_length);
  const auto made = c.now();
  elect_follower(c);
  const auto longer = std::max<duration>(other_length, lease);
  while (c.now() < made + longer * 101 / 100 - 10ms) {
    REQUIRE_FALSE(c[follower].leader_ready());
    c.advance(5ms);
  }
  CHECK_FALSE(c[old_leader].holds_read_lease());
  c.advance(20ms);
  CHECK(c[follower].leader_ready());
}

TEST_CASE("lease: a shorter one that is committed binds its leader at once") {
  auto c = led();
  c.skip(1s);
  REQUIRE(c[old_leader].propose_read_lease(500ms, c.now()));
  c.settle();
  CHECK(c[old_leader].holds_read_lease());
  elect_follower(c);  // 600 ms later
  CHECK_FALSE(c[old_leader].holds_read_lease());
  CHECK(c[follower].leader_ready());

  auto off = led();
  REQUIRE(off[old_leader].propose_read_lease(0ms, off.now()));
  off.settle();
  CHECK_FALSE(off[old_leader].holds_read_lease());
  elect_follower(off);
  CHECK(off[follower].leader_ready());
}

TEST_CASE("lease: a change that is taken back was none") {
  auto c = led();
  c.isolate(old_leader);
  REQUIRE(c[old_leader].propose_read_lease(10s, c.now()));
  c.pump(old_leader);
  c.skip(held);
  CHECK_FALSE(c[old_leader].holds_read_lease());
  REQUIRE(c.elect(follower));
  c.advance(100ms);
  CHECK(c[follower].leader_ready());
  c.heal();
  c.advance(200ms);
  CHECK(c[old_leader].conf().read_lease == lease);
}
