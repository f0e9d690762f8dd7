// Grants that a node keeps for its next caller (docs/consensus.md 2): what they save, and when they go to others.
#include <algorithm>

#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;

struct kept_world : active_nodes {
  explicit kept_world(std::size_t n, engine::options o = {}) : active_nodes(n, std::move(o)) { run(100ms); }
  engine::call_id wait(std::size_t i, const std::string& name = "l", bool keeps = false) {
    const auto id = call(i, wire::acquire_lock{name, "", {}, keeps});
    run(50ms);
    return id;
  }
  bool tries(std::size_t i) {
    const auto r = ask(i, wire::acquire_lock{"l", "", 0ms}, 5s);
    if (is<wire::lock_granted>(r)) return true;
    REQUIRE(refusal(r) == errc::held);
    return false;
  }
  template <class T>
  std::size_t told(engine::call_id id) {
    return static_cast<std::size_t>(
        std::ranges::count_if(answers(id).list, [](const auto& a) { return std::holds_alternative<T>(a); }));
  }
  bool granted(engine::call_id id) { return told<wire::lock_granted>(id) == 1; }
  std::uint64_t fence(engine::call_id id) {
    REQUIRE(granted(id));
    return std::get<wire::lock_granted>(answers(id).list.front()).fence;
  }
  void give_back(std::size_t i, std::uint64_t fence, const std::string& name = "l") {
    expect<wire::done>(ask(i, wire::release_lock{name, fence}));
    run(50ms);
  }
  /// Somebody has it for a moment.
  std::uint64_t use(std::size_t i, const std::string& name = "l") {
    const auto f = fence(wait(i, name));
    give_back(i, f, name);
    return f;
  }
  std::uint64_t written(std::size_t i = 0) { return (*this)[i].look().raft->applied().value; }
  bool kept(const std::string& name = "l", std::size_t i = 0) {
    return (*this)[i].look().machine->locks().contains(name);
  }
  std::vector<wire::lock_info> list(std::size_t i = 0, const std::string& name = {}) {
    return expect<wire::lock_list>(ask(i, wire::list_locks{name})).locks;
  }
};

}  // namespace

TEST_CASE("a lock that nobody else wants costs one entry, however often it is used") {
  kept_world w(3);
  const auto first = w.use(1);
  const auto before = w.written();
  for (std::uint64_t n = 1; n <= 5; ++n) REQUIRE(w.use(1) == first + n);
  REQUIRE(w.written() == before);
  REQUIRE(w.kept());
}

TEST_CASE("what a node keeps unused is given to whoever else wants it") {
  kept_world w(3);
  const auto first = w.use(1);
  SECTION("who waits") { REQUIRE(w.fence(w.wait(2)) >> 20 > first >> 20); }
  SECTION("who only tries") { REQUIRE(w.tries(2)); }
  SECTION("who tries on the node itself, at once") {
    const auto before = w.written();
    REQUIRE(w.tries(1));
    REQUIRE(w.written() == before);
  }
}

TEST_CASE("who tries for a lock that is used elsewhere is refused without a word in the log") {
  kept_world w(3);
  const auto hold = w.wait(1);
  const auto before = w.written();
  for (const auto i : {0, 1, 2}) REQUIRE(!w.tries(static_cast<std::size_t>(i)));
  REQUIRE(w.written() == before);
  w.give_back(1, w.fence(hold));
  REQUIRE(w.tries(2));
}

TEST_CASE("who tries while its holder can't be asked is refused") {
  kept_world w(3);
  const auto leader = *w.leader(), holder = (leader + 1) % 3;
  w.use(holder);
  w.lose = [&](std::size_t, std::size_t to, const wire::peer_message& m) {
    return to == holder && std::holds_alternative<wire::lock_question>(m);
  };
  REQUIRE(!w.tries(leader));
  w.lose = nullptr;
  REQUIRE(w.tries(leader));
}

TEST_CASE("callers of one node share a grant, in their order, and others wait no longer than their turn") {
  kept_world w(3);
  const auto one = w.wait(1), two = w.wait(1), three = w.wait(1);
  const auto other = w.wait(2);
  const auto late = w.wait(1);
  w.give_back(1, w.fence(one));
  REQUIRE(w.granted(two));
  w.give_back(1, w.fence(two));
  REQUIRE(w.granted(three));
  REQUIRE(w.fence(three) == w.fence(one) + 2);
  REQUIRE(!w.granted(other));
  w.give_back(1, w.fence(three));
  REQUIRE(w.granted(other));
  REQUIRE(!w.granted(late));
  w.give_back(2, w.fence(other));
  REQUIRE(w.granted(late));
  REQUIRE(w.fence(other) > w.fence(three));
  REQUIRE(w.fence(late) > w.fence(other));
}

