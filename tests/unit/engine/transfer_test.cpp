// The state on its way from a leader to a node whose log no longer meets the leader's: whole, broken, stale, damaged.
#include <algorithm>
#include <numeric>
#include <set>

#include "catch.hpp"
#include "machine/types.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;

engine::options short_logs() {
  engine::options o;
  o.compact_after_entries = 20;
  o.keep_entries = 4;
  o.snapshot_chunk_bytes = 1'000;
  return o;
}

/// Three nodes, one of which is cut off while the others go on beyond what their logs keep.
struct transfer_world : active_nodes {
  std::size_t leader, behind;
  std::vector<wire::snapshot_chunk> chunks;
  std::vector<wire::snapshot_ack> acks;
  std::function<bool(const wire::snapshot_chunk&)> lose_chunk;
  std::function<bool(const wire::snapshot_ack&)> lose_ack;

  explicit transfer_world(engine::options o = short_logs()) : active_nodes(3, std::move(o)) {
    leader = *nodes::leader();
    behind = (leader + 1) % 3;
    cut(behind);
    append(60);
    lose = [this](std::size_t, std::size_t to, const wire::peer_message& m) {
      if (const auto* c = std::get_if<wire::snapshot_chunk>(&m); c && to == behind) {
        chunks.push_back(*c);
        return lose_chunk && lose_chunk(*c);
      }
      if (const auto* a = std::get_if<wire::snapshot_ack>(&m)) {
        acks.push_back(*a);
        return lose_ack && lose_ack(*a);
      }
      return false;
    };
  }
  void append(int n) {
    for (int i = 0; i < n; ++i)
      REQUIRE(is<wire::appended>(ask(leader, wire::append_journal{"orders", "", {{"t", std::string(100, 'x')}}})));
  }
  bool met() { return counted(behind, "snapshot.installed") > 0 && same(); }
  bool same() {
    const auto a = (*this)[leader].look(), b = (*this)[behind].look();
    return a.raft->applied() == b.raft->applied() && a.machine->digest() == b.machine->digest();
  }
  wire::snapshot_ack answer_to(wire::snapshot_chunk c) {
    acks.clear();
    say(leader, behind, std::move(c));
    REQUIRE(!acks.empty());
    return acks.front();
  }
  /// The first chunk of a transfer that has begun, lost on its way.
  wire::snapshot_chunk first_lost() {
    lose_chunk = [](const auto&) { return true; };
    cut(behind, false);
    REQUIRE(run_until([&] { return !chunks.empty(); }));
    return chunks.front();
  }
};

}  // namespace

TEST_CASE("a node that was away too long gets the state in chunks, and the journals with it") {
  transfer_world w;
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.met(); }));
  REQUIRE(w.chunks.size() > 3);
  REQUIRE(w.chunks.back().last);
  REQUIRE(expect<wire::entries>(w.ask(w.behind, wire::peek_journal{"orders"})).list.size() == 60);
  REQUIRE(w.logged(w.behind, "state received: log at"));
  // What it got is on its disk.
  w.restart(w.behind);
  REQUIRE(w.run_until([&] { return w.same(); }));
  REQUIRE(w.counted(w.behind, "snapshot.installed") == 0);
}

TEST_CASE("a chunk or an acknowledgement that is lost costs a transfer, and the next one is whole") {
  transfer_world w;
  SECTION("a chunk") {
    w.lose_chunk = [n = 0](const auto& c) mutable { return c.number == 2 && n++ == 0; };
  }
  SECTION("an acknowledgement") {
    w.lose_ack = [n = 0](const auto& a) mutable { return a.number == 2 && n++ == 0; };
  }
  SECTION("the last acknowledgement") {
    w.lose_ack = [n = 0](const auto& a) mutable { return a.installed && n++ == 0; };
  }
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.met(); }, 60s));
}

TEST_CASE("a transfer whose stream breaks goes on with the chunk that was lost") {
  transfer_world w;
  const bool forgotten = GENERATE(false, true);  // the chunk, or the word that it came
  bool broken = false;
  w.lose_chunk = [&](const auto& c) { return !forgotten && c.number == 2 && !std::exchange(broken, true); };
  w.lose_ack = [&](const auto& a) { return forgotten && a.number == 2 && !std::exchange(broken, true); };
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return broken; }));
  w.end_streams(w.behind, false);
  REQUIRE(w.run_until([&] { return w.met(); }, 2s));
  REQUIRE(w.counted(w.leader, "snapshot.resumed") == 1);
  std::vector<std::uint64_t> numbers;
  for (const auto& c : w.chunks) {
    REQUIRE(c.transfer == w.chunks.front().transfer);
    numbers.push_back(c.number);
  }
  std::vector<std::uint64_t> expected(w.chunks.back().number + 1);
  std::iota(expected.begin(), expected.end(), 0);
  expected.insert(expected.begin() + 2, 2);
  REQUIRE(numbers == expected);
  w.restart(w.behind);
  REQUIRE(w.run_until([&] { return w.same(); }));
}

