// Paper 5.1, 5.2, 5.4.1, 5.4.3 and 5.6; thesis 3.10, 4.2.3 and 9.6; and what elections taught others.
#include "catch.hpp"
#include "cluster.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;

namespace {

constexpr instant start{1s};

raft::core single(recovered r, options o = {}) { return {id(1), o, std::move(r), start, 1}; }

recovered fresh(configuration conf) {
  recovered r;
  r.snapshot.conf = std::move(conf);
  return r;
}

recovered with_log(configuration conf, std::uint64_t current, std::vector<entry> entries) {
  auto r = fresh(std::move(conf));
  r.hard.current = term(current);
  r.entries = std::move(entries);
  return r;
}

template <class Body>
message from(std::uint64_t n, std::uint64_t when, Body body) {
  return {id(n), id(1), term(when), body};
}

append_request heartbeat() { return {}; }

/// Takes, completes the write, and returns what left only then.
std::vector<message> persist(raft::core& c, instant now) {
  auto r = c.take();
  c.on_persisted(r.persist.sequence, now);
  return std::move(r.send_after_persist);
}

cluster three(options o = {}) {
  cluster c(o);
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, voters({1, 2, 3}));
  return c;
}

template <class Body>
const Body* body_to(const std::vector<message>& messages, std::uint64_t n) {
  for (const auto& m : messages) {
    if (m.to == id(n)) {
      if (const auto* b = std::get_if<Body>(&m.body)) return b;
    }
  }
  return nullptr;
}

}  // namespace

// ---- 5.1 terms ------------------------------------------------------------------------------------------------------

TEST_CASE("paper 5.1: a larger term makes a leader a follower") {
  auto c = three();
  REQUIRE(c.elect(1));
  append_response later;
  c[1].step({id(2), id(1), term(9), later}, c.now());
  CHECK(c[1].current_role() == role::follower);
  CHECK(c[1].current_term() == term(9));
}

TEST_CASE("paper 5.1: a message of an older term is refused and answered with the current one") {
  auto c = single(with_log(voters({1, 2, 3}), 5, {}));
  c.step(from(2, 4, append_request{}), start);
  c.step(from(3, 4, vote_request{false, false, log_index(9), term(4)}), start);
  c.step(from(3, 4, vote_response{false, true}), start);
  const auto out = persist(c, start);
  REQUIRE(out.size() == 2);
  CHECK(out[0].when == term(5));
  CHECK_FALSE(std::get<append_response>(out[0].body).ok);
  CHECK_FALSE(std::get<vote_response>(out[1].body).granted);
  CHECK(c.leader() == node_id{});
}

TEST_CASE("paper 5.1: unusable input is dropped and counted") {
  auto c = single(fresh(voters({1, 2, 3})));
  c.step({id(2), id(3), term(1), append_request{}}, start);
  c.step({id(1), id(1), term(1), append_request{}}, start);
  c.step({id(2), id(1), term(0), append_request{}}, start);
  c.step({id(2), id(1), term(~std::uint64_t{0}), append_request{}}, start);
  c.step(from(2, 1, append_request{{}, {}, {}, {command(1, 7)}, 0}), start);
  c.step(from(2, 1, append_request{{}, {}, {}, {command(3, 1)}, 0}), start);
  c.on_persisted(77, start);
  c.on_applied(log_index(4));
  CHECK(c.stats().get("raft_misdirected") == 2);
  CHECK(c.stats().get("raft_bad_term") == 2);
  CHECK(c.stats().get("raft_bad_append") == 2);
  CHECK(c.stats().get("raft_unknown_persist") == 1);
  CHECK(c.stats().get("raft_applied_beyond_committed") == 1);
  CHECK(c.last_index() == log_index(0));
}

