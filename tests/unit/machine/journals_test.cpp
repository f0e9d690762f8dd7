// Journals: ids, limits, keys, retention (docs/journals.md).
#include "catch.hpp"
#include "machine/check.hpp"
#include "world.hpp"

using namespace coterie;
using namespace coterie::machine;

namespace {
journal_append one(std::string journal, std::string key = {}) {
  return {std::move(journal), std::move(key), {{"t", "m"}}};
}
journal_append many(std::string journal, std::size_t n) {
  return {std::move(journal), {}, std::vector<journal_item>(n, {"t", "m"})};
}
}  // namespace

TEST_CASE("journal: ids come from one counter, rise, and are consecutive inside a batch") {
  world w;
  CHECK(w.duty(one("a")).value == 1);
  const auto batch = w.duty(many("b", 3));
  CHECK(batch.value == 2);
  CHECK(batch.value2 == 4);
  CHECK(w.duty(one("a")).value == 5);
  CHECK(w.journal("a").first == 1);
  CHECK(w.journal("a").last == 5);
  CHECK(w.journal("a").count == 2);
  CHECK(w.m.globals().last_journal_id == 5);
  const auto entries = w.disk.all<journal_entry>();
  REQUIRE(entries.size() == 5);
  CHECK(entries[0].id == 1);
  CHECK(entries[1].id == 5);  // of journal a
  CHECK(entries[1].ordinal == 2);
  CHECK(w.journal("a").total == 2);
}

TEST_CASE("journal: a key makes a retry idempotent, also from another session") {
  world w;
  auto c = w.open(1), d = w.open(2);
  const auto a = w.ask(c, one("j", "k"));
  const auto b = w.ask(d, one("j", "k"));
  CHECK(a == b);
  CHECK(w.journal("j").count == 1);
  CHECK(w.ask(d, one("other", "k")).value != a.value);
  CHECK(w.ask(d, one("j", "k2")).value != a.value);
}

TEST_CASE("journal: keys are limited, oldest forgotten first") {
  limits l;
  l.keys_per_journal = 2;
  world w(l);
  const auto first = w.duty(one("j", "a")).value, second = w.duty(one("j", "b")).value;
  w.duty(one("j", "c"));
  CHECK(w.disk.all<journal_key>().size() == 2);
  CHECK(w.duty(one("j", "b")).value == second);
  CHECK(w.duty(one("j", "a")).value != first);
}

TEST_CASE("journal: an empty journal costs nothing") {
  world w;
  CHECK(w.duty(journal_append{"j", "", {}}).code == errc::bad_argument);
  CHECK(w.duty(journal_append{"J", "", {{"t", "m"}}}).code == errc::bad_name);
  CHECK(w.m.journals().empty());
}

TEST_CASE("journal: names are 1 to 255 of [a-z0-9_.]") {
  const auto ok = [](std::string s) { return check_journal(s).has_value(); };
  CHECK(ok("orders.v2_x"));
  CHECK(ok(std::string(255, 'a')));
  CHECK_FALSE(ok(std::string(256, 'a')));
  for (const auto* bad : {"", "A", "-", " ", "ä", "a/b"}) CHECK_FALSE(ok(bad));
}

