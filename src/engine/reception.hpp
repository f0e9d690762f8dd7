// A state that comes from another node, in chunks: written beside the present one, until both are changed in one batch
// (docs/consensus.md 1.7). Knows the order of chunks; who may send one, and when, is for those who have one.
#pragma once

#include <optional>
#include <vector>

#include "engine/context.hpp"
#include "engine/disk_queue.hpp"
#include "machine/types.hpp"
#include "wire/peer.hpp"

namespace coterie::engine {

struct reception {
  node_id from;
  std::uint64_t id = 0, next = 0;  ///< of the transfer, and of its next chunk
  raft::snapshot_meta meta;
  hash128_value chain;
  std::vector<machine::record> records;  ///< those that are held in memory
  bool committing = false;               ///< all of it is there, and takes the place of the present state
};

enum class chunk_verdict : std::uint8_t {
  refused,   ///< not of this transfer, out of order, or it does not decode: the transfer is over
  repeated,  ///< it was taken before
  taken,     ///< more will follow; acknowledged when it is written (chunk_saved)
  last,      ///< all of it is there
};
/// The next chunk of the state under way, or the first of another one.
chunk_verdict receive(std::optional<reception>&, group_id, node_id from, const wire::snapshot_chunk&, context&,
                      disk_queue&);

}  // namespace coterie::engine
