// Locks as the callers of one node see them: waiting, trying, giving back, and what becomes of a wait when the node,
// its majority or its session goes.
#include <algorithm>

#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct lock_world : active_nodes {
  using active_nodes::active_nodes;
  engine::call_id wait(std::size_t i, std::optional<std::chrono::milliseconds> how_long = {},
                       const std::string& name = "l") {
    const auto id = call(i, wire::acquire_lock{name, "", how_long});
    run(100ms);
    return id;
  }
  bool granted(engine::call_id id) {
    return std::ranges::any_of(answers(id).list,
                               [](const auto& a) { return std::holds_alternative<wire::lock_granted>(a); });
  }
  std::uint64_t fence(engine::call_id id) {
    REQUIRE(granted(id));
    return std::get<wire::lock_granted>(answers(id).list.front()).fence;
  }
  std::optional<wire::response> release(std::size_t i, std::uint64_t fence) {
    auto r = ask(i, wire::release_lock{"l", fence});
    run(100ms);
    return r;
  }
};

}  // namespace

TEST_CASE("a lock has a name, and whoever gives it back needs its fence") {
  lock_world w(1);
  REQUIRE(refusal(w.ask(0, wire::acquire_lock{"", "", {}})) == errc::bad_name);
  const auto id = w.wait(0);
  REQUIRE(refusal(w.release(0, w.fence(id) + 1)) == errc::lock_lost);
  REQUIRE(refusal(w.ask(0, wire::release_lock{"m", w.fence(id)})) == errc::lock_lost);
  REQUIRE(is<wire::done>(w.release(0, w.fence(id))));
  REQUIRE(w.answers(id).over);
  REQUIRE(refusal(w.release(0, w.fence(id))) == errc::lock_lost);
}

