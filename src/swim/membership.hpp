// The failure detector and disseminator of one node: SWIM (DSN 2002) with Lifeguard (arXiv 1707.00788). Deterministic:
// what comes in by the methods, what has to be done comes out of take(). Knows nothing of Raft, services, sockets or
// disks, nor of how bytes look.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/counters.hpp"
#include "base/log.hpp"
#include "base/planted_bug.hpp"
#include "base/random.hpp"
#include "base/result.hpp"
#include "swim/dissemination.hpp"
#include "swim/member.hpp"
#include "swim/roster.hpp"
#include "swim/suspicion.hpp"
#include "swim/timers.hpp"
#include "swim/types.hpp"
#include "swim/user_table.hpp"

namespace coterie::swim {

struct options {
  std::string cluster = "default";
  std::uint64_t seeds = 0;  ///< digest of the seed list, as in scope
  planted_bug bug = planted_bug::none;
  std::size_t small_cluster = 7;  ///< up to this size every pair probes each `small_period` (docs/membership.md 1)
  duration small_period = 250ms;
  duration period = 1s;               ///< one direct probe per period above small_cluster
  duration probe_timeout_min = 40ms;  ///< ack time-out = clamp(RTT-adaptive, min, period / 2), times local health
  unsigned helpers = 3;               ///< indirect probes in parallel with a TCP probe
  double suspicion_min_periods = 4;   ///< shortest suspicion, in small periods, times max(1, log2(N + 1) / 3)
  double suspicion_max_factor = 4;    ///< the longest; confirmations shrink it to the shortest (Lifeguard)
  unsigned max_health = 8;            ///< local health multiplier (Lifeguard LHM) saturates here
  duration gossip_period = 100ms;     ///< while there is news: to `gossip_fanout` random members each
  unsigned gossip_fanout = 3;
  unsigned retransmit_lambda = 4;  ///< λ·log(N+1) transmissions of a statement
  std::size_t max_datagram = 1232;
  duration push_pull_period = 10s;
  duration retry_max = 10s;           ///< unreachable members are probed, with back-off from 1 s up to this, for ever
  duration forget_left_after = 24h;   ///< statements of left nodes are kept so that stale ones can't resurrect them
  std::size_t max_members = 16'384;   ///< full: who left or is unreachable makes room, else newcomers are dropped
  std::size_t max_queued = 8'192;     ///< statements and data waiting to be piggybacked
  std::size_t max_relays = 1'024;     ///< probes made at a time on behalf of others
  std::size_t max_tag_bytes = 512;    ///< all tags of a node together
  std::size_t max_user_bytes = 400;   ///< one user datum
  std::size_t max_user_data = 4'096;  ///< data kept in all
  duration pause_threshold = 1s;      ///< a wake this late means the process stood still: it accuses nobody for a while
};

enum class event_kind : std::uint8_t { joined, suspect, alive_again, unreachable, stopping, left, updated };
const char* to_string(event_kind);
/// Each once, in order, with its evidence for people.
struct event {
  event_kind kind;
  member who;
  std::string evidence;
  node_id accuser{};  ///< of suspect and unreachable
};

// ---- actions -------------------------------------------------------------------------------------------------------
struct send_datagram {
  address to;
  datagram what;
};
struct send_push_pull {
  node_id to;
  address at;
  push_pull what;
};  ///< over the stream to that node; lost when there is none
struct send_stream_ping {
  node_id to;
  address at;
  stream_ping what;
};
struct send_stream_ack {
  node_id to;
  stream_ack what;
};
using action = std::variant<send_datagram, send_push_pull, send_stream_ping, send_stream_ack>;

struct output {
  std::vector<action> actions;
  std::vector<event> events;
  std::vector<user_datum> user;     ///< newly learnt or newer user data of other nodes
  std::vector<node_id> forgotten;   ///< removed or replaced: what they had still to say is not told any more
  std::vector<node_id> unanswered;  ///< who did not answer the first ping of a probe in time, whatever came of it
  std::vector<log_line> log;
};

class membership {
 public:
  /// `self` with the incarnation (epoch, 1), alone: others are members when heard of, by on_peer_up or from one
  /// another. A node never says (epoch, 0) itself: it is for introductions by others that do not carry everything (no
  /// tags).
  membership(member_info self, boot_epoch, const options&, statement_size, user_size, const times& now,
             std::uint64_t seed);

