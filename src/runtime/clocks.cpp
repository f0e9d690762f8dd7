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
}  // namespace

times read_clocks() noexcept {
  return {instant(read_clock(CLOCK_MONOTONIC_RAW)), boot_instant(read_clock(CLOCK_BOOTTIME)),
          wall_time(duration_cast<std::chrono::milliseconds>(read_clock(CLOCK_REALTIME)))};
}

}  // namespace coterie::runtime
