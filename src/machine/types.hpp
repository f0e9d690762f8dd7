// The replicated services as plain data: commands, answers, records. Knows nothing of Raft, of gossip, or of how bytes
// look.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/address.hpp"
#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "cron/schedule.hpp"

namespace coterie::machine {

using milliseconds = std::chrono::milliseconds;

/// Fence of a grant or of a job claim: log index of the granting entry * 2^20 + sequence (docs/consensus.md 2).
constexpr std::uint64_t fence_of(log_index granted, std::uint64_t seq = 0) {
  return granted.value << fence_sequence_bits | seq;
}
/// A grant's number is the index of its entry; what its owner sees is a fence.
constexpr std::uint64_t fence_of(grant_id g) { return fence_of(log_index(g.value)); }
constexpr grant_id grant_of(std::uint64_t fence) { return grant_id(fence >> fence_sequence_bits); }

// ---- commands ------------------------------------------------------------------------------------------------------

// Registry. view_id counts the entries that changed it.
struct add_member {
  node_id id;
  std::string name;
  address at;
};  ///< joins, or changes name and address of a member
struct remove_member {
  node_id id;
  bool by_itself = false;
};  ///< left (by_itself) or removed by an operator; the id never returns
/// What gossip found, agreed by all: one change of the view, however many it names (docs/membership.md 1).
struct change_view {
  std::vector<node_id> failed;  ///< unreachable; who stopped in order has not failed
  std::vector<node_id> back;    ///< answer again
};

/// Of the leaders of the log (docs/consensus.md 1.8); zero = none. The Raft configuration follows.
struct set_read_lease {
  milliseconds lease{0};
};

// Sessions (docs/consensus.md 1.9).
struct open_session {
  node_id node;
  boot_epoch boot;
  std::uint64_t nonce = 0;
  milliseconds ttl{5'000};
  bool active = true;
};
struct expire_session {
  session_epoch epoch;
  term proposer;
};  ///< void unless proposer is the entry's term
struct close_session {
  session_epoch epoch;
};  ///< clean: locks are free at once, running jobs are `aborted`
/// In a data group (docs/consensus.md 1.10), by its leader: the meta group has opened that session. Void unless it is
/// newer than all that were admitted before, so none is admitted again behind its Fence.
struct admit_session {
  session_epoch epoch;
  node_id node;
};
/// In a data group, by its leader: the meta group has ended that session. Nothing of it is executed from here on.
struct fence_session {
  session_epoch epoch;
  node_id node;
};
struct set_activity {
  bool active = true;
  bool stopping = false;
};  ///< of the header's session
struct register_runner {
  std::string runner;
};  ///< of the header's session
struct unregister_runner {
  std::string runner;
};

// Locks. The owner is (header session, header seq).
struct lock_acquire {
  std::string name;
  bool try_only = false;
  std::string label;
};  ///< answer: value = fence when granted, 0 = queued; held when try_only
struct lock_release {
  std::string name;
  grant_id grant;
};  ///< GiveBack: ignored unless it is the current grant
struct lock_cancel {
  std::string name;
  request_seq request;
};  ///< ends a waiter, or releases what it was granted

// Jobs. Times are computed by the leader and stand in the entry: apply reads no clock and no zone rules.
enum class misfire_policy : std::uint8_t { fire_once, skip, fire_all };
enum class overlap_policy : std::uint8_t { skip, allow };
enum class outcome : std::uint8_t { success, failed, aborted, unavailable, skipped, lost };
const char* to_string(outcome);
using job_param = std::variant<std::int64_t, double, bool, std::string>;
using job_params = std::map<std::string, std::variant<job_param, std::vector<job_param>>>;
struct job_config {
  std::string runner;
  calendar::schedule when;
  job_params params;
  misfire_policy on_misfire = misfire_policy::fire_once;
  milliseconds catch_up{3'600'000};
  overlap_policy on_overlap = overlap_policy::skip;
  bool rerun_if_lost = false;
  friend bool operator==(const job_config&, const job_config&) = default;
};
struct unschedule_job {
  std::string id;
};
struct assign_job {
  std::string id;
  std::uint64_t version = 0;
  session_epoch owner;
};  ///< by the leader; zero = nobody
/// One fire: runs on the owner's session, or, when `what` is set, is only recorded. Void unless `scheduled` is the
/// job's next time (attempt 1) or a later one (attempt 1; what lies between was missed), or the lost run's (attempt >
/// 1); `version` is current and `owner` is the job's owner (for runs).
struct fire_job {
  std::string id;
  std::uint64_t version = 0;
  wall_time scheduled;
  std::uint32_t attempt = 1, coalesced = 0;
  session_epoch owner;
  std::optional<outcome> what;    ///< unavailable, skipped
  std::optional<wall_time> next;  ///< the job's next time after this fire
};
/// Replacing a job first fires what its old version still owes up to the stamp, in the same entry: `next` and `due` are
/// filled in by machine::prepare. Answer: value = version, value2 = 1 when created or changed; `unavailable` when the
/// job moved meanwhile: repeat.
struct schedule_job {
  std::string id;
  job_config config;
  bool replace = false;
  std::optional<wall_time> next;  ///< first time of the new schedule after the stamp; nullopt = never
  std::vector<fire_job> due;      ///< fires of the version that is replaced
};
struct finish_run {
  std::string id;
  std::uint64_t fence = 0;
  outcome what = outcome::success;
  std::string message;
  wall_time started;
  milliseconds took{0};
};

// Journals.
struct journal_item {
  std::string type, message;
};
struct journal_append {
  std::string journal;
  std::string key;
  std::vector<journal_item> items;
};  ///< answer: value = first id, value2 = last id
struct journal_trim {
  std::string journal;
  std::uint64_t upto = 0;
};  ///< by the leader: removes ids <= upto
struct journal_retention {
  std::string journal;
  milliseconds keep{0};
};

using command_body =
    std::variant<add_member, remove_member, change_view, set_read_lease, open_session, expire_session, close_session,
                 set_activity, register_runner, unregister_runner, lock_acquire, lock_release, lock_cancel,
                 schedule_job, unschedule_job, assign_job, fire_job, finish_run, journal_append, journal_trim,
                 journal_retention, admit_session, fence_session>;

/// What stands in one log entry. With a session it is executed at most once per (session, seq); `ack` is the largest
/// seq below which (inclusive) the client has all its answers. Without one (zero) it comes from a leader's duty or
/// opens a session; such commands are idempotent.
struct command {
  session_epoch session;
  request_seq seq, ack;
  wall_time stamp;  ///< the leader's wall clock at proposal
  command_body body;
};

/// What a command came to. code zero = done.
struct answer {
  errc code{};
  std::uint64_t value = 0, value2 = 0;
  std::string text;  ///< of a failure: what happened: what to do
  bool ok() const { return code == errc{}; }
  friend bool operator==(const answer&, const answer&) = default;
};

// ---- records: what is stored, by key. Lower-case keys are held in memory as well, upper-case ones are on disk alone.

struct global_record {
  std::uint64_t view = 0;
  std::uint64_t last_journal_id = 0;
  wall_time last_stamp;
  milliseconds read_lease{0};
  session_epoch last_admitted;  ///< of a data group: its newest session, which may be over
};
struct member_record {
  node_id id;
  std::string name;
  address at;
  std::uint64_t view_joined = 0;
  bool removed = false, left = false;
  bool stopped = false;  ///< it closed its last session: away in order, and expected back
  bool failed = false;   ///< by the last view that names it; it keeps its place
};
struct session_record {
  session_epoch epoch;
  node_id node;
  boot_epoch boot;
  std::uint64_t nonce = 0;
  milliseconds ttl{0};
  bool active = true, stopping = false;
  std::vector<std::string> runners;    ///< sorted
  request_seq acked;                   ///< all seq <= this are done and forgotten, never executed again
  std::map<request_seq, answer> used;  ///< executed, answer kept until acknowledged
};
struct lock_holder {
  session_epoch session;
  request_seq request;
  grant_id grant;
  std::string label;
  wall_time acquired;
};
struct lock_waiter {
  session_epoch session;
  request_seq request;
  std::string label;
};
struct lock_record {
  std::string name;
  std::optional<lock_holder> holder;
  std::vector<lock_waiter> waiters;
};
struct job_run_record {  ///< a run that has started or may start, and, once finished, one line of the history
  std::string job;
  std::uint64_t number = 0;  ///< place in the job's history, from 1
  std::uint64_t version = 0;
  wall_time scheduled;
  std::uint32_t attempt = 1, coalesced = 0;
  std::uint64_t fence = 0;
  session_epoch session;
  node_id node;
  wall_time claimed;
  std::optional<wall_time> started;
  std::optional<milliseconds> took;
  std::optional<outcome> what;
  std::string message;
};
struct job_record {
  std::string id;
  job_config config;
  std::uint64_t version = 0;
  session_epoch owner;
  std::optional<wall_time> next, last;
  std::optional<outcome> last_outcome;
  std::vector<job_run_record> running;                 ///< claimed and not finished
  std::vector<job_run_record> lost;                    ///< rerun_if_lost: waiting for the next attempt
  std::uint64_t history_first = 1, history_count = 0;  ///< numbers [first, first + count) are stored
  wall_time created;
};
/// total counts every entry ever appended; an entry's ordinal is total as of its append, so that `total - ordinal`
/// entries follow it.
struct journal_record {
  std::string name;
  std::uint64_t first = 0, last = 0, count = 0, trimmed = 0, total = 0;
  milliseconds keep{0};
  wall_time last_created;
};
struct journal_bucket {
  std::string journal;
  std::uint64_t first = 0, last = 0, count = 0;
  wall_time newest;
};  ///< an age class of a journal, for retention
struct journal_key {
  std::string journal, key;
  std::uint64_t first = 0, last = 0;
};  ///< idempotency key of an append
struct journal_entry {
  std::string journal;
  std::uint64_t id = 0, ordinal = 0;
  wall_time created;
  std::string type, message;
};

using record = std::variant<global_record, member_record, session_record, lock_record, job_record, journal_record,
                            journal_bucket, journal_key, journal_entry, job_run_record>;

/// Key of a record in the state: a class letter, then the names (each followed by a zero byte) and big-endian numbers,
/// so that ranges are in order.
///   g globals   m member id   s session epoch   l lock name   j job id   q journal name   b journal, first id   k
///   journal, key E journal, entry id       H job, run number
char class_of(const record&);
bytes key_of(const record&);
bytes entry_key(std::string_view journal, std::uint64_t id);
bytes history_key(std::string_view job, std::uint64_t number);
/// True when the class of this key is held in memory (lower case); all such keys are in [memory_begin, memory_end).
bool in_memory(byte_view key);
bytes memory_begin();
bytes memory_end();

/// A change of the stored state.
struct put {
  record value;
};
struct erase {
  bytes key;
};
struct erase_range {
  bytes from, to;
};  ///< from <= key < to
using write = std::variant<put, erase, erase_range>;
char class_of(const write&);  ///< the letter of what it changes

}  // namespace coterie::machine
