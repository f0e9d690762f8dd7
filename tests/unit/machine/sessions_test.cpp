// Sessions and exactly-once requests (docs/consensus.md 1.9).
#include "catch.hpp"
#include "world.hpp"

using namespace coterie;
using namespace coterie::machine;

TEST_CASE("a session's epoch is the index of its open entry") {
  world w;
  const auto a = w.duty(opening(node(1), 7));
  CHECK(a.value == w.index.value);
  REQUIRE(w.seen<session_opened>().size() == 1);
  CHECK(w.seen<session_opened>()[0].session.epoch.value == a.value);
}

TEST_CASE("open is idempotent by node and nonce") {
  world w;
  const auto a = w.duty(opening(node(1), 7));
  const auto again = w.duty(opening(node(1), 7));
  CHECK(again.value == a.value);
  CHECK(w.happened.empty());
  const auto other = w.duty(opening(node(1), 8));
  CHECK(other.value != a.value);
  CHECK(w.m.sessions().size() == 2);  // a new epoch never ends an older one
  CHECK(w.duty(opening(node(2), 7)).value != a.value);
}

TEST_CASE("expire is void unless the proposer's term is the entry's (etcd#15247)", "[lesson]") {
  world w;
  const auto c = w.open(1);
  w.when = term(3);
  CHECK(w.duty(expire_session{c.epoch, term(2)}).code == errc::not_owner);
  CHECK(w.m.session(c.epoch) != nullptr);
  CHECK(w.duty(expire_session{c.epoch, term(3)}).ok());
  CHECK(w.m.session(c.epoch) == nullptr);
  REQUIRE(w.seen<session_ended>().size() == 1);
  CHECK(w.seen<session_ended>()[0].expired);
  CHECK(w.duty(expire_session{c.epoch, term(3)}).code == errc::not_found);
}

TEST_CASE("expire touches only its epoch") {
  world w;
  auto old = w.open(1);
  w.ask(old, acquire("l"));
  auto fresh = w.open(1);
  w.ask(fresh, acquire("m"));
  w.expire(old);
  CHECK(w.lock("l") == nullptr);
  CHECK(w.lock("m") != nullptr);
}

TEST_CASE("exactly once: a repeated request gets the stored answer and does nothing") {
  world w;
  auto c = w.open(1);
  const command append{c.epoch, request_seq(1), {}, {}, journal_append{"j", "", {{"t", "m"}}}};
  const auto first = w.apply(append);
  const auto again = w.apply(append);
  CHECK_FALSE(first.duplicate);
  CHECK(again.duplicate);
  CHECK(again.result == first.result);
  CHECK(again.happened.empty());
  CHECK(w.journal("j").count == 1);
}

TEST_CASE("exactly once: requests may come in any order") {
  world w;
  auto c = w.open(1);
  for (const std::uint64_t seq : {3, 1, 2, 3, 2, 1})
    w.apply({c.epoch, request_seq(seq), {}, {}, journal_append{"j", "", {{"t", "m"}}}});
  CHECK(w.journal("j").count == 3);
}

TEST_CASE("exactly once: an acknowledged request is never executed, though its answer is gone") {
  world w;
  auto c = w.open(1);
  w.apply({c.epoch, request_seq(1), {}, {}, journal_append{"j", "", {{"t", "m"}}}});
  w.apply({c.epoch, request_seq(5), request_seq(2), {}, journal_append{"j", "", {{"t", "m"}}}});
  CHECK(w.m.session(c.epoch)->acked == request_seq(2));
  CHECK(w.m.session(c.epoch)->used.size() == 1);
  for (const std::uint64_t seq : {1, 2}) {
    const auto late = w.apply({c.epoch, request_seq(seq), {}, {}, journal_append{"j", "", {{"t", "m"}}}});
    CHECK(late.duplicate);
    CHECK(late.result.code == errc::indeterminate);
  }
  CHECK(w.journal("j").count == 2);
  // Above the acknowledgement and not used: executed.
  CHECK_FALSE(w.apply({c.epoch, request_seq(4), {}, {}, journal_append{"j", "", {{"t", "m"}}}}).duplicate);
  CHECK(w.m.session(c.epoch)->acked == request_seq(2));  // and an older ack moves nothing back
}

