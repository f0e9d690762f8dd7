// Data groups beside the meta group (docs/consensus.md 1.10): which log has what, sessions and their fences, the
// configuration, snapshots, and starts with another number of groups.
#include <algorithm>

#include "base/hash.hpp"
#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

engine::options with_groups(std::uint32_t n = 2) {
  engine::options o;
  o.data_groups = n;
  return o;
}

/// A journal of that group, of two.
std::string journal_in(std::uint32_t group) {
  for (int i = 0;; ++i)
    if (const auto name = "j" + std::to_string(i); group_of(name, 2) == group_id(group)) return name;
}

struct group_world : active_nodes {
  explicit group_world(std::size_t n = 3, engine::options o = with_groups()) : active_nodes(n, std::move(o)) {
    REQUIRE(run_until([&] { return led(0) && led(1); }));
  }
  const raft::core& core(std::size_t i, std::size_t group) const { return *(*this)[i].look().data.at(group).raft; }
  const machine::machine& state(std::size_t i, std::size_t group) const {
    return *(*this)[i].look().data.at(group).machine;
  }
  std::optional<std::size_t> leader_of(std::size_t group) const {
    for (std::size_t i = 0; i < size(); ++i)
      if (!end_of(i) && core(i, group).leader_ready()) return i;
    return std::nullopt;
  }
  bool led(std::size_t group) const { return leader_of(group).has_value(); }
  wire::appended append(std::size_t i, const std::string& journal, const std::string& text = "m") {
    return expect<wire::appended>(ask(i, wire::append_journal{journal, "", {{"t", text}}}));
  }
  std::size_t entries(std::size_t i, const std::string& journal) {
    return expect<wire::entries>(ask(i, wire::peek_journal{journal, 100})).list.size();
  }
  /// Of a node of this cluster that nobody knows.
  swim::hello strange_hello() {
    auto h = *heard<swim::hello>(connect(0));
    h.id = node_id{7, 7};
    h.epoch = boot_epoch(9);
    h.name = "x";
    h.advertise = {"10.0.0.9", 7400};
    return h;
  }
  std::uint64_t total(std::size_t i, std::size_t group, const std::string& journal) const {
    const auto& all = state(i, group).journals();
    const auto j = all.find(journal);
    return j == all.end() ? 0 : j->second.total;
  }
};

}  // namespace

TEST_CASE("a journal is in the group that its name falls to, on every node, and in no other") {
  group_world w;
  const auto one = journal_in(1), two = journal_in(2);
  const auto before = w[0].look().raft->commit();
  for (int i = 0; i < 5; ++i) w.append(static_cast<std::size_t>(i) % 3, one);
  w.append(1, two);
  REQUIRE(w.run_until([&] {
    for (std::size_t i = 0; i < 3; ++i)
      if (w.total(i, 0, one) != 5 || w.total(i, 1, two) != 1) return false;
    return true;
  }));
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(w.entries(i, one) == 5);
    CHECK(w.total(i, 1, one) == 0);
    CHECK(w[i].look().machine->journals().empty());
  }
  // Nothing of it is in the meta group's log.
  CHECK(w[*w.leader()].look().raft->commit() == before);
  // What is on the disk is in the group's own state.
  const auto image = w.image(0);
  CHECK(image.data.contains(group_id(1)));
  CHECK(std::ranges::none_of(image.state, [](const auto& x) { return x.first.front() == std::byte{'q'}; }));
}

TEST_CASE("what was acknowledged is visible after the barrier, in whatever group") {
  group_world w;
  for (const auto& journal : {journal_in(1), journal_in(2)}) {
    w.append(0, journal);
    for (std::size_t i = 0; i < 3; ++i) {
      REQUIRE(is<wire::done>(w.ask(i, wire::wait_visible{})));
      REQUIRE(w.entries(i, journal) == 1);
    }
    REQUIRE(is<wire::done>(w.ask(1, wire::reset_journal{journal})));
    REQUIRE(expect<wire::journal_counts>(w.ask(1, wire::count_journal{journal})).count == 0);
  }
}

TEST_CASE("journals of data groups are processed in turns, and one that goes away gives its turn to the next") {
  group_world w;
  const auto journal = journal_in(2);
  w.append(0, journal);
  REQUIRE(w.run_until([&] { return w.total(1, 1, journal) == 1; }));
  const auto first = w.call(1, wire::begin_process{journal});
  const auto second = w.call(1, wire::begin_process{journal});
  REQUIRE(w.run_until([&] { return !w.answers(first).list.empty(); }));
  CHECK(w.answers(second).list.empty());
  w.cancel(1, first);
  REQUIRE(w.run_until([&] { return !w.answers(second).list.empty(); }));
  const auto batch = expect<wire::entries>(w.answers(second).list.front());
  REQUIRE(batch.list.size() == 1);
  REQUIRE(is<wire::done>(w.ask(1, wire::end_process{journal, batch.token, batch.list[0].id})));
  CHECK(expect<wire::journal_counts>(w.ask(1, wire::count_journal{journal})).count == 0);
}

