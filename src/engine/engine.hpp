// One node, composed: gossip, genesis, consensus, the replicated machine and the node-local services, as one
// deterministic function of its events. Knows no socket, file, thread or clock (docs/architecture.md).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/address.hpp"
#include "base/version.hpp"
#include "engine/recovery.hpp"
#include "engine/seam.hpp"
#include "engine/views.hpp"
#include "engine/voters.hpp"
#include "machine/machine.hpp"
#include "raft/core.hpp"
#include "swim/genesis.hpp"
#include "swim/membership.hpp"

namespace coterie::engine {

struct options {
  std::string name, cluster = "default", version = coterie_version;
  address advertise;
  std::vector<address> seeds;
  bool bootstrap_single = false, gossip_only = false;
  swim::tag_map tags;
  std::chrono::milliseconds session_ttl{5'000};  ///< 1-120 s
  duration call_timeout = 5s;                    ///< of calls that name no time-out themselves
  double clock_rate_error = 0.01;                ///< rho, the assumed bound (docs/consensus.md 1.9)
  duration lease_margin = 100ms;
  std::size_t max_calls = 65'536, max_inflight_requests = 4'096;
  std::size_t compact_after_entries = 100'000, compact_after_bytes = 64u << 20, keep_entries = 10'000;
  std::size_t snapshot_chunk_bytes = 256u << 10;
  std::size_t snapshot_rate = 256u << 20;  ///< bytes a second that a node sends of a group's state, to all who need it
  std::size_t max_events = 4'096;          ///< ring of recent events for event streams
  std::size_t max_channel = 64, max_body = 65'536;
  std::size_t invalidation_ring = 4'096;
  /// Raft groups beside the meta group, for journals (docs/consensus.md 1.10): 0 or a power of two up to 16, the same
  /// on all nodes, and fixed when the cluster is made.
  std::uint32_t data_groups = 0;
  std::size_t max_kept_locks = 1'000;  ///< locks that a node keeps for its next caller; 0 = none
  duration keep_locks = 10s;           ///< without use; and one that others wanted first is not kept for so long
  std::size_t relay_fan_out = 8;       ///< nodes that one feeds (docs/consensus.md 1.3)
  raft::options raft;
  swim::options swim;
  swim::genesis_options genesis;  ///< cluster, name, seeds, advertise are filled from the above
  machine::limits limits;
  voter_rules voters;
  view_rules views;
  planted_bug bug = planted_bug::none;  ///< of every part; never set outside tests
};

/// Whether a node can start with its tags.
result<void> check_tags(const options&);

class engine {
 public:
  engine(const options&, recovered_state, const times& now, std::uint64_t seed);
  ~engine();
  engine(engine&&) noexcept;

  /// One turn: handles the events in order, then appends what has to be done for all of them to `out`, in order. What
  /// one turn brings shares its frames and its write to the disk. Never throws, never blocks.
  void step(std::span<const event>, const times& now, std::vector<action>& out);
  /// When wake has to come at the latest.
  instant next_wake() const;

  /// For tests and status: what the node is made of.
  struct view {
    const raft::core* raft = nullptr;  ///< null before the cluster is formed
    const machine::machine* machine = nullptr;
    const swim::membership* members = nullptr;
    const swim::genesis* genesis = nullptr;
    const counters* stats = nullptr;  ///< of the engine's own parts
    session_epoch session;
    lease validity;
    struct group {
      const raft::core* raft;
      const machine::machine* machine;
    };
    std::vector<group> data;  ///< data groups, from group 1 on
  };
  view look() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace coterie::engine
