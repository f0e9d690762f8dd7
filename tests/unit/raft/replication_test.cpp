// Paper 5.3 (figure 7), 5.4.2 (figure 8), 5.5 and 7; durability, pipelining and what they taught others.
#include <algorithm>

#include "catch.hpp"
#include "cluster.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;

namespace {

constexpr instant start{1s};

disk with_log(configuration conf, std::uint64_t current, std::vector<entry> entries) {
  disk d;
  d.snapshot.conf = std::move(conf);
  d.hard.current = term(current);
  d.entries = std::move(entries);
  return d;
}

recovered recover(const disk& d) { return {d.hard, d.snapshot, d.entries, d.applied}; }

cluster of(std::initializer_list<std::uint64_t> nodes, options o = {}) {
  cluster c(o);
  for (const auto n : nodes) c.add(n, voters(nodes));
  return c;
}

/// A follower 1 of leader 2, driven by hand.
struct follower {
  explicit follower(const disk& d) : core(id(1), {}, recover(d), start, 1) {}
  void append(std::uint64_t when, std::uint64_t prev, std::uint64_t prev_term, std::vector<entry> entries,
              std::uint64_t commit = 0, std::uint64_t leader = 2) {
    core.step({id(leader), id(1), term(when),
               append_request{log_index(prev), term(prev_term), log_index(commit), std::move(entries), 0}},
              start);
  }
  raft::core core;
};

const append_response& answer(const std::vector<message>& messages) {
  REQUIRE(messages.size() == 1);
  return std::get<append_response>(messages[0].body);
}

std::size_t appends(const cluster& c, std::uint64_t to, bool with_entries) {
  return static_cast<std::size_t>(std::count_if(c.dropped.begin(), c.dropped.end(), [&](const message& m) {
    const auto* a = std::get_if<append_request>(&m.body);
    return m.to == id(to) && a && a->entries.empty() != with_entries;
  }));
}

}  // namespace

// ---- 5.3 log replication --------------------------------------------------------------------------------------------

TEST_CASE("paper 5.3: figure 7, every follower's log becomes the leader's") {
  const auto conf = voters({1, 2, 3, 4, 5, 6, 7});
  cluster c;
  c.add(1, with_log(conf, 7, entries_of_terms({1, 1, 1, 4, 4, 5, 5, 6, 6, 6})));
  c.add(2, with_log(conf, 7, entries_of_terms({1, 1, 1, 4, 4, 5, 5, 6, 6})));
  c.add(3, with_log(conf, 7, entries_of_terms({1, 1, 1, 4})));
  c.add(4, with_log(conf, 7, entries_of_terms({1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6})));
  c.add(5, with_log(conf, 7, entries_of_terms({1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7})));
  c.add(6, with_log(conf, 7, entries_of_terms({1, 1, 1, 4, 4, 4, 4})));
  c.add(7, with_log(conf, 7, entries_of_terms({1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3})));
  REQUIRE(c.elect(1));
  c.advance(100ms);
  for (std::uint64_t n = 2; n <= 7; ++n) {
    CHECK(c[n].last_index() == log_index(11));
    CHECK(c[n].commit() == log_index(11));
    for (std::uint64_t i = 1; i <= 11; ++i) CHECK(*c[n].entry_at(log_index(i)) == *c[1].entry_at(log_index(i)));
    CHECK(c.at(n).on_disk.entries == c.at(1).on_disk.entries);
  }
  CHECK(c.violations.empty());
}

TEST_CASE("paper 5.3: going back takes one exchange a term, never one an entry") {
  std::vector<entry> longer, shorter;
  for (std::uint64_t i = 1; i <= 1000; ++i) longer.push_back(command(i <= 500 ? 1 : 5, i));
  for (std::uint64_t i = 1; i <= 1500; ++i) shorter.push_back(command(i <= 400 ? 1 : i <= 900 ? 2 : 3, i));
  cluster c;
  c.add(1, with_log(voters({1, 2, 3}), 6, longer));
  c.add(2, with_log(voters({1, 2, 3}), 6, shorter));
  c.add(3, with_log(voters({1, 2, 3}), 6, longer));
  int rejects = 0;
  c.drop = [&](const message& m) {
    const auto* a = std::get_if<append_response>(&m.body);
    rejects += a && !a->ok;
    return false;
  };
  REQUIRE(c.elect(1));
  c.advance(100ms);
  CHECK(c[2].commit() == log_index(1001));
  CHECK(rejects <= 4);
}