TEST_CASE("requests are numbered by session and group, and executed once in each") {
  group_world w;
  const auto one = journal_in(1), two = journal_in(2);
  const auto session = w[0].look().session;
  for (int i = 0; i < 3; ++i) w.append(0, one);
  w.append(0, two);
  for (std::size_t g = 0; g < 2; ++g) {
    const auto l = *w.leader_of(g);
    const auto* s = w.state(l, g).session(session);
    REQUIRE(s != nullptr);
    const auto last = s->used.empty() ? s->acked : s->used.rbegin()->first;
    CHECK(last == request_seq(g == 0 ? 3 : 1));
  }
}

TEST_CASE("a session that the meta group has ended gets a Fence in each data group") {
  group_world w;
  const auto victim = (*w.leader() + 1) % 3;
  const auto other = (victim + 1) % 3;
  const auto session = w[victim].look().session;
  REQUIRE(w.run_until(
      [&] { return w.state(other, 0).session(session) != nullptr && w.state(other, 1).session(session) != nullptr; }));
  w.kill(victim);
  REQUIRE(w.run_until([&] { return w[other].look().machine->session(session) == nullptr; }));
  REQUIRE(w.run_until(
      [&] { return w.state(other, 0).session(session) == nullptr && w.state(other, 1).session(session) == nullptr; }));
  CHECK(w.state(other, 0).admitted(session));
  CHECK(w.counted(other, "group.fenced") == 2);
  // Its next life has another session, and appends.
  w.restart(victim);
  REQUIRE(w.run_until_active());
  w.append(victim, journal_in(1));
}

TEST_CASE("a command of a fenced session that comes late does nothing") {
  group_world w;
  const auto journal = journal_in(1);
  const auto victim = (*w.leader_of(0) + 1) % 3;
  const auto session = w[victim].look().session;
  REQUIRE(w.run_until([&] { return w.state(*w.leader_of(0), 0).session(session) != nullptr; }));
  w.kill(victim);
  REQUIRE(w.run_until([&] {
    const auto l = w.leader_of(0);
    return l && w.state(*l, 0).session(session) == nullptr;
  }));
  const auto l = *w.leader_of(0);
  const auto commit = w.core(l, 0).commit();
  const machine::command late{session, request_seq(9), {}, {}, machine::journal_append{journal, "", {{"t", "late"}}}};
  const auto other = 3 - l - victim;
  w.say(other, l, wire::forward{{wire::encode(late)}}, group_id(1));
  REQUIRE(w.run_until([&] { return w.core(l, 0).commit() > commit; }));
  w.run(1s);
  CHECK(w.total(l, 0, journal) == 0);
}

TEST_CASE("an Admit or a Fence that somebody forwards is not taken") {
  group_world w;
  const auto l = *w.leader_of(0);
  const auto other = (l + 1) % 3;
  const auto session = w[other].look().session;
  REQUIRE(w.run_until([&] { return w.state(l, 0).session(session) != nullptr; }));
  machine::command fence;
  fence.body = machine::fence_session{session, w.id(other)};
  w.say(other, l, wire::forward{{wire::encode(fence)}}, group_id(1));
  w.run(1s);
  CHECK(w.state(l, 0).session(session) != nullptr);
  CHECK(w.counted(l, "forward.expire_refused") == 1);
}

TEST_CASE("the voters of data groups are those of the meta group, and leaders are spread over them") {
  auto o = with_groups();
  o.voters.stable_after = 1s;
  group_world w(3, o);
  const auto follows = [&](std::size_t n) {
    const auto l = w.leader();
    if (!l) return false;
    const auto& meta = w[*l].look().raft->conf();
    if (meta.voters.size() + meta.learners.size() != n) return false;
    for (std::size_t g = 0; g < 2; ++g) {
      const auto of = w.leader_of(g);
      if (!of || w.core(*of, g).conf().voters != meta.voters || w.core(*of, g).conf().learners != meta.learners)
        return false;
    }
    return true;
  };
  REQUIRE(w.run_until([&] { return follows(3); }));
  w.add("d");
  REQUIRE(w.run_until([&] { return follows(4); }));
  // Each has its turn by its number.
  REQUIRE(w.run_until(
      [&] {
        const auto a = w.leader_of(0), b = w.leader_of(1);
        return a && b && *a != *b;
      },
      60s));
  w.append(3, journal_in(1));
  w.append(3, journal_in(2));
}

