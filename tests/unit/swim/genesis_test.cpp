// Genesis, one node and its rules: whom it dials, when it is eligible, what makes it join, what an operator may say.
#include "unit/swim/genesis_node.hpp"

using namespace coterie;
using namespace coterie::swim;
using namespace coterie::swim::test::single;

TEST_CASE("genesis options: the list is sorted and ports added; nonsense is refused with its reason", "[genesis]") {
  genesis_options o;
  o.seeds = {{"b", 0}, {"A", 9}, {"a", 0}};
  CHECK(genesis::validate(o).value() == std::vector<address>{{"a", 9}, {"a", 7400}, {"b", 7400}});
  o.seeds = {{"a", 0}, {"A", 7400}};
  CHECK(genesis::validate(o).error().message == "seed a:7400 is listed twice");
  o.seeds = {};
  CHECK_FALSE(genesis::validate(o));
  o.bootstrap_single = true;
  CHECK(genesis::validate(o));
  o.seeds = {at(1), at(2)};
  CHECK_FALSE(genesis::validate(o));
  o.bootstrap_single = false;
  CHECK(genesis::validate(o));
  o.without = {0};  // of two, both are the majority
  CHECK(genesis::validate(o).error().code == errc::limit);
  o.seeds.push_back(at(3));
  CHECK(genesis::validate(o));
  o.without = {3};
  CHECK(genesis::validate(o).error().code == errc::bad_argument);
  o.without = {};
  o.redial = o.stable_margin;  // survivors could not veto
  CHECK_FALSE(genesis::validate(o));
  o = options(1, 33);
  CHECK(genesis::validate(o).error().code == errc::limit);
}

TEST_CASE("genesis record: the canonical bytes are fixed", "[genesis]") {
  genesis_record r;
  r.cluster = "c";
  r.digest = 0x0102;
  r.nonce = 3;
  r.seeds = {{{0xa, 0xb}, "n", {"h", 7400}, to_bytes("k")}, {}};
  r.voters = {{0xa, 0xb}};
  CHECK(to_hex(r.canonical()) ==
        "01000000"
        "0100000063"
        "0201000000000000"
        "0300000000000000"
        "02000000"
        "0a000000000000000b00000000000000"
        "010000006e"
        "0100000068e81c"
        "010000006b"
        "00000000000000000000000000000000"
        "00000000"
        "000000000000"
        "00000000"
        "01000000"
        "0a000000000000000b00000000000000"
        "00000000");
  const hash128_value h = hash128(r.canonical());
  CHECK(r.id() == cluster_id{h.hi, h.lo});
  CHECK(r.lists({0xa, 0xb}));
  CHECK_FALSE(r.lists({}));
  genesis_record other = r;
  other.nonce = 4;
  CHECK(other.id() != r.id());
  other = r;
  other.standbys.push_back({1, 1});
  CHECK(other.id() != r.id());
}

TEST_CASE("genesis: seeds are dialled at once and every second until they answer", "[genesis]") {
  node n(1);
  CHECK(n.all<gen_dial>().size() == 3);
  n.greet(1);
  n.greet(2);
  n.clear();
  n.pass(1s);
  CHECK(n.all<gen_dial>().size() == 1);
  CHECK(n.all<gen_dial>().front().to == at(3));
  CHECK(n.g.situation() == "seeds 2 of 3 answer, waiting for 10.0.0.3:7400");
  CHECK(n.g.waiting_for() == std::vector<address>{at(3)});
  n.clear();
  n.g.on_stream_down(id(2), n.now);  // an answer is good while its stream is up
  n.pass(1s);
  CHECK(n.all<gen_dial>().size() >= 2);
  CHECK(n.g.situation() == "seeds 1 of 3 answer, waiting for 10.0.0.2:7400, 10.0.0.3:7400");
}

