// The Raft consensus core: a deterministic state machine (paper: Ongaro and Ousterhout 2014; thesis: Ongaro 2014).
//
// No threads, sockets, clocks or callbacks. Input goes in by the methods below; after any of them `take()` says what
// has to be done. Prevote, check-quorum, the leader's own-term no-op, joint consensus and ReadIndex are always on. The
// whole log after the snapshot is held in memory; compaction bounds it. What a driver owes:
//   - perform `ready.persist` in order, each synced or only written as it says; a sync holds for all before it. Call
//     `on_persisted(ready.persist.sequence)` once that is done;
//   - send `ready.send_now` at once, `ready.send_after_persist` only when `ready.persist.sequence` is done: the persist
//     of that ready or, when it has none, the latest one handed out before;
//   - call `read_clocks` before the other input of each turn, with clocks read after that input was there;
//   - apply `ready.committed` in order (they are written here), behind them on the same disk, and call `on_applied(last
//   index)`.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/counters.hpp"
#include "base/planted_bug.hpp"
#include "base/random.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "raft/lease.hpp"
#include "raft/log.hpp"
#include "raft/progress.hpp"
#include "raft/types.hpp"

namespace coterie::raft {

struct options {
  duration heartbeat = 50ms;              ///< docs/consensus.md 1.5
  duration election_timeout_min = 300ms;  ///< both longer, in proportion, where answers take long: set_pace()
  duration election_timeout_max = 600ms;
  bool align_heartbeats = false;           ///< those of all groups of a node leave at one time
  std::size_t max_append_bytes = 1 << 20;  ///< payload bytes of one append_request
  std::size_t max_append_entries = 4096;
  std::size_t max_inflight_appends = 64;  ///< pipelined appends to one follower without an answer
  /// Proposals beyond it are refused with errc::limit; an entry counts its payload and 64 bytes.
  std::size_t max_uncommitted_bytes = 64 << 20;
  std::size_t max_committed_bytes = 4 << 20;  ///< payload bytes handed out for apply by one ready
  std::size_t max_pending_reads = 65'536;     ///< reads beyond it fail at once
  std::size_t max_read_rounds = 4;            ///< confirmations (leader) or forwarded batches (follower) on their way
  /// A leader whose disk or commit index stands still for longer with work to do hands over, then steps down
  /// (hraft#503).
  duration stall_timeout = 1200ms;
  duration snapshot_ack_timeout = 10s;  ///< from the end of a snapshot transfer to the follower's answer
  /// A node outside the configuration syncs committed entries after so long or so many bytes of payload at the latest.
  duration lazy_sync_period = 1s;
  std::size_t lazy_sync_bytes = 4 << 20;
  double clock_rate_error = 0.01;  ///< assumed bound (docs/consensus.md 2, S4): read leases depend on it
  planted_bug bug = planted_bug::none;
};

enum class role : std::uint8_t { follower, pre_candidate, candidate, leader };

/// What the disk held at start.
struct recovered {
  hard_state hard;
  snapshot_meta snapshot;  ///< state before the first entry of `entries`; index 0 and an empty configuration when none
  std::vector<entry> entries;  ///< contiguous from snapshot.index + 1; all durable
  log_index applied;           ///< of the state machine, >= snapshot.index
  log_index last() const { return entries.empty() ? snapshot.index : entries.back().index; }
};

struct persist_request {
  std::uint64_t sequence = 0;  ///< rising; completion is in this order. When empty: of the latest one before
  std::optional<hard_state> hard;
  std::optional<log_index> truncate_from;  ///< remove entries >= this index first
  std::vector<entry> entries;              ///< append
  bool sync = false;  ///< it and all before it have to be durable; else written: a crash of the process leaves them
  bool empty() const { return !hard && !truncate_from && entries.empty() && !sync; }
};

/// Committed entries that another node passed on, and what it knows of the leader (docs/consensus.md 1.3).
struct relayed {
  log_index prev;              ///< up to here the sender's log is this one, by the running hash; <= commit()
  std::vector<entry> entries;  ///< after prev, without a gap; all committed
  node_id leader;              ///< zero = it knows none
  term when;                   ///< of that leader
  duration age{};              ///< since that leader, as far as the sender knows, had its quorum
};

struct read_state {
  std::uint64_t id = 0;  ///< the id given to read_index()
  bool ok = false;       ///< false: leadership lost or no leader; try again with a fresh id
  log_index index;       ///< the read may be served once this index is applied locally
};

struct ready {
  persist_request persist;  ///< needs one write when not empty
  std::vector<message> send_now;
  std::vector<message> send_after_persist;
  std::vector<entry> committed;
  std::vector<read_state> reads;
  bool role_changed = false;  ///< role, leader or term changed since the last take
  bool empty() const;
};

/// State of one follower as its leader sees it, for status pages and voter selection.
struct progress_view {
  node_id id;
  log_index match, next;
  bool recently_active = false, snapshotting = false;
  instant last_contact;
};

class core {
 public:
  /// `self` need not be in the configuration (an observer or a node that is about to be added): then it never
  /// campaigns. A voter that the latest configuration removes still does until it knows that this is committed
  /// (thesis 4.2.2).
  core(node_id self, const options&, recovered, instant now, std::uint64_t seed);
  /// Right after the beginning: others may know that this disk is an older copy, though none is in its configuration,
  /// and none may have been when the copy was made; so the only one in it waits for an election time-out, too.
  void wait_for_others();
  /// How long a message to a quorum of the voters, a synced write there and the answer take at present, as the driver
  /// measures it. Election time-outs are five times that at least, and at most ten times as long as the options say
  /// (docs/consensus.md 1.5). It is no input that anybody's safety depends on.
  void set_pace(duration);

