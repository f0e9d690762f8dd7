// The public API on one real node: locks, jobs, journals, caches, and the end of a node.
#include <algorithm>
#include <atomic>
#include <future>
#include <latch>
#include <map>
#include <set>
#include <thread>

#include "catch.hpp"
#include "nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;

/// For tests that need a node and leave it running. Names of locks, jobs, ... are their own.
one_node& shared() {
  static one_node w;
  return w;
}

// ---- locks ---------------------------------------------------------------------------------------------------------

TEST_CASE("a lock has one owner, counts recursion, and raises its fence") {
  auto& w = shared();
  auto m = w.n.locks().get("import");
  CHECK_FALSE(m.held());
  CHECK(m.lost().stop_requested());
  m.lock();
  CHECK(m.try_lock());
  CHECK(m.held());
  CHECK(m.lease_left() > 0ms);
  CHECK_FALSE(m.lost().stop_requested());
  const auto fence = m.fence();
  CHECK(fence > 0);

  std::thread([&] {
    CHECK_FALSE(m.held());
    CHECK(m.fence() == 0);
    CHECK_FALSE(m.try_lock());
    CHECK_FALSE(m.try_lock_for(1ms));
    std::error_code ec;
    m.unlock(ec);
    CHECK(ec == errc::not_owner);
  }).join();

  const auto info = m.info();
  REQUIRE(info);
  CHECK(info->owner_node == "a");
  CHECK(info->fence == fence);
  CHECK(w.n.locks().list().size() == 1);

  m.unlock();
  CHECK(m.held());
  m.unlock();
  CHECK_FALSE(m.held());
  m.lock();
  CHECK(m.fence() > fence);
  std::error_code ec = errc::timeout;
  m.unlock(ec);
  CHECK_FALSE(ec);
  CHECK(eventually([&] { return !m.info(); }));
}

TEST_CASE("standard lock types work, with several locks as well") {
  auto& w = shared();
  auto a = w.n.locks().get("a"), b = w.n.locks().get("b");
  {
    const std::scoped_lock both(a, b);
    CHECK(a.held());
    CHECK(b.held());
  }
  std::unique_lock u(a, 10s);
  CHECK(u.owns_lock());
  u.unlock();
  CHECK_FALSE(a.held());
  CHECK(code_of([&] { w.n.locks().get(""); }) == errc::bad_name);
}

TEST_CASE("a waiter gets the lock when it is released, or stops waiting") {
  auto& w = shared();
  auto m = w.n.locks().get("turn");
  m.lock();
  std::stop_source stop;
  std::promise<bool> stopped, granted;
  std::thread first([&] { stopped.set_value(m.lock(stop.get_token())); });
  CHECK(eventually([&] { return m.info() && m.info()->waiters == 1; }));
  stop.request_stop();
  CHECK_FALSE(stopped.get_future().get());
  first.join();
  CHECK(eventually([&] { return m.info()->waiters == 0; }));
  std::thread second([&] {
    m.lock();
    granted.set_value(m.held());
    m.unlock();
  });
  CHECK(eventually([&] { return m.info()->waiters == 1; }));
  m.unlock();
  CHECK(granted.get_future().get());
  second.join();
}

TEST_CASE("a thread that ends gives back its locks and says so") {
  auto& w = shared();
  mailbox<lock_event> events;
  const auto sub = w.n.locks().on_event([&](const lock_event& e) { events.put(e); });
  auto m = w.n.locks().get("forgotten");
  std::uint64_t fence = 0;
  std::thread([&] {
    m.lock();
    fence = m.fence();
  }).join();
  const auto e = events.take();
  CHECK(e.what == lock_event::kind::released_at_exit_of_thread);
  CHECK(e.name == "forgotten");
  CHECK(e.fence == fence);
  CHECK(m.try_lock_for(10s));
  m.unlock();
}

