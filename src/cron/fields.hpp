// A parsed cron expression: one bit for each value of each field, and the day forms that depend on the month. Knows
// nothing of zones or instants; it is the seam between the grammar (parse.cpp) and the calendar (expression.cpp).
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/result.hpp"

namespace coterie::calendar {

inline constexpr int first_year = 1970;
inline constexpr int last_year = 2199;
inline constexpr std::size_t max_expression_length = 1024;  ///< bytes

struct fields {
  std::uint64_t seconds = 0, minutes = 0;  ///< bit v: value v
  std::uint32_t hours = 0, months = 0;     ///< bit v: value v
  std::bitset<last_year - first_year + 1> years;

  // A day fires when both of these hold; one of them is always "every day" (`?` or `*`).
  std::uint32_t days = 0;                      ///< bit d: day d of the month
  std::uint32_t last_days = 0;                 ///< bit n: L-n, n days before the last one
  std::uint32_t near_days = 0;                 ///< bit d: dW, the weekday nearest to day d
  std::uint32_t last_near = 0;                 ///< bit n: L-nW, the weekday nearest to L-n
  std::uint32_t weekdays = 0;                  ///< bit w: weekday w, 0 = Sunday
  std::uint32_t last_weekday = 0;              ///< bit w: wL, the month's last weekday w
  std::array<std::uint32_t, 5> nth_weekday{};  ///< [k - 1], bit w: w#k

  bool repeats = false;  ///< second, minute or hour holds `*`, `-` or `/`

  friend bool operator==(const fields&, const fields&) = default;
};

/// The grammar; see expression::parse.
result<fields> parse_fields(std::string_view text);

}  // namespace coterie::calendar
