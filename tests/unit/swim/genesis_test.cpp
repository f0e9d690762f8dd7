// Genesis, one node and its rules: what it says, to whom, and after which write.
#include "swim/genesis.hpp"

#include "catch.hpp"

using namespace coterie;
using namespace coterie::swim;

namespace {

address at(int i) { return {"10.0.0." + std::to_string(i), default_port}; }
node_id id(int i) { return {1, static_cast<std::uint64_t>(i)}; }

genesis_options options(int self, int seeds = 3) {
  genesis_options o;
  o.name = "n" + std::to_string(self);
  o.advertise = at(self);
  for (int i = 1; i <= seeds; ++i) o.seeds.push_back(at(i));
  return o;
}

genesis_record record_of(std::vector<node_id> ids, std::uint64_t nonce = 7) {
  genesis_record r;
  r.cluster = "default";
  r.nonce = nonce;
  std::vector<address> list;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const int k = static_cast<int>(i) + 1;
    list.push_back(at(k));
    r.seeds.push_back({ids[i], "n" + std::to_string(k), at(k), {}});
  }
  r.voters = std::move(ids);
  r.digest = genesis::digest_of(list);
  return r;
}

/// One node under test; the test plays everybody else. Its seed is slot `self`, its id id(self).
struct node {
  explicit node(int self_slot, genesis_options o, acceptor_state s = {})
      : self(self_slot), opt(o), g(id(self_slot), boot_epoch(1), o, std::move(s), now, 42) {}
  explicit node(int self_slot) : node(self_slot, options(self_slot)) {}

  hello from(int i, std::uint64_t epoch = 1) const {
    hello h = g.own_hello();
    h.name = "n" + std::to_string(i);
    h.id = id(i);
    h.epoch = boot_epoch(epoch);
    h.advertise = at(i);
    h.cluster_known = {};
    h.record.reset();
    return h;
  }
  hello in_cluster(int i, const genesis_record& r) const {
    hello h = from(i);
    h.cluster_known = r.id();
    h.record = r;
    return h;
  }
  /// The hello of node i, on a stream dialled to slot i.
  bool greet(int i) { return g.on_hello(i == self ? g.own_hello() : from(i), at(i), now).has_value(); }
  void greet_all() {
    for (std::size_t i = 1; i <= opt.seeds.size(); ++i) greet(static_cast<int>(i));
  }
  void pass(duration d) {
    const instant end = now + d;
    while (g.next_wake() <= end) {
      now = std::max(now, g.next_wake());
      g.tick(now);
      collect();
    }
    now = end;
    collect();
  }
  void collect() {
    for (gen_action& a : g.take()) {
      if (const auto* p = std::get_if<gen_persist>(&a)) sequence = p->sequence;
      actions.push_back(std::move(a));
    }
  }
  template <class T>
  std::vector<T> all() {
    collect();
    std::vector<T> out;
    for (const gen_action& a : actions) {
      if (const auto* x = std::get_if<T>(&a)) out.push_back(*x);
    }
    return out;
  }
  template <class M>
  std::vector<std::pair<node_id, M>> sent() {
    std::vector<std::pair<node_id, M>> out;
    for (const gen_send& s : all<gen_send>()) {
      if (const auto* x = std::get_if<M>(&s.what)) out.emplace_back(s.to, *x);
    }
    return out;
  }
  void clear() {
    collect();
    actions.clear();
  }
  void synced() {
    collect();
    g.on_persisted(sequence, now);
    collect();
  }
  void receive(genesis_message m) {
    g.on_message(m, now);
    collect();
  }
  /// Up to the point where Prepare has left.
  ballot prepare() {
    greet_all();
    pass(7s);
    synced();
    const auto p = sent<genesis_prepare>();
    REQUIRE(!p.empty());
    return p.back().second.b;
  }
  void promise(const ballot& b, int i, ballot accepted = {}, std::optional<genesis_record> r = {}) {
    receive(genesis_promise{b, id(i), accepted, std::move(r)});
  }

  int self;
  genesis_options opt;
  instant now{};
  std::uint64_t sequence = 0;
  std::vector<gen_action> actions;
  genesis g;
};

const std::vector<node_id> three = {id(1), id(2), id(3)};

}  // namespace

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

