// The watch over the lease: what depends on an epoch ends when the epoch does, once.
#include "runtime/lease_watch.hpp"

#include <atomic>
#include <future>

#include "catch.hpp"

namespace {

using namespace std::chrono_literals;
using coterie::session_epoch;
using coterie::runtime::lease_watch;

struct validity {
  std::atomic<coterie::duration> left = coterie::duration(1h);
  lease_watch watch{
      [this](session_epoch e) { return e == session_epoch(1) ? left.load() : coterie::duration::zero(); }};
};

TEST_CASE("an entry is over when its epoch is, and not before") {
  validity v;
  std::promise<void> over, other;
  v.watch.add(session_epoch(1), [&] { over.set_value(); });
  v.watch.add(session_epoch(2), [&] { other.set_value(); });
  other.get_future().wait();  // the watch has looked at all of them
  auto f = over.get_future();
  CHECK(f.wait_for(0s) == std::future_status::timeout);
  v.left = coterie::duration::zero();
  v.watch.look();
  f.wait();
}

TEST_CASE("the end comes by time alone") {
  validity v;
  v.left = 20ms;
  std::promise<void> over;
  // Nobody says that the lease has ended: the watch finds out when the time it was told is over.
  std::atomic<int> looks = 0;
  lease_watch watch([&](session_epoch) { return ++looks == 1 ? coterie::duration(20ms) : coterie::duration::zero(); });
  watch.add(session_epoch(1), [&] { over.set_value(); });
  over.get_future().wait();
  CHECK(looks == 2);
}

TEST_CASE("what is removed is not called, what is ended is called at once") {
  validity v;
  std::atomic<int> removed = 0;
  std::promise<void> ended;
  const auto a = v.watch.add(session_epoch(1), [&] { ++removed; });
  const auto b = v.watch.add(session_epoch(1), [&] { ended.set_value(); });
  v.watch.remove(a);
  v.watch.end(b);
  v.watch.end(b);
  ended.get_future().wait();
  v.watch.stop();
  CHECK(removed == 0);
}

TEST_CASE("stopping the watch ends everything") {
  validity v;
  int over = 0;
  for (int i = 0; i < 3; ++i) v.watch.add(session_epoch(1), [&] { ++over; });
  v.watch.stop();
  CHECK(over == 3);
}

}  // namespace
