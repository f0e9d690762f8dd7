// Committed entries fed by another node than the leader (docs/consensus.md 1.3): what is taken, what is refused, and
// that no mixture of both ways breaks a property of figure 3.
#include "catch.hpp"
#include "cluster.hpp"

#include "base/random.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;

namespace {

/// What node `from` can tell a node that has everything up to `prev`.
relayed told_by(cluster& c, std::uint64_t from, log_index prev, std::size_t max = 100) {
  auto& source = c[from];
  relayed r{prev, {}, source.leader(), source.current_term(), c.now() - source.last_leader_contact()};
  const auto upto = std::min(source.commit(), source.written_index());
  for (auto i = prev.next(); i <= upto && r.entries.size() < max; ++i) r.entries.push_back(*source.entry_at(i));
  return r;
}
bool feed(cluster& c, std::uint64_t from, std::uint64_t to, std::size_t max = 100) {
  const bool ok = c[to].on_relayed(told_by(c, from, c[to].commit(), max), c.now());
  c.settle();
  return ok;
}

const append_response& answer_of(const std::vector<message>& sent) {
  REQUIRE(sent.size() == 1);
  return std::get<append_response>(sent.front().body);
}

/// Three voters with a leader and three commands, and two nodes outside of the configuration.
cluster led() {
  cluster c;
  for (const std::uint64_t n : {1, 2, 3}) c.add(n, voters({1, 2, 3}));
  for (const std::uint64_t n : {4, 5}) c.add(n, voters({1, 2, 3}));
  REQUIRE(c.elect(1));
  for (const auto* s : {"a", "b", "c"}) REQUIRE(c.propose(1, s));
  c.settle();
  c.advance(100ms);
  return c;
}

}  // namespace

TEST_CASE("relay: a node outside the configuration takes what is committed, from whoever has it") {
  auto c = led();
  REQUIRE(c[4].commit() == log_index(0));
  REQUIRE(feed(c, 2, 4, 2));
  CHECK(c[4].commit() == log_index(2));
  REQUIRE(feed(c, 2, 4));
  CHECK(c[4].applied() == c[1].commit());
  REQUIRE(feed(c, 4, 5));  // and passes it on
  CHECK(c[5].applied() == c[1].commit());
  CHECK(c[4].current_term() == c[1].current_term());
  CHECK(c.violations.empty());
  SECTION("twice is once") {
    REQUIRE(c[4].on_relayed(told_by(c, 1, log_index(0)), c.now()));
    CHECK(c[4].take().empty());
  }
  SECTION("it is still there after a restart, and nobody counts it") {
    c.crash(4);
    c.restart(4);
    CHECK(c[4].last_index() == c[1].commit());
    CHECK(c[1].progress().size() == 2);
  }
}

TEST_CASE("relay: what does not follow is dropped") {
  auto c = led();
  auto r = told_by(c, 1, log_index(0));
  SECTION("a gap") { r.prev = log_index(1); }
  SECTION("entries out of order") { std::swap(r.entries[0], r.entries[1]); }
  SECTION("a term that nobody can have reached") { r.entries.back().when = term(~0ull); }
  SECTION("a configuration without voters") {
    r.entries[1].kind = entry_kind::configuration;
    r.entries[1].conf = {};
  }
  CHECK(c[4].on_relayed(r, c.now()));
  CHECK(c[4].last_index() == log_index(0));
  CHECK(c[4].stats().get("raft_bad_relay") == 1);
}

TEST_CASE("relay: a leader needs nobody to feed it, unless it was replaced") {
  auto c = led();
  CHECK(c[1].on_relayed(told_by(c, 2, log_index(2)), c.now()));
  CHECK(c[1].stats().get("raft_bad_relay") == 1);
  c.isolate(1);
  REQUIRE(c.propose(1, "lost"));
  REQUIRE(c[1].last_index() == log_index(5));
  CHECK((c.elect(2) || c.elect(2)));
  REQUIRE(c.propose(2, "kept"));
  c.settle();
  c.advance(100ms);
  REQUIRE(c[1].on_relayed(told_by(c, 3, c[1].commit()), c.now()));
  c.settle();
  CHECK(c[1].current_role() == role::follower);
  CHECK(c.committed() == std::vector<std::string>{"a", "b", "c", "kept"});
  CHECK(c[1].commit() == c[2].commit());
  CHECK(c.violations.empty());
}