TEST_CASE("paper 5.1: an answer of an earlier term counts for nothing (little-raft#44)", "[lesson]") {
  auto c = single(with_log(voters({1, 2, 3}), 1, {}));
  c.tick(c.next_wake());
  c.step(from(2, 2, vote_response{true, true}), start);
  persist(c, start);
  REQUIRE(c.current_term() == term(2));
  c.step(from(2, 1, vote_response{false, true}), start);
  CHECK(c.current_role() == role::candidate);
  c.step(from(2, 2, vote_response{false, true}), start);
  REQUIRE(c.current_role() == role::leader);
  persist(c, start);
  c.step(from(2, 1, append_response{true, log_index(1), {}, {}, 0}), start);
  CHECK(c.commit() == log_index(0));
  CHECK_FALSE(c.progress()[0].recently_active);
  c.step(from(2, 2, append_response{true, log_index(1), {}, {}, 0}), start);
  CHECK(c.commit() == log_index(1));
}

// ---- 5.2 elections --------------------------------------------------------------------------------------------------

TEST_CASE("paper 5.2: a majority elects one leader, and it writes an entry of its own term") {
  auto c = three();
  c.advance(2s);
  REQUIRE(c.leader() != 0);
  auto& leader = c[c.leader()];
  CHECK(leader.leader_ready());
  CHECK(leader.entry_at(log_index(1))->kind == entry_kind::noop);
  for (std::uint64_t n = 1; n <= 3; ++n) {
    CHECK(c[n].leader() == leader.self());
    CHECK(c[n].commit() == log_index(1));
    CHECK(c[n].has_quorum_contact(c.now()));
  }
  CHECK(c.violations.empty());
}

TEST_CASE("paper 5.2: no majority, no leader, and no rising terms either (prevote)") {
  auto c = three();
  c.isolate(1);
  c.isolate(2);
  c.advance(10s);
  CHECK(c.leader() == 0);
  for (std::uint64_t n = 1; n <= 3; ++n) CHECK(c[n].current_term() == term(0));
}

TEST_CASE("paper 5.2: election time-outs differ and are drawn anew") {
  std::set<instant> drawn;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const raft::core c(id(1), {}, fresh(voters({1, 2, 3})), start, seed);
    drawn.insert(c.next_wake());
    CHECK(c.next_wake() >= start + 300ms);
    CHECK(c.next_wake() <= start + 600ms);
  }
  CHECK(drawn.size() > 15);
}

TEST_CASE("paper 5.2: one vote in a term, durable before the answer leaves (camunda#5356, camunda#1068)", "[lesson]") {
  auto c = single(fresh(voters({1, 2, 3})));
  c.step(from(2, 1, vote_request{}), start);
  c.step(from(3, 1, vote_request{}), start);
  const auto r = c.take();
  REQUIRE(r.persist.hard);
  CHECK(*r.persist.hard == hard_state{term(1), id(2)});
  CHECK(r.send_now.empty());
  CHECK(body_to<vote_response>(r.send_after_persist, 2)->granted);
  CHECK_FALSE(body_to<vote_response>(r.send_after_persist, 3)->granted);

  // The same after a restart from that disk.
  auto again = single({*r.persist.hard, {log_index(0), term(0), voters({1, 2, 3})}, {}, {}});
  again.step(from(3, 1, vote_request{}), start);
  again.step(from(2, 1, vote_request{}), start);
  const auto out = again.take().send_after_persist;
  CHECK_FALSE(body_to<vote_response>(out, 3)->granted);
  CHECK(body_to<vote_response>(out, 2)->granted);
}

TEST_CASE("paper 5.2: a vote stands for its term, also when the leader that it made is forgotten (camunda#5356)",
          "[lesson]") {
  auto c = single(fresh(voters({1, 2, 3})));
  c.step(from(2, 1, vote_request{}), start);
  REQUIRE(body_to<vote_response>(persist(c, start), 2)->granted);
  c.step(from(2, 1, heartbeat()), start);
  c.on_unreachable(id(2), true, start);
  REQUIRE(c.leader() == node_id{});
  persist(c, start);
  c.step(from(3, 1, vote_request{}), start);
  CHECK_FALSE(body_to<vote_response>(persist(c, start), 3)->granted);
}

