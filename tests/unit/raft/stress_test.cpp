// Paper figure 3 under faults. See stress.hpp.
#include "stress.hpp"
#include "catch.hpp"

using namespace coterie;
using namespace coterie::raft::test;

TEST_CASE("figure 3 holds in a world of faults, and the cluster recovers from them") {
  stress_result all;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    const auto r = stress(seed, {});
    CAPTURE(seed);
    REQUIRE(r.violations == std::vector<std::string>{});
    REQUIRE(r.live);
    all.committed += r.committed;
    all.reads += r.reads;
    all.leaders += r.leaders;
    all.configurations += r.configurations;
    all.snapshots += r.snapshots;
  }
  // It must have been a world, not a standstill.
  CHECK(all.committed > 300 * 20);
  CHECK(all.reads > 300 * 20);
  CHECK(all.leaders > 300 * 2);
  CHECK(all.configurations > 300 * 2);
  CHECK(all.snapshots > 100);
}

TEST_CASE("figure 3 and the reads hold with read leases that change, under clocks within their bound") {
  stress_result all;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    const auto r = stress(seed, {}, 900ms);
    CAPTURE(seed);
    REQUIRE(r.violations == std::vector<std::string>{});
    REQUIRE(r.live);
    all.committed += r.committed;
    all.reads += r.reads;
    all.lease_reads += r.lease_reads;
  }
  CHECK(all.committed > 300 * 10);
  CHECK(all.reads > 300 * 20);
  CHECK(all.lease_reads > 300 * 5);
}
