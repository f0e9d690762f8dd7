// One schedule, run: the faults happen, the clients work, everything heals, and the cluster has to converge.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/planted_bug.hpp"
#include "sim/schedule.hpp"

namespace coterie::sim {

struct run_options {
  planted_bug bug = planted_bug::none;
  bool trace = false;          ///< to standard error
  bool explain = true;         ///< histories that are not linearizable, at length
  bool stop_at_first = false;  ///< the first violation ends the run
};

/// What one run was, or many together.
struct report {
  std::vector<std::string> violations;  ///< at most 20, with their time
  std::uint64_t hash = 0;               ///< of all actions
  duration virtual_time{}, healing{};   ///< healing: until everything had converged, the longest
  std::uint64_t operations = 0, acknowledged = 0, refused = 0, unsure = 0, crashes = 0, leaders = 0, partitions = 0,
                configurations = 0, grants = 0, starts = 0, entries = 0, messages = 0, steps = 0;
  std::map<std::string, std::uint64_t> marks;  ///< how often each counted branch was taken
  std::map<death, std::uint64_t> deaths;       ///< at a point, on order

  void add(const report&);
};

report run(const schedule&, const run_options&);

/// The faults without which the violation does not show, by delta debugging (Zeller and Hildebrandt 2002): every one
/// left is needed. `tries` bounds the runs. The operations stay.
schedule shrink(const schedule&, const run_options&, std::size_t tries = 2'000);

}  // namespace coterie::sim