TEST_CASE("paper 5.2: the candidate's own vote counts when it is durable") {
  auto c = single(fresh(voters({1})));
  c.tick(c.next_wake());
  CHECK(c.current_role() == role::candidate);
  const auto r = c.take();
  CHECK(*r.persist.hard == hard_state{term(1), id(1)});
  CHECK(c.current_role() == role::candidate);
  c.on_persisted(r.persist.sequence, start);
  CHECK(c.current_role() == role::leader);
}

TEST_CASE("paper 5.2: the completion of an earlier write does not make the candidate's vote count") {
  auto c = single(fresh(voters({1, 2})));
  c.step(from(2, 1, append_request{{}, {}, {}, {command(1, 1)}, 0}), start);
  const auto before = c.take();
  c.tick(c.next_wake());
  c.step(from(2, 2, vote_response{true, true}), start);
  REQUIRE(c.current_role() == role::candidate);
  const auto r = c.take();
  c.step(from(2, 2, vote_response{false, true}), start);
  c.on_persisted(before.persist.sequence, start);
  CHECK(c.current_role() == role::candidate);
  c.on_persisted(r.persist.sequence, start);
  CHECK(c.current_role() == role::leader);
}

TEST_CASE("paper 5.2: vote requests leave after the candidate's term is durable, votes of older terms don't count") {
  auto c = single(fresh(voters({1, 2, 3})));
  c.tick(c.next_wake());
  CHECK(c.current_term() == term(0));
  c.step(from(2, 1, vote_response{true, true}), start);
  REQUIRE(c.current_role() == role::candidate);
  const auto r = c.take();
  CHECK(body_to<vote_request>(r.send_now, 2)->pre);
  CHECK_FALSE(body_to<vote_request>(r.send_after_persist, 2)->pre);
  c.on_persisted(r.persist.sequence, start);
  c.step(from(2, 1, vote_response{true, true}), start);  // a late prevote is no vote
  CHECK(c.current_role() == role::candidate);
  c.step(from(7, 1, vote_response{false, true}), start);  // nor is a stranger's
  CHECK(c.current_role() == role::candidate);
  c.step(from(3, 1, vote_response{false, true}), start);
  CHECK(c.current_role() == role::leader);
}

TEST_CASE("paper 5.2: a candidate repeats its request, and gives up when it can't win") {
  auto c = single(fresh(voters({1, 2, 3})));
  auto now = c.next_wake();
  c.tick(now);
  c.take();
  now += 50ms;
  c.step(from(2, 0, vote_response{}), now);
  c.step({id(2), id(1), term(1), vote_response{true, true}}, now);
  persist(c, now);
  c.step(from(2, 1, vote_response{false, false}), now);
  now += 50ms;
  c.tick(now);
  const auto out = c.take();
  CHECK(body_to<vote_request>(out.send_after_persist, 2) == nullptr);  // it has answered
  CHECK(body_to<vote_request>(out.send_after_persist, 3) != nullptr);
  c.step(from(3, 1, vote_response{false, false}), now);
  CHECK(c.current_role() == role::follower);
}

TEST_CASE("paper 5.2: a node outside its configuration never campaigns") {
  auto learner = single(fresh({ids({2, 3}), {}, ids({1})}));
  auto stranger = single(fresh(voters({2, 3})));
  auto blank = single({});
  for (auto* c : {&learner, &stranger, &blank}) {
    CHECK(c->next_wake() == never);
    c->tick(start + 10s);
    c->step(from(2, 1, append_request{}), start + 10s);
    c->step(from(2, 1, timeout_now{}), start + 10s);
    c->tick(start + 20s);
    CHECK(c->current_role() == role::follower);
    CHECK(c->leader() == node_id{});
    CHECK(c->take().persist.hard->vote == node_id{});
  }
}

// ---- 5.4.1 election restriction -------------------------------------------------------------------------------------