  // ---- input; each is total ----
  void on_datagram(const address& from, const datagram&, const times& now);
  void on_push_pull(const push_pull&, const times& now);
  void on_stream_ping(node_id from, const stream_ping&, const times& now);
  void on_stream_ack(const stream_ack&, const times& now);
  /// A stream to this node came up: the engine knows who it is and where; exchange views (join goes this way).
  void on_peer_up(const member_info&, incarnation, const times& now);
  /// The node's own address refused or reset a connection, or an ICMP port unreachable came: crash evidence,
  /// accelerates suspicion.
  void on_refused(node_id, const times& now);
  /// The system threw so many datagrams for this process away: answers may have been among them.
  void on_dropped(std::uint64_t datagrams, const times& now);
  void tick(const times& now);
  instant next_wake() const;

  void set_cluster_id(cluster_id);
  /// Whether that is a node whose gossip is for this one. Only such nodes are to be told of by on_peer_up, and heard.
  bool meets(const scope&) const;
  /// Said to all, and an event here too. Refused like check_tags.
  result<void> set_tags(tag_map, const times& now);
  /// errc::limit when the tags, or what the node then says of itself, are too large.
  static result<void> check_tags(const member_info&, const options&, statement_size);
  result<void> set_user(std::string key, shared_bytes value, const times& now);  ///< version = +1; errc::limit
  void say_stopping(const times& now);                                           ///< SIGTERM: keeps its place
  void say_left(const times& now);                                               ///< gives its place up
  /// Forget a removed node.
  void forget(node_id);

  output take();

  // ---- state ----
  const member_info& self() const;
  incarnation self_incarnation() const;
  std::vector<member> members() const;                       ///< self included, sorted by name then id
  const member* find(node_id) const;                         ///< valid until the next input
  std::optional<node_id> find_name(std::string_view) const;  ///< among those not left or unreachable
  std::size_t alive_count() const;                           ///< alive or suspect, self included
  std::uint64_t view_digest() const;
  /// True when everybody alive has last told the same digest as ours.
  bool views_agree() const;
  unsigned local_health() const;
  std::vector<user_datum> user_of(node_id) const;
  const counters& stats() const;

 private:
  // What a member's timer is for.
  enum class chore : std::uint8_t { probe, round, suspicion, retry };
  using member_timer = std::pair<chore, node_id>;

  // A probe made for somebody else.
  struct relay {
    node_id requester;
    address at;
    std::uint64_t probe = 0;
    node_id target;
    bool nacked = false;
    instant until;
  };
  // Somebody with the name of a living member, as others tell it.
  struct rival {
    instant first, last;
    bool logged = false;
  };
  // A member that was taken out, and up to which incarnation it stays out; one that was replaced, until it is alive.
  struct tombstone {
    incarnation inc;
    instant since;
    bool replaced = false;
  };
  // Where a statement comes from.
  struct heard {
    node_id from;
    bool quiet = false;  // everybody knows already: not to be passed on
  };

  using message = decltype(datagram::body);
  // What a datagram has to put right with its receiver: our own statement, what we hold of itself.
  struct corrections {
    bool self, them;
    bool even_empty;  // gossip without news: the digest is the news
  };

  // membership.cpp: time and output
  void observe(const times&);
  void settle(const times&);
  void recover_from_pause(duration late, const times&);
  void doubt_self(const times&);
  void withdraw(member_state, const times&);
  bool active() const { return self_state_ == member_state::alive; }
  void sweep(const times&);
  void gossip(std::size_t fanout, const times&);
  void announce(const times&);
  std::vector<node_id> random_members(std::size_t, node_id not_this);
  void say(log_level, std::string);
  std::string name_of(node_id) const;
  void emit(event_kind, const record&, std::string evidence);

  // membership_exchange.cpp: datagrams and push-pull
  void send(const address& to, node_id whom, message, corrections = {});
  void repair(std::size_t budget, datagram&);
  bool admissible(const address& from, const datagram&);
  bool answer(const address& from, const datagram&, corrections, const times&);
  bool answer_ping_request(const address& from, node_id requester, const ping_request&, const times&);
  void answer_ack(node_id from, std::uint64_t probe, const times&);
  void maybe_exchange(const record&, const times&);
  void ask(const record&, bool with_view, const times&);
  void catch_up(const times&);
  node_id exchange_partner(bool newcomer);
  std::vector<std::uint64_t> digests_of_ranges() const;
  void answer_push_pull(const push_pull&);
  void add_what_differs(push_pull&, const push_pull& theirs) const;
  statement statement_of(const record&) const;
  std::uint64_t exchange_digest() const { return roster_.full_digest() + user_.digest(); }
  unsigned transmissions() const;

