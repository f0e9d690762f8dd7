// A time zone as a value: its name and the list of its offset changes. Knows nothing of where the rules come from (the
// runtime copies them from the system's database), of cron, or of any clock.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace coterie::calendar {

/// From the instant `at` on, local time is UTC + offset.
struct transition {
  std::chrono::sys_seconds at;
  std::chrono::seconds offset;
  friend bool operator==(const transition&, const transition&) = default;
};

/// What a local time means in a zone.
struct local_info {
  enum class kind { unique, gap, overlap };
  kind what = kind::unique;
  std::chrono::sys_seconds
      first;  ///< the instant; overlap: of the first pass; gap: by the offset before it (02:30 -> 03:30)
  std::chrono::sys_seconds second;  ///< overlap: of the second pass; gap: of the transition; otherwise equal to `first`
  friend bool operator==(const local_info&, const local_info&) = default;
};

/// The rules of one zone. Offset changes lie more than two days apart in every zone since 1970.
struct zone_rules {
  static constexpr std::chrono::seconds offset_limit = std::chrono::hours(24);

  std::string name = "UTC";
  std::chrono::seconds initial_offset{0};  ///< before the first transition
  std::vector<transition> transitions;     ///< rising by `at`

  static zone_rules utc() { return {}; }

  /// Transitions strictly rising and every offset within offset_limit. Whoever loads rules checks this; with rules that
  /// are not well formed the functions below and expression::next still end, with times of no meaning.
  bool well_formed() const;

  /// The number of transitions at or before `t`: 0 before the first one.
  std::size_t segment_of(std::chrono::sys_seconds t) const;
  /// The offset in force between transitions `segment` - 1 and `segment`; segment <= transitions.size(). Clamped to
  /// offset_limit.
  std::chrono::seconds segment_offset(std::size_t segment) const {
    return std::clamp(segment == 0 ? initial_offset : transitions[segment - 1].offset, -offset_limit, offset_limit);
  }

  std::chrono::seconds offset_at(std::chrono::sys_seconds t) const { return segment_offset(segment_of(t)); }
  std::chrono::local_seconds to_local(std::chrono::sys_seconds t) const {
    return std::chrono::local_seconds(t.time_since_epoch() + offset_at(t));
  }
  /// Both directions: for times within a billion years of the epoch.
  local_info to_utc(std::chrono::local_seconds) const;

  friend bool operator==(const zone_rules&, const zone_rules&) = default;
};

/// Zones by name.
using zone_set = std::map<std::string, zone_rules, std::less<>>;

/// The rules of a zone, nullptr when it is not in the set. "UTC" is always known.
const zone_rules* find_zone(const zone_set&, std::string_view name);

}  // namespace coterie::calendar
