// Observers (docs/consensus.md 1.3): fed by one another, without a gap, and nothing of the leader's.
#include <algorithm>
#include <set>

#include "catch.hpp"

#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;

engine::options few_voters(std::size_t standbys, std::size_t fan_out) {
  engine::options o;
  o.voters.max_voters = 3;
  o.voters.standbys = standbys;
  o.voters.stable_after = 1s;
  o.relay_fan_out = fan_out;
  return o;
}

/// Nodes of which three vote and few are standbys; the others observe.
struct relay_world : active_nodes {
  relay_world(std::size_t n, std::size_t standbys, engine::options o) : active_nodes(n, std::move(o)) {
    REQUIRE(run_until([&] {
      const auto& c = conf();
      return !c.joint() && c.voters.size() == 3 && c.learners.size() == standbys && settled();
    }));
  }
  relay_world(std::size_t n, std::size_t standbys, std::size_t fan_out)
      : relay_world(n, standbys, few_voters(standbys, fan_out)) {}

  const raft::configuration& conf() const { return (*this)[leader().value_or(0)].look().raft->conf(); }
  std::vector<std::size_t> observers() const {
    std::vector<std::size_t> r;
    for (std::size_t i = 0; i < size(); ++i)
      if (!end_of(i) && !conf().contains(id(i))) r.push_back(i);
    return r;
  }
  wire::status_info status(std::size_t i) { return expect<wire::status_info>(ask(i, wire::get_status{})); }
  /// An observer and its parent, which is not that node.
  std::pair<std::size_t, std::size_t> fed_by_another_than(std::size_t leader) {
    auto child = size(), parent = size();
    for (const auto i : observers())
      for (std::size_t p = 0; p < size(); ++p)
        if (status(i).place.parent == status(p).node && p != leader) child = i, parent = p;
    REQUIRE(child < size());
    return {child, parent};
  }
  bool settled() {
    const auto l = leader();
    if (!l) return false;
    for (std::size_t i = 0; i < size(); ++i) {
      if (end_of(i)) continue;
      const auto* r = (*this)[i].look().raft;
      if (r == nullptr || r->applied() != (*this)[*l].look().raft->commit() || r->conf() != conf()) return false;
    }
    return true;
  }
  void append(std::size_t at, int n = 1) {
    for (int i = 0; i < n; ++i)
      REQUIRE(is<wire::appended>(ask(at, wire::append_journal{"orders", "", {{"t", std::string(100, 'x')}}})));
  }
  std::optional<wire::response> first(engine::call_id id) {
    const auto& a = answers(id).list;
    return a.empty() ? std::nullopt : std::optional(a.front());
  }
  /// The running hash of the log at an entry, as the disk has it (docs/storage.md, Log entries).
  hash128_value chain(std::size_t i, log_index at) {
    const auto e = disk(i).durable(disk::space::log, engine::log_key(meta_group, at));
    if (!e) return {};
    const auto word = [&](std::size_t from) {
      std::uint64_t v = 0;
      for (std::size_t k = 8; k > 0; --k) v = v << 8 | static_cast<std::uint64_t>(e->view()[from + k - 1]);
      return v;
    };
    return {word(16), word(8)};
  }
};

}  // namespace

TEST_CASE("observers have the log, and the leader sends them nothing of it") {
  relay_world w(8, 1, 2);
  const auto observers = w.observers();
  REQUIRE(observers.size() == 4);
  std::set<std::size_t> fed;
  const auto leader = *w.leader();
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    if (r && from == leader && std::holds_alternative<raft::append_request>(r->body)) fed.insert(to);
    return false;
  };
  w.append(observers[0], 3);  // written through an observer
  REQUIRE(w.run_until([&] { return w.settled(); }));
  for (const auto i : observers) {
    REQUIRE(!fed.contains(i));
    REQUIRE(expect<wire::entries>(w.ask(i, wire::peek_journal{"orders"})).list.size() == 3);
    REQUIRE(is<wire::done>(w.ask(i, wire::wait_visible{})));  // a linearizable read
    const auto s = w.status(i);
    CHECK(s.place.role == "observer");
    CHECK(s.place.depth >= 1);
    CHECK(!s.place.parent.empty());
    CHECK(s.ready);
  }
  REQUIRE(fed.size() == 3);
  CHECK(w.status(leader).place.role == "voter");
  CHECK(w[leader].look().raft->progress().size() == 3);
}

