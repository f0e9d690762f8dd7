// Calls into the host: order, one at a time, the end of a subscription, what is thrown, what is dropped.
#include "runtime/callbacks.hpp"

#include <atomic>
#include <future>
#include <latch>
#include <optional>
#include <stdexcept>
#include <thread>

#include "catch.hpp"
#include "runtime/run_pool.hpp"

namespace {

using namespace std::chrono_literals;
using coterie::subscription;
using coterie::runtime::callback_scope;
using coterie::runtime::callback_thread;
using coterie::runtime::run_pool;
using coterie::runtime::strand;
using coterie::runtime::strand_subscription;

coterie::executor on(callback_thread& t) {
  return [&t](std::function<void()> f) { t.post(std::move(f)); };
}

/// Runs what it was given when the test says so.
struct manual_executor {
  std::vector<std::function<void()>> tasks;
  coterie::executor get() {
    return [this](std::function<void()> f) { tasks.push_back(std::move(f)); };
  }
  void run_all() {
    while (!tasks.empty()) std::exchange(tasks, {}).front()();
  }
};

TEST_CASE("calls come in order, all of them before the thread ends") {
  std::vector<int> seen;
  callback_thread t;
  const auto s = std::make_shared<strand>(strand::options{.run = on(t)});
  for (int i = 0; i < 1'000; ++i) s->post([&, i] { seen.push_back(i); });
  t.stop();
  REQUIRE(seen.size() == 1'000);
  CHECK(std::is_sorted(seen.begin(), seen.end()));
}

TEST_CASE("one at a time, even on an executor of many threads") {
  std::atomic<int> inside = 0, most = 0, calls = 0;
  run_pool pool(4);
  std::latch done(200);
  const auto s =
      std::make_shared<strand>(strand::options{.run = [&](std::function<void()> f) { pool.post(std::move(f)); }});
  std::vector<std::thread> posters;
  for (int p = 0; p < 4; ++p)
    posters.emplace_back([&] {
      for (int i = 0; i < 50; ++i)
        s->post([&] {
          most = std::max(most.load(), ++inside);
          ++calls;
          --inside;
          done.count_down();
        });
    });
  for (auto& t : posters) t.join();
  done.wait();
  CHECK(calls == 200);
  CHECK(most == 1);
}

TEST_CASE("an exception is reported and the subscription goes on") {
  std::vector<std::string> reports;
  manual_executor e;
  const auto s = std::make_shared<strand>(
      strand::options{.run = e.get(), .report = [&](const std::string& r) { reports.push_back(r); }});
  int after = 0;
  s->post([] { throw std::runtime_error("broken"); });
  s->post([&] { ++after; });
  e.run_all();
  CHECK(after == 1);
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].find("broken") != std::string::npos);
}

TEST_CASE("a full queue drops the oldest") {
  std::vector<int> seen;
  manual_executor e;
  const auto s = std::make_shared<strand>(strand::options{.run = e.get(), .limit = 3});
  for (int i = 0; i < 5; ++i) s->post([&, i] { seen.push_back(i); });
  e.run_all();
  CHECK(seen == std::vector{2, 3, 4});
  CHECK(s->dropped() == 2);
}

TEST_CASE("telling the same twice tells it once") {
  int calls = 0;
  manual_executor e;
  const auto s = std::make_shared<strand>(strand::options{.run = e.get()});
  s->post_once([&] { ++calls; });
  s->post_once([&] { ++calls; });
  e.run_all();
  CHECK(calls == 1);
  s->post_once([&] { ++calls; });
  e.run_all();
  CHECK(calls == 2);
}

TEST_CASE("the end of a subscription waits for the call that runs") {
  callback_thread t;
  std::latch running(1), go_on(1);
  std::atomic<bool> returned = false;
  const auto s = std::make_shared<strand>(strand::options{.run = on(t)});
  std::optional<subscription> sub(std::in_place, std::make_shared<strand_subscription>(s, nullptr));
  s->post([&] {
    running.count_down();
    go_on.wait();
    returned = true;
  });
  running.wait();
  bool waited = false;
  std::thread closer([&] {
    sub.reset();
    waited = returned;
  });
  go_on.count_down();
  closer.join();
  CHECK(waited);
}

TEST_CASE("after the end of a subscription nothing is called") {
  manual_executor e;
  int calls = 0;
  const auto s = std::make_shared<strand>(strand::options{.run = e.get()});
  s->post([&] { ++calls; });
  s->close();
  s->post([&] { ++calls; });
  e.run_all();
  CHECK(calls == 0);
}

TEST_CASE("a callback may end its own subscription") {
  callback_thread t;
  const auto s = std::make_shared<strand>(strand::options{.run = on(t)});
  std::optional<subscription> sub(std::in_place, std::make_shared<strand_subscription>(s, nullptr));
  int calls = 0;
  s->post([&] {
    sub.reset();
    ++calls;
  });
  s->post([&] { ++calls; });
  t.stop();
  CHECK(calls == 1);
}

TEST_CASE("a detached callback goes on") {
  manual_executor e;
  int calls = 0;
  const auto s = std::make_shared<strand>(strand::options{.run = e.get()});
  {
    subscription sub(std::make_shared<strand_subscription>(s, nullptr));
    CHECK(sub);
    sub.detach();
    CHECK_FALSE(sub);
  }
  s->post([&] { ++calls; });
  e.run_all();
  CHECK(calls == 1);
}

TEST_CASE("a thread knows whose callback it is in") {
  int a = 0, b = 0;
  CHECK_FALSE(callback_scope::inside(&a));
  {
    const callback_scope outer(&a);
    const callback_scope inner(&b);
    CHECK(callback_scope::inside(&a));
    CHECK(callback_scope::inside(&b));
    bool elsewhere = true;
    std::thread([&] { elsewhere = callback_scope::inside(&a); }).join();
    CHECK_FALSE(elsewhere);
  }
  CHECK_FALSE(callback_scope::inside(&a));
}

TEST_CASE("runs do not wait for one another below the limit, and wait above it") {
  run_pool pool(3);
  std::latch together(3), release(1), last(1);
  std::atomic<int> begun = 0;
  for (int i = 0; i < 3; ++i)
    pool.post([&] {
      ++begun;
      together.arrive_and_wait();  // ends only if all three run at once
      release.wait();
    });
  pool.post([&] {
    ++begun;
    last.count_down();
  });
  together.wait();
  CHECK(begun == 3);
  release.count_down();
  last.wait();
  CHECK(pool.stop(10s));
}

TEST_CASE("a pool leaves alone who does not end in time") {
  const auto release = std::make_shared<std::latch>(1);
  const auto ended = std::make_shared<std::promise<void>>();
  std::latch begun(1);
  run_pool pool;
  pool.post([&begun, release, ended] {
    begun.count_down();
    release->wait();
    ended->set_value();
  });
  begun.wait();
  CHECK_FALSE(pool.stop(1ms));
  release->count_down();
  ended->get_future().wait();
}

}  // namespace