  // ---- input: each is total; unusable input is dropped and counted ----
  /// Read leases are measured by both clocks; all else by the instants of the other input.
  void read_clocks(const times& now) { lease_.read(now); }
  void step(const message&, instant now);
  void tick(instant now);  ///< to be called at or after next_wake()
  instant next_wake() const;
  /// Appends commands as one batch. Only the leader can: otherwise unavailable with leader() as the hint. Returns the
  /// index of the first.
  result<log_index> propose(std::vector<shared_bytes> commands, instant now);
  /// Starts a change to exactly these voters and learners: joint when the voters differ, one entry otherwise; leaving
  /// the joint configuration is automatic. Refused (unavailable) unless leader with an applied own-term entry and no
  /// change pending.
  result<log_index> propose_configuration(std::vector<node_id> voters, std::vector<node_id> learners, instant now);
  /// Changes the read lease of the cluster's leaders (docs/consensus.md 1.8), zero for none; refused like another
  /// change of the configuration.
  result<log_index> propose_read_lease(std::chrono::milliseconds, instant now);
  /// Linearizable read (thesis 6.4), on any node: the answer comes in ready.reads. `id` is chosen by the caller, fresh
  /// for every call.
  void read_index(std::uint64_t id, instant now);
  /// The same on the leader alone, and by a quorum round even under a read lease: whoever is elected later is elected
  /// after this call.
  void confirm_leadership(std::uint64_t id, instant now);
  void on_persisted(std::uint64_t sequence, instant now);
  void on_applied(log_index);
  /// The link to this peer broke: stop pipelining to it (probe), and when it is the leader's own process that refused
  /// or reset, `crashed` starts prevotes at once (docs/consensus.md 1.5).
  void on_unreachable(node_id, bool crashed, instant now);
  /// Outcome of a snapshot transfer to a follower that send_now asked for. On success the follower's append_response
  /// follows too.
  void on_snapshot_sent(node_id, bool ok, instant now);
  /// The driver's disk has begun to replace the state by a received one: until on_snapshot_installed() nothing is
  /// handed out to be applied, whatever becomes durable, for it would be written into the state that comes.
  void on_snapshot_taken() { replacing_ = true; }
  /// The driver installed a received snapshot durably (log discarded where it does not extend it). Everything <=
  /// meta.index is applied.
  void on_snapshot_installed(const snapshot_meta&, instant now);
  /// Entries that this node was fed by another one than the leader. Committed entries never change, so whoever takes
  /// them, a voter too, takes only what any leader's log has: acks, votes and quorums are not touched. Who leads is
  /// believed only by a node without a vote. False when they contradict what is committed here: one of the two nodes is
  /// not of this cluster's history any more.
  bool on_relayed(const relayed&, instant now);
  /// Drops entries <= upto from memory (upto <= applied); the driver removes them on disk. Returns the meta of the new
  /// log start.
  snapshot_meta compact(log_index upto);
  /// Hands leadership to `to` (must be a voter); proposals are refused until it succeeded or one election time-out
  /// passed.
  result<void> transfer_leadership(node_id to, instant now);
  /// Does not lead, and does not campaign before `until`: another process with this identity is alive.
  void stand_back(instant until, instant now);

  // ---- output ----
  ready take();