TEST_CASE("a lease belongs to an object") {
  auto& w = shared();
  using answer = std::pair<std::error_code, lock_lease>;
  mailbox<answer> answers;
  const auto put = [&](std::error_code ec, lock_lease l) { answers.put({ec, std::move(l)}); };
  w.n.locks().async_acquire("batch", {.label = "first"}, put);
  auto [ec, lease] = answers.take();
  CHECK_FALSE(ec);
  CHECK(lease.held());
  CHECK(lease.fence() > 0);
  CHECK(w.n.locks().list().at(0).label == "first");
  const auto here = w.n.locks().stale_list();
  const auto batch = [](const auto& l) { return l.name == "batch" && l.label == "first"; };  // others may be kept
  CHECK(std::ranges::count_if(here.value, batch) == 1);
  CHECK(here.index > 0);
  CHECK(here.age);
  CHECK(std::ranges::count_if(w.n.locks().stale_list(1h).value, batch) == 1);
  CHECK(w.n.jobs().stale_jobs().index >= here.index);
  std::error_code none;
  CHECK(w.n.jobs().stale_history("none", 10, {}, none).value.empty());
  CHECK(none == errc::not_found);
  w.n.locks().async_acquire("batch", {}, put, 0ms);
  const auto refused = answers.take();
  CHECK(refused.first == errc::held);
  CHECK_FALSE(refused.second.held());
  w.n.locks().async_acquire("batch", {}, put);
  CHECK(answers.size() == 0);
  const auto before = lease.fence();
  lease.release();
  CHECK_FALSE(lease.held());
  const auto next = answers.take();
  CHECK_FALSE(next.first);
  CHECK(next.second.fence() > before);
}

TEST_CASE("a call that waits is refused inside a callback") {
  auto& w = shared();
  mailbox<std::error_code> codes;
  auto m = w.n.locks().get("x");
  auto j = w.n.open_journal("x");
  const auto sub = w.n.on_state([&](node_state) {
    codes.put(code_of([&] { m.lock(); }));
    codes.put(code_of([&] { j.enqueue("t", "m"); }));
    codes.put(code_of([&] { w.n.stop(); }));
    codes.put(code_of([&] { w.n.messages().publish("c", "b"); }));
  });
  for (int i = 0; i < 3; ++i) CHECK(codes.take() == errc::in_callback);
  CHECK_FALSE(codes.take());
}

// ---- jobs ----------------------------------------------------------------------------------------------------------

TEST_CASE("a job runs with its parameters and leaves its history") {
  auto& w = shared();
  mailbox<job_run> runs;
  const auto runner = w.n.jobs().register_runner("mail", [&](const job_run& r) {
    runs.put(r);
    return job_result::success("3 sent");
  });
  CHECK(code_of([&] {
          const auto again = w.n.jobs().register_runner("mail", [](const job_run&) { return job_result{}; });
        }) == errc::exists);
  job_config c{.runner = "mail",
               .when = once{},
               .params = {{"to", std::string("all")}, {"list", std::vector<job_param>{std::int64_t{1}, true}}}};
  CHECK(w.n.jobs().schedule_job("mail.once", c));
  CHECK_FALSE(w.n.jobs().schedule_job("mail.once", c));
  const auto r = runs.take();
  CHECK(r.job == "mail.once");
  CHECK(r.params == c.params);
  CHECK(r.attempt == 1);
  CHECK(r.fence > 0);
  CHECK(eventually([&] {
    const auto h = w.n.jobs().history("mail.once");
    return h.size() == 1 && h[0].what == outcome::success && h[0].message == "3 sent" && h[0].node == "a" &&
           h[0].fence == r.fence;
  }));
  const auto d = w.n.jobs().details("mail.once");
  REQUIRE(d);
  CHECK(d->config == c);
  CHECK(d->runnable);
  CHECK(d->last_outcome == outcome::success);
  CHECK_FALSE(d->next);
  CHECK(w.n.jobs().jobs("mail").size() == 1);
  CHECK(w.n.jobs().jobs("other").empty());
  CHECK(w.n.jobs().unschedule("mail.once"));
  CHECK_FALSE(w.n.jobs().unschedule("mail.once"));
  CHECK_FALSE(w.n.jobs().details("mail.once"));
  CHECK(code_of([&] { w.n.jobs().history("mail.once"); }) == errc::not_found);
}

TEST_CASE("what a runner throws is a failed run") {
  auto& w = shared();
  const auto runner =
      w.n.jobs().register_runner("bad", [](const job_run&) -> job_result { throw std::runtime_error("no disk"); });
  const auto id = w.n.jobs().schedule_job({.runner = "bad", .when = once{}});
  CHECK(eventually([&] {
    const auto h = w.n.jobs().history(id);
    return h.size() == 1 && h[0].what == outcome::failed && h[0].message == "no disk";
  }));
}

