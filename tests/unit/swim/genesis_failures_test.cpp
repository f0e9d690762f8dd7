// The failure table of docs/membership.md 2, row by row, several nodes on a virtual network.
#include "catch.hpp"
#include "genesis_world.hpp"

using namespace genesis_test;

namespace {

world make(std::size_t seeds = 3, std::size_t others = 0, std::uint64_t random = 1) {
  world_options o;
  o.seeds = seeds;
  o.others = others;
  return world(random, o);
}

void require_one_cluster(world& w, duration within) {
  const bool formed = w.run_until(within, [&] { return w.all_formed(); });
  for (std::size_t i = 0; i < w.machines.size(); ++i) UNSCOPED_INFO(i << ": " << w.situation(i));
  REQUIRE(w.violation == "");
  REQUIRE(formed);
  REQUIRE(w.ever.size() == 1);
}

bool says(const world& w, std::size_t i, const std::string& text) {
  return w.situation(i).find(text) != std::string::npos;
}

/// Runs until the proposer's record is accepted on its own disk and on one more; nobody hears of it. Returns the two.
std::pair<std::size_t, std::size_t> accept_silently(world& w) {
  std::size_t accepts = 0;
  w.filter = [&](std::size_t, std::size_t, const genesis_message& m) {
    if (std::holds_alternative<genesis_accept>(m)) return ++accepts == 1;
    return !std::holds_alternative<genesis_accepted>(m);
  };
  const auto holds = [&](std::size_t i) { return w.machines[i].disk.accepted.has_value(); };
  const auto holders = [&] {
    std::vector<std::size_t> h;
    for (std::size_t i = 0; i < w.opt.seeds; ++i) {
      if (holds(i)) h.push_back(i);
    }
    return h;
  };
  REQUIRE(w.run_until(20s, [&] { return holders().size() == 2; }));
  const auto h = holders();
  const bool first_led = w.machines[h[0]].disk.accepted_ballot.proposer == w.machines[h[0]].id;
  return first_led ? std::pair(h[0], h[1]) : std::pair(h[1], h[0]);
}

}  // namespace

TEST_CASE("genesis row: all start, one cluster", "[genesis]") {
  for (const std::size_t n : {2u, 3u, 4u, 5u, 7u}) {
    world w = make(n, 2);
    w.start_all();
    require_one_cluster(w, 10s);
    for (std::size_t i = 0; i < n + 2; ++i) CHECK(w.machines[i].formed->founder == (i < n));
    w.run_for(2s);
    for (std::size_t i = 0; i < n; ++i) CHECK(w.machines[i].process->waiting_for().empty());
  }
}

TEST_CASE("genesis row: a seed never starts", "[genesis]") {
  world w = make();
  w.start(0);
  w.start(1);
  w.run_for(60s);
  CHECK(w.formed_count() == 0);
  CHECK(w.situation(0) == "seeds 2 of 3 answer, waiting for 10.0.0.3:7400");
  CHECK(w.machines[1].process->waiting_for() == std::vector<address>{w.list[2]});
  bool logged = false;
  for (const auto& l : w.machines[0].log) logged |= l.text == "forming: " + w.situation(0);
  CHECK(logged);
  CHECK(w.machines[0].log.size() < 10);  // and not again and again
  w.start(2);
  require_one_cluster(w, 5s);
}

TEST_CASE("genesis row: first boot while split 3/2", "[genesis]") {
  for (std::uint64_t random = 1; random <= 50; ++random) {
    world w = make(5, 0, random);
    w.partition({3, 4});
    w.start_all();
    w.run_for(30s + w.random.between(0s, 2s));
    REQUIRE(w.formed_count() == 0);
    w.heal();
    require_one_cluster(w, 5s);
  }
}

TEST_CASE("genesis row: the proposer dies after an accept was taken", "[genesis]") {
  world w = make();
  w.start_all();
  const auto [proposer, other] = accept_silently(w);
  const cluster_id accepted = w.machines[other].accepted_id;
  w.crash(proposer);
  w.filter = nullptr;
  w.run_for(60s);
  CHECK(w.formed_count() == 0);  // phase 1 needs all ids
  CHECK(w.machines[other].process->waiting_for() == std::vector<address>{w.list[proposer]});
  w.start(proposer);
  require_one_cluster(w, 10s);
  CHECK(w.ever == std::set<cluster_id>{accepted});
}