  // ---- state ----
  node_id self() const;
  role current_role() const;
  term current_term() const;
  node_id leader() const;    ///< zero = unknown
  term leader_term() const;  ///< in which leader() leads
  /// Leader whose newest committed entry is young enough that no other one can have committed any: reads need no
  /// quorum.
  bool holds_read_lease() const;
  bool leader_commits() const;   ///< leader() has committed an entry of its own term, as far as this node knows
  bool leader_ready() const;     ///< leader and an entry of its own term is committed and applied (rp#5025)
  instant leader_since() const;  ///< when this node became leader; meaningless otherwise
  /// Follower: last message from the leader, or what was relayed of it; leader: last quorum contact.
  instant last_leader_contact() const;
  instant last_fed() const;  ///< last message from a leader itself
  /// Leader: a quorum was heard within an election time-out (the largest). Follower: the leader was. What comes through
  /// relays may take twice as long.
  bool has_quorum_contact(instant now) const;
  duration longest_election_timeout() const;  ///< at the present pace
  log_index commit() const;
  log_index applied() const;
  log_index first_index() const;  ///< first entry still in memory
  log_index last_index() const;
  log_index written_index() const;    ///< entries up to here survive the process
  log_index synced_index() const;     ///< and up to here a loss of power
  const configuration& conf() const;  ///< the latest in the log, committed or not
  bool conf_committed() const;
  std::optional<term> term_at(log_index) const;
  const entry* entry_at(log_index) const;  ///< nullptr outside the log in memory
  /// What a snapshot of the state after `index` says about itself; nullopt outside [first_index() - 1, last_index()].
  std::optional<snapshot_meta> meta_at(log_index) const;
  std::size_t log_bytes() const;                ///< payload bytes in memory
  std::vector<progress_view> progress() const;  ///< leader only, sorted by id
  const counters& stats() const;

 private:
  struct read {
    node_id from;  ///< self, or the follower that asked for it
    std::uint64_t id = 0;
  };
  /// Reads that were there before the round's first message left, and so are served by its quorum (thesis 6.4).
  struct read_round {
    std::uint64_t round = 0;
    log_index index;
    std::vector<read> reads;
  };
  /// Reads forwarded to the leader in one request; its id is random, so that no answer to an earlier life fits
  /// (etcd#20418).
  struct read_attempt {
    std::uint64_t id = 0;
    instant deadline;
    std::vector<std::uint64_t> reads;
  };
  struct transfer {
    node_id to;
    instant deadline;
  };

  // ---- core.cpp ----
  void observe(instant now);
  void drop(const char* why) { stats_.add(why); }
  /// What an entry counts against max_uncommitted_bytes.
  static std::size_t cost(std::size_t payload) { return payload + 64; }
  template <class Body>
  void send(std::vector<message>& lane, node_id to, Body body) {
    lane.push_back({self_, to, hard_.current, std::move(body)});
  }
  template <class Body>
  void send_now(node_id to, Body body) {
    send(send_now_, to, std::move(body));
  }
  template <class Body>
  void send_durable(node_id to, Body body) {
    send(send_after_persist_, to, std::move(body));
  }
  void dispatch(const message&);
  void answer_stale(const message&);
  bool accept_newer_term(const message&);
  bool hard_durable() const;
  bool wants_sync(const persist_request&) const;
  void hand_out_persist(persist_request&);
  void hand_out_committed(std::vector<entry>&);
  void advance_commit(log_index);
  void set_leader(node_id);
  void set_hard_state(hard_state);

  // ---- election.cpp: roles, votes, transfer ----
  bool promotable() const;
  bool alone() const;  ///< self is a quorum
  bool sticky() const;
  void reset_election_timer();
  duration stretched(duration) const;
  instant next_heartbeat() const;
  void become_follower(term, node_id leader);
  void become_leader();
  void start_prevote();
  void start_election(bool on_order);
  void ask_for_votes();
  void count();
  void on_vote_request(const message&, const vote_request&);
  void on_vote_response(const message&, const vote_response&);
  void answer_early_prevotes();
  void on_timeout_now(const message&, const timeout_now&);
  void tick_follower();
  void tick_leader();
  bool stalled() const;
  bool hand_over_stalled();
  void start_transfer(node_id to);
  void push_transfer();
  void abort_transfer();
  log_index unleased() const;
  void await_leases();
  bool awaits_leases();
  instant quorum_contact() const;