TEST_CASE("the end of a registration stops the run and waits for it") {
  auto& w = shared();
  std::latch begun(1);
  std::atomic<bool> ended = false;
  std::optional<subscription> runner = w.n.jobs().register_runner("long", [&](const job_run& r) {
    std::promise<void> stopped;
    const std::stop_callback on_stop(r.stop, [&] { stopped.set_value(); });
    begun.count_down();
    stopped.get_future().wait();
    ended = true;
    return job_result::aborted();
  });
  const auto id = w.n.jobs().schedule_job({.runner = "long", .when = once{}});
  begun.wait();
  runner.reset();
  CHECK(ended);
  CHECK(eventually([&] {
    const auto h = w.n.jobs().history(id);
    return h.size() == 1 && h[0].what == outcome::aborted;
  }));
}

TEST_CASE("a run may wait for the node, and long runs do not hold up others") {
  auto& w = shared();
  std::latch both(2);
  std::atomic<int> locked = 0;
  const auto runner = w.n.jobs().register_runner("work", [&](const job_run& r) {
    both.arrive_and_wait();  // ends only if the other run has begun too
    auto m = w.n.locks().get(r.job);
    const std::scoped_lock lock(m);
    ++locked;
    return job_result{};
  });
  w.n.jobs().schedule_job("one", {.runner = "work", .when = once{}});
  w.n.jobs().schedule_job("two", {.runner = "work", .when = once{}});
  CHECK(eventually([&] { return locked == 2; }));
}

TEST_CASE("schedules that can't be are refused with the place") {
  auto& w = shared();
  const job_config broken{.runner = "x", .when = cron_schedule{"0 60 * * * ?"}};
  try {
    w.n.jobs().schedule_job("broken", broken);
    FAIL("it was accepted");
  } catch (const cron_error& e) {
    CHECK(e.position() == 2);
  }
  std::error_code ec;
  CHECK_FALSE(w.n.jobs().schedule_job("broken", broken, if_exists::keep, ec));
  CHECK(ec == errc::bad_cron);
  CHECK(code_of([&] {
          w.n.jobs().schedule_job("zone", {.runner = "x", .when = cron_schedule{"0 0 0 * * ?", "Europe/Berlin"}});
        }) == errc::bad_argument);
  CHECK(code_of([&] { w.n.jobs().schedule_job("fast", {.runner = "x", .when = interval{1ms}}); }) ==
        errc::bad_argument);
}

TEST_CASE("next times need no node") {
  const wall_time t{std::chrono::sys_days(std::chrono::year(2026) / 11 / 20) + 14h};
  CHECK(next_run(cron_schedule{"0 0 0/4 * * ?"}, t) == t + 2h);
  CHECK(next_run(interval{15min, t - 5min}, t) == t + 10min);
  CHECK(next_run(interval{15min}, t) == t + 15min);
  CHECK(next_run(once{t + 1s}, t) == t + 1s);
  CHECK_FALSE(next_run(once{t}, t));
  CHECK_FALSE(next_run(cron_schedule{"0 0 0 30 2 ?"}, t));
  CHECK_THROWS_AS(next_run(cron_schedule{"nonsense"}, t), cron_error);
}

// ---- journals ------------------------------------------------------------------------------------------------------

std::vector<std::string> texts(std::span<const journal_entry> batch) {
  std::vector<std::string> r;
  for (const auto& e : batch) r.push_back(e.message);
  return r;
}

