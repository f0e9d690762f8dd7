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
wall_time read_wall() noexcept;

}  // namespace coterie::runtime