TEST_CASE("paper 5.4.1: votes only for logs that are at least as new") {
  const auto granted = [](std::uint64_t last_term, std::uint64_t last_index, bool pre) {
    auto c = single(with_log(voters({1, 2, 3}), 3, entries_of_terms({1, 3, 3})));
    c.step(from(2, 4, vote_request{pre, false, log_index(last_index), term(last_term)}), start);
    auto r = c.take();
    return body_to<vote_response>(pre ? r.send_now : r.send_after_persist, 2)->granted;
  };
  for (const bool pre : {false, true}) {
    CHECK(granted(3, 3, pre));
    CHECK(granted(3, 4, pre));
    CHECK(granted(4, 1, pre));
    CHECK_FALSE(granted(3, 2, pre));
    CHECK_FALSE(granted(2, 9, pre));
  }
}

// ---- 5.4.3 safety argument ------------------------------------------------------------------------------------------

TEST_CASE("paper 5.4.3: nobody without a committed entry can be elected, by whatever majority") {
  const auto conf = voters({1, 2, 3, 4, 5});
  const auto three_of = [](unsigned set) { return __builtin_popcount(set) == 3; };
  const auto in = [](unsigned set, std::uint64_t n) { return (set >> (n - 1) & 1) != 0; };
  // Entry 2 of term 2 is committed, by the three that have it; the others have more entries, of an older term.
  for (unsigned have = 0; have < 32; ++have) {
    for (unsigned voting = 0; voting < 32; ++voting) {
      if (!three_of(have) || !three_of(voting)) continue;
      for (std::uint64_t candidate = 1; candidate <= 5; ++candidate) {
        if (!in(voting, candidate)) continue;
        cluster c;
        for (std::uint64_t n = 1; n <= 5; ++n) {
          disk d;
          d.snapshot.conf = conf;
          d.hard.current = term(2);
          d.entries = in(have, n) ? entries_of_terms({1, 2}) : entries_of_terms({1, 1, 1, 1});
          c.add(n, d);
        }
        for (std::uint64_t n = 1; n <= 5; ++n) {
          if (!in(voting, n)) c.isolate(n);
        }
        CAPTURE(have, voting, candidate);
        CHECK(c.elect(candidate) == in(have, candidate));
      }
    }
  }
}

// ---- 5.6 timing -----------------------------------------------------------------------------------------------------

namespace {

/// As cluster::advance, but each message takes `delay`.
void advance_slowly(cluster& c, duration d, duration delay) {
  std::deque<instant> due;
  for (const auto end = c.now() + d; c.now() < end;) {
    c.skip(5ms);
    for (std::uint64_t n = 1; n <= 3; ++n) {
      if (c[n].next_wake() <= c.now()) c.tick(n);
    }
    due.resize(c.network.size(), c.now() + delay);
    while (!due.empty() && due.front() <= c.now()) {
      due.pop_front();
      c.deliver(0);
      due.resize(c.network.size(), c.now() + delay);
    }
  }
}

}  // namespace

TEST_CASE("paper 5.6: a leader stays as long as messages travel faster than election time-outs, and only so long") {
  auto c = three();
  REQUIRE(c.elect(1));
  advance_slowly(c, 20s, 100ms);
  CHECK(c.leader() == 1);
  for (const std::uint64_t n : {2, 3}) CHECK(c[n].stats().get("raft_prevotes_started") == 0);
  CHECK(c[1].current_term() == term(1));
  REQUIRE(c.propose(1));
  advance_slowly(c, 400ms, 100ms);
  CHECK(c[2].commit() == log_index(2));
  // Slower ones: nobody stays in office, and nothing wrong is done.
  advance_slowly(c, 20s, 700ms);
  CHECK(c[1].current_role() != role::leader);
  CHECK(c.committed().size() == 1);
  advance_slowly(c, 5s, 100ms);
  REQUIRE(c.leader() != 0);
  CHECK(c[c.leader()].leader_ready());
  CHECK(c.violations.empty());
}