TEST_CASE("genesis: a node that knocks has the missing seeds dialled at once, without a storm", "[genesis]") {
  node n(1);
  n.greet(1);
  n.greet(2);
  n.pass(100ms);
  n.clear();
  for (int k = 0; k < 100; ++k) {
    CHECK(n.g.on_hello(n.from(50 + k), std::nullopt, n.now));
    n.pass(4ms);
  }
  CHECK(n.all<gen_dial>().size() >= 2);
  CHECK(n.all<gen_dial>().size() <= 3);
}

TEST_CASE("genesis: the own slot is known by the own id, not by the address", "[genesis]") {
  genesis_options o = options(1);
  o.advertise = {"elsewhere", 1};
  node n(1, o);
  n.greet(2);
  n.greet(3);
  CHECK(n.g.waiting_for() == std::vector<address>{at(1)});
  REQUIRE(n.greet(1));
  CHECK(n.g.waiting_for().empty());
}

TEST_CASE("genesis: the whole list must stand for the margin", "[genesis]") {
  node n(1);
  n.greet_all();
  n.pass(2s);
  SECTION("a stream breaks") {
    n.g.on_stream_down(id(3), n.now);
    n.greet(3);
  }
  SECTION("a seed restarts") { CHECK(n.g.on_hello(n.from(3, 2), at(3), n.now)); }
  SECTION("a slot has another node") {
    hello h = n.from(9);
    CHECK(n.g.on_hello(h, at(3), n.now));
  }
  n.pass(2900ms);
  CHECK(n.all<gen_persist>().empty());
  n.pass(300ms);
  CHECK(n.all<gen_persist>().size() == 1);
}

TEST_CASE("genesis: not eligible", "[genesis]") {
  node n(1);
  n.greet(1);
  n.greet(2);
  SECTION("two slots are one process") {
    CHECK(n.g.on_hello(n.from(2), at(3), n.now));
    CHECK(n.g.situation().find("refused: seeds 10.0.0.2:7400 and 10.0.0.3:7400 are one process") == 0);
  }
  SECTION("our own process has two slots") {
    CHECK(n.g.on_hello(n.g.own_hello(), at(3), n.now));
    CHECK(n.g.situation().find("refused: seeds 10.0.0.1:7400 and 10.0.0.3:7400 are one process") == 0);
  }
  SECTION("lists differ: both are shown") {
    hello h = n.from(3);
    h.seeds = {at(1), at(3)};
    h.digest = genesis::digest_of(h.seeds);
    CHECK(n.g.on_hello(h, at(3), n.now));
    CHECK(n.g.situation() ==
          "seed lists differ: here [10.0.0.1:7400, 10.0.0.2:7400, 10.0.0.3:7400], at 10.0.0.3:7400 "
          "[10.0.0.1:7400, 10.0.0.3:7400]: make them equal");
  }
  SECTION("a seed belongs to another cluster") {
    hello h = n.from(3);
    h.cluster = "foreign";
    CHECK_FALSE(n.g.on_hello(h, at(3), n.now));
    CHECK(n.g.situation().find("10.0.0.3:7400 belongs to cluster 'foreign', this node to 'default'") !=
          std::string::npos);
    CHECK(n.g.stats().get("hellos refused") == 1);
  }
  SECTION("not a seed") {
    CHECK(n.g.on_hello(n.from(3), at(3), n.now));
    CHECK(n.g.on_hello(n.from(4), at(1), n.now));
    CHECK(n.g.situation().find("this node is none of them") != std::string::npos);
  }
  n.pass(30s);
  CHECK(n.all<gen_persist>().empty());
}

