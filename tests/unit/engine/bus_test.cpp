// Caches and messages as the callers of one node see them, and what a node makes of what others say of theirs.
#include <algorithm>

#include "base/big_endian.hpp"
#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct bus_world : active_nodes {
  using active_nodes::active_nodes;
  engine::call_id cache(std::size_t i, const std::string& name = "c") {
    const auto id = call(i, wire::register_cache{name});
    REQUIRE(is<wire::done>(answers(id).list.front()));
    return id;
  }
  void drop(std::size_t i, const std::string& key) {
    REQUIRE(is<wire::done>(ask(i, wire::invalidate_cache{"c", key})));
  }
  /// What this cache was told since it is there: "origin:key", or "origin:*".
  std::vector<std::string> told(engine::call_id id) {
    std::vector<std::string> r;
    for (const auto& a : answers(id).list)
      if (const auto* x = std::get_if<wire::invalidation_out>(&a)) r.push_back(x->origin + ":" + x->key.value_or("*"));
    return r;
  }
  wire::cache_info info(std::size_t i) { return expect<wire::cache_list>(ask(i, wire::list_caches{})).caches.front(); }
  boot_epoch boot(std::size_t i) { return (*this)[i].look().members->self_incarnation().epoch; }
};

using texts = std::vector<std::string>;

const auto invalidations_lost = [](std::size_t, std::size_t, const wire::peer_message& m) {
  return std::holds_alternative<wire::invalidations>(m);
};

}  // namespace

// ---- caches --------------------------------------------------------------------------------------------------------

TEST_CASE("what is no name, or too large a key, is refused") {
  engine::options o;
  o.max_body = 4;
  bus_world w(1, o);
  REQUIRE(refusal(w.ask(0, wire::register_cache{""})) == errc::bad_name);
  REQUIRE(refusal(w.ask(0, wire::invalidate_cache{"", "k"})) == errc::bad_name);
  REQUIRE(refusal(w.ask(0, wire::invalidate_cache{"c", "12345"})) == errc::limit);
  REQUIRE(is<wire::done>(w.ask(0, wire::invalidate_cache{"c", "1234"})));
}

TEST_CASE("a node has 1024 caches, and invalidates as many") {
  bus_world w(1);
  for (int i = 0; i < 1'024; ++i) {
    w.cache(0, "c" + std::to_string(i));
    REQUIRE(is<wire::done>(w.ask(0, wire::invalidate_cache{"d" + std::to_string(i), {}})));
  }
  REQUIRE(refusal(w.ask(0, wire::register_cache{"c"})) == errc::limit);
  REQUIRE(refusal(w.ask(0, wire::invalidate_cache{"c0", {}})) == errc::limit);
  // Those that are there may be had again.
  w.cache(0, "c7");
  REQUIRE(is<wire::done>(w.ask(0, wire::invalidate_cache{"d7", {}})));
}

TEST_CASE("an invalidation reaches every cache of that name but the one that caused it") {
  bus_world w(2);
  const auto mine = w.cache(0), beside = w.cache(0), other = w.cache(0, "other"), there = w.cache(1);
  REQUIRE(is<wire::done>(w.ask(0, wire::invalidate_cache{"c", "k", false, mine.value})));
  REQUIRE(is<wire::done>(w.ask(1, wire::invalidate_cache{"c", {}, false, 0})));
  REQUIRE(w.told(mine) == texts{"b:*"});
  REQUIRE(w.told(beside) == texts{"a:k", "b:*"});
  REQUIRE(w.told(other).empty());
  REQUIRE(w.told(there) == texts{"a:k", "b:*"});
  const auto remote = [&](engine::call_id id) {
    return std::get<wire::invalidation_out>(w.answers(id).list[1]).remote;
  };
  REQUIRE(!remote(beside));
  REQUIRE(remote(there));
  REQUIRE(w.info(1).invalidations_in == 1);
  REQUIRE(w.info(1).invalidations_out == 1);
}

TEST_CASE("a cache is told until its last caller has gone") {
  bus_world w(2);
  const auto one = w.cache(1), two = w.cache(1);
  w.cancel(1, one);
  w.drop(0, "k");
  w.cancel(1, two);
  w.drop(0, "l");
  REQUIRE(w.told(one).empty());
  REQUIRE(w.told(two) == texts{"a:k"});
  REQUIRE(expect<wire::cache_list>(w.ask(1, wire::list_caches{})).caches.empty());
}

TEST_CASE("who waits is answered when every live node has applied it") {
  bus_world w(3);
  w.cache(1);
  // Node c has no such cache, and says so at once.
  const auto id = w.call(0, wire::invalidate_cache{"c", "k", true});
  REQUIRE(is<wire::done>(w.answers(id).list.front()));
  bus_world alone(1);
  REQUIRE(is<wire::done>(alone.answers(alone.call(0, wire::invalidate_cache{"c", "k", true})).list.front()));
}

