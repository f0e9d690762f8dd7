// Who is listened to: frames and hellos of strangers, of copies and of nodes that are out, and how a node asks to be
// let in and is answered.
#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct cluster_world : active_nodes {
  using active_nodes::active_nodes;
  cluster_id cluster() const { return (*this)[0].look().genesis->state().id; }
  boot_epoch boot(std::size_t i) { return (*this)[i].look().members->self_incarnation().epoch; }
  /// A hello as that node says it now; the others may have been told another one.
  swim::hello hello_of(std::size_t i) { return *heard<swim::hello>(connect(i)); }
  std::optional<wire::join_answer> greet(std::size_t i, const swim::hello& h) {
    const auto s = connect(i);
    hear(s, {cluster(), meta_group, h});
    return heard<wire::join_answer>(s);
  }
  /// A stream of a node that is no member; it has said hello.
  engine::stream_id stranger(std::size_t i, node_id id, std::string name, address at) {
    auto h = hello_of(i);
    h.id = id;
    h.epoch = boot_epoch(9);
    h.name = std::move(name);
    h.advertise = std::move(at);
    const auto s = connect(i, h.advertise);
    hear(s, {cluster(), meta_group, h});
    return s;
  }
  wire::join_answer ask_in(engine::stream_id s, wire::join_request r) {
    outsider_heard_before_ = at(s).heard.size();
    hear(s, {cluster(), meta_group, std::move(r)});
    run_until([&] { return at(s).heard.size() > outsider_heard_before_ && answer_of(s); }, 1s);
    return answer_of(s).value_or(wire::join_answer{wire::join_verdict::later, "no answer"});
  }

 private:
  std::optional<wire::join_answer> answer_of(engine::stream_id s) {
    const auto& all = at(s).heard;
    for (auto i = outsider_heard_before_; i < all.size(); ++i)
      if (const auto* a = std::get_if<wire::join_answer>(&all[i])) return *a;
    return std::nullopt;
  }
  std::size_t outsider_heard_before_ = 0;
};

const address far{"10.8.8.8", 7400};

swim::statement statement_of(node_id id, const address& at, std::uint64_t boot, swim::member_state state,
                             node_id accuser = {}) {
  swim::statement s;
  s.info.id = id;
  s.info.name = "x";
  s.info.at = at;
  s.inc = {boot_epoch(boot), 1};
  s.state = state;
  s.accuser = accuser;
  return s;
}

// Node i was started again: it leads, but not before others had time to say that its disk is a copy.
void leads_after_a_while(nodes& w, std::size_t i, const raft::options& o) {
  const auto leads = [&] { return w[i].look().raft->current_role() == raft::role::leader; };
  REQUIRE(!leads());
  w.run(o.election_timeout_min / 2);
  REQUIRE(!leads());
  REQUIRE(w.run_until(leads, 5s));
}

}  // namespace

// ---- frames --------------------------------------------------------------------------------------------------------

TEST_CASE("a frame that does not decode ends its stream") {
  cluster_world w(1);
  const auto s = w.connect(0);
  w.tell(0, engine::frame_in{s, to_bytes("what is this")});
  w.settle();
  REQUIRE(w.at(s).closed);
  REQUIRE(w.counted(0, "frame.undecodable") == 1);
  // What still comes on it is nobody's.
  w.tell(0, engine::frame_in{s, to_bytes("and this")});
  w.settle();
  REQUIRE(w.counted(0, "frame.undecodable") == 1);
}

TEST_CASE(
    "a frame for another cluster ends its stream, a hello too when the cluster is another one (nuraft#504, nuraft#640)",
    "[lesson]") {
  cluster_world w(1);
  const cluster_id other{1, 2};
  auto s = w.connect(0);
  w.hear(s, {other, meta_group, wire::keepalives{}});
  REQUIRE(w.at(s).closed);
  REQUIRE(w.counted(0, "frame.other_cluster") == 1);
  s = w.connect(0);
  w.hear(s, {other, meta_group, wire::fetch{1, log_index(1), {}, 1}});
  REQUIRE(w.at(s).closed);
  REQUIRE(!w.heard<wire::fetched>(s));
  auto h = w.hello_of(0);
  h.id = node_id{9, 9};
  h.cluster = "another";
  s = w.connect(0);
  w.hear(s, {other, meta_group, h});
  REQUIRE(w.at(s).closed);
  REQUIRE(w.counted(0, "hello.refused") == 1);
}