TEST_CASE("a cut that lasts ends a transfer") {
  transfer_world w;
  w.lose_chunk = [](const auto& c) { return c.number == 2; };
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.chunks.size() > 2; }));
  w.cut(w.behind);
  w.run(12s);
  w.lose_chunk = nullptr;
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.met(); }));
  REQUIRE(w.counted(w.leader, "snapshot.resumed") == 0);
  REQUIRE(w.chunks.back().transfer != w.chunks.front().transfer);
}

TEST_CASE("the log that follows a state is kept for whoever gets it") {
  auto o = short_logs();
  o.snapshot_rate = 10'000;
  transfer_world w(o);
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.chunks.size() > 2; }));
  w.append(100);  // five times what makes a log too long
  REQUIRE(!w.chunks.back().last);
  REQUIRE(w.run_until([&] { return w.met(); }));
  REQUIRE(w.counted(w.behind, "snapshot.installed") == 1);
  // Nobody needs it any more.
  w.run(11s);
  w.append(30);
  const auto& raft = *w[w.leader].look().raft;
  REQUIRE(distance(raft.first_index(), raft.last_index()) < 60);
}

TEST_CASE("a newcomer gets one state, though that takes longer than a standby has to be stable") {
  auto o = short_logs();
  o.snapshot_rate = 400;
  transfer_world w(o);
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.met(); }, 100s));
  w.chunks.clear();
  w.behind = w.add("d");
  const auto begun = w.now().steady;
  REQUIRE(w.run_until([&] { return w.met(); }, 100s));
  REQUIRE(w.now().steady - begun > 12s);
  std::set<std::uint64_t> transfers;
  for (const auto& c : w.chunks) transfers.insert(c.transfer);
  REQUIRE(transfers.size() == 1);
  const auto standby = [&] { return w[w.leader].look().raft->conf().is_learner(w.id(w.behind)); };
  REQUIRE(w.run_until(standby, 12s));
}

TEST_CASE("chunks keep to the rate of the node that sends them") {
  auto o = short_logs();
  o.snapshot_rate = 10'000;
  transfer_world w(o);
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return !w.chunks.empty(); }));
  const auto begun = w.now().steady;
  REQUIRE(w.run_until([&] { return w.met(); }));
  std::size_t bytes = 0;
  for (const auto& c : w.chunks)
    for (const auto& [k, v] : c.items)
      if (!c.last) bytes += k.size() + v.size();
  const auto wanted = duration(1s) * bytes / o.snapshot_rate;
  REQUIRE(bytes > 5'000);
  REQUIRE(w.now().steady - begun >= wanted);
  REQUIRE(w.now().steady - begun <= wanted + 500ms);
}

TEST_CASE(
    "a node that starts again amid a transfer has its old state, whole, and gets another one (nuraft#562, nuraft#590)",
    "[lesson]") {
  transfer_world w;
  const auto before = w[w.behind].look().machine->digest();
  const auto applied = w[w.behind].look().raft->applied();
  const auto records = w.disk(w.behind).size(disk::space::state);
  w.lose_chunk = [](const auto& c) { return c.number >= 2; };
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.chunks.size() > 2; }));
  w.restart(w.behind);
  REQUIRE(w[w.behind].look().raft->applied() == applied);
  REQUIRE(w[w.behind].look().machine->digest() == before);
  REQUIRE(w.disk(w.behind).size(disk::space::state) == records);
  w.lose_chunk = nullptr;
  REQUIRE(w.run_until([&] { return w.met(); }, 60s));
  REQUIRE(w.chunks.back().transfer != w.chunks.front().transfer);
}

TEST_CASE("a transfer is given up when it stands still, not when it takes long (ch#112405)", "[lesson]") {
  transfer_world w;
  w.lose_chunk = [&](const auto&) {
    w.hold_disk(w.behind);  // each chunk takes 6 s to be written
    return false;
  };
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return !w.chunks.empty(); }));
  const auto begun = w.now().steady;
  for (int i = 0; i < 20 && !w.met(); ++i) {
    w.run(6s);
    w.release_disk(w.behind);
  }
  REQUIRE(w.met());
  REQUIRE(w.now().steady - begun > 20s);
  for (const auto& c : w.chunks) REQUIRE(c.transfer == w.chunks.front().transfer);
  REQUIRE(w.counted(w.behind, "snapshot.installed") == 1);
}

