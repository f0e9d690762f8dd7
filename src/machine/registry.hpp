// Who is there: members, their sessions, and which session has which runner. Knows nothing of what sessions hold
// (locks, jobs).
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "machine/digest.hpp"
#include "machine/turn.hpp"
#include "machine/types.hpp"

namespace coterie::machine {

class registry {
 public:
  const std::map<node_id, member_record>& members() const { return members_; }
  const std::map<session_epoch, session_record>& sessions() const { return sessions_; }
  const member_record* member(node_id) const;
  const session_record* session(session_epoch) const;
  /// For bookkeeping of requests; marks the record as changed.
  session_record* change(session_epoch);

  // ---- members; `view` is raised by each change ----
  void found(const std::vector<member_record>&);
  answer add(turn&, const add_member&, std::uint64_t& view);
  answer remove(turn&, const remove_member&, std::uint64_t& view);
  answer judge(turn&, const change_view&, std::uint64_t& view);

  // ---- sessions ----
  /// value = epoch; a living session of the same node and nonce is answered as it is.
  answer open(turn&, const open_session&);
  void end(session_epoch, bool expired);
  /// One that another group has opened.
  void admit(session_epoch, node_id);
  answer register_runner(turn&, const std::string& runner);
  answer unregister_runner(turn&, const std::string& runner);
  /// Sessions of a node, rising.
  std::vector<session_epoch> sessions_of(node_id) const;

  /// Takes new work: it is there, active and not stopping.
  bool takes_work(session_epoch) const;
  /// May own jobs of this runner: takes work, has the runner, is its node's newest session, and the node is a member.
  bool may_own(session_epoch, std::string_view runner) const;
  /// The rendezvous-first session that may own the job; zero = none.
  session_epoch first_for(std::string_view job, std::string_view runner) const;

  void restore(const member_record&);
  void restore(const session_record&);
  void collect(std::vector<write>&);
  void add_to(digest_builder&) const;

 private:
  void mark_stopped(node_id, bool stopped);
  void forget_oldest_removed(std::size_t keep);

  std::map<node_id, member_record> members_;
  std::map<session_epoch, session_record> sessions_;
  std::set<std::pair<node_id, session_epoch>> by_node_;                      // derived
  std::map<std::string, std::set<session_epoch>, std::less<>> with_runner_;  // derived
  dirty_keys<node_id> changed_members_;
  dirty_keys<session_epoch> changed_sessions_;
};

}  // namespace coterie::machine