TEST_CASE("who says no hello is not listened to, and not waited for") {
  cluster_world w(1);
  const auto s = w.connect(0), silent = w.connect(0);
  w.hear(s, {w.cluster(), meta_group, wire::keepalives{}});
  REQUIRE(w.at(s).closed);
  REQUIRE(w.counted(0, "frame.before_hello") == 1);
  REQUIRE(w.heard<swim::hello>(silent));
  w.run(4s);
  REQUIRE(!w.at(silent).closed);
  w.run(2s);
  REQUIRE(w.at(silent).closed);
  REQUIRE(w.counted(0, "link.no_hello") == 1);
}

TEST_CASE("without a log a hello is judged by the cluster's name and the protocol alone") {
  engine::options o;
  o.gossip_only = true;
  nodes w(2, o);
  w.run(1s);
  auto h = *w.heard<swim::hello>(w.connect(0));
  h.id = node_id{9, 9};
  h.name = "x";
  h.advertise = far;
  const auto good = w.connect(0), bad = w.connect(0), newer = w.connect(0), formed = w.connect(0);
  w.hear(good, {{}, meta_group, h});
  h.cluster = "another";
  w.hear(bad, {{}, meta_group, h});
  REQUIRE(!w.at(good).closed);
  REQUIRE(w.at(bad).closed);
  REQUIRE(w.logged(0, "belongs to cluster 'another', this node to 'default'") == 1);
  h.cluster = "default";
  h.protocol_min = h.protocol_max = 9;
  w.hear(newer, {{}, meta_group, h});
  REQUIRE(w.at(newer).closed);
  REQUIRE(w.logged(0, "speaks protocol 9 to 9, this node 1 to 1: upgrade one of them") == 1);
  REQUIRE(w.counted(0, "hello.refused") == 2);
  // One with a log, and so with a seed list, is no member here.
  h.protocol_min = h.protocol_max = 1;
  h.id = node_id{9, 8};
  h.name = "y";
  h.digest = 5;
  w.hear(formed, {{}, meta_group, h});
  REQUIRE(w.counted(0, "hello.other_scope") == 1);
  REQUIRE(w[0].look().members->find(node_id{9, 9}) != nullptr);
  REQUIRE(w[0].look().members->find(node_id{9, 8}) == nullptr);
  // Genesis and the log are none of its business.
  w.hear(good, {{}, meta_group, swim::genesis_message{swim::genesis_commit_ack{h.id}}});
  w.hear(good, {{}, meta_group, wire::join_request{h.id, "x", far, boot_epoch(1)}});
  w.hear(good, {{}, meta_group, wire::forward{}});
  w.hear(good, {{}, meta_group, raft::message{h.id, w.id(0), term(9), raft::timeout_now{}}});
  w.hear(good, {{}, meta_group, wire::snapshot_chunk{}});
  w.hear(good, {{}, meta_group, wire::snapshot_ack{}});
  w.hear(good, {{}, meta_group, wire::hand_over{h.id}});
  REQUIRE(!w.heard<wire::join_answer>(good));
  REQUIRE(w[0].look().raft == nullptr);
}

TEST_CASE("a message in another's name is not taken") {
  cluster_world w(3);
  const auto term_of = [&] { return w[0].look().raft->current_term(); };
  const auto before = term_of();
  w.say(1, 0, raft::message{w.id(2), w.id(0), term(99), raft::vote_response{}});
  w.say(1, 0, raft::message{w.id(1), w.id(2), term(99), raft::vote_response{}});
  REQUIRE(term_of() == before);
  swim::push_pull p;
  p.from = w.id(2);
  p.statements = {statement_of({9, 9}, far, 1, swim::member_state::alive)};
  w.say(1, 0, p);
  REQUIRE(w[0].look().members->find(node_id{9, 9}) == nullptr);
  p.from = w.id(1);
  w.say(1, 0, p);
  REQUIRE(w[0].look().members->find(node_id{9, 9}) != nullptr);
}