TEST_CASE("paper 5.3: a gap is refused, the hint says where to go on") {
  follower f(with_log(voters({1, 2}), 4, entries_of_terms({1, 1, 4})));
  f.append(5, 9, 4, {});
  const auto first = f.core.take();
  const auto& a = answer(first.send_after_persist);
  CHECK_FALSE(a.ok);
  CHECK(a.match == log_index(9));
  CHECK(a.hint == log_index(3));
  CHECK(a.hint_term == term(4));

  f.append(5, 3, 3, {});
  const auto second = f.core.take();
  CHECK(answer(second.send_after_persist).hint == log_index(2));
}

TEST_CASE("paper 5.3: the commit index never passes what an append showed to be equal") {
  follower f(with_log(voters({1, 2}), 1, entries_of_terms({1, 1, 1})));
  f.append(2, 1, 1, {}, 3);
  CHECK(f.core.commit() == log_index(1));  // 2 and 3 may be another leader's
  f.append(2, 1, 1, {command(2, 2)}, 9);
  CHECK(f.core.commit() == log_index(2));
  CHECK(f.core.last_index() == log_index(2));
  f.append(2, 1, 1, {}, 0);
  CHECK(f.core.commit() == log_index(2));
}

TEST_CASE("paper 5.3: repeated and delayed appends change nothing") {
  follower f(with_log(voters({1, 2}), 1, {}));
  f.append(1, 0, 0, {command(1, 1), command(1, 2), command(1, 3)});
  f.append(1, 0, 0, {command(1, 1)});
  f.append(1, 1, 1, {command(1, 2)});
  CHECK(f.core.last_index() == log_index(3));
  auto r = f.core.take();
  CHECK(answer(r.send_after_persist).match == log_index(3));  // one answer for the turn
  CHECK(r.persist.entries.size() == 3);
}

TEST_CASE("paper 5.3: what is committed can't be contradicted") {
  follower f(with_log(voters({1, 2}), 1, {}));
  f.append(1, 0, 0, {command(1, 1), command(1, 2)}, 2);
  f.append(2, 0, 0, {command(2, 1)}, 0, 3);
  f.append(2, 2, 2, {}, 0, 3);
  CHECK(f.core.stats().get("raft_conflict_below_commit") == 2);
  CHECK(f.core.term_at(log_index(1)) == term(1));
}

TEST_CASE("paper 5.3: a second leader in one term is not believed (craft#386)", "[lesson]") {
  follower f(with_log(voters({1, 2, 3}), 1, {}));
  f.append(1, 0, 0, {command(1, 1)});
  f.append(1, 0, 0, {command(1, 1, "other")}, 1, 3);
  CHECK(f.core.stats().get("raft_two_leaders") == 1);
  CHECK(f.core.leader() == id(2));
  CHECK(f.core.commit() == log_index(0));
}

// ---- durability (docs/consensus.md 1.6) ----------------------------------------------------------------------------

TEST_CASE("an append is acknowledged only after the write of its entries (redpanda: why fsync)", "[lesson]") {
  follower f(with_log(voters({1, 2}), 1, {}));
  f.append(1, 0, 0, {command(1, 1)});
  auto r = f.core.take();
  CHECK(r.send_now.empty());
  CHECK(r.persist.entries.size() == 1);
  CHECK(answer(r.send_after_persist).match == log_index(1));

  // A heartbeat meanwhile is answered at once, with what is durable.
  f.append(1, 1, 1, {});
  CHECK(answer(f.core.take().send_now).match == log_index(0));
  f.core.on_persisted(r.persist.sequence, start);
  f.append(1, 1, 1, {});
  CHECK(answer(f.core.take().send_now).match == log_index(1));
}

TEST_CASE("a heartbeat of a new term is answered only when the term is durable") {
  follower f(with_log(voters({1, 2}), 1, {}));
  f.append(2, 0, 0, {});
  auto r = f.core.take();
  CHECK(r.send_now.empty());
  CHECK(r.persist.hard->current == term(2));
  CHECK(answer(r.send_after_persist).ok);
}