TEST_CASE("an installation that outlasts the leader's patience counts all the same, and once (ch#112405)", "[lesson]") {
  transfer_world w;
  w.lose_chunk = [&](const auto& c) {
    if (c.last) w.hold_disk(w.behind);
    return false;
  };
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return !w.chunks.empty() && w.chunks.back().last; }));
  w.run(25s);
  w.lose_chunk = nullptr;
  w.release_disk(w.behind);
  REQUIRE(w.run_until([&] { return w.met(); }, 1s));
  w.append(3);
  REQUIRE(w.run_until([&] { return w.same(); }, 1s));
  REQUIRE(w.counted(w.behind, "snapshot.installed") == 1);
  REQUIRE(w[w.leader].look().raft->stats().get("raft_match_regressed") == 0);
}

TEST_CASE("a transfer that is refused begins again") {
  transfer_world w;
  auto first = w.first_lost();
  w.lose_chunk = nullptr;
  // Of an earlier transfer, or an earlier chunk: says nothing of this one.
  w.say(w.behind, w.leader, wire::snapshot_ack{first.transfer + 1, first.number, false, false});
  w.say(w.behind, w.leader, wire::snapshot_ack{first.transfer, first.number + 7, false, false});
  REQUIRE(w.chunks.size() == 1);
  w.say(w.behind, w.leader, wire::snapshot_ack{first.transfer, first.number, false, false});
  REQUIRE(w.run_until([&] { return w.met(); }, 5s));
}

TEST_CASE("the leader reads on only when the disk has given what it asked for") {
  transfer_world w;
  w.lose_chunk = [&](const auto& c) {
    if (c.number == 1) w.hold_disk(w.leader);
    return false;
  };
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.chunks.size() == 2; }));
  w.run(50ms);
  REQUIRE(w.acks.size() == 2);
  w.say(w.behind, w.leader, w.acks.back());  // repeated, while it reads
  REQUIRE(w.chunks.size() == 2);
  w.lose_chunk = nullptr;
  w.release_disk(w.leader);
  REQUIRE(w.run_until([&] { return w.met(); }));
  REQUIRE(std::ranges::count(w.chunks, 2u, &wire::snapshot_chunk::number) == 1);
}

TEST_CASE("chunks out of order are refused, repeated ones acknowledged again") {
  transfer_world w;
  auto c = w.first_lost();
  REQUIRE(c.number == 0);
  c.number = 1;
  REQUIRE(!w.answer_to(c).ok);  // nothing begun
  c.number = 0;
  REQUIRE(w.answer_to(c).ok);
  REQUIRE(w.answer_to(c).ok);
  c.number = 2;
  REQUIRE(!w.answer_to(c).ok);
  c.number = 1;
  REQUIRE(w.answer_to(c).ok);
  REQUIRE(w.answer_to(c).ok);
  ++c.transfer;
  REQUIRE(!w.answer_to(c).ok);
  w.lose_chunk = nullptr;
  REQUIRE(w.run_until([&] { return w.met(); }, 60s));
}

TEST_CASE("a chunk of an earlier term is refused, one of what is there already needs no more") {
  transfer_world w;
  auto c = w.first_lost();
  auto old = c;
  old.when = term(1);
  REQUIRE(!w.answer_to(old).ok);
  old = c;
  old.meta.index = w[w.behind].look().raft->commit();
  const auto a = w.answer_to(old);
  REQUIRE(a.ok);
  REQUIRE(a.installed);
  REQUIRE(w.counted(w.behind, "snapshot.installed") == 0);
}

TEST_CASE("a record that does not decode drops what was received so far") {
  transfer_world w;
  auto c = w.first_lost();
  auto bad = c;
  bad.items.emplace_back(machine::key_of(machine::global_record{}), to_bytes("rot"));
  REQUIRE(!w.answer_to(bad).ok);
  REQUIRE(w.logged(w.behind, "does not decode"));
  c.number = 1;
  REQUIRE(!w.answer_to(c).ok);
  w.lose_chunk = nullptr;
  REQUIRE(w.run_until([&] { return w.met(); }, 60s));
}

