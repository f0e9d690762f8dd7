// Journals: what may be read when, and appends whose outcome nobody was told.
#include "catch.hpp"
#include "histories.hpp"

using namespace coterie::linearizability;
using namespace coterie::linearizability::test;

namespace {

operation read(std::uint64_t after, value entries, bool end, std::int64_t call, std::int64_t returned) {
  return did(9, "read", {{"after", after}, {"max", 10}}, {{"entries", std::move(entries)}, {"end", end}}, call,
             returned);
}
value entry(std::uint64_t id, const char* message) { return value::array({id, message}); }
value list(std::initializer_list<value> items) {
  value v = value::array();
  for (const auto& i : items) v.push_back(i);
  return v;
}
operation append(value messages, value ids, std::int64_t call, std::int64_t returned) {
  return did(1, "append", std::move(messages), std::move(ids), call, returned);
}

const operation a = append({"a"}, {1}, 0, 10), b = append({"b", "c"}, {4, 5}, 20, 30);
const value all = list({entry(1, "a"), entry(4, "b"), entry(5, "c")});

}  // namespace

TEST_CASE("a journal", "[linearizability]") {
  CHECK(right({a, b, read(0, all, true, 40, 50)}));
  CHECK(right({a, b, read(1, list({entry(4, "b"), entry(5, "c")}), true, 40, 50)}));
  CHECK(right({a, b, read(0, list({entry(1, "a")}), false, 40, 50)}));
  CHECK(right({a, b, read(2, list({entry(4, "b")}), false, 40, 50)}));
  CHECK(right({a, b, read(5, list({}), true, 40, 50)}));
  CHECK(right({a, b, read(0, list({}), false, 40, 50)}));
  CHECK(right({a, b, read(0, list({entry(1, "a")}), true, 12, 15)}));
  CHECK(right({a, b, read(0, list({}), true, 0, 5)}));
}

TEST_CASE("what a journal's reads may not return", "[linearizability]") {
  CHECK(wrong({a, b, read(0, list({entry(1, "a")}), true, 40, 50)}));                  // not the end
  CHECK(wrong({a, b, read(0, list({entry(1, "a"), entry(5, "c")}), false, 40, 50)}));  // a gap
  CHECK(wrong({a, b, read(0, list({entry(4, "b")}), false, 40, 50)}));                 // a gap at the front
  CHECK(wrong({a, b, read(0, list({entry(1, "a"), entry(4, "c")}), false, 40, 50)}));  // another message
  CHECK(wrong({a, b, read(0, list({entry(1, "a"), entry(2, "x")}), false, 40, 50)}));  // from nowhere
  CHECK(wrong({a, b, read(1, list({entry(1, "a")}), false, 40, 50)}));                 // what was not asked for
  CHECK(wrong({a, b, read(0, list({entry(4, "b"), entry(1, "a")}), false, 40, 50)}));  // not in order
  CHECK(wrong({a, b, read(0, all, true, 12, 15)}));                                    // not appended yet
  CHECK(wrong({a, b, read(1, list({entry(4, "b")}), true, 25, 26)}));                  // half a batch
  CHECK(wrong({a, did(1, "read", {{"after", 0}, {"max", 0}}, {{"entries", {{1, "a"}}}}, 40, 50)}));
}

TEST_CASE("a journal's ids rise with time", "[linearizability]") {
  CHECK(wrong({append({"a"}, {2}, 0, 10), append({"b"}, {1}, 20, 30)}));
  CHECK(right({append({"a"}, {2}, 0, 25), append({"b"}, {1}, 20, 30)}));
  CHECK(wrong({append({"a"}, {2}, 0, 25), append({"b"}, {2}, 20, 30)}));
  CHECK(wrong({append({"a", "b"}, {2, 4}, 0, 25)}));
  // one saw the second before the first was called
  CHECK(wrong({append({"a"}, {1}, 20, 90), append({"b"}, {2}, 0, 90), maybe(1, "append", {"c"}, 0),
               read(1, list({entry(2, "b")}), false, 10, 15)}));
  // one saw the end after another saw more
  CHECK(wrong(
      {append({"a"}, {1}, 0, 90), read(0, list({entry(1, "a")}), true, 10, 20), read(0, list({}), true, 30, 40)}));
  CHECK(right(
      {append({"a"}, {1}, 0, 90), read(0, list({entry(1, "a")}), true, 10, 20), read(0, list({}), true, 20, 40)}));
  CHECK(right(
      {append({"a"}, {1}, 0, 90), read(0, list({entry(1, "a")}), true, 10, 20), read(0, list({}), false, 30, 40)}));
}

