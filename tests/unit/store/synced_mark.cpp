// The synced mark: what it holds after good and torn writes.
#include "store/synced_mark.hpp"

#include <fstream>

#include "catch.hpp"
#include "support/temporary_directory.hpp"

using coterie::errc;
using coterie::synced_mark;
using coterie::test::temporary_directory;

namespace {

/// Overwrites part of a slot, as a torn write would.
void tear(const std::filesystem::path& file, int slot) {
  std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
  f.seekp(slot * 4'096 + 12);
  f << "torn";
}

}  // namespace

TEST_CASE("the mark is what was set last, also after reopening", "[synced_mark]") {
  const temporary_directory t;
  const auto file = t.path() / "synced";
  {
    auto m = synced_mark::open(file, true);
    REQUIRE(m);
    CHECK(m->value() == 0);
    for (const std::uint64_t v : {5u, 7u, 6u}) {  // it may fall, when the log does
      REQUIRE(m->set(v));
      CHECK(m->value() == v);
      const auto again = synced_mark::open(file, false);
      REQUIRE(again);
      CHECK(again->value() == v);
    }
  }
  const auto m = synced_mark::open(file, true);
  REQUIRE(m);
  CHECK(m->value() == 6);
}

TEST_CASE("a torn write leaves the value before it", "[synced_mark]") {
  const temporary_directory t;
  const auto file = t.path() / "synced";
  auto m = synced_mark::open(file, true);
  REQUIRE(m);
  REQUIRE(m->set(1));  // the third write, so in slot 0
  REQUIRE(m->set(2));
  SECTION("the newest slot") {
    tear(file, 1);
    CHECK(synced_mark::open(file, false)->value() == 1);
    auto next = synced_mark::open(file, false);
    REQUIRE(next->set(9));
    CHECK(synced_mark::open(file, false)->value() == 9);
  }
  SECTION("the older slot") {
    tear(file, 0);
    CHECK(synced_mark::open(file, false)->value() == 2);
  }
  SECTION("both: it is not made up") {
    tear(file, 0);
    tear(file, 1);
    const auto r = synced_mark::open(file, false);
    REQUIRE_FALSE(r);
    CHECK(r.error().code == errc::unavailable);
  }
}

TEST_CASE("a missing mark is told, unless it may be created", "[synced_mark]") {
  const temporary_directory t;
  const auto r = synced_mark::open(t.path() / "synced", false);
  REQUIRE_FALSE(r);
  CHECK(r.error().code == errc::not_found);
  CHECK_FALSE(std::filesystem::exists(t.path() / "synced"));
  std::ofstream(t.path() / "synced").flush();  // the power went while it was made
  CHECK(synced_mark::open(t.path() / "synced", true));
  CHECK(synced_mark::open(t.path() / "synced", false));
}
