// Formation by an operator's word: a seed that never starts, and an accepted record whose nodes are gone.
#include <algorithm>

#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct forming_world : nodes {
  using nodes::nodes;
  static address at(std::size_t i) { return {"10.0.0." + std::to_string(i + 1), 7400}; }
  bool forming(std::size_t i, std::string_view warning) {
    const auto s = expect<wire::status_info>(ask(i, wire::get_status{}, 10ms));
    INFO(s.state << (s.warnings.empty() ? "" : ": " + s.warnings.front()));
    CHECK(s.state == "forming");
    return std::ranges::any_of(s.warnings, [&](const auto& w) { return w.find(warning) != std::string::npos; });
  }
  cluster_id cluster(std::size_t i) const { return (*this)[i].look().genesis->state().id; }
  std::optional<cluster_id> accepted(std::size_t i) const {
    const auto& r = (*this)[i].look().genesis->state().accepted;
    return r ? std::optional(r->id()) : std::nullopt;
  }
};

}  // namespace

TEST_CASE("a cluster is formed without a seed that never starts, at the word given to one of the others") {
  for (const std::size_t asked : {0u, 1u}) {
    forming_world w(3);
    w.kill(2);
    w.run(20s);
    for (const std::size_t i : {0u, 1u}) REQUIRE(w.forming(i, "waiting for 10.0.0.3:7400"));
    auto refused = w.ask(asked, wire::init_without{{{"10.0.0.9", 7400}}});
    REQUIRE(refusal(refused) == errc::not_found);
    REQUIRE_THAT(reason(refused), Contains("the list is 10.0.0.1:7400, 10.0.0.2:7400, 10.0.0.3:7400"));
    refused = w.ask(asked, wire::init_without{{w.at(1 - asked)}});
    REQUIRE(refusal(refused) == errc::bad_argument);
    REQUIRE_THAT(reason(refused), Contains("answers"));
    w.run(20s);
    REQUIRE(w.forming(asked, "waiting for 10.0.0.3:7400"));

    REQUIRE(is<wire::done>(w.ask(asked, wire::init_without{{w.at(2)}})));
    REQUIRE(w.run_until_active());
    REQUIRE(w.cluster(0) == w.cluster(1));
    REQUIRE_FALSE(w[asked].look().genesis->state().committed->seeds[2].id);
    for (const std::size_t i : {0u, 1u}) {
      REQUIRE(refusal(w.ask(i, wire::init_without{{w.at(2)}})) == errc::exists);
      REQUIRE(refusal(w.ask(i, wire::discard_record{w.cluster(i)})) == errc::exists);
    }
    // One that comes after all finds the cluster.
    w.restart(2);
    REQUIRE(w.run_until_active());
    REQUIRE(w.cluster(2) == w.cluster(0));
  }
}

TEST_CASE("a node with another seed list is kept apart before there is a cluster, and both lists are told") {
  forming_world w(3);
  w.wipe(2);  // nobody remembers it
  w.move(2, w.at(2), {w.at(0), w.at(2)});
  w.restart(2);
  w.run(20s);
  const auto members = [&](std::size_t i) { return w[i].look().members; };
  for (const std::size_t i : {0u, 1u}) {
    REQUIRE(w.forming(i,
                      "seed lists differ: here [10.0.0.1:7400, 10.0.0.2:7400, 10.0.0.3:7400], at 10.0.0.3:7400 "
                      "[10.0.0.1:7400, 10.0.0.3:7400]: make them equal"));
    REQUIRE(members(i)->find(w.id(2)) == nullptr);
    REQUIRE(members(i)->find(w.id(1 - i)) != nullptr);
    REQUIRE(w.counted(i, "hello.other_scope") > 0);
  }
  REQUIRE(w.forming(2,
                    "seed lists differ: here [10.0.0.1:7400, 10.0.0.3:7400], at 10.0.0.1:7400 [10.0.0.1:7400, "
                    "10.0.0.2:7400, 10.0.0.3:7400]: make them equal"));
  REQUIRE(members(2)->members().size() == 1);

  // What it says all the same is counted and ignored.
  swim::push_pull p;
  p.from = w.id(2);
  p.statements.push_back({members(2)->self(), members(2)->self_incarnation(), swim::member_state::alive, {}});
  w.say(2, 0, p);
  w.say(2, 0, wire::user_message{"channel", "text", boot_epoch(1), 1});
  REQUIRE(w.counted(0, "frame.other_scope") == 2);
  swim::datagram d;
  d.of = {"default", {}, swim::genesis::digest_of({w.at(0), w.at(2)})};
  d.from = w.id(2);
  d.epoch = boot_epoch(1);
  d.body = swim::gossip_only{};
  d.statements = p.statements;
  w.tell(0, engine::datagram_in{w.at(2), wire::encode(d)});
  w.settle();
  REQUIRE(members(0)->stats().get("foreign_cluster") == 1);
  REQUIRE(members(0)->find(w.id(2)) == nullptr);

  w.move(2, w.at(2));
  w.restart(2);
  REQUIRE(w.run_until_active());
  for (const std::size_t i : {0u, 1u}) REQUIRE(members(i)->find(w.id(2))->state == swim::member_state::alive);
}

