// Time as the pure layers see it: values that a driver read once at the start of a turn. No clock is read here.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>

namespace coterie {

using std::chrono::duration_cast;
using namespace std::chrono_literals;

/// CLOCK_MONOTONIC_RAW: not slewed by NTP, stands still during suspend. Timers run on it.
struct raw_clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<raw_clock>;
  static constexpr bool is_steady = true;
};
/// CLOCK_BOOTTIME: counts suspend.
struct boot_clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<boot_clock>;
  static constexpr bool is_steady = true;
};

using duration = std::chrono::nanoseconds;
using instant = raw_clock::time_point;                               ///< a moment on this node's steady clock
using boot_instant = boot_clock::time_point;                         ///< the same, counting suspend
using wall_time = std::chrono::sys_time<std::chrono::milliseconds>;  ///< UTC

inline constexpr instant never = instant::max();

/// What the clocks said when the turn began (docs/consensus.md 2, S5).
struct times {
  instant steady;
  boot_instant boot;
  wall_time wall;
};

/// Elapsed time for whoever may take a lease away: the smaller of both clocks. (A holder keeps a deadline on each.)
inline duration elapsed_for_granter(const times& from, const times& to) {
  return std::min(to.steady - from.steady, to.boot - from.boot);
}

/// A duration by the fastest or the slowest clock: d * (1 + rate error) or d * (1 - rate error).
inline duration scaled(duration d, double factor) {
  return duration(static_cast<duration::rep>(static_cast<double>(d.count()) * factor));
}

}  // namespace coterie