TEST_CASE("appends of unknown outcome", "[linearizability]") {
  const auto unknown = maybe(1, "append", {"x", "y"}, 0);
  CHECK(right({unknown, a, read(0, list({entry(1, "a")}), true, 40, 50)}));
  CHECK(right({unknown, a, read(0, list({entry(1, "a"), entry(2, "x"), entry(3, "y")}), true, 40, 50)}));
  CHECK(right({unknown, a, read(0, list({entry(1, "a")}), true, 40, 50),
               read(0, list({entry(1, "a"), entry(2, "x")}), false, 60, 70)}));
  CHECK(wrong({unknown, a, read(0, list({entry(1, "a"), entry(2, "x")}), true, 40, 50)}));
  CHECK(wrong(
      {unknown, a, read(1, list({entry(2, "x")}), false, 40, 50), read(1, list({entry(3, "x")}), false, 60, 70)}));
  CHECK(wrong({unknown, a, read(1, list({entry(2, "x")}), false, 40, 50), read(1, list({}), true, 60, 70)}));
  CHECK(wrong({maybe(1, "append", {"x"}, 60), read(0, list({entry(1, "x")}), false, 40, 50)}));
  CHECK(wrong({unknown, append({"z"}, {3}, 0, 10), read(1, list({entry(2, "x")}), false, 40, 50)}));
  CHECK(wrong({unknown, read(0, list({entry(1, "y")}), false, 40, 50)}));  // x would have id 0
}

TEST_CASE("journals that can't be read", "[linearizability]") {
  options o;
  o.meaning = model::journal;
  CHECK(judged({append({"a"}, {1}, 0, 1), append({"a"}, {2}, 2, 3)}) ==
        "malformed: message \"a\" was appended before: messages must differ");
  CHECK(judged({append({"a"}, {1, 2}, 0, 1)}) == "malformed: the output of append is not a list of as many ids");
  CHECK(judged({append({"a"}, {"1"}, 0, 1)}) == "malformed: an id is not a number from 0");
  CHECK(judged({append({"a"}, {0}, 0, 1)}) == "malformed: an id is 0");
  CHECK(judged({append({1}, {1}, 0, 1)}) == "malformed: a message is not a string");
  CHECK(judged({append(list({}), list({}), 0, 1)}) == "malformed: the input of append is not a list of messages");
  CHECK(judged({did(1, "read", value::object(), list({}), 0, 1)}) == "malformed: the input of read has no \"after\"");
  CHECK(judged({did(1, "read", {{"after", 0}}, list({}), 0, 1)}) ==
        "malformed: the output of read has no list of \"entries\"");
  CHECK(judged({did(1, "read", {{"after", 0}}, {{"entries", {1}}}, 0, 1)}) ==
        "malformed: an entry is not [id, message]");
  CHECK(judged({did(1, "read", {{"after", 0}}, {{"entries", list({})}, {"end", 1}}, 0, 1)}) ==
        "malformed: \"end\" is neither true nor false");
  CHECK(judged({did(1, "trim", {}, {}, 0, 1)}, o) == "malformed: a journal has no \"trim\"");
}

TEST_CASE("a journal's contradiction is a few operations", "[linearizability]") {
  history h;
  for (int i = 1; i <= 10'000; ++i) h.push_back(append({"m" + std::to_string(i)}, {i}, i * 10, i * 10 + 5));
  h.push_back(read(4'999, list({entry(5'000, "m5000")}), true, 50'012, 50'013));
  const auto r = check(h);
  REQUIRE(r);
  CHECK(r->what == verdict::linearizable);
  h.back().call += 10;
  h.back().returned = *h.back().returned + 10;
  const auto again = check(h);
  REQUIRE(again);
  REQUIRE(again->failures.size() == 1);
  CHECK(again->failures[0].shown.size() == 2);
  CHECK(again->failures[0].why ==
        R"(The journal's order is that of ids. read {"after":4999,"max":10} -> )"
        R"({"end":true,"entries":[[5000,"m5000"]]} by process 9 saw the end before entry 5001, )"
        R"(which so came after that read's call at 50022; but append ["m5001"] -> [5001] by )"
        R"(process 1 had returned by 50015.)");
}
