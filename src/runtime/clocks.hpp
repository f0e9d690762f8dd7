// The clocks of a node, read once a turn (docs/consensus.md 2, S5).
#pragma once

#include "base/time.hpp"

namespace coterie::runtime {

/// Reads CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME and the wall clock.
times read_clocks() noexcept;
/// Those that a lease is judged by.
struct lease_clocks {
  instant steady;
  boot_instant boot;
};
lease_clocks read_lease_clocks() noexcept;
/// Up to a tick of the kernel late (10 ms at most), and read in a fifth of the time: for what people are shown.
wall_time read_coarse_wall() noexcept;

}  // namespace coterie::runtime
