// The log in memory, the quorum arithmetic and the configuration type.
#include "raft/log.hpp"
#include "catch.hpp"
#include "cluster.hpp"
#include "raft/quorum.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;

namespace {

log_index at(std::uint64_t i) { return log_index(i); }

/// Hands out everything and notes it as persist `sequence`.
void hand_out(entry_log& log, std::uint64_t sequence) {
  persist_request p;
  log.hand_out(p.truncate_from, p.entries);
  log.mark(sequence, true, instant{});
}

entry conf_entry(std::uint64_t when, std::uint64_t index, configuration conf) {
  return {term(when), log_index(index), entry_kind::configuration, {}, std::move(conf)};
}

}  // namespace

TEST_CASE("configuration: membership and form") {
  const configuration c{ids({1, 2}), ids({2, 3}), ids({3, 4})};
  CHECK(c.joint());
  CHECK(c.is_voter(id(3)));
  CHECK_FALSE(c.is_learner(id(3)));  // still a voter of the outgoing side
  CHECK(c.is_learner(id(4)));
  CHECK(c.members() == ids({1, 2, 3, 4}));
  CHECK(c.well_formed());
  CHECK_FALSE(configuration{}.well_formed());
  CHECK_FALSE(voters({2, 1}).well_formed());
  CHECK_FALSE(voters({1, 1}).well_formed());
  CHECK_FALSE(voters({0, 1}).well_formed());
}

TEST_CASE("quorum: majority of one and of both sides") {
  const auto value = [](node_id n) { return n.lo * 10; };
  CHECK(quorum_value(voters({1}), value) == 10);
  CHECK(quorum_value(voters({1, 2}), value) == 10);
  CHECK(quorum_value(voters({1, 2, 3}), value) == 20);
  CHECK(quorum_value(voters({1, 2, 3, 4}), value) == 20);
  CHECK(quorum_value(voters({1, 2, 3, 4, 5}), value) == 30);
  CHECK(quorum_value(configuration{ids({3, 4, 5}), ids({1, 2, 3}), {}}, value) == 20);

  const configuration joint{ids({3, 4, 5}), ids({1, 2, 3}), {}};
  CHECK(count_votes(joint, {{id(3), true}, {id(4), true}}) == tally::pending);
  CHECK(count_votes(joint, {{id(3), true}, {id(4), true}, {id(1), true}}) == tally::won);
  CHECK(count_votes(joint, {{id(3), true}, {id(1), false}, {id(2), false}}) == tally::lost);
  CHECK(count_votes(voters({1, 2, 3}), {{id(1), true}, {id(7), true}}) == tally::pending);
}

TEST_CASE("log: entries, terms and bytes") {
  entry_log log({at(10), term(2), voters({1})}, {command(2, 11), command(3, 12), command(5, 13), command(5, 14)});
  CHECK(log.first() == at(11));
  CHECK(log.last() == at(14));
  CHECK(log.synced() == at(14));
  CHECK(log.bytes() == 4);
  CHECK(log.term_at(at(10)) == term(2));
  CHECK(log.term_at(at(12)) == term(3));
  CHECK_FALSE(log.term_at(at(9)));
  CHECK_FALSE(log.term_at(at(15)));
  CHECK(log.at(at(10)) == nullptr);

  CHECK(log.last_not_newer_than(at(14), term(5)) == at(14));
  CHECK(log.last_not_newer_than(at(99), term(4)) == at(12));
  CHECK(log.last_not_newer_than(at(13), term(2)) == at(11));
  CHECK(log.last_not_newer_than(at(10), term(2)) == at(10));
  CHECK(log.last_not_newer_than(at(12), term(1)) == at(9));  // before the start: unknown
  CHECK(log.last_not_newer_than(at(3), term(9)) == at(3));
}

TEST_CASE("log: the configuration follows append, truncation and compaction") {
  entry_log log({at(0), term(0), voters({1})}, {});
  log.append(command(1, 1));
  log.append(conf_entry(1, 2, voters({1, 2})));
  log.append(command(1, 3));
  log.append(conf_entry(1, 4, voters({1, 2, 3})));
  CHECK(log.conf() == voters({1, 2, 3}));
  CHECK(log.conf_index() == at(4));
  CHECK(log.conf_at(at(1)) == voters({1}));
  CHECK(log.conf_at(at(3)) == voters({1, 2}));

  log.truncate(at(4));
  CHECK(log.conf() == voters({1, 2}));
  hand_out(log, 1);
  log.persisted(1);
  log.compact(at(3));
  CHECK(log.base().conf == voters({1, 2}));
  CHECK(log.conf() == voters({1, 2}));
  CHECK(log.conf_index() == at(3));

  // Rebuilt from the entries at start.
  const entry_log again({at(0), term(0), voters({1})}, {command(1, 1), conf_entry(1, 2, voters({1, 2}))});
  CHECK(again.conf() == voters({1, 2}));
}

