// Contents of a cache under a clock that the test moves: expiry, limits, single flight, and the race between a load and
// an invalidation (docs/caches.md, "No stale load").
#include "local/cache_contents.hpp"

#include <atomic>
#include <latch>
#include <stdexcept>
#include <thread>

#include "catch.hpp"

namespace {

using namespace std::chrono_literals;
using coterie::errc;
using coterie::local::cache_contents;
using change = cache_contents::change;

struct world {
  explicit world(cache_contents::options o = {})
      : cache(o, [this](cache_contents::happening h) { happened.push_back(std::move(h)); }) {}

  static cache_contents::value make(int v) { return std::make_shared<const int>(v); }
  static int number(const cache_contents::value& v) { return v ? *static_cast<const int*>(v.get()) : -1; }

  int get(const std::string& key, const std::function<int()>& load) {
    const auto r = cache.get(
        key, now, [&] { return make(load()); }, [this] { return now; });
    return r ? number(*r) : -2;
  }
  int peek(const std::string& key) { return number(cache.peek(key, now)); }
  std::vector<change> changes() const {
    std::vector<change> r;
    for (const auto& h : happened) r.push_back(h.what);
    return r;
  }

  cache_contents::time now{};
  std::vector<cache_contents::happening> happened;
  cache_contents cache;
};

TEST_CASE("a value is loaded once and then kept") {
  world w;
  int loads = 0;
  for (int i = 0; i < 3; ++i) CHECK(w.get("a", [&] { return ++loads; }) == 1);
  CHECK(w.cache.stats().hits == 2);
  CHECK(w.cache.stats().misses == 1);
  CHECK(w.cache.stats().loads == 1);
  CHECK(w.cache.remove("a", false, w.now));
  CHECK_FALSE(w.cache.remove("a", false, w.now));
  CHECK(w.get("a", [&] { return ++loads; }) == 2);
  CHECK(w.changes() == std::vector{change::added, change::removed, change::added});
}

TEST_CASE("access keeps an entry alive, peeking does not") {
  world w({.expire_after_access = 30min});
  w.cache.put("a", world::make(1), w.now);
  w.now += 29min;
  CHECK(w.get("a", [] { return 2; }) == 1);
  w.now += 29min;
  CHECK(w.peek("a") == 1);
  w.now += 1min;
  CHECK(w.peek("a") == -1);
  CHECK(w.cache.keys(w.now).empty());
  CHECK(w.get("a", [] { return 2; }) == 2);
  CHECK(w.changes() == std::vector{change::added, change::expired, change::added});
}

TEST_CASE("a written entry expires however often it is read") {
  world w({.expire_after_write = 10s});
  CHECK(w.get("a", [] { return 1; }) == 1);
  w.now += 9s;
  CHECK(w.get("a", [] { return 2; }) == 1);
  w.now += 1s;
  CHECK(w.get("a", [] { return 2; }) == 2);
}

TEST_CASE("expired entries go when others come") {
  world w({.expire_after_write = 1s});
  for (int i = 0; i < 8; ++i) w.cache.put(std::to_string(i), world::make(i), w.now);
  w.now += 1s;
  w.happened.clear();
  w.cache.put("new", world::make(1), w.now);
  CHECK(w.happened.size() == 9);  // added once, expired eight times
}

TEST_CASE("above the limit the least recently used entry goes") {
  world w({.max_entries = 2});
  w.cache.put("a", world::make(1), w.now);
  w.cache.put("b", world::make(2), w.now);
  CHECK(w.get("a", [] { return 9; }) == 1);
  w.cache.put("c", world::make(3), w.now);
  CHECK(w.peek("a") == 1);
  CHECK(w.peek("b") == -1);
  CHECK(w.peek("c") == 3);
  CHECK(w.cache.stats().evictions == 1);
}

TEST_CASE("compare and set looks at the very value") {
  world w;
  const auto one = world::make(1);
  w.cache.put("a", one, w.now);
  CHECK_FALSE(w.cache.put_if_absent("a", world::make(2), w.now));
  CHECK_FALSE(w.cache.replace_if("a", world::make(1), world::make(2), w.now));
  CHECK(w.cache.replace_if("a", one, world::make(2), w.now));
  CHECK_FALSE(w.cache.remove_if("a", one, w.now));
  CHECK(w.peek("a") == 2);
  CHECK(w.cache.put_if_absent("b", world::make(3), w.now));
}

TEST_CASE("a hundred callers, one load") {
  world w;
  std::atomic<int> loads = 0, right = 0;
  std::latch begun(100);
  std::vector<std::thread> threads;
  for (int i = 0; i < 100; ++i)
    threads.emplace_back([&] {
      begun.arrive_and_wait();
      right += w.get("a", [&] { return ++loads; }) == 1;
    });
  for (auto& t : threads) t.join();
  CHECK(loads == 1);
  CHECK(right == 100);
}

TEST_CASE("an exception goes to the caller and nothing is kept") {
  world w;
  CHECK_THROWS_AS(w.get("a", []() -> int { throw std::runtime_error("no"); }), std::runtime_error);
  CHECK(w.peek("a") == -1);
  CHECK(w.cache.stats().load_failures == 1);
  CHECK(w.get("a", [] { return 1; }) == 1);
}

TEST_CASE("a loader that asks for its own key is refused, for another key it is not") {
  world w;
  int inner = 0;
  CHECK(w.get("a", [&] { return inner = w.get("a", [] { return 1; }); }) == -2);
  CHECK(inner == -2);
  CHECK(w.get("b", [&] { return w.get("c", [] { return 5; }); }) == 5);
}

TEST_CASE("what an invalidation overtakes is not kept") {
  world w;
  const auto invalidate = GENERATE(0, 1, 2);
  const auto value = w.get("a", [&] {
    if (invalidate == 0) w.cache.remove("a", true, w.now);
    if (invalidate == 1) w.cache.clear(true);
    if (invalidate == 2) w.cache.put("a", world::make(7), w.now);
    return 1;
  });
  CHECK(value == 1);  // the caller began before it
  CHECK(w.peek("a") == (invalidate == 2 ? 7 : -1));
  CHECK(w.cache.stats().stale_loads_dropped == 1);
  CHECK(w.get("a", [] { return 2; }) == (invalidate == 2 ? 7 : 2));
}

TEST_CASE("whoever asks after an invalidation does not wait for the old load") {
  world w;
  std::latch loading(1), removed(1);
  int old_value = 0, joined_value = 0;
  std::thread old([&] {
    old_value = w.get("a", [&] {
      loading.count_down();
      removed.wait();
      return 1;
    });
  });
  loading.wait();
  CHECK_FALSE(w.cache.remove("a", false, w.now));
  // The old load is still under way and can't end before this one has: a get that joined it would never return.
  CHECK(w.get("a", [] { return 2; }) == 2);
  joined_value = w.get("a", [] { return 3; });
  removed.count_down();
  old.join();
  CHECK(old_value == 1);
  CHECK(joined_value == 2);
  CHECK(w.peek("a") == 2);
  CHECK(w.cache.stats().stale_loads_dropped == 1);
}

TEST_CASE("invalidating one key leaves the loads of others alone") {
  world w;
  CHECK(w.get("a", [&] { return w.cache.remove("b", true, w.now), 1; }) == 1);
  CHECK(w.peek("a") == 1);
}

TEST_CASE("a value is destroyed with no lock held") {
  world w;
  struct nosy {
    world& w;
    ~nosy() { w.cache.peek("a", w.now); }  // would wait for itself for ever
  };
  w.cache.put("a", std::shared_ptr<const void>(std::make_shared<nosy>(w)), w.now);
  w.cache.put("a", world::make(1), w.now);
  w.cache.put("b", std::shared_ptr<const void>(std::make_shared<nosy>(w)), w.now);
  w.cache.remove("b", false, w.now);
  w.cache.put("c", std::shared_ptr<const void>(std::make_shared<nosy>(w)), w.now);
  w.cache.clear(false);
  CHECK(w.cache.keys(w.now).empty());
}

TEST_CASE("changes say whether another node asked for them") {
  world w;
  w.cache.put("a", world::make(1), w.now);
  w.cache.remove("a", true, w.now);
  w.cache.clear(false);
  REQUIRE(w.happened.size() == 3);
  CHECK(w.happened[1].remote);
  CHECK(w.happened[1].key == "a");
  CHECK(w.happened[2].what == change::cleared);
  CHECK_FALSE(w.happened[2].key);
  CHECK_FALSE(w.happened[2].remote);
}

}  // namespace