TEST_CASE("an observer writes each entry at once and syncs many together; who is fed by the leader syncs each") {
  relay_world w(6, 1, 8);
  const auto some = w.observers().front(), leader = *w.leader();
  w.run(2s);
  const auto before = w.disk(some).syncs(), leaders = w.disk(leader).syncs();
  w.append(leader, 50);
  REQUIRE(w.settled());  // no time has passed
  CHECK(w.disk(some).syncs() <= before + 1);
  CHECK(w.disk(leader).syncs() >= leaders + 50);
  const auto last = engine::log_key(meta_group, w[leader].look().raft->last_index());
  CHECK(w.disk(some).contains(disk::space::log, last));
  CHECK_FALSE(w.disk(some).durable(disk::space::log, last));
  w.run(1100ms);
  CHECK(w.disk(some).durable(disk::space::log, last));
}

TEST_CASE("what an observer had not synced when its power went it fetches again") {
  relay_world w(6, 1, 8);
  const auto some = w.observers().front(), leader = *w.leader();
  w.append(leader, 10);
  w.run(2s);
  w.append(leader, 10);
  // A cursor that was acknowledged is durable, and so is all that it stands on.
  const auto batch = expect<wire::entries>(w.ask(some, wire::begin_process{"orders", 15}));
  REQUIRE(is<wire::done>(w.ask(some, wire::end_process{"orders", batch.token, batch.list[14].id})));
  const auto kept = w[some].look().raft->last_index();
  w.append(leader, 10);
  REQUIRE(w.settled());
  const auto had = w[some].look().raft->last_index();
  w.kill(some);
  w.disk(some).lose(w.disk(some).unsynced());
  const auto left = engine::recover(w.image(some), 1, 1, false);
  REQUIRE(left);
  REQUIRE(left->state.log.last() < had);
  CHECK(left->state.log.last() >= kept);
  CHECK(left->state.log.applied <= left->state.log.last());
  w.restart(some);
  REQUIRE(w.run_until([&] { return w.settled() && w.active(some); }));
  CHECK_FALSE(w.end_of(some));
  CHECK(expect<wire::journal_counts>(w.ask(some, wire::count_journal{"orders"})).count == 15);
  const auto rest = expect<wire::entries>(w.ask(some, wire::begin_process{"orders", 100}));
  REQUIRE(rest.list.size() == 15);
  CHECK(rest.list.front().id == batch.list[14].id + 1);
}

TEST_CASE("a parent that lost its power is behind its child, who asks on") {
  relay_world w(7, 0, 1);
  const auto leader = *w.leader();
  auto child = w.size(), parent = w.size();
  for (const auto i : w.observers())
    for (const auto p : w.observers())
      if (w.status(i).place.parent == w.status(p).node) child = i, parent = p;
  REQUIRE(child < w.size());
  w.append(leader, 5);
  REQUIRE(w.settled());
  w.kill(parent);
  w.disk(parent).lose(w.disk(parent).unsynced());
  w.restart(parent);
  w.append(leader, 5);
  REQUIRE(w.run_until([&] { return w.settled(); }));
  for (const auto i : {child, parent}) {
    CHECK_FALSE(w.end_of(i));
    CHECK(w.counted(i, "relay.forks") == 0);
  }
}

TEST_CASE("an entry goes down a deep tree at once") {
  relay_world w(9, 0, 1);
  std::uint32_t deepest = 0;
  for (const auto i : w.observers()) deepest = std::max(deepest, w.status(i).place.depth);
  REQUIRE(deepest >= 2);
  w.append(*w.leader());
  // The perfect network takes no time: nobody waits for the end of a held question.
  REQUIRE(w.settled());
}

