// Local time and UTC under hand-written rules. Knows nothing of cron expressions.
#include "catch.hpp"
#include "zones.hpp"

namespace coterie::calendar {
namespace {

using std::chrono::hours;
using std::chrono::local_seconds;
using std::chrono::minutes;
using kind = local_info::kind;

local_seconds local(const std::string& text) { return local_seconds(utc_seconds(text).time_since_epoch()); }

TEST_CASE("UTC has no transitions and is always known") {
  const zone_rules zone = zone_rules::utc();
  CHECK(zone.well_formed());
  CHECK(zone.to_local(utc_seconds("2026-07-01 12:00:00")) == local("2026-07-01 12:00:00"));
  const auto info = zone.to_utc(local("2026-07-01 12:00:00"));
  CHECK(info == local_info{kind::unique, utc_seconds("2026-07-01 12:00:00"), utc_seconds("2026-07-01 12:00:00")});
  REQUIRE(find_zone({}, "UTC") != nullptr);
  CHECK(*find_zone({}, "UTC") == zone);
  CHECK(find_zone({}, "Europe/Berlin") == nullptr);
  const zone_set zones{{"Europe/Berlin", berlin()}};
  REQUIRE(find_zone(zones, "Europe/Berlin") != nullptr);
  CHECK(find_zone(zones, "Europe/Berlin")->name == "Europe/Berlin");
}

TEST_CASE("local time changes at the transition") {
  const zone_rules zone = berlin();
  REQUIRE(zone.well_formed());
  CHECK(zone.to_local(utc_seconds("2026-03-29 00:59:59")) == local("2026-03-29 01:59:59"));
  CHECK(zone.to_local(utc_seconds("2026-03-29 01:00:00")) == local("2026-03-29 03:00:00"));
  CHECK(zone.to_local(utc_seconds("2026-10-25 00:59:59")) == local("2026-10-25 02:59:59"));
  CHECK(zone.to_local(utc_seconds("2026-10-25 01:00:00")) == local("2026-10-25 02:00:00"));
  CHECK(zone.offset_at(utc_seconds("1999-01-01")) == hours(1));
}

TEST_CASE("a local time is unique, in a gap, or comes twice") {
  const zone_rules zone = berlin();
  const auto at = [&](const char* text) { return zone.to_utc(local(text)); };
  CHECK(at("2026-03-29 01:59:59").what == kind::unique);
  CHECK(at("2026-03-29 02:30:00") ==
        local_info{kind::gap, utc_seconds("2026-03-29 01:30:00"), utc_seconds("2026-03-29 01:00:00")});
  CHECK(at("2026-03-29 02:00:00").what == kind::gap);
  CHECK(at("2026-03-29 02:59:59").what == kind::gap);
  CHECK(at("2026-03-29 03:00:00").what == kind::unique);
  CHECK(at("2026-03-29 03:00:00").first == utc_seconds("2026-03-29 01:00:00"));
  CHECK(at("2026-10-25 01:59:59").what == kind::unique);
  CHECK(at("2026-10-25 02:00:00") ==
        local_info{kind::overlap, utc_seconds("2026-10-25 00:00:00"), utc_seconds("2026-10-25 01:00:00")});
  CHECK(at("2026-10-25 02:59:59").what == kind::overlap);
  CHECK(at("2026-10-25 03:00:00").what == kind::unique);
}

TEST_CASE("zones of half an hour and of a whole day") {
  const zone_rules howe = lord_howe();
  CHECK(howe.to_utc(local("2026-10-04 01:59:59")).what == kind::unique);
  CHECK(howe.to_utc(local("2026-10-04 02:00:00")).what == kind::gap);
  CHECK(howe.to_utc(local("2026-10-04 02:30:00")).what == kind::unique);
  CHECK(howe.to_utc(local("2026-04-05 01:30:00")) ==
        local_info{kind::overlap, utc_seconds("2026-04-04 14:30:00"), utc_seconds("2026-04-04 15:00:00")});
  CHECK(apia().to_utc(local("2011-12-29 23:59:59")).what == kind::unique);
  CHECK(apia().to_utc(local("2011-12-30 12:00:00")) ==
        local_info{kind::gap, utc_seconds("2011-12-30 22:00:00"), utc_seconds("2011-12-30 10:00:00")});
  CHECK(apia().to_utc(local("2011-12-31 00:00:00")).first == utc_seconds("2011-12-30 10:00:00"));
}

TEST_CASE("rules that rise and stay within a day are well formed") {
  zone_rules zone = berlin(2026, 2026);
  CHECK(zone.well_formed());
  std::swap(zone.transitions[0], zone.transitions[1]);
  CHECK_FALSE(zone.well_formed());
  zone.transitions[1].at = zone.transitions[0].at;
  CHECK_FALSE(zone.well_formed());
  CHECK_FALSE(zone_rules{"far", hours(25), {}}.well_formed());
  CHECK_FALSE(zone_rules{"far", hours(0), {{utc_seconds("2026-01-01"), -hours(25)}}}.well_formed());
}

}  // namespace
}  // namespace coterie::calendar
