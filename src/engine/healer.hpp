// A node whose data is damaged where others can help (recovery.hpp: damage) takes no part in the log before it has a
// whole state from a peer: no vote, no acknowledgement, nothing to read; to the others it is a node that has not come
// back yet. Then it starts as after any other restart (docs/consensus.md 1.6).
//
// Why nothing is forgotten by it. Term and vote are whole. Of the log it keeps the end, where what it acknowledged last
// stands: all entries behind the state that comes, if the running hash says that they followed it. If they did not,
// they stood on entries that others replaced by committed ones, and no quorum ever counts them. A state that replaces
// entries is of an index that is committed, so it holds whatever of them any quorum counted.
#pragma once

#include <optional>

#include "engine/context.hpp"
#include "engine/disk_queue.hpp"
#include "engine/links.hpp"
#include "engine/reception.hpp"
#include "engine/recovery.hpp"

namespace coterie::engine {

class healer {
 public:
  /// What was recovered, with `damaged` set.
  healer(context&, links&, disk_queue&, recovered_state);

  void tick();
  instant next_wake() const { return asked_ ? deadline_ : next_question_; }
  void on_fetched(node_id from, const wire::fetched&);
  void on_chunk(node_id from, const wire::snapshot_chunk&);
  void on_chunk_saved(const chunk_saved&);
  /// What the node can start from, now on the disk; none: the write was not the one that it waited for.
  std::optional<recovered_state> on_installed();
  /// For people: what is wrong, and what it waits for.
  std::string situation() const;

 private:
  void turn_to_next();
  bool continues(const raft::snapshot_meta&, hash128_value chain) const;

  context& ctx_;
  links& links_;
  disk_queue& disk_;
  recovered_state state_;
  node_id asked_;  ///< zero = nobody now
  std::uint64_t question_ = 0;
  instant deadline_, next_question_, next_word_;
  std::optional<reception> receiving_;
  bool kept_ = false;  ///< the end of the log stays
};

}  // namespace coterie::engine