TEST_CASE("only the leader hands over") {
  cluster_world w(3);
  const auto leader = *w.leader();
  const auto other = (leader + 1) % 3, third = (leader + 2) % 3;
  w.say(leader, other, wire::hand_over{w.id(third)});
  w.run(2s);
  REQUIRE(w.leader() == leader);
  w.say(other, leader, wire::hand_over{w.id(third)});
  REQUIRE(w.run_until([&] { return w.leader() == third; }, 2s));
}

TEST_CASE("a port that nobody listens on is evidence against its owner") {
  cluster_world w(2);
  const auto state = [&] { return w[0].look().members->find(w.id(1))->state; };
  w.tell(0, engine::unreachable_in{far});
  w.tell(0, engine::unreachable_in{{"10.0.0.1", 7400}});  // itself
  w.settle();
  REQUIRE(state() == swim::member_state::alive);
  w.cut(1);
  w.tell(0, engine::unreachable_in{{"10.0.0.2", 7400}});
  REQUIRE(w.run_until([&] { return state() == swim::member_state::unreachable; }, 2s));
}

// ---- copies --------------------------------------------------------------------------------------------------------

TEST_CASE("a second node with a living one's identity waits, and is not heard meanwhile") {
  cluster_world w(2);
  auto h = w.hello_of(1);
  h.advertise = far;
  const auto s = w.connect(0);
  w.hear(s, {w.cluster(), meta_group, h});
  const auto a = w.heard<wire::join_answer>(s);
  REQUIRE(a->verdict == wire::join_verdict::elsewhere);
  REQUIRE_THAT(a->reason, Contains("is its data directory a copy?"));
  // Not even a frame that would end the stream of a stranger.
  w.hear(s, {w.cluster(), meta_group, wire::keepalives{}});
  REQUIRE(!w.at(s).closed);
  w.run(1s);
  REQUIRE(w.at(s).closed);
}

TEST_CASE("a leader that is told that it is alive elsewhere leads no more, and says why once") {
  cluster_world w(3);
  const auto leader = *w.leader(), other = (leader + 1) % 3;
  for (int i = 0; i < 2; ++i) w.say(other, leader, wire::join_answer{wire::join_verdict::elsewhere, "is it a copy?"});
  REQUIRE(w[leader].look().raft->current_role() == raft::role::follower);
  REQUIRE(w.logged(leader, "is it a copy?") == 1);
  REQUIRE(w.run_until([&] { return w.leader() && w.leader() != leader; }, 4s));
  // One that knows of no log yet only says so.
  nodes forming(2);
  forming.say(1, 0, wire::join_answer{wire::join_verdict::elsewhere, "is it a copy?"});
  REQUIRE(forming.logged(0, "is it a copy?") == 1);
}

TEST_CASE("an earlier start of a member, or another one of the same boot, is a copy") {
  cluster_world w(2);
  w.restart(1);
  REQUIRE(w.run_until_active());
  auto h = w.hello_of(1);
  REQUIRE(h.epoch == boot_epoch(2));
  SECTION("an earlier one") { h.epoch = boot_epoch(1); }
  SECTION("another one") { ++h.start; }
  const auto a = w.greet(0, h);
  REQUIRE(a->verdict == wire::join_verdict::outdated);
  REQUIRE_THAT(a->reason, Contains("a later start of it is known"));
  REQUIRE(w.counted(0, "hello.outdated") == 1);
}

