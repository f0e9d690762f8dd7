// Genesis under everything at once, many times, and how long it takes. COTERIE_GENESIS_BOOTS sets the number of boots,
// COTERIE_GENESIS_FIRST the first seed.
#include <cstdlib>

#include "catch.hpp"
#include "genesis_world.hpp"

using namespace genesis_test;

namespace {

std::uint64_t setting(const char* name, std::uint64_t usual) {
  const char* text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 10) : usual;
}

/// What one boot came to, for the sum at the end: a test in which nothing happens proves nothing.
struct outcome {
  std::string violation;
  bool formed = false, chosen_early = false, wiped = false, forked = false, stuck = false;
  std::uint64_t events = 0;
};

/// From the defaults on a quick network to duels of many ballots on a slow one.
world_options draw_options(rng& r) {
  world_options o;
  o.seeds = 3 + r.below(3);
  o.others = r.below(2);
  constexpr duration units[] = {1s, 200ms, 20ms, 20ms};
  const duration unit = units[r.below(4)];
  const auto either = [&](duration a, duration b) { return r.chance(0.5) ? a : b; };
  o.genesis.redial = unit;
  o.genesis.stable_margin = either(3 * unit, unit + 1ms);
  o.genesis.rank_delay = either(unit, unit / 10);
  o.genesis.ballot_timeout = either(unit, 3 * unit);
  o.genesis.settle = unit / 3;
  o.latency_max = either(unit / 100, either(unit / 4, unit));
  o.latency_min = o.latency_max / 10;
  o.sync_max = either(unit / 100, unit / 4);
  o.sync_min = o.sync_max / 10;
  o.notice_max = either(0s, unit);
  o.restart_max = either(unit / 10 + 1ms, 2 * unit);
  o.lose = r.chance(0.5) ? 0 : r.chance(0.5) ? 0.05 : 0.25;
  o.repeat = r.chance(0.5) ? 0 : 0.2;
  o.outlive = r.chance(0.5);
  o.crash_at_persist = r.chance(0.5) ? 0 : r.chance(0.5) ? 0.05 : 0.2;
  return o;
}

/// One fault: a crash, a wipe, or a partition, and its end.
void harm(world& w, rng& r, bool may_wipe) {
  const auto i = static_cast<std::size_t>(r.below(w.machines.size()));
  const duration pause = r.between(0s, 3 * w.opt.genesis.redial / 2);
  switch (r.below(may_wipe ? 6 : 3)) {
    case 0:
      w.crash(i);
      w.start_at(w.now + pause, i);
      break;
    case 1:
      w.heal();
      break;
    case 2: {
      if (r.chance(0.7)) w.later(pause, [&w] { w.heal(); });
      std::vector<std::size_t> away;
      for (std::size_t k = 0; k < w.machines.size(); ++k) {
        if (r.chance(0.4)) away.push_back(k);
      }
      w.partition(away);
      break;
    }
    default: {
      // one slot, or many at once: the machines of one rack
      const bool many = r.chance(0.3);
      for (std::size_t k = 0; k < w.opt.seeds; ++k) {
        if (k != i && !(many && r.chance(0.6))) continue;
        w.wipe(k);
        w.start_at(w.now + pause, k);
      }
    }
  }
}

/// Stuck is right: an accepted record that too few of the present ids may accept.
bool rightly_stuck(const world& w) {
  for (const auto& m : w.machines) {
    if (!m.disk.accepted || m.disk.id) continue;
    std::size_t listed = 0;
    for (std::size_t k = 0; k < w.opt.seeds; ++k) listed += m.disk.accepted->lists(w.machines[k].id);
    if (listed < w.majority()) return true;
  }
  return false;
}

outcome boot(std::uint64_t seed) {
  rng r(seed);
  world w(r.next(), draw_options(r));
  const duration margin = w.opt.genesis.stable_margin;
  for (std::size_t i = 0; i < w.machines.size(); ++i) w.start_at(w.now + r.between(0s, margin / 4), i);
  const bool may_wipe = r.chance(0.8);
  const auto faults = r.chance(0.5) ? 0 : r.below(6);
  // most faults hit the moments around the first ballots
  std::vector<instant> moments;
  for (std::uint64_t k = 0; k < faults; ++k) moments.push_back(w.now + r.between(margin / 2, 3 * margin));
  std::sort(moments.begin(), moments.end());
  // the others follow a message of the ballots at once
  int aimed = r.chance(0.5) ? 0 : 6;
  w.filter = [&](std::size_t, std::size_t, const genesis_message&) {
    if (aimed > 0 && r.chance(0.06)) {
      --aimed;
      w.later(r.between(0s, 2 * w.opt.latency_max), [&] {
        if (aimed >= 0) harm(w, r, may_wipe);
      });
    }
    return true;
  };
  for (const instant t : moments) {
    w.run_for(t - w.now);
    harm(w, r, may_wipe);
  }
  w.run_for(margin + r.between(0s, 4 * margin));
  aimed = -1;
  outcome out;
  out.chosen_early = !w.chosen.empty();
  // the tail: nothing fails any more
  w.heal();
  w.calm = true;
  for (std::size_t i = 0; i < w.machines.size(); ++i) {
    if (w.machines[i].fatal.empty()) w.start_at(w.now + 2s, i);
  }
  out.formed = w.run_until(40s, [&] { return w.all_formed() || w.ever.size() > 1 || !w.violation.empty(); });
  out.forked = w.ever.size() > 1;
  out.wiped = !w.wiped.empty();
  out.violation = w.violation;
  if (!out.formed) {
    out.stuck = rightly_stuck(w);
    if (!out.stuck) {
      out.violation = "not formed in a fault-free tail:";
      for (std::size_t i = 0; i < w.machines.size(); ++i) out.violation += "\n  " + w.situation(i);
    }
  }
  out.events = w.events;
  return out;
}

}  // namespace

