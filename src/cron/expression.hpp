// A cron expression in Quartz's grammar and the instants it means in a zone (docs/jobs.md, Schedules). Times that a
// zone skips or repeats follow dst_policy. Pure: reads no clock and no database; the zone's rules are an argument.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.hpp"
#include "base/time.hpp"
#include "cron/fields.hpp"
#include "cron/zone.hpp"

namespace coterie::calendar {

/// What a local time means that the clocks jump over. It holds for each local time of the expression by itself.
enum class dst_gap {
  shift,  ///< the same elapsed time later (02:30 fires at 03:30); one fire where that is a scheduled time as well
  skip,   ///< it does not fire
  at_transition,  ///< it fires at the first instant after the gap (03:00), once for all times in the gap
};
/// Which instants a local time means that comes twice.
enum class dst_overlap {
  automatic,  ///< both passes when second, minute or hour holds `*`, `-` or `/`, otherwise the first
  first,
  both,
};

struct dst_policy {
  dst_gap gap = dst_gap::shift;
  dst_overlap overlap = dst_overlap::automatic;
  friend bool operator==(const dst_policy&, const dst_policy&) = default;
};

/// Immutable after parse. Fires at whole seconds, in local years 1970-2199.
class expression {
 public:
  /// `second minute hour day-of-month month day-of-week [year]`, separated by spaces or tabs; a field is a list of `*`,
  /// `a`, `a-b` (around the end where a > b, but not for years), each with `/step`; `?`, `L`, `L-n`, `LW`, `nW`, `L-nW`
  /// in day of month; `?`, `L` (Saturday), `n#k`, `nL` in day of week, where 1 is Sunday; names of months and weekdays
  /// in any case. A day that a month does not have (31W in April, L-30 in June) does not fire in that month. Fails with
  /// errc::bad_cron; failure::first is the byte position of the offending part, failure::second its length.
  static result<expression> parse(std::string_view text);

  /// The first instant strictly after `after`; nullopt when there is none. Bounded: well below 1 ms in the worst case.
  std::optional<wall_time> next(wall_time after, const zone_rules&, dst_policy = {}) const;

  /// The last instant in [from, to]; nullopt when there is none.
  std::optional<wall_time> last(wall_time from, wall_time to, const zone_rules&, dst_policy = {}) const;

  /// How many instants lie in [from, to]; exact when the rules are well formed. Work grows with the months and
  /// with the matching times inside gaps, not with the number of instants.
  std::uint64_t count(wall_time from, wall_time to, const zone_rules&, dst_policy = {}) const;

  friend bool operator==(const expression&, const expression&) = default;

 private:
  explicit expression(fields f) : fields_(f) {}
  fields fields_;
};

}  // namespace coterie::calendar