TEST_CASE("an earlier start is known by gossip, or by its session, where its hello never came") {
  cluster_world w(3);
  const auto old = w.hello_of(2);
  w.restart(2);
  REQUIRE(w.run_until_active());
  w.kill(2);
  w.kill(0);
  w.kill(1);
  w.restart(0);
  SECTION("by its session") {
    const auto a = w.greet(0, old);
    REQUIRE(a->verdict == wire::join_verdict::outdated);
    REQUIRE_THAT(a->reason, Contains("a later start of it had a session"));
  }
  SECTION("by gossip") {
    swim::datagram d;
    d.of = {"default", w.cluster(), 0};
    d.from = w.id(1);
    d.epoch = boot_epoch(1);
    d.body = swim::gossip_only{};
    d.statements = {statement_of(w.id(2), old.advertise, 2, swim::member_state::unreachable, w.id(1))};
    w.tell(0, engine::datagram_in{{"10.0.0.2", 7400}, wire::encode(d)});
    w.settle();
    const auto a = w.greet(0, old);
    REQUIRE(a->verdict == wire::join_verdict::outdated);
  }
}

TEST_CASE("a log that ends before what its owner acknowledged is a copy, said at its first hello") {
  cluster_world w(3);
  const auto leader = *w.leader();
  const auto i = (leader + 1) % 3;
  auto h = w.hello_of(i);
  w.kill(i);
  ++h.epoch;
  ++h.start;
  h.log_end = log_index(1);
  auto a = w.greet(leader, h);
  REQUIRE(a->verdict == wire::join_verdict::outdated);
  REQUIRE_THAT(a->reason, Contains("its log ends at 1, it had acknowledged"));
  // A node that has all of it is taken.
  ++h.epoch;
  h.log_end = w[leader].look().raft->commit();
  REQUIRE(!w.greet(leader, h));
}

TEST_CASE("the only voter gives the other members time to say that its disk is a copy") {
  engine::options o;
  o.voters.max_voters = 1;
  o.voters.standbys = 0;
  active_nodes w(2, o);
  const auto voter = *w.leader();
  REQUIRE(w.run_until([&] { return w[voter].look().raft->conf().members().size() == 1; }));
  w.kill(1 - voter);
  w.restart(voter);
  leads_after_a_while(w, voter, o.raft);
}

TEST_CASE("the only member gives time to whom its seeds name, who may have joined after its disk was copied") {
  active_nodes w(1);
  const address self{"10.0.0.1", 7400};
  w.move(0, self, {self, {"10.0.0.2", 7400}});
  w.restart(0);
  leads_after_a_while(w, 0, {});
}

TEST_CASE("the only member leads at once") {
  active_nodes w(1);
  w.restart(0);
  REQUIRE(w[0].look().raft->current_role() == raft::role::leader);
}

TEST_CASE("a node that is told that its disk is a copy ends, and says so at its next start") {
  cluster_world w(2);
  w.say(1, 0, wire::join_answer{wire::join_verdict::outdated, "an older copy"});
  REQUIRE(w.end_of(0));
  REQUIRE(!w.end_of(0)->exit_ok);
  REQUIRE_THAT(w.end_of(0)->reason, Contains("older copy"));
  w.restart(0);
  REQUIRE_THAT(w.end_of(0)->reason, Contains("--rejoin"));
}

TEST_CASE("a node that is told that it ends, and can't write that down, stops all the same") {
  cluster_world w(2);
  w.hold_disk(0);
  w.say(1, 0, wire::join_answer{wire::join_verdict::removed, "removed"});
  REQUIRE(!w.end_of(0));
  w.tell(0, engine::disk_failed{"fsync: input/output error"});
  w.settle();
  REQUIRE(w.end_of(0));
  REQUIRE(!w.end_of(0)->exit_ok);
  REQUIRE_THAT(w.end_of(0)->reason, Contains("input/output error"));
}

TEST_CASE("a vote leaves only when it is written, and never once the disk failed or is known to be a copy (rostam#94)",
          "[lesson]") {
  cluster_world w(3);
  const auto leader = *w.leader();
  const auto i = (leader + 1) % 3, candidate = (leader + 2) % 3;
  std::size_t votes = 0;
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    const auto* v = r ? std::get_if<raft::vote_response>(&r->body) : nullptr;
    votes += from == i && v && v->granted;
    return false;
  };
  const auto& raft = *w[i].look().raft;
  const auto next = raft.current_term().next();
  w.hold_disk(i);
  w.say(candidate, i,
        raft::message{w.id(candidate), w.id(i), next,
                      raft::vote_request{false, true, raft.last_index(), *raft.term_at(raft.last_index())}});
  REQUIRE(raft.current_term() == next);
  REQUIRE(votes == 0);
  SECTION("written") {
    w.release_disk(i);
    REQUIRE(votes == 1);
  }
  SECTION("failed") {
    w.tell(i, engine::disk_failed{"I/O error"});
    w.release_disk(i);
    REQUIRE(w.end_of(i));
    REQUIRE(votes == 0);
  }
  SECTION("a copy") {
    w.say(leader, i, wire::join_answer{wire::join_verdict::outdated, "an older copy"});
    w.release_disk(i);
    REQUIRE(w.end_of(i));
    REQUIRE(votes == 0);
  }
}

