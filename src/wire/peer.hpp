// What nodes say to each other on streams, beyond gossip, genesis and Raft: plain data.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/disk.hpp"
#include "base/ids.hpp"
#include "machine/types.hpp"
#include "raft/types.hpp"
#include "swim/genesis.hpp"
#include "swim/types.hpp"
#include "wire/request.hpp"

namespace coterie::wire {

/// A node that is not in the registry asks whoever it reached; passed on to the leader.
struct join_request {
  node_id id;
  std::string name;
  address at;
  boot_epoch boot;
};
/// ok = false with a reason that ends the node (name taken); `retry` = not now (no leader); `removed`: the cluster has
/// taken it out, whatever its own copy of the registry says.
enum class join_verdict : std::uint8_t {
  accepted,
  later,      ///< ask again
  refused,    ///< the reason says what to change
  removed,    ///< from the cluster: nobody with this identity comes back; of a data group: from its configuration
  outdated,   ///< an older copy of a member's disk: nobody may count on it
  elsewhere,  ///< this identity is alive at another address: stand back, and ask again
};
struct join_answer {
  join_verdict verdict = join_verdict::later;
  std::string reason;
  log_index as_of{};  ///< removed: of that group's log, committed
};

/// For the leader: an operator wants that voter to lead.
struct hand_over {
  node_id to;
};

/// Commands for the leader; each is an encoded machine::command.
struct forward {
  std::vector<shared_bytes> commands;
};
/// This node is not the leader (any more), or refuses: nothing of this was appended. limit: data, and the disk is
/// nearly full, so that trying again is of no use.
struct forward_refused {
  std::vector<std::pair<session_epoch, request_seq>> requests;
  errc code{};
};

/// Session renewal, not logged (docs/consensus.md 1.9). `id` is fresh for each one.
struct keepalive {
  session_epoch epoch;
  std::uint64_t id = 0;
  std::vector<node_id> unanswered{};  ///< who left this node's pings unanswered since the last one
};
struct keepalive_ack {
  session_epoch epoch;
  std::uint64_t id = 0;
  bool ended = false;
  log_index commit{};  ///< zero = unknown
};  ///< ended: the session is gone; commit: the leader's, confirmed by a quorum after it had the keep-alive
/// Those of a node and of everybody below it in the relay tree, together; the answers go back the same way.
struct keepalives {
  std::vector<keepalive> list;
  bool for_leader = true;  ///< sent to whom the sender takes for the leader: nobody else passes it on
};
struct keepalive_acks {
  std::vector<keepalive_ack> list;
};

/// A node that the leader does not feed asks another one for committed entries (docs/consensus.md 1.3). One at a time;
/// the answer waits until there is something to tell.
struct fetch {
  std::uint64_t id = 0;     ///< fresh for each one
  log_index next;           ///< the first entry wanted
  hash128_value chain;      ///< running hash of the log before it
  std::uint32_t depth = 0;  ///< of the asking node in the relay tree: the answering one must be nearer to the voters
};
enum class fetch_verdict : std::uint8_t {
  entries,   ///< here they are; none: nothing new, but this is still alive
  not_yet,   ///< this node is behind the asking one, or no nearer to the voters: ask another
  full,      ///< it feeds as many as it may: ask another
  snapshot,  ///< its log begins later: the state itself follows in chunks
  fork,      ///< the committed entry before `next` is another one here: one of the two is wrong
};
struct fetched {
  std::uint64_t id = 0;
  fetch_verdict verdict = fetch_verdict::entries;
  std::vector<raft::entry> entries;
  log_index commit;                 ///< of the answering node; it may know of more than it has
  node_id leader;                   ///< zero = it knows none
  term when;                        ///< of that leader
  std::uint32_t depth = 0;          ///< of the answering node
  std::chrono::milliseconds age{};  ///< since, as far as it knows, that leader had its quorum
};

/// State transfer, in chunks of key ranges; one transfer at a time to a node. The receiver acknowledges each chunk when
/// it is written.
struct snapshot_chunk {
  std::uint64_t transfer = 0, number = 0;  ///< number from 0; 0 starts over
  term when;                               ///< of the leader that sends it; zero from any other node
  raft::snapshot_meta meta;
  hash128_value chain;  ///< running hash of the log at meta.index
  std::vector<disk::item> items;
  bool last = false;
};
struct snapshot_ack {
  std::uint64_t transfer = 0, number = 0;
  bool ok = false, installed = false;
};

/// Caches (docs/caches.md, "A lost message is found and repaired"): numbered by origin, cache and boot epoch.
struct invalidation {
  std::string cache;
  std::uint64_t seq = 0;
  std::optional<std::string> key;
  bool want_ack = false;
};
struct invalidations {
  boot_epoch boot;
  std::vector<invalidation> list;
};
struct invalidation_ack {
  boot_epoch boot;
  std::string cache;
  std::uint64_t seq = 0;
};  ///< everything up to seq is applied
struct invalidation_pull {
  std::string cache;
  boot_epoch boot;
  std::uint64_t after = 0;
};
struct invalidation_gone {
  std::string cache;
  boot_epoch boot;
  std::uint64_t last = 0;
};  ///< not in the ring any more: clear the cache, continue after `last`

/// Who uses these grants, of a node that holds them? What the reply does not name is not held there.
struct held_grant {
  std::string name;
  grant_id grant;
};
struct lock_question {
  std::uint64_t id = 0;
  std::vector<held_grant> grants;
};
struct lock_reply {
  std::uint64_t id = 0;
  std::vector<lock_use> uses;
};

struct user_message {
  std::string channel, body;
  boot_epoch boot;
  std::uint64_t seq = 0;
};

/// Heartbeats and what answers them, of one turn and all groups, for one node (docs/consensus.md 1.5).
struct group_message {
  group_id group;
  raft::message what;
};
struct raft_messages {
  std::vector<group_message> list;
};

using peer_message =
    std::variant<swim::hello, swim::genesis_message, swim::push_pull, swim::stream_ping, swim::stream_ack,
                 raft::message, join_request, join_answer, forward, forward_refused, keepalives, keepalive_acks,
                 snapshot_chunk, snapshot_ack, invalidations, invalidation_ack, invalidation_pull, invalidation_gone,
                 user_message, hand_over, fetch, fetched, lock_question, lock_reply, raft_messages>;

/// Every frame between peers names the cluster it is meant for (zero before genesis) and the Raft group.
struct envelope {
  cluster_id cluster;
  group_id group = meta_group;
  peer_message body;
};

}  // namespace coterie::wire
