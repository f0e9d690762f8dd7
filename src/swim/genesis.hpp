// From one seed list to one cluster, once (docs/membership.md 2): flexible Paxos over the seed slots. Deterministic.
// Any change of a step needs the same change in the exhaustive model. Knows nothing of Raft (it only hands over who the
// first voters are), of sockets, or disks.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/address.hpp"
#include "base/bytes.hpp"
#include "base/counters.hpp"
#include "base/hash.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/random.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

namespace coterie::swim {

inline constexpr std::size_t max_seeds = 32;  ///< slots in a seed list

struct ballot {
  std::uint64_t round = 0;
  node_id proposer;
  friend constexpr auto operator<=>(const ballot&, const ballot&) = default;
  explicit operator bool() const { return round != 0; }
};

/// One slot of the sorted seed list as the record names it; id zero = dropped by `--without`.
struct seed_slot {
  node_id id;
  std::string name;
  address at;
  bytes public_key;  ///< empty until keys exist
  friend bool operator==(const seed_slot&, const seed_slot&) = default;
};

/// R, the genesis record. cluster_id = XXH3-128 of its canonical bytes.
struct genesis_record {
  std::string cluster;
  std::uint64_t digest = 0;  ///< of the sorted seed list
  std::uint64_t nonce = 0;
  std::vector<seed_slot> seeds;
  std::vector<node_id> voters;    ///< the first 5, 3 or 1 of the non-empty slots
  std::vector<node_id> standbys;  ///< the next 2

  /// Fixed layout, independent of any schema, all numbers little-endian. `text` = u32 length, then the bytes;
  /// `id` = u64 hi, u64 lo.
  ///     u32 layout (1) | text cluster | u64 digest | u64 nonce
  ///     u32 seeds    { id | text name | text host | u16 port | text public_key }
  ///     u32 voters   { id }
  ///     u32 standbys { id }
  bytes canonical() const;
  cluster_id id() const;
  bool lists(node_id) const;  ///< never true for id zero
  friend bool operator==(const genesis_record&, const genesis_record&) = default;
};

/// Fsynced before anything that depends on it leaves.
struct acceptor_state {
  ballot promised;
  ballot accepted_ballot;
  std::optional<genesis_record> accepted;
  cluster_id id;                            ///< zero until known
  std::optional<genesis_record> committed;  ///< R, once known
  friend bool operator==(const acceptor_state&, const acceptor_state&) = default;
};

// ---- messages, all on streams. `hello` opens every stream in both directions. ---------------------------------------
struct hello {
  std::string cluster, name;
  std::uint16_t protocol_min = 1, protocol_max = 1;
  std::string version;
  std::vector<address> seeds;  ///< default ports added, sorted
  std::uint64_t digest = 0;
  node_id id;
  boot_epoch epoch;
  address advertise;
  cluster_id cluster_known;              ///< zero = none
  std::optional<genesis_record> record;  ///< R when known; set exactly when cluster_known is
  std::uint64_t start = 0;               ///< drawn at each start: tells two starts of one boot apart (a copied disk)
  log_index log_end;                     ///< where the log ended at that start
  std::vector<log_index> data_log_ends;  ///< the same of each data group (docs/consensus.md 1.10)
};
struct genesis_prepare {
  ballot b;
  std::vector<node_id> ids;  ///< one per slot, zero for a slot dropped by `--without`
};
struct genesis_promise {
  ballot b;
  node_id from;
  ballot accepted_ballot;
  std::optional<genesis_record> accepted;
};
struct genesis_reject {
  ballot b;
  node_id from;
  ballot promised;
};
struct genesis_accept {
  ballot b;
  std::vector<node_id> ids;
  genesis_record record;
};
struct genesis_accepted {
  ballot b;
  node_id from;
  cluster_id record_id;
  genesis_record record;
};
struct genesis_commit {
  node_id from;  ///< where the acknowledgement goes
  genesis_record record;
};
struct genesis_commit_ack {
  node_id from;
};
using genesis_message = std::variant<genesis_prepare, genesis_promise, genesis_reject, genesis_accept, genesis_accepted,
                                     genesis_commit, genesis_commit_ack>;

struct genesis_options {
  std::string cluster = "default", name;
  std::vector<address> seeds;  ///< as configured; default ports are added and duplicates refused by validate()
  address advertise;
  bool bootstrap_single = false;     ///< seeds empty or [self]
  duration stable_margin = 3s;       ///< longer than redial, so that survivors can veto
  duration redial = 1s;              ///< an unanswered seed is dialled this often
  duration redial_max = 10s;         ///< after genesis: back-off limit for seeds that have not acknowledged the commit
  duration rank_delay = 1s;          ///< the seed of rank k proposes k times this later
  duration ballot_timeout = 1s;      ///< of each of the two phases
  duration settle = 300ms;           ///< a found cluster is joined this late, or as soon as the whole list has answered
  std::vector<std::size_t> without;  ///< slots dropped by the operator (`cluster init --without`), empty by default
  std::size_t max_held = 4096;  ///< outputs waiting for a persist; beyond it messages are lost, as on a broken stream
};

// ---- actions --------------------------------------------------------------------------------------------------------
struct gen_dial {
  address to;  ///< open a stream; hello is exchanged on it
};
struct gen_send {
  node_id to;
  genesis_message what;  ///< on the stream to that node; lost when there is none
};
/// Answered by on_persisted(sequence); sequences rise by one, and a later state replaces an earlier one.
struct gen_persist {
  std::uint64_t sequence;
  acceptor_state state;
};
/// The id is durable. founder: own node_id is in record.seeds -> start with record.voters; else join. Said once, and
/// once more at each start that finds the id on disk (the process may have died in between). The driver now says
/// own_hello() again on every open stream, so that those who wait for a cluster learn of it.
struct gen_formed {
  genesis_record record;
  bool founder;
};
struct gen_fatal {
  std::string message;  ///< stop with this error (two ids under one name, ...); nothing is emitted after it
};
using gen_action = std::variant<gen_dial, gen_send, gen_persist, gen_formed, gen_fatal>;

/// One node's part in genesis. Not thread-safe. The driver calls tick() at next_wake() and take() after every call.
class genesis {
 public:
  /// `self` and `epoch` are durable already. Options must have passed validate().
  genesis(node_id self, boot_epoch, const genesis_options&, acceptor_state, instant now, std::uint64_t seed);