TEST_CASE("who only tries is told by whom it is held, who waits so long is told then") {
  lock_world w(2);
  const auto fence = w.fence(w.wait(0));
  const auto tried = w.wait(1, 0ms);
  REQUIRE(refusal(w.answers(tried).list.front()) == errc::held);
  const auto waited = w.wait(1, 1'000ms);
  REQUIRE(w.answers(waited).list.empty());
  w.run(1s);
  REQUIRE(refusal(w.answers(waited).list.front()) == errc::held);
  REQUIRE_THAT(reason(w.answers(waited).list.front()), Contains("l is held by fence " + std::to_string(fence)));
  // It waits no more: the lock is free when it is given back.
  REQUIRE(is<wire::done>(w.release(0, fence)));
  REQUIRE(w.granted(w.wait(0, 0ms)));
}

TEST_CASE("waiters get a lock in the order in which their nodes asked, but those that have gone") {
  lock_world w(3);
  const auto one = w.wait(0), gone = w.wait(1), two = w.wait(2), last = w.wait(0);
  w.cancel(1, gone);
  REQUIRE(is<wire::done>(w.release(0, w.fence(one))));
  REQUIRE(w.granted(two));
  REQUIRE(!w.granted(last));
  REQUIRE(is<wire::done>(w.release(2, w.fence(two))));
  REQUIRE(w.granted(last));
  REQUIRE(w.answers(gone).list.empty());
  REQUIRE(w.fence(one) < w.fence(two));
  REQUIRE(w.fence(two) < w.fence(last));
}

TEST_CASE("only so many locks are waited for and held on a node") {
  engine::options o;
  o.max_calls = 2;
  lock_world w(1, o);
  const auto id = w.wait(0);
  w.wait(0, {}, "m");
  REQUIRE(refusal(w.ask(0, wire::acquire_lock{"n", "", {}})) == errc::limit);
  REQUIRE(is<wire::done>(w.release(0, w.fence(id))));
  REQUIRE(w.granted(w.wait(0, {}, "n")));
}

TEST_CASE("a holder is told at each renewal until when it may believe, and no more when it has gone") {
  lock_world w(1);
  const auto id = w.wait(0);
  w.run(4s);
  const auto& list = w.answers(id).list;
  REQUIRE(list.size() > 2);
  for (std::size_t i = 2; i < list.size(); ++i)
    REQUIRE(std::get<wire::lock_renewed>(list[i]).deadline_raw_ns >
            std::get<wire::lock_renewed>(list[i - 1]).deadline_raw_ns);
  w.cancel(0, id);
  const auto before = list.size();
  w.run(2s);
  REQUIRE(w.answers(id).list.size() == before);
  // It is given back when the last deadline it was told is over.
  REQUIRE(w[0].look().machine->locks().contains("l"));
  REQUIRE(w.run_until([&] { return !w[0].look().machine->locks().contains("l"); }, 6s));
}

TEST_CASE("one that went away before its grant came leaves nothing held") {
  lock_world w(1);
  w.hold_disk(0);
  const auto id = w.call(0, wire::acquire_lock{"l", "", {}});
  w.cancel(0, id);
  w.release_disk(0);
  w.run(1s);
  REQUIRE(w.answers(id).list.empty());
  REQUIRE(!w[0].look().machine->locks().contains("l"));
}

TEST_CASE("a node that loses its majority loses its locks, and its waiters are told when they have waited enough") {
  lock_world w(3);
  const auto hold = w.wait(0), other = w.wait(1), behind = w.wait(0);
  w.cut(0);
  REQUIRE(w.run_until([&] { return w.answers(hold).over; }));
  REQUIRE(refusal(w.answers(hold).list.back()) == errc::lock_lost);
  REQUIRE(w.run_until([&] { return w.answers(behind).over; }));
  REQUIRE(refusal(w.answers(behind).list.back()) == errc::no_quorum);
  REQUIRE(w.run_until([&] { return w.granted(other); }));
}

TEST_CASE("a waiter waits on under its node's next session") {
  lock_world w(3);
  const auto leader = *w.leader(), i = (leader + 1) % 3;
  const auto hold = w.wait(leader);
  const auto waiter = w.call(i, wire::acquire_lock{"l", "", {}}, 60'000ms);
  w.run(200ms);
  const auto session = w[i].look().session;
  w.cut(i);
  REQUIRE(w.run_until([&] { return !w.active(i); }));
  w.cut(i, false);
  REQUIRE(w.run_until([&] { return w.active(i) && w[i].look().session != session; }));
  w.run(1s);
  REQUIRE(w.answers(waiter).list.empty());
  REQUIRE(is<wire::done>(w.release(leader, w.fence(hold))));
  REQUIRE(w.run_until([&] { return w.granted(waiter); }, 2s));
}

TEST_CASE("a grant is handed out only with half of the validity left, else after a renewal (etcd#11456)", "[lesson]") {
  lock_world w(3);
  const auto leader = *w.leader(), i = (leader + 1) % 3;
  const auto hold = w.wait(leader);
  const auto waiter = w.call(i, wire::acquire_lock{"l", "", {}}, 60'000ms);
  bool lost = true;
  w.lose = [&](std::size_t, std::size_t to, const wire::peer_message& m) {
    return lost && to == i && std::holds_alternative<wire::keepalive_acks>(m);
  };
  REQUIRE(w.run_until([&] { return w[i].look().validity.steady - w.now().steady < 2'400ms; }));
  const auto session = w[i].look().session;
  REQUIRE(is<wire::done>(w.release(leader, w.fence(hold))));
  REQUIRE(w[i].look().machine->locks().at("l").holder->session == session);
  REQUIRE(!w.granted(waiter));
  bool renewed = false;
  SECTION("the session is renewed") { renewed = true; }
  SECTION("the session ends") {
    REQUIRE(w.run_until([&] { return w[i].look().session != session; }));
    REQUIRE(!w.granted(waiter));
  }
  lost = false;
  REQUIRE(w.run_until([&] { return w.granted(waiter); }));
  const auto& g = std::get<wire::lock_granted>(w.answers(waiter).list.front());
  REQUIRE((g.epoch == session) == renewed);
  REQUIRE(g.deadline_raw_ns - w.now().steady.time_since_epoch().count() > duration(2'400ms).count());
}

TEST_CASE("a stopping node tells its waiters, and those that hold") {
  lock_world w(2);
  const auto hold = w.wait(0);
  const auto waiter = w.wait(1), holder = w.wait(1, {}, "m");
  w.call(1, wire::stop_node{});
  REQUIRE(refusal(w.answers(waiter).list.back()) == errc::closed);
  REQUIRE(refusal(w.answers(holder).list.back()) == errc::closed);
  REQUIRE_THAT(reason(w.answers(holder).list.back()), Contains("m ends now"));
  REQUIRE(refusal(w.ask(1, wire::acquire_lock{"n", "", {}})) == errc::closed);
  // A client that gives its lock back lets the node go at once.
  w.call(1, wire::release_lock{"m", w.fence(holder)});
  REQUIRE(w.run_until([&] { return w.end_of(1).has_value(); }, 2s));
  REQUIRE(w.granted(hold));
  w.run(100ms);
  REQUIRE(w[0].look().machine->locks().at("l").waiters.empty());
}

TEST_CASE("what a node missed while its state was replaced is granted all the same") {
  engine::options o;
  o.compact_after_entries = 20;
  o.keep_entries = 4;
  o.session_ttl = std::chrono::milliseconds(60'000);
  lock_world w(3, o);
  const auto leader = *w.leader(), i = (leader + 1) % 3;
  const auto hold = w.wait(leader);
  const auto waiter = w.call(i, wire::acquire_lock{"l", "", {}}, 60'000ms);
  w.run(200ms);
  w.cut(i);
  REQUIRE(is<wire::done>(w.release(leader, w.fence(hold))));
  for (int n = 0; n < 60; ++n) w.ask(leader, wire::append_journal{"orders", "", {{"t", "m"}}});
  REQUIRE(w.answers(waiter).list.empty());
  w.cut(i, false);
  REQUIRE(w.run_until([&] { return w.granted(waiter); }));
  REQUIRE(w.counted(i, "snapshot.installed") == 1);
}

TEST_CASE("the end of a wait of an earlier session is nothing to the next one") {
  engine::options o;
  o.max_kept_locks = 0;
  lock_world w(3, o);
  const auto leader = *w.leader(), i = (leader + 1) % 3;
  const auto hold = w.wait(leader);
  const auto before = w.wait(i, {}, "m");
  const auto waiter = w.call(i, wire::acquire_lock{"l", "", {}}, 60'000ms);  // not the first request of its session
  w.run(200ms);
  REQUIRE(w.granted(before));
  w.cut(i);
  w.run(1s);
  REQUIRE(w.active(i));
  w.cancel(i, waiter);  // nobody can be told
  REQUIRE(w.run_until([&] { return !w.active(i); }));
  w.cut(i, false);
  REQUIRE(w.run_until([&] { return w.active(i); }));
  // No request of the next session is taken for the one that was withdrawn.
  for (int n = 0; n < 8; ++n) {
    const auto again = w.wait(i, {}, "n");
    REQUIRE(is<wire::done>(w.ask(i, wire::release_lock{"n", w.fence(again)})));
    REQUIRE(w.run_until([&] { return !w[leader].look().machine->locks().contains("n"); }, 3s));
  }
  REQUIRE(is<wire::done>(w.release(leader, w.fence(hold))));
}

TEST_CASE("a wait that was withdrawn before the leader heard of it is over for its node too") {
  engine::options o;
  o.max_inflight_requests = 2;
  lock_world w(3, o);
  const auto leader = *w.leader(), i = (leader + 1) % 3;
  bool lost = false;
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    return from == i && std::holds_alternative<wire::forward>(m) && !std::exchange(lost, true);
  };
  const auto waiter = w.call(i, wire::acquire_lock{"l", "", {}}, 60'000ms);
  w.cancel(i, waiter);
  REQUIRE(lost);
  w.run(2s);
  REQUIRE(!w[leader].look().machine->locks().contains("l"));
  // The window has room for others.
  REQUIRE(is<wire::appended>(w.ask(i, wire::append_journal{"orders", "", {{"t", "m"}}}, 3s)));
}

TEST_CASE("a lock is given back however many requests wait") {
  engine::options o;
  o.max_calls = 2;
  o.max_kept_locks = 0;
  o.session_ttl = std::chrono::milliseconds(60'000);
  lock_world w(3, o);
  const auto leader = *w.leader(), i = (leader + 1) % 3;
  const auto hold = w.wait(i);
  w.cut(i);
  w.run(1s);
  for (int n = 0; n < 2; ++n) w.call(i, wire::append_journal{"orders", "", {{"t", "m"}}}, 30'000ms);
  REQUIRE(refusal(w.ask(i, wire::append_journal{"orders", "", {{"t", "m"}}})) == errc::limit);
  REQUIRE(is<wire::done>(w.release(i, w.fence(hold))));
  w.cut(i, false);
  REQUIRE(w.run_until([&] { return !w[leader].look().machine->locks().contains("l"); }, 10s));
}

TEST_CASE("a crash that is known at once frees no lock before its holder's session is over") {
  lock_world w(3);
  const auto holder = (*w.leader() + 1) % 3, other = (*w.leader() + 2) % 3;
  const auto id = w.id(holder);
  const auto held = w.wait(holder);
  REQUIRE(w.granted(held));
  w.run(3s);
  const auto waiting = w.wait(other);
  const auto killed = w.now().steady;
  w.kill(holder);
  REQUIRE(w.run_until([&] { return w[other].look().members->find(id)->state == swim::member_state::unreachable; }, 2s));
  REQUIRE(!w.granted(waiting));
  REQUIRE(w.run_until([&] { return w.granted(waiting); }, 10s));
  REQUIRE(w.now().steady - killed > 3s);  // 5 s since its last renewal
}
