// A key-value machine on the core is linearizable under faults, and no longer so when a bug is planted. See kv.hpp.
#include "kv.hpp"

#include "catch.hpp"

using namespace coterie;
using namespace coterie::raft;
using namespace coterie::raft::test;
using linearizability::verdict;

namespace {
kv_result linearizable(std::uint64_t seed, std::chrono::milliseconds read_lease = {}) {
  auto r = kv(seed, {}, read_lease);
  const auto report = judge(r.history);
  CAPTURE(seed);
  INFO((report.failures.empty() ? "" : report.failures[0].text()));
  REQUIRE(report.what == verdict::linearizable);
  REQUIRE(r.last_reads > 0);
  return r;
}
}  // namespace

TEST_CASE("a key-value machine is linearizable in a world of faults (Jepsen: Redis-Raft)", "[lesson]") {
  kv_result all;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    const auto r = linearizable(seed);
    all.written += r.written;
    all.swapped += r.swapped;
    all.mismatched += r.mismatched;
    all.unsure += r.unsure;
    all.read += r.read;
  }
  // It must have been a world, not a standstill.
  CHECK(all.written > 400 * 20);
  CHECK(all.swapped > 400 * 2);
  CHECK(all.mismatched > 400 * 10);
  CHECK(all.unsure > 400 * 5);
  CHECK(all.read > 400 * 40);
}

TEST_CASE("a key-value machine that is read by leases is linearizable, the clocks being within their bound") {
  kv_result all;
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    const auto r = linearizable(seed, 900ms);
    all.written += r.written;
    all.read += r.read;
  }
  CHECK(all.written > 400 * 10);
  CHECK(all.read > 400 * 30);
}

TEST_CASE("a leader that does not wait for its predecessor's lease is found out") {
  options o;
  o.bug = planted_bug::early_commit;
  std::uint64_t seed = 1;
  while (seed <= 500 && judge(kv(seed, o, 900ms).history).what != verdict::not_linearizable) ++seed;
  CHECK(seed <= 500);
}

// commit_old_term is not among them: figure 8 of the paper needs four elections in one order, which these seeds don't
// draw; bug_test.cpp makes it by hand.
TEST_CASE("planted bugs make the key-value machine's history wrong (redpanda: why fsync)", "[lesson]") {
  using bug = planted_bug;
  for (const auto b :
       {bug::double_vote, bug::early_ack, bug::skip_read_confirmation, bug::lost_fsync, bug::unordered_apply}) {
    options o;
    o.bug = b;
    std::uint64_t seed = 1;
    while (seed <= 500 && judge(kv(seed, o).history).what != verdict::not_linearizable) ++seed;
    INFO(planted_bug_names[static_cast<std::size_t>(b)]);
    CHECK(seed <= 500);
  }
}