  /// The sorted seed list with default ports added, or what is wrong with the options: duplicates, empty without
  /// bootstrap_single, more than 32 seeds, too many slots in `without`.
  static result<std::vector<address>> validate(const genesis_options&);
  static std::uint64_t digest_of(const std::vector<address>& sorted);
  /// Whether a node that says this can be in a cluster of that name at all, with or without genesis; else why not.
  static result<void> check_kind(const hello&, std::string_view cluster);

  hello own_hello() const;  ///< what to say on every stream now; `version` is left to the driver
  /// A hello arrived on a stream that was dialled to `dialled` (a seed address), or accepted (nullopt). A hello from
  /// ourselves through a loopback stream is welcome: it marks the own slot. False + reason: refuse the stream (another
  /// cluster name or id, no protocol overlap, malformed); counted.
  result<void> on_hello(const hello&, const std::optional<address>& dialled, instant now);
  /// Whatever came on a stream whose hello was taken. Unusable messages are dropped and counted.
  void on_message(const genesis_message&, instant now);
  /// The last open stream to that node is gone (one of two closing is not told).
  void on_stream_down(node_id, instant now);
  /// This write and all earlier ones are durable.
  void on_persisted(std::uint64_t sequence, instant now);
  void tick(instant now);
  instant next_wake() const;
  std::vector<gen_action> take();
  std::vector<log_line> take_log();

  /// Operator: `cluster init --without`, at a seed and at run time; replaces options.without. Refused for a slot that
  /// answers, for too many, and when formed.
  result<void> init_without(const std::vector<address>& seeds, instant now);
  /// Operator: `cluster init --discard R`: erases the accepted record with this hash; gone for good when the write of
  /// the returned sequence is durable. not_found when it is not held.
  result<std::uint64_t> discard(cluster_id record, instant now);

  bool formed() const { return formed_; }  ///< cluster_id known and durable
  const acceptor_state& state() const { return state_; }
  /// One sentence for `status` and the log: "seeds 1 of 3 answer, waiting for 10.0.0.2:7400", both lists on a digest
  /// mismatch, slots that have not acknowledged the commit, ...
  std::string situation() const;
  /// Slots without an answer; once formed, slots that have not acknowledged the commit.
  std::vector<address> waiting_for() const;
  const counters& stats() const { return stats_; }

