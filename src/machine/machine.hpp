// The replicated state machine of a group (docs/consensus.md 1.9, 1.10 and 2, and the pages of the services): in the
// meta group registry, sessions, locks, jobs, journals; in a data group journals, and of sessions what exactly-once
// needs. Deterministic: the same commands at the same indexes give the same state, answers and writes on every node.
// Reads no clock, no zone rules, no disk. What it decides from is in memory and bounded by `limits`; what it only
// stores (journal entries, histories) goes out as writes.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/counters.hpp"
#include "machine/happening.hpp"
#include "machine/jobs.hpp"
#include "machine/journals.hpp"
#include "machine/limits.hpp"
#include "machine/locks.hpp"
#include "machine/registry.hpp"
#include "machine/types.hpp"

namespace coterie::machine {

class machine {
 public:
  explicit machine(limits = {}, group_id = meta_group);
  machine(machine&&) noexcept = default;
  machine& operator=(machine&&) noexcept = default;

  /// The state that a genesis record stands for: its seeds are the members, view 1. Same on every founder.
  void bootstrap(const std::vector<member_record>&);
  /// Replaces everything by stored records (those held in memory), e.g. at start or after a snapshot was installed.
  void restore(const std::vector<record>&);

  /// The leader's last touch before it proposes a command, whoever sent it: sets the stamp and, of a schedule_job, the
  /// times that apply can't compute. A schedule_job that did not pass here never fires. `now` = the leader's wall
  /// clock.
  void prepare(command&, wall_time now) const;
  /// Total: a command that can't be executed gives an answer with a code and changes nothing.
  applied apply(log_index, term, const command&);
  /// What changed since the last call, collected over many applies: the records held in memory, each key once and in
  /// key order, then the others in the order in which they came to be; to be carried out in the order given.
  std::vector<write> take_writes();

  // ---- what stands there; references and pointers are valid until the next apply ----
  const global_record& globals() const;
  const std::map<node_id, member_record>& members() const;
  const std::map<session_epoch, session_record>& sessions() const;
  const std::map<std::string, lock_record, std::less<>>& locks() const;
  const std::map<std::string, job_record, std::less<>>& jobs() const;
  const std::map<std::string, journal_record, std::less<>>& journals() const;
  const session_record* session(session_epoch) const;
  /// Commands of this session are taken; of the meta group's machine those of any. Once true it stays so.
  bool admitted(session_epoch) const;
  const member_record* member(node_id) const;
  /// A hash of the whole in-memory state, equal on nodes with the same applied index.
  std::uint64_t digest() const;
  const counters& stats() const;

  // ---- duties of a leader: what it should propose now. Pure; proposing twice does no harm. ----
  /// Owners for jobs (rendezvous-first among active sessions of live members that have the runner), due fires by their
  /// policies (misfire, overlap, unavailable, rerun_if_lost), journal trims. At most `max` commands.
  std::vector<command_body> duties(wall_time now, std::size_t max) const;
  /// Of a data group: a Fence for each session here that the meta group has ended, then an Admit for each that it has
  /// opened since, in their order. `meta` is the meta group's machine as of `applied`, which may be behind.
  std::vector<command_body> session_duties(const machine& meta, log_index applied, std::size_t max) const;
  /// The earliest time after `now` at which duties() may have something new, given no further apply; nullopt = only
  /// after one.
  std::optional<wall_time> next_duty(wall_time now) const;

 private:
  answer execute(turn&, const command_body&);
  answer open(turn&, const open_session&);
  answer expire(turn&, const expire_session&);
  answer close(turn&, const close_session&);
  answer admit(const admit_session&);
  answer fence(const fence_session&);
  void end_session(turn&, session_epoch, bool expired);
  answer activity(turn&, const set_activity&);
  answer cancel(turn&, const lock_cancel&);
  answer remove(turn&, const remove_member&);
  void raise_stamp(wall_time);
  void forget();  // everything but the counters

  limits max_;
  group_id group_;
  global_record globals_;
  bool globals_changed_ = false;
  registry registry_;
  lock_table locks_;
  job_table jobs_;
  journal_table journals_;
  std::vector<write> data_;  ///< records that are on disk alone, since the last take_writes
  counters stats_;
};

}  // namespace coterie::machine
