// Genesis under everything at once, many times, and how long it takes. Many more boots of the same kind are what
// tests/bench/genesis_bulk is for.
#include "catch.hpp"
#include "genesis_boot.hpp"

using namespace genesis_test;

TEST_CASE("genesis: no boot makes two clusters, and calm ones form", "[genesis]") {
  constexpr std::uint64_t boots = 20'000;
  totals sum;
  for (std::uint64_t seed = 1; seed <= boots; ++seed) {
    const outcome o = boot(seed);
    if (!o.violation.empty()) FAIL("seed " << seed << ": " << o.violation);
    sum.add(o);
  }
  WARN(sum.str());
  CHECK(sum.formed > boots * 8 / 10);
  CHECK(sum.chosen_early > boots / 4);
  CHECK(sum.wiped > boots / 4);
  CHECK(sum.competing > boots / 10);
  CHECK(sum.stuck > 0);
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
