// Lock records and their queues (docs/consensus.md 2). Who uses a grant, one after the other, is its node's matter.
// FIFO; a grant's id is the index of the entry that granted it, so fences of one name strictly rise. Knows nothing of
// leases or of waiting.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "machine/digest.hpp"
#include "machine/registry.hpp"
#include "machine/turn.hpp"

namespace coterie::machine {

class lock_table {
 public:
  using map = std::map<std::string, lock_record, std::less<>>;
  const map& all() const { return locks_; }

  answer acquire(turn&, const lock_acquire&, const registry&);
  answer release(turn&, const lock_release&, const registry&);
  /// value = the fence when the request held the lock; nullopt when it neither holds nor waits.
  std::optional<answer> cancel(turn&, const lock_cancel&, const registry&);
  /// Frees what the session holds and drops its waiters; to be called when it is no longer in the registry.
  void end_session(turn&, session_epoch, const registry&);
  /// Drops its waiters only (it became passive).
  void drop_waiters(session_epoch);

  void restore(const lock_record&);
  void collect(std::vector<write>&);
  void add_to(digest_builder&) const;

 private:
  void grant(turn&, lock_record&, session_epoch, request_seq, const std::string& label);
  void free_holder(turn&, map::iterator, const registry&);
  std::vector<std::string> names_of(session_epoch) const;
  void drop_waiters(lock_record&, session_epoch);

  map locks_;  // each has a holder: a free lock without waiters vanishes
  // Derived: each holder and each waiter by (session, name, request); the names are the keys of locks_.
  std::set<std::tuple<session_epoch, std::string_view, request_seq>> owners_;
  dirty_keys<std::string> changed_;
};

}  // namespace coterie::machine
