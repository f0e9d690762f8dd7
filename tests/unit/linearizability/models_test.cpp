// Registers, key-value maps and locks: what each allows, with outcomes known and unknown, and what a search may spend.
#include "linearizability/models.hpp"
#include "catch.hpp"
#include "histories.hpp"
#include "linearizability/generate.hpp"

using namespace coterie::linearizability;
using namespace coterie::linearizability::test;

TEST_CASE("a register", "[linearizability]") {
  CHECK(right({}));
  CHECK(right({did(1, "read", {}, {}, 0, 1)}));
  CHECK(wrong({did(1, "read", {}, 1, 0, 1)}));
  CHECK(right({did(1, "write", 1, "ok", 0, 1), did(1, "read", {}, 1, 2, 3)}));
  CHECK(wrong({did(1, "write", 1, "ok", 0, 1), did(1, "read", {}, {}, 2, 3)}));
  // they overlap, also when they only touch
  CHECK(right({did(1, "write", 1, "ok", 0, 2), did(2, "read", {}, {}, 2, 3)}));
  CHECK(right({did(1, "write", 1, "ok", 2, 4), did(2, "read", {}, 1, 0, 2)}));
  CHECK(wrong({did(1, "write", 1, "ok", 3, 4), did(2, "read", {}, 1, 0, 2)}));
  // a read that saw it ended before one that did not began
  CHECK(wrong({did(1, "write", 1, "ok", 0, 9), did(2, "read", {}, 1, 1, 2), did(3, "read", {}, {}, 3, 4)}));
  CHECK(right({did(1, "write", 1, "ok", 0, 9), did(2, "read", {}, 1, 1, 3), did(3, "read", {}, {}, 2, 4)}));
  // any JSON is a value
  CHECK(right({did(1, "write", "1", "ok", 0, 1), did(1, "read", {}, "1", 2, 3)}));
  CHECK(wrong({did(1, "write", "1", "ok", 0, 1), did(1, "read", {}, 1, 2, 3)}));
  CHECK(
      right({did(1, "write", {1, 2}, "ok", 0, 1), did(1, "write", value(), "ok", 2, 3), did(1, "read", {}, {}, 4, 5)}));
}

TEST_CASE("compare and set", "[linearizability]") {
  const auto write = did(1, "write", 1, "ok", 0, 1);
  CHECK(right({write, did(1, "cas", {1, 2}, true, 2, 3), did(1, "read", {}, 2, 4, 5)}));
  CHECK(wrong({write, did(1, "cas", {1, 2}, false, 2, 3)}));
  CHECK(wrong({write, did(1, "cas", {2, 3}, true, 2, 3)}));
  CHECK(right({write, did(1, "cas", {2, 3}, false, 2, 3), did(1, "read", {}, 1, 4, 5)}));
  CHECK(right({write, maybe(2, "cas", {1, 2}, 2), did(1, "read", {}, 1, 4, 5), did(1, "read", {}, 2, 6, 7)}));
  CHECK(wrong({write, maybe(2, "cas", {1, 2}, 2), did(1, "read", {}, 2, 4, 5), did(1, "read", {}, 1, 6, 7)}));
  // only a write that nobody read explains that it did not match
  CHECK(right({write, maybe(2, "write", 7, 2), did(1, "cas", {1, 2}, false, 4, 5)}));
  CHECK(wrong({write, maybe(2, "write", 7, 6), did(1, "cas", {1, 2}, false, 4, 5)}));
}

TEST_CASE("an operation of unknown outcome takes effect late, or never, and once", "[linearizability]") {
  const auto write = maybe(1, "write", 1, 0);
  CHECK(right({write}));
  CHECK(right({write, did(2, "read", {}, {}, 1'000, 1'001)}));
  CHECK(right({write, did(2, "read", {}, {}, 10, 11), did(2, "read", {}, 1, 1'000, 1'001)}));
  CHECK(wrong({maybe(1, "write", 1, 50), did(2, "read", {}, 1, 10, 11)}));
  const history twice = {write, did(2, "read", {}, 1, 10, 11), did(2, "write", 2, "ok", 20, 21),
                         did(2, "read", {}, 1, 30, 31)};
  CHECK(wrong(twice));
  history two = twice;
  two.push_back(maybe(3, "write", 1, 0));
  CHECK(right(two));
  // a returned one without output is unknown too, and so is a read's
  operation late = did(3, "write", 1, {}, 0, 1);
  late.output = std::nullopt;
  history h = twice;
  h.push_back(late);
  CHECK(right(h));
  CHECK(right({maybe(2, "read", {}, 0), did(2, "read", {}, {}, 1, 2)}));
}