TEST_CASE("observers move to near parents when they have learnt what is near") {
  relay_world w(12, 0, 8);
  // Two places, 40 ms there and back inside of one, 160 ms between them, no zones. Votes are in both, so everybody has
  // a near one above.
  std::vector<std::size_t> place(w.size());
  std::size_t voters = 0, others = 0;
  for (std::size_t i = 0; i < w.size(); ++i) place[i] = (w.conf().contains(w.id(i)) ? voters++ : others++) % 2;
  const auto near = [&](std::size_t i) {
    const auto parent = w.status(i).place.parent;
    for (std::size_t p = 0; p < w.size(); ++p)
      if (w.status(p).node == parent) return place[p] == place[i];
    return false;
  };
  const auto all = w.observers();
  REQUIRE(all.size() == 9);
  REQUIRE(!std::ranges::all_of(all, near));  // else this shows nothing
  w.way = [&](std::size_t from, std::size_t to) { return place[from] == place[to] ? 20ms : 80ms; };
  REQUIRE(w.run_until([&] { return std::ranges::all_of(all, near); }, 5min));
  // And there they stay.
  w.run(2min);
  CHECK(std::ranges::all_of(all, near));
}

TEST_CASE("a session of an observer is renewed through its parents") {
  relay_world w(9, 0, 1);
  const auto leader = *w.leader();
  std::size_t direct = 0, at_leader = 0;
  std::set<std::size_t> senders;
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    const auto* k = std::get_if<wire::keepalives>(&m);
    if (!k || to != leader) return false;
    at_leader += k->list.size();
    senders.insert(from);
    direct += w.conf().contains(w.id(from)) ? 0 : 1;
    return false;
  };
  w.run(10s);
  for (const auto i : w.observers()) REQUIRE(w.active(i));
  // At most one observer is the leader's own child.
  std::size_t children = 0;
  for (const auto i : w.observers()) children += w.status(i).place.parent == w.status(leader).node;
  CHECK(senders.size() <= 2 + children);
  CHECK(at_leader > 8);
  SECTION("and directly when that way is lost") {
    w.lose = [&](std::size_t, std::size_t, const wire::peer_message& m) {
      const auto* k = std::get_if<wire::keepalives>(&m);
      return k != nullptr && !k->for_leader;
    };
    w.run(20s);
    for (const auto i : w.observers()) REQUIRE(w.active(i));
    for (const auto i : w.observers()) CHECK(w.logged(i, "the session lapsed") == 0);
  }
}

namespace {
/// What comes to the leader of reads and commands.
struct asked {
  std::size_t reads = 0, forwards = 0;
  std::set<std::size_t> senders;
  bool spy(const relay_world& w, std::size_t leader, std::size_t from, std::size_t to, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    const bool read = r && std::holds_alternative<raft::read_request>(r->body);
    if (to != leader || (!read && !std::holds_alternative<wire::forward>(m)) || w.end_of(from)) return false;
    ++(read ? reads : forwards);
    senders.insert(from);
    return false;
  }
};
/// All of them at once: nobody has an answer before the last one has asked.
template <class Request>
std::vector<engine::call_id> ask_all(relay_world& w, const std::vector<std::size_t>& nodes, std::uint64_t first_id,
                                     const Request& r) {
  std::vector<engine::call_id> ids;
  for (const auto i : nodes) {
    ids.push_back(engine::call_id(first_id + i));
    w.tell(i, engine::call{ids.back(), r, {}});
  }
  w.settle();
  return ids;
}
}  // namespace

TEST_CASE("reads and commands of observers go up the tree: the leader's work does not grow with their number") {
  for (const std::size_t n : {9, 21}) {
    auto o = few_voters(0, 2);
    o.raft.max_read_rounds = 1;
    relay_world w(n, 0, o);
    const auto leader = *w.leader();
    const auto all = w.observers();
    REQUIRE(all.size() == n - 3);
    asked seen;
    w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
      return seen.spy(w, leader, from, to, m);
    };
    const auto ids = ask_all(w, all, 1'000'000, wire::wait_visible{});
    REQUIRE(
        w.run_until([&] { return std::ranges::all_of(ids, [&](auto id) { return is<wire::done>(w.first(id)); }); }));
    // Two voters and two children of its own, each with one question for what came first, and one for what came ...
    CHECK(seen.senders.size() <= 4);
    // ... from each level below.
    std::uint32_t depth = 0;
    for (const auto i : all) depth = std::max(depth, w.status(i).place.depth);
    CHECK(seen.reads <= 4 * (depth + 2));
    CHECK((n == 9 || seen.reads < all.size()));
    seen = {};
    const auto written = ask_all(w, all, 2'000'000, wire::append_journal{"orders", "", {{"t", "m"}}});
    REQUIRE(w.run_until(
        [&] { return std::ranges::all_of(written, [&](auto id) { return is<wire::appended>(w.first(id)); }); }));
    CHECK(seen.senders.size() <= 4);
    REQUIRE(w.run_until([&] { return w.settled(); }));
    for (const auto i : all)
      REQUIRE(expect<wire::entries>(w.ask(i, wire::peek_journal{"orders"})).list.size() == all.size());
  }
}

