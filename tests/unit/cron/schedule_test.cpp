// Schedules of all three kinds: validation, next times, what was missed.
#include <vector>

#include "base/random.hpp"
#include "catch.hpp"
#include "cron/schedule.hpp"
#include "zones.hpp"

namespace coterie::calendar {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

const wall_time anchor = utc("2026-05-01 10:00:00");
const zone_rules utc_zone = zone_rules::utc();

TEST_CASE("a schedule is checked before it is used") {
  CHECK(validate(cron_schedule{"0 0 12 * * ?"}));
  CHECK(validate(interval_schedule{100ms, {}}));
  CHECK(validate(once_schedule{}));
  const zone_set zones{{"Europe/Berlin", berlin()}};
  CHECK(validate(cron_schedule{"0 0 12 * * ?", "Europe/Berlin", {}}, zones));
  CHECK(validate(cron_schedule{"0 0 12 * * ?", "UTC", {}}, zones));

  const auto zone = validate(cron_schedule{"0 0 12 * * ?", "Europe/Atlantis", {}}, zones);
  REQUIRE_FALSE(zone);
  CHECK(zone.error().code == errc::bad_argument);
  CHECK(zone.error().message == "time zone 'Europe/Atlantis' is not known: use a name like Europe/Berlin or UTC");
  CHECK_FALSE(validate(cron_schedule{"0 0 12 * * ?", "Europe/Berlin", {}}));

  const auto expression = validate(cron_schedule{"0 60 * * * ?"});
  REQUIRE_FALSE(expression);
  CHECK(expression.error() == failure{errc::bad_cron, "minute 60 is not 0-59", 2, 2});

  for (const milliseconds every : {99ms, 0ms, -1ms, milliseconds::min()}) {
    const auto interval = validate(interval_schedule{every, {}});
    REQUIRE_FALSE(interval);
    CHECK(interval.error().code == errc::bad_argument);
    CHECK(next_after(interval_schedule{every, {}}, anchor, anchor, utc_zone) == std::nullopt);
    CHECK(times_due(interval_schedule{every, {}}, {anchor, anchor + hours(1)}, anchor, utc_zone) == due_times{});
  }
}

TEST_CASE("an interval keeps its grid") {
  const schedule s = interval_schedule{7s, {}};
  const auto next = [&](wall_time after) { return next_after(s, after, anchor, utc_zone); };
  CHECK(next(anchor - 1ms) == anchor);
  CHECK(next(anchor - hours(24 * 365)) == anchor);
  CHECK(next(anchor) == anchor + 7s);
  CHECK(next(anchor + 6999ms) == anchor + 7s);
  CHECK(next(anchor + 7s) == anchor + 14s);
  CHECK(next(anchor + 7s * 1'000'000'000 + 1ms) == anchor + 7s * 1'000'000'001);  // no drift
  CHECK(next(wall_time::min()) == anchor);
  CHECK(next(wall_time::max()) == std::nullopt);
  const schedule with_first = interval_schedule{7s, anchor + 1s};
  CHECK(next_after(with_first, anchor, anchor, utc_zone) == anchor + 1s);
  CHECK(next_after(with_first, anchor + 1s, anchor, utc_zone) == anchor + 8s);
  // Daylight saving never touches it.
  CHECK(next_after(interval_schedule{hours(24), utc("2026-03-28 01:30:00")}, utc("2026-03-28 12:00:00"), anchor,
                   berlin()) == utc("2026-03-29 01:30:00"));
}

TEST_CASE("once is once") {
  CHECK(next_after(once_schedule{anchor + 5s}, anchor, anchor, utc_zone) == anchor + 5s);
  CHECK(next_after(once_schedule{anchor + 5s}, anchor + 5s, anchor, utc_zone) == std::nullopt);
  CHECK(next_after(once_schedule{}, anchor - 1ms, anchor, utc_zone) == anchor);
  CHECK(next_after(once_schedule{}, anchor, anchor, utc_zone) == std::nullopt);
  CHECK(next_after(once_schedule{wall_time::max()}, anchor, anchor, utc_zone) == wall_time::max());
  CHECK(times_due(once_schedule{}, {anchor, anchor + 5s}, anchor, utc_zone) == due_times{1, 0, anchor, anchor, {}});
  CHECK(times_due(once_schedule{}, {anchor, anchor + 5s, 4s}, anchor, utc_zone) == due_times{0, 1, {}, {}, {}});
  CHECK(times_due(once_schedule{}, {anchor, anchor - 5s}, anchor, utc_zone) == due_times{0, 0, {}, {}, anchor});
}

TEST_CASE("a cron schedule fires in its zone, and never when it does not parse") {
  const schedule s = cron_schedule{"0 0 0/4 * * ?", "Europe/Berlin", {}};
  CHECK(next_after(s, utc("2026-07-01 00:00:00"), anchor, berlin()) == utc("2026-07-01 02:00:00"));
  const schedule bad = cron_schedule{"0 0 0/4 * *"};
  CHECK(next_after(bad, anchor, anchor, utc_zone) == std::nullopt);
  CHECK(times_due(bad, {anchor, anchor + hours(1)}, anchor, utc_zone) == due_times{});
  const schedule skipping = cron_schedule{"0 30 2 * * ?", "Europe/Berlin", {dst_gap::skip, dst_overlap::automatic}};
  CHECK(next_after(skipping, utc("2026-03-28 12:00:00"), anchor, berlin()) == utc("2026-03-30 00:30:00"));
}

TEST_CASE("what was missed: the window, its ends, and what comes after") {
  const schedule s = cron_schedule{"0 0/10 * * * ?"};
  const auto due = [&](wall_time next, wall_time now, milliseconds catch_up = hours(1)) {
    return times_due(s, {next, now, catch_up}, anchor, utc_zone);
  };
  CHECK(due(anchor, anchor - 1ms) == due_times{0, 0, {}, {}, anchor});
  CHECK(due(anchor, anchor) == due_times{1, 0, anchor, anchor, anchor + 10min});
  CHECK(due(anchor, anchor + 599'999ms) == due_times{1, 0, anchor, anchor, anchor + 10min});
  CHECK(due(anchor, anchor + 10min) == due_times{2, 0, anchor, anchor + 10min, anchor + 20min});
  // Exactly an hour ago is still inside the window; a millisecond more is not.
  CHECK(due(anchor, anchor + 1h) == due_times{7, 0, anchor, anchor + 1h, anchor + 70min});
  CHECK(due(anchor, anchor + 1h + 1ms) == due_times{6, 1, anchor + 10min, anchor + 1h, anchor + 70min});
  CHECK(due(anchor, anchor + 5min, 4min) == due_times{0, 1, {}, {}, anchor + 10min});
  CHECK(due(anchor, anchor + 10min, 0ms) == due_times{1, 1, anchor + 10min, anchor + 10min, anchor + 20min});
  CHECK(due(anchor, anchor + 10min, -5ms) == due(anchor, anchor + 10min, 0ms));
  // A week without a quorum.
  CHECK(due(anchor, anchor + hours(168) + 5min) ==
        due_times{6, 1003, anchor + hours(167) + 10min, anchor + hours(168), anchor + hours(168) + 10min});
}

TEST_CASE("extreme windows end") {
  const schedule each_second = cron_schedule{"* * * * * ?"};
  const auto all = times_due(each_second, {wall_time::min(), wall_time::max(), milliseconds::max()}, anchor, utc_zone);
  CHECK(all.count == 230ull * 365 * 86'400 + 56ull * 86'400);  // 56 leap years: 1972 to 2196 without 2100
  CHECK(all.oldest == utc("1970-01-01"));
  CHECK(all.newest == utc("2199-12-31 23:59:59"));
  CHECK(all.following == std::nullopt);
  CHECK(times_due(each_second, {wall_time::max(), wall_time::min(), 1ms}, anchor, utc_zone).following ==
        utc("1970-01-01"));

  const schedule interval = interval_schedule{100ms, wall_time::min()};
  const auto steps = times_due(interval, {wall_time::min(), wall_time::max(), milliseconds::max()}, anchor, utc_zone);
  CHECK(steps.following == std::nullopt);
  CHECK(steps.count + steps.older == (~std::uint64_t{0}) / 100);  // all but the one at the least time of all
  CHECK(times_due(interval_schedule{milliseconds::max(), anchor}, {anchor, wall_time::max()}, anchor, utc_zone).older ==
        1);
  CHECK(next_after(interval_schedule{milliseconds::max(), anchor}, anchor, anchor, utc_zone) == std::nullopt);
}

TEST_CASE("missed times agree with stepping through them") {
  rng r(7);
  const std::vector<schedule> schedules{
      cron_schedule{"0 0/7 * * * ?", "Europe/Berlin", {}},
      cron_schedule{"0 30 2 * * ?", "Europe/Berlin", {}},
      cron_schedule{"0/20 * 1-3 ? * SAT,SUN", "Europe/Berlin", {dst_gap::at_transition, dst_overlap::first}},
      interval_schedule{97s, {}},
      interval_schedule{1234ms, anchor + 3ms},
      once_schedule{utc("2026-10-25 01:00:00")}};
  for (int i = 0; i < 600; ++i) {
    const schedule& s = schedules[r.below(schedules.size())];
    const wall_time near = utc(r.chance(0.5) ? "2026-03-28 23:00:00" : "2026-10-24 23:00:00");
    const wall_time next = near + milliseconds(r.below(4 * 3'600'000));
    const wall_time now = next + milliseconds(r.below(5 * 3'600'000));
    const milliseconds catch_up(r.below(4 * 3'600'000));
    due_times want;
    for (auto t = next_after(s, next - 1ms, anchor, berlin()); t && *t <= now;
         t = next_after(s, *t, anchor, berlin())) {
      if (*t < now - catch_up) {
        ++want.older;
        continue;
      }
      ++want.count;
      if (!want.oldest) want.oldest = t;
      want.newest = t;
    }
    want.following = next_after(s, now, anchor, berlin());
    REQUIRE(times_due(s, {next, now, catch_up}, anchor, berlin()) == want);
  }
}

TEST_CASE("equal configurations compare equal") {
  CHECK(schedule(cron_schedule{"0 0 12 * * ?"}) == schedule(cron_schedule{"0 0 12 * * ?", "UTC", {}}));
  CHECK(schedule(cron_schedule{"0 0 12 * * ?"}) != schedule(cron_schedule{"0 0 12 * * ?", "Europe/Berlin", {}}));
  CHECK(schedule(interval_schedule{1s, {}}) != schedule(interval_schedule{1s, anchor}));
  CHECK(schedule(interval_schedule{1s, {}}) != schedule(once_schedule{}));
}

}  // namespace
}  // namespace coterie::calendar