TEST_CASE("relay: an uncommitted tail gives way, what agrees with the entries stays") {
  auto c = led();
  c.isolate(3);
  const auto old = c[3].last_index();
  SECTION("it contradicts") {
    disk d = c.at(3).on_disk;
    d.entries.push_back(command(1, old.value + 1, "never committed"));
    d.hard.current = std::max(d.hard.current, term(1));
    c.crash(3);
    c.at(3).on_disk = d;
    c.restart(3);
    c.crash(1);
    REQUIRE_FALSE(c.elect(2));
    c.restart(1);
    REQUIRE((c.elect(2) || c.elect(2)));
    REQUIRE(c.propose(2, "d"));
    c.settle();
    c.advance(100ms);
    REQUIRE(feed(c, 2, 3));
    CHECK(*c[3].entry_at(old.next()) == *c[2].entry_at(old.next()));
  }
  SECTION("it is the same") {
    REQUIRE(c.propose(1, "d"));
    c.settle();
    c.advance(100ms);
    REQUIRE(feed(c, 1, 3));
    const auto last = c[3].last_index();
    REQUIRE(c[3].on_relayed(told_by(c, 1, old, 0), c.now()));
    CHECK(c[3].last_index() == last);
  }
  CHECK(c.violations.empty());
}

TEST_CASE("relay: a contradiction of what is committed here is told, and changes nothing") {
  auto c = led();
  REQUIRE(feed(c, 1, 4));
  auto r = told_by(c, 1, log_index(0));
  for (auto& e : r.entries) e.when = e.when.next();
  CHECK_FALSE(c[4].on_relayed(r, c.now()));
  CHECK(c[4].stats().get("raft_conflict_below_commit") == 1);
  CHECK(c[4].term_at(log_index(2)) == c[1].term_at(log_index(2)));
}

TEST_CASE("relay: who leads is believed without a vote, and not for long") {
  auto c = led();
  REQUIRE(feed(c, 2, 4));
  CHECK(c[4].leader() == id(1));
  CHECK(c[4].has_quorum_contact(c.now()));
  SECTION("no contact is older than it is") {
    c.skip(2 * c.options_.election_timeout_max + 1ms);
    CHECK_FALSE(c[4].has_quorum_contact(c.now()));
    c.tick(4);
    CHECK_FALSE(c[4].leader());
    auto r = told_by(c, 2, c[4].commit());
    REQUIRE(c[4].on_relayed(r, c.now()));
    CHECK_FALSE(c[4].leader());
    r.age = 0ns;
    REQUIRE(c[4].on_relayed(r, c.now()));
    CHECK(c[4].leader() == id(1));
  }
  SECTION("an older term does not replace a newer one") {
    relayed r{c[4].commit(), {}, id(2), term(0), 0ns};
    REQUIRE(c[4].on_relayed(r, c.now()));
    CHECK(c[4].leader() == id(1));
    r.when = c[1].current_term().next();
    REQUIRE(c[4].on_relayed(r, c.now()));
    CHECK(c[4].leader() == id(2));
    // The leader itself is believed more than that.
    c[4].step({id(3), id(4), r.when.next(), append_request{}}, c.now());
    CHECK(c[4].leader() == id(3));
    REQUIRE(c[4].on_relayed(r, c.now()));
    CHECK(c[4].leader() == id(3));
  }
  SECTION("of two that are said to lead one term, the one that speaks is it") {
    relayed r{c[4].commit(), {}, id(2), c[4].current_term(), 0ns};
    REQUIRE(c[4].on_relayed(r, c.now()));
    REQUIRE(c[4].leader() == id(2));
    c[4].step({id(3), id(4), c[4].current_term().next(), append_request{}}, c.now());
    CHECK(c[4].leader() == id(3));
  }
  SECTION("one with a vote campaigns when it hears no leader") {
    c.isolate(3);
    c.skip(2 * c.options_.election_timeout_max);
    auto r = told_by(c, 2, c[3].commit());
    r.age = 0ns;
    REQUIRE(c[3].on_relayed(r, c.now()));
    c.tick(3);
    CHECK(c[3].current_role() == role::pre_candidate);
  }
}

