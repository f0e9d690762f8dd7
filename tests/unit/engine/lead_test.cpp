// What a leader makes of commands and renewals that others send it, and who is told what when it can't.
#include <algorithm>

#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;

/// A leader and others, and what the leader (or a follower that is taken for it) says back.
struct led_world : active_nodes {
  std::size_t leader = 0, other = 0, third = 0;
  std::vector<wire::forward_refused> refused;
  std::vector<wire::keepalive_ack> acks;

  explicit led_world(engine::options o = {}) : active_nodes(3, std::move(o)) {
    leader = *nodes::leader();
    other = (leader + 1) % 3;
    third = (leader + 2) % 3;
    lose = [this](std::size_t from, std::size_t, const wire::peer_message& m) { return spy(from, m); };
  }
  bool spy(std::size_t, const wire::peer_message& m) {
    if (const auto* r = std::get_if<wire::forward_refused>(&m)) refused.push_back(*r);
    if (const auto* a = std::get_if<wire::keepalive_acks>(&m)) acks.insert(acks.end(), a->list.begin(), a->list.end());
    return false;
  }
  session_epoch session(std::size_t i) const { return (*this)[i].look().session; }
  static machine::command command(session_epoch s, std::uint64_t seq, machine::command_body b) {
    return {s, request_seq(seq), {}, {}, std::move(b)};
  }
  static wire::forward forward(const std::vector<machine::command>& list) {
    wire::forward f;
    for (const auto& c : list) f.commands.push_back(wire::encode(c));
    return f;
  }
  static machine::journal_append entry(std::string to = "orders") { return {std::move(to), "", {{"t", "m"}}}; }
  bool has(std::string_view journal) const { return (*this)[leader].look().machine->journals().contains(journal); }
};

}  // namespace

