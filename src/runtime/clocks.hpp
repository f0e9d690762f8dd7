// The clocks of a node, read once a turn (docs/consensus.md 2, S5).
#pragma once

#include "base/time.hpp"

namespace coterie::runtime {

/// Reads CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME and the wall clock.
times read_clocks() noexcept;

}  // namespace coterie::runtime
