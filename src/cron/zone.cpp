#include "cron/zone.hpp"

#include <algorithm>

namespace coterie::calendar {

bool zone_rules::well_formed() const {
  const auto usable = [](std::chrono::seconds offset) { return offset >= -offset_limit && offset <= offset_limit; };
  const auto not_rising = [](const transition& a, const transition& b) { return a.at >= b.at; };
  return usable(initial_offset) &&
         std::all_of(transitions.begin(), transitions.end(), [&](const transition& t) { return usable(t.offset); }) &&
         std::adjacent_find(transitions.begin(), transitions.end(), not_rising) == transitions.end();
}

std::size_t zone_rules::segment_of(std::chrono::sys_seconds t) const {
  const auto later = std::upper_bound(transitions.begin(), transitions.end(), t,
                                      [](std::chrono::sys_seconds at, const transition& b) { return at < b.at; });
  return static_cast<std::size_t>(later - transitions.begin());
}

local_info zone_rules::to_utc(std::chrono::local_seconds local) const {
  const std::chrono::sys_seconds t(local.time_since_epoch());  // the instant, give or take an offset
  const std::size_t last = segment_of(t + offset_limit);
  local_info found;
  bool any = false;
  for (std::size_t i = segment_of(t - offset_limit); i <= last; ++i) {
    const auto at = t - segment_offset(i);
    const bool started = i == 0 || at >= transitions[i - 1].at;
    const bool ended = i < transitions.size() && at >= transitions[i].at;
    if (started && !ended) {
      found =
          any ? local_info{local_info::kind::overlap, found.first, at} : local_info{local_info::kind::unique, at, at};
      any = true;
    } else if (!started && !any && t - segment_offset(i - 1) >= transitions[i - 1].at) {
      return {local_info::kind::gap, t - segment_offset(i - 1), transitions[i - 1].at};
    }
  }
  return found;
}

const zone_rules* find_zone(const zone_set& zones, std::string_view name) {
  static const zone_rules utc = zone_rules::utc();
  const auto it = zones.find(name);
  if (it != zones.end()) return &it->second;
  return name == utc.name ? &utc : nullptr;
}

}  // namespace coterie::calendar