TEST_CASE("who waits in vain is told for whom") {
  bus_world w(3);
  w.cache(1);
  w.lose = [](std::size_t from, std::size_t, const wire::peer_message& m) {
    return from == 1 && std::holds_alternative<wire::invalidation_ack>(m);
  };
  const auto id = w.call(0, wire::invalidate_cache{"c", "k", true}, 2'000ms);
  const auto later = w.call(0, wire::invalidate_cache{"c", "l", true}, 3'000ms);
  const auto gone = w.call(0, wire::invalidate_cache{"c", "m", true}, 2'000ms);
  w.run(1s);
  REQUIRE(w.answers(id).list.empty());
  w.cancel(0, gone);
  // Of another start, or another cache: it confirms nothing here.
  w.say(2, 0, wire::invalidation_ack{boot_epoch(9), "c", 99});
  w.say(1, 0, wire::invalidation_ack{boot_epoch(9), "c", 99});
  w.say(1, 0, wire::invalidation_ack{w.boot(0), "d", 99});
  w.run(1100ms);
  const auto r = w.answers(id).list.front();
  REQUIRE(refusal(r) == errc::timeout);
  REQUIRE_THAT(reason(r), Contains("1 live nodes have not confirmed the invalidation yet, among them b"));
  REQUIRE(w.answers(gone).list.empty());
  REQUIRE(w.answers(later).list.empty());
  // The later one says that the earlier ones were applied.
  w.say(1, 0, wire::invalidation_ack{w.boot(0), "c", 3});
  REQUIRE(is<wire::done>(w.answers(later).list.front()));
}

TEST_CASE("who waits is answered when the one that is missing is found to be gone") {
  bus_world w(3);
  w.cache(1);
  w.kill(1);
  const auto id = w.call(0, wire::invalidate_cache{"c", "k", true}, 60'000ms);
  REQUIRE(w.answers(id).list.empty());
  REQUIRE(w.run_until([&] { return w.answers(id).over; }));
  REQUIRE(is<wire::done>(w.answers(id).list.front()));
}

TEST_CASE("a lost invalidation is found by gossip, asked for and had") {
  bus_world w(2);
  const auto id = w.cache(1);
  w.drop(0, "1");
  w.lose = invalidations_lost;
  w.drop(0, "2");
  w.drop(0, "3");
  REQUIRE(w.run_until([&] { return w.info(1).unverified; }));
  w.lose = nullptr;
  REQUIRE(w.run_until([&] { return !w.info(1).unverified; }, 4s));
  REQUIRE(w.told(id) == texts{"a:1", "a:2", "a:3"});
  REQUIRE(w.info(1).gaps_repaired == 0);
}

TEST_CASE("one that was overtaken is had again, and nothing is left out") {
  bus_world w(2);
  const auto id = w.cache(1);
  w.drop(0, "1");
  w.lose = invalidations_lost;
  w.drop(0, "2");
  w.lose = nullptr;
  w.drop(0, "3");
  REQUIRE(w.info(1).unverified);
  REQUIRE(w.run_until([&] { return !w.info(1).unverified; }));
  for (const std::string want : {"a:2", "a:3"}) REQUIRE(std::ranges::count(w.told(id), want) > 0);
}

TEST_CASE("what can't be had any more clears the cache") {
  engine::options o;
  o.invalidation_ring = 1;
  bus_world w(2, o);
  const auto id = w.cache(1);
  w.drop(0, "1");
  SECTION("because its origin has forgotten it") {
    w.lose = invalidations_lost;
    w.drop(0, "2");
    w.drop(0, "3");
    w.lose = nullptr;
  }
  SECTION("because it does not come for five seconds") {
    w.lose = invalidations_lost;
    w.drop(0, "2");
  }
  SECTION("because its origin has gone") {
    w.lose = invalidations_lost;
    w.drop(0, "2");
    REQUIRE(w.run_until([&] { return w.info(1).unverified; }));
    w.kill(0);
  }
  REQUIRE(w.run_until([&] { return w.told(id).size() == 2; }, 8s));
  REQUIRE(w.told(id).back() == "a:*");
  REQUIRE(w.info(1).gaps_repaired == 1);
  REQUIRE(!w.info(1).unverified);
}

TEST_CASE("what a member said last, unheard, clears the caches when its place is taken from it") {
  bus_world w(3);
  const auto gone = (*w.leader() + 1) % 3, other = (*w.leader() + 2) % 3;
  const auto id = w.cache(other);
  const auto who = w.id(gone);
  w.cut(gone);
  w.drop(gone, "1");
  w.kill(gone);
  const auto known = [&](std::size_t by) { return w[by].look().members->find(who); };
  REQUIRE(w.run_until([&] { return known(other)->state == swim::member_state::unreachable; }));
  w.run(10s);
  REQUIRE(w.told(id).empty());
  REQUIRE(is<wire::done>(w.ask(*w.leader(), wire::remove_node{nodes::name(gone)})));
  REQUIRE(w.run_until([&] { return known(other) == nullptr; }));
  REQUIRE(w.told(id).size() == 1);
  REQUIRE(w.told(id).front().ends_with(":*"));
}

TEST_CASE("a node that starts again clears the caches of others, unless it had stopped in peace") {
  bus_world w(2);
  const auto id = w.cache(1);
  w.drop(0, "1");
  SECTION("killed") {
    w.restart(0);
    REQUIRE(w.run_until_active());
    REQUIRE(w.told(id) == texts{"a:1", "a:*"});
    w.drop(0, "2");
    REQUIRE(w.told(id) == texts{"a:1", "a:*", "a:2"});
  }
  SECTION("stopped") {
    w.call(0, wire::stop_node{});
    REQUIRE(w.run_until([&] { return w.end_of(0).has_value(); }));
    w.restart(0);
    REQUIRE(w.run_until_active());
    REQUIRE(w.told(id) == texts{"a:1"});
  }
}

TEST_CASE("an invalidation of an earlier start is dropped and confirms nothing") {
  bus_world w(2);
  const auto id = w.cache(1);
  w.restart(0);
  REQUIRE(w.run_until_active());
  w.drop(0, "1");
  const auto before = w.told(id);
  bool confirmed = false;
  w.lose = [&](std::size_t, std::size_t, const wire::peer_message& m) {
    confirmed |= std::holds_alternative<wire::invalidation_ack>(m);
    return false;
  };
  w.say(0, 1, wire::invalidations{boot_epoch(1), {{"c", 7, "old", true}}});
  REQUIRE(w.counted(1, "cache.stale_boot") == 1);
  REQUIRE(!confirmed);
  w.say(0, 1, wire::invalidations{w.boot(0), {{"c", 0, "none", true}}});  // numbers begin at 1
  REQUIRE(w.told(id) == before);
  w.say(0, 1, wire::invalidation_gone{"c", boot_epoch(1), 99});
  REQUIRE(w.told(id) == before);
}

TEST_CASE("a repeated invalidation does nothing, and is confirmed again") {
  bus_world w(2);
  const auto id = w.cache(1);
  w.drop(0, "1");
  int confirmed = 0;
  w.lose = [&](std::size_t, std::size_t, const wire::peer_message& m) {
    confirmed += std::holds_alternative<wire::invalidation_ack>(m);
    return false;
  };
  w.say(0, 1, wire::invalidations{w.boot(0), {{"c", 1, "1", true}}});
  REQUIRE(w.told(id) == texts{"a:1"});
  REQUIRE(confirmed == 1);
}

TEST_CASE("whoever asks for what it missed gets just that, or hears that it is gone") {
  engine::options o;
  o.invalidation_ring = 2;
  bus_world w(2, o);
  for (const auto* key : {"1", "2", "3"}) w.drop(0, key);
  std::vector<wire::invalidations> sent;
  std::vector<wire::invalidation_gone> gone;
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    if (from != 0) return false;
    if (const auto* x = std::get_if<wire::invalidations>(&m)) sent.push_back(*x);
    if (const auto* x = std::get_if<wire::invalidation_gone>(&m)) gone.push_back(*x);
    return false;
  };
  const auto pull = [&](const std::string& cache, boot_epoch boot, std::uint64_t after) {
    w.say(1, 0, wire::invalidation_pull{cache, boot, after});
  };
  pull("c", w.boot(0), 2);
  REQUIRE(sent.size() == 1);
  REQUIRE(sent.front().list.size() == 1);
  REQUIRE(sent.front().list.front().key == "3");
  pull("c", w.boot(0), 3);
  REQUIRE(sent.size() == 1);
  REQUIRE(gone.empty());
  pull("c", w.boot(0), 0);
  REQUIRE(gone.back().last == 3);
  pull("c", boot_epoch(9), 2);
  REQUIRE(gone.size() == 2);
  pull("unknown", w.boot(0), 0);
  REQUIRE(gone.back().last == 0);
  REQUIRE(gone.size() == 3);
}

TEST_CASE("that something is gone is news only where there is such a cache that lacks it") {
  bus_world w(2);
  w.say(0, 1, wire::invalidation_gone{"c", w.boot(0), 5});
  const auto id = w.cache(1);
  w.drop(0, "1");
  w.say(0, 1, wire::invalidation_gone{"c", w.boot(0), 1});
  REQUIRE(w.told(id) == texts{"a:1"});
  w.say(0, 1, wire::invalidation_gone{"c", w.boot(0), 5});
  REQUIRE(w.told(id) == texts{"a:1", "a:*"});
}

TEST_CASE("a digest that is no number is counted, one of another node's past is not believed") {
  bus_world w(2);
  const auto id = w.cache(1);
  const auto gossip = [&](std::string key, bytes value, std::uint64_t version) {
    swim::datagram d;
    d.of = {"default", w[0].look().genesis->state().id, 0};
    d.from = w.id(0);
    d.epoch = w.boot(0);
    d.body = swim::gossip_only{};
    d.user = {{w.id(0), w.boot(0), std::move(key), version, std::move(value)}};
    w.tell(1, engine::datagram_in{{"10.0.0.1", 7400}, wire::encode(d)});
    w.settle();
  };
  gossip("cache/c", to_bytes("rot"), 100);
  REQUIRE(w.counted(1, "cache.bad_digest") == 1);
  gossip("other/c", big_endian(4), 100);
  gossip("cache/d", big_endian(4), 100);
  REQUIRE(w.told(id).empty());
  // First heard of by its digest: what came before is unknown here.
  gossip("cache/c", big_endian(4), 101);
  REQUIRE(w.told(id) == texts{"a:*"});
  gossip("cache/c", big_endian(5), 102);
  REQUIRE(w.info(1).unverified);
}

TEST_CASE("a datagram that does not decode is counted and dropped") {
  bus_world w(1);
  w.tell(0, engine::datagram_in{{"10.9.9.9", 1}, to_bytes("what is this")});
  w.settle();
  REQUIRE(w.counted(0, "datagram.undecodable") == 1);
}

// ---- messages ------------------------------------------------------------------------------------------------------

TEST_CASE("a channel and a body have their limits") {
  engine::options o;
  o.max_channel = 3;
  o.max_body = 4;
  bus_world w(1, o);
  REQUIRE(refusal(w.ask(0, wire::publish{"", "x"})) == errc::limit);
  REQUIRE(refusal(w.ask(0, wire::publish{"long", "x"})) == errc::limit);
  REQUIRE(refusal(w.ask(0, wire::publish{"abc", "12345"})) == errc::limit);
  REQUIRE(refusal(w.ask(0, wire::listen{""})) == errc::limit);
  REQUIRE(refusal(w.ask(0, wire::listen{"long"})) == errc::limit);
  REQUIRE(is<wire::done>(w.ask(0, wire::publish{"abc", "1234"})));
  REQUIRE(is<wire::done>(w.ask(0, wire::listen{"abc"})));
}

TEST_CASE("a message reaches every listener of other nodes once, in order, and none at home") {
  bus_world w(3);
  const auto one = w.call(1, wire::listen{"news"}), two = w.call(1, wire::listen{"news"}),
             other = w.call(1, wire::listen{"other"}), home = w.call(0, wire::listen{"news"});
  for (const auto* body : {"1", "2"}) REQUIRE(is<wire::done>(w.ask(0, wire::publish{"news", body})));
  const auto bodies = [&](engine::call_id id) {
    texts r;
    for (const auto& a : w.answers(id).list)
      if (const auto* m = std::get_if<wire::message_out>(&a)) r.push_back(m->sender + ":" + m->body);
    return r;
  };
  REQUIRE(bodies(one) == texts{"a:1", "a:2"});
  REQUIRE(bodies(two) == texts{"a:1", "a:2"});
  REQUIRE(bodies(other).empty());
  REQUIRE(bodies(home).empty());
  REQUIRE(w.counted(2, "message.no_listener") == 2);
  w.say(0, 1, wire::user_message{"news", "again", w.boot(0), 2});
  REQUIRE(w.counted(1, "message.duplicate") == 1);
  REQUIRE(bodies(one).size() == 2);
  w.cancel(1, one);
  w.ask(0, wire::publish{"news", "3"});
  REQUIRE(bodies(one).size() == 2);
  REQUIRE(bodies(two).size() == 3);
}

TEST_CASE("gossip alone carries caches and messages, too") {
  engine::options o;
  o.gossip_only = true;
  nodes w(2, o);
  REQUIRE(w.run_until([&] { return w[0].look().members->alive_count() == 2; }));
  w.run(2s);
  const auto id = w.call(1, wire::listen{"news"});
  REQUIRE(is<wire::done>(w.ask(0, wire::publish{"news", "hello"})));
  REQUIRE(w.run_until([&] { return w.answers(id).list.size() == 2; }, 1s));
}
