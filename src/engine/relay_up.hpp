// What nodes outside the Raft configuration ask of the leader goes up the relay tree as entries come down it
// (docs/consensus.md 1.3): linearizable reads and commands of a node and of its children, together in one message to
// its parent. Knows nothing of what is read or commanded.
//
// A read is merged only into a question that starts after it came, under a fresh id each time (docs/consensus.md 1.8,
// etcd#20418): so each node on the way, and the leader's quorum round at the end, is later than the read's beginning.
// Whoever gets no answer from its parent asks the leader itself.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "engine/context.hpp"
#include "engine/links.hpp"
#include "engine/replica.hpp"

namespace coterie::engine {

/// Commands as frames to that node; false when there is no stream to it.
bool send_commands(links&, group_id, node_id to, std::vector<shared_bytes>);

class relay_up {
 public:
  relay_up(context& c, links& l, group_id g = meta_group) : ctx_(c), links_(l), group_(g) {}

  /// A read of this node (`from` is its own id) or of another one that takes it for its parent.
  void read(node_id from, std::uint64_t id);
  /// The answer to a read of another node is on its way to it; to one of this node it is in take_reads().
  /// False: not of a question from here.
  bool on_answer(node_id from, const raft::read_response&);
  /// The same of a read that the core was asked.
  bool on_answer(const raft::read_state&);
  std::vector<raft::read_state> take_reads() { return std::exchange(answered_, {}); }

  /// Commands, encoded; this node's own at once, those of others together.
  void pass(std::vector<shared_bytes> commands);

  /// Sends what waits to the parent; zero = to the leader. When everything else is settled.
  void flush(replica&, node_id parent);
  instant next_wake() const;

 private:
  struct read_of {
    node_id from;
    std::uint64_t id = 0;
  };
  struct question {
    std::uint64_t id = 0;
    node_id to;  ///< zero: the core
    instant deadline;
    std::vector<read_of> reads;
  };
  void ask(replica&, node_id to, std::vector<read_of>);
  void answer(const question&, bool ok, log_index);

  context& ctx_;
  links& links_;
  const group_id group_;
  std::vector<read_of> waiting_, direct_;  ///< to be asked of the parent; of the leader
  std::deque<question> questions_;
  std::vector<raft::read_state> answered_;
  std::vector<shared_bytes> commands_;
  instant next_commands_ = instant::min();
};

}  // namespace coterie::engine