TEST_CASE("genesis: no boot makes two clusters, and calm ones form", "[genesis]") {
  const std::uint64_t boots = setting("COTERIE_GENESIS_BOOTS", 20'000);
  const std::uint64_t first = setting("COTERIE_GENESIS_FIRST", 1);
  std::uint64_t formed = 0, early = 0, wiped = 0, forked = 0, stuck = 0, events = 0;
  for (std::uint64_t seed = first; seed < first + boots; ++seed) {
    const outcome o = boot(seed);
    if (!o.violation.empty()) FAIL("seed " << seed << ": " << o.violation);
    formed += o.formed && !o.forked;
    early += o.chosen_early;
    wiped += o.wiped;
    forked += o.forked;
    stuck += o.stuck;
    events += o.events;
  }
  WARN(boots << " boots: " << formed << " formed, " << early << " chosen among faults, " << wiped << " with wipes, "
             << forked << " forked after all holders were wiped, " << stuck << " rightly stuck, " << events
             << " events");
  if (boots >= 1000) {
    CHECK(formed > boots * 8 / 10);
    CHECK(early > boots / 4);
    CHECK(wiped > boots / 4);
    CHECK(stuck > 0);
  }
}

TEST_CASE("genesis: a boot is a function of its seed", "[genesis]") {
  for (std::uint64_t seed = 1; seed < 50; ++seed) CHECK(boot(seed).events == boot(seed).events);
}

TEST_CASE("genesis: ready at most 5 s after the last seed listens", "[genesis]") {
  std::vector<duration> times;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    rng r(seed);
    world_options o;
    o.seeds = 3 + 2 * r.below(3);
    world w(r.next(), o);
    instant last{};
    for (std::size_t i = 0; i < o.seeds; ++i) {
      const instant t = w.now + r.between(0s, 10s);
      w.start_at(t, i);
      last = std::max(last, t);
    }
    REQUIRE(w.run_until(60s, [&] { return w.all_formed(); }));
    REQUIRE(w.violation.empty());
    REQUIRE(w.ever.size() == 1);
    times.push_back(w.now - last);
  }
  std::sort(times.begin(), times.end());
  const auto ms = [](duration d) { return duration_cast<std::chrono::milliseconds>(d).count(); };
  WARN("time to form: p50 " << ms(times[500]) << " ms, p99 " << ms(times[990]) << " ms, max " << ms(times[999])
                            << " ms");
  CHECK(times[990] <= 5s);
}

TEST_CASE("genesis: SIGKILL around every write", "[genesis]") {
  for (const std::size_t seeds : {3u, 4u, 5u}) {
    world_options o;
    o.seeds = seeds;
    std::uint64_t writes = 0;
    {
      world calm(seeds, o);
      calm.start_all();
      REQUIRE(calm.run_until(20s, [&] { return calm.all_formed(); }));
      writes = calm.persists;
    }
    REQUIRE(writes >= 2 * seeds);
    const auto run = [&](std::map<std::uint64_t, crash_point> plan) {
      world w(seeds, o);
      w.crash_plan = std::move(plan);
      w.start_all();
      const bool ok = w.run_until(60s, [&] { return w.all_formed(); });
      INFO(w.situation(0) << "; " << w.situation(1) << "; " << w.situation(2));
      REQUIRE(w.violation == "");
      REQUIRE(ok);
      REQUIRE(w.ever.size() == 1);
    };
    // every pair of points covers every single one, too
    for (std::uint64_t a = 0; a < writes * 3; ++a) {
      for (std::uint64_t b = a; b < (writes + 4) * 3; b += seeds == 3 ? 1 : 7) {
        run({{a / 3, static_cast<crash_point>(a % 3)}, {b / 3, static_cast<crash_point>(b % 3)}});
      }
    }
  }
}
