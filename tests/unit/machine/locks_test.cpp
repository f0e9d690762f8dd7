// Locks: exclusion, order of waiters, tokens (docs/locks.md).
#include "catch.hpp"
#include "world.hpp"

using namespace coterie;
using namespace coterie::machine;

TEST_CASE("lock: the fence is the granting entry's index") {
  world w;
  auto a = w.open(1);
  const auto got = w.ask(a, lock_acquire{"l", false, "main"});
  CHECK(got.value == fence_of(w.index));
  REQUIRE(w.lock("l")->holder);
  CHECK(w.lock("l")->holder->grant.value == w.index.value);
  CHECK(w.lock("l")->holder->label == "main");
  REQUIRE(w.seen<lock_granted>().size() == 1);
}

TEST_CASE("lock: first come, first served, one entry per hand-over") {
  world w;
  auto a = w.open(1), b = w.open(2), c = w.open(3);
  w.ask(a, acquire("l"));
  CHECK(w.ask(b, acquire("l")).value == 0);
  CHECK(w.ask(c, acquire("l")).value == 0);
  CHECK(w.ask(a, lock_release{"l", w.lock("l")->holder->grant}).ok());
  CHECK(w.lock("l")->holder->session == b.epoch);
  CHECK(w.lock("l")->holder->grant.value == w.index.value);
  REQUIRE(w.seen<lock_granted>().size() == 1);
  CHECK(w.seen<lock_freed>().size() == 1);
  w.ask(b, lock_release{"l", w.lock("l")->holder->grant});
  CHECK(w.lock("l")->holder->session == c.epoch);
}

TEST_CASE("lock: a session may hold it and queue again with another request") {
  world w;
  auto a = w.open(1);
  w.ask(a, acquire("l"));
  CHECK(w.ask(a, acquire("l")).value == 0);
  const auto first = w.lock("l")->holder->grant;
  w.ask(a, lock_release{"l", first});
  REQUIRE(w.lock("l") != nullptr);
  CHECK(w.lock("l")->holder->request == request_seq(2));
  CHECK(w.lock("l")->holder->grant > first);
}

TEST_CASE("lock: release of a grant that is not current changes nothing (etcd#16221, etcd#22082)", "[lesson]") {
  world w;
  auto a = w.open(1), b = w.open(2);
  w.ask(a, acquire("l"));
  const auto old = w.lock("l")->holder->grant;
  w.ask(b, acquire("l"));
  w.ask(a, lock_release{"l", old});
  CHECK(w.ask(a, lock_release{"l", old}).code == errc::not_owner);
  CHECK(w.ask(a, lock_release{"l", w.lock("l")->holder->grant}).code == errc::not_owner);  // b's
  CHECK(w.lock("l")->holder->session == b.epoch);
  CHECK(w.ask(a, lock_release{"none", old}).code == errc::not_owner);
}

TEST_CASE("lock: try is refused when it is held, and leaves no trace") {
  world w;
  auto a = w.open(1), b = w.open(2);
  w.ask(a, acquire("l"));
  CHECK(w.ask(b, try_acquire("l")).code == errc::held);
  CHECK(w.lock("l")->waiters.empty());
  CHECK(w.ask(b, try_acquire("m")).value != 0);
}

TEST_CASE("lock: names vanish when free and without waiters") {
  world w;
  auto a = w.open(1);
  for (int i = 0; i < 1'000; ++i) {
    const auto name = fmt::format("l{}", i);
    w.ask(a, acquire(name));
    w.ask(a, lock_release{name, grant_id(w.index.value)});
  }
  CHECK(w.m.locks().empty());
  CHECK(w.disk.all<lock_record>().empty());
}

TEST_CASE("lock: cancel ends a waiter") {
  world w;
  auto a = w.open(1), b = w.open(2);
  w.ask(a, acquire("l"));
  w.ask(b, acquire("l"));
  CHECK(w.ask(b, lock_cancel{"l", b.seq}).value == 0);
  CHECK(w.lock("l")->waiters.empty());
  w.ask(a, lock_release{"l", w.lock("l")->holder->grant});
  CHECK(w.lock("l") == nullptr);
}

TEST_CASE("lock: cancel releases what the request was granted, and the next gets it") {
  world w;
  auto a = w.open(1), b = w.open(2);
  const auto fence = w.ask(a, acquire("l")).value;
  w.ask(b, acquire("l"));
  CHECK(w.ask(a, lock_cancel{"l", request_seq(1)}).value == fence);
  CHECK(w.lock("l")->holder->session == b.epoch);
  CHECK(w.ask(a, lock_cancel{"l", request_seq(1)}).value == 0);
  CHECK(w.lock("l")->holder->session == b.epoch);
}

