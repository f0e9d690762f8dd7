#include "runtime/clocks.hpp"

#include <chrono>
#include <ctime>

namespace coterie::runtime {

namespace {
duration read_clock(clockid_t which) noexcept {
  timespec t{};
  ::clock_gettime(which, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}
wall_time read_wall(clockid_t which) noexcept {
  return wall_time(std::chrono::duration_cast<std::chrono::milliseconds>(read_clock(which)));
}
}  // namespace

lease_clocks read_lease_clocks() noexcept {
  return {instant(read_clock(CLOCK_MONOTONIC_RAW)), boot_instant(read_clock(CLOCK_BOOTTIME))};
}

wall_time read_coarse_wall() noexcept { return read_wall(CLOCK_REALTIME_COARSE); }

times read_clocks() noexcept {
  const auto [steady, boot] = read_lease_clocks();
  return {steady, boot, read_wall(CLOCK_REALTIME)};
}

}  // namespace coterie::runtime