TEST_CASE("genesis row: a seed is wiped before commit", "[genesis]") {
  for (const bool proposer_wiped : {true, false}) {
    world w = make();
    w.start_all();
    const auto [proposer, other] = accept_silently(w);
    const cluster_id accepted = w.machines[other].accepted_id;
    const std::size_t victim = proposer_wiped ? proposer : other;
    w.crash(proposer);
    w.crash(other);
    w.wipe(victim);
    w.filter = nullptr;
    w.start_all();
    require_one_cluster(w, 60s);
    CHECK(w.ever == std::set<cluster_id>{accepted});
    for (std::size_t i = 0; i < 3; ++i) CHECK(w.machines[i].formed->founder == (i != victim));
  }
}

TEST_CASE("genesis row: a majority of R's seeds wiped before commit, the accepted record survives", "[genesis]") {
  world w = make();
  w.start_all();
  const auto [proposer, other] = accept_silently(w);
  w.crash(proposer);
  w.crash(other);
  std::vector<node_id> dead;
  for (std::size_t i = 0; i < 3; ++i) {
    if (i == other) continue;
    dead.push_back(w.machines[i].id);
    w.wipe(i);
  }
  w.filter = nullptr;
  w.start_all();
  w.run_for(120s);
  CHECK(w.formed_count() == 0);
  for (const node_id id : dead) CHECK(says(w, other, id.str()));
  const cluster_id record = w.machines[other].accepted_id;
  CHECK(says(w, other, "cluster init --discard " + record.str()));
  // the operator asserts that it was never committed
  REQUIRE(w.machines[other].process->discard(record, w.now));
  require_one_cluster(w, 60s);
  CHECK(w.ever.count(record) == 0);
}

TEST_CASE("genesis row: a seed wiped after commit joins and is no founder", "[genesis]") {
  for (std::size_t victim = 0; victim < 3; ++victim) {
    world w = make();
    w.start_all();
    require_one_cluster(w, 10s);
    w.wipe(victim);
    w.start(victim);
    require_one_cluster(w, 2s);
    CHECK_FALSE(w.machines[victim].formed->founder);
  }
}

TEST_CASE("genesis row: a majority wiped after commit, a survivor vetoes", "[genesis]") {
  for (std::size_t survivor = 0; survivor < 5; ++survivor) {
    world w = make(5);
    w.start_all();
    require_one_cluster(w, 10s);
    for (std::size_t i = 0; i < 5; ++i) {
      if (i != survivor) w.wipe(i);
    }
    w.run_for(5s);
    w.start_all();
    w.run_for(60s);
    CHECK(w.violation == "");
    CHECK(w.ever.size() == 1);
    for (std::size_t i = 0; i < 5; ++i) CHECK(w.machines[i].formed->founder == (i == survivor));
  }
}

TEST_CASE("genesis row: all seeds wiped, another member is alive", "[genesis]") {
  world w = make(3, 1);
  w.start_all();
  require_one_cluster(w, 10s);
  const auto wipe_all = [&] {
    for (std::size_t i = 0; i < 3; ++i) w.wipe(i);
    w.run_for(5s);
    for (std::size_t i = 0; i < 3; ++i) w.start(i);
  };
  SECTION("its hello arrives within stable_margin: it vetoes") {
    wipe_all();
    require_one_cluster(w, 5s);
    for (std::size_t i = 0; i < 3; ++i) CHECK_FALSE(w.machines[i].formed->founder);
  }
  SECTION("later: two ids, both are named, no automatic repair") {
    w.partition({3});
    wipe_all();
    REQUIRE(w.run_until(20s, [&] { return w.formed_count() == 4; }));
    CHECK(w.ever.size() == 2);
    CHECK(w.lost.size() == 1);
    w.heal();
    w.run_for(20s);
    for (std::size_t i = 0; i < 4; ++i) {
      bool named = false;
      for (const auto& l : w.machines[i].log) {
        named |= l.level == log_level::warn && l.text.find(w.ever.begin()->str()) != std::string::npos &&
                 l.text.find(w.ever.rbegin()->str()) != std::string::npos;
      }
      CHECK((named || w.machines[i].fatal != ""));
    }
    CHECK(w.machines[3].disk.id != w.machines[0].disk.id);
  }
}

