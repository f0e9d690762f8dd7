// Locks as this node's callers see them: every call is an owner of its own, waits in the replicated queue, and holds as
// long as the session's local validity lasts (docs/locks.md, docs/consensus.md 2). A hold is bound
// to the epoch it was granted under.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "engine/context.hpp"
#include "engine/outbox.hpp"
#include "engine/session.hpp"

namespace coterie::engine {

class lock_calls {
 public:
  lock_calls(context& c, outbox& o, session& s) : ctx_(c), outbox_(o), session_(s) {}

  void acquire(call_id, const wire::acquire_lock&, duration patience);
  void release(call_id, const wire::release_lock&);
  /// The client is gone: its wait ends, its hold ends when the last deadline it was told has passed.
  void cancel(call_id);

  bool on_answer(const outbox::answered&);
  void on_granted(const machine::lock_granted&);
  void on_renewed();  ///< the validity was extended
  void on_lapsed();   ///< the session is over: holds are lost, waiters queue again under the next one
  void on_installed(const machine::machine&);  ///< grants may have been missed
  /// No new locks; waiters are refused, holders are told to end.
  void begin_stop();
  void resume() { stopping_ = false; }
  /// Nothing is held any more.
  bool idle() const { return holds_.empty(); }
  void tick(const machine::machine*, bool quorum);
  instant next_wake() const;

 private:
  struct waiter {
    std::string name, label;
    std::optional<instant> until;  // of `wait`
    duration patience{};           // without a quorum
    bool try_only = false, queued = false;
    instant contact;  // last time a quorum was there
    ticket id;        // of the Lock command until it is answered
    request_seq seq;
    std::optional<machine::lock_holder> granted;  // waits for enough validity
  };
  struct hold {
    std::string name;
    grant_id grant;
    std::uint64_t fence = 0;
    instant told_steady;
    boot_instant told_boot;
    bool gone = false;  // the client is gone or was told to stop
  };
  void submit(call_id, waiter&);
  void grant(call_id, waiter&, const machine::lock_holder&);
  bool promote(call_id, waiter&);  // true when the caller was told
  void give_back(const std::string& name, grant_id);
  void withdraw(waiter&);

  context& ctx_;
  outbox& outbox_;
  session& session_;
  std::map<call_id, waiter> waiters_;
  std::map<call_id, hold> holds_;
  bool stopping_ = false;
};

}  // namespace coterie::engine