TEST_CASE("an observer whose parent does not answer asks the leader itself") {
  relay_world w(8, 1, 2);
  const auto leader = *w.leader();
  const auto pair = w.fed_by_another_than(leader);
  const auto child = pair.first, parent = pair.second;
  bool deaf = true;
  asked seen;
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    seen.spy(w, leader, from, to, m);
    const auto* r = std::get_if<raft::message>(&m);
    const bool read = r && std::holds_alternative<raft::read_request>(r->body);
    return deaf && from == child && to == parent && (read || std::holds_alternative<wire::forward>(m));
  };
  const bool read = GENERATE(true, false);
  const auto goes = [&] {
    return read ? is<wire::done>(w.ask(child, wire::wait_visible{}, 3s))
                : is<wire::appended>(w.ask(child, wire::append_journal{"orders", "", {{"t", "m"}}}, 3s));
  };
  CHECK(goes());
  CHECK(seen.senders.contains(child));
  // And its parent again when that is well.
  deaf = false;
  w.run(1s);
  seen = {};
  CHECK(goes());
  CHECK_FALSE(seen.senders.contains(child));
}

TEST_CASE("a read is merged only into a question that starts after it (etcd#20418)", "[lesson]") {
  auto o = few_voters(0, 2);
  o.raft.max_read_rounds = 1;
  relay_world w(8, 0, o);
  const auto leader = *w.leader();
  const auto pair = w.fed_by_another_than(leader);
  const auto child = pair.first, parent = pair.second;
  std::set<std::uint64_t> questions;
  bool lost = true;
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    if (r == nullptr) return false;
    if (const auto* q = std::get_if<raft::read_request>(&r->body); q && from == child && to == parent)
      REQUIRE(questions.insert(q->id).second);
    const auto* a = std::get_if<raft::read_response>(&r->body);
    return a != nullptr && from == parent && to == child && std::exchange(lost, false);
  };
  // The answer to the first is lost; the second, which came meanwhile, must not be served by any question before it.
  const auto first = w.call(child, wire::wait_visible{});
  const auto second = w.call(child, wire::wait_visible{});
  CHECK(w.answers(second).list.empty());
  REQUIRE(questions.size() == 1);
  REQUIRE(w.run_until([&] { return !w.answers(first).list.empty() && !w.answers(second).list.empty(); }, 5s));
  CHECK(questions.size() >= 2);
}

TEST_CASE("a refusal finds its way back down the tree") {
  relay_world w(8, 1, 2);
  const auto leader = *w.leader();
  for (std::size_t i = 0; i < w.size(); ++i)
    if (w.conf().is_voter(w.id(i))) w.tell(i, engine::disk_space{true});  // so that nobody else can lead
  w.settle();
  for (const auto i : w.observers()) {
    const auto begun = w.now().steady;
    CHECK(refusal(w.ask(i, wire::append_journal{"orders", "", {{"t", "m"}}})) == errc::limit);
    CHECK(w.now().steady - begun < 500ms);
  }
  CHECK(w.leader() == leader);
}

TEST_CASE("a child whose parent is gone turns to another one, and misses nothing") {
  relay_world w(8, 1, 2);
  std::size_t child = w.size(), parent = w.size();
  for (const auto i : w.observers()) {
    const auto s = w.status(i);
    for (std::size_t p = 0; p < w.size(); ++p)
      if (s.place.parent == w.status(p).node && p != *w.leader()) child = i, parent = p;
  }
  REQUIRE(child < w.size());
  SECTION("its process") { w.kill(parent); }
  SECTION("its network") { w.cut(parent); }
  SECTION("its answers") {
    w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
      return from == parent && std::holds_alternative<wire::fetched>(m);
    };
  }
  SECTION("its disk") { w.hold_disk(parent); }
  const auto before = w.counted(child, "relay.reparented");
  w.append(*w.leader(), 5);
  REQUIRE(w.run_until([&] {
    return w[child].look().raft->applied() == w[*w.leader()].look().raft->commit() &&
           w.counted(child, "relay.reparented") > before;
  }));
  REQUIRE(expect<wire::entries>(w.ask(child, wire::peek_journal{"orders"})).list.size() == 5);
}