TEST_CASE("journal: type and message are limited in Unicode code points") {
  world w;
  const auto code = [&](std::string type, std::string message) {
    return w.duty(journal_append{"j", "", {{std::move(type), std::move(message)}}}).code;
  };
  const auto points = [](std::size_t n) {
    std::string s;
    while (n-- > 0) s += "€";
    return s;
  };
  CHECK(code("", "") == errc{});
  CHECK(code(points(255), points(2047)) == errc{});
  CHECK(code(points(256), "") == errc::limit);
  CHECK(code("", points(2048)) == errc::limit);
  CHECK(code("", "\xff") == errc::bad_argument);
  CHECK(code("\xc3", "") == errc::bad_argument);
  CHECK(w.duty(many("j", 10'000)).ok());
  CHECK(w.duty(many("j", 10'001)).code == errc::limit);
}

TEST_CASE("journal: created is the leader's clock, never falling") {
  world w;
  w.duty(one("j"));
  w.pass(-10s);
  w.duty(one("j"));
  w.pass(20s);
  w.duty(one("j"));
  const auto e = w.disk.all<journal_entry>();
  REQUIRE(e.size() == 3);
  CHECK(e[0].created == e[1].created);
  CHECK(e[2].created == e[0].created + 10s);
}

TEST_CASE("journal: entries go by age, all of them at most 60 s after they are due, none before") {
  world w;
  constexpr auto keep = 48h;
  const auto start = w.now;
  for (int i = 0; i < 300; ++i) {
    w.duty(one("j"));
    w.pass(7s);
  }
  w.duty(one("other"));
  while (w.journal("j").count > 0) {
    const auto next = w.m.next_duty(w.now);
    REQUIRE(next);
    REQUIRE(*next > w.now);
    w.now = *next;
    w.do_duties();
    for (const auto& e : w.disk.all<journal_entry>()) CHECK(w.now - e.created <= keep + 60s);
    const auto gone = w.journal("j").trimmed;
    if (gone > 0) CHECK(w.now - (start + (gone - 1) * 7s) > keep);
  }
  CHECK(w.journal("j").trimmed == 300);
  CHECK(w.journal("j").first == 0);
  CHECK(w.journal("j").last == 300);
  CHECK(w.journal("other").count == 1);
  CHECK(w.disk.all<journal_entry>().size() == 1);
  const auto later = w.duty(one("j")).value;
  CHECK(later == 302);
  CHECK(w.journal("j").first == later);
  CHECK(w.journal("j").total == 301);
}

TEST_CASE("journal: a trim removes nothing younger than the journal keeps") {
  world w;
  w.duty(many("j", 5));
  w.pass(1h);
  w.duty(journal_trim{"j", 5});
  CHECK(w.journal("j").count == 5);
  w.pass(48h);
  w.duty(many("j", 5));
  w.duty(journal_trim{"j", 10});
  CHECK(w.journal("j").first == 6);
  CHECK(w.journal("j").count == 5);
  CHECK(w.seen<journal_trimmed>().size() == 1);
  w.duty(journal_trim{"j", 10});
  CHECK(w.seen<journal_trimmed>().empty());
  CHECK(w.disk.all<journal_entry>().size() == 5);
}

TEST_CASE("journal: keys go with their entries") {
  world w;
  w.duty(one("j", "k"));
  w.pass(49h);
  w.do_duties();
  CHECK(w.disk.all<journal_key>().empty());
  CHECK(w.duty(one("j", "k")).value == 2);
}

TEST_CASE("journal: retention may be set before the first entry and changed later") {
  world w;
  CHECK(w.duty(journal_retention{"j", 10s}).ok());
  CHECK(w.duty(journal_retention{"j", 0s}).code == errc::bad_argument);
  w.duty(one("j"));
  w.pass(11s);
  w.do_duties();
  CHECK(w.journal("j").count == 0);
  w.duty(one("j"));
  w.duty(journal_retention{"j", 100s});
  w.pass(50s);
  w.do_duties();
  CHECK(w.journal("j").count == 1);
  w.duty(journal_retention{"j", 1s});
  w.do_duties();
  CHECK(w.journal("j").count == 0);
}

TEST_CASE("journal: age classes stay bounded, at the price of removing later") {
  limits l;
  l.buckets = 3;
  world w(l);
  for (int i = 0; i < 10; ++i) {
    w.duty(one("j"));
    w.pass(1min);
  }
  CHECK(w.disk.all<journal_bucket>().size() == 3);
  w.pass(49h);
  w.do_duties();
  CHECK(w.journal("j").count == 0);
  CHECK(w.disk.all<journal_bucket>().empty());
}

TEST_CASE("journal: journals are limited") {
  limits l;
  l.journals = 1;
  world w(l);
  w.duty(one("a"));
  CHECK(w.duty(one("b")).code == errc::limit);
  CHECK(w.duty(journal_retention{"b", 10s}).code == errc::limit);
  CHECK(w.m.globals().last_journal_id == 1);
}