TEST_CASE("genesis: hellos that are refused", "[genesis]") {
  node n(1);
  hello h = n.from(2);
  SECTION("protocol") {
    h.protocol_min = h.protocol_max = 9;
    CHECK(n.g.on_hello(h, at(2), n.now).error().message ==
          "speaks protocol 9 to 9, this node 1 to 1: upgrade one of them");
  }
  SECTION("digest and list do not belong together") {
    h.digest ^= 1;
    CHECK_FALSE(n.g.on_hello(h, at(2), n.now));
  }
  SECTION("an id without its record") {
    h.cluster_known = {1, 1};
    CHECK_FALSE(n.g.on_hello(h, at(2), n.now));
  }
  SECTION("a record with another id") {
    h = n.in_cluster(2, record_of(three));
    h.cluster_known.lo ^= 1;
    CHECK_FALSE(n.g.on_hello(h, at(2), n.now));
  }
  SECTION("our id on another machine") {
    h.id = id(1);
    CHECK(n.g.on_hello(h, at(2), n.now).error().code == errc::exists);
  }
  SECTION("an earlier life") {
    CHECK(n.g.on_hello(n.from(2, 5), at(2), n.now));
    CHECK_FALSE(n.g.on_hello(n.from(2, 4), at(2), n.now));
  }
  CHECK(n.g.waiting_for().size() == 3);
}

TEST_CASE("genesis: join wins", "[genesis]") {
  SECTION("a founder takes R, another node joins") {
    for (const int self : {1, 4}) {
      node n(self);
      const genesis_record r = record_of(three);
      CHECK(n.g.on_hello(n.in_cluster(2, r), at(2), n.now));
      n.pass(300ms);  // a moment to notice a second id
      n.synced();
      REQUIRE(n.all<gen_formed>().size() == 1);
      CHECK(n.all<gen_formed>().front().founder == (self == 1));
      CHECK(n.all<gen_formed>().front().record == r);
    }
  }
  SECTION("at once when the whole list has answered, in the middle of a ballot, too") {
    node n(1);
    const ballot b = n.prepare();
    CHECK(n.g.on_hello(n.in_cluster(8, record_of({id(7), id(8), id(9)})), std::nullopt, n.now));
    n.promise(b, 2);
    n.promise(b, 3);
    n.synced();
    CHECK(n.sent<genesis_accept>().empty());
    REQUIRE(n.all<gen_formed>().size() == 1);
    CHECK_FALSE(n.all<gen_formed>().front().founder);
  }
  SECTION("genesis is dropped from the first sight of an id") {
    node n(1);
    CHECK(n.g.on_hello(n.in_cluster(2, record_of(three)), at(2), n.now));
    n.receive(genesis_prepare{{1, id(3)}, three});
    n.receive(genesis_accept{{1, id(3)}, three, record_of(three, 3)});
    CHECK(n.g.state() == acceptor_state{});
  }
  SECTION("another list's cluster that is no seed of ours is ignored") {
    node n(1);
    hello h = n.in_cluster(8, record_of({id(7), id(8), id(9)}));
    h.seeds = {at(8)};
    h.digest = genesis::digest_of(h.seeds);
    CHECK_FALSE(n.g.on_hello(h, std::nullopt, n.now));
    CHECK(n.g.stats().get("other cluster ids") == 1);
    n.pass(5s);
    CHECK(n.all<gen_persist>().empty());
    CHECK(n.g.on_hello(h, at(2), n.now));  // as a seed of ours it counts
    n.pass(1s);
    CHECK(n.all<gen_persist>().size() == 1);
  }
}

TEST_CASE("genesis: two ids under one name", "[genesis]") {
  const genesis_record a = record_of(three, 1), b = record_of(three, 2);
  SECTION("shown to a forming node: it stops and names both") {
    node n(1);
    CHECK(n.g.on_hello(n.in_cluster(2, a), at(2), n.now));
    SECTION("by hello") { static_cast<void>(n.g.on_hello(n.in_cluster(3, b), at(3), n.now)); }
    SECTION("by Commit") { n.receive(genesis_commit{id(3), b}); }
    REQUIRE(n.all<gen_fatal>().size() == 1);
    const std::string text = n.all<gen_fatal>().front().message;
    CHECK(text.find(a.id().str()) != std::string::npos);
    CHECK(text.find(b.id().str()) != std::string::npos);
    CHECK(n.g.situation() == text);
    n.clear();
    n.pass(10s);
    n.greet_all();
    n.receive(genesis_prepare{{1, id(3)}, three});
    CHECK(n.all<gen_persist>().empty());
    CHECK(n.all<gen_send>().empty());
  }
  SECTION("a node that has an id ignores the other, and warns once") {
    acceptor_state s;
    s.id = a.id();
    s.committed = a;
    node n(1, options(1), s);
    static_cast<void>(n.g.take_log());
    CHECK_FALSE(n.g.on_hello(n.in_cluster(3, b), at(3), n.now));
    CHECK_FALSE(n.g.on_hello(n.in_cluster(3, b), at(3), n.now));
    CHECK(n.all<gen_fatal>().empty());
    CHECK(n.g.state().id == a.id());
    int warned = 0;
    for (const log_line& l : n.g.take_log()) warned += l.text.find(b.id().str()) != std::string::npos;
    CHECK(warned == 1);
  }
}

