// The parts of one node and how they are wired. Each part knows its own matter; what passes between them passes here,
// in one place, in one order.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/answers.hpp"
#include "engine/bus.hpp"
#include "engine/chronicle.hpp"
#include "engine/context.hpp"
#include "engine/data_group.hpp"
#include "engine/disk_queue.hpp"
#include "engine/engine.hpp"
#include "engine/freshness.hpp"
#include "engine/healer.hpp"
#include "engine/job_calls.hpp"
#include "engine/journal_calls.hpp"
#include "engine/links.hpp"
#include "engine/lock_calls.hpp"
#include "engine/lock_inquiries.hpp"
#include "engine/news.hpp"
#include "engine/outbox.hpp"
#include "engine/relay.hpp"
#include "engine/relay_up.hpp"
#include "engine/replica.hpp"
#include "engine/session.hpp"
#include "engine/snapshot_calls.hpp"
#include "engine/views.hpp"
#include "swim/genesis.hpp"
#include "swim/membership.hpp"

namespace coterie::engine {

/// A stop or a leave under way.
struct ending {
  call_id call;
  bool leaving = false, removed = false, out = false, closed = false, session_abandoned = false, done = false,
       late_told = false;
  instant deadline, drain_until, next_removal = instant::min();
};

constexpr std::size_t max_unanswered = 16;
constexpr std::string_view low_disk_key = "disk";  // of the user data that a node gossips about itself
constexpr std::uint64_t caught_up = 1'000;         // entries behind at which a standby may get a vote
constexpr duration relief_patience = 1s;           // a leader's disk is low for so long before another should lead

/// A follower that answers and has nearly all of the log, as its leader sees it.
inline bool keeps_up(const raft::progress_view& p, log_index last) {
  return p.recently_active && p.match && !p.snapshotting && distance(p.match, last) <= caught_up;
}

struct engine::state {
  state(const options&, recovered_state, const times& now, std::uint64_t seed);

  // ---- engine.cpp: turns ----
  void step(std::span<const event>);
  void handle(const event&);
  void settle();
  bool settle_once();
  instant next_wake() const;
  void run_timers();
  void chores();
  void keep_pace();
  void on_read(const read_done&);
  void on_written(std::uint64_t sequence);
  void on_disk_failed(const disk_failed&);
  void on_disk_space(bool low);
  void halt(bool ok, std::string reason);

  // ---- cluster.cpp: streams, formation, joining ----
  void on_stream_up(const stream_up&);
  void on_stream_down(const stream_down&);
  void on_frame(const frame_in&);
  void on_datagram(const datagram_in&);
  void on_refused(const address&);
  void on_hello(stream_id, const swim::hello&);
  void introduce(const swim::hello&);
  bool is_heard_of(node_id from, const wire::peer_message&) const;
  void on_peer(node_id from, wire::peer_message);
  void on_log_message(node_id from, const wire::peer_message&, group_parts);
  void on_join_request(node_id from, const wire::join_request&);
  void on_join_answer(const wire::join_answer&);
  void on_forked();
  void on_ended(end_of_identity);
  swim::hello own_hello() const;
  std::optional<wire::join_answer> judge(const swim::hello&);
  void greet_all();
  void form();
  void begin_log(recovered_state);
  void on_healed();
  bool settle_genesis();
  bool settle_members();
  void seek_membership();
  void ask_whether_out();
  void dial_members();
  bool is_member() const;

  // ---- data_groups.cpp: the groups beside the meta group ----
  void begin_data(const std::vector<recovered_group>&, bool others);
  std::optional<group_parts> parts_of(group_id);  ///< nullopt before there is a log, and of a group that is none
  template <class F>
  void each_group(F f) {
    for (std::uint32_t g = 0; replica && g <= data.size(); ++g) f(*parts_of(group_id(g)));
  }
  coterie::engine::replica& journal_log(std::string_view journal);
  group_id group_for(const machine::command_body&) const;
  coterie::engine::outbox& outbox_of(group_id);
  bool is_out(const coterie::engine::replica&, node_id) const;
  bool is_out() const;
  void on_asked_whether_out(node_id from, const wire::join_request&, group_parts);
  void members_moved();
  bool settle_data();
  void on_data_applied(data_group&, applied_entry&);
  void on_data_role(data_group&);
  void lead_data();
  void lead_data(data_group&);
  void spread_leaders(data_group&);
  void follow_configuration(coterie::engine::replica&);

  // ---- applied.cpp: what follows from the log ----
  bool settle_replica();
  void on_applied(applied_entry&);
  void tell_growth();
  void on_happening(const machine::happening&);
  void settle_answers();
  void on_installed();
  void on_reads();
  void on_read_state(const raft::read_state&);
  void on_raft(node_id from, const raft::message&, group_parts);
  void tend_relays();
  relay_members tree_members(const raft::configuration&, std::vector<relay_parent>* strangers = nullptr) const;
  void tend_session();
  void on_keepalive(node_id from, const wire::keepalive&);
  void on_keepalive_ack(const wire::keepalive_ack&);

  // ---- lead.cpp: duties of a leader, and what others ask of it ----
  void on_role();
  void lead();
  void reconcile_configuration();
  void reconcile_view();
  bool propose(std::vector<machine::command_body>);
  void acknowledge(const std::vector<session_keeper::waiting>&, log_index commit);
  void send_to_leader(machine::command_body);
  void on_forward(node_id from, const wire::forward&, group_parts);
  void on_forward_refused(const wire::forward_refused&, group_parts);