// ---- joining -------------------------------------------------------------------------------------------------------

TEST_CASE("a new node is entered, whomever it asks, and once only") {
  cluster_world w(3);
  const auto d = w.add("d");
  REQUIRE(w.run_until_active());
  REQUIRE(w[0].look().machine->members().size() == 4);
  // One that is known already with that name and address is in.
  const wire::join_request again{w.id(d), "d", {"10.0.0.4", 7400}, boot_epoch(1)};
  w.say(d, *w.leader(), again);
  w.run(1s);
  REQUIRE(w[0].look().machine->globals().view == 2);
}

TEST_CASE("a name belongs to one node: another one with it is refused, whomever it asks") {
  cluster_world w(3);
  const auto leader = *w.leader(), follower = (leader + 1) % 3;
  const node_id id{9, 9};
  const wire::join_request r{id, "b", far, boot_epoch(1)};
  const auto s = w.stranger(leader, id, "x", far);
  const auto a = w.ask_in(s, r);
  REQUIRE(a.verdict == wire::join_verdict::refused);
  REQUIRE_THAT(a.reason, Contains("the name 'b' is taken by node") && Contains("choose another --name"));
  // A follower passes it on, and the leader answers.
  const auto before = w.at(s).heard.size();
  w.hear(w.stranger(follower, id, "x", far), {w.cluster(), meta_group, r});
  REQUIRE(w.at(s).heard.size() == before + 1);
  REQUIRE(std::get<wire::join_answer>(w.at(s).heard.back()).verdict == wire::join_verdict::refused);

  const auto d = w.add("b");
  REQUIRE(w.run_until([&] { return w.end_of(d).has_value(); }));
  REQUIRE_THAT(w.end_of(d)->reason, Contains("join refused: the name 'b' is taken"));
}

TEST_CASE("a node that is refused ends, a member does not") {
  cluster_world w(3);
  const auto d = w.add("d");
  w.lose = [&](std::size_t, std::size_t to, const wire::peer_message& m) {
    return to == d && std::holds_alternative<raft::message>(m);
  };
  REQUIRE(w.run_until([&] { return w[d].look().raft != nullptr; }));
  w.say(0, d, wire::join_answer{wire::join_verdict::refused, "no room"});
  REQUIRE(w.end_of(d)->reason == "join refused: no room");
  w.say(0, 1, wire::join_answer{wire::join_verdict::refused, "no room"});
  REQUIRE(!w.end_of(1));
}

TEST_CASE("a node that has to wait says why, once") {
  cluster_world w(2);
  for (int i = 0; i < 3; ++i) w.say(1, 0, wire::join_answer{wire::join_verdict::later, "not just now"});
  REQUIRE(w.logged(0, "joining waits: not just now") == 1);
}

