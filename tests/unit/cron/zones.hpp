// Hand-written zone rules and readable times for the tests of cron.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

#include <fmt/format.h>

#include "base/time.hpp"
#include "cron/zone.hpp"

namespace coterie::calendar {

/// "2026-03-29 01:00:00" (or without the time) as UTC.
inline wall_time utc(const std::string& text) {
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0;
  std::sscanf(text.c_str(), "%d-%d-%d %d:%d:%d", &y, &mo, &d, &h, &mi, &s);
  const auto day = std::chrono::sys_days(std::chrono::year(y) / mo / d);
  return wall_time(day + std::chrono::hours(h) + std::chrono::minutes(mi) + std::chrono::seconds(s));
}

inline std::chrono::sys_seconds utc_seconds(const std::string& text) {
  return std::chrono::floor<std::chrono::seconds>(utc(text));
}

/// "2026-03-29 03:30:00 +120": local time and the offset in minutes.
inline std::string local_text(wall_time t, const zone_rules& zone) {
  const auto at = std::chrono::floor<std::chrono::seconds>(t);
  const auto local = zone.to_local(at);
  const auto day = std::chrono::floor<std::chrono::days>(local);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(local - day);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} {:+}", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), time.hours().count(),
                     time.minutes().count(), time.seconds().count(),
                     std::chrono::duration_cast<std::chrono::minutes>(zone.offset_at(at)).count());
}

/// Central European rules: +1 h, and +2 h from the last Sunday of March, 01:00 UTC, to the last Sunday of October,
/// 01:00 UTC.
inline zone_rules berlin(int from = 2020, int to = 2035) {
  using namespace std::chrono;
  zone_rules zone{"Europe/Berlin", hours(1), {}};
  for (int y = from; y <= to; ++y) {
    zone.transitions.push_back({sys_days(year(y) / March / Sunday[last]) + hours(1), hours(2)});
    zone.transitions.push_back({sys_days(year(y) / October / Sunday[last]) + hours(1), hours(1)});
  }
  return zone;
}

/// Half an hour of daylight saving: +11:00, and +10:30 from the first Sunday of April, 15:00 UTC of the day before,
/// until the first Sunday of October, 15:30 UTC of the day before.
inline zone_rules lord_howe(int from = 2020, int to = 2035) {
  using namespace std::chrono;
  zone_rules zone{"Australia/Lord_Howe", hours(11), {}};
  for (int y = from; y <= to; ++y) {
    zone.transitions.push_back({sys_days(year(y) / April / Sunday[1]) - hours(9), minutes(630)});
    zone.transitions.push_back({sys_days(year(y) / October / Sunday[1]) - minutes(510), hours(11)});
  }
  return zone;
}

/// Samoa left out 2011-12-30 to change sides of the date line.
inline zone_rules apia() {
  return {"Pacific/Apia", std::chrono::hours(-10), {{utc_seconds("2011-12-30 10:00:00"), std::chrono::hours(14)}}};
}

}  // namespace coterie::calendar