TEST_CASE("election time-outs are long enough for two rounds of votes where answers take long") {
  const auto pace = GENERATE(40ms, 250ms, 500ms, 5s);
  std::uint64_t campaigns = 0, blind = 0;
  duration took{};
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    for (const bool measured : {true, false}) {
      cluster c({}, seed);
      for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, voters({1, 2, 3}));
      REQUIRE(c.elect(1));
      for (std::uint64_t n = 1; n <= 3; ++n)
        if (measured) c[n].set_pace(pace);
      if (pace > 1s) {  // it is no use to wait for ever
        CHECK(c[1].longest_election_timeout() == (measured ? 6s : 600ms));
        continue;
      }
      advance_slowly(c, 5s, pace / 2);
      REQUIRE(c.leader() == 1);
      const auto before = c.now();
      c.network.clear();
      c.crash(1);
      advance_slowly(c, 30s, pace / 2);
      REQUIRE(c.leader() != 0);
      if (measured) took += c[c.leader()].leader_since() - before;
      for (std::uint64_t n = 2; n <= 3; ++n)
        (measured ? campaigns : blind) += c[n].stats().get("raft_elections_started");
      CHECK(c.violations.empty());
    }
  }
  CAPTURE(campaigns, blind, took.count());
  if (pace > 1s) return;
  // Of 20 elections few needed a second try.
  CHECK(campaigns <= 30);
  CHECK(took / 20 <= 20 * pace + 1s);
  if (pace == 500ms) CHECK(blind > 2 * campaigns);
}

TEST_CASE("campaigns that end without an outcome last longer, until there is a leader") {
  auto c = three();
  // Votes come later than any time-out that the voters know of.
  for (std::uint64_t n = 1; n <= 3; ++n) c.at(n).hold_writes = true;
  std::map<std::uint64_t, std::deque<instant>> due;
  const auto slow_disks = [&](duration d) {
    for (const auto end = c.now() + d; c.now() < end;) {
      c.advance(10ms);
      for (std::uint64_t n = 1; n <= 3; ++n) {
        while (due[n].size() < c.at(n).writes.size()) due[n].push_back(c.now() + 700ms);
        while (!due[n].empty() && due[n].front() <= c.now()) {
          due[n].pop_front();
          c.complete_write(n);
          c.settle();
        }
      }
    }
  };
  for (int i = 0; i < 120 && c.leader() == 0; ++i) slow_disks(500ms);
  REQUIRE(c.leader() != 0);
  slow_disks(5s);
  const auto leader = c.leader();
  REQUIRE(leader != 0);
  // Nobody is more patient than before, now that there is one.
  for (std::uint64_t n = 1; n <= 3; ++n) CHECK(c[n].longest_election_timeout() == 600ms);
  CHECK(c.violations.empty());
}

TEST_CASE("heartbeats of all groups leave at one time when that is asked for, and no later than otherwise") {
  options o;
  o.align_heartbeats = GENERATE(true, false);
  std::set<std::int64_t> phases;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    cluster c(o, seed);
    for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, voters({1, 2, 3}));
    c.advance(5ms * static_cast<int>(seed));
    REQUIRE(c.elect(1));
    const auto elected = c.now();
    CHECK(c[1].next_wake() <= elected + o.heartbeat);
    c.advance(500ms);
    phases.insert((c[1].next_wake().time_since_epoch() % o.heartbeat).count());
  }
  CHECK((phases.size() == 1) == o.align_heartbeats);
}

// ---- thesis 9.6, 4.2.3: prevote and stickiness ----------------------------------------------------------------------