TEST_CASE("committed entries are handed out when durable here, within the limit") {
  options o;
  o.max_committed_bytes = 10;
  raft::core c(id(1), o, recover(with_log(voters({1, 2}), 1, {})), start, 1);
  std::vector<entry> batch;
  for (std::uint64_t i = 1; i <= 5; ++i) batch.push_back(command(1, i, "4444"));
  batch.push_back(command(1, 6, "longer than ten"));
  c.step({id(2), id(1), term(1), append_request{{}, {}, log_index(6), batch, 0}}, start);
  auto r = c.take();
  CHECK(c.commit() == log_index(6));
  CHECK(r.committed.empty());
  c.on_persisted(r.persist.sequence, start);
  CHECK(c.take().committed.size() == 2);
  CHECK(c.take().committed.size() == 2);
  CHECK(c.take().committed.size() == 1);
  CHECK(c.take().committed.size() == 1);
  CHECK(c.take().empty());
}

TEST_CASE("a single voter commits only after its own write (etcd#10508, etcd#14370)", "[lesson]") {
  cluster c;
  c.add(1, voters({1}));
  c.advance(10ms);
  REQUIRE(c.leader() == 1);
  c.at(1).hold_writes = true;
  REQUIRE(c.propose(1, "a"));
  c.settle();
  CHECK(c[1].commit() == log_index(1));
  CHECK(c.committed().empty());
  c.complete_write(1);
  c.settle();
  CHECK(c.committed() == std::vector<std::string>{"a"});
}

TEST_CASE("the leader sends before its own write, and a majority may commit without it") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  c.at(1).hold_writes = true;
  REQUIRE(c.propose(1, "a"));
  c.settle();
  CHECK(c[1].commit() == log_index(2));
  CHECK(c.at(1).on_disk.applied == log_index(1));  // not applied before it is durable here
  CHECK(c[2].last_index() == log_index(2));
  c.complete_write(1);
  c.settle();
  CHECK(c.at(1).on_disk.applied == log_index(2));
}

TEST_CASE("ABA: the late completion of entries that were replaced does not count (eraft: append ABA race)",
          "[lesson]") {
  follower f(with_log(voters({1, 2, 3}), 1, {}));
  f.append(1, 0, 0, {command(1, 1), command(1, 2), command(1, 3)});
  const auto first = f.core.take();
  f.append(2, 1, 1, {command(2, 2), command(2, 3)}, 3, 3);
  const auto second = f.core.take();
  CHECK(second.persist.truncate_from == log_index(2));
  CHECK(second.persist.sequence > first.persist.sequence);
  f.core.on_persisted(first.persist.sequence, start);
  CHECK(f.core.synced_index() == log_index(1));
  CHECK(f.core.take().committed.size() == 1);
  f.core.on_persisted(second.persist.sequence, start);
  CHECK(f.core.synced_index() == log_index(3));
  CHECK(f.core.take().committed.size() == 2);
}

// ---- 5.4.2 figure 8 -------------------------------------------------------------------------------------------------

namespace {

/// Figure 8 (c): node 1 leads term 4 again, entry 2 of term 2 reaches a majority, entry 3 of term 4 does not.
cluster figure_8(options o = {}) {
  cluster c(o);
  const auto conf = voters({1, 2, 3, 4, 5});
  c.add(1, with_log(conf, 3, entries_of_terms({1, 2})));
  c.add(2, with_log(conf, 3, entries_of_terms({1, 2})));
  c.add(3, with_log(conf, 3, entries_of_terms({1})));
  c.add(4, with_log(conf, 3, entries_of_terms({1})));
  c.add(5, with_log(conf, 3, entries_of_terms({1, 3})));
  c.drop = [](const message& m) {
    const auto* a = std::get_if<append_request>(&m.body);
    return a && m.when == term(4) &&
           (m.to == id(4) || m.to == id(5) || a->entries.size() > 1 || a->prev_index > log_index(1));
  };
  c.isolate(5);
  c.elect(1);
  // The follower gets entry 2 and nothing of term 4.
  c.inject({id(1), id(3), term(4), append_request{log_index(1), term(1), log_index(0), {command(2, 2, "t2")}, 0}});
  c.settle();
  c.inject({id(1), id(2), term(4), append_request{log_index(1), term(1), log_index(0), {command(2, 2, "t2")}, 0}});
  c.settle();
  return c;
}

}  // namespace

