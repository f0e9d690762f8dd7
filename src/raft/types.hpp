// The words of the Raft paper and thesis as plain data: entries, configurations, messages. Knows nothing of what a
// command means, of sockets or of disks.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "base/ids.hpp"

namespace coterie::raft {

/// Cluster configuration (thesis 4.3, joint consensus). All vectors are sorted and without duplicates. It is joint
/// while `outgoing` is not empty: then elections and commitment need a majority of `voters` and one of `outgoing`.
struct configuration {
  std::vector<node_id> voters;
  std::vector<node_id> outgoing;
  std::vector<node_id> learners;
  std::chrono::milliseconds read_lease{
      0};  ///< what an entry gives to its leader (docs/consensus.md 1.8); 0 = no leases
  bool joint() const { return !outgoing.empty(); }
  bool is_voter(node_id) const;    ///< in voters or outgoing
  bool is_learner(node_id) const;  ///< in learners and not (while joint: no longer) a voter
  bool contains(node_id id) const { return is_voter(id) || is_learner(id); }
  std::vector<node_id> members() const;  ///< voters, outgoing and learners, sorted, each once
  bool well_formed() const;              ///< has voters; each list sorted, without duplicates and without the zero id
  friend bool operator==(const configuration&, const configuration&) = default;
};

enum class entry_kind : std::uint8_t {
  noop,           ///< a new leader's first entry (paper 5.4.2, section 8), or one that only renews its read lease
  command,        ///< opaque to raft
  configuration,  ///< effective as soon as it is appended (paper section 6)
};

struct entry {
  term when;  ///< term of the leader that created it
  log_index index;
  entry_kind kind = entry_kind::noop;
  shared_bytes payload;  ///< of a command
  configuration conf;    ///< of a configuration entry
  friend bool operator==(const entry&, const entry&) = default;
};

/// Persisted before anything that depends on it leaves (paper figure 2, persistent state).
struct hard_state {
  term current;
  node_id vote;  ///< zero = none in this term
  friend bool operator==(const hard_state&, const hard_state&) = default;
};

/// The last entry that a snapshot covers, and the configuration at that point.
struct snapshot_meta {
  log_index index;
  term when;
  configuration conf;
  friend bool operator==(const snapshot_meta&, const snapshot_meta&) = default;
};

// ---- messages -------------------------------------------------------------------------------------------------------

/// `pre` marks the prevote phase (thesis 9.6): then `when` of the message is the term the candidate would campaign in.
struct vote_request {
  bool pre = false;
  bool transfer = false;  ///< campaign on the leader's order (thesis 3.10): ignores leader stickiness
  log_index last_index;
  term last_term;
};
struct vote_response {
  bool pre = false;
  bool granted = false;
};
/// Also the heartbeat when `entries` is empty.
struct append_request {
  log_index prev_index;
  term prev_term;
  log_index commit;
  std::vector<entry> entries;
  std::uint64_t round =
      0;  ///< newest leadership-confirmation round of the leader (ReadIndex, thesis 6.4), echoed by the answer
  bool quiet = false;  ///< only tells the commit index: a follower that has the entries need not answer
};
struct append_response {
  bool ok = false;
  log_index
      match;  ///< ok: everything up to here is durable and equal to the leader's log; not ok: the prev_index refused
  log_index hint;  ///< not ok: the leader may try again from here ...
  term hint_term;  ///< ... where the follower's log has this term
  std::uint64_t round = 0;
};
/// The leader's log no longer reaches back to what the follower needs: state is transferred by the driver in chunks,
/// raft only decides that and to which meta. The receiver's engine answers with append_response{ok, match = meta.index}
/// when installed.
struct snapshot_request {
  snapshot_meta meta;
};
/// Leadership transfer (thesis 3.10).
struct timeout_now {
  /// The sender holds no read lease by an entry up to here, and will not in this term; nor does any earlier leader.
  /// Zero = it does not say so.
  log_index unleased;
};
/// A follower asks its leader for a read index on behalf of a local read.
struct read_request {
  std::uint64_t id = 0;  ///< fresh for each attempt (etcd#20418)
};
struct read_response {
  std::uint64_t id = 0;
  log_index index;
  bool ok = false;
};

struct message {
  node_id from, to;
  term when;  ///< sender's term (prevote: the term it would campaign in)
  std::variant<vote_request, vote_response, append_request, append_response, snapshot_request, timeout_now,
               read_request, read_response>
      body;
};

}  // namespace coterie::raft
