// Who feeds whom outside the Raft configuration (docs/consensus.md 1.3): a pure function of the members. All who see
// the same members see the same levels, and as far as they know the same coordinates, the same tree.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "swim/coordinate.hpp"

namespace coterie::engine {

struct relay_member {
  node_id id;
  std::string zone;        ///< its tag `zone`; empty = none
  swim::coordinate place;  ///< as far as this node knows it
};

struct relay_members {
  std::vector<relay_member> roots;   ///< living voters and standbys: depth 0
  std::vector<relay_member> others;  ///< the other living members
};

/// Of a node whose place is not known: it has no configuration yet, or nobody feeds it.
inline constexpr std::uint32_t relay_nowhere = 255;

/// Somebody to ask for entries: where it should stand, and the depth to ask with, which is larger.
struct relay_parent {
  node_id id;
  std::uint32_t level = relay_nowhere, depth = relay_nowhere;
  friend bool operator==(const relay_parent&, const relay_parent&) = default;
};

/// Levels are filled in the order of a rendezvous hash, each with `fan_out` (at least 1) times the members of the level
/// above.
class relay_tree {
 public:
  relay_tree(const relay_members&, std::size_t fan_out);

  /// Where a node should stand; relay_nowhere when it is no member or there are no roots.
  std::uint32_t depth(node_id) const;
  /// Everybody whom `self` may ask, best first: the level above, then those nearer to the voters, and at the end the
  /// own level and those below it, where places are free. Within a level: the own zone, then by the estimated round
  /// trip, coarsely, then a hash that is another one for each node, so that the children of one that died spread over
  /// many.
  std::vector<relay_parent> parents(node_id self) const;
  /// The first of them, for less work; zero when there is nobody above.
  node_id first_parent(node_id) const;

 private:
  struct place {
    std::uint32_t depth = relay_nowhere;
    std::string zone;
    swim::coordinate at;
  };
  struct candidate;
  candidate weigh(node_id self, const place& own, node_id, const place&) const;
  std::map<node_id, place> places_;
  std::map<std::uint32_t, std::vector<node_id>> levels_;
};

}  // namespace coterie::engine
