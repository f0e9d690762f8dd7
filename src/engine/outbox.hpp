// What this node wants in the log: exactly-once commands (docs/consensus.md 1.9). Each gets (session, seq), goes to the
// leader, is repeated until its entry is applied here, and is executed once. A caller that stops waiting is told what
// is certain: no_quorum, timeout or limit when no copy is under way, indeterminate when one may be; the command itself
// is then carried on in the background, so that the acknowledgement can move.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "engine/context.hpp"
#include "engine/links.hpp"
#include "engine/relay_up.hpp"
#include "engine/replica.hpp"
#include "machine/types.hpp"

namespace coterie::engine {

/// Names a submitted command until its answer; never reused, by whichever outbox.
using ticket = strong<struct ticket_tag>;

class outbox {
 public:
  /// Of one group: numbers are of the session and the group.
  outbox(context& c, links& l, group_id g = meta_group) : ctx_(c), links_(l), group_(g) {}

  /// Puts a command in the queue. The answer comes once by take_answers(). errc::limit when the queue is full.
  result<ticket> submit(machine::command_body, instant deadline);
  /// errc::limit: the queue is full.
  result<void> may_submit() const;
  /// The same for a command whose answer nobody waits for: it is carried on as long as the session lives. Never
  /// refused, for it ends or announces something that was taken on under the limit: a hold, a wait, a runner.
  void submit_quietly(machine::command_body);
  /// Nobody waits for it any more: it is dropped when it was never sent, and carried on in the background otherwise.
  void abandon(ticket);

  /// Sends what can be sent: the first time through the relay tree when there is a `parent`, later to the leader
  /// itself. `session`: the present epoch (zero = none).
  void pump(session_epoch session, replica*, relay_up&, node_id parent);
  void on_refused(const wire::forward_refused&);
  /// An applied entry; true when it was one of ours.
  bool on_applied(const machine::command&, const machine::answer&);
  /// After a snapshot was installed: answers that stand in the stored session.
  void on_installed(const machine::session_record*);
  /// The session `old` is over: what was sent under it is unsure, the rest goes on under the next one.
  void on_session_over(session_epoch old);
  void tick(replica*);

  struct answered {
    ticket id;
    request_seq seq;
    machine::answer what;
  };
  std::vector<answered> take_answers() { return std::exchange(answers_, {}); }
  request_seq seq_of(ticket) const;  ///< zero until it was numbered
  std::size_t pending() const { return queue_.size(); }
  /// False while neither a leader's contact nor an own quorum is there; since when otherwise.
  static bool quorum_contact(const replica*, instant now);

 private:
  struct item {
    machine::command_body body{};
    instant deadline, last_sent = instant::min();
    request_seq seq{};
    std::uint32_t unanswered_sends = 0;
    bool wanted = true, saw_quorum = false;
  };
  void finish(std::map<ticket, item>::iterator, machine::answer);
  machine::command wrap(const item&, session_epoch) const;

  context& ctx_;
  links& links_;
  const group_id group_;
  std::map<ticket, item> queue_;
  std::map<request_seq, ticket> by_seq_;  // numbered in the present session
  session_epoch session_;
  request_seq last_seq_, acked_;
  node_id known_leader_;
  instant leader_since_ = instant::min();
  node_id sent_to_;
  node_id through_;  ///< the parent; zero = the leader itself
  term sent_term_;
  std::vector<answered> answers_;
};

}  // namespace coterie::engine
