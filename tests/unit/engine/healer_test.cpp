// Damage that peers heal (docs/consensus.md 1.6): the node is silent until it has a state from one of them, and forgets
// nothing by it.
#include <algorithm>

#include "base/big_endian.hpp"
#include "catch.hpp"
#include "engine/recovery.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"
#include "wire/codec.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct heal_world : active_nodes {
  std::size_t leader, hurt;
  bool spoke = false;  ///< the damaged node voted or acknowledged
  bool no_state = false;
  std::vector<log_index> offered;

  explicit heal_world(std::size_t n = 3) : active_nodes(n, small()) {
    leader = *nodes::leader();
    hurt = (leader + 1) % n;
    append(leader, 20);
    lose = [this](std::size_t from, std::size_t to, const wire::peer_message& m) {
      spoke |= from == hurt && std::holds_alternative<raft::message>(m) && (*this)[hurt].look().raft == nullptr;
      if (const auto* c = std::get_if<wire::snapshot_chunk>(&m); c && to == hurt) {
        if (c->number == 0) offered.push_back(c->meta.index);
        return no_state;
      }
      return false;
    };
  }
  static engine::options small() {
    engine::options o;
    o.snapshot_chunk_bytes = 500;
    return o;
  }
  void append(std::size_t at, int n) {
    for (int i = 0; i < n; ++i)
      REQUIRE(is<wire::appended>(ask(at, wire::append_journal{"orders", "", {{"t", std::string(50, 'x')}}})));
  }
  std::vector<disk::item> log() { return image(hurt).log; }
  void rot(const disk::item& e) {
    auto value = e.second;
    value.back() ^= std::byte{4};
    disk(hurt).write({disk::put(disk::space::log, e.first, value)}, true);
  }
  void rot_state() {
    rng r(7);
    REQUIRE(disk(hurt).corrupt(r, disk::space::state));
  }
  raft::hard_state hard() {
    return *wire::decode_hard_state(
        disk(hurt).durable(disk::space::meta, engine::group_key(meta_group, "hard_state"))->view());
  }
  bool healed() { return counted(hurt, "heal.done") == 1 && active(hurt); }
  bool same() {
    const auto a = (*this)[leader].look(), b = (*this)[hurt].look();
    return b.raft != nullptr && a.raft->applied() == b.raft->applied() && a.machine->digest() == b.machine->digest();
  }
};

}  // namespace

TEST_CASE("a damaged entry is healed by a peer's state, and the end of the log stays") {
  heal_world w;
  w.kill(w.hurt);
  const auto before = w.log();
  const auto vote = w.hard();
  REQUIRE(before.size() > 10);
  SECTION("one") { w.rot(before[before.size() / 2]); }
  SECTION("several") {
    w.rot(before[1]);
    w.rot(before[before.size() - 2]);
  }
  SECTION("one is gone") {
    w.disk(w.hurt).write({disk::erase(disk::space::log, before[before.size() / 2].first)}, true);
  }
  w.restart(w.hurt);
  REQUIRE(w.logged(w.hurt, "the data here is damaged (log entry") >= 1);
  REQUIRE(w.run_until([&] { return w.healed() && w.same(); }));
  CHECK(!w.spoke);
  CHECK(w.hard().current >= vote.current);
  CHECK(expect<wire::entries>(w.ask(w.hurt, wire::peek_journal{"orders"})).list.size() == 20);
  // It is whole: the next start finds nothing.
  w.restart(w.hurt);
  REQUIRE(w.run_until([&] { return w.active(w.hurt) && w.same(); }));
  CHECK(w.counted(w.hurt, "heal.done") == 0);
}

TEST_CASE("a damaged state comes anew from a peer") {
  heal_world w;
  w.kill(w.hurt);
  w.rot_state();
  w.restart(w.hurt);
  REQUIRE(w.logged(w.hurt, "the data here is damaged (a block of the state") == 1);
  REQUIRE(w.run_until([&] { return w.healed() && w.same(); }));
  CHECK(!w.spoke);
  w.append(w.hurt, 1);
  w.restart(w.hurt);
  REQUIRE(w.run_until([&] { return w.active(w.hurt) && w.same(); }));
}

