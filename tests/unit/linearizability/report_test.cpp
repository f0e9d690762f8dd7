// What a person is told when a history is not linearizable.
#include "catch.hpp"
#include "histories.hpp"
#include "linearizability/timeline.hpp"

using namespace coterie::linearizability;
using namespace coterie::linearizability::test;

namespace {

std::string told(const history& h) {
  const auto r = check(h);
  REQUIRE(r);
  REQUIRE(r->failures.size() == 1);
  return '\n' + r->failures[0].text();
}

}  // namespace

TEST_CASE("a stale read", "[linearizability]") {
  history h;
  for (int i = 0; i < 20; ++i) h.push_back(did(3, "write", 1, "ok", i * 10, i * 10 + 5));
  h.push_back(did(1, "write", 3, "ok", 300, 310));
  h.push_back(did(2, "write", 4, "ok", 320, 330));
  h.push_back(did(5, "read", {}, 4, 335, 341));
  h.push_back(did(4, "read", {}, 3, 340, 350));
  h.push_back(did(4, "write", 9, "ok", 360, 370));
  CHECK(told(h) == R"(
register "k" is not linearizable: 2 of 25 operations (*) contradict each other, whatever came of the other 23.
  called at  process  operation        time
        320        2  write 4 -> "ok"  |--|
*       335        5  read -> 4              |-----|
*       340        4  read -> 3                 |-----|
  The longest beginning of a linearization has 23 operations, at last ..., write 3 -> "ok" by process 1; write 4 -> "ok" by process 2; read -> 4 by process 5. Then the register holds 4 since write 4 -> "ok" by process 2, and read -> 3 by process 4 can't follow.
)");
}

TEST_CASE("a write is not left out of what its readers saw", "[linearizability]") {
  CHECK(told({did(1, "write", 1, "ok", 0, 1), did(1, "read", {}, 1, 2, 3), maybe(2, "write", 2, 4),
              did(1, "read", {}, 2, 6, 7), did(1, "read", {}, 1, 8, 9)}) == R"(
register "k" is not linearizable: 2 of 5 operations (*) contradict each other, whatever came of the other 3.
  called at  process  operation     time
          4        2  write 2 -> ?  |-------------?
*         6        1  read -> 2        |--|
*         8        1  read -> 1              |--|
  The longest beginning of a linearization has 4 operations, at last ..., read -> 1 by process 1; write 2 -> ? by process 2; read -> 2 by process 1. Then the register holds 2 since write 2 -> ? by process 2, and read -> 1 by process 1 can't follow.
)");
}

TEST_CASE("two holders", "[linearizability]") {
  CHECK(told({did(1, "acquire", {}, 7, 0, 10), did(2, "acquire", {}, 9, 20, 30)}) == R"(
lock "k" is not linearizable: 2 of 2 operations (*) contradict each other.
  called at  process  operation     time
*         0        1  acquire -> 7  |--|
*        20        2  acquire -> 9        |--|
  The longest beginning of a linearization has 1 operation, at last acquire -> 7 by process 1. Then the lock is held under fence 7 since acquire -> 7 by process 1, and acquire -> 9 by process 2 can't follow.
)");
}

TEST_CASE("what can't come first", "[linearizability]") {
  CHECK(told({did(1, "get", {}, "x", 0, 10)}) == R"(
kv "k" is not linearizable: 1 of 1 operation (*) can't be right.
  called at  process  operation   time
*         0        1  get -> "x"  |--|
  No operation can come first: the value is "" from the start, and get -> "x" by process 1 can't follow.
)");
}

TEST_CASE("a journal that forgets", "[linearizability]") {
  CHECK(told({did(1, "append", {"a"}, {1}, 0, 10), did(2, "append", {"b"}, {2}, 0, 10),
              did(3, "read", {{"after", 0}}, {{"entries", {{2, "b"}}}}, 20, 30)}) == R"(
journal "k" is not linearizable: 3 of 3 operations (*) contradict each other.
  called at  process  operation                                  time
*         0        1  append ["a"] -> [1]                        |--|
*         0        2  append ["b"] -> [2]                        |--|
*        20        3  read {"after":0} -> {"entries":[[2,"b"]]}        |--|
  read {"after":0} -> {"entries":[[2,"b"]]} by process 3 saw entry 2 but not entry 1, which comes before it: append ["a"] -> [1] by process 1.
)");
}

TEST_CASE("only the first failures are explained", "[linearizability]") {
  history h;
  for (int i = 0; i < 5; ++i) {
    h.push_back(did(1, "read", {}, 1, 0, 1));
    h.back().key = std::to_string(i);
  }
  options o;
  o.max_failures = 2;
  const auto r = check(h, o);
  REQUIRE(r);
  CHECK(r->failed == 5);
  CHECK(r->failures.size() == 2);
  o.max_failures = 5;
  o.explain = false;
  const auto quick = check(h, o);
  REQUIRE(quick);
  REQUIRE(quick->failures.size() == 5);
  CHECK(quick->failures[0].text() == "register \"0\" is not linearizable.\n");
}

TEST_CASE("a timeline keeps its width", "[linearizability]") {
  history h;
  for (int i = 0; i < 100; ++i) h.push_back(did(1, "write", 1, "ok", i * 10, i * 10 + 15));
  operation_list list;
  for (const auto& o : h) list.push_back(&o);
  const auto text = timeline(list);
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) CHECK(end - begin < 120);
}
