// This node's own session: opens it, renews it, and knows until when it may be believed (docs/consensus.md 1.9 and 2,
// S4 and S5). Strict: once the local validity has ended the epoch is never used again, a new one is opened, so a lost
// hold can't come back to life.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "engine/context.hpp"
#include "machine/types.hpp"

namespace coterie::engine {

class session {
 public:
  explicit session(context& c) : ctx_(c) {}

  /// What the engine has to do for it.
  struct wants {
    std::optional<machine::open_session> open;  ///< propose or forward
    std::vector<machine::close_session> close;  ///< old epochs, repeated until they are gone
    std::optional<std::uint64_t> renew;         ///< send keepalive{epoch(), id}
    bool lapsed = false;  ///< the epoch `old` ended just now: holds are lost, its requests are unsure
    session_epoch old;
  };
  /// `member`: the registry has this node, so that a session can be opened.
  wants tick(bool member, bool stopping);
  instant next_wake() const;

  void on_opened(const machine::session_record&);  ///< applied; ours when node, boot and nonce fit
  void on_ended(session_epoch);                    ///< applied
  /// A received state: all sessions in it.
  void on_installed(const std::map<session_epoch, machine::session_record>&);
  /// When the keep-alive with this id left; nullopt when it is not of this epoch, or a later one was acknowledged.
  std::optional<times> sent_at(session_epoch, std::uint64_t id) const;
  /// True when the validity was extended.
  bool on_ack(session_epoch, std::uint64_t id, bool ended);
  /// Renew now instead of at the next third of the TTL (a new leader, a waiting grant).
  void hurry() { next_renewal_ = ctx_.now.steady; }
  /// Ends the present epoch: nothing is valid here from now on. `close`: for everybody, at once; else it is left to
  /// expire, because somebody outside this process may still believe in it.
  void abandon(bool close);

  session_epoch epoch() const { return epoch_; }  ///< zero = none
  bool valid() const;                             ///< holds may be believed now
  duration left() const;                          ///< conservative; zero when not valid
  lease validity() const { return {epoch_, until_steady_, until_boot_}; }
  duration ttl() const { return ctx_.opt->session_ttl; }

 private:
  void lapse(bool close = true);
  context& ctx_;
  session_epoch epoch_;
  std::uint64_t nonce_ = 0;
  instant until_steady_ = instant::min();
  boot_instant until_boot_ = boot_instant::min();
  std::map<std::uint64_t, times> sent_;  // keepalives under way: when they left
  std::uint64_t next_id_ = 0;
  instant next_renewal_ = instant::min(), next_open_ = instant::min(), next_close_ = instant::min();
  instant opened_at_ = instant::min();
  std::vector<session_epoch> closing_;
  bool lapsed_ = false;
  bool may_open_ = false;  // at the last tick; what changes it is a turn, and ends with a tick
  session_epoch old_;
};

/// The leader's side: who renewed when, whose acks wait for a quorum round, who has to be expired.
class session_keeper {
 public:
  explicit session_keeper(context& c) : ctx_(c) {}
  struct waiting {
    node_id from;
    session_epoch epoch;
    std::uint64_t id = 0;
  };

  /// This node began to lead (a new term counts as a new beginning), or does not lead any more.
  void on_lead();
  void on_follow();
  bool leading() const { return leading_; }
  /// A keepalive: the timer is extended at receipt; the ack waits for a quorum round begun after it.
  void on_keepalive(const waiting&);
  /// Keepalives received since the last call: to be acknowledged when one confirmation round, begun now, is through.
  std::vector<waiting> take_unconfirmed() { return std::exchange(unconfirmed_, {}); }
  /// Rule (b) at the ack: no Expire for that session is in this leader's log.
  bool may_ack(session_epoch e) const { return !expiring_.contains(e); }
  /// Sessions whose time is up and whose Expire is not in this leader's log yet. `open`: all sessions of the applied
  /// state with their TTLs.
  std::vector<session_epoch> due(const std::map<session_epoch, machine::session_record>& open);
  /// Its Expire was appended; without it (the log took nothing then) the session stays due.
  void on_expiring(session_epoch e) { expiring_.insert(e); }
  void on_ended(session_epoch);
  instant next_wake() const { return next_; }

 private:
  context& ctx_;
  bool leading_ = false;
  times since_;
  std::map<session_epoch, times> last_;  // receipt of the last keepalive, or when first seen
  std::set<session_epoch> expiring_;     // Expire appended by us in this term
  std::vector<waiting> unconfirmed_;
  instant next_ = never;
};

}  // namespace coterie::engine
