// What a client of a node asks and is told: the public API inside the process and the command over the control socket
// speak the same requests. Plain data.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/address.hpp"
#include "base/disk.hpp"
#include "base/ids.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "machine/types.hpp"
#include "swim/types.hpp"

namespace coterie::wire {

using milliseconds = std::chrono::milliseconds;

/// Makes a read one of the node's own state, answered at once and without a quorum (docs/consensus.md 1.8). Refused
/// with errc::unavailable when that may be older than max_age, or nobody can say how old it is.
struct staleness {
  std::optional<milliseconds> max_age;  ///< nullopt = however old
};
/// What such an answer shows: the state after this entry, at least. Nothing is missing from it that was committed
/// longer ago than `age` before the node answered; nullopt: that is not known, the node has heard of no quorum since
/// its start.
struct as_of {
  log_index index;
  std::optional<milliseconds> age;
};

// ---- requests ------------------------------------------------------------------------------------------------------
struct get_status {};
struct get_members {};
struct wait_members {
  std::uint32_t count = 0;
};  ///< done when formed (id, view, leader) and `count` members are alive in every member's view
struct follow_events {
  std::uint64_t since = 0;
  bool follow = true;
};  ///< streams event_out; with follow = false completes at the end
/// What this node knows of a member, and the evidence behind its last changes. By name, or by the beginning of its id.
struct explain_member {
  std::string node;
};  ///< answer: explanation; needs no majority
struct get_round_trip {
  std::string from, to;
};  ///< by name; an empty `from` is this node. Answer: round_trip; needs no majority
/// Of a forming node, by its operator: genesis goes on without these slots of the seed list, instead of those that were
/// dropped before (docs/membership.md 2).
struct init_without {
  std::vector<address> seeds;
};
/// Of a forming node, by its operator: erases the accepted genesis record with this hash.
struct discard_record {
  cluster_id record;
};
/// Tags of this node, until its process ends. Those to remove need not be there.
struct set_tags {
  swim::tag_map set;
  std::vector<std::string> remove;
};  ///< errc::limit when all tags together are too large
struct leave_cluster {};
/// Gives up the place of a member that is gone and can't do so itself: its identity never returns.
struct remove_node {
  std::string node;
};  ///< by name, or by the beginning of its id
struct transfer_leadership {
  std::string node;
};  ///< by name; done when that voter leads
/// What an entry gives its leader, to answer reads without a quorum (docs/consensus.md 1.8): 50 ms to 1 s, or 0: none.
struct set_read_lease {
  std::chrono::milliseconds lease{0};
};
/// The whole replicated state, frozen by the first page (view 0) and read a page at a time, from the key after the last
/// one; forgotten after the last page, or when no page was asked for during 30 s.
struct read_snapshot {
  std::uint64_t view = 0;
  bytes from;
  bool stale = false;  ///< of the first page: as this node has it, without asking the leader
};                     ///< answer: snapshot_page
struct stop_node {};   ///< graceful stop inside the engine: say stopping, close the session, hand over leadership

struct acquire_lock {
  std::string name, label;
  std::optional<milliseconds> wait;
  bool keeps = false;  ///< the client can keep the grant when its owner is done, and give it to its next owner itself
};                     ///< wait: nullopt = for ever, 0 = try. Answer: lock_granted
struct release_lock {
  std::string name;
  std::uint64_t fence = 0;  ///< of the last owner under that grant
};
/// Who uses a grant now, where it is kept.
struct lock_use {
  std::string name;
  std::uint64_t fence = 0;    ///< of the present owner, or of the last one
  bool used = false;          ///< false: idle, kept for the next owner
  wall_time since;            ///< when the owner got it, or the last one gave it back
  std::string label;          ///< of the owner
  std::uint32_t waiters = 0;  ///< callers of that node that wait for it; a client that keeps a grant knows of none
};
/// The answer of a client that keeps a grant to lock_asked.
struct tell_lock {
  lock_use use;
};
struct list_locks {
  std::string name;
  std::optional<staleness> stale{};  ///< then nobody is asked who uses a grant: all count as used
};                                   ///< empty = all; linearizable unless stale

struct add_job {
  machine::schedule_job job;
};  ///< empty id = generated. Answer: job_added
struct remove_job {
  std::string id;
};
struct list_jobs {
  std::string id, runner;
  std::optional<staleness> stale{};
};  ///< empty = all; linearizable unless stale
struct job_history {
  std::string id;
  std::uint32_t max = 10;
  std::optional<staleness> stale{};
};  ///< linearizable unless stale
struct add_runner {
  std::string runner;
};  ///< this node can run it; streams run_job until cancelled
struct finish_job {
  machine::finish_run run;
};

struct append_journal {
  std::string journal, key;
  std::vector<machine::journal_item> items;
};  ///< Answer: appended
/// These two always read the node's own state.
struct peek_journal {
  std::string journal;
  std::uint32_t max = 100;
  staleness stale{};
};
struct count_journal {
  std::string journal;
  staleness stale{};
};
struct reset_journal {
  std::string journal;
};
struct begin_process {
  std::string journal;
  std::uint32_t max = 100;
};  ///< waits its turn; answer: batch; must be followed by end_process or cancel
struct end_process {
  std::string journal;
  std::uint64_t token = 0;
  std::uint64_t cursor = 0;
};                       ///< cursor 0 = nothing moves
struct wait_visible {};  ///< read-index round, then applied here
struct watch_journal {
  std::string journal;
};  ///< streams journal_ready whenever the cursor is behind the head
struct keep_journal {
  std::string journal;
  milliseconds keep{0};
};

struct register_cache {
  std::string cache;
  bool remove = false;
};  ///< this node has a cache of that name; streams invalidation_out
struct invalidate_cache {
  std::string cache;
  std::optional<std::string> key;
  bool wait = false;
  std::uint64_t except = 0;
};  ///< except: the register_cache call that need not be told   ///< nullopt = the whole cache; wait = until every live
    ///< node has applied it
struct list_caches {};
struct publish {
  std::string channel, body;
};
struct listen {
  std::string channel;
};  ///< streams message_out

using request =
    std::variant<get_status, get_members, wait_members, follow_events, explain_member, get_round_trip, init_without,
                 discard_record, set_tags, leave_cluster, remove_node, transfer_leadership, set_read_lease,
                 read_snapshot, stop_node, acquire_lock, release_lock, tell_lock, list_locks, add_job, remove_job,
                 list_jobs, job_history, add_runner, finish_job, append_journal, peek_journal, count_journal,
                 reset_journal, begin_process, end_process, wait_visible, watch_journal, keep_journal, register_cache,
                 invalidate_cache, list_caches, publish, listen>;

// ---- answers -------------------------------------------------------------------------------------------------------
struct done {};
/// Where a node stands in the configuration and in the relay tree (docs/consensus.md 1.2, 1.3).
struct place_info {
  std::string role;                       ///< as of members
  std::string parent;                     ///< who feeds it; empty = the leader, or nobody
  std::uint32_t depth = 0, children = 0;  ///< relays from the voters; nodes that it feeds
};
struct status_info {
  std::string cluster, node, state, leader,
      version;  ///< state: forming, joining, active, stopping, leaving or failed
  cluster_id id;
  node_id self;
  boot_epoch boot;
  bool ready = false, quorum = false;
  std::uint64_t view = 0, term = 0, commit = 0, applied = 0;
  std::uint32_t quorum_alive = 0, quorum_size = 0;  ///< voters in contact, voters in all
  std::uint32_t read_lease_ms = 0;                  ///< 0 = none
  place_info place;
  std::vector<std::string> warnings;
  std::map<std::string, std::uint64_t> counters;
};
struct member_info {
  std::string name, state, role, version;  ///< role: voter, standby, observer, or empty before the cluster is formed
  node_id id;
  address at;
  wall_time since;
  std::optional<double> rtt_ms;
  swim::tag_map tags;
  std::uint64_t log = 0;  ///< applied or matched index where known, else 0
  bool leader = false, self = false;
  std::string parent;       ///< of an observer: who feeds it; of others than self who should, by what self sees
  std::uint32_t depth = 0;  ///< of an observer: relays from the voters, in the same way
};
struct member_list {
  std::vector<member_info> members;
};
struct transition {
  wall_time when;
  std::string what, evidence;  ///< joined, suspect, alive, unreachable, stopping, left, updated; and by the log: added,
                               ///< moved, failed, back, left, removed
};
struct explanation {
  member_info who;
  std::uint64_t epoch = 0, counter = 0;  ///< its incarnation
  std::uint32_t local_health = 0;        ///< of the node that was asked (Lifeguard): 0 is good
  std::vector<transition> transitions;   ///< the last ones that this node saw, oldest first
};
struct round_trip {
  std::string from, to;
  std::optional<double> estimated_ms;  ///< by their coordinates
  std::optional<double> measured_ms;   ///< by this node's probes, when it is one of the two
  double error = 0;                    ///< of the estimate, as a part of it: the worse of the two
};
/// kind: member.joined, member.suspect, member.alive, member.unreachable, member.stopping, member.left, member.updated,
/// member.failed, view.changed, leader.changed, node.state, session.opened, session.ended, lock.granted, lock.released,
/// job.changed, job.removed, job.assigned, job.started, job.finished, journal.appended, journal.trimmed,
/// cache.invalidated
struct event_out {
  std::uint64_t index = 0;
  wall_time time;
  std::string kind;
  std::map<std::string, std::string> fields;
};
/// deadline_*: end of local validity on this machine's CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME; renewed ones are
/// streamed as lock_renewed.
struct lock_granted {
  std::uint64_t fence = 0;
  session_epoch epoch;
  std::int64_t deadline_raw_ns = 0, deadline_boot_ns = 0;
  bool keep = false;  ///< the client may keep it until lock_wanted, or the end of validity, and count up the fence
};
struct lock_renewed {
  std::int64_t deadline_raw_ns = 0, deadline_boot_ns = 0;
};
/// To a client that keeps a grant: say by tell_lock who uses it.
struct lock_asked {};
/// To a client that keeps a grant: release it, at once or when its owner is done.
struct lock_wanted {};
struct lock_info {
  std::string name, owner;
  std::uint64_t fence = 0;
  wall_time acquired;
  std::uint32_t waiters = 0;  ///< callers of the owner's node, and other nodes, each with however many callers
  std::string label;
  bool idle = false;  ///< granted to `owner`, where nobody uses it: the next who asks gets it
};
struct lock_list {
  std::vector<lock_info> locks;
  std::optional<wire::as_of> as_of{};  ///< of a stale read; here and below
};
struct job_added {
  std::string id;
  std::uint64_t version = 0;
  bool changed = false;
  std::optional<wall_time> next, then;
};
struct job_info {
  machine::job_record job;
  std::string owner;
  bool runnable = false;
};
struct job_list {
  std::vector<job_info> jobs;
  std::optional<wire::as_of> as_of{};
};
struct run_out {
  machine::job_run_record run;
  std::string node;
};
struct run_list {
  std::vector<run_out> runs;
  std::optional<wire::as_of> as_of{};
};  ///< newest first
struct run_job {
  machine::job_run_record run;
  machine::job_params params;
  std::int64_t deadline_raw_ns = 0;
};  ///< start it now
struct stop_job {
  std::string job;
  std::uint64_t fence = 0;
};  ///< its lease is over or the node passivates: request stop
struct appended {
  std::vector<std::uint64_t> ids;
};
struct entries {
  std::vector<machine::journal_entry> list;
  std::uint64_t token = 0;
  std::optional<wire::as_of> as_of{};
};
struct journal_counts {
  std::uint64_t count = 0, retained = 0, cursor = 0;
  std::optional<wire::as_of> as_of{};
};
struct journal_ready {};
struct invalidation_out {
  std::string cache;
  std::optional<std::string> key;
  std::string origin;
  bool remote = true;
};
struct cache_info {
  std::string name;
  std::uint64_t invalidations_in = 0, invalidations_out = 0, gaps_repaired = 0;
  bool unverified = false;
};
struct cache_list {
  std::vector<cache_info> caches;
};
struct message_out {
  std::string channel, body, sender;
  std::uint64_t boot = 0, seq = 0;
};

/// The same in all pages of a snapshot but view, items and more.
struct snapshot_page {
  std::uint64_t view = 0;
  std::string cluster;
  cluster_id id;
  log_index index;  ///< of the last entry whose effect is in it
  term when;        ///< of that entry
  wall_time taken;
  std::vector<disk::item> items;
  bool more = false;
};

/// A failure is the answer of any request.
using response = std::variant<failure, done, status_info, member_list, explanation, round_trip, event_out, lock_granted,
                              lock_renewed, lock_asked, lock_wanted, lock_list, job_added, job_list, run_list, run_job,
                              stop_job, appended, entries, journal_counts, journal_ready, invalidation_out, cache_list,
                              message_out, snapshot_page>;

}  // namespace coterie::wire
