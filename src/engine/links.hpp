// Streams to peers: which are open, who is at the other end, when to dial again. Knows addresses and hellos, not what
// frames mean.
//
// Either side may dial; a node sends on a stream it dialled when there is one, else on one it accepted. Messages for a
// node without a stream are dropped (every protocol above repeats what matters) and make the link dial.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "engine/context.hpp"
#include "wire/peer.hpp"

namespace coterie::engine {

class links {
 public:
  explicit links(context& c) : ctx_(c) {}

  // ---- wishes ----
  /// Opens a stream to this address unless one is open, opening, or was tried less than `again` ago.
  void dial(const address&, duration again = 1s);
  /// Where this node can be reached; a later call replaces it.
  void learn(node_id, const address&);
  void forget(node_id);
  /// Sends on the stream to `to`; false (and a dial) when there is none. `group`: whose log the message is about.
  bool send(node_id to, wire::peer_message, group_id group = meta_group);
  /// The same of a Raft message. Heartbeats and answers of several groups leave as one frame, by flush(); what else is
  /// for that node in this turn keeps its place behind or before them.
  void send_raft(raft::message, group_id);
  void flush();
  void send_on(stream_id, wire::peer_message, group_id group = meta_group);
  void hang_up(stream_id);
  /// Called now and then: every node in `wanted` gets a stream, with back-off.
  void keep(const std::vector<node_id>& wanted);

  // ---- what happened ----
  void on_up(const stream_up&);
  struct ended {
    node_id who;  ///< zero when no hello had come
    bool refused = false;
    bool last = false;  ///< no other stream to that node remains
  };
  ended on_down(const stream_down&);
  /// Whether this is an older start of that node than the newest that was heard of, or another start of the same boot:
  /// its disk is a copy. Otherwise it is the newest from now on; `first` when it was not known before.
  struct judgement {
    bool outdated = false, first = false;
  };
  judgement judge(node_id, boot_epoch, std::uint64_t start);
  /// A hello came: from now on the stream belongs to that node.
  void bind(stream_id, node_id, boot_epoch);
  /// Nothing of that stream is heard any more; it is closed when what was sent on it has had time to arrive.
  void mute(stream_id);
  bool heard(stream_id) const;                    ///< open here, and not muted
  std::optional<node_id> owner(stream_id) const;  ///< nullopt before its hello
  std::optional<address> dialled(stream_id) const;
  bool up(node_id) const;
  bool up(const address&) const;  ///< a bound stream that was dialled to this address
  std::optional<address> where(node_id) const;
  std::vector<node_id> connected() const;
  /// Open streams on which no hello has come yet.
  std::vector<stream_id> silent() const;
  /// Streams still without a hello after 5 s, to be closed (a stranger that says nothing).
  void close_silent();
  void close_to(node_id);

 private:
  struct stream {
    bool dialled = false, open = false, muted = false;
    address to;
    std::optional<node_id> who;
    boot_epoch boot;
    instant since;
  };
  struct start {
    boot_epoch boot;
    std::uint64_t number = 0;
  };
  struct dial_state {
    instant last = instant::min();
    duration backoff = 100ms;
  };
  void release(wire::raft_messages, node_id to);
  context& ctx_;
  std::map<node_id, wire::raft_messages> held_;  ///< of this turn
  std::map<stream_id, stream> streams_;
  std::map<node_id, std::set<stream_id>> by_node_;
  std::map<node_id, address> book_;
  std::map<node_id, start> starts_;
  std::map<address, dial_state> dials_;
  std::uint64_t next_ = 0;
};

}  // namespace coterie::engine