TEST_CASE(
    "log: a change that is rolled back leads to the configuration that only the snapshot has (craft#250, craft#323)",
    "[lesson]") {
  const configuration joint{ids({1, 3}), ids({1, 2}), {}};
  entry_log log({at(0), term(0), voters({1})}, {});
  log.append(conf_entry(1, 1, voters({1, 2})));
  log.append(command(1, 2));
  log.append(conf_entry(1, 3, joint));
  hand_out(log, 1);
  log.persisted(1);
  log.compact(at(2));
  CHECK(log.base().conf == voters({1, 2}));  // of its index, not the latest
  CHECK(log.conf() == joint);
  log.truncate(at(3));
  CHECK(log.conf() == voters({1, 2}));
  CHECK(log.conf_index() == at(2));

  log.install({at(7), term(2), joint});
  log.append(conf_entry(2, 8, voters({1, 3})));
  log.append(conf_entry(2, 9, voters({1})));
  log.truncate(at(8));  // both at once
  CHECK(log.conf() == joint);
  CHECK(log.conf_index() == at(7));
}

TEST_CASE("log: a completion counts only what is still there (ABA)") {
  entry_log log({}, {});
  for (std::uint64_t i = 1; i <= 3; ++i) log.append(command(1, i));
  hand_out(log, 1);
  log.truncate(at(2));
  log.append(command(2, 2));
  log.append(command(2, 3));

  persist_request p;
  log.hand_out(p.truncate_from, p.entries);
  log.mark(2, true, instant{});
  CHECK(p.truncate_from == at(2));
  CHECK(p.entries.size() == 2);

  log.persisted(1);
  CHECK(log.synced() == at(1));
  log.persisted(2);
  CHECK(log.synced() == at(3));
}

TEST_CASE("log: written is not synced, and one sync is for all before it") {
  entry_log log({}, {});
  const auto write = [&](std::uint64_t sequence, bool sync) {
    log.append(command(1, log.last().next().value));
    persist_request p;
    log.hand_out(p.truncate_from, p.entries);
    log.mark(sequence, sync, instant(std::chrono::seconds(sequence)));
  };
  write(1, false);
  write(2, false);
  CHECK(log.lazy_since() == instant(1s));
  CHECK(log.lazy_bytes() == log.bytes());
  log.persisted(1);
  CHECK(log.written() == at(1));
  write(3, true);
  CHECK_FALSE(log.lazy_since());
  CHECK(log.lazy_bytes() == 0);
  log.persisted(2);
  CHECK(log.written() == at(2));
  CHECK(log.synced() == at(0));
  write(4, false);
  log.persisted(4);
  CHECK(log.written() == at(4));
  CHECK(log.synced() == at(3));
  log.truncate(at(3));
  CHECK(log.written() == at(2));
  CHECK(log.synced() == at(2));
}

TEST_CASE("log: what the disk was never told needs no truncation there") {
  entry_log log({}, {});
  log.append(command(1, 1));
  hand_out(log, 1);
  log.append(command(1, 2));
  log.truncate(at(2));
  log.append(command(2, 2));
  persist_request p;
  log.hand_out(p.truncate_from, p.entries);
  CHECK_FALSE(p.truncate_from);
  CHECK(p.entries == std::vector{command(2, 2)});
}

TEST_CASE("log: a snapshot replaces the log, or only its beginning when the log goes on from it") {
  const snapshot_meta meta{at(3), term(2), voters({1, 2})};
  SECTION("extends") {
    entry_log log({}, {command(1, 1), command(2, 2), command(2, 3), command(2, 4)});
    log.install(meta);
    CHECK(log.first() == at(4));
    CHECK(log.last() == at(4));
    CHECK(log.synced() == at(4));
    CHECK(log.conf() == voters({1, 2}));
  }
  SECTION("conflicts") {
    entry_log log({}, {command(1, 1), command(1, 2), command(1, 3), command(1, 4)});
    log.install(meta);
    CHECK(log.last() == at(3));
    CHECK(log.synced() == at(3));
    CHECK(log.bytes() == 0);
    persist_request p;
    log.hand_out(p.truncate_from, p.entries);
    CHECK(p.truncate_from == at(4));  // in case a write after the installation brought it back
  }
  SECTION("conflicts while a write of the old log is on its way") {
    entry_log log({}, {});
    for (std::uint64_t i = 1; i <= 5; ++i) log.append(command(1, i));
    hand_out(log, 1);
    log.install(meta);
    log.append(command(3, 4));
    log.persisted(1);
    CHECK(log.synced() == at(3));
  }
}
