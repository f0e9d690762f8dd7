// Random histories of correct objects, for tests and benchmarks of the checker. What they are right about is known from
// how they were made: each operation took effect at one instant that the generator chose.
#pragma once

#include <cstddef>

#include "base/random.hpp"
#include "linearizability/checker.hpp"
#include "linearizability/history.hpp"

namespace coterie::linearizability {

/// What to make.
struct recipe {
  model meaning = model::register_;  ///< not automatic
  std::size_t operations = 100, clients = 5, keys = 1;
  std::size_t values = 5;    ///< how many different values are written; 0 = each its own (a journal's messages always)
  double unknown = 0;        ///< share of the operations whose outcome stays unknown; half of these take effect, later
  std::size_t duration = 3;  ///< of an operation, at most twice this; small ones make instants coincide
};

/// A linearizable history.
history generate(const recipe&, rng&);

/// Makes one wrong, perhaps: moves an operation in time, changes a number that it returned, or lets two of one kind
/// swap what they returned.
void damage(history&, rng&);

}  // namespace coterie::linearizability
