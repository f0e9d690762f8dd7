// The replicated log of one group and the machine on it, as one node holds them: turns the consensus core's output into
// disk work and frames, applies committed commands, compacts the log, and moves snapshots. Knows nothing of what the
// commands are for.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "engine/context.hpp"
#include "engine/disk_queue.hpp"
#include "engine/links.hpp"
#include "engine/reception.hpp"
#include "machine/machine.hpp"
#include "raft/core.hpp"
#include "wire/peer.hpp"

namespace coterie::engine {

/// One applied log entry, for whoever cares.
struct applied_entry {
  log_index index;
  term when;
  machine::command command;  ///< of command entries
  machine::applied outcome;
  bool configuration = false;
};

class replica {
 public:
  /// `machine`: as of the recovered log's applied index.
  replica(context&, links&, disk_queue&, group_id, const recovered_group&, machine::machine);

  // ---- input ----
  void on_message(const raft::message&);
  /// Entries from another node than the leader; false when they contradict what is committed here.
  bool on_relayed(const raft::relayed&);
  /// `expected`: from a node that was asked for it; the leader's are always taken.
  void on_chunk(node_id from, const wire::snapshot_chunk&, bool expected);
  void on_chunk_ack(node_id from, const wire::snapshot_ack&);
  void on_read(const read_done&);  ///< of read_ids it gave out
  bool owns(read_id id) const { return reads_.contains(id); }
  void on_written(const raft_persist&);
  void on_chunk_saved(const chunk_saved&);
  void on_installed();
  void on_unreachable(node_id, bool crashed);  ///< no stream is left
  void tick();
  instant next_wake() const;
  /// Appends commands (leader only), stamped with the wall clock.
  result<log_index> propose(std::vector<machine::command>);

  // ---- output, to be drained by the engine ----
  /// Performs what the core wants; true when anything was done.
  bool settle();
  std::vector<applied_entry> take_applied();
  std::vector<raft::read_state> take_reads();
  bool take_installed() { return std::exchange(installed_, false); }  ///< the machine was replaced by a snapshot
  bool take_role_changed() { return std::exchange(role_changed_, false); }

  group_id group() const { return group_; }
  raft::core& core() { return core_; }
  const raft::core& core() const { return core_; }
  const machine::machine& machine() const { return machine_; }
  node_id leader() const { return core_.leader(); }
  bool leading() const { return core_.leader() == ctx_.self && core_.leader_ready(); }
  /// Committed and written here: what other nodes may have (docs/decisions/0014-observers-sync-lazily.md).
  log_index available() const {
    if (ctx_.opt->bug == planted_bug::uncommitted_relay) return core_.written_index();
    return std::min(core_.commit(), core_.written_index());
  }
  /// Running hash of the log up to there; nullopt before the log's start and beyond what the disk was told.
  std::optional<hash128_value> chain_at(log_index) const;
  log_index chain_begin() const { return chain_base_; }
  bool installing() const { return receiving_ && receiving_->committing; }
  /// Starts to send the state to a node that asked for entries before the log's start; false when too many transfers
  /// are under way. True when one to it is already.
  bool offer_state(node_id);
  /// A view of the disk that holds exactly the applied state.
  void freeze(std::uint64_t view);
  /// Asks the disk for a chunk of such a view, from this key on; the answer comes under this number.
  read_id read_state(bytes from, std::uint64_t view);

 private:
  struct transfer {  // to another node
    std::uint64_t id = 0, number = 0;
    bool as_leader = false;  // to a follower, for Raft
    raft::snapshot_meta meta;
    hash128_value chain;
    bytes begin, after;  ///< keys: of the chunk under way, and of the one behind it
    bool reading = false, last = false;
    bool paused = false;  ///< the next chunk is read when the rate allows it
    bool cut = false;     ///< no stream: the chunk goes again when there is one
    instant progress;
  };
  void perform(raft::persist_request, std::vector<raft::message> then_send);
  void send(const raft::message&);
  void apply(std::vector<raft::entry>);
  void flush_state();
  log_index wanted_from() const;
  void compact_if_long();
  bool start_transfer(node_id, bool as_leader);
  void read_chunk(node_id, transfer&);
  void end_transfer(node_id, bool ok);
  void check_transfers();
  void cut_transfer(node_id);
  void go_on(node_id, transfer&);

  context& ctx_;
  links& links_;
  disk_queue& disk_;
  const group_id group_;
  raft::core core_;
  machine::machine machine_;
  raft::configuration applied_conf_;
  std::deque<hash128_value>
      chains_;  // running hash after each entry from chain_base_ on; front() belongs to chain_base_
  log_index chain_base_;
  std::map<node_id, transfer> transfers_;
  static constexpr duration transfer_patience = std::chrono::seconds(10);  ///< from one acknowledged chunk to the next
  struct delivery {
    log_index index;
    instant when;
  };
  std::deque<delivery> delivered_;       ///< states that were given to others lately
  instant next_chunk_ = instant::min();  ///< when the rate allows it
  std::map<read_id, node_id> reads_;
  std::optional<reception> receiving_;  ///< from a leader, or a parent
  bool receiving_continues_ = false;    ///< the log behind it stays
  std::vector<applied_entry> applied_;
  std::vector<raft::read_state> read_states_;
  bool installed_ = false, role_changed_ = false;
};

}  // namespace coterie::engine