TEST_CASE("a node that leaves is out of every group before it goes") {
  auto o = with_groups();
  o.voters.stable_after = 1s;
  group_world w(3, o);
  const auto journal = journal_in(1);
  w.append(0, journal);
  for (const std::size_t i : {2, 1}) {
    REQUIRE(is<wire::done>(w.ask(i, wire::leave_cluster{}, 60s)));
    REQUIRE(w.run_until([&] { return w.end_of(i).has_value(); }));
    for (std::size_t g = 0; g < 2; ++g)
      REQUIRE(w.run_until([&] { return w.led(g) && !w.core(*w.leader_of(g), g).conf().contains(w.id(i)); }));
  }
  w.append(0, journal);
  CHECK(w.entries(0, journal) == 2);
}

TEST_CASE("a node far behind in a data group gets that group's state, and keeps the others'") {
  auto o = with_groups();
  o.compact_after_entries = 20;
  o.keep_entries = 4;
  o.snapshot_chunk_bytes = 1'000;
  group_world w(3, o);
  const auto one = journal_in(1), two = journal_in(2);
  w.append(0, two);
  const auto behind = (*w.leader_of(0) + 1) % 3;
  REQUIRE(w.run_until([&] { return w.total(behind, 1, two) == 1; }));
  w.cut(behind);
  const auto other = (behind + 1) % 3;
  REQUIRE(w.run_until([&] { return w.led(0) && *w.leader_of(0) != behind; }));
  for (int i = 0; i < 60; ++i) w.append(other, one, std::string(100, 'x'));
  w.cut(behind, false);
  REQUIRE(w.run_until([&] { return w.total(behind, 0, one) == 60; }));
  CHECK(w.counted(behind, "group.installed") > 0);
  CHECK(w.entries(behind, one) == 60);
  CHECK(w.entries(behind, two) == 1);
  // And all of it is there after a start.
  w.restart(behind);
  REQUIRE(w.run_until_active());
  CHECK(w.entries(behind, one) == 60);
  CHECK(w.entries(behind, two) == 1);
  REQUIRE(w.run_until([&] { return w.total(other, 0, one) == 60; }));
  CHECK(w.state(behind, 0).journals().at(one).first == w.state(other, 0).journals().at(one).first);
}

TEST_CASE("observers are fed the data groups' entries") {
  auto o = with_groups();
  o.voters.max_voters = 3;
  o.voters.standbys = 0;
  o.voters.stable_after = 1s;
  o.relay_fan_out = 1;
  group_world w(5, o);
  REQUIRE(w.run_until(
      [&] {
        const auto l = w.leader_of(0);
        return l && w.core(*l, 0).conf().members().size() == 3;
      },
      60s));
  const auto journal = journal_in(1);
  for (std::size_t i = 0; i < 5; ++i) w.append(i, journal);
  REQUIRE(w.run_until([&] {
    for (std::size_t i = 0; i < 5; ++i)
      if (w.total(i, 0, journal) != 5) return false;
    return true;
  }));
}

TEST_CASE("the number of data groups is fixed with the directory, and the same on all nodes") {
  SECTION("a start with another number is refused") {
    group_world w(1);
    const auto image = w.image(0);
    CHECK(engine::recover(image, 1, 1, false, 2));
    const auto other = engine::recover(image, 1, 1, false, 0);
    REQUIRE_FALSE(other);
    CHECK(other.error().code == errc::bad_argument);
    CHECK_THAT(other.error().message, Contains("this node has 2 data groups and is started with 0"));
    CHECK_FALSE(engine::recover({}, 1, 1, false, 3));
    CHECK_FALSE(engine::recover({}, 1, 1, false, 2 * max_data_groups));
  }
  SECTION("a node with another number is not let in") {
    group_world w(1);
    auto h = w.strange_hello();
    h.data_log_ends.resize(4);
    const auto s = w.connect(0, h.advertise);
    w.hear(s, {h.cluster_known, meta_group, h});
    CHECK(w.at(s).closed);
    CHECK(w.logged(0, "has 4 data groups, this node 2") == 1);
  }
  SECTION("a message of a group that is none, or that is about none, is dropped") {
    group_world w(1);
    const auto h = w.strange_hello();
    const auto s = w.connect(0, h.advertise);
    w.hear(s, {h.cluster_known, meta_group, h});
    REQUIRE_FALSE(w.at(s).closed);
    w.hear(s, {h.cluster_known, group_id(9), wire::forward{}});
    w.hear(s, {h.cluster_known, group_id(1), wire::keepalives{}});
    CHECK(w.counted(0, "frame.other_group") == 2);
    CHECK_FALSE(w.at(s).closed);
  }
}

