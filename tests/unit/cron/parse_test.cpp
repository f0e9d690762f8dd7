// The grammar: what parses, what means the same, and where errors point. Knows nothing of instants.
#include <set>
#include <string>

#include "catch.hpp"
#include "cron/expression.hpp"

namespace coterie::calendar {
namespace {

bool same(const std::string& a, const std::string& b) {
  const auto left = parse_fields(a), right = parse_fields(b);
  INFO(a << " and " << b);
  REQUIRE(left);
  REQUIRE(right);
  auto with_same_text = *left;  // whether it repeats depends on the text, not on the values
  with_same_text.repeats = right->repeats;
  return with_same_text == *right;
}

std::set<int> bits(std::uint64_t mask) {
  std::set<int> out;
  for (int i = 0; i < 64; ++i) {
    if ((mask >> i & 1) != 0) out.insert(i);
  }
  return out;
}

TEST_CASE("every form of the grammar parses") {
  for (const char* text : {"0 0 12 * * ?",
                           "0 15 10 ? * *",
                           "0 15 10 * * ? *",
                           "0 15 10 * * ? 2005",
                           "0 * 14 * * ?",
                           "0 0/5 14,18 * * ?",
                           "0 0-5 14 * * ?",
                           "0 10,44 14 ? 3 WED",
                           "0 15 10 ? * MON-FRI",
                           "0 15 10 15 * ?",
                           "0 15 10 L * ?",
                           "0 15 10 L-2 * ?",
                           "0 15 10 ? * 6L",
                           "0 15 10 ? * 6L 2002-2005",
                           "0 15 10 ? * 6#3",
                           "0 0 12 1/5 * ?",
                           "0 11 11 11 11 ?",
                           "0 0 0/4 * * ?",
                           "0 0 0 LW * ?",
                           "0 0 0 15W * ?",
                           "0 0 0 L-3W * ?",
                           "0 0 0 1,15W,L,L-3W,20-22 * ?",
                           "0 0 0 ? * MON,6#3,5L,FRI-MON/2",
                           "0 0 22-2 ? * FRI-MON",
                           "*/15 */20 */6 */10 */2 ?",
                           "0 0 0 * * *",
                           "0 0 0 L-0 * ?",
                           "0 0 0 L-30 * ?",
                           "0 0 0 ? * L",
                           "0 0 0 ? * sat#5 1970-2199/7",
                           "  0\t0 0  * * ? ",
                           "05 00 007 * * ?"}) {
    INFO(text);
    CHECK(expression::parse(text).has_value());
  }
}

TEST_CASE("names and letters in any case, forms that mean the same") {
  CHECK(same("0 0 0 ? JAN,jun,Dec sun,Mon,SAT", "0 0 0 ? 1,6,12 1,2,7"));
  CHECK(same("0 0 0 lw * ?", "0 0 0 LW * ?"));
  CHECK(same("0 0 0 l-3w * ?", "0 0 0 L-3W * ?"));
  CHECK(same("0 0 0 L-0 * ?", "0 0 0 L * ?"));
  CHECK(same("0 0 0 L-0W * ?", "0 0 0 LW * ?"));
  CHECK(same("0 0 0 ? * fril", "0 0 0 ? * 6L"));
  CHECK(same("0 0 0 ? * FRI#2", "0 0 0 ? * 6#2"));
  CHECK(same("0 0 0 ? * L", "0 0 0 ? * SAT"));
  CHECK(same("0 0 0 * * ?", "0 0 0 ? * *"));
  CHECK(same("0 0 0 * * ?", "0 0 0 * * *"));
  CHECK(same("0 0 0 * * ?", "0 0 0 * * ? 1970-2199"));
  CHECK_FALSE(same("0 0 0 * * ?", "0 0 0 * * ? 1970-2198"));
  CHECK_FALSE(same("0 0 0 L * ?", "0 0 0 LW * ?"));
}

TEST_CASE("ranges, steps and wrapping") {
  const auto hours_of = [](const std::string& hour) {
    return bits(parse_fields("0 0 " + hour + " * * ?").value().hours);
  };
  CHECK(hours_of("22-2") == std::set<int>{0, 1, 2, 22, 23});
  CHECK(hours_of("22-2/2") == std::set<int>{22, 0, 2});
  CHECK(hours_of("21-2/2") == std::set<int>{21, 23, 1});
  CHECK(hours_of("0/4") == std::set<int>{0, 4, 8, 12, 16, 20});
  CHECK(hours_of("5/6") == std::set<int>{5, 11, 17, 23});
  CHECK(hours_of("*/23") == std::set<int>{0, 23});
  CHECK(hours_of("3-9/3,12,12") == std::set<int>{3, 6, 9, 12});
  CHECK(hours_of("7-7") == std::set<int>{7});
  CHECK(hours_of("7-7/5") == std::set<int>{7});
  CHECK(hours_of("23/1") == std::set<int>{23});
  CHECK(bits(parse_fields("0 0 0 28-3/2 * ?").value().days) == std::set<int>{28, 30, 1, 3});
  CHECK(bits(parse_fields("0 0 0 ? NOV-FEB *").value().months) == std::set<int>{11, 12, 1, 2});
  CHECK(bits(parse_fields("0 0 0 ? * FRI-MON").value().weekdays) == std::set<int>{5, 6, 0, 1});
  CHECK(bits(parse_fields("0 0 0 ? * MON/2").value().weekdays) == std::set<int>{1, 3, 5});
  CHECK(bits(parse_fields("0 0 0 ? * 6-L").value().weekdays) == std::set<int>{5, 6});
  CHECK(parse_fields("0 0 0 * * ? 2190/4").value().years.count() == 3);
}

TEST_CASE("repeating is what second, minute or hour say") {
  for (const char* text : {"* 0 0 * * ?", "0 0-5 0 * * ?", "0 0 0/4 * * ?", "0 0 */12 * * ?", "0 30,40-41 2 * * ?"}) {
    CHECK(parse_fields(text).value().repeats);
  }
  for (const char* text : {"0 0 0 * * ?", "0 30,40 2 ? */2 MON-FRI 2020/2", "0 30 1,2,3 L-2 * ?"}) {
    CHECK_FALSE(parse_fields(text).value().repeats);
  }
}

struct bad {
  const char* text;
  std::size_t position, length;
  const char* message;
};

TEST_CASE("what is wrong, and where") {
  const bad cases[] = {
      {"0 60 * * * ?", 2, 2, "minute 60 is not 0-59"},
      {"60 0 * * * ?", 0, 2, "second 60 is not 0-59"},
      {"0 0 24 * * ?", 4, 2, "hour 24 is not 0-23"},
      {"0 0 0 0 * ?", 6, 1, "day of month 0 is not 1-31"},
      {"0 0 0 32W * ?", 6, 2, "day of month 32 is not 1-31"},
      {"0 0 0 ? 13 *", 8, 2, "month 13 is not 1-12 or JAN-DEC"},
      {"0 0 0 ? FOO *", 8, 3, "month 'FOO' is not 1-12 or JAN-DEC"},
      {"0 0 0 ? JANUARY *", 8, 7, "month 'JANUARY' is not 1-12 or JAN-DEC"},
      {"0 0 0 ? * 0", 10, 1, "day of week 0 is not 1-7 or SUN-SAT"},
      {"0 0 0 ? * 8", 10, 1, "day of week 8 is not 1-7 or SUN-SAT"},
      {"0 0 0 ? * MON-XYZ", 14, 3, "day of week 'XYZ' is not 1-7 or SUN-SAT"},
      {"0 0 0 ? * XYZL", 10, 4, "day of week 'XYZL' is not 1-7 or SUN-SAT"},
      {"0 0 0 * * ? 1969", 12, 4, "year 1969 is not 1970-2199"},
      {"0 0 0 * * ? 2020-2200", 17, 4, "year 2200 is not 1970-2199"},
      {"0 0 0 * * ? 2030-2020", 12, 9, "year range 2030-2020 runs backwards"},
      {"0 99999999999999999999 * * * ?", 2, 20, "minute 99999999999999999999 is not 0-59"},
      {"0 1,2,61 * * * ?", 6, 2, "minute 61 is not 0-59"},
      {"0 FOO * * * ?", 2, 3, "minute 'FOO' is not 0-59"},
      {"0 0/0 * * * ?", 4, 1, "step 0 is not 1-59"},
      {"0 0/60 * * * ?", 4, 2, "step 60 is not 1-59"},
      {"0 0 */24 * * ?", 6, 2, "step 24 is not 1-23"},
      {"0 0 0 1/31 * ?", 8, 2, "step 31 is not 1-30"},
      {"0 0 0 ? */12 *", 10, 2, "step 12 is not 1-11"},
      {"0 0 0 ? * 1-5/7", 14, 1, "step 7 is not 1-6"},
      {"0 0 0 * * ? */230", 14, 3, "step 230 is not 1-229"},
      {"0 0 0 L-31 * ?", 8, 2, "offset 31 is not 0-30"},
      {"0 0 0 ? * 6#6", 12, 1, "week 6 is not 1-5"},
      {"0 0 0 ? * 6#0", 12, 1, "week 0 is not 1-5"},
      {"0 0 0 ? * 6#", 11, 1, "a week is missing"},
      {"0 5/ * * * ?", 3, 1, "a step is missing"},
      {"0 5- * * * ?", 3, 1, "a minute is missing"},
      {"0 5, * * * ?", 3, 1, "a minute is missing"},
      {"0 ,5 * * * ?", 2, 1, "a minute is missing"},
      {"0 -5 * * * ?", 2, 1, "a minute is missing"},
      {"0 /5 * * * ?", 2, 1, "a minute is missing"},
      {"0 5x * * * ?", 3, 1, "'x' is not expected in minute '5x'"},
      {"0 *-5 * * * ?", 3, 1, "'-' is not expected in minute '*-5'"},
      {"0 5-6-7 * * * ?", 5, 1, "'-' is not expected in minute '5-6-7'"},
      {"0 ** * * * ?", 3, 1, "'*' is not expected in minute '**'"},
      {"0 5/2/3 * * * ?", 5, 1, "'/' is not expected in minute '5/2/3'"},
      {"0 0 0 1-5W * ?", 9, 1, "'W' is not expected in day of month '1-5W'"},
      {"0 0 0 1L * ?", 7, 1, "'L' is not expected in day of month '1L'"},
      {"0 0 0 W * ?", 6, 1, "day of month 'W' is not 1-31"},
      {"0 0 0 L/2 * ?", 7, 1, "'/' is not expected in day of month 'L/2'"},
      {"0 0 0 15WW * ?", 9, 1, "'W' is not expected in day of month '15WW'"},
      {"0 0 0 ? * LW", 10, 2, "day of week 'LW' is not 1-7 or SUN-SAT"},
      {"0 0 0 ? * 6#1L", 13, 1, "'L' is not expected in day of week '6#1L'"},
      {"0 0 0 ? L *", 8, 1, "month 'L' is not 1-12 or JAN-DEC"},
      {"0 ? * * * ?", 2, 1, "? is only for day of month and day of week, not for minute"},
      {"0 0 0 1,? * ?", 8, 1, "? must stand alone in day of month"},
      {"0 0 0 ?,1 * *", 6, 1, "? must stand alone in day of month"},
      {"0 0 0 ? * ?/2", 10, 1, "? must stand alone in day of week"},
      {"0 0 0 ? * ?", 10, 1, "day of month and day of week are both ?: only one may be"},
      {"0 0 0 1 * MON", 10, 3, "day of month and day of week are both given: put ? in one of them"},
      {"0 0 0 * * MON-FRI", 10, 7, "day of month and day of week are both given: put ? in one of them"},
      {"0 0 0 1 * *", 10, 1, "day of month and day of week are both given: put ? in one of them"},
      {"", 0, 0, "0 fields, not 6 or 7 (second minute hour day-of-month month day-of-week [year])"},
      {"  ", 0, 2, "0 fields, not 6 or 7 (second minute hour day-of-month month day-of-week [year])"},
      {"@daily", 0, 6, "1 field, not 6 or 7 (second minute hour day-of-month month day-of-week [year])"},
      {" 0 0 * * *", 1, 9, "5 fields, not 6 or 7 (second minute hour day-of-month month day-of-week [year])"},
      {"0 0 0 * * ? 2020 x y", 17, 3,
       "9 fields, not 6 or 7 (second minute hour day-of-month month day-of-week [year])"},
      {"0 \x01 * * * ?", 2, 1, "'?' is not expected in minute '?'"},
      {"0 \xc3\xa4 * * * ?", 2, 1,
       "'?' is not expected in minute '?"
       "?'"},
  };
  for (const bad& c : cases) {
    INFO(c.text);
    const auto parsed = expression::parse(c.text);
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code == errc::bad_cron);
    CHECK(parsed.error().message == c.message);
    CHECK(parsed.error().first == c.position);
    CHECK(parsed.error().second == c.length);
  }
}

TEST_CASE("an expression's length is limited, and so is what a message quotes of it") {
  const std::string tail = " * * * ?";
  std::string list = "0 0";
  while (list.size() + 2 + tail.size() <= max_expression_length) list += ",0";
  CHECK(expression::parse(list + tail).has_value());
  const auto parsed = expression::parse(std::string(max_expression_length + 1, '0'));
  REQUIRE_FALSE(parsed);
  CHECK(parsed.error().first == max_expression_length);
  const auto name = expression::parse("0 0 0 ? " + std::string(500, 'A') + " *");
  REQUIRE_FALSE(name);
  CHECK(name.error().second == 500);
  CHECK(name.error().message.size() < 100);
}

TEST_CASE("cutting or changing any byte never points outside the expression") {
  const std::string text = "0/5 1-2,4 */3 L-3W,15W JAN-MAR ? 2020-2030/2";
  for (std::size_t i = 0; i <= text.size(); ++i) {
    std::vector<std::string> variants{text.substr(0, i)};
    for (char c : std::string("?*L#W/,- 9X\0\xff", 13))
      variants.push_back(text.substr(0, i) + c + text.substr(std::min(i + 1, text.size())));
    for (const std::string& variant : variants) {
      const auto parsed = expression::parse(variant);
      if (parsed) continue;
      INFO(variant);
      CHECK(parsed.error().first + parsed.error().second <= variant.size());
      CHECK_FALSE(parsed.error().message.empty());
    }
  }
}

}  // namespace
}  // namespace coterie::calendar
