// When a job runs: by a cron expression, on a grid of equal intervals, or once. Times as values only: whoever knows the
// clock and the zones passes them in (the leader computes every next time; apply never calls this).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/result.hpp"
#include "base/time.hpp"
#include "cron/expression.hpp"
#include "cron/zone.hpp"

namespace coterie::calendar {

inline constexpr std::chrono::milliseconds min_interval{100};

struct cron_schedule {
  std::string expression;
  std::string zone = "UTC";
  dst_policy dst{};
  friend bool operator==(const cron_schedule&, const cron_schedule&) = default;
};
/// Runs at first + k * every, k >= 0: no drift, and daylight saving never touches it.
struct interval_schedule {
  std::chrono::milliseconds every;
  std::optional<wall_time> first{};  ///< the schedule's anchor when absent
  friend bool operator==(const interval_schedule&, const interval_schedule&) = default;
};
struct once_schedule {
  std::optional<wall_time> at{};  ///< the schedule's anchor when absent
  friend bool operator==(const once_schedule&, const once_schedule&) = default;
};
using schedule = std::variant<cron_schedule, interval_schedule, once_schedule>;

/// bad_cron (first: position, second: length) for an expression that does not parse; bad_argument for an interval below
/// min_interval or a zone that is not in `zones` (UTC always is).
result<void> validate(const schedule&, const zone_set& zones = {});

/// The first scheduled time strictly after `after`; nullopt when there is none, or when the schedule is not valid.
/// `anchor` is when the schedule was made; `zone` has the rules of a cron schedule's zone and is otherwise ignored.
std::optional<wall_time> next_after(const schedule&, wall_time after, wall_time anchor, const zone_rules& zone);

/// The window in which due times count.
struct due_window {
  wall_time next;  ///< the earliest time not yet claimed or recorded
  wall_time now;
  std::chrono::milliseconds catch_up = std::chrono::hours(1);  ///< how long before `now` a missed time still counts
};
/// The scheduled times in [next, now], as misfire policies need them. To go through them one by one: oldest, then
/// next_after up to newest.
struct due_times {
  std::uint64_t count = 0;                  ///< in the window: at or after now - catch_up
  std::uint64_t older = 0;                  ///< before the window: too late to run
  std::optional<wall_time> oldest, newest;  ///< in the window; set when count > 0
  std::optional<wall_time> following;       ///< the first time after `now`
  friend bool operator==(const due_times&, const due_times&) = default;
};
/// Exact, by arithmetic and bisection instead of visiting each time; see expression::count for what it costs.
due_times times_due(const schedule&, const due_window&, wall_time anchor, const zone_rules& zone);

}  // namespace coterie::calendar