TEST_CASE("thesis 9.6: a prevote changes nothing here and is refused while a leader is heard") {
  auto c = single(fresh(voters({1, 2, 3})));
  c.step(from(2, 1, heartbeat()), start);
  persist(c, start);
  const vote_request pre{true, false, log_index(9), term(1)};
  c.step(from(3, 2, pre), start + 200ms);
  c.step(from(3, 2, vote_request{false, false, log_index(9), term(1)}), start + 200ms);
  CHECK(c.take().empty());
  CHECK(c.current_term() == term(1));
  CHECK(c.leader() == id(2));

  c.step(from(3, 2, pre), start + 301ms);
  const auto r = c.take();
  CHECK(r.persist.empty());
  REQUIRE(r.send_now.size() == 1);
  CHECK(r.send_now[0].when == term(2));
  CHECK(body_to<vote_response>(r.send_now, 3)->granted);
}

TEST_CASE(
    "thesis 9.6: a prevote from a node that fell behind is answered with the own term, so that it can win then (eraft "
    "TestPreVoteMigration)",
    "[lesson]") {
  cluster c;
  disk longer, newer;
  longer.snapshot.conf = newer.snapshot.conf = voters({1, 2, 3});
  longer.hard = {term(2), {}};
  longer.entries = entries_of_terms({1, 2, 2});
  newer.hard = {term(8), {}};
  newer.entries = entries_of_terms({1, 2});
  c.add(1, longer);
  c.add(2, newer);
  c.add(3, newer);
  c.at(3).core.reset();
  CHECK_FALSE(c.elect(1));
  CHECK(c[1].current_term() == term(8));
  CHECK(c.elect(1));
}

TEST_CASE(
    "thesis 4.2.3: a removed node can't disturb, whatever its term (hraft#524, hraft#526, logcabin#56, craft#137)",
    "[lesson]") {
  cluster c;
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, voters({1, 2, 3}));
  c.add(9, voters({1, 2, 3, 9}));
  REQUIRE(c.elect(1));
  c.advance(1s);
  for (std::uint64_t n = 1; n <= 3; ++n) {
    c.inject({id(9), id(n), term(50), vote_request{true, false, log_index(99), term(50)}});
    c.inject({id(9), id(n), term(50), vote_request{false, false, log_index(99), term(50)}});
    c.inject({id(9), id(n), term(50), append_response{}});
  }
  c.settle();
  c.advance(5s);
  CHECK(c.leader() == 1);
  CHECK(c[1].current_term() == term(1));
}

TEST_CASE("thesis 4.2.3: a stuck candidate with a larger term is let in again (eraft TestFreeStuckCandidate)",
          "[lesson]") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.isolate(3);
  c.crash(3);
  c.at(3).on_disk.hard = {term(20), id(3)};  // it campaigned in terms that nobody heard of
  c.restart(3);
  c.heal();
  c.advance(3s);
  REQUIRE(c.leader() != 0);
  CHECK(c[3].leader() == id(c.leader()));
  CHECK(c[3].current_term() >= term(20));
  CHECK(c.propose(c.leader()));
  c.settle();
  CHECK(c[3].commit() == c[c.leader()].commit());
}

TEST_CASE(
    "check-quorum: a leader steps down an election time-out after it heard a quorum (etcd#6005, tikv#964, "
    "sofa-jraft#34, eraft#166)",
    "[lesson]") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.isolate(1);
  c.advance(500ms);
  CHECK(c[1].current_role() == role::leader);
  c.advance(200ms);
  CHECK(c[1].current_role() != role::leader);
  CHECK_FALSE(c[1].has_quorum_contact(c.now()));
  c.advance(2s);
  const auto next = c.leader();
  CHECK((next == 2 || next == 3));
  c.heal();
  c.advance(1s);
  CHECK(c.leader() == next);  // the old one does not disturb
  CHECK(c[1].leader() == id(next));
}

TEST_CASE("check-quorum: one of two followers is enough") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.isolate(3);
  c.advance(10s);
  CHECK(c.leader() == 1);
  CHECK(c[1].current_term() == term(1));
}

TEST_CASE("a node that does not know yet that it is a voter votes (etcd#10998)", "[lesson]") {
  auto learner = single(fresh({ids({2, 3}), {}, ids({1})}));
  learner.step(from(3, 1, vote_request{}), start);
  CHECK(body_to<vote_response>(learner.take().send_after_persist, 3)->granted);
}