TEST_CASE("one that was away too long gets the state from its parent") {
  auto o = few_voters(0, 2);
  o.compact_after_entries = 20;
  o.keep_entries = 4;
  o.snapshot_chunk_bytes = 1'000;
  relay_world w(8, 0, o);
  const auto leader = *w.leader();
  // A deep one: its parents are observers.
  std::size_t deep = w.size();
  for (const auto i : w.observers())
    if (w.status(i).place.depth >= 1) deep = i;
  w.cut(deep);
  w.append(leader, 60);
  std::set<std::size_t> senders;
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    if (to == deep && std::holds_alternative<wire::snapshot_chunk>(m)) senders.insert(from);
    return false;
  };
  SECTION("whoever that is") {}
  SECTION("also when the first one breaks off") {
    std::size_t chunks = 0;
    w.lose = [&, chunks](std::size_t from, std::size_t to, const wire::peer_message& m) mutable {
      if (to != deep || !std::holds_alternative<wire::snapshot_chunk>(m)) return false;
      senders.insert(from);
      return ++chunks == 2;
    };
  }
  w.cut(deep, false);
  REQUIRE(w.run_until([&] { return w.settled() && w.counted(deep, "snapshot.installed") > 0; }, 60s));
  REQUIRE(!senders.empty());
  REQUIRE(w[deep].look().machine->digest() == w[leader].look().machine->digest());
}

TEST_CASE("what a parent answers") {
  relay_world w(5, 0, 1);
  const auto leader = *w.leader();
  w.append(leader, 2);
  const auto* core = w[leader].look().raft;
  const auto commit = core->commit();
  std::vector<wire::fetched> heard;
  const auto observer = w.observers().front();
  bool lost = true;
  std::size_t asker = observer;
  // Its own questions are lost, so that the leader hears only the forged ones.
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    if (from == asker && std::holds_alternative<wire::fetch>(m)) return lost;
    if (const auto* f = std::get_if<wire::fetched>(&m); f && from == leader && to == asker) heard.push_back(*f);
    return false;
  };
  w.run(4s);  // its place is free again
  const auto ask = [&](wire::fetch f) {
    heard.clear();
    w.say(asker, leader, f);
    return heard;
  };
  const auto fetch = [&](log_index next, std::uint32_t depth = 1) {
    const auto chain = w.chain(leader, next.prev());
    return wire::fetch{77, next, chain, depth};
  };
  using enum wire::fetch_verdict;
  SECTION("entries, with what it knows of the leader") {
    const auto a = ask(fetch(commit));
    REQUIRE(a.size() == 1);
    CHECK(a[0].id == 77);
    CHECK(a[0].verdict == entries);
    REQUIRE(a[0].entries.size() >= 1);
    CHECK(a[0].entries[0] == *core->entry_at(commit));
    CHECK(a[0].leader == w.id(leader));
    CHECK(a[0].when == core->current_term());
    CHECK(a[0].depth == 0);
  }
  SECTION("nothing at once when there is nothing new, and a sign of life soon") {
    CHECK(ask(fetch(core->commit().next())).empty());
    w.run(150ms);
    REQUIRE(heard.size() == 1);
    CHECK(heard[0].verdict == entries);
    CHECK(heard[0].entries.empty());
  }
  SECTION("the next entry as soon as it is committed") {
    CHECK(ask(fetch(core->commit().next())).empty());
    const auto id = w.call(leader, wire::append_journal{"orders", "", {{"t", "x"}}});
    REQUIRE(heard.size() == 1);
    CHECK(heard[0].entries.size() == 1);
    w.run_until([&] { return w.answers(id).over; });
  }
  SECTION("not yet, to one that has more") {
    auto f = fetch(core->commit().next());
    f.next = core->commit() + 5;
    REQUIRE(ask(f).size() == 1);
    CHECK(heard[0].verdict == not_yet);
    CHECK(ask({1, log_index(0), {}, 1}).at(0).verdict == not_yet);
  }
  SECTION("not yet, to one that is no further from the voters") {
    REQUIRE(ask(fetch(commit, 0)).size() == 1);
    CHECK(heard[0].verdict == not_yet);
  }
  SECTION("full, to one more than it may feed") {
    REQUIRE(ask(fetch(commit)).at(0).verdict == entries);
    const auto other = w.observers().back();
    REQUIRE(other != observer);
    lost = false;
    asker = other;
    lost = true;
    REQUIRE(ask(fetch(commit)).size() == 1);
    CHECK(heard[0].verdict == full);
  }
  SECTION("fork, to one with another history; it asks the others, and stops when most of the voters say so") {
    auto f = fetch(commit);
    f.chain.lo ^= 1;
    REQUIRE(ask(f).size() == 1);
    CHECK(heard[0].verdict == fork);
    CHECK(w.logged(leader, "has another history") == 1);
    CHECK(!w.end_of(observer));
  }
}