TEST_CASE("a node on an empty disk takes the place of the one that was there, when that is certainly gone") {
  cluster_world w(3);
  const auto i = (*w.leader() + 1) % 3;
  const auto old = w.id(i);
  const auto name = nodes::name(i);
  const address place{"10.0.0." + std::to_string(i + 1), 7400};
  const node_id id{9, 9};
  w.kill(i);
  const auto s = w.stranger(*w.leader(), id, name + "2", place);
  const wire::join_request r{id, name, place, boot_epoch(1)};
  auto a = w.ask_in(s, r);
  REQUIRE(a.verdict == wire::join_verdict::later);
  REQUIRE_THAT(a.reason, Contains("is not yet known to be gone"));
  const auto* members = w[*w.leader()].look().members;
  REQUIRE(w.run_until([&] { return !swim::is_living(members->find(old)->state); }));
  a = w.ask_in(s, r);
  REQUIRE(a.verdict == wire::join_verdict::later);
  REQUIRE_THAT(a.reason, Contains("has not expired yet"));
  // From another place it is another node with a taken name.
  a = w.ask_in(s, {id, name, far, boot_epoch(1)});
  REQUIRE_THAT(a.reason, Contains("which is unreachable now"));
  const auto* machine = w[*w.leader()].look().machine;
  REQUIRE(w.run_until([&] { return machine->sessions().size() == 2; }));
  a = w.ask_in(s, r);
  REQUIRE(a.verdict == wire::join_verdict::accepted);
  REQUIRE(w.run_until([&] { return machine->member(id) && machine->member(old)->removed; }));
}

TEST_CASE("whoever was removed is told so, when no majority needs it any more") {
  cluster_world w(3);
  const auto i = (*w.leader() + 1) % 3;
  const auto id = w.id(i);
  const auto request = wire::join_request{id, "x", {"10.0.0." + std::to_string(i + 1), 7400}, boot_epoch(1)};
  const auto left = w.call(i, wire::leave_cluster{});
  REQUIRE(w.run_until([&] { return w.end_of(i).has_value(); }));
  REQUIRE(is<wire::done>(w.answers(left).list.front()));
  REQUIRE(w.end_of(i)->exit_ok);
  const auto s = w.stranger(*w.leader(), id, "x", request.at);
  REQUIRE(w.ask_in(s, request).verdict == wire::join_verdict::removed);
}

TEST_CASE("who is a member and who votes comes from the log alone, and stays so over restarts (etcd#19557, etcd#20967)",
          "[lesson]") {
  engine::options o;
  o.compact_after_entries = 20;
  o.keep_entries = 4;
  cluster_world w(5, o);
  const auto out = (*w.leader() + 1) % 5;
  const auto gone = w.id(out);
  w.call(out, wire::leave_cluster{});
  REQUIRE(w.run_until([&] { return w.end_of(out).has_value(); }));
  const auto conf = [&](std::size_t i) { return w[i].look().raft->conf(); };
  REQUIRE(w.run_until([&] { return conf(*w.leader()).voters.size() == 3 && !conf(*w.leader()).joint(); }));
  const bool compacted = GENERATE(false, true);
  const auto leader = *w.leader();
  for (int n = 0; compacted && n < 60; ++n)
    REQUIRE(is<wire::appended>(w.ask(leader, wire::append_journal{"orders", "", {{"t", "m"}}})));
  REQUIRE((w[leader].look().raft->first_index() > log_index(20)) == compacted);
  const auto before = conf(leader);
  REQUIRE(before.learners.size() == 1);
  for (int round = 0; round < 2; ++round) {
    for (std::size_t i = 0; i < 5; ++i) w.kill(i);
    for (std::size_t i = 0; i < 5; ++i) w.restart(i);
    REQUIRE(w.run_until_active());
    REQUIRE(!w.end_of(out)->exit_ok);  // its identity is over
    w.run(2s);
    for (std::size_t i = 0; i < 5; ++i) {
      if (i == out) continue;
      REQUIRE(conf(i) == before);
      REQUIRE(w[i].look().machine->member(gone)->removed);
      REQUIRE(w[i].look().machine->members().size() == 5);
    }
  }
}

TEST_CASE("without a leader nobody is let in yet") {
  cluster_world w(3);
  const auto leader = *w.leader();
  const auto i = (leader + 1) % 3;
  w.cut(i);
  REQUIRE(w.run_until([&] { return !w[i].look().raft->leader(); }));
  const node_id id{9, 9};
  const auto a = w.ask_in(w.stranger(i, id, "x", far), {id, "x", far, boot_epoch(1)});
  REQUIRE(a.verdict == wire::join_verdict::later);
  REQUIRE_THAT(a.reason, Contains("there is no leader now"));
}