TEST_CASE("paper 5.4.2: figure 8, an entry of an older term is not committed by counting (logcabin#44)", "[lesson]") {
  auto c = figure_8();
  REQUIRE(c[1].current_role() == role::leader);
  CHECK(c[3].last_index() == log_index(2));
  CHECK(c[1].commit() == log_index(0));
  // (d): node 5 may still win and overwrite it.
  c.crash(1);
  c.heal();
  c.drop = nullptr;
  c.skip(1s);
  CHECK_FALSE(c.elect(5));  // learns the term
  c.skip(1s);
  REQUIRE(c.elect(5));
  CHECK(c[3].term_at(log_index(2)) == term(3));
  CHECK(c.violations.empty());
}

TEST_CASE("paper 5.4.2: with an own entry on a majority all before it is committed (figure 8 e)") {
  auto c = figure_8();
  c.drop = nullptr;
  c.advance(200ms);
  CHECK(c[1].commit() == log_index(3));
}

// ---- flow control ---------------------------------------------------------------------------------------------------

TEST_CASE(
    "appends are pipelined up to the window; when it is full heartbeats and the commit index still go out (etcd#14633)",
    "[lesson]") {
  options o;
  o.max_inflight_appends = 4;
  auto c = of({1, 2, 3}, o);
  REQUIRE(c.elect(1));
  c.advance(100ms);
  c.dropped.clear();
  c.drop = [](const message& m) { return m.to == id(3) && std::holds_alternative<append_request>(m.body); };
  for (int i = 0; i < 10; ++i) {
    REQUIRE(c.propose(1));
    c.settle();
  }
  CHECK(appends(c, 3, true) == 4);
  CHECK(appends(c, 3, false) >= 6);
  const auto& newest = std::get<append_request>(c.dropped.back().body);
  CHECK(newest.commit == log_index(11));

  // Nothing of the window arrived: the next heartbeat finds out, and all is sent again.
  c.drop = nullptr;
  c.advance(60ms);
  CHECK(c[3].commit() == log_index(11));
}

TEST_CASE("one message carries a turn's proposals, within the limits of bytes and entries") {
  options o;
  o.max_append_entries = 3;
  o.max_append_bytes = 10;
  auto c = of({1, 2}, o);
  REQUIRE(c.elect(1));
  c.advance(100ms);
  c.drop = [](const message& m) { return m.to == id(2); };
  for (const auto* s : {"a", "b", "c", "d", "666666", "666666", "longer than ten"}) REQUIRE(c.propose(1, s));
  c.dropped.clear();
  c.pump(1);
  std::vector<std::size_t> sizes;
  for (const auto& m : c.dropped) sizes.push_back(std::get<append_request>(m.body).entries.size());
  CHECK(sizes == std::vector<std::size_t>{3, 2, 1, 1});
}

TEST_CASE("the commit index reaches the followers at once, not with the next heartbeat") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  REQUIRE(c.propose(1));
  c.settle();
  for (std::uint64_t n = 1; n <= 3; ++n) CHECK(c[n].commit() == log_index(2));
}

TEST_CASE("a broken link is probed, not flooded") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  c.isolate(3);
  c[1].on_unreachable(id(3), false, c.now());
  c.dropped.clear();
  for (int i = 0; i < 10; ++i) {
    REQUIRE(c.propose(1));
    c.settle();
  }
  CHECK(appends(c, 3, true) == 1);
  c.heal();
  c.advance(100ms);
  CHECK(c[3].commit() == log_index(11));
}

