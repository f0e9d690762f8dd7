// Round-trip time, smoothed.
#pragma once

#include <algorithm>
#include <optional>

#include "base/time.hpp"

namespace coterie::swim {

/// Jacobson's estimate (RFC 6298).
struct rtt_estimate {
  std::optional<duration> mean;
  duration variation{};

  void add(duration took) {
    took = std::max(took, duration{});
    if (!mean) {
      mean = took;
      variation = took / 2;
      return;
    }
    const duration off = took > *mean ? took - *mean : *mean - took;
    variation = (3 * variation + off) / 4;
    mean = (7 * *mean + took) / 8;
  }
  /// What an answer rarely exceeds; zero when nothing was measured.
  duration bound() const { return mean ? *mean + 4 * variation : duration{}; }
};

}  // namespace coterie::swim