TEST_CASE("a member that moved or changed its name is entered anew") {
  cluster_world w(3);
  const auto i = (*w.leader() + 1) % 3;
  w.say(i, *w.leader(), wire::join_request{w.id(i), "renamed", {"10.0.0." + std::to_string(i + 1), 7400}, w.boot(i)});
  w.run(100ms);
  REQUIRE(w[*w.leader()].look().machine->member(w.id(i))->name == "renamed");
  // It asks to be what it is.
  REQUIRE(w.run_until([&] { return w[*w.leader()].look().machine->member(w.id(i))->name != "renamed"; }));
}

TEST_CASE("an observer whose seeds are all gone finds the others as the log names them") {
  engine::options o;
  o.voters.max_voters = 3;
  o.voters.standbys = 0;
  active_nodes w(3, o);
  const auto i = w.add("d"), other = w.add("e");
  REQUIRE(w.run_until_active());
  for (const auto k : {i, other}) {
    w.move(k, {fmt::format("10.0.0.{}", k + 1), 7400}, {far});
    w.restart(k);
  }
  REQUIRE(w.run_until_active());
  REQUIRE(w.run_until([&] { return w[i].look().members->alive_count() == 5; }, 10s));
}

TEST_CASE("a seed that is gone is dialled every second, also in a large cluster, by those without a vote") {
  engine::options o;
  o.voters.max_voters = 1;
  o.voters.standbys = 0;
  cluster_world w(3, o);
  const auto leader = *w.leader();
  const auto seed = (leader + 1) % 3, other = (leader + 2) % 3;
  REQUIRE(w.run_until([&] { return w[leader].look().raft->conf().voters.size() == 1; }));
  swim::push_pull p;
  p.from = w.id(leader);
  for (std::uint64_t k = 0; k < 40; ++k) {
    p.statements.push_back(
        statement_of({7, k + 1}, {"10.7.7.7", static_cast<std::uint16_t>(k + 1)}, 1, swim::member_state::alive));
    p.statements.back().info.name = fmt::format("x{}", k);
  }
  w.say(leader, other, p);
  const auto state = [&] { return w[other].look().members->find(w.id(seed))->state; };
  const address at = w[seed].look().members->self().at;
  w.cut(seed);
  REQUIRE(w.run_until([&] { return state() == swim::member_state::unreachable; }));
  std::size_t dials = 0;
  w.dialled = [&](std::size_t from, const address& to) { dials += from == other && to == at ? 1 : 0; };
  w.run(20s);
  REQUIRE(w[other].look().members->members().size() > 40);
  REQUIRE(dials >= 15);
  w.cut(seed, false);
  REQUIRE(w.run_until([&] { return state() == swim::member_state::alive; }, 2s));
}

TEST_CASE("all nodes restart at new addresses: the cluster is the same, and learns them by identity") {
  cluster_world w(3);
  const auto cluster = w.cluster();
  const node_id ids[] = {w.id(0), w.id(1), w.id(2)};
  const bool new_list = GENERATE(true, false);
  std::vector<address> places, seeds;
  for (std::size_t i = 0; i < 3; ++i) {
    w.kill(i);
    places.push_back({"10.7.7." + std::to_string(i + 1), 7400});
  }
  // With the list of before, one of it has to be where it was.
  if (!new_list) places[0] = {"10.0.0.1", 7400};
  if (new_list) seeds = places;
  for (std::size_t i = 0; i < 3; ++i) w.move(i, places[i], seeds);
  for (std::size_t i = 0; i < 3; ++i) w.restart(i);
  REQUIRE(w.run_until_active());
  REQUIRE(w.cluster() == cluster);
  REQUIRE(w.run_until([&] {
    for (std::size_t i = 0; i < 3; ++i)
      if (w[0].look().machine->member(ids[i])->at != places[i]) return false;
    return true;
  }));
  for (std::size_t i = 0; i < 3; ++i) {
    REQUIRE(w.id(i) == ids[i]);
    REQUIRE(w[i].look().genesis->stats().get("ballots started") == 0);
    REQUIRE(w[(i + 1) % 3].look().members->find(ids[i])->info.at == places[i]);
    REQUIRE(w[i].look().members->members().size() == 3);
  }
}