TEST_CASE("exactly once: a request can't acknowledge itself") {
  world w;
  auto c = w.open(1);
  const command append{c.epoch, request_seq(3), request_seq(99), {}, journal_append{"j", "", {{"t", "m"}}}};
  const auto first = w.apply(append);
  CHECK(first.result.ok());
  CHECK(w.m.session(c.epoch)->acked == request_seq(2));
  CHECK(w.apply(append).result == first.result);
}

TEST_CASE("exactly once: a refused request stays refused") {
  world w;
  auto c = w.open(1), other = w.open(2);
  w.ask(other, acquire("l"));
  const command try_lock{c.epoch, request_seq(1), {}, {}, try_acquire("l")};
  CHECK(w.apply(try_lock).result.code == errc::held);
  w.ask(other, lock_release{"l", grant_id(w.lock("l")->holder->grant)});
  CHECK(w.apply(try_lock).result.code == errc::held);
  CHECK(w.lock("l") == nullptr);
}

TEST_CASE("a request beyond the client's window is not executed and has no definite answer") {
  limits l;
  l.used_per_session = 4;
  world w(l);
  auto c = w.open(1);
  const auto append = [&](std::uint64_t seq, std::uint64_t ack) {
    return w.apply({c.epoch, request_seq(seq), request_seq(ack), {}, journal_append{"j", "", {{"t", "m"}}}}).result;
  };
  for (std::uint64_t seq = 1; seq <= 4; ++seq) CHECK(append(seq, 0).ok());
  CHECK(append(5, 0).code == errc::indeterminate);
  CHECK(w.journal("j").count == 4);
  CHECK(append(5, 1).ok());
  CHECK(w.m.session(c.epoch)->used.size() == 4);
}

TEST_CASE("a request of a dead session is not executed: indeterminate (dragonboat: LRU sessions)", "[lesson]") {
  world w;
  auto c = w.open(1);
  w.expire(c);
  const auto a = w.ask(c, journal_append{"j", "", {{"t", "m"}}});
  CHECK(a.code == errc::indeterminate);
  CHECK(a.text.find("the session has ended") != std::string::npos);
  CHECK(w.m.journals().empty());
}

TEST_CASE("close: a repeated close of the own session is done") {
  world w;
  auto c = w.open(1);
  CHECK(w.ask(c, close_session{c.epoch}).ok());
  CHECK(w.ask(c, close_session{c.epoch}).ok());
  REQUIRE(w.m.session(c.epoch) == nullptr);
}

TEST_CASE("sessions and their TTL are limited") {
  limits l;
  l.sessions = 2;
  world w(l);
  w.open(1), w.open(2);
  CHECK(w.duty(opening(node(3), 1)).code == errc::limit);
  CHECK(w.duty(opening(node(3), 1, 999ms)).code == errc::bad_argument);
  CHECK(w.duty(opening(node(3), 1, 121s)).code == errc::bad_argument);
}

TEST_CASE("a runner key is unique on its node and limited in number") {
  limits l;
  l.runners_per_session = 2;
  world w(l);
  auto c = w.open(1), d = w.open(2);
  CHECK(w.ask(c, register_runner{"b"}).ok());
  CHECK(w.ask(c, register_runner{"b"}).code == errc::exists);
  CHECK(w.ask(d, register_runner{"b"}).ok());
  CHECK(w.ask(c, register_runner{"a"}).ok());
  CHECK(w.m.session(c.epoch)->runners == std::vector<std::string>{"a", "b"});
  CHECK(w.ask(c, register_runner{"c"}).code == errc::limit);
  CHECK(w.ask(c, unregister_runner{"c"}).code == errc::not_found);
  CHECK(w.ask(c, unregister_runner{"a"}).ok());
}

TEST_CASE("what needs a session is refused without one") {
  world w;
  CHECK(w.duty(register_runner{"a"}).code == errc::bad_argument);
  CHECK(w.duty(set_activity{}).code == errc::bad_argument);
  CHECK(w.duty(acquire("l")).code == errc::passive);
  CHECK(w.duty(lock_cancel{"l", request_seq(1)}).code == errc::bad_argument);
  CHECK(w.m.locks().empty());
}

TEST_CASE("the stamp of the state never falls") {
  world w;
  w.duty(journal_append{"j", "", {{"t", "m"}}});
  const auto before = w.m.globals().last_stamp;
  w.pass(-1h);
  w.duty(journal_append{"j", "", {{"t", "m"}}});
  CHECK(w.m.globals().last_stamp == before);
  CHECK(w.journal("j").last_created == before);
}