TEST_CASE("a crashed leader process is replaced at once, first in rank first") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.advance(100ms);
  c.crash(1);
  c[2].on_unreachable(id(1), true, c.now());
  c[3].on_unreachable(id(1), true, c.now());
  c.advance(20ms);
  CHECK(c.leader() == 2);

  // A broken link alone proves nothing.
  c[3].on_unreachable(id(2), false, c.now());
  CHECK(c[3].leader() == id(2));
}

TEST_CASE("a voter that learns of the crash late answers who has asked meanwhile") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.advance(100ms);
  c.crash(1);
  c[2].on_unreachable(id(1), true, c.now());
  c.advance(10ms);
  CHECK(c.leader() == 0);
  c[3].on_unreachable(id(1), true, c.now());
  c.settle();
  CHECK(c.leader() == 2);  // no time has passed
}

TEST_CASE("a prevote of long ago is asked again, not answered") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.advance(100ms);
  const auto next = c[3].current_term().next();
  c[3].step({id(2), id(3), next, vote_request{true, false, c[3].last_index(), c[3].current_term()}}, c.now());
  CHECK(c[3].stats().get("raft_prevote_while_led") == 1);
  c.advance(50ms);
  c.isolate(1);
  c[3].on_unreachable(id(1), true, c.now());
  for (const auto& m : c[3].take().send_now) CHECK_FALSE(std::holds_alternative<vote_response>(m.body));
}

TEST_CASE("whoever notices a crash first, and whoever is ahead, there is a leader at once") {
  const std::uint64_t n = GENERATE(3, 5);
  for (std::uint64_t first = 2; first <= n; ++first)
    for (std::uint64_t ahead = 2; ahead <= n; ++ahead)
      for (const auto gap : {0ms, 1ms, 10ms, 40ms}) {
        CAPTURE(n, first, ahead, gap.count());
        cluster c;
        std::vector<node_id> all;
        for (std::uint64_t i = 1; i <= n; ++i) all.push_back(id(i));
        for (std::uint64_t i = 1; i <= n; ++i) c.add(i, configuration{all, {}, {}});
        REQUIRE(c.elect(1));
        c.advance(100ms);
        // Only one has the last entry.
        c.drop = [&](const message& m) { return m.to != id(ahead); };
        REQUIRE(c.propose(1));
        c.settle();
        c.drop = {};
        REQUIRE(c[ahead].last_index() > c[ahead == 2 ? 3 : 2].last_index());
        c.crash(1);
        c[first].on_unreachable(id(1), true, c.now());
        c.advance(gap);
        for (std::uint64_t i = 2; i <= n; ++i)
          if (i != first) c[i].on_unreachable(id(1), true, c.now());
        c.settle();
        // At worst the turn passes once: two that are as far in the log can both have missed who is ahead.
        c.advance(n == 3 ? 10ms : 30ms);
        CHECK(c.leader() != 0);
        CHECK(c.violations.empty());
      }
}

// ---- hraft#503: a leader without progress ---------------------------------------------------------------------------

TEST_CASE(
    "a leader whose disk takes nothing any more hands over (hraft#503, hraft#612, hraft#666, hraft#683, consul#22064)",
    "[lesson]") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.at(1).hold_writes = true;
  REQUIRE(c.propose(1));
  c.advance(1s);
  CHECK(c.leader() == 1);  // slow is not dead
  c.advance(500ms);
  CHECK(c.leader() > 1);
  CHECK(c[c.leader()].commit() >= log_index(3));
}

TEST_CASE("a slow disk is no reason for an election: heartbeats do not wait for it (etcd#7617)", "[lesson]") {
  auto c = three();
  REQUIRE(c.elect(1));
  for (std::uint64_t n = 1; n <= 3; ++n) c.at(n).hold_writes = true;
  REQUIRE(c.propose(1));
  c.advance(1s);
  for (std::uint64_t n = 1; n <= 3; ++n) {
    CHECK(c[n].leader() == id(1));
    CHECK(c[n].has_quorum_contact(c.now()));
    CHECK(c[n].commit() == log_index(1));
    c.at(n).hold_writes = false;
  }
  c.settle();
  CHECK(c[1].current_term() == term(1));
  CHECK(c[3].commit() == log_index(2));
}