TEST_CASE("genesis: own promise durable before Prepare, own accept before Accept, id and R before formed",
          "[genesis]") {
  node n(1);
  n.greet_all();
  n.pass(2900ms);
  CHECK(n.all<gen_persist>().empty());
  n.pass(300ms);
  REQUIRE(n.all<gen_persist>().size() == 1);
  const ballot b = n.all<gen_persist>().front().state.promised;
  CHECK(b == ballot{1, id(1)});
  CHECK(n.all<gen_send>().empty());
  n.synced();
  const auto prepares = n.sent<genesis_prepare>();
  REQUIRE(prepares.size() == 2);
  CHECK(prepares[0].second.ids == three);

  n.promise(b, 2);
  CHECK(n.all<gen_persist>().size() == 1);  // all ids, a majority is not enough
  n.promise(b, 2);                          // nor twice the same
  CHECK(n.all<gen_persist>().size() == 1);
  n.promise(b, 3);
  REQUIRE(n.all<gen_persist>().size() == 2);
  const acceptor_state own = n.all<gen_persist>().back().state;
  CHECK(own.accepted_ballot == b);
  CHECK(n.sent<genesis_accept>().empty());
  n.synced();
  REQUIRE(n.sent<genesis_accept>().size() == 2);
  const genesis_record r = n.sent<genesis_accept>().front().second.record;
  CHECK(r == own.accepted);
  CHECK(r.seeds[1] == seed_slot{id(2), "n2", at(2), {}});
  CHECK(r.voters == three);
  CHECK(n.sent<genesis_accepted>().size() == 2);

  n.receive(genesis_accepted{b, id(2), r.id(), r});
  REQUIRE(n.all<gen_persist>().size() == 3);
  CHECK(n.all<gen_persist>().back().state.id == r.id());
  CHECK(n.all<gen_persist>().back().state.committed == r);
  CHECK_FALSE(n.g.formed());
  CHECK_FALSE(n.g.own_hello().cluster_known);
  CHECK(n.all<gen_formed>().empty());
  n.synced();
  REQUIRE(n.all<gen_formed>().size() == 1);
  CHECK(n.all<gen_formed>().front().founder);
  CHECK(n.g.formed());
  CHECK(n.g.own_hello().cluster_known == r.id());

  // Commit goes to every slot until acknowledged
  CHECK(n.sent<genesis_commit>().size() == 2);
  CHECK(n.g.waiting_for() == std::vector<address>{at(2), at(3)});
  n.receive(genesis_commit_ack{id(2)});
  n.clear();
  n.pass(40s);
  const auto again = n.sent<genesis_commit>();
  CHECK(again.size() >= 5);
  CHECK(again.size() <= 9);  // backed off
  for (const auto& [to, m] : again) CHECK(to == id(3));
  n.g.on_stream_down(id(3), n.now);
  n.clear();
  n.pass(30s);
  CHECK(n.all<gen_dial>().size() >= 3);
  n.receive(genesis_commit_ack{id(3)});
  CHECK(n.g.next_wake() == never);
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

TEST_CASE("genesis: rank k proposes k seconds later", "[genesis]") {
  for (const int self : {1, 2, 3}) {
    node n(self);
    n.greet_all();
    n.pass(3s + (self - 1) * 1s - 1ms);
    CHECK(n.all<gen_persist>().empty());
    n.pass(200ms);
    CHECK(n.all<gen_persist>().size() == 1);
  }
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

TEST_CASE("genesis acceptor: only a ballot that names us is answered, and only when that is durable", "[genesis]") {
  node n(1);
  const ballot b{4, id(2)};
  SECTION("not named") {
    n.receive(genesis_prepare{b, {id(9), id(2), id(3)}});
    n.receive(genesis_accept{b, {id(9), id(2), id(3)}, record_of(three)});
    n.receive(genesis_prepare{b, {id(1), id(2)}});                  // another list's
    n.receive(genesis_prepare{{4, id(8)}, {id(1), id(2), id(3)}});  // not even the proposer
    n.receive(genesis_prepare{b, {id(1), id(2), {}}});              // fine: one slot dropped
    n.receive(genesis_prepare{{5, id(2)}, {id(2), id(1), id(2)}});  // twice
    n.receive(genesis_prepare{{~0ull, id(2)}, three});              // absurd
    CHECK(n.all<gen_persist>().size() == 1);
    CHECK(n.g.state().promised == b);
    CHECK(n.g.stats().get("ballots that do not name us") == 6);
  }
  SECTION("promise") {
    n.receive(genesis_prepare{b, three});
    CHECK(n.g.state().promised == b);
    CHECK(n.sent<genesis_promise>().empty());
    n.synced();
    REQUIRE(n.sent<genesis_promise>().size() == 1);
    CHECK(n.sent<genesis_promise>().front().first == id(2));
    // a lower ballot is refused with the promised one, in both phases
    n.receive(genesis_prepare{{3, id(3)}, three});
    n.receive(genesis_accept{{3, id(3)}, three, record_of(three)});
    REQUIRE(n.sent<genesis_reject>().size() == 2);
    CHECK(n.sent<genesis_reject>().front().second.promised == b);
    CHECK_FALSE(n.g.state().accepted);
  }
  SECTION("accept: a record that lists us, told to everybody in the ballot") {
    n.receive(genesis_accept{b, three, record_of({id(9), id(2), id(3)})});
    genesis_record shorter = record_of({id(1), id(2)});
    n.receive(genesis_accept{b, three, shorter});
    CHECK_FALSE(n.g.state().accepted);
    CHECK(n.all<gen_persist>().empty());
    const genesis_record r = record_of(three);
    n.receive(genesis_accept{b, three, r});
    CHECK(n.g.state().accepted == r);
    CHECK(n.g.state().promised == b);
    CHECK(n.sent<genesis_accepted>().empty());
    n.synced();
    CHECK(n.sent<genesis_accepted>().size() == 2);
    // later promises report it
    n.receive(genesis_prepare{{5, id(3)}, three});
    n.synced();
    REQUIRE(n.sent<genesis_promise>().size() == 1);
    CHECK(n.sent<genesis_promise>().front().second.accepted == r);
    CHECK(n.sent<genesis_promise>().front().second.accepted_ballot == b);
    // and the ballot it is in can't change its record
    n.receive(genesis_accept{{5, id(3)}, three, r});
    n.receive(genesis_accept{{5, id(3)}, three, record_of(three, 8)});
    CHECK(n.g.state().accepted == r);
  }
}

TEST_CASE("genesis proposer: the accepted record of the highest ballot is proposed again", "[genesis]") {
  const genesis_record low = record_of(three, 1), high = record_of(three, 2);
  node n(1);
  const ballot b = n.prepare();
  n.receive(genesis_reject{{9, id(1)}, id(2), {10, id(2)}});  // of another ballot: only its round counts
  n.promise(b, 2, {b.round, node_id{0, 1}}, high);
  n.promise(b, 3, {b.round, node_id{0, 0}}, low);
  n.synced();
  REQUIRE(n.sent<genesis_accept>().size() == 2);
  CHECK(n.sent<genesis_accept>().front().second.record == high);
}

TEST_CASE("genesis proposer: its own accepted record counts, too", "[genesis]") {
  acceptor_state s;
  s.promised = s.accepted_ballot = {3, id(2)};
  s.accepted = record_of(three);
  node n(1, options(1), s);
  const ballot b = n.prepare();
  CHECK(b.round == 4);  // above every round promised
  n.promise(b, 2);
  n.promise(b, 3);
  n.synced();
  REQUIRE(n.sent<genesis_accept>().size() == 2);
  CHECK(n.sent<genesis_accept>().front().second.record == s.accepted);
}

TEST_CASE("genesis proposer: a record that does not list it is left to others", "[genesis]") {
  node n(1);
  const ballot b = n.prepare();
  n.promise(b, 2, {b.round, {}}, record_of({id(9), id(2), id(3)}));
  n.promise(b, 3);
  n.synced();
  CHECK(n.sent<genesis_accept>().empty());
  n.clear();
  n.pass(4s);  // longer than any other seed needs to begin
  CHECK(n.all<gen_persist>().empty());
  n.pass(10s);
  CHECK_FALSE(n.all<gen_persist>().empty());  // but it does not stop for ever
}

TEST_CASE("genesis proposer: overtaken by another ballot it gives up", "[genesis]") {
  node n(1);
  const ballot b = n.prepare();
  n.promise(b, 2);
  n.receive(genesis_prepare{{b.round, id(2)}, three});  // a higher one: same round, larger id
  n.synced();
  CHECK(n.sent<genesis_promise>().size() == 1);
  n.promise(b, 3);
  n.synced();
  CHECK(n.sent<genesis_accept>().empty());
  CHECK_FALSE(n.g.state().accepted);
}

TEST_CASE("genesis proposer: a ballot is given up after a second; the next is above all seen", "[genesis]") {
  node n(1);
  const ballot b = n.prepare();
  SECTION("no answer") {
    n.clear();
    n.pass(990ms);
    CHECK(n.all<gen_persist>().empty());
    n.g.on_message(genesis_promise{b, id(2), {}, {}}, n.now);
    n.pass(1s);
    n.promise(b, 3);  // too late
    n.synced();
    CHECK(n.sent<genesis_accept>().empty());
    REQUIRE(n.sent<genesis_prepare>().size() >= 2);
    CHECK(n.sent<genesis_prepare>().front().second.b.round == b.round + 1);
  }
  SECTION("refused") {
    n.receive(genesis_reject{b, id(2), {70, id(3)}});
    n.clear();
    n.pass(2s);
    n.synced();
    REQUIRE(n.sent<genesis_prepare>().size() >= 2);
    CHECK(n.sent<genesis_prepare>().front().second.b.round == 71);
  }
  SECTION("fresh ids") {
    n.g.on_stream_down(id(3), n.now);
    CHECK(n.g.on_hello(n.from(7), at(3), n.now));
    n.clear();
    n.pass(8s);
    n.synced();
    REQUIRE(!n.sent<genesis_prepare>().empty());
    CHECK(n.sent<genesis_prepare>().back().second.ids == std::vector<node_id>{id(1), id(2), id(7)});
  }
}

TEST_CASE("genesis learner: a majority of all slots, counted per ballot", "[genesis]") {
  node n(1);
  const genesis_record r = record_of(three);
  n.receive(genesis_accepted{{1, id(2)}, id(2), r.id(), r});
  n.receive(genesis_accepted{{2, id(3)}, id(3), r.id(), r});
  n.receive(genesis_accepted{{1, id(2)}, id(2), r.id(), r});
  n.receive(genesis_accepted{{1, id(2)}, id(8), r.id(), r});  // R does not list it
  CHECK_FALSE(n.g.state().id);
  n.receive(genesis_accepted{{2, id(3)}, id(2), r.id(), r});
  CHECK(n.g.state().id == r.id());
  CHECK(n.all<gen_persist>().size() == 1);
}

TEST_CASE("genesis learner: the number of ballots counted at a time is bounded", "[genesis]") {
  node n(1);
  const genesis_record r = record_of(three);
  for (std::uint64_t k = 1; k < 200; ++k) n.receive(genesis_accepted{{k, id(2)}, id(2), r.id(), r});
  CHECK(n.g.stats().get("tallies dropped") >= 100);
  n.receive(genesis_accepted{{199, id(2)}, id(3), r.id(), r});
  CHECK(n.g.state().id == r.id());
}

TEST_CASE("genesis: a committed node answers Prepare and Accept only with Commit", "[genesis]") {
  node n(1);
  const genesis_record r = record_of(three);
  n.receive(genesis_prepare{{1, id(3)}, three});  // its promise is not out yet, and never will be
  n.receive(genesis_commit{id(2), r});
  n.receive(genesis_prepare{{5, id(3)}, three});
  n.receive(genesis_accept{{5, id(3)}, three, record_of(three, 9)});
  CHECK(n.all<gen_send>().empty());
  CHECK(n.g.situation().find("is being written") != std::string::npos);
  n.synced();
  CHECK(n.all<gen_formed>().size() == 1);
  CHECK(n.sent<genesis_promise>().empty());
  CHECK(n.sent<genesis_accepted>().empty());
  CHECK(n.sent<genesis_commit_ack>().size() == 1);
  const auto commits = n.sent<genesis_commit>();
  CHECK(std::count_if(commits.begin(), commits.end(), [](auto& c) { return c.first == id(3); }) >= 2);
  CHECK(n.g.state().promised.round == 1);
  // another record is not acknowledged
  n.clear();
  n.receive(genesis_commit{id(2), record_of(three, 9)});
  CHECK(n.all<gen_send>().empty());
  CHECK(n.g.state().id == r.id());
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

TEST_CASE("genesis: what waits for the disk is bounded", "[genesis]") {
  genesis_options o = options(1);
  o.max_held = 5;
  node n(1, o);
  for (std::uint64_t k = 1; k <= 10; ++k) n.receive(genesis_prepare{{k, id(2)}, three});
  CHECK(n.g.stats().get("messages over limit") == 5);
  n.synced();
  CHECK(n.sent<genesis_promise>().size() == 5);
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