TEST_CASE("a client may keep a grant and count up its fences, until somebody else waits") {
  kept_world w(3);
  const auto id = w.wait(1, "l", true);
  REQUIRE(std::get<wire::lock_granted>(w.answers(id).list.front()).keep);
  const auto other = w.call(2, wire::acquire_lock{"l", "", {}});
  w.run(50ms);
  REQUIRE(w.told<wire::lock_wanted>(id) == 1);
  REQUIRE(!w.granted(other));
  // Its seventh owner has it now, and is done.
  const auto last = w.fence(id) + 6;
  REQUIRE(refusal(w.ask(1, wire::release_lock{"l", (last >> 20) + 1})) == errc::lock_lost);
  w.give_back(1, last);
  REQUIRE(w.answers(id).over);
  REQUIRE(w.fence(other) > last);
}

TEST_CASE("a client that keeps a grant is asked for it by callers of its own node too") {
  kept_world w(1);
  const auto id = w.wait(0, "l", true);
  const auto next = w.wait(0, "l", true);
  REQUIRE(w.told<wire::lock_wanted>(id) == 1);
  w.give_back(0, w.fence(id) + 2);
  REQUIRE(w.fence(next) == w.fence(id) + 3);
}

TEST_CASE("a client that keeps a grant says whether it is used") {
  kept_world w(3);
  const auto id = w.wait(1, "l", true);
  const auto fence = w.fence(id);
  const auto list = w.call(2, wire::list_locks{});
  w.run(20ms);
  REQUIRE(w.told<wire::lock_asked>(id) == 1);
  const auto listed = [&](engine::call_id c) { return expect<wire::lock_list>(w.answers(c).list.front()).locks.at(0); };
  SECTION("it is not") {
    w.ask(1, wire::tell_lock{{"l", fence + 4, false, {}, "", 0}});
    w.run(50ms);
    REQUIRE(listed(list).idle);
    REQUIRE(listed(list).fence == fence + 4);
    const auto tried = w.call(2, wire::acquire_lock{"l", "", 0ms});
    w.run(20ms);
    w.ask(1, wire::tell_lock{{"l", fence + 4, false, {}, "", 0}});
    w.run(50ms);
    REQUIRE(w.told<wire::lock_wanted>(id) == 1);
    w.give_back(1, fence + 4);
    REQUIRE(w.granted(tried));
  }
  SECTION("it is") {
    w.ask(1, wire::tell_lock{{"l", fence + 4, true, {}, "import", 0}});
    w.run(50ms);
    REQUIRE(!listed(list).idle);
    REQUIRE(listed(list).label == "import");
  }
  SECTION("it says nothing") {
    w.run(400ms);
    REQUIRE(!listed(list).idle);
    REQUIRE(listed(list).fence == fence);
    REQUIRE(!w.tries(2));
  }
}

TEST_CASE("a list names what is used, by whom, and what is only kept") {
  kept_world w(3);
  const auto idle = w.use(1, "idle");
  const auto used = w.fence(w.wait(2, "used"));
  w.wait(2, "used");
  w.wait(1, "used");
  const auto all = w.list();
  REQUIRE(all.size() == 2);
  REQUIRE((all[0].name == "idle" && all[0].idle && all[0].fence == idle && all[0].owner == "b"));
  REQUIRE((all[1].name == "used" && !all[1].idle && all[1].fence == used && all[1].owner == "c"));
  REQUIRE((all[0].waiters == 0 && all[1].waiters == 2));
  REQUIRE(w.list(1, "used").size() == 1);
  REQUIRE(w.list(1, "none").empty());
}