TEST_CASE("genesis: a restart that finds the id on disk", "[genesis]") {
  const genesis_record r = record_of(three);
  acceptor_state s;
  s.id = r.id();
  s.committed = r;
  SECTION("is formed at once and starts no genesis") {
    node n(1, options(1), s);
    REQUIRE(n.all<gen_formed>().size() == 1);
    CHECK(n.all<gen_formed>().front().founder);
    n.greet_all();
    n.pass(20s);
    CHECK(n.all<gen_persist>().empty());
  }
  SECTION("also without its record: it stops") {
    s.committed.reset();
    node n(1, options(1), s);
    CHECK(n.all<gen_fatal>().size() == 1);
  }
}

TEST_CASE("genesis --without", "[genesis]") {
  const auto refused = [](const auto& r) { return r ? std::string() : r.error().message; };
  node n(1);
  n.greet(1);
  n.greet(2);
  n.pass(10s);
  CHECK(n.all<gen_persist>().empty());
  CHECK(refused(n.g.init_without({{"10.9.9.9", 7400}}, n.now)) ==
        "10.9.9.9:7400 is no seed: the list is 10.0.0.1:7400, 10.0.0.2:7400, 10.0.0.3:7400");
  CHECK(refused(n.g.init_without({at(2)}, n.now)) ==
        "seed 10.0.0.2:7400 answers: only one that never returns can be left out");
  CHECK(refused(n.g.init_without({at(3), at(3)}, n.now)).find("twice") != std::string::npos);
  CHECK(node(1).g.init_without({at(3)}, n.now).error().code == errc::unavailable);
  REQUIRE(n.g.init_without({{at(3).host, 0}}, n.now));
  n.pass(4s);
  n.synced();
  REQUIRE(n.sent<genesis_prepare>().size() == 1);
  const genesis_prepare p = n.sent<genesis_prepare>().front().second;
  CHECK(p.ids == std::vector<node_id>{id(1), id(2), {}});
  n.promise(p.b, 2);
  n.synced();
  REQUIRE(n.sent<genesis_accept>().size() == 1);
  const genesis_record r = n.sent<genesis_accept>().front().second.record;
  CHECK_FALSE(r.seeds[2].id);
  CHECK(r.voters == std::vector<node_id>{id(1)});
  CHECK(r.standbys == std::vector<node_id>{id(2)});
  CHECK_FALSE(n.g.state().id);  // phase 2 stays a majority of the whole list
  n.receive(genesis_accepted{p.b, id(2), r.id(), r});
  CHECK(n.g.state().id == r.id());
  n.synced();
  CHECK(n.g.waiting_for() == std::vector<address>{at(2)});
}

TEST_CASE("genesis --without: a majority of the list must stay", "[genesis]") {
  node n(1, options(1, 5));
  n.greet(1);
  const auto r = n.g.init_without({at(2), at(3), at(4)}, n.now);
  REQUIRE_FALSE(r);
  CHECK(r.error().message.find("at most 2 of 5 seeds") != std::string::npos);
  REQUIRE(n.g.init_without({at(2), at(3)}, n.now));
  CHECK(n.g.waiting_for() == std::vector<address>{at(4), at(5)});
  REQUIRE(n.g.init_without({}, n.now));  // taken back
  CHECK(n.g.waiting_for().size() == 4);
}