TEST_CASE("a forwarded command that does not decode is left out, the others are done") {
  led_world w;
  auto f = w.forward({w.command(w.session(w.other), 1'000, w.entry())});
  f.commands.insert(f.commands.begin(), shared_bytes(to_bytes("rot")));
  w.say(w.other, w.leader, f);
  w.run(100ms);
  REQUIRE(w.counted(w.leader, "forward.undecodable") == 1);
  REQUIRE(w.has("orders"));
  REQUIRE(w.refused.empty());
  w.say(w.other, w.leader, wire::forward{{shared_bytes(to_bytes("rot"))}});
  REQUIRE(w.counted(w.leader, "forward.undecodable") == 2);
}

TEST_CASE("nobody ends another's session by a forwarded command") {
  led_world w;
  const auto s = w.session(w.third);
  w.say(w.other, w.leader,
        w.forward({w.command({}, 0, machine::expire_session{s, w[w.leader].look().raft->current_term()})}));
  w.run(100ms);
  REQUIRE(w.counted(w.leader, "forward.expire_refused") == 1);
  REQUIRE(w[w.leader].look().machine->session(s) != nullptr);
}

TEST_CASE("who does not lead passes commands on, and says that nothing was done when it knows no leader") {
  led_world w;
  w.say(w.other, w.third, w.forward({w.command(w.session(w.other), 6, w.entry())}));
  REQUIRE(w.refused.empty());
  REQUIRE(w.run_until([&] { return w.has("orders"); }, 1s));
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    return w.spy(from, m) || (r && std::holds_alternative<raft::vote_request>(r->body));
  };
  w.cut(w.leader);
  REQUIRE(w.run_until([&] { return !w[w.third].look().raft->leader(); }, 2s));
  w.say(w.other, w.third, w.forward({w.command(w.session(w.other), 7, w.entry("late"))}));
  REQUIRE(w.refused.size() == 1);
  REQUIRE(w.refused.front().code == errc::unavailable);
  REQUIRE(w.refused.front().requests.front() == std::pair(w.session(w.other), request_seq(7)));
  w.run(100ms);
  REQUIRE(!w[w.third].look().machine->journals().contains("late"));
}

TEST_CASE("a leader whose disk is nearly full refuses what fills it, and does the rest") {
  led_world w;
  w.tell(w.leader, engine::disk_space{true});
  const auto s = w.session(w.other);
  w.say(w.other, w.leader,
        w.forward({w.command(s, 7, w.entry()), w.command(s, 8, machine::register_runner{"backup"})}));
  REQUIRE(w.refused.size() == 1);
  REQUIRE(w.refused.front().code == errc::limit);
  REQUIRE(w.refused.front().requests == std::vector{std::pair(s, request_seq(7))});
  w.run(100ms);
  REQUIRE(w[w.leader].look().machine->session(s)->runners == std::vector<std::string>{"backup"});
  REQUIRE(!w.has("orders"));
}

TEST_CASE("a leader whose disk is nearly full lets a voter lead that has room, and keeps the lead when none has") {
  led_world w;
  w.tell(w.third, engine::disk_space{true});
  w.run(500ms);  // gossip
  w.tell(w.leader, engine::disk_space{true});
  REQUIRE(w.run_until([&] { return w.nodes::leader() == w.other; }, 5s));
  CHECK(w.counted(w.leader, "disk.handed_over") >= 1);
  CHECK(is<wire::appended>(w.ask(w.other, wire::append_journal{"orders", "", {{"t", "m"}}})));
  CHECK(refusal(w.ask(w.third, wire::append_journal{"orders", "", {{"t", "m"}}})) == errc::limit);

  w.tell(w.other, engine::disk_space{true});
  w.run(5s);
  CHECK(w.nodes::leader() == w.other);
  CHECK(w.counted(w.other, "disk.handed_over") == 0);
  w.tell(w.third, engine::disk_space{false});
  REQUIRE(w.run_until([&] { return w.nodes::leader() == w.third; }, 5s));
}

TEST_CASE("a leader that has too much on its way asks to be asked again") {
  engine::options o;
  o.raft.max_uncommitted_bytes = 2'000;
  led_world w(o);
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    w.spy(from, m);
    const auto* r = std::get_if<raft::message>(&m);
    return to == w.leader && r && std::holds_alternative<raft::append_response>(r->body);
  };
  auto big = w.entry();
  big.items.front().message = std::string(1'500, 'x');
  const auto s = w.session(w.other);
  w.say(w.other, w.leader, w.forward({w.command(s, 7, big)}));
  REQUIRE(w.refused.empty());
  w.say(w.other, w.leader, w.forward({w.command(s, 8, big)}));
  REQUIRE(w.refused.size() == 1);
  REQUIRE(w.refused.front().code == errc::timeout);
  REQUIRE(w.refused.front().requests.front().second == request_seq(8));
}

TEST_CASE("a refusal of what one never asked, or asked in another session, changes nothing") {
  led_world w;
  const auto s = w.session(w.other);
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    return from == w.other && std::holds_alternative<wire::forward>(m);
  };
  const auto id = w.call(w.other, wire::append_journal{"orders", "", {{"t", "m"}}});
  w.say(w.leader, w.other, wire::forward_refused{{{s, request_seq(999)}}, errc::limit});
  w.say(w.leader, w.other, wire::forward_refused{{{session_epoch(1), request_seq(1)}}, errc::limit});
  REQUIRE(w.answers(id).list.empty());
  w.lose = nullptr;
  REQUIRE(w.run_until([&] { return w.answers(id).over; }, 4s));
  REQUIRE(is<wire::appended>(w.answers(id).list.front()));
}

TEST_CASE("a session is confirmed by the leader alone, and one that is over is said to be") {
  led_world w;
  const auto s = w.session(w.other);
  w.say(w.other, w.third, wire::keepalives{{{s, 1'000}}});
  w.run(100ms);
  REQUIRE(w.counted(w.third, "keepalive.not_leader") == 1);
  const auto answer = [&](session_epoch e) -> std::optional<wire::keepalive_ack> {
    w.acks.clear();
    w.say(w.other, w.leader, wire::keepalives{{{e, 1'001}}});
    w.run(200ms);
    const auto it = std::ranges::find(w.acks, 1'001u, &wire::keepalive_ack::id);
    return it == w.acks.end() ? std::nullopt : std::optional(*it);
  };
  REQUIRE(!answer(s)->ended);
  REQUIRE(answer(session_epoch(1))->ended);
  // Perhaps opened already, and not applied here yet.
  REQUIRE(!answer(session_epoch(w[w.leader].look().raft->applied().value + 1'000)));
}

TEST_CASE("whom the others ping in vain has failed, and an unknown one or teller is nobody") {
  engine::options o;
  o.views.missed_by = 2;
  led_world w(o);
  const auto victim = w.id(w.third), unknown = node_id{9, 9};
  const auto tell = [&](session_epoch e, std::vector<node_id> missed) {
    w.say(w.other, w.leader, wire::keepalives{{{e, 1'000, std::move(missed)}}});
    w.run(1s);
    return w[w.leader].look().machine->member(victim)->failed;
  };
  CHECK_FALSE(tell(w.session(w.other), {victim, unknown}));
  CHECK_FALSE(tell(w.session(w.other), {victim}));
  CHECK_FALSE(tell(session_epoch(1), {victim}));
  CHECK(tell(w.session(w.leader), {victim}));
}

TEST_CASE("a leader that hears no quorum after a renewal came does not confirm it (etcd#12528, etcd#16822)",
          "[lesson]") {
  led_world w;
  bool deaf = true;
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    w.spy(from, m);
    return deaf && to == w.leader && std::holds_alternative<raft::message>(m);
  };
  const auto confirmed = [&] { return std::ranges::count(w.acks, 1'000u, &wire::keepalive_ack::id) > 0; };
  w.say(w.other, w.leader, wire::keepalives{{{w.session(w.other), 1'000}}});
  w.run(300ms);
  REQUIRE(w.leader == *w.nodes::leader());
  REQUIRE(!confirmed());
  deaf = false;
  w.run(100ms);
  REQUIRE(confirmed());
}

TEST_CASE("a new leader confirms no renewal before it has applied an entry of its own (etcd#15247)", "[lesson]") {
  led_world w;
  const auto next = w.third;
  bool elected = false;
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    // Its disk stands still from here on: the others commit its entry, it can't apply it yet.
    if (r && std::holds_alternative<raft::vote_response>(r->body) && to == next && !std::exchange(elected, true))
      w.hold_disk(next);
    return w.spy(from, m);
  };
  w.say(w.other, w.leader, wire::hand_over{w.id(next)});
  const auto& raft = *w[next].look().raft;
  REQUIRE(w.run_until([&] { return raft.current_role() == raft::role::leader; }, 1s));
  const auto confirmed = [&] { return std::ranges::count(w.acks, 1'000u, &wire::keepalive_ack::id) > 0; };
  w.say(w.other, next, wire::keepalives{{{w.session(w.other), 1'000}}});
  w.run(300ms);
  REQUIRE(raft.current_role() == raft::role::leader);
  REQUIRE(raft.term_at(raft.commit()) == raft.current_term());
  REQUIRE(raft.applied() < raft.commit());
  REQUIRE(!confirmed());
  w.release_disk(next);
  w.run(100ms);
  REQUIRE(confirmed());
}

TEST_CASE("a leader that has begun to expire a session does not confirm it any more (etcd#15247)", "[lesson]") {
  led_world w;
  bool alone = false;
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    w.spy(from, m);
    const auto* r = std::get_if<raft::message>(&m);
    const auto* a = r ? std::get_if<raft::append_request>(&r->body) : nullptr;
    // The silent node says nothing of its session; later no entry reaches anybody, though heartbeats do.
    return from == w.other ? !r : alone && a && !a->entries.empty();
  };
  const auto s = w.session(w.other);
  const auto& raft = *w[w.leader].look().raft;
  w.run(4'500ms);
  alone = true;
  REQUIRE(w.run_until([&] { return raft.last_index() > raft.commit(); }, 2s));
  REQUIRE(w[w.leader].look().machine->session(s) != nullptr);
  w.say(w.other, w.leader, wire::keepalives{{{s, 1'000}}});
  w.say(w.third, w.leader, wire::keepalives{{{w.session(w.third), 1'001}}});
  w.run(200ms);
  REQUIRE(std::ranges::count(w.acks, 1'001u, &wire::keepalive_ack::id) == 1);  // a quorum is heard
  REQUIRE(std::ranges::count(w.acks, 1'000u, &wire::keepalive_ack::id) == 0);
}

TEST_CASE("a session that is due while the log takes nothing expires when it does again") {
  led_world w;
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    // Every hand-over fails: the one who should lead is not told to.
    return w.spy(from, m) || from == w.other || (r && std::holds_alternative<raft::timeout_now>(r->body));
  };
  const auto s = w.session(w.other);
  const auto& raft = *w[w.leader].look().raft;
  const auto when = raft.current_term();
  w.run(4'500ms);
  for (int i = 0; i < 20; ++i) {
    w.say(w.third, w.leader, wire::hand_over{w.id(w.third)});
    w.run(50ms);
  }
  REQUIRE(w[w.leader].look().machine->session(s) != nullptr);
  REQUIRE(w.run_until([&] { return w[w.leader].look().machine->session(s) == nullptr; }, 5s));
  REQUIRE(raft.current_term() == when);  // by the same leader
}

TEST_CASE("a node whose session is said to be over opens another one") {
  led_world w;
  const auto s = w.session(w.other);
  const auto hold = w.call(w.other, wire::acquire_lock{"l", "", {}});
  REQUIRE(w.run_until([&] { return !w.answers(hold).list.empty(); }));
  w.say(w.leader, w.other, wire::keepalive_acks{{{session_epoch(1), 1, true}}});
  REQUIRE(w.session(w.other) == s);
  w.say(w.leader, w.other, wire::keepalive_acks{{{s, 1, true}}});
  REQUIRE(refusal(w.answers(hold).list.back()) == errc::lock_lost);
  REQUIRE(w.run_until([&] { return w.active(w.other) && w.session(w.other) != s; }));
}

TEST_CASE("a command goes to the next leader as soon as that takes any") {
  for (std::size_t which : {0U, 1U}) {
    active_nodes w(3);
    const auto old = *w.leader();
    const auto at = (old + 1 + which) % 3;
    w.run(1s);
    const auto begun = w.now().steady;
    w.kill(old);
    const auto call = w.call(at, wire::append_journal{"j", "", {{"t", "x"}}});
    REQUIRE(w.run_until([&] { return !w.answers(call).list.empty(); }));
    CHECK(is<wire::appended>(w.answers(call).list.front()));
    for (std::size_t i = 0; i < 3; ++i) CHECK(w.counted(i, "forward.refused") == 0);
    CHECK(w.now().steady - begun <= 20ms);  // the clock goes in steps of ten
  }
}