TEST_CASE("a newcomer with a seed list of its own is met as soon as it has found the cluster, and not before") {
  forming_world w(3);
  REQUIRE(w.run_until_active());
  const auto i = w.add("d");
  w.wipe(i);
  w.move(i, w.at(i), {w.at(1)});
  // It is apart as long as its disk has not written the id.
  w.hold_disk(i);
  w.restart(i);
  w.run(3s);
  REQUIRE(w[i].look().members->members().size() == 1);
  for (std::size_t k = 0; k < 3; ++k) REQUIRE(w[k].look().members->find(w.id(i)) == nullptr);
  w.release_disk(i);
  REQUIRE(w.run_until_active());
  for (std::size_t k = 0; k <= i; ++k) {
    REQUIRE(w[k].look().members->alive_count() == 4);
    if (k != i) REQUIRE(w[k].look().members->stats().get("foreign_cluster") == 0);  // it asked nobody
  }
}

TEST_CASE("no cluster is formed without a majority of its seeds") {
  forming_world w(5);
  for (const std::size_t i : {2u, 3u, 4u}) w.kill(i);
  w.run(5s);
  const auto refused = w.ask(0, wire::init_without{{w.at(2), w.at(3), w.at(4)}});
  REQUIRE(refusal(refused) == errc::limit);
  REQUIRE_THAT(reason(refused), Contains("at most 2 of 5 seeds"));
  REQUIRE(is<wire::done>(w.ask(0, wire::init_without{{w.at(2), w.at(3)}})));
  w.run(30s);
  REQUIRE(w.forming(0, "seeds 2 of 3 answer, waiting for 10.0.0.5:7400"));
}

TEST_CASE("an accepted record whose nodes are gone is told, and erased at the operator's word") {
  forming_world w(3);
  std::size_t accepts = 0;
  w.lose = [&](std::size_t, std::size_t, const wire::peer_message& m) {
    const auto* g = std::get_if<swim::genesis_message>(&m);
    if (g == nullptr) return false;
    if (std::holds_alternative<swim::genesis_accept>(*g)) return ++accepts != 1;
    return std::holds_alternative<swim::genesis_accepted>(*g);
  };
  const auto holders = [&] {
    std::vector<std::size_t> r;
    for (std::size_t i = 0; i < 3; ++i)
      if (w.accepted(i)) r.push_back(i);
    return r;
  };
  REQUIRE(w.run_until([&] { return holders().size() == 2; }));
  const auto survivor = holders().back();
  const auto record = *w.accepted(survivor);
  const std::size_t gone[] = {(survivor + 1) % 3, (survivor + 2) % 3};
  for (const auto i : gone) w.wipe(i);
  w.lose = nullptr;
  w.run(1s);
  REQUIRE(w.forming(survivor, "the accepted record " + record.str() + " is held here"));
  for (const auto i : gone) w.restart(i);
  w.run(60s);
  for (const auto i : gone) REQUIRE(w.forming(i, ""));
  REQUIRE(w.forming(survivor, "cluster init --discard " + record.str()));

  auto refused = w.ask(survivor, wire::discard_record{{1, 2}});
  REQUIRE(refusal(refused) == errc::not_found);
  REQUIRE_THAT(reason(refused), Contains("the one held is " + record.str()));
  refused = w.ask(gone[0], wire::discard_record{record});
  REQUIRE(refusal(refused) == errc::not_found);
  REQUIRE_THAT(reason(refused), Contains("none is held"));

  w.hold_disk(survivor);
  const auto call = w.call(survivor, wire::discard_record{record});
  w.run(100ms);
  REQUIRE(w.answers(call).list.empty());  // not before it is durable
  w.release_disk(survivor);
  REQUIRE(w.answers(call).over);
  REQUIRE(is<wire::done>(w.answers(call).list.front()));
  REQUIRE(w.run_until_active());
  REQUIRE(w.cluster(0) == w.cluster(1));
  REQUIRE(w.cluster(0) == w.cluster(2));
  REQUIRE(w.cluster(0) != record);
}
