// The lease page: valid for exactly its epoch, until the earlier of both deadlines, and never a mixture of two leases.
#include <atomic>
#include <thread>

#include "runtime/clocks.hpp"
#include "runtime/lease_page.hpp"
#include "support/catch.hpp"

using namespace coterie;
using runtime::lease_page;
using runtime::read_clocks;

TEST_CASE("a page is valid for its epoch only, by both clocks") {
  lease_page p;
  REQUIRE_FALSE(p.valid(session_epoch(0)));
  REQUIRE_FALSE(p.valid(session_epoch(5)));
  const auto now = read_clocks();
  p.set({session_epoch(5), now.steady + 1h, now.boot + 2h});
  REQUIRE(p.epoch() == session_epoch(5));
  REQUIRE(p.valid(session_epoch(5)));
  REQUIRE_FALSE(p.valid(session_epoch(4)));
  REQUIRE(p.left(session_epoch(5)) <= 1h);
  REQUIRE(p.left(session_epoch(5)) > 59min);
  p.set({session_epoch(5), now.steady + 1h, now.boot - 1ms});  // a suspend that only the boot clock saw
  REQUIRE_FALSE(p.valid(session_epoch(5)));
  REQUIRE(p.left(session_epoch(5)) == duration::zero());
  p.set({});
  REQUIRE_FALSE(p.valid(session_epoch(5)));
}

TEST_CASE("a reader never sees half of a lease") {
  lease_page p;
  const auto now = read_clocks();
  // Of epoch n both deadlines are n hours away, so a mixture has the wrong time left.
  const auto set = [&](std::uint64_t n) { p.set({session_epoch(n), now.steady + n * 1h, now.boot + n * 1h}); };
  set(1);
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (std::uint64_t n = 1; !stop; n = n == 1 ? 9 : 1) set(n);
  });
  bool mixed = false;
  for (int i = 0; i < 200'000; ++i)
    if (p.left(session_epoch(1)) > 1h) mixed = true;
  stop = true;
  writer.join();
  REQUIRE_FALSE(mixed);
}