TEST_CASE("a late refusal does not lead the search astray") {
  cluster c;
  c.add(1, with_log(voters({1, 2, 3}), 2, entries_of_terms({1, 1, 1, 2})));
  c.add(2, with_log(voters({1, 2, 3}), 2, entries_of_terms({1, 1, 1, 2})));
  c.add(3, with_log(voters({1, 2, 3}), 2, entries_of_terms({1, 1})));
  REQUIRE(c.elect(1));
  c.isolate(3);
  for (int i = 0; i < 5; ++i) REQUIRE(c.propose(1));
  c.settle();
  c[1].on_unreachable(id(3), false, c.now());
  c.settle();
  const auto next = c[1].progress()[1].next;
  REQUIRE(next == log_index(6));
  c[1].step({id(3), id(1), c[1].current_term(), append_response{false, log_index(9), log_index(7), term(3), 0}},
            c.now());
  CHECK(c[1].progress()[1].next == next);
  CHECK(c[1].stats().get("raft_stale_reject") == 1);
}

TEST_CASE("proposals: refused without leadership, when empty, and beyond the limit") {
  options o;
  o.max_uncommitted_bytes = 1000;
  auto c = of({1, 2, 3}, o);
  REQUIRE(c.elect(1));
  CHECK(c.propose(2).error().code == errc::unavailable);
  CHECK(c[1].propose({}, c.now()).error().code == errc::bad_argument);
  c.isolate(1);
  const std::string big(400, 'x');
  CHECK(c.propose(1, big));
  CHECK(c.propose(1, big));
  CHECK(c.propose(1, big).error().code == errc::limit);
  c.heal();
  c.advance(100ms);
  CHECK(c.propose(1, big));
  const auto batch = c[1].propose({text("a"), text("b")}, c.now());
  CHECK(*batch == log_index(5));
}

TEST_CASE("an answer that falls behind an acknowledged index is counted, and believed in nothing") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  REQUIRE(c.propose(1));
  c.settle();
  c[1].step({id(2), id(1), term(1), append_response{false, log_index(1), log_index(0), term(0), 0}}, c.now());
  CHECK(c[1].stats().get("raft_match_regressed") == 1);
  c[1].step({id(2), id(1), term(1), append_response{true, log_index(99), {}, {}, 0}}, c.now());
  c[1].step({id(2), id(1), term(1), append_response{true, log_index(1), {}, {}, 99}}, c.now());
  CHECK(c[1].stats().get("raft_bad_append_response") == 2);
  CHECK(c[1].progress()[0].match == log_index(2));
}

// ---- 7 snapshots ----------------------------------------------------------------------------------------------------

namespace {

/// Node 3 missed entries that the leader compacted away.
cluster lagging() {
  auto c = of({1, 2, 3});
  c.elect(1);
  c.isolate(3);
  for (int i = 0; i < 20; ++i) (void)c.propose(1);
  c.settle();
  c.compact(1, 15);
  return c;
}

}  // namespace

TEST_CASE("paper 7: a follower behind the log's start gets a snapshot, then the rest of the log") {
  auto c = lagging();
  CHECK(c[1].first_index() == log_index(16));
  c.heal();
  c.advance(200ms);
  CHECK(c[3].commit() == log_index(21));
  CHECK(c[3].first_index() > log_index(15));
  CHECK(c[3].stats().get("raft_snapshots_installed") == 1);
  CHECK_FALSE(c[1].progress()[1].snapshotting);
  REQUIRE(c.propose(1));
  c.settle();
  CHECK(c[3].commit() == log_index(22));
  c.crash(3);
  c.restart(3);
  CHECK(c[3].conf() == voters({1, 2, 3}));
  c.advance(100ms);
  CHECK(c[3].commit() == log_index(22));
  CHECK(c.violations.empty());
}

TEST_CASE("paper 7: a snapshot is asked for once, and again some time after it failed") {
  auto c = lagging();
  c.install_snapshots = false;
  int asked = 0;
  c.drop = [&](const message& m) {
    asked += std::holds_alternative<snapshot_request>(m.body);
    return false;
  };
  c.heal();
  c.advance(3s);
  CHECK(asked == 1);
  CHECK(c[1].progress()[1].snapshotting);
  CHECK(c[1].progress()[1].recently_active);  // heartbeats go on
  c[1].on_snapshot_sent(id(3), false, c.now());
  c.advance(400ms);
  CHECK(asked == 1);
  c.advance(400ms);
  CHECK(asked == 2);
}