 private:
  struct slot {
    address at;
    bool dropped = false;         ///< by the operator
    bool own = false;             ///< our own hello came back from here
    bool acknowledged = false;    ///< the commit, or showed our cluster id itself
    std::optional<hello> answer;  ///< fresh: the stream is up; never our own
    std::string refusal;          ///< why the last answer was refused
    instant next_dial{};          ///< once formed: of the next Commit, too
    duration pause{};             ///< once formed: doubles up to redial_max
    bool answers() const { return own || answer.has_value(); }
  };
  struct promise_seen {
    ballot accepted_ballot;
    std::optional<genesis_record> accepted;
  };
  /// The ballot this node leads.
  struct attempt {
    ballot b;
    std::vector<seed_slot> slots;  ///< as the hellos showed them when it began
    std::vector<node_id> ids;      ///< of the slots
    instant deadline = never;      ///< from when the phase's messages leave
    bool proposed = false;         ///< phase 2
    std::map<node_id, promise_seen> promises;
  };
  struct tally {
    cluster_id id;
    std::set<node_id> from;
  };
  struct found_cluster {
    cluster_id id;
    genesis_record record;
    std::string where;
    instant decide_at;
  };
  struct own_promise {
    ballot b;
  };
  struct own_accept {
    ballot b;
    genesis_record record;
  };
  struct own_commit {};
  struct held {
    std::uint64_t sequence;
    std::variant<gen_send, own_promise, own_accept, own_commit> what;
  };

  // genesis.cpp: hellos, time, outputs
  result<void> check(const hello&) const;
  result<void> check_cluster(const hello&, bool own_seed);
  slot* slot_at(const address&);
  const slot* slot_of(node_id) const;
  result<void> bind(const hello&, slot* at, instant now);
  void found(const hello&, const std::string& where, instant now);
  void hint(instant now);
  void advance(instant now);
  void review(instant now);
  void dial_seeds(instant now);
  void announce(instant now);
  void report(instant now);
  bool whole_list_answers() const;
  std::vector<std::pair<node_id, boot_epoch>> whole_list() const;
  void start_single();
  std::uint64_t persist();
  void hold(std::variant<gen_send, own_promise, own_accept, own_commit>);
  void release(held, instant now);
  void send(node_id to, genesis_message);
  void emit(gen_action);
  void say(log_level, std::string);
  void stop(std::string why);
  void when_formed(instant now);

  // genesis_ballot.cpp: proposer, acceptor, learner
  std::size_t majority() const { return slots_.size() / 2 + 1; }
  int rank() const;
  instant start_at() const;
  bool names_us(const ballot&, const std::vector<node_id>& ids) const;
  bool fits(const genesis_record&) const;
  bool same_list(const genesis_record&) const;
  void start_ballot();
  void propose(instant now);
  genesis_record fresh_record(const attempt&);
  void give_up(instant now, const std::string& why);
  void yield_to(const ballot&, instant now);
  void receive(const genesis_prepare&, instant now);
  void receive(const genesis_promise&, instant now);
  void receive(const genesis_reject&, instant now);
  void receive(const genesis_accept&, instant now);
  void receive(const genesis_accepted&);
  void receive(const genesis_commit&);
  void receive(const genesis_commit_ack&);
  void add_promise(node_id from, promise_seen, instant now);
  void count(const ballot&, node_id from, cluster_id, const genesis_record&);
  void commit(const genesis_record&);

  // genesis_status.cpp
  std::string forming_situation() const;
  std::string conflict() const;
  std::string dead_record() const;
  std::string held_record() const;
  static std::string show(const std::vector<address>&);
  static address normal(address);  ///< as it stands in list_

  const node_id self_;
  const boot_epoch epoch_;
  const genesis_options opt_;
  const std::vector<address> list_;
  const std::uint64_t digest_;
  rng rng_;
  acceptor_state state_;
  bool formed_ = false;
  std::string fatal_;

  std::vector<slot> slots_;  ///< by list_
  instant next_hint_ = instant::min();
  std::vector<std::pair<node_id, boot_epoch>> standing_;  ///< the whole list's answer; empty: not eligible
  instant standing_since_{};
  instant quiet_until_ = instant::min();  ///< no ballot of ours before
  duration jitter_{};
  int failures_ = 0;  ///< ballots given up in a row
  std::uint64_t round_seen_ = 0;
  std::optional<attempt> attempt_;
  std::optional<genesis_record> blocked_;  ///< accepted somewhere, but this node cannot finish it
  std::map<ballot, tally> tallies_;        ///< Accepted, per ballot
  std::optional<found_cluster> found_;     ///< genesis is dropped, the id is about to be taken
  std::set<cluster_id> strangers_;         ///< other ids already warned of

  std::uint64_t issued_ = 0, durable_ = 0;  ///< persist sequences
  std::deque<held> held_;                   ///< outputs that wait for a sequence, in order
  std::vector<gen_action> actions_;
  std::vector<log_line> log_;
  std::string reported_;
  instant next_report_ = instant::min();
  counters stats_;
};

}  // namespace coterie::swim