TEST_CASE("what is not used for a while is given back") {
  kept_world w(3);
  w.use(1);
  SECTION("by the node") {}
  SECTION("by a client, which is asked twice") {
    const auto id = w.wait(1, "l", true);
    const auto fence = w.fence(id);
    w.run_until([&] { return w.told<wire::lock_asked>(id) == 1; });
    w.ask(1, wire::tell_lock{{"l", fence, false, {}, "", 0}});
    w.run_until([&] { return w.told<wire::lock_asked>(id) == 2; });
    w.ask(1, wire::tell_lock{{"l", fence + 1, false, {}, "", 0}});  // used meanwhile
    w.run_until([&] { return w.told<wire::lock_asked>(id) == 3; });
    REQUIRE(w.told<wire::lock_wanted>(id) == 0);
    w.ask(1, wire::tell_lock{{"l", fence + 1, false, {}, "", 0}});
    REQUIRE(w.told<wire::lock_wanted>(id) == 1);
    w.give_back(1, fence + 1);
  }
  w.run(4s);
  REQUIRE(w.kept());
  REQUIRE(w.run_until([&] { return !w.kept(); }, 20s));
}

TEST_CASE("what others want before it is used again is not kept for a while") {
  kept_world w(3);
  w.use(1);
  w.use(2);  // taken from there, used once, kept
  w.use(1);
  REQUIRE(!w.kept());
  w.run(10s);
  w.use(1);
  REQUIRE(w.kept());
}

TEST_CASE("a node keeps only so many: what it used last") {
  engine::options o;
  o.max_kept_locks = 2;
  kept_world w(3, o);
  for (const auto* name : {"a", "b", "a", "c"}) w.use(1, name);
  REQUIRE(w.kept("a"));
  REQUIRE(!w.kept("b"));
  REQUIRE(w.kept("c"));
  // What is in use gives no room.
  const auto a = w.wait(1, "a"), c = w.wait(1, "c");
  w.use(1, "d");
  REQUIRE(!w.kept("d"));
  REQUIRE((w.granted(a) && w.granted(c)));
}

TEST_CASE("nobody keeps what he does not use while half of all locks that may be are taken") {
  engine::options o;
  o.limits.locks = 5;
  kept_world w(3, o);
  for (const auto* name : {"a", "b", "c"}) w.use(1, name);
  REQUIRE((w.kept("a") && w.kept("b") && !w.kept("c")));
}

TEST_CASE("a session that is over takes what was kept with it") {
  kept_world w(3);
  const auto leader = *w.leader(), i = (leader + 1) % 3;
  const auto before = w.use(i);
  const auto client = w.wait(i, "m", true);
  const auto waiting = w.wait(leader);
  REQUIRE(w.granted(waiting));  // at once
  w.give_back(leader, w.fence(waiting));
  w.use(i);
  w.cut(i);
  REQUIRE(w.run_until([&] { return w.answers(client).over; }));
  REQUIRE(refusal(w.answers(client).list.back()) == errc::lock_lost);
  REQUIRE(w.run_until([&] { return !w.active(i); }));
  REQUIRE(refusal(w.ask(i, wire::acquire_lock{"l", "", 1'000ms}, 10s)) == errc::no_quorum);
  w.cut(i, false);
  REQUIRE(w.run_until([&] { return w.active(i); }));
  REQUIRE(w.use(i) > before);
}

TEST_CASE("a stopping node gives back what nobody uses") {
  kept_world w(3);
  w.use(1);
  const auto client = w.wait(1, "m", true);
  w.call(1, wire::stop_node{});
  REQUIRE(refusal(w.answers(client).list.back()) == errc::closed);
  w.call(1, wire::release_lock{"m", w.fence(client)});
  REQUIRE(w.run_until([&] { return w.end_of(1).has_value(); }, 2s));
  REQUIRE((!w.kept() && !w.kept("m")));
}

TEST_CASE("a grant whose fences are used up is given back") {
  kept_world w(1);
  const auto id = w.wait(0, "l", true);
  const auto last = w.fence(id) | ((1u << 20) - 1);
  const auto next = w.wait(0);
  w.give_back(0, last);
  REQUIRE(w.fence(next) > last);
  REQUIRE(w.fence(next) % (1u << 20) == 0);
}

TEST_CASE("a client that goes without a word leaves a grant whose fences nobody knows: the next owner has a new one") {
  kept_world w(1);
  const auto id = w.wait(0, "l", true);
  const auto next = w.wait(0);
  w.cancel(0, id);
  REQUIRE(w.run_until([&] { return w.granted(next); }, 10s));
  REQUIRE(w.fence(next) >> 20 > w.fence(id) >> 20);
}