TEST_CASE("with data groups damage is not healed, and nothing is backed up: both say so") {
  group_world w;
  w.append(0, journal_in(1));
  CHECK_THAT(reason(w.ask(0, wire::read_snapshot{})), Contains("data groups"));
  w.kill(0);
  auto image = w.image(0);
  image.state_damage = "a block";
  image.state.clear();
  image.data.clear();
  CHECK_FALSE(engine::recover(image, 1, 1, false, 2));
}

TEST_CASE("heartbeats and their answers are one frame each for a pair of nodes, whatever the number of groups") {
  // One leader of all groups, which are not spread yet.
  const std::uint32_t groups = GENERATE(2, 8);
  active_nodes w(3, with_groups(groups));
  w.run(2s);
  std::uint64_t frames = 0, heartbeats = 0, merged = 0;
  w.lose = [&](std::size_t, std::size_t, const wire::peer_message& m) {
    const auto count = [&](const raft::message& r) {
      if (const auto* a = std::get_if<raft::append_request>(&r.body); a && a->entries.empty()) ++heartbeats;
    };
    if (const auto* one = std::get_if<raft::message>(&m)) ++frames, count(*one);
    if (const auto* all = std::get_if<wire::raft_messages>(&m)) {
      ++frames;
      ++merged;
      CHECK(all->list.size() > 1);
      for (const auto& x : all->list) count(x.what);
    }
    return false;
  };
  w.run(10s);
  CAPTURE(frames, heartbeats, merged);
  // 200 periods of 50 ms, of each group to two followers.
  CHECK(heartbeats >= 390 * (1 + groups));
  // Of three nodes each leads some group: at most a frame a period and ordered pair for heartbeats, one for answers.
  CHECK(merged >= 390);
  CHECK(frames <= 6 * 2 * 210);
}

TEST_CASE("a removed node ends when the leader of each group says that it is out, and not by another one's word") {
  group_world w;
  for (int i = 0; i < 5; ++i) w.append(0, journal_in(1)), w.append(0, journal_in(2));
  w.run(2s);
  const auto gone = w.id(2);
  w.kill(2);
  w.run(20s);
  REQUIRE(is<wire::done>(w.ask(*w.leader(), wire::remove_node{nodes::name(2)})));
  const auto out = [&](std::size_t group) { return !w.core(*w.leader_of(group), group).conf().contains(gone); };
  REQUIRE(w.run_until([&] { return w.led(0) && w.led(1) && out(0) && out(1); }, 2min));

  // It comes back with its old disk, and nobody gives it the entries that say so. What leaders of data groups say is
  // lost.
  std::size_t asked = 0, told = 0;
  bool deaf = true;
  w.lose = [&](std::size_t, std::size_t to, const wire::peer_message& m) {
    if (to == 2 && std::holds_alternative<wire::fetched>(m)) return true;
    asked += std::holds_alternative<wire::join_request>(m);
    const auto* a = std::get_if<wire::join_answer>(&m);
    if (to != 2 || a == nullptr || a->verdict != wire::join_verdict::removed) return false;
    ++told;
    return deaf && a->reason.empty();  // the meta group's has a reason
  };
  w.restart(2);
  w.run(10s);
  CHECK(asked > 2);
  CHECK(told > 2);
  CHECK_FALSE(w.end_of(2));
  deaf = false;
  REQUIRE(w.run_until([&] { return w.end_of(2).has_value(); }, 10s));
  CHECK_THAT(w.end_of(2)->reason, Contains("removed"));
}

TEST_CASE("who does not lead a group, or has not heard of the removal, says of nobody that he is out of it") {
  group_world w;
  for (std::uint32_t g : {1U, 2U}) {
    const auto leader = *w.leader_of(g - 1);
    for (std::size_t i = 0; i < 3; ++i) {
      std::size_t answers = 0;
      w.lose = [&](std::size_t, std::size_t, const wire::peer_message& m) {
        answers += std::holds_alternative<wire::join_answer>(m);
        return false;
      };
      const auto other = (i + 1) % 3;
      w.say(other, i, wire::join_request{w.id(other), nodes::name(other), {"10.0.0.9", 7400}, boot_epoch(1)},
            group_id(g));
      w.run(100ms);
      CAPTURE(g, leader, i);
      CHECK(answers == 0);
    }
  }
  // Another one's word for a group that still has this node: it stays.
  w.say(1, 0, wire::join_answer{wire::join_verdict::removed, "", log_index(1'000)}, group_id(1));
  w.run(5s);
  CHECK_FALSE(w.end_of(0));
}