TEST_CASE("genesis row: lists differ", "[genesis]") {
  world w = make();
  w.machines[1].options.seeds.pop_back();
  w.start_all();
  w.run_for(60s);
  CHECK(w.formed_count() == 0);
  const std::string longer = "[10.0.0.1:7400, 10.0.0.2:7400, 10.0.0.3:7400]",
                    shorter = "[10.0.0.1:7400, 10.0.0.2:7400]";
  for (const std::size_t i : {0u, 1u}) {
    CHECK(says(w, i, longer));
    CHECK(says(w, i, shorter));
  }
  w.crash(1);
  w.machines[1].options.seeds = w.list;
  w.start(1);
  require_one_cluster(w, 6s);
}

TEST_CASE("genesis row: a foreign cluster on a reused address", "[genesis]") {
  world w = make();
  w.machines[2].options.cluster = "foreign";
  w.machines[2].options.seeds = {w.list[2]};
  w.machines[2].options.bootstrap_single = true;
  w.start_all();
  w.run_for(30s);
  CHECK(w.formed_count() == 1);
  CHECK(w.machines[0].process->stats().get("hellos refused") > 10);
  CHECK(says(w, 0, "waiting for 10.0.0.3:7400; 10.0.0.3:7400 belongs to cluster 'foreign'"));
}

TEST_CASE("genesis row: two slots are one process", "[genesis]") {
  world w = make();
  w.machines[0].at.push_back(w.list[2]);  // and nobody else listens there
  w.start(0);
  w.start(1);
  w.run_for(30s);
  CHECK(w.formed_count() == 0);
  for (const std::size_t i : {0u, 1u}) {
    CHECK(says(w, i, "refused: seeds 10.0.0.1:7400 and 10.0.0.3:7400 are one process"));
  }
}

TEST_CASE("genesis row: all restart with new addresses", "[genesis]") {
  world w = make();
  w.start_all();
  require_one_cluster(w, 10s);
  const auto writes = w.persists;
  for (std::size_t i = 0; i < 3; ++i) w.crash(i);
  for (std::size_t i = 0; i < 3; ++i) {
    w.machines[i].at = {{"10.9.9." + std::to_string(i), 1}};
    w.machines[i].options.advertise = w.machines[i].at.front();
  }
  SECTION("the list is the old one") {}
  SECTION("the list is new, too") {
    w.list.clear();
    for (auto& m : w.machines) w.list.push_back(m.at.front());
    for (auto& m : w.machines) m.options.seeds = w.list;
  }
  w.start_all();
  w.run_for(60s);
  CHECK(w.formed_count() == 3);
  CHECK(w.persists == writes);  // no genesis
  CHECK(w.ever.size() == 1);
}

TEST_CASE("genesis: a commit reaches the seed that missed it", "[genesis]") {
  world w = make(3, 0, 7);
  w.start_all();
  std::optional<std::size_t> cut;
  w.filter = [&](std::size_t from, std::size_t to, const genesis_message& m) {
    if (std::holds_alternative<genesis_accept>(m) && !cut) {
      cut = to;
      w.later(0s, [&] { w.partition({*cut}); });
    }
    return from != cut && to != cut;
  };
  REQUIRE(w.run_until(20s, [&] { return w.formed_count() == 2; }));
  w.run_for(60s);
  CHECK_FALSE(w.formed(*cut));
  for (std::size_t i = 0; i < 3; ++i) {
    if (i != *cut) CHECK(says(w, i, "not acknowledged yet by " + w.list[*cut].str()));
  }
  w.filter = nullptr;
  w.heal();
  require_one_cluster(w, 2s);
  CHECK(w.machines[*cut].formed->founder);
}

TEST_CASE("genesis: --without on every seed that is left", "[genesis]") {
  world w = make(5);
  for (auto& m : w.machines) m.options.without = {1, 4};
  for (const std::size_t i : {0u, 2u, 3u}) w.start(i);
  REQUIRE(w.run_until(6s, [&] { return w.formed_count() == 3; }));
  CHECK(w.ever.size() == 1);
  CHECK(w.machines[0].formed->record.voters.size() == 3);
  // a new node at the dropped place joins
  w.start(1);
  REQUIRE(w.run_until(3s, [&] { return w.formed(1); }));
  CHECK_FALSE(w.machines[1].formed->founder);
}
