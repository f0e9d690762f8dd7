// The crash matrix: a process dies before a write, after it, after its sync, after what it allowed was sent, after
// entries were applied; as leader, follower and candidate; in clusters of 1, 3 and 5; killed, and with the power gone.
// Seeds go round the cells; each gives a schedule with some such deaths (docs/testing.md).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "sim/scenario.hpp"
#include "sim/schedule.hpp"

namespace coterie::sim {

struct cell {
  std::size_t nodes;
  death how;
};

inline constexpr std::size_t matrix_cells = 3 * 3 * 5 * 2;
/// `index` below matrix_cells. The cells of single nodes come first.
cell cell_at(std::size_t index);
/// Why nobody can die there; empty when somebody can.
std::string_view unreachable(const cell&);
/// The schedule of a seed, which is of cell seed % matrix_cells.
schedule generate_matrix(std::uint64_t seed);

/// What came of the cells that were run.
class matrix {
 public:
  void add(std::uint64_t seed, const report&);
  /// One line for each point and role: deaths there and seeds with a violation, by nodes and kind of death.
  std::string table() const;
  /// What is wrong with the table itself, a line each: a cell that was run and never hit, or was hit though it can't
  /// be.
  std::string gaps() const;

 private:
  struct result {
    std::uint64_t seeds = 0, deaths = 0, violations = 0;
  };
  std::array<result, matrix_cells> results_{};
};

}  // namespace coterie::sim
