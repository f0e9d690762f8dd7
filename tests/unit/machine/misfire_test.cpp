// Missed fires and the policies for them (docs/jobs.md, "Missed times").
#include "catch.hpp"
#include "machine/due.hpp"
#include "world.hpp"

using namespace coterie;
using namespace coterie::machine;

namespace {

const wall_time start = at(1'700'000'000'000);
const session_epoch owner(5);

job_record job_of(calendar::schedule when, misfire_policy policy, milliseconds catch_up = 1h) {
  job_record j;
  j.id = "j";
  j.version = 3;
  j.config.runner = "r";
  j.config.when = when;
  j.config.on_misfire = policy;
  j.config.catch_up = catch_up;
  j.next = first_time(when, start);
  return j;
}
calendar::schedule every(milliseconds d) { return calendar::interval_schedule{d, {}}; }

std::vector<fire_job> due(const job_record& j, wall_time now, std::size_t max = 10'000, session_epoch who = owner) {
  const auto fires = fires_due(j, who, now, max, limits{});
  auto next = j.next;  // each is valid after the one before it
  for (const auto& f : fires) {
    CHECK(f.version == j.version);
    CHECK(f.scheduled >= *next);
    CHECK(f.scheduled <= now);
    if (f.next) CHECK(*f.next > f.scheduled);
    next = f.next;
  }
  return fires;
}

}  // namespace

TEST_CASE("misfire: a fire up to 1 s late is on time") {
  const auto j = job_of(every(10s), misfire_policy::skip);
  CHECK(due(j, start + 9'999ms).empty());
  for (const auto late : {0ms, 500ms, 1'000ms}) {
    const auto f = due(j, start + 10s + late);
    REQUIRE(f.size() == 1);
    CHECK_FALSE(f[0].what);
    CHECK(f[0].coalesced == 0);
    CHECK(f[0].owner == owner);
    CHECK(f[0].next == start + 20s);
  }
  CHECK(due(j, start + 11'001ms).at(0).what == outcome::skipped);
}

TEST_CASE("misfire: several fires inside the tolerance are all on time") {
  const auto j = job_of(every(100ms), misfire_policy::fire_once);
  CHECK(due(j, start + 1'000ms).size() == 10);
}

TEST_CASE("misfire: fire_once runs the newest missed time once") {
  const auto f = due(job_of(every(10s), misfire_policy::fire_once), start + 35s);
  REQUIRE(f.size() == 1);
  CHECK(f[0].scheduled == start + 30s);
  CHECK(f[0].coalesced == 3);
  CHECK_FALSE(f[0].what);
  CHECK(f[0].next == start + 40s);
}

TEST_CASE("misfire: missed and on-time fires together") {
  const auto f = due(job_of(every(1s), misfire_policy::fire_once), start + 5s);
  REQUIRE(f.size() == 3);
  CHECK(f[0].scheduled == start + 3s);
  CHECK(f[0].coalesced == 3);
  CHECK(f[1].scheduled == start + 4s);
  CHECK(f[2].scheduled == start + 5s);
  CHECK(f[2].next == start + 6s);
}

TEST_CASE("misfire: what is older than catch_up is dropped") {
  const auto j = job_of(every(10s), misfire_policy::fire_once, 25s);
  const auto f = due(j, start + 105s);
  REQUIRE(f.size() == 1);
  CHECK(f[0].scheduled == start + 100s);
  CHECK(f[0].coalesced == 3);  // 80, 90, 100
  const auto daily = due(job_of(every(24h), misfire_policy::fire_once), start + 26h);
  REQUIRE(daily.size() == 1);
  CHECK(daily[0].what == outcome::skipped);
  CHECK(daily[0].next == start + 48h);
  const auto none = due(job_of(every(10s), misfire_policy::fire_all, 0ms), start + 35s);
  REQUIRE(none.size() == 1);
  CHECK(none[0].what == outcome::skipped);
  CHECK(none[0].next == start + 40s);
}

TEST_CASE("misfire: skip runs none and goes on with the grid") {
  const auto f = due(job_of(every(10s), misfire_policy::skip), start + 35s);
  REQUIRE(f.size() == 1);
  CHECK(f[0].what == outcome::skipped);
  CHECK(f[0].coalesced == 3);
  CHECK(f[0].owner == session_epoch{});
  CHECK(f[0].next == start + 40s);
}

TEST_CASE("misfire: fire_all runs each, oldest first") {
  const auto f = due(job_of(every(10s), misfire_policy::fire_all), start + 55s);
  REQUIRE(f.size() == 5);
  for (std::size_t i = 0; i < f.size(); ++i) CHECK(f[i].scheduled == start + 10s * static_cast<int>(i + 1));
  CHECK(f.back().next == start + 60s);
}

TEST_CASE("misfire: fire_all runs at most 1 000, whether proposed at once or in parts") {
  auto j = job_of(every(1s), misfire_policy::fire_all);
  const auto now = start + 3'000s + 500ms;
  const auto whole = due(j, now);
  CHECK(whole.size() == 1'000 + 1);  // the last is on time
  CHECK(whole.front().scheduled == start + 2'000s);
  CHECK(whole.back().scheduled == start + 3'000s);
  std::size_t n = 0;
  for (;;) {
    const auto part = due(j, now, 64);
    if (part.empty()) break;
    n += part.size();
    j.next = part.back().next;
  }
  CHECK(n == whole.size());
}

TEST_CASE("misfire: cron and once schedules") {
  const auto hourly = calendar::cron_schedule{"0 0 * * * ?", "UTC", {}};
  const auto f = due(job_of(hourly, misfire_policy::fire_all, 4h), start + 3h + 30min);
  CHECK(f.size() >= 3);
  for (const auto& one : f) CHECK(one.scheduled.time_since_epoch() % 1h == 0ms);
  const auto once = due(job_of(calendar::once_schedule{start + 10s}, misfire_policy::fire_once), start + 30s);
  REQUIRE(once.size() == 1);
  CHECK(once[0].scheduled == start + 10s);
  CHECK_FALSE(once[0].next);
}

TEST_CASE("misfire: without an owner the fires are recorded as unavailable") {
  const auto f = due(job_of(every(10s), misfire_policy::fire_once), start + 35s, 100, session_epoch{});
  REQUIRE(f.size() == 1);
  CHECK(f[0].what == outcome::unavailable);
}

TEST_CASE("misfire: a year of missed fires costs no more than one") {
  auto j = job_of(every(100ms), misfire_policy::fire_once, 365 * 24h);
  const auto f = due(j, start + 364 * 24h);
  CHECK(f.size() == 12);  // one missed, eleven on time
  j.config.on_misfire = misfire_policy::fire_all;
  CHECK(due(j, start + 364 * 24h).size() == 1'011);
  const auto seconds = job_of(calendar::cron_schedule{"* * * * * ?", "UTC", {}}, misfire_policy::fire_all, 365 * 24h);
  CHECK(due(seconds, start + 364 * 24h).size() == 1'002);
}
