// The public API on three real nodes: what one does, the others see.
#include <atomic>
#include <map>
#include <set>
#include <thread>

#include "catch.hpp"
#include "nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;

TEST_CASE("three nodes share locks, journals, caches and messages") {
  three_nodes w;  // starting them is most of the time: one cluster for all parts

  {
    INFO("a lock goes from node to node with a rising fence");
    std::atomic<int> inside = 0;
    std::atomic<bool> crowded = false;
    std::mutex guard;
    std::vector<std::uint64_t> fences;
    std::vector<std::thread> threads;
    for (auto& n : w.list)
      threads.emplace_back([&] {
        auto m = n.locks().get("turn");
        for (int i = 0; i < 5; ++i) {
          const std::scoped_lock lock(m);
          if (++inside != 1) crowded = true;
          {
            const std::scoped_lock fence_lock(guard);
            fences.push_back(m.fence());
          }
          --inside;
        }
      });
    for (auto& t : threads) t.join();
    CHECK_FALSE(crowded);
    REQUIRE(fences.size() == 15);
    CHECK(std::is_sorted(fences.begin(), fences.end()));
    CHECK(std::set(fences.begin(), fences.end()).size() == 15);
  }

  {
    INFO("each node processes all entries in the same order");
    auto a = w[0].open_journal("orders", 1h);
    std::vector<std::uint64_t> ids;
    for (int i = 0; i < 10; ++i)
      ids.push_back(w[static_cast<std::size_t>(i % 3)].open_journal("orders").enqueue("t", std::to_string(i)));
    CHECK(std::is_sorted(ids.begin(), ids.end()));
    for (auto& n : w.list) {
      auto j = n.open_journal("orders");
      CHECK(j.wait_visible(patience));
      std::vector<std::uint64_t> seen;
      while (j.process(3, [&](auto batch) {
        for (const auto& e : batch) seen.push_back(e.id);
        return processed{};
      }) > 0) {
      }
      CHECK(seen == ids);
    }
  }

  {
    INFO("what one node forgets, all forget");
    std::map<std::string, int> database{{"x", 1}};
    std::mutex guard;
    std::vector<cache<std::string, int>> caches;
    for (auto& n : w.list)
      caches.push_back(n.caches().get<std::string, int>("values", [&](const std::string& k) {
        const std::scoped_lock lock(guard);
        return database[k];
      }));
    for (auto& c : caches) CHECK(*c.get("x") == 1);
    mailbox<cache_event<std::string>> events;
    const auto sub = caches[1].on_event([&](const cache_event<std::string>& e) {
      // A node that hears of an origin for the first time forgets everything.
      using kind = cache_event<std::string>::kind;
      if (e.what == kind::removed || e.what == kind::cleared) events.put(e);
    });
    {
      const std::scoped_lock lock(guard);
      database["x"] = 2;
    }
    caches[0].invalidate_and_wait("x");
    for (auto& c : caches) CHECK(*c.get("x") == 2);
    CHECK(events.take().remote);
    CHECK(caches[0].stats().invalidations_in == 0);  // not told of its own
    caches[2].remove("x");
    CHECK(eventually([&] { return !caches[0].contains("x") && !caches[1].contains("x"); }));
    CHECK(caches[0].stats().invalidations_out == 1);
  }

  {
    INFO("a message reaches all the others, in order, and not its sender");
    mailbox<message> b, c;
    std::atomic<int> own = 0;
    const auto s0 = w[0].messages().listen("chat", [&](const message&) { ++own; });
    const auto s1 = w[1].messages().listen("chat", [&](const message& m) { b.put(m); });
    const auto s2 = w[1].messages().listen("chat", [&](const message& m) { b.put(m); });
    const auto s3 = w[2].messages().listen("chat", [&](const message& m) { c.put(m); });
    for (int i = 1; i <= 3; ++i) w[0].messages().publish("chat", std::to_string(i));
    for (int i = 1; i <= 3; ++i) {
      const auto m = c.take();
      CHECK(m.body == std::to_string(i));
      CHECK(m.seq == static_cast<std::uint64_t>(i));
      CHECK(m.sender == "a");
    }
    for (int i = 0; i < 6; ++i) b.take();  // both listeners
    CHECK(own == 0);
    CHECK(code_of([&] { w[0].messages().publish(std::string(65, 'x'), ""); }) == errc::limit);
    CHECK(code_of([&] { w[0].messages().publish("c", std::string(65'537, 'x')); }) == errc::limit);
  }

  {
    INFO("each time of a job runs on one node");
    std::mutex guard;
    std::map<wall_time, int> runs;
    mailbox<int> ran;
    std::vector<subscription> runners;
    for (auto& n : w.list)
      runners.push_back(n.jobs().register_runner("tick", [&](const job_run& r) {
        {
          const std::scoped_lock lock(guard);
          ++runs[r.scheduled];
        }
        ran.put(1);
        return job_result{};
      }));
    std::atomic<int> created = 0;
    std::vector<std::thread> threads;
    for (auto& n : w.list)
      threads.emplace_back(
          [&] { created += n.jobs().schedule_job("tick", {.runner = "tick", .when = interval{100ms}}); });
    for (auto& t : threads) t.join();
    CHECK(created == 1);
    for (int i = 0; i < 10; ++i) ran.take();
    w[1].jobs().unschedule("tick");
    const std::scoped_lock lock(guard);
    for (const auto& [at, n] : runs) CHECK(n == 1);
  }

  {
    INFO("a key belongs to the same node wherever one asks");
    std::set<std::string> owners;
    for (int i = 0; i < 100; ++i) {
      const auto key = "session-" + std::to_string(i);
      const auto owner = w[0].owner_of(key);
      owners.insert(owner);
      CHECK(eventually([&] { return w[1].owner_of(key) == owner && w[2].owner_of(key) == owner; }));
    }
    CHECK(owners.size() == 3);
  }

  {
    INFO("a node that leaves is gone, and its locks are free");
    auto m = w[2].locks().get("held");
    m.lock();
    w[2].leave();
    CHECK(w[2].state() == node_state::left);
    auto other = w[0].locks().get("held");
    CHECK(other.try_lock_for(patience));
    other.unlock();
    m.unlock();
    CHECK(eventually([&] {
      for (const auto& x : w[0].members())
        if (x.name == "c" && x.state == "left") return true;
      return false;
    }));
  }
}

TEST_CASE("without a majority a hold ends by itself, and what needs no majority goes on") {
  three_nodes w;
  for (const auto& m : w[0].members()) CHECK(m.role == "voter");
  mailbox<lock_event> events;
  const auto sub = w[0].locks().on_event([&](const lock_event& e) { events.put(e); });
  auto numbers = w[0].caches().get<int, int>("alone", [](const int& k) { return k; });
  auto m = w[0].locks().get("alone");
  m.lock();
  const auto lost = m.lost();
  const auto fence = m.fence();
  w[1].stop(0ms);  // cut off
  w[2].stop(0ms);
  CHECK(events.take().what == lock_event::kind::lost);
  CHECK(lost.stop_requested());
  CHECK_FALSE(m.held());
  CHECK(m.lease_left() == 0ms);
  CHECK(m.fence() == fence);
  CHECK(code_of([&] { m.lock(); }) == errc::lock_lost);
  std::error_code ec;
  m.unlock(ec);
  CHECK(ec == errc::lock_lost);
  CHECK(code_of([&] { m.lock(); }) == errc::no_quorum);
  CHECK(*numbers.get(1) == 1);
  CHECK(numbers.remove(1));
  CHECK(w[0].open_journal("orders").count() == 0);
}

}  // namespace
