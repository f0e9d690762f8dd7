// The calendar of cron expressions: which local times match, and which instants those are in a zone.
//
// A zone's transitions cut time into stretches of one offset. In each stretch local times and instants differ by that
// offset, so a search is a sequence of searches over windows of local time; a gap is one more window, read with the
// offset before it (dst_gap::shift). Inside a window whole months are skipped by their day masks.
#include "cron/expression.hpp"

#include <algorithm>
#include <bit>

namespace coterie::calendar {
namespace {

using seconds_t = std::int64_t;  // since the epoch, local or UTC as the name says
constexpr seconds_t per_day = 86'400;
constexpr seconds_t first_local_second = 0;
constexpr seconds_t end_of_local_time =
    std::chrono::sys_days(std::chrono::year(last_year + 1) / 1 / 1).time_since_epoch().count() * per_day;

constexpr bool has(std::uint64_t mask, int bit) { return (mask >> bit & 1) != 0; }
constexpr std::uint64_t below(std::uint64_t mask, int bit) { return mask & ((std::uint64_t{1} << bit) - 1); }

/// The smallest set bit >= from, or -1; from <= 63.
constexpr int first_bit(std::uint64_t mask, int from) {
  const std::uint64_t rest = mask & (~std::uint64_t{0} << from);
  return rest == 0 ? -1 : std::countr_zero(rest);
}

// ---- days -----------------------------------------------------------------------------------------------------------

struct month_shape {
  int length;
  int weekday;  ///< of day 1, 0 = Sunday
  std::uint32_t all() const { return static_cast<std::uint32_t>((std::uint64_t{2} << length) - 2); }
};

/// The weekday nearest to `day` in the same month, as a bit; nothing for a day that the month does not have.
std::uint32_t nearest_weekday(int day, month_shape m) {
  if (day < 1 || day > m.length) return 0;
  const int weekday = (m.weekday + day - 1) % 7;
  if (weekday == 6) day += day == 1 ? 2 : -1;
  if (weekday == 0) day += day == m.length ? -2 : 1;
  return std::uint32_t{1} << day;
}

std::uint32_t days_by_date(const fields& f, month_shape m) {
  std::uint32_t days = f.days;
  for (int n = first_bit(f.last_days, 0); n >= 0; n = first_bit(f.last_days, n + 1)) {
    if (n < m.length) days |= std::uint32_t{1} << (m.length - n);
  }
  for (int n = first_bit(f.last_near, 0); n >= 0; n = first_bit(f.last_near, n + 1)) {
    days |= nearest_weekday(m.length - n, m);
  }
  for (int d = first_bit(f.near_days, 0); d >= 0; d = first_bit(f.near_days, d + 1)) days |= nearest_weekday(d, m);
  return days;
}

std::uint32_t days_by_weekday(const fields& f, month_shape m) {
  // Bit i of `week`: the weekday of day i + 1 is in the mask; five copies make a month.
  const auto week = [&](std::uint64_t mask) { return (mask >> m.weekday | mask << (7 - m.weekday)) & 0x7f; };
  constexpr std::uint64_t five_weeks = 0x10204081;
  std::uint64_t days = week(f.weekdays) * five_weeks;
  for (std::size_t k = 0; k < f.nth_weekday.size(); ++k) days |= week(f.nth_weekday[k]) << (7 * k);
  days |= week(f.last_weekday) * five_weeks & std::uint64_t{0x7f} << (m.length - 7);
  return static_cast<std::uint32_t>(days << 1 & m.all());
}

/// Calls visit(day number of the month's day 0, mask of the matching days from first_day to last_day) for each month
/// with such days, in order, until it returns true. Day numbers count from 1970-01-01 and must lie in the supported
/// years.
template <class Visit>
void visit_months(const fields& f, seconds_t first_day, seconds_t last_day, Visit visit) {
  const std::chrono::year_month_day start{std::chrono::sys_days(std::chrono::days(first_day))};
  int year = static_cast<int>(start.year());
  int month = static_cast<int>(static_cast<unsigned>(start.month()));
  seconds_t day_0 = first_day - static_cast<int>(static_cast<unsigned>(start.day()));
  for (; year <= last_year && day_0 < last_day; ++year, month = 1) {
    const bool leap = std::chrono::year(year).is_leap();
    const bool year_matches = f.years.test(static_cast<std::size_t>(year - first_year));
    for (; month <= 12 && day_0 < last_day; ++month) {
      const int length = month == 2 ? (leap ? 29 : 28) : 30 + ((month + (month >> 3)) & 1);
      if (year_matches && has(f.months, month)) {
        const month_shape shape{length, static_cast<int>((day_0 + 5) % 7)};  // 1970-01-01, day 0 + 1, was a Thursday
        std::uint32_t days = days_by_date(f, shape) & days_by_weekday(f, shape);
        if (day_0 < first_day) days &= ~std::uint32_t{0} << (first_day - day_0);
        if (day_0 + length > last_day) days &= static_cast<std::uint32_t>((std::uint64_t{2} << (last_day - day_0)) - 1);
        if (days != 0 && visit(day_0, days)) return;
      }
      day_0 += length;
    }
  }
}

// ---- times of day ---------------------------------------------------------------------------------------------------

struct time_of_day {
  int hour, minute, second;
  explicit time_of_day(seconds_t t)
      : hour(static_cast<int>(t / 3600)), minute(static_cast<int>(t / 60 % 60)), second(static_cast<int>(t % 60)) {}
};

/// The first matching second of the day >= from, or -1.
seconds_t first_time(const fields& f, seconds_t from) {
  const time_of_day t(from);
  int hour = t.hour, minute = -1, second = -1;
  if (has(f.hours, hour)) {
    minute = t.minute;
    if (has(f.minutes, minute)) second = first_bit(f.seconds, t.second);
    if (second < 0) minute = first_bit(f.minutes, minute + 1);
  }
  if (minute < 0) {
    hour = first_bit(f.hours, hour + 1);
    minute = first_bit(f.minutes, 0);
  }
  if (second < 0) second = first_bit(f.seconds, 0);
  return hour < 0 ? -1 : (hour * 60 + minute) * 60 + second;
}

/// The number of matching seconds of the day < end.
std::uint64_t count_times(const fields& f, seconds_t end) {
  const auto bits = [](std::uint64_t mask) { return static_cast<std::uint64_t>(std::popcount(mask)); };
  const std::uint64_t in_minute = bits(f.seconds), in_hour = bits(f.minutes) * in_minute;
  const time_of_day t(end);
  std::uint64_t n = bits(below(f.hours, t.hour)) * in_hour;
  if (has(f.hours, t.hour)) n += bits(below(f.minutes, t.minute)) * in_minute;
  if (has(f.hours, t.hour) && has(f.minutes, t.minute)) n += bits(below(f.seconds, t.second));
  return n;
}

// ---- local time -----------------------------------------------------------------------------------------------------

/// A half-open range of seconds.
struct range {
  seconds_t begin, end;
  bool empty() const { return begin >= end; }
  friend range operator&(range a, range b) { return {std::max(a.begin, b.begin), std::min(a.end, b.end)}; }
  friend range operator+(range a, seconds_t by) { return {a.begin + by, a.end + by}; }
};
constexpr range local_years{first_local_second, end_of_local_time};

/// The first matching local time in the range.
std::optional<seconds_t> first_local(const fields& f, range local) {
  local = local & local_years;
  if (local.empty()) return std::nullopt;
  const seconds_t first_day = local.begin / per_day, last_day = (local.end - 1) / per_day;
  std::optional<seconds_t> found;
  visit_months(f, first_day, last_day, [&](seconds_t day_0, std::uint32_t days) {
    for (int d = first_bit(days, 0); d >= 0 && !found; d = first_bit(days, d + 1)) {
      const seconds_t midnight = (day_0 + d) * per_day;
      const seconds_t time = first_time(f, std::max<seconds_t>(local.begin - midnight, 0));
      if (time >= 0) found = midnight + time;
    }
    return found.has_value();
  });
  return found && *found < local.end ? found : std::nullopt;
}

/// The number of matching local times in the range.
std::uint64_t count_local(const fields& f, range local) {
  local = local & local_years;
  if (local.empty()) return 0;
  const seconds_t first_day = local.begin / per_day, last_day = (local.end - 1) / per_day;
  const std::uint64_t each_day = count_times(f, per_day);
  std::uint64_t n = 0;
  visit_months(f, first_day, last_day, [&](seconds_t day_0, std::uint32_t days) {
    n += static_cast<std::uint64_t>(std::popcount(days)) * each_day;
    const auto holds = [&](seconds_t day) {
      return day > day_0 && day - day_0 < 32 && has(days, static_cast<int>(day - day_0));
    };
    if (holds(first_day)) n -= count_times(f, local.begin - first_day * per_day);
    if (holds(last_day)) n -= each_day - count_times(f, local.end - last_day * per_day);
    return false;
  });
  return n;
}

// ---- instants -------------------------------------------------------------------------------------------------------

/// A stretch of local time in which instant = local - offset; for a gap, what comes after it as well.
struct window {
  range local;
  seconds_t offset;
  bool gap = false;
  seconds_t jump = 0;  ///< of a gap: by how much the clocks are set forward
  seconds_t start() const { return local.begin - offset; }
};

/// Calls visit(window) in order of their starts, for all windows that can hold instants of the range, until it returns
/// true.
template <class Visit>
void visit_windows(const zone_rules& zone, range instants, dst_gap gap, bool both_passes, Visit visit) {
  const auto offset_of = [&](std::size_t i) { return seconds_t{zone.segment_offset(i).count()}; };
  const auto start_of = [&](std::size_t i) {  // clamped far outside the supported years, against overflow
    constexpr seconds_t far = 1'000'000'000'000;
    return std::clamp(seconds_t{zone.transitions[i - 1].at.time_since_epoch().count()}, -far, far);
  };
  // Shifted times of an earlier gap reach at most two offsets beyond it.
  const std::chrono::seconds reach = 2 * zone_rules::offset_limit;
  std::size_t i = zone.segment_of(std::chrono::sys_seconds(std::chrono::seconds(instants.begin) - reach));
  for (bool stop = false; !stop && i <= zone.transitions.size(); ++i) {
    const seconds_t offset = offset_of(i), before = i == 0 ? offset : offset_of(i - 1);
    range segment = instants;
    if (i > 0) {
      const seconds_t at = start_of(i);
      if (at >= instants.end) return;
      if (offset > before && gap != dst_gap::skip) {
        stop = visit(window{range{at, at + offset - before} + before, before, true, offset - before});
      }
      segment.begin = std::max(segment.begin, both_passes ? at : at + std::max<seconds_t>(before - offset, 0));
    }
    if (i < zone.transitions.size()) segment.end = std::min(segment.end, start_of(i + 1));
    if (!stop && !segment.empty()) stop = visit(window{segment + offset, offset});
  }
}

bool fires_in_both_passes(const fields& f, dst_overlap overlap) {
  return overlap == dst_overlap::both || (overlap == dst_overlap::automatic && f.repeats);
}

/// The first instant in the range.
std::optional<seconds_t> first_instant(const fields& f, const zone_rules& zone, range instants, dst_policy policy) {
  const bool both = fires_in_both_passes(f, policy.overlap);
  std::optional<seconds_t> best;
  visit_windows(zone, instants, policy.gap, both, [&](const window& w) {
    if (best && w.start() >= *best) return true;
    std::optional<seconds_t> found;
    if (w.gap && policy.gap == dst_gap::at_transition) {
      if (w.start() >= instants.begin && first_local(f, w.local)) found = w.start();
    } else if (auto local = first_local(f, w.local & (instants + w.offset))) {
      found = *local - w.offset;
    }
    if (found && (!best || *found < *best)) best = found;
    return false;
  });
  return best;
}

/// How many times of a gap fire at instants of the range that no local time after the gap means.
std::uint64_t count_gap(const fields& f, const window& w, range instants, dst_gap gap) {
  const auto matches = [&](seconds_t local) { return first_local(f, {local, local + 1}).has_value(); };
  if (gap == dst_gap::at_transition) {
    return w.start() >= instants.begin && first_local(f, w.local) && !matches(w.local.begin + w.jump) ? 1 : 0;
  }
  std::uint64_t n = 0;
  range rest = w.local & (instants + w.offset);
  while (auto local = first_local(f, rest)) {
    if (!matches(*local + w.jump)) ++n;
    rest.begin = *local + 1;
  }
  return n;
}

/// Bounds that hold every possible result with room for offsets, so that arithmetic can't overflow.
constexpr range all_instants{first_local_second - 2 * per_day, end_of_local_time + 2 * per_day};

wall_time clamped(wall_time t) {
  return std::clamp(t, wall_time(std::chrono::seconds(all_instants.begin)),
                    wall_time(std::chrono::seconds(all_instants.end)));
}
seconds_t at_or_after(wall_time t) {
  return std::chrono::ceil<std::chrono::seconds>(clamped(t)).time_since_epoch().count();
}
seconds_t at_or_before(wall_time t) {
  return std::chrono::floor<std::chrono::seconds>(clamped(t)).time_since_epoch().count();
}
wall_time to_wall(seconds_t t) { return wall_time(std::chrono::seconds(t)); }

}  // namespace

result<expression> expression::parse(std::string_view text) {
  return parse_fields(text).map([](const fields& f) { return expression(f); });
}

std::optional<wall_time> expression::next(wall_time after, const zone_rules& zone, dst_policy policy) const {
  const auto found = first_instant(fields_, zone, {at_or_before(after) + 1, all_instants.end}, policy);
  return found ? std::optional(to_wall(*found)) : std::nullopt;
}

std::optional<wall_time> expression::last(wall_time from, wall_time to, const zone_rules& zone,
                                          dst_policy policy) const {
  range rest{at_or_after(from), at_or_before(to) + 1};
  std::optional<seconds_t> best;
  // Bisection: the first instant of a range's upper half, when it has one, is nearer to the last instant.
  while (!rest.empty()) {
    const seconds_t middle = rest.begin + (rest.end - rest.begin) / 2;
    if (auto found = first_instant(fields_, zone, {middle, rest.end}, policy)) {
      best = found;
      rest.begin = *found + 1;
    } else {
      rest.end = middle;
    }
  }
  return best ? std::optional(to_wall(*best)) : std::nullopt;
}

std::uint64_t expression::count(wall_time from, wall_time to, const zone_rules& zone, dst_policy policy) const {
  const range instants{at_or_after(from), at_or_before(to) + 1};
  const bool both = fires_in_both_passes(fields_, policy.overlap);
  std::uint64_t n = 0;
  visit_windows(zone, instants, policy.gap, both, [&](const window& w) {
    n += w.gap ? count_gap(fields_, w, instants, policy.gap) : count_local(fields_, w.local);
    return false;
  });
  return n;
}

}  // namespace coterie::calendar