  // ---- calls.cpp: what clients ask ----
  using linearizable_read = std::variant<wire::list_locks, wire::list_jobs, wire::job_history, wire::reset_journal,
                                         wire::read_snapshot, wire::wait_visible>;
  void on_call(const call&);
  void on_cancel(call_id);
  void submit(call_id, machine::command_body, duration timeout);
  bool settle_locks();
  void barrier(call_id, linearizable_read, instant deadline, group_id = meta_group);
  template <class Read>
  void read_own(call_id, const Read&, instant deadline);
  std::optional<wire::as_of> own_state(call_id, const wire::staleness&, group_id = meta_group);
  void serve(call_id, const linearizable_read&, const std::optional<wire::as_of>& = {});
  void begin_lock_list(call_id, const std::string& name, const std::optional<wire::as_of>&);
  void on_lock_list(lock_inquiries::finished);
  void discard(call_id, cluster_id record);
  result<void> set_tags(const wire::set_tags&);
  void remove(call_id, const std::string& node, duration timeout);
  void on_answer(const outbox::answered&);
  void on_history(const read_done&);
  void check_barriers();
  void check_waiting_members();
  std::size_t members_alive() const;

  // ---- end.cpp: stopping, leaving, and leadership handed over for it or for an operator ----
  void begin_end(call_id, bool leaving, duration timeout);
  void tend_end();
  void give_up_leaving();
  bool hand_over(coterie::engine::replica&);
  bool hand_over_all();
  void relieve();
  bool has_room(node_id) const;
  void begin_handover(call_id, const std::string& node, instant deadline);
  void check_handovers();

  // ---- report.cpp: what there is to say ----
  wire::status_info status() const;
  wire::member_list member_list() const;
  result<node_id> find_member(std::string_view name_or_id) const;
  result<wire::explanation> explain(const std::string& node) const;
  result<wire::round_trip> round_trip(const wire::get_round_trip&) const;
  std::string role_of(node_id) const;
  static std::string zone_of(const swim::member_info&);
  std::string name_of(node_id) const;
  std::string name_of(session_epoch) const;
  std::string node_state() const;
  void say(const machine::happening&);
  void say(const swim::event&);
  void watch_state();

  options opt;
  recovered_state initial;
  context ctx;
  coterie::engine::links links;
  disk_queue disk;
  swim::membership members;
  std::optional<swim::genesis> genesis;
  std::optional<coterie::engine::replica> replica;  ///< of the meta group
  std::optional<coterie::engine::healer> healer;    ///< before there is a replica, of a node whose data is damaged
  coterie::engine::session session;
  session_keeper keeper;
  coterie::engine::outbox outbox;
  coterie::engine::relay relay;
  coterie::engine::relay_up relay_up;
  std::deque<data_group> data;  ///< from group 1 on, beside `replica`
  lock_inquiries inquiries;
  lock_calls locks;
  job_calls jobs;
  journal_calls journals;
  snapshot_calls snapshots;
  coterie::engine::bus bus;
  coterie::engine::news news;
  coterie::engine::chronicle chronicle;
  view_cut cut;
  std::set<node_id> unanswered;                 // for the leader, with the next renewal
  std::map<node_id, swim::hello> out_of_scope;  // with a stream, of another scope: what they last said of themselves

  struct barrier_wait {
    call_id call;
    linearizable_read what;
    instant deadline, retry = never;
    group_id group;
    times asked{};  ///< at the last try
    std::optional<log_index> index;
    bool saw_quorum = false;
  };
  std::map<std::uint64_t, barrier_wait> barriers;                        // by read id
  std::map<std::uint64_t, std::vector<session_keeper::waiting>> rounds;  // keepalives waiting for a confirmation round
  std::uint64_t next_round = 0;
  struct pending_call {
    call_id call;
    expectation expected;
    group_id group;
  };
  std::map<ticket, pending_call> submitted;
  struct history_read {
    call_id call;
    std::optional<wire::as_of> as_of;
  };
  std::map<read_id, history_read> history_reads;
  freshness own_age;
  struct listed_locks {
    call_id call;
    wire::lock_list locks;
  };
  std::map<inquiry_id, listed_locks> lock_lists;
  std::map<std::string, std::uint64_t> grown;  // journals that this turn's entries lengthened, and their last ids
  struct member_wait {
    std::uint32_t count = 0;
    instant deadline;
  };
  std::map<call_id, member_wait> member_waits;
  std::map<std::uint64_t, call_id> discards;  // by genesis write

  struct handover {
    node_id to;
    instant deadline, again;
  };
  std::map<call_id, handover> handovers;

  std::optional<ending> end;
  log_index last_duty;  // index of the last duty proposed: wait until it is applied
  term led_term;
  bool was_leading = false, failed = false, halted_ = false, low_disk = false, greeted = false, ready_once = false,
       tree_changed = true;
  instant next_chores = instant::min(), next_join = instant::min(), next_request_tick = instant::min(),
          next_lead = instant::min(), next_relief = never, next_tree = instant::min(), led_since = instant::min(),
          next_swap = instant::min();
  std::map<node_id, instant> living_since;  // by gossip
  /// Of groups whose leaders said that no configuration has this node any more: as of which entry they said it.
  std::map<group_id, log_index> told_out;
  std::string shown_state, told_to_wait, last_refusal;
  node_id shown_leader;
  duration shown_timeout = opt.raft.election_timeout_max;  ///< for elections, as it was last logged
};

}  // namespace coterie::engine