TEST_CASE("a journal is processed in order, by what the handler says") {
  auto& w = shared();
  auto j = w.n.open_journal("orders");
  const std::vector<std::pair<std::string, std::string>> items{{"t", "1"}, {"t", "2"}, {"t", "3"}, {"t", "4"}};
  CHECK(j.count() == 0);
  CHECK(j.process(10, [](auto) -> processed { throw std::logic_error("called for nothing"); }) == 0);
  const auto ids = j.enqueue(items);
  REQUIRE(ids.size() == 4);
  CHECK(ids[3] == ids[0] + 3);
  CHECK(j.count() == 4);
  CHECK(texts(j.peek(2)) == std::vector<std::string>{"1", "2"});

  std::vector<std::string> seen;
  const auto handle = [&](processed p) {
    return j.process(10, [&](auto batch) {
      seen = texts(batch);
      return p;
    });
  };
  CHECK(handle(processed::failure(ids[0])) == 0);
  CHECK(j.cursor() == 0);
  CHECK(handle(processed::partial(ids[0])) == 1);
  CHECK(seen.size() == 4);
  CHECK(j.cursor() == ids[0]);
  CHECK(handle(processed::failure(ids[2])) == 1);
  CHECK(seen == std::vector<std::string>{"2", "3", "4"});
  CHECK(code_of([&] { handle(processed::partial(ids[0])); }) == errc::bad_argument);
  CHECK(code_of([&] { handle(processed::failure(ids[3] + 1)); }) == errc::bad_argument);
  CHECK(j.cursor() == ids[1]);
  CHECK_THROWS_AS(j.process(10, [](auto) -> processed { throw std::runtime_error("later"); }), std::runtime_error);
  CHECK(j.count() == 2);
  CHECK(j.process(1, [](auto) { return processed::all(); }) == 1);
  CHECK(j.process_as(10, [](auto batch) { return std::pair(texts(batch), processed{}); }) ==
        std::vector<std::string>{"4"});
  CHECK(j.process_as(10, [](auto batch) { return std::pair(texts(batch), processed{}); }).empty());
  CHECK(j.size() == 4);
}