TEST_CASE("relay: a node outside the configuration reads through the leader it was told of") {
  auto c = led();
  REQUIRE(feed(c, 2, 4));
  c.read(4, 7);
  c.settle();
  c.advance(50ms);
  const auto r = c.read_result(4, 7);
  REQUIRE(r);
  CHECK(r->ok);
  CHECK(r->index == c[1].commit());
  SECTION("even when its own term is larger, of an election that nobody else knows of") {
    disk d = c.at(4).on_disk;
    d.hard.current = term(9);
    c.crash(4);
    c.at(4).on_disk = d;
    c.restart(4);
    REQUIRE(feed(c, 2, 4));
    REQUIRE(c[4].leader() == id(1));
    c.read(4, 8);
    c.settle();
    c.advance(50ms);
    REQUIRE(c.read_result(4, 8));
    CHECK(c.read_result(4, 8)->ok);
    CHECK(c[1].current_term() < term(9));
  }
}

TEST_CASE("relay: one that was taken out of the configuration learns it that way") {
  auto c = led();
  c.isolate(3);
  REQUIRE(c[1].propose_configuration(ids({1, 2}), {}, c.now()));
  c.settle();
  c.advance(100ms);
  REQUIRE(c[3].conf().is_voter(id(3)));
  REQUIRE(feed(c, 2, 3));
  CHECK_FALSE(c[3].conf().contains(id(3)));
  CHECK(c[3].leader() == id(1));
  c.advance(2s);
  CHECK(c[3].current_role() == role::follower);
  CHECK(c.violations.empty());
}

namespace {

/// A node alone, outside of its configuration: voters 1 to 3.
struct observer {
  instant now{1s};
  raft::core core;
  explicit observer(options o = {})
      : core(id(4), o, recovered{{term(1), {}}, {{}, {}, voters({1, 2, 3})}, {}, {}}, now, 1) {}
  void feed(std::uint64_t from, std::vector<entry> entries) {
    CHECK(core.on_relayed({log_index(from - 1), std::move(entries), id(1), term(1), 0ns}, now));
  }
  ready written() {
    const auto r = core.take();
    core.on_persisted(r.persist.sequence, now);
    return r;
  }
};

}  // namespace

TEST_CASE("relay: what is committed is written by an observer, and synced now and then") {
  options o;
  o.lazy_sync_bytes = 100;
  observer x(o);
  x.feed(1, {command(1, 1), command(1, 2)});
  const auto first = x.core.take();
  CHECK(first.persist.entries.size() == 2);
  CHECK_FALSE(first.persist.sync);
  CHECK(first.committed.empty());  // not before it is written
  x.core.on_persisted(first.persist.sequence, x.now);
  CHECK(x.core.written_index() == log_index(2));
  CHECK(x.core.synced_index() == log_index(0));
  CHECK(x.core.take().committed.size() == 2);
  SECTION("a second after the first of them, if nobody needs it before") {
    x.now += 600ms;
    x.feed(3, {command(1, 3)});
    CHECK_FALSE(x.written().persist.sync);
    CHECK(x.core.next_wake() <= instant(2s));
    x.now = instant(2s);
    x.core.tick(x.now);
    const auto r = x.written();
    CHECK(r.persist.sync);
    CHECK(r.persist.entries.empty());
    CHECK(x.core.synced_index() == log_index(3));
    x.now += 10s;
    x.core.tick(x.now);
    CHECK(x.core.take().persist.empty());  // nothing is left to be synced
  }
  SECTION("when it is much") {
    x.feed(3, {command(1, 3, std::string(100, 'x'))});
    CHECK(x.written().persist.sync);
    x.feed(4, {command(1, 4)});
    CHECK_FALSE(x.written().persist.sync);
  }
  SECTION("compacted, it stays readable by those who ask") {
    x.core.on_applied(log_index(2));
    x.core.compact(log_index(2));
    CHECK(x.core.first_index() == log_index(3));
    x.feed(3, {command(1, 3)});
    x.written();
    CHECK(x.core.written_index() == log_index(3));
  }
}