TEST_CASE("a leader that nobody stores for steps down, unless it is alone") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.at(2).hold_writes = c.at(3).hold_writes = true;
  REQUIRE(c.propose(1));
  c.advance(1s);
  CHECK(c.leader() == 1);  // heartbeats don't wait for the followers' disks
  c.advance(2s);
  CHECK(c[1].current_role() != role::leader);

  cluster one;
  one.add(1, voters({1}));
  one.advance(100ms);
  one.at(1).hold_writes = true;
  REQUIRE(one.propose(1));
  one.advance(5s);
  CHECK(one.leader() == 1);
}

// ---- a copy of a disk (docs/consensus.md 1.6)
// ------------------------------------------------------------------------

TEST_CASE("the only voter among others waits before it leads, so that they can tell it what it forgot") {
  cluster alone;
  alone.add(1, voters({1}));
  alone.advance(1ms);
  CHECK(alone.leader() == 1);

  cluster c;
  c.add(1, {ids({1}), {}, ids({2})});
  c.advance(299ms);
  CHECK(c.leader() == 0);
  c.advance(500ms);
  CHECK(c.leader() == 1);
}

TEST_CASE("one that stands back neither leads nor campaigns, and goes on afterwards") {
  cluster c;
  c.add(1, {ids({1}), {}, ids({2})});
  c.advance(1s);
  REQUIRE(c.leader() == 1);
  const auto before = c[1].current_term();
  c[1].stand_back(c.now() + 5s, c.now());
  c.settle();
  CHECK(c.leader() == 0);
  CHECK(!c[1].propose({text("x")}, c.now()));
  c.advance(4s);
  CHECK(c.leader() == 0);
  CHECK(c[1].current_term() == before);
  c.advance(2s);
  CHECK(c.leader() == 1);
}

// ---- thesis 3.10: transfer ------------------------------------------------------------------------------------------

TEST_CASE("thesis 3.10: leadership goes to the target, which first gets what it lacks") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.isolate(3);
  for (int i = 0; i < 10; ++i) REQUIRE(c.propose(1));
  c.settle();
  c.heal();
  REQUIRE(c[1].transfer_leadership(id(3), c.now()));
  CHECK(c.propose(1).error().code == errc::unavailable);
  c.advance(200ms);
  CHECK(c.leader() == 3);
  CHECK(c[3].commit() == log_index(12));
  CHECK(c.violations.empty());
}

TEST_CASE("thesis 3.10: an unanswered transfer is given up after one election time-out") {
  auto c = three();
  REQUIRE(c.elect(1));
  c.isolate(3);
  REQUIRE(c[1].transfer_leadership(id(3), c.now()));
  CHECK(c[1].transfer_leadership(id(2), c.now()).error().code == errc::unavailable);
  c.advance(500ms);
  CHECK_FALSE(c.propose(1));
  c.advance(150ms);
  CHECK(c.leader() == 1);
  CHECK(c.propose(1));
}

TEST_CASE("thesis 3.10: only a leader, only to a voter") {
  cluster c;
  const configuration conf{ids({1, 2}), {}, ids({3})};
  for (std::uint64_t n = 1; n <= 3; ++n) c.add(n, conf);
  REQUIRE(c.elect(1));
  CHECK(c[1].transfer_leadership(id(3), c.now()).error().code == errc::bad_argument);
  CHECK(c[1].transfer_leadership(id(8), c.now()).error().code == errc::bad_argument);
  CHECK(c[2].transfer_leadership(id(1), c.now()).error().code == errc::unavailable);
  CHECK(c[1].transfer_leadership(id(1), c.now()));
  CHECK(c.propose(1));
}