TEST_CASE("genesis --discard", "[genesis]") {
  acceptor_state s;
  s.promised = s.accepted_ballot = {3, id(2)};
  s.accepted = record_of({id(1), id(8), id(9)});
  node n(1, options(1), s);
  n.greet_all();
  n.pass(100ms);
  const std::string text = n.g.situation();  // names the dead
  CHECK(text.find(id(8).str()) != std::string::npos);
  CHECK(text.find(id(9).str()) != std::string::npos);
  CHECK(text.find(s.accepted->id().str()) != std::string::npos);
  const auto other = n.g.discard({1, 1}, n.now);
  REQUIRE_FALSE(other);
  CHECK(other.error().message.find("the one held is " + s.accepted->id().str()) != std::string::npos);
  REQUIRE(n.g.discard(s.accepted->id(), n.now));
  REQUIRE(n.all<gen_persist>().size() == 1);
  CHECK_FALSE(n.all<gen_persist>().front().state.accepted);
  CHECK(n.all<gen_persist>().front().state.promised == s.promised);
}

TEST_CASE("genesis of one", "[genesis]") {
  genesis_options o = options(1, 1);
  SECTION("needs the flag") {
    node n(1, o);
    n.greet(1);
    n.pass(20s);
    CHECK(n.g.situation() == "the only seed is this node itself: a cluster of one needs --bootstrap single");
    CHECK(n.all<gen_persist>().empty());
  }
  SECTION("seeds = [self]: one write, as soon as the seed proves to be itself") {
    o.bootstrap_single = true;
    node n(1, o);
    CHECK(n.all<gen_persist>().empty());
    n.greet(1);
    REQUIRE(n.all<gen_persist>().size() == 1);
    CHECK(n.all<gen_formed>().empty());
    n.synced();
    REQUIRE(n.all<gen_formed>().size() == 1);
    CHECK(n.all<gen_formed>().front().founder);
    CHECK(n.all<gen_formed>().front().record.voters == std::vector<node_id>{id(1)});
    CHECK(n.g.next_wake() == never);
  }
  SECTION("no seeds") {
    o.bootstrap_single = true;
    o.seeds.clear();
    node n(1, o);
    n.synced();
    CHECK(n.g.formed());
  }
  SECTION("the seed is somebody else: no cluster of its own") {
    o.bootstrap_single = true;
    node n(2, o);
    n.greet(1);
    n.pass(20s);
    CHECK(n.all<gen_persist>().empty());
  }
  SECTION("not over an accepted record of a longer list") {
    o.bootstrap_single = true;
    acceptor_state s;
    s.promised = s.accepted_ballot = {3, id(2)};
    s.accepted = record_of(three);
    node n(1, o, s);
    n.greet(1);
    CHECK(n.all<gen_persist>().empty());
    CHECK(n.g.situation().find("--discard") != std::string::npos);
    REQUIRE(n.g.discard(s.accepted->id(), n.now));
    n.synced();
    CHECK(n.g.formed());
  }
}

TEST_CASE("genesis: voters are the first 5, 3 or 1; the next two are standbys", "[genesis]") {
  const auto counts = [](int seeds) {
    node n(1, options(1, seeds));
    const ballot b = n.prepare();
    for (int i = 2; i <= seeds; ++i) n.promise(b, i);
    n.synced();
    const genesis_record r = n.sent<genesis_accept>().front().second.record;
    return std::pair(r.voters.size(), r.standbys.size());
  };
  CHECK(counts(2) == std::pair<std::size_t, std::size_t>(1, 1));
  CHECK(counts(3) == std::pair<std::size_t, std::size_t>(3, 0));
  CHECK(counts(4) == std::pair<std::size_t, std::size_t>(3, 1));
  CHECK(counts(5) == std::pair<std::size_t, std::size_t>(5, 0));
  CHECK(counts(8) == std::pair<std::size_t, std::size_t>(5, 2));
}