TEST_CASE("relay: what others may rely on is synced, with all before it") {
  observer x;
  x.feed(1, {command(1, 1)});
  CHECK_FALSE(x.written().persist.sync);
  SECTION("a configuration with this node") {
    x.feed(2, {{term(1), log_index(2), entry_kind::configuration, {}, {ids({1, 2, 3}), {}, ids({4})}}});
    CHECK(x.written().persist.sync);
    CHECK(x.core.synced_index() == log_index(2));
    x.feed(3, {command(1, 3)});
    CHECK(x.written().persist.sync);
  }
  SECTION("entries of a leader, who is told when they are durable") {
    x.core.step({id(1), id(4), term(1), append_request{log_index(1), term(1), log_index(1), {command(1, 2)}, 0, false}},
                x.now);
    const auto r = x.core.take();
    CHECK(r.persist.sync);
    CHECK(answer_of(r.send_after_persist).match == log_index(2));
    x.core.on_persisted(r.persist.sequence, x.now);
    CHECK(x.core.synced_index() == log_index(2));
  }
  SECTION("to a question without entries only what is durable is told") {
    x.core.step({id(1), id(4), term(1), append_request{log_index(1), term(1), log_index(1), {}, 0, false}}, x.now);
    CHECK(answer_of(x.core.take().send_now).match == log_index(0));
  }
  SECTION("what a leader repeats is synced, though nothing is to be written") {
    x.core.step({id(1), id(4), term(1), append_request{log_index(0), term(0), log_index(1), {command(1, 1)}, 0, false}},
                x.now);
    const auto r = x.core.take();
    CHECK(r.persist.sync);
    CHECK(r.persist.entries.empty());
    CHECK(answer_of(r.send_after_persist).match == log_index(1));
  }
  SECTION("a vote") {
    x.core.step({id(1), id(4), term(2), vote_request{false, true, log_index(9), term(1)}}, x.now);
    const auto r = x.written();
    CHECK(r.persist.hard);
    CHECK(r.persist.sync);
    CHECK(x.core.synced_index() == log_index(1));
  }
}

TEST_CASE("relay: a voter that lost its vote keeps what it acknowledged, and goes on lazily") {
  auto c = led();
  const auto acked = c[3].synced_index();
  REQUIRE(acked == c[1].last_index());
  REQUIRE(c[1].propose_configuration(ids({1, 2}), {}, c.now()));
  c.settle();
  c.advance(100ms);
  while (feed(c, 1, 3) && c[3].commit() < c[1].commit()) {
  }
  REQUIRE_FALSE(c[3].conf().contains(id(3)));
  CHECK(c[3].synced_index() >= acked);
  REQUIRE(c.propose(1, "later"));
  c.settle();
  REQUIRE(c[3].on_relayed(told_by(c, 1, c[3].commit()), c.now()));
  const auto r = c[3].take();
  CHECK(r.persist.entries.size() == 1);
  CHECK_FALSE(r.persist.sync);
}

TEST_CASE("relay: fed at random by random nodes, beside a leader, nothing of figure 3 breaks") {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    rng r(seed);
    cluster c({}, seed);
    for (std::uint64_t n = 1; n <= 6; ++n) c.add(n, voters({1, 2, 3}));
    for (int step = 0; step < 120; ++step) {
      const auto some = 1 + r.below(6), other = 1 + r.below(6);
      switch (r.below(9)) {
        case 0:
          c.heal();
          c.isolate(some);
          break;
        case 1:
          c.heal();
          break;
        case 2:
          if (c.up(some)) c.crash(some);
          break;
        case 3:
          if (!c.up(some)) c.restart(some);
          break;
        case 4:
          if (const auto l = c.leader(); l && r.chance(0.3))
            std::ignore = c[l].propose_configuration(ids({l, 1 + l % 6, 1 + (l + some) % 6}), {}, c.now());
          break;
        case 5:
        case 6:
          if (some != other && c.up(some) && c.up(other) && c[other].first_index() <= c[some].commit().next())
            REQUIRE(feed(c, other, some, 1 + r.below(4)));
          break;
        default:
          if (const auto l = c.leader()) std::ignore = c.propose(l, fmt::format("{}", step));
      }
      c.advance(r.between(0ms, 200ms));
      REQUIRE(c.violations.empty());
    }
    c.check_logs();
    REQUIRE(c.violations.empty());
  }
}