  // ---- replication.cpp: both ends of append and snapshot ----
  log_index append_own(entry_kind, shared_bytes payload, configuration conf);
  void heard(node_id follower);
  void flush_peers();
  void send_appends(node_id, follower_progress&);
  void send_append(node_id, follower_progress&, log_index prev, std::size_t max_entries, bool quiet);
  void send_empty(node_id, follower_progress&, bool quiet);
  void maybe_send_snapshot(node_id, follower_progress&);
  void maybe_commit();
  void on_append_response(const message&, const append_response&);
  void on_reject(follower_progress&, const append_response&);
  void on_append_request(const message&, const append_request&);
  void on_snapshot_request(const message&, const snapshot_request&);
  bool follow(node_id leader);
  /// Terms beyond it are not believed; it keeps all arithmetic on them from wrapping.
  static constexpr std::uint64_t largest_term = std::uint64_t{1} << 62;
  static bool well_formed(log_index prev, term prev_term, const std::vector<entry>&, term newest);
  bool append_entries(const append_request&, std::size_t skip);
  void acknowledge(const append_request&, node_id leader, log_index verified);
  void reject(const append_request&, node_id leader);

  // ---- relay.cpp ----
  void extend(std::vector<entry>::const_iterator from, std::vector<entry>::const_iterator end);
  void heed(const relayed&);

  // ---- configuration.cpp ----
  result<void> may_change_configuration() const;
  void append_configuration(configuration);
  void reconcile_progress();
  void after_commit();
  void leave_office();

  // ---- read.cpp ----
  bool committed_in_own_term() const;
  void answer_read(const read&, bool ok, log_index);
  void on_leader_read(read);
  void add_leader_read(read);
  void renew_read_lease();
  void start_read_round();
  void confirm_reads();
  void fail_reads();
  void forward_reads();
  void expire_reads();
  void on_read_request(const message&, const read_request&);
  void on_read_response(const message&, const read_response&);

  const node_id self_;
  const options options_;
  rng rng_;
  instant now_;  ///< latest that any input told
  counters stats_;

  hard_state hard_, handed_hard_;  ///< now, and what the disk was told
  std::uint64_t sequence_ = 0;     ///< latest persist handed out
  std::uint64_t persisted_sequence_ = 0;
  std::uint64_t hard_sequence_ = 0;  ///< the persist that carried handed_hard_
  entry_log log_;
  lease_times lease_;
  log_index commit_;        ///< <= log_.last(), never falls
  log_index handed_apply_;  ///< applied_ <= handed_apply_ <= commit_
  bool replacing_ = false;  ///< the state, by a received one
  log_index applied_;

  role role_ = role::follower;
  node_id leader_;
  bool changed_ = false;  ///< role, leader or term since the last take
  term leader_term_;      ///< in which leader_ leads: hard_.current, unless that is known through relays
  instant last_leader_contact_;
  instant last_fed_;
  instant election_deadline_;
  instant heartbeat_deadline_;     ///< leader: next heartbeat; candidates: next repetition of the request
  duration pace_{};                ///< as the driver measured it
  unsigned failed_campaigns_ = 0;  ///< in a row, without an outcome in time
  std::map<node_id, bool> votes_;
  struct early_prevote {
    instant came;
    message request;
  };
  /// Asked for while the leader still seemed to be there: answered when its process turns out to be gone.
  std::map<node_id, early_prevote> early_prevotes_;
  bool campaign_on_order_ = false;
  std::optional<std::pair<term, log_index>> unleased_;  ///< of the order: up to there no leader has a read lease

  // leader only
  std::map<node_id, follower_progress> progress_;  ///< the other members of log_.conf()
  instant leader_since_;
  log_index noop_index_;  ///< the own-term no-op
  std::size_t uncommitted_bytes_ = 0;
  bool heartbeat_due_ = false;
  std::optional<transfer> transfer_;
  duration awaited_lease_{};  ///< of predecessors: nothing is committed before it is over; zero = it is
  std::optional<instant> last_read_;
  instant moved_at_;             ///< commit or some voter's match moved, or there was nothing to commit
  bool stall_handover_ = false;  ///< tried to hand over since the stall began

  // reads
  std::vector<read> waiting_reads_;    ///< not in a round or attempt yet
  std::deque<read_round> rounds_;      ///< leader
  std::deque<read_attempt> attempts_;  ///< follower
  std::uint64_t round_ = 0;            ///< newest round begun
  std::size_t pending_reads_ = 0;      ///< in all three

  // output since the last take
  std::vector<message> send_now_, send_after_persist_;
  std::vector<read_state> reads_;
};

}  // namespace coterie::raft