TEST_CASE("without the others it stays silent, says so, and clients are told") {
  heal_world w;
  w.kill(w.hurt);
  w.rot(w.log()[3]);
  const auto third = 3 - w.leader - w.hurt;
  w.kill(w.leader);
  w.kill(third);
  w.restart(w.hurt);
  w.run(40s);
  CHECK(!w.spoke);
  CHECK(w[w.hurt].look().raft == nullptr);
  CHECK(w.logged(w.hurt, "if none has it, start with --rejoin") >= 2);
  const auto s = expect<wire::status_info>(w.ask(w.hurt, wire::get_status{}));
  CHECK(s.state == "joining");
  CHECK_FALSE(s.ready);
  CHECK(std::ranges::any_of(s.warnings, [](const auto& x) { return x.find("log entry") != x.npos; }));
  CHECK(refusal(w.ask(w.hurt, wire::peek_journal{"orders"})) == errc::unavailable);
  // One that has it is enough, with no leader.
  w.restart(third);
  REQUIRE(w.run_until([&] { return w.healed(); }));
}

TEST_CASE("a state that would take something back is not taken") {
  heal_world w;
  // The third one has less than the damaged one had applied.
  const auto third = 3 - w.leader - w.hurt;
  w.cut(third);
  w.append(w.leader, 5);
  w.run(200ms);
  const auto applied = w[w.hurt].look().raft->applied();
  REQUIRE(w[third].look().raft->applied() < applied);
  w.kill(w.hurt);
  w.kill(w.leader);
  w.rot(w.log()[3]);
  w.cut(third, false);
  w.restart(w.hurt);
  w.run(5s);
  REQUIRE(!w.offered.empty());
  CHECK(std::ranges::all_of(w.offered, [&](log_index i) { return i < applied; }));
  CHECK(!w.spoke);
  CHECK(w.counted(w.hurt, "heal.done") == 0);
  w.restart(w.leader);
  REQUIRE(w.run_until([&] { return w.healed() && w.same(); }));
}

TEST_CASE("what was acknowledged, and is not committed with the one that heals, is still there") {
  heal_world w;
  const auto third = 3 - w.leader - w.hurt;
  // Entries reach the damaged one alone, and nobody knows yet that they are committed.
  w.cut(third);
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    return from == w.hurt && to == w.leader && r && std::holds_alternative<raft::append_response>(r->body);
  };
  const auto committed = w[w.hurt].look().raft->commit();
  for (int i = 0; i < 3; ++i) w.call(w.leader, wire::append_journal{"orders", "", {{"t", "acknowledged"}}});
  w.run(20ms);
  const auto last = w[w.hurt].look().raft->last_index();
  REQUIRE(last > committed);
  w.kill(w.hurt);
  w.kill(w.leader);
  const auto log = w.log();
  SECTION("damage before it") { w.rot(log[2]); }
  SECTION("the state") { w.rot_state(); }
  w.lose = nullptr;
  w.cut(third, false);
  w.restart(w.hurt);
  // The third one, alone, can't elect itself: it is healed by it, and then they are two.
  REQUIRE(w.run_until([&] { return w.counted(w.hurt, "heal.done") == 1; }));
  CHECK(w[w.hurt].look().raft->last_index() >= last);
  REQUIRE(w.run_until([&] { return w.active(w.hurt) && w.active(third); }));
  CHECK(expect<wire::entries>(w.ask(third, wire::peek_journal{"orders"})).list.size() == 23);
}

TEST_CASE("the end of the log, term and vote can't be healed") {
  heal_world w;
  w.kill(w.hurt);
  SECTION("the last entry") {
    w.rot(w.log().back());
    w.restart(w.hurt);
    REQUIRE_THAT(w.end_of(w.hurt)->reason, Contains("fails its checksum") && Contains("move it away"));
  }
  SECTION("the vote") {
    w.disk(w.hurt).write({disk::put(disk::space::meta, engine::group_key(meta_group, "hard_state"), to_bytes("rot"))},
                         true);
    w.restart(w.hurt);
    REQUIRE_THAT(w.end_of(w.hurt)->reason, Contains("term and vote do not decode"));
  }
}

TEST_CASE("who can't help is left for another, and a transfer that ends begins anew") {
  heal_world w;
  w.kill(w.hurt);
  w.rot(w.log()[3]);
  w.no_state = true;
  w.restart(w.hurt);
  REQUIRE(w.run_until([&] { return w.offered.size() >= 2; }, 30s));
  CHECK(w[w.hurt].look().raft == nullptr);
  w.no_state = false;
  REQUIRE(w.run_until([&] { return w.healed() && w.same(); }));
}

TEST_CASE("a crash while it is healed begins the healing anew, or finds it done") {
  heal_world w;
  w.kill(w.hurt);
  w.rot(w.log()[3]);
  w.hold_disk(w.hurt);
  w.restart(w.hurt);
  REQUIRE(w.run_until([&] { return !w.offered.empty(); }));
  w.restart(w.hurt);
  w.release_disk(w.hurt);
  REQUIRE(w.run_until([&] { return w.active(w.hurt) && w.same(); }));
}
