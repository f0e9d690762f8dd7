// Job records: versions, owners, claims, outcomes, histories (docs/jobs.md). Each (job, version,
// scheduled time, attempt) is claimed at most once. Computes no times: the leader's entries carry them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "machine/digest.hpp"
#include "machine/registry.hpp"
#include "machine/turn.hpp"

namespace coterie::machine {

class job_table {
 public:
  using map = std::map<std::string, job_record, std::less<>>;
  const map& all() const { return jobs_; }
  const job_record* find(std::string_view id) const;

  answer schedule(turn&, const schedule_job&, const registry&);
  answer unschedule(turn&, const unschedule_job&);
  answer assign(turn&, const assign_job&, const registry&);
  answer fire(turn&, const fire_job&, const registry&);
  answer finish(turn&, const finish_run&);
  /// Its claims end as `what` (lost or aborted) and its jobs have no owner.
  void end_session(turn&, session_epoch, outcome what);
  /// Takes away the session's jobs, all or those of one runner.
  void disown(turn&, session_epoch, std::optional<std::string_view> runner = std::nullopt);

  // ---- what duties go through, in order ----
  using id_set = std::set<std::string_view>;
  const std::set<std::pair<wall_time, std::string_view>>& by_next() const { return by_next_; }
  const std::map<std::string, id_set, std::less<>>& unowned() const { return unowned_; }  ///< by runner
  const id_set& with_lost() const { return with_lost_; }

  void restore(const job_record&);
  void collect(std::vector<write>&);
  void add_to(digest_builder&) const;

 private:
  void link(map::const_iterator);
  void unlink(map::const_iterator);
  template <class F>
  void change(map::iterator, F);  // f(record), between unlink and link
  void set_owner(turn&, map::iterator, session_epoch);
  bool settles(const job_record&, const schedule_job&, const turn&, const registry&) const;
  void replace(turn&, map::iterator, const schedule_job&, const registry&);
  answer start(turn&, map::iterator, const fire_job&, const registry&);
  void record(turn&, job_record&, job_run_record&);

  map jobs_;
  // Derived; the views are keys of jobs_.
  std::set<std::pair<wall_time, std::string_view>> by_next_;
  std::set<std::pair<session_epoch, std::string_view>> owned_;
  std::map<std::string, id_set, std::less<>> unowned_;
  id_set with_lost_;
  std::set<std::tuple<session_epoch, std::string_view, std::uint64_t>> running_;  // session, job, fence
  dirty_keys<std::string> changed_;
};

}  // namespace coterie::machine