TEST_CASE("lock: a cancel that overtakes its request keeps it from being granted") {
  world w;
  auto a = w.open(1);
  w.apply({a.epoch, request_seq(2), {}, {}, lock_cancel{"l", request_seq(1)}});
  const auto late = w.apply({a.epoch, request_seq(1), {}, {}, acquire("l")});
  CHECK(late.duplicate);
  CHECK(late.result.code == errc::timeout);
  CHECK(w.lock("l") == nullptr);
}

TEST_CASE(
    "lock: the end of a session frees what it holds, in the same entry, and drops its waiters (Atomix "
    "AbstractAtomicLockService)",
    "[lesson]") {
  for (const bool clean : {false, true}) {
    world w;
    auto a = w.open(1), b = w.open(2), c = w.open(3);
    w.ask(a, acquire("x"));
    w.ask(a, acquire("y"));
    w.ask(b, acquire("z"));
    w.ask(a, acquire("z"));
    w.ask(c, acquire("z"));
    w.ask(b, acquire("x"));
    w.ask(c, acquire("y"));
    if (clean)
      w.duty(close_session{a.epoch});
    else
      w.expire(a);
    const auto granted = w.seen<lock_granted>();
    REQUIRE(granted.size() == 2);
    CHECK(granted[0].name == "x");
    CHECK(granted[0].holder.session == b.epoch);
    CHECK(granted[1].name == "y");
    CHECK(granted[1].holder.session == c.epoch);
    CHECK(granted[1].holder.grant.value == w.index.value);
    w.ask(b, lock_release{"z", w.lock("z")->holder->grant});
    CHECK(w.lock("z")->holder->session == c.epoch);
  }
}

TEST_CASE("lock: waiters of several ended sessions are all skipped (etcd#11457)", "[lesson]") {
  world w;
  auto a = w.open(1), b = w.open(2), c = w.open(3);
  w.ask(a, acquire("l"));
  w.ask(b, acquire("l"));
  w.ask(b, acquire("l"));
  w.ask(c, acquire("l"));
  w.expire(b);
  w.expire(a);
  CHECK(w.lock("l")->holder->session == c.epoch);
  w.expire(c);
  CHECK(w.m.locks().empty());
}

TEST_CASE("lock: no lock is granted on a passive or stopping node") {
  world w;
  auto a = w.open(1), b = w.open(2, false), c = w.open(3);
  CHECK(w.ask(b, acquire("l")).code == errc::passive);
  w.ask(a, acquire("l"));
  w.ask(c, acquire("l"));
  w.ask(c, acquire("own"));
  w.ask(c, set_activity{true, true});
  CHECK(w.ask(c, acquire("m")).code == errc::passive);
  CHECK(w.lock("own")->holder->session == c.epoch);  // what it holds it releases itself
  w.ask(a, lock_release{"l", w.lock("l")->holder->grant});
  CHECK(w.lock("l") == nullptr);
  w.ask(b, set_activity{true, false});
  CHECK(w.ask(b, acquire("l")).ok());
}

TEST_CASE("lock: locks and waiters are limited") {
  limits l;
  l.locks = 2;
  l.waiters_per_lock = 1;
  world w(l);
  auto a = w.open(1);
  w.ask(a, acquire("x"));
  w.ask(a, acquire("y"));
  CHECK(w.ask(a, acquire("z")).code == errc::limit);
  CHECK(w.ask(a, acquire("x")).ok());
  CHECK(w.ask(a, acquire("x")).code == errc::limit);
}

TEST_CASE("lock: names are 1 to 255 bytes of printable UTF-8") {
  world w;
  auto a = w.open(1);
  const auto code = [&](std::string name) { return w.ask(a, try_acquire(std::move(name))).code; };
  CHECK(code("com.acme.Outer$Inner:1") == errc{});
  CHECK(code("Zürich 湖") == errc{});
  CHECK(code(std::string(255, 'x')) == errc{});
  CHECK(code(std::string(256, 'x')) == errc::bad_name);
  CHECK(code("") == errc::bad_name);
  CHECK(code("a\nb") == errc::bad_name);
  CHECK(code(std::string("a\0b", 3)) == errc::bad_name);
  CHECK(code("\x7f") == errc::bad_name);
  CHECK(code("\xc2\x80") == errc::bad_name);      // C1 control
  CHECK(code("\xc0\xaf") == errc::bad_name);      // overlong
  CHECK(code("\xed\xa0\x80") == errc::bad_name);  // surrogate
  CHECK(code("\xe2\x82") == errc::bad_name);      // cut
  CHECK(code("\xf4\x90\x80\x80") == errc::bad_name);
}
