// Where a node lies in the space of round trips: Vivaldi (SIGCOMM 2004), with the height of its access link.
#pragma once

#include <optional>

#include "base/random.hpp"
#include "base/time.hpp"

namespace coterie::swim {

/// In seconds. Distances between points estimate round trips; `error` says how far to trust it: 0 = exact, 1.5 = not at
/// all.
struct coordinate {
  float x = 0, y = 0, z = 0;
  float height = 1e-5F;
  float error = 1.5F;
  friend bool operator==(const coordinate&, const coordinate&) = default;
};

/// The estimated round trip.
duration distance(const coordinate&, const coordinate&);
/// The same when both know where they are: nullopt while the error of one is as large as what it would say.
std::optional<duration> estimate(const coordinate&, const coordinate&);
/// Finite and within bounds: what a stranger says is looked at before it moves anybody.
bool plausible(const coordinate&);
/// Where `self` lies after a round trip to `peer` took so long. `random` decides the direction between equal points.
coordinate moved(const coordinate& self, const coordinate& peer, duration took, rng& random);

}  // namespace coterie::swim
