// Committed entries passed from node to node outside the Raft configuration (docs/consensus.md 1.3), at both ends: a
// child asks its parent and asks on, a parent holds the question until there is something to tell. Knows who may be
// asked (relay_tree.hpp), not who is a member or why; nothing here counts for a quorum.
//
// An answer is taken only from whom was asked, and continues exactly what is committed here, so changing the parent
// leaves no gap and takes nothing twice. A parent stands nearer to the voters than what its child says of itself,
// looked at with every answer, so no circle feeds itself.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "engine/context.hpp"
#include "engine/links.hpp"
#include "engine/relay_tree.hpp"
#include "engine/replica.hpp"
#include "wire/peer.hpp"

namespace coterie::engine {

class relay {
 public:
  relay(context& c, links& l, group_id g = meta_group) : ctx_(c), links_(l), group_(g) {}

  /// Looks at everything that is due on both ends; to be called when the replica has settled.
  void tick(replica&);
  instant next_wake() const;

  // ---- as a child ----
  /// The leader does not feed this node: it asks others.
  bool asking() const { return asking_; }
  /// Whom to ask, best first; wanted anew when members or the configuration changed.
  void set_parents(std::vector<relay_parent>);
  /// False: this node's committed log is not the cluster's.
  bool on_fetched(node_id from, const wire::fetched&, replica&);
  bool expects_state(node_id from) const { return asking_ && waits_for_state_ && asked_ && asked_->to == from; }
  void on_chunk(node_id from);
  void on_installed();
  /// Who feeds this node; zero = nobody does now.
  node_id parent() const;
  /// Those who will probably be asked next: worth a stream.
  std::vector<node_id> likely_parents() const;

  // ---- as a parent ----
  void on_fetch(node_id from, const wire::fetch&, replica*);
  std::size_t children() const { return children_.size(); }
  /// Of this node, as things are: 0 = fed by the leader, relay_nowhere = by nobody.
  std::uint32_t depth() const;

  // ---- keep-alives, of the meta group alone: those of children go up together, the answers come down the way that
  // they went ----
  void on_keepalives(node_id from, const wire::keepalives&, const replica*);
  /// This node's own: with the next ones of its children, at once.
  void renew(const wire::keepalive&, bool urgent, const replica&);
  /// Answers to this node itself are returned, the others passed on.
  std::vector<wire::keepalive_ack> on_keepalive_acks(const wire::keepalive_acks&);

 private:
  struct question {
    node_id to;
    std::uint64_t id = 0;  ///< zero: not sent yet, there is no stream
    log_index next;
    std::uint32_t depth = 0;
    instant deadline;
  };
  struct feeder {
    node_id id;
    std::uint32_t depth = 0;
    instant heard;
  };
  struct child {
    std::optional<wire::fetch> open;
    instant due, heard;
    node_id told_leader;
  };
  struct route {
    node_id to;
    instant since;
  };
  bool needs_parent(const replica&) const;
  bool may_ask(const replica&);
  void ask(replica&);
  void send_question(replica&);
  void turn_to_next(const char* why);
  void take(const wire::fetched&, replica&);
  bool on_fork(node_id from, const wire::fetched&);
  void serve(replica&);
  void answer(node_id, std::uint64_t id, wire::fetch_verdict, const replica*, log_index next = {});
  void drop_silent_children();
  void flush_keepalives(const replica&);

  context& ctx_;
  links& links_;
  const group_id group_;

  bool asking_ = false, suspicious_ = false, waits_for_state_ = false;
  std::set<node_id> accusers_;  ///< whom the leader feeds and who have another history
  std::vector<relay_parent> list_;
  std::size_t at_ = 0;        ///< in list_
  std::size_t refusals_ = 0;  ///< since somebody fed this node
  bool anywhere_ = false;     ///< everybody was asked in vain: not only those who should stand nearer to the voters
  std::optional<question> asked_;
  std::optional<feeder> parent_;
  std::deque<log_index> unwritten_;  ///< last entries of the answers that the disk does not have yet
  std::optional<instant> lagging_;   ///< since when the parent knows of more than it gives
  instant next_question_ = instant::min(), next_look_up_ = instant::min();

  std::map<node_id, child> children_;

  std::vector<wire::keepalive> to_pass_;
  instant flush_at_ = never;
  std::map<std::pair<session_epoch, std::uint64_t>, route> routes_;  ///< each for one answer
};

}  // namespace coterie::engine