TEST_CASE("paper 7: none is asked for while the follower is silent") {
  auto c = lagging();
  c.advance(3s);
  CHECK(c[1].stats().get("raft_snapshots_requested") == 0);
}

TEST_CASE("paper 7: any answer that reconnects ends the wait for a snapshot (eraft#84, eraft#110)", "[lesson]") {
  auto c = lagging();
  c.install_snapshots = false;
  c.heal();
  c.advance(200ms);
  REQUIRE(c[1].progress()[1].snapshotting);
  // The follower was fed from elsewhere, up to less than what this leader wanted to send.
  const auto meta = *c[1].meta_at(log_index(17));
  c.at(3).on_disk.install(meta);
  c[3].on_snapshot_installed(meta, c.now());
  c.settle();
  CHECK_FALSE(c[1].progress()[1].snapshotting);
  CHECK(c[3].commit() == log_index(21));
}

TEST_CASE("paper 7: the answer to a finished transfer may be lost (ch#112405)", "[lesson]") {
  auto c = lagging();
  c.drop = [&](const message& m) {
    return m.from == id(3) && std::holds_alternative<append_response>(m.body) && c[3].first_index() > log_index(15);
  };
  c.heal();
  c.advance(300ms);
  REQUIRE(c[3].commit() >= log_index(21));
  REQUIRE(c[1].progress()[1].match < log_index(15));
  c.drop = nullptr;
  c.advance(100ms);
  CHECK(c[1].progress()[1].match == log_index(21));
}

TEST_CASE("paper 7: a snapshot of an idle leader's whole log brings the follower up to date (etcd#10308)", "[lesson]") {
  auto c = lagging();
  c.compact(1, 21);
  REQUIRE(c[1].first_index() == log_index(22));
  c.heal();
  c.advance(200ms);
  CHECK(c[3].commit() == log_index(21));
  CHECK(c[1].progress()[1].match == log_index(21));
  CHECK(c[1].progress()[1].next == log_index(22));
  CHECK_FALSE(c[1].progress()[1].snapshotting);
  for (int i = 0; i < 3; ++i) REQUIRE(c.propose(1));
  c.settle();
  CHECK(c[3].commit() == log_index(24));
  CHECK(c[1].stats().get("raft_snapshots_requested") == 1);
}

TEST_CASE("paper 7: entries may be compacted while they wait for a follower that does not answer (eraft#31)",
          "[lesson]") {
  options o;
  o.max_inflight_appends = 2;
  auto c = of({1, 2, 3}, o);
  REQUIRE(c.elect(1));
  c.drop = [](const message& m) { return m.to == id(3); };
  for (int i = 0; i < 10; ++i) {
    REQUIRE(c.propose(1));
    c.settle();
  }
  SECTION("its window is full") { CHECK(c[1].progress()[1].next == log_index(4)); }
  SECTION("it is probed") {
    c[1].on_unreachable(id(3), false, c.now());
    c.settle();
  }
  c.compact(1, 8);
  c.advance(1s);
  c.drop = nullptr;
  c.advance(200ms);
  CHECK(c[3].commit() == log_index(11));
  CHECK(c[3].stats().get("raft_snapshots_installed") == 1);
}

TEST_CASE("paper 7: a leader that compacted beyond the snapshot while it travelled sends another one") {
  auto c = lagging();
  c.install_snapshots = false;
  c.heal();
  c.advance(200ms);
  REQUIRE(c[1].progress()[1].snapshotting);
  const auto meta = *c[1].meta_at(c[1].applied());
  c.drop = [](const message& m) { return m.to == id(3); };
  for (int i = 0; i < 5; ++i) REQUIRE(c.propose(1));
  c.settle();
  c.compact(1, 25);
  c.drop = nullptr;
  c.install_snapshots = true;
  c.at(3).on_disk.install(meta);
  c[3].on_snapshot_installed(meta, c.now());
  c.settle();
  CHECK(c[3].commit() == log_index(26));
  CHECK(c[1].stats().get("raft_snapshots_requested") == 2);
}