TEST_CASE("while a received state replaces the old one nothing else moves the log (nuraft#407)", "[lesson]") {
  transfer_world w;
  w.lose_chunk = [&](const auto& c) {
    if (c.last) w.hold_disk(w.behind);
    return false;
  };
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return !w.chunks.empty() && w.chunks.back().last; }));
  const auto applied = w[w.behind].look().raft->applied();
  w.run(200ms);
  REQUIRE(w.counted(w.behind, "raft.dropped_while_installing") > 0);
  REQUIRE(w[w.behind].look().raft->applied() == applied);
  REQUIRE(!w.answer_to(w.chunks.front()).ok);
  REQUIRE(refusal(w.ask(w.behind, wire::read_snapshot{0, {}, true})) == errc::unavailable);
  w.lose_chunk = nullptr;
  w.release_disk(w.behind);
  REQUIRE(w.run_until([&] { return w.met(); }, 60s));
}

TEST_CASE("entries that become durable while a state is installed write nothing into it") {
  auto o = short_logs();
  o.snapshot_chunk_bytes = 1 << 20;
  transfer_world w(o);
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.met(); }));
  w.run(11s);  // the log is not kept for it any more
  // It hears of some entries, which its disk does not confirm; instead of those that follow it gets the state.
  w.hold_disk(w.behind);
  w.append(5);
  w.run(300ms);
  const auto& raft = *w[w.behind].look().raft;
  const auto heard = raft.commit();
  REQUIRE(raft.applied() < heard);
  const auto chunks = w.lose;
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    const auto* a = r ? std::get_if<raft::append_request>(&r->body) : nullptr;
    return chunks(from, to, m) || (to == w.behind && a && !a->entries.empty());
  };
  w.chunks.clear();
  w.append(60);
  w.cut(w.behind);  // so that the leader asks what it has
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return !w.chunks.empty() && w.chunks.back().last; }));
  w.run(50ms);
  REQUIRE(raft.commit() == heard);
  w.release_disk(w.behind);
  REQUIRE(raft.applied() > heard);
  w.lose = chunks;
  REQUIRE(w.run_until([&] { return w.same(); }));
  w.restart(w.behind);
  REQUIRE(w.run_until([&] { return w.same(); }));
}

TEST_CASE("an entry that came in the turn of the last chunk is not left behind by the old log") {
  transfer_world w;
  std::optional<wire::snapshot_chunk> last;
  w.lose_chunk = [&](const auto& c) {
    if (c.last) last = c;
    return c.last;
  };
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return last.has_value(); }));
  const auto& raft = *w[w.behind].look().raft;
  const auto end = raft.last_index();
  const raft::entry next{*raft.term_at(end), end.next(), raft::entry_kind::noop, {}, {}};
  w.say(w.leader, w.behind,
        {raft::message{w.id(w.leader), w.id(w.behind), raft.current_term(),
                       raft::append_request{end, *raft.term_at(end), end, {next}}},
         *last});
  REQUIRE(w.counted(w.behind, "snapshot.installed") == 1);
  REQUIRE(raft.first_index() > next.index);
  w.restart(w.behind);
  REQUIRE(!w.end_of(w.behind));
  w.lose_chunk = nullptr;
  REQUIRE(w.run_until([&] { return w.same(); }));
}

TEST_CASE("a log that the received state continues is kept behind it") {
  transfer_world w;
  w.cut(w.behind, false);
  REQUIRE(w.run_until([&] { return w.met(); }, 60s));
  // Entries come, and the word that they are committed does not.
  const auto& raft = *w[w.behind].look().raft;
  w.lose = [&](std::size_t, std::size_t to, const wire::peer_message& m) {
    return to == w.behind && std::holds_alternative<raft::message>(m) && raft.last_index() > raft.commit();
  };
  w.append(1);
  REQUIRE(raft.last_index() > raft.commit());
  const raft::snapshot_meta meta{raft.commit().next(), *raft.term_at(raft.commit().next()), raft.conf()};
  engine::read all;
  all.max_items = all.max_bytes = 1'000'000;
  w.say(w.leader, w.behind,
        wire::snapshot_chunk{77, 0, raft.current_term(), meta, {}, w.disk(w.leader).range(all).items, true});
  REQUIRE(w.counted(w.behind, "snapshot.installed") == 2);
  REQUIRE(raft.last_index() >= meta.index);
  REQUIRE(raft.first_index() == meta.index.next());
  w.lose = nullptr;
  w.append(3);
  REQUIRE(w.run_until([&] { return w.same(); }));
}

TEST_CASE("a new node gets the state whose log is gone") {
  transfer_world w;
  w.cut(w.behind, false);
  const auto d = w.add("d");
  REQUIRE(w.run_until_active());
  w.append(1);
  w.behind = d;
  REQUIRE(w.run_until([&] { return w.met(); }));
  REQUIRE(expect<wire::entries>(w.ask(d, wire::peek_journal{"orders"})).list.size() == 61);
}