TEST_CASE("many writes whose outcome nobody will know cost nothing", "[linearizability]") {
  history h;
  for (int i = 0; i < 2'000; ++i) h.push_back(maybe(1, "write", i, i));
  for (int i = 0; i < 50; ++i) h.push_back(did(2, "read", {}, i * 40, 10'000 + i * 10, 10'005 + i * 10));
  const auto r = check(h);
  REQUIRE(r);
  CHECK(r->what == verdict::linearizable);
  CHECK(r->steps < 100'000);
  h.push_back(did(2, "read", {}, 0, 20'000, 20'001));  // once more than it was written
  const auto again = check(h);
  REQUIRE(again);
  CHECK(again->what == verdict::not_linearizable);
  CHECK(again->failures[0].shown.size() < 10);
}

TEST_CASE("a key-value map", "[linearizability]") {
  CHECK(right({did(1, "get", {}, "", 0, 1), did(1, "get", {}, {}, 0, 1)}));
  CHECK(right({did(1, "append", "a", "ok", 0, 1), did(1, "append", "b", "ok", 2, 3), did(1, "get", {}, "ab", 4, 5)}));
  CHECK(wrong({did(1, "append", "a", "ok", 0, 1), did(1, "append", "b", "ok", 2, 3), did(1, "get", {}, "ba", 4, 5)}));
  CHECK(right({did(1, "append", "a", "ok", 0, 3), did(2, "append", "b", "ok", 2, 3), did(1, "get", {}, "ba", 4, 5)}));
  CHECK(wrong({did(1, "append", "a", "ok", 0, 1), did(1, "get", {}, "", 2, 3), did(1, "get", {}, "a", 4, 5)}));
  CHECK(right({did(1, "append", "a", "ok", 0, 1), did(1, "put", "", "ok", 2, 3), did(1, "get", {}, "", 4, 5)}));
  CHECK(right({did(1, "append", "aa", "ok", 0, 1), did(1, "append", "a", "ok", 2, 3), did(1, "get", {}, "aaa", 4, 5)}));
  // nobody can have read what lies between
  CHECK(right({did(1, "append", "x", "ok", 0, 1), did(1, "append", "y", "ok", 2, 3), did(1, "put", "a", "ok", 4, 5),
               did(1, "get", {}, "a", 6, 7)}));
  CHECK(wrong({did(1, "append", "x", "ok", 0, 1), did(1, "put", "a", "ok", 8, 9), did(1, "get", {}, "a", 6, 7)}));
  CHECK(right({maybe(1, "put", "a", 0), maybe(2, "append", "b", 0), did(1, "get", {}, "ab", 6, 7)}));
  CHECK(wrong({maybe(1, "put", "a", 0), maybe(2, "append", "b", 0), did(1, "get", {}, "abb", 6, 7)}));
  // keys are independent
  operation other = did(1, "append", "a", "ok", 0, 1);
  other.key = "other";
  CHECK(wrong({other, did(1, "get", {}, "a", 6, 7)}));
}

TEST_CASE("a lock", "[linearizability]") {
  const auto acquire = did(1, "acquire", {}, 5, 0, 1);
  CHECK(right({acquire, did(1, "release", 5, "done", 2, 3), did(2, "acquire", {}, 6, 4, 5)}));
  CHECK(wrong({acquire, did(2, "acquire", {}, 6, 4, 5)}));
  CHECK(wrong({acquire, did(1, "release", 5, "done", 2, 3), did(2, "acquire", {}, 5, 4, 5)}));
  CHECK(wrong({acquire, did(1, "release", 5, "done", 2, 3), did(2, "acquire", {}, 4, 4, 5)}));
  CHECK(right({acquire, did(1, "release", 5, "done", 2, 9), did(2, "acquire", {}, 6, 4, 5)}));
  CHECK(wrong({acquire, did(1, "release", 5, "done", 2, 3), did(1, "release", 5, "done", 4, 5)}));
  CHECK(right({acquire, did(1, "release", 5, "done", 2, 3), did(1, "release", 5, "not_held", 4, 5)}));
  CHECK(wrong({acquire, did(1, "release", 5, "not_held", 4, 5)}));
  CHECK(right({acquire, did(2, "acquire", {}, {{"error", "timeout"}}, 2, 3), did(1, "release", 5, "done", 4, 5)}));
  CHECK(right({acquire, maybe(1, "release", 5, 2), did(2, "acquire", {}, 6, 40, 50)}));
  CHECK(wrong({acquire, maybe(1, "release", 5, 60), did(2, "acquire", {}, 6, 40, 50)}));
}

TEST_CASE("a lease that ends", "[linearizability]") {
  const auto acquire = did(1, "acquire", {}, 5, 0, 1), next = did(2, "acquire", {}, 6, 40, 50);
  operation lost = did(1, "lost", 5, {}, 10, 20);
  CHECK(right({acquire, lost, next}));
  CHECK(wrong({acquire, lost, next, did(1, "release", 5, "done", 30, 31)}));
  CHECK(right({acquire, lost, next, did(1, "release", 5, "not_held", 30, 31)}));
  lost.output = std::nullopt;
  CHECK(wrong({acquire, lost, did(1, "release", 5, "done", 30, 31)}));
  lost.returned = std::nullopt;  // at any time, or never
  CHECK(right({acquire, lost, next}));
  CHECK(right({acquire, lost, did(1, "release", 5, "done", 30, 31)}));
  lost.call = 51;
  CHECK(wrong({acquire, lost, next}));
  CHECK(right({acquire, did(3, "lost", 4, {}, 2, 3)}));  // of a hold that ended long ago
}

TEST_CASE("a fence that was granted without an answer", "[linearizability]") {
  const auto acquire = maybe(1, "acquire", {}, 0);
  CHECK(right({acquire, did(2, "acquire", {}, 3, 10, 11)}));
  CHECK(right({acquire, did(1, "release", 7, "done", 10, 11)}));
  CHECK(wrong({did(1, "release", 7, "done", 10, 11)}));
  CHECK(wrong({acquire, did(1, "release", 7, "done", 10, 11), did(2, "acquire", {}, 6, 20, 21)}));
  CHECK(wrong({acquire, did(1, "release", 7, "done", 10, 11), did(1, "release", 8, "done", 20, 21)}));
  CHECK(right({acquire, maybe(3, "acquire", {}, 0), did(1, "release", 7, "done", 10, 11),
               did(1, "release", 8, "done", 20, 21)}));
}

TEST_CASE("services share a history, each key apart", "[linearizability]") {
  history h = {did(1, "acquire", {}, 5, 0, 1),    did(1, "write", 1, "ok", 0, 1),
               did(1, "append", "a", "ok", 0, 1), did(1, "append", {"m"}, {1}, 0, 1),
               did(1, "read", {}, 1, 2, 3),       did(1, "read", {{"after", 0}}, {{"entries", {{1, "m"}}}}, 2, 3)};
  const auto r = check(h);
  REQUIRE(r);
  CHECK(r->what == verdict::linearizable);
  CHECK(r->keys == 4);
  CHECK(r->operations == 6);
  options o;
  o.meaning = model::register_;
  CHECK(judged(h, o) == "malformed: a register has no \"acquire\"");
}

TEST_CASE("operations that no model can read", "[linearizability]") {
  CHECK(judged({did(1, "jump", {}, {}, 0, 1)}) == "malformed: no model has \"jump\"");
  CHECK(judged({did(1, "read", {}, {}, 1, 0)}) == "malformed: it returns before it is called");
  CHECK(judged({did(1, "cas", 1, true, 0, 1)}) == "malformed: the input of cas is not [old, new]");
  CHECK(judged({did(1, "cas", {1, 2}, "ok", 0, 1)}) == "malformed: the output of cas is neither true nor false");
  CHECK(judged({did(1, "get", {}, 1, 0, 1)}) == "malformed: the output of get is not a string");
  CHECK(judged({did(1, "put", 1, "ok", 0, 1)}) == "malformed: the input of put is not a string");
  CHECK(judged({did(1, "acquire", {}, -1, 0, 1)}) ==
        "malformed: the output of acquire is not a fence (a number from 1)");
  CHECK(judged({did(1, "acquire", {}, 0, 0, 1)}) ==
        "malformed: the output of acquire is not a fence (a number from 1)");
  CHECK(judged({did(1, "lost", {}, {}, 0, 1)}) == "malformed: the input of lost is not a fence (a number)");
  CHECK(judged({did(1, "release", 1, true, 0, 1)}) ==
        "malformed: the output of release is neither \"done\" nor \"not_held\"");
  const auto r = check({did(1, "write", 1, {}, 0, 1), did(1, "write", 2, {}, 0, 1), did(1, "cas", {}, {}, 0, 1)});
  REQUIRE(!r);
  CHECK(r.error().operation == 2);
}

TEST_CASE("a search has limits", "[linearizability]") {
  coterie::rng random(3);
  const history h = generate({model::register_, 500, 8, 1, 3, 0.05, 10}, random);
  options o;
  o.spend.steps = 100;
  const auto r = check(h, o);
  REQUIRE(r);
  CHECK(r->what == verdict::unknown);
  CHECK(r->undecided == std::vector<std::string>{"k0 (register)"});
  CHECK(r->steps < 1'000);
  // the table is emptied when it is full: that costs steps only
  o.spend = {};
  o.spend.bytes = 100'000;
  CHECK(judged(h, o) == "linearizable");
  // a key that fails decides, whatever is unknown
  history both = h;
  both.push_back(did(1, "read", {}, 1, 0, 1));
  o.spend.steps = 100;
  CHECK(judged(both, o) == "not_linearizable");
}

TEST_CASE("hundreds of operations are open at once", "[linearizability]") {
  const int n = GENERATE(63, 64, 65, 700, 3'000);
  const auto m = GENERATE(model::register_, model::key_value);
  history h;
  const auto number = [&](int i) { return m == model::register_ ? value(i) : value(std::to_string(i)); };
  const auto see = [&](int i, int at) {
    h.push_back(did(9'000, m == model::register_ ? "read" : "get", {}, number(i), at, at + 1));
  };
  for (int i = 0; i < n; ++i)
    h.push_back(
        did(static_cast<std::uint64_t>(i), m == model::register_ ? "write" : "put", number(i), "ok", i, 10'000));
  see(n - 1, 20'000);
  CHECK(right(h));
  see(n - 2, 30'000);
  CHECK(wrong(h));
}