TEST_CASE("paper 7: a snapshot of what is committed here is answered, an old one is dropped") {
  follower f(with_log(voters({1, 2}), 1, entries_of_terms({1, 1, 1})));
  f.append(1, 3, 1, {}, 3);
  f.core.take();
  f.core.step({id(2), id(1), term(1), snapshot_request{{log_index(2), term(1), voters({1, 2})}}}, start);
  CHECK(answer(f.core.take().send_after_persist).match == log_index(3));
  f.core.on_applied(log_index(3));
  f.core.on_snapshot_installed({log_index(2), term(1), voters({1, 2})}, start);
  CHECK(f.core.stats().get("raft_old_snapshot") == 1);
  CHECK(f.core.first_index() == log_index(1));
}

TEST_CASE("paper 7: installing drops a log that conflicts and keeps one that goes on (nuraft#566)", "[lesson]") {
  const auto entries = entries_of_terms({1, 1, 2, 2, 2});
  const snapshot_meta fits{log_index(4), term(2), voters({1, 2, 3})};
  const snapshot_meta conflicts{log_index(4), term(3), voters({1, 2, 3})};
  for (const bool keeps : {true, false}) {
    follower f(with_log(voters({1, 2}), 3, entries));
    f.append(3, 0, 0, {});
    f.core.take();
    f.core.on_snapshot_installed(keeps ? fits : conflicts, start);
    CHECK(f.core.last_index() == log_index(keeps ? 5 : 4));
    CHECK(f.core.commit() == log_index(4));
    CHECK(f.core.applied() == log_index(4));
    CHECK(f.core.synced_index() == f.core.last_index());
    CHECK(f.core.conf() == voters({1, 2, 3}));
    CHECK(answer(f.core.take().send_after_persist).match == log_index(4));
  }
}

TEST_CASE("paper 7: appends that begin before the log's start are taken from there") {
  follower f(with_log(voters({1, 2}), 1, entries_of_terms({1, 1, 1})));
  f.append(1, 3, 1, {}, 3);
  const auto r = f.core.take();
  f.core.on_persisted(r.persist.sequence, start);
  f.core.on_applied(log_index(3));
  const auto base = f.core.compact(log_index(2));
  CHECK(base.index == log_index(2));
  CHECK(f.core.compact(log_index(9)).index == log_index(3));  // never beyond what is applied
  f.append(1, 1, 1, {command(1, 2), command(1, 3), command(1, 4)}, 4);
  CHECK(f.core.last_index() == log_index(4));
  CHECK(answer(f.core.take().send_after_persist).match == log_index(4));
  f.append(1, 0, 0, {command(1, 1)});
  CHECK(answer(f.core.take().send_after_persist).match == log_index(4));
}

// ---- 5.5 crashes ----------------------------------------------------------------------------------------------------

TEST_CASE("paper 5.5: a crashed follower is asked again until it answers, and asking again does no harm") {
  auto c = of({1, 2, 3});
  REQUIRE(c.elect(1));
  for (const bool stored : {false, true}) {
    c.at(3).hold_writes = true;
    REQUIRE(c.propose(1));
    c.settle();
    REQUIRE(c[1].progress()[1].match < c[1].last_index());
    if (stored) {  // and does not come to say so
      c.drop = [](const message& m) { return m.from == id(3); };
      c.complete_write(3);
      c.drop = nullptr;
    }
    c.crash(3);
    c.at(3).hold_writes = false;
    c.restart(3);
    c[1].on_unreachable(id(3), true, c.now());  // what it got no answer to it sends again
    CHECK(c[3].last_index() == (stored ? c[1].last_index() : c[1].last_index().prev()));
    c.advance(100ms);
    CHECK(c[1].progress()[1].match == c[1].last_index());
    CHECK(c.at(3).on_disk.entries == c.at(1).on_disk.entries);
  }
  CHECK(c.committed().size() == 2);
  CHECK(c.violations.empty());
}

TEST_CASE("paper 5.5: a node that starts again commits from what it had applied, and keeps the rest of its log") {
  auto d = with_log(voters({1, 2}), 2, entries_of_terms({1, 1, 2}));
  d.applied = log_index(2);
  const raft::core c(id(1), {}, recover(d), start, 1);
  CHECK(c.commit() == log_index(2));
  CHECK(c.applied() == log_index(2));
  CHECK(c.last_index() == log_index(3));
  CHECK(c.synced_index() == log_index(3));
}