TEST_CASE("a node whose log is not the cluster's stops, an accused one that is right goes on") {
  relay_world w(6, 0, 2);
  const auto leader = *w.leader();
  const auto observer = w.observers().front();
  std::vector<std::pair<std::size_t, wire::fetched>> lies;
  std::set<std::size_t> liars;
  w.lose = [&](std::size_t from, std::size_t to, const wire::peer_message& m) {
    const auto* f = std::get_if<wire::fetched>(&m);
    if (!f || to != observer || !liars.contains(from) || f->verdict == wire::fetch_verdict::fork) return false;
    auto lie = *f;
    lie.verdict = wire::fetch_verdict::fork;
    lie.entries.clear();
    lies.emplace_back(from, std::move(lie));
    return true;
  };
  std::size_t told = 0;
  const auto lied = [&] {
    for (auto& [from, lie] : std::exchange(lies, {})) {
      ++told;
      w.say(from, observer, lie);
    }
    return w.end_of(observer).has_value();
  };
  SECTION("one voter is not enough") {
    liars = {leader};
    REQUIRE(!w.run_until(lied, 20s));
    CHECK(w.counted(observer, "relay.forks") == told);
    liars.clear();
    w.append(leader);
    REQUIRE(w.run_until([&] { return w.settled(); }));
  }
  SECTION("most of them are") {
    for (std::size_t i = 0; i < w.size(); ++i)
      if (i != observer) liars.insert(i);
    REQUIRE(w.run_until(lied));
    CHECK(!w.end_of(observer)->exit_ok);
    CHECK(w.end_of(observer)->reason.find("is not the cluster's") != std::string::npos);
    CHECK(told > 1);
  }
}

TEST_CASE("who loses its place in the configuration goes on as an observer, and can come back") {
  relay_world w(5, 1, 2);
  const auto leader = *w.leader();
  std::size_t voter = 0;
  while (voter == leader || !w.conf().is_voter(w.id(voter))) ++voter;
  w.kill(voter);
  REQUIRE(w.run_until([&] { return !w.conf().contains(w.id(voter)); }, 120s));
  REQUIRE(w.run_until([&] { return w.conf().voters.size() == 3 && w.conf().learners.size() == 1; }));
  w.append(*w.leader(), 3);
  w.restart(voter);
  REQUIRE(w.run_until([&] { return w.settled() && w.active(voter); }));
  REQUIRE(!w[voter].look().raft->conf().contains(w.id(voter)));
  CHECK(w.status(voter).place.role == "observer");
  // Of the three that vote now one dies too: its place is taken by the standby, whose place by an observer.
  std::size_t next = 0;
  while (next == *w.leader() || !w.conf().is_voter(w.id(next))) ++next;
  w.kill(next);
  REQUIRE(w.run_until([&] { return !w.conf().is_voter(w.id(next)) && w.conf().learners.size() == 1; }, 120s));
  w.restart(next);
  REQUIRE(w.run_until([&] { return w.settled() && w.active(next); }, 60s));
}

TEST_CASE("an observer leaves, and is removed") {
  relay_world w(6, 1, 2);
  const auto observers = w.observers();
  REQUIRE(observers.size() == 2);
  REQUIRE(is<wire::done>(w.ask(observers[0], wire::leave_cluster{})));
  REQUIRE(w.run_until([&] { return w.end_of(observers[0]).has_value(); }));
  CHECK(w.end_of(observers[0])->exit_ok);
  REQUIRE(w.run_until([&] { return w.settled(); }));
  CHECK(reason(w.ask(*w.leader(), wire::transfer_leadership{w.status(observers[1]).node})).find("has no vote") !=
        std::string::npos);
}
