// Grants that a process keeps for its next owner: who may take one, and when it has to be given back.
#include "local/kept_locks.hpp"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "catch.hpp"

namespace {

using coterie::local::kept_locks;
using coterie::local::lock_grant;

struct table {
  bool valid = true;
  coterie::wall_time wall{};
  kept_locks locks{[this](std::uint64_t) { return valid; }, [this] { return wall += std::chrono::milliseconds(1); }};

  std::shared_ptr<lock_grant> grant(kept_locks::number id, std::uint64_t fence, bool keep = true) {
    auto g = std::make_shared<lock_grant>();
    g->name = "l";
    g->fence = fence;
    locks.add(id, g, "first", keep);
    return g;
  }
};

}  // namespace

TEST_CASE("a kept grant goes from owner to owner, by fences that count up") {
  table t;
  const auto one = t.grant(1, 7 << 20);
  t.locks.watched("l", 1, 42);
  CHECK(t.locks.take("l", "") == nullptr);
  CHECK(t.locks.used("l"));
  CHECK(t.locks.put_back(*one));
  CHECK_FALSE(t.locks.used("l"));
  const auto two = t.locks.take("l", "second");
  REQUIRE(two);
  CHECK(two->fence == one->fence + 1);
  CHECK(two->watch == 42);
  CHECK(t.locks.take("l", "") == nullptr);
  CHECK(t.locks.take("m", "") == nullptr);
  // The first owner is one no more.
  CHECK_FALSE(t.locks.put_back(*one));
  CHECK(t.locks.put_back(*two));
}

TEST_CASE("who uses a kept grant, and since when") {
  table t;
  const auto g = t.grant(1, 7);
  const auto used = t.locks.look("l", 1);
  REQUIRE(used);
  CHECK((used->used && used->fence == 7 && used->label == "first"));
  t.locks.put_back(*g);
  const auto idle = t.locks.look("l", 1);
  REQUIRE(idle);
  CHECK((!idle->used && idle->fence == 7 && idle->label.empty() && idle->since > used->since));
  CHECK_FALSE(t.locks.look("l", 2));
}

TEST_CASE("a grant that others want is given back: at once when nobody uses it, else when its owner is done") {
  table t;
  const auto g = t.grant(1, 7);
  CHECK_FALSE(t.locks.want("l", 2));  // another grant's
  SECTION("idle") {
    t.locks.put_back(*g);
    CHECK(t.locks.want("l", 1) == 7);
    CHECK(t.locks.take("l", "") == nullptr);
    CHECK_FALSE(t.locks.want("l", 1));
  }
  SECTION("used") {
    CHECK_FALSE(t.locks.want("l", 1));
    CHECK(t.locks.take("l", "") == nullptr);
    CHECK_FALSE(t.locks.put_back(*g));
    CHECK(t.locks.take("l", "") == nullptr);
  }
}

TEST_CASE("what may not be kept, is not valid, or has no fence left is not taken") {
  table t;
  SECTION("not to be kept") { CHECK_FALSE(t.locks.put_back(*t.grant(1, 7, false))); }
  SECTION("not valid") {
    CHECK(t.locks.put_back(*t.grant(1, 7)));
    t.valid = false;
  }
  SECTION("the last fence of a grant") { CHECK(t.locks.put_back(*t.grant(1, (1 << 20) - 1))); }
  CHECK(t.locks.take("l", "") == nullptr);
}

TEST_CASE("a grant that is over has no owner from then on") {
  table t;
  const auto g = t.grant(1, 7);
  CHECK(t.locks.drop("l", 2) == nullptr);
  CHECK(t.locks.drop("l", 1) == g);
  CHECK_FALSE(t.locks.put_back(*g));
  CHECK(t.locks.drop("l", 1) == nullptr);
}

TEST_CASE("of many threads one at a time is the owner, and each has its own fence") {
  table t;
  t.locks.put_back(*t.grant(1, 0));
  std::atomic<int> inside = 0, together = 0;
  std::vector<std::vector<std::uint64_t>> fences(4);
  std::vector<std::thread> threads;
  for (auto& mine : fences)
    threads.emplace_back([&] {
      while (mine.size() < 2'000) {
        const auto g = t.locks.take("l", "");
        if (!g) continue;
        if (++inside != 1) ++together;
        mine.push_back(g->fence);
        --inside;
        t.locks.put_back(*g);
      }
    });
  for (auto& x : threads) x.join();
  CHECK(together == 0);
  std::vector<std::uint64_t> all;
  for (const auto& mine : fences) {
    CHECK(std::ranges::is_sorted(mine));
    all.insert(all.end(), mine.begin(), mine.end());
  }
  std::ranges::sort(all);
  CHECK(std::ranges::adjacent_find(all) == all.end());
}
