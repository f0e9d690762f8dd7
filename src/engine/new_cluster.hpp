// A new cluster that begins with the state of another one: what the disk of its first node holds. Pure.
#pragma once

#include <cstdint>
#include <string>

#include "base/address.hpp"
#include "base/disk.hpp"
#include "base/ids.hpp"
#include "machine/machine.hpp"

namespace coterie::engine {

struct new_cluster {
  std::string cluster;      ///< its name
  std::uint64_t nonce = 0;  ///< random: with it the id is a new one, so nothing of the old cluster ever merges
  node_id self;             ///< random
  std::string name;         ///< of its first node, which is the only voter until others join
  address at;
  log_index index;  ///< the state is the one after this entry; numbers go on from there, so fences and ids only rise
  term when;
};

/// For an empty disk, together with the state itself. The old members are marked as removed; their sessions are kept
/// and expire, so that what they held is given on with larger fences.
disk::batch first_node(const new_cluster&, const machine::machine& state);

}  // namespace coterie::engine