TEST_CASE("an entry with a key is there once") {
  auto& w = shared();
  auto j = w.n.open_journal("keyed");
  const auto id = j.enqueue("created", "17", "order-17");
  CHECK(j.enqueue("created", "17", "order-17") == id);
  CHECK(j.enqueue("created", "17") > id);
  CHECK(j.count() == 2);
  CHECK(j.wait_visible(5s));
  j.reset();
  CHECK(j.count() == 0);
  CHECK(j.size() == 2);
  CHECK(code_of([&] { w.n.open_journal("Orders"); }) == errc::bad_name);
  CHECK(code_of([&] { j.enqueue("t", std::string(2'048, 'x')); }) == errc::limit);
  CHECK(code_of([&] { j.process(0, [](auto) { return processed{}; }); }) == errc::limit);
}

TEST_CASE("processing inside processing is refused instead of waiting for itself") {
  auto& w = shared();
  auto j = w.n.open_journal("nested");
  j.enqueue("t", "1");
  std::error_code inside;
  CHECK(j.process(1, [&](auto) {
    inside = code_of([&] { j.process(1, [](auto) { return processed{}; }); });
    j.enqueue("t", "2");
    return processed{};
  }) == 1);
  CHECK(inside == errc::in_callback);
  CHECK(j.count() == 1);
}

TEST_CASE("a waiting thread is woken by entries") {
  auto& w = shared();
  auto j = w.n.open_journal("news");
  mailbox<int> ready;
  const auto sub = j.on_ready([&] { ready.put(1); });
  j.enqueue("t", "1");
  ready.take();
  CHECK(j.process(10, [](auto) { return processed{}; }) == 1);
}

// ---- caches --------------------------------------------------------------------------------------------------------

TEST_CASE("a cache loads, forgets and tells") {
  auto& w = shared();
  std::atomic<int> loads = 0;
  auto c = w.n.caches().get<std::string, int>("numbers", [&](const std::string& k) { return ++loads, std::stoi(k); },
                                              {.max_entries = 100});
  mailbox<cache_event<std::string>> events;
  const auto sub = c.on_event([&](const cache_event<std::string>& e) { events.put(e); });
  CHECK(*c.get("7") == 7);
  CHECK(*c.get("7") == 7);
  CHECK(loads == 1);
  CHECK(c.contains("7"));
  CHECK(c.peek("8") == nullptr);
  CHECK(c.remove("7"));
  CHECK_FALSE(c.remove("7"));
  CHECK(*c.get("7") == 7);
  CHECK(loads == 2);
  CHECK_FALSE(c.put_if_absent("7", 1));
  CHECK(c.replace("7", 7, 70));
  CHECK_FALSE(c.replace("7", 7, 71));
  CHECK(*c.peek("7") == 70);
  CHECK_FALSE(c.remove("7", 7));
  CHECK(c.remove("7", 70));
  c.put("9", 9);
  CHECK(c.keys() == std::vector<std::string>{"9"});
  c.invalidate_and_wait("9");
  c.remove_all();
  CHECK(c.keys().empty());
  CHECK_THROWS_AS(c.get("x"), std::invalid_argument);
  CHECK(c.stats().load_failures == 1);
  using kind = cache_event<std::string>::kind;
  for (const auto what : {kind::added, kind::removed, kind::added, kind::updated, kind::removed, kind::added,
                          kind::removed, kind::cleared})
    CHECK(events.take().what == what);
}

TEST_CASE("one name is one cache, of one kind") {
  one_node w;
  const auto load = [](const int& k) { return k * 2; };
  auto a = w.n.caches().get<int, int>("c", load);
  auto b = w.n.caches().get<int, int>("c", [](const int&) { return -1; });
  CHECK(*b.get(4) == 8);
  CHECK(*a.peek(4) == 8);
  CHECK(code_of([&] { w.n.caches().get<int, long>("c", [](const int&) { return 1L; }); }) == errc::exists);
  CHECK(code_of([&] { w.n.caches().get<int, int>("c", load, {.max_entries = 1}); }) == errc::exists);
  CHECK(w.n.caches().names() == std::vector<std::string>{"c"});
  int supplied = 0;
  auto ref = w.n.caches().reference<int>("r", [&] { return ++supplied; });
  CHECK(*ref.get() == 1);
  CHECK(*ref.get() == 1);
  ref.reset();
  CHECK(*ref.get() == 2);
  w.n.caches().flush_all();
  CHECK(*ref.get() == 3);
}

TEST_CASE("keys have stable bytes") {
  const auto text = [](const auto& v) { return detail::encode_key(v); };
  CHECK(text(std::string("sku-1")) == "sku-1");
  CHECK(text(-17) == "-17");
  CHECK(text(std::uint64_t(18'446'744'073'709'551'615u)) == "18446744073709551615");
  CHECK(text(true) == "true");
  using pair = std::pair<std::string, int>;
  CHECK(text(pair("a", 1)) == std::string("\0\0\0\1a\0\0\0\1"
                                          "1",
                                          10));
  CHECK(text(std::vector<std::string>{"ab", ""}) != text(std::vector<std::string>{"a", "b"}));
  CHECK(detail::decode_key<pair>(text(pair("x", -5))) == pair("x", -5));
  using map = std::map<std::string, std::optional<std::vector<int>>>;
  const map m{{"k", std::vector{1, 2}}, {"n", std::nullopt}};
  CHECK(detail::decode_key<map>(text(m)) == m);
  CHECK(detail::decode_key<std::tuple<bool, char, std::string>>(text(std::tuple(true, 'c', std::string("z")))) ==
        std::tuple(true, 'c', std::string("z")));
  CHECK(code_of([&] { detail::decode_key<int>("12x"); }) == errc::bad_argument);
  CHECK(code_of([&] { detail::decode_key<pair>("nonsense"); }) == errc::bad_argument);
}

// ---- the node ------------------------------------------------------------------------------------------------------

TEST_CASE("a node says where it is") {
  temporary_directory home;
  mailbox<node_state> states;
  {
    auto n = start_node("a", home, {});
    const auto sub = n.on_state([&](node_state s) { states.put(s); });
    CHECK(n.wait_ready(patience));
    CHECK(n.state() == node_state::active);
    CHECK(n.ready());
    const auto all = n.members();
    REQUIRE(all.size() == 1);
    CHECK(all[0].self);
    CHECK(all[0].name == "a");
    CHECK(n.owner_of("anything") == "a");
    CHECK(n.local_home() == home.path() / "a");
    using tags = std::map<std::string, std::string>;
    n.set_tags({{"zone", "b"}, {"rack", "7"}});
    n.set_tags({{"zone", "c"}}, {"rack", "none"});
    CHECK(n.members()[0].tags == tags{{"zone", "c"}});
    CHECK(code_of([&] { n.set_tags({{"note", std::string(600, 'x')}}); }) == errc::limit);
    std::error_code ec;
    n.set_tags({{"", "x"}}, {}, ec);
    CHECK(ec == errc::bad_argument);
    CHECK(n.members()[0].tags == tags{{"zone", "c"}});
    n.stop();
    CHECK(n.state() == node_state::stopped);
    CHECK_FALSE(n.ready());
  }
  std::vector<node_state> seen;
  while (states.size() > 0) seen.push_back(states.take());
  REQUIRE(seen.size() >= 3);
  CHECK(seen.back() == node_state::stopped);
  CHECK(std::count(seen.begin(), seen.end(), node_state::active) == 1);
  auto again = start_node("a", home, {});
  CHECK(again.wait_ready(patience));
  CHECK(again.members()[0].tags.empty());  // those that were set at run time ended with it
}

TEST_CASE("options that can't work are refused") {
  temporary_directory home;
  CHECK(code_of([&] { node::start({.bind = "127.0.0.1:0"}); }) == errc::bad_argument);
  CHECK(code_of([&] { node::start({.bind = "no port:x", .local_home = home.path()}); }) == errc::bad_argument);
  CHECK(code_of([&] { node::start({.bind = "127.0.0.1:0", .local_home = home.path(), .session_ttl = 1ms}); }) ==
        errc::bad_argument);
  CHECK(code_of([&] { node::start({.bind = "127.0.0.1:0", .local_home = home.path(), .key_file = "k"}); }) ==
        errc::bad_argument);
  CHECK(code_of([&] {
          node::start({.bind = "127.0.0.1:0", .local_home = home.path(), .tags = {{"t", std::string(600, 'x')}}});
        }) == errc::limit);
  CHECK(code_of([&] { node::start({.bind = "0.0.0.0:0", .local_home = home.path()}); }) == errc::bad_argument);
  std::error_code ec;
  node::start({.bind = "127.0.0.1:0"}, ec);
  CHECK(ec == errc::bad_argument);
}

TEST_CASE("the end of a node fails what waits, and everything after it") {
  std::optional<one_node> w(std::in_place);
  auto m = w->n.locks().get("x");
  auto j = w->n.open_journal("x");
  auto c = w->n.caches().get<std::string, int>("x", [](const std::string&) { return 1; });
  mailbox<lock_event> events;
  const auto sub = w->n.locks().on_event([&](const lock_event& e) { events.put(e); });
  m.lock();
  const auto lost = m.lost();
  std::promise<std::error_code> waiter;
  std::thread waiting([&] { waiter.set_value(code_of([&] { m.lock(); })); });
  CHECK(eventually([&] { return m.info()->waiters == 1; }));
  w.reset();
  CHECK(waiter.get_future().get() == errc::closed);
  waiting.join();
  CHECK(lost.stop_requested());
  CHECK_FALSE(m.held());
  CHECK(m.fence() > 0);
  CHECK(events.take().what == lock_event::kind::lost);
  m.unlock();  // as a lock_guard does
  CHECK(code_of([&] { m.lock(); }) == errc::closed);
  CHECK(code_of([&] { j.enqueue("t", "m"); }) == errc::closed);
  CHECK(code_of([&] { c.get("a"); }) == errc::closed);
  CHECK(code_of([&] { c.remove("a"); }) == errc::closed);
}

TEST_CASE("a node that stops asks its runs to stop") {
  std::optional<one_node> w(std::in_place);
  std::latch begun(1);
  std::atomic<bool> stopped = false;
  const auto runner = w->n.jobs().register_runner("long", [&](const job_run& r) {
    std::promise<void> stop;
    const std::stop_callback on_stop(r.stop, [&] { stop.set_value(); });
    begun.count_down();
    stop.get_future().wait();
    stopped = true;
    return job_result::aborted("was told to");
  });
  w->n.jobs().schedule_job("j", {.runner = "long", .when = once{}});
  begun.wait();
  w.reset();
  CHECK(stopped);
}

TEST_CASE("callbacks run where the host wants them") {
  mailbox<std::function<void()>> tasks;
  one_node w({.callbacks = [&](std::function<void()> f) { tasks.put(std::move(f)); }});
  const auto here = std::this_thread::get_id();
  std::thread::id ran{};
  w.n.locks().async_acquire("x", {}, [&](std::error_code, lock_lease) { ran = std::this_thread::get_id(); });
  tasks.take()();
  CHECK(ran == here);
}

}  // namespace