  // membership_evidence.cpp: the evidence rule
  bool hear(const statement&, const heard&, const times&);
  bool hear_of_self(const statement&);
  void hear_of_unknown(const statement&, const heard&, const times&);
  void forget_place_of(const member_info& newcomer);
  void take_out(node_id, bool replaced);
  void warn_of_copy(record&, const statement&);
  void hear_same_incarnation(record&, const statement&, const heard&, const times&);
  void hear_user(const user_datum&, bool quiet);
  void take_verdict(record&, statement, const heard&, const times&);
  bool usable(const statement&) const;
  bool name_is_free(const statement&, const heard&, const times&);
  void turn(record&, statement, const times&, const std::string& evidence, bool quiet = false);
  void enter(record&, member_state before, bool newer, node_id accuser, const times&);
  void tell_turn(const record&, member_state before, bool was_seen, bool restarted, bool changed,
                 const std::string& evidence);
  void start_doubt(record&, node_id accuser, const times&);
  void confirm(record&, node_id accuser);
  void condemn(record&, const times&);
  void raise_own(std::uint64_t above);
  std::string blame(const record&, const times&) const;

  // membership_probe.cpp: the failure detector
  void start_probing(record&, const times&);
  void probe_due(record&, const times&);
  void slot_due(const times&);
  void schedule_slot(const times&);
  node_id slot_target(std::uint64_t slot);
  void begin_round(record&, bool evidence, const times&);
  void ping_direct(record&, const times&);
  void widen(record&, const times&);
  std::vector<node_id> nearest_helpers(const record& target);
  void round_due(record&, const times&);
  void succeed(record&, const times&);
  void fail_round(record&, const times&);
  void retry_due(record&, const times&);
  void relay_due(std::uint64_t number, const times&);
  void measure(record&, duration took);
  duration expected_ack(const record*) const;
  duration ack_timeout(const record*) const;
  duration window(const record&) const;
  duration shortest_suspicion() const;
  bool small() const { return roster_.ring_size() <= options_.small_cluster; }

  options options_;
  statement_size size_of_statement_;
  node_id self_;
  boot_epoch epoch_;
  scope scope_;
  member_state self_state_ = member_state::alive;
  rng rng_, place_random_;
  counters counters_;
  output out_;
  times last_{};

  roster roster_;
  user_table user_;
  dissemination queue_;
  health_multiplier health_;
  timer_queue<member_timer> timers_;
  std::map<std::uint64_t, relay> relays_;
  timer_queue<std::uint64_t> relay_timers_;
  std::map<node_id, rival> rivals_;
  std::map<node_id, tombstone> forgotten_;
  std::map<node_id, instant> asked_;            // push-pulls that wait for an answer
  std::map<node_id, std::uint64_t> strangers_;  // digests told by who is not known yet
  node_id repair_at_;                           // where the next repair() goes on
  rtt_estimate typical_rtt_;                    // of everybody, for those not measured yet
  std::uint64_t next_probe_ = probe_round::ids;
  instant next_gossip_, next_push_pull_, next_exchange_;
  instant doubt_again_ = instant::min();  // the next sign of poor health that counts
  bool was_small_ = true, has_news_ = false;
  instant catch_up_at_ = never;  // the next early push-pull of a newcomer
  duration catch_up_{};
  instant digest_changed_;
  instant announce_at_ = never;  // when the next of announce_to_ are told our digest
  std::vector<node_id> announce_to_;
  std::uint64_t digest_seen_ = 0, overflows_seen_ = 0;

  // The shared schedule above small_cluster: see slot_target().
  duration slot_anchor_{};
  std::uint64_t next_slot_ = 0;
  instant slot_at_ = never;
  node_id slot_target_id_;
  std::uint64_t order_round_ = ~std::uint64_t{0};
  std::vector<std::uint32_t> order_;
  bool own_warned_ = false, absurd_warned_ = false;
};

}  // namespace coterie::swim
