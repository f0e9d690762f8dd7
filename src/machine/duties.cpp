// What a leader should propose by the state and the time (docs/jobs.md, docs/journals.md): owners, fires, trims.
// Changes nothing; the entries decide again when they are applied.
#include <algorithm>
#include <set>

#include "machine/due.hpp"
#include "machine/machine.hpp"

namespace coterie::machine {
namespace {

class duty_list {
 public:
  duty_list(const job_table& jobs, const registry& who, std::size_t max) : jobs_(jobs), who_(who), max_(max) {}

  bool full() const { return out_.size() >= max_; }
  std::size_t room() const { return max_ - std::min(max_, out_.size()); }
  void add(command_body b) { out_.push_back(std::move(b)); }
  std::vector<command_body> take() { return std::move(out_); }

  /// The job's owner; one that it should get is proposed first. Zero = nobody has the runner.
  session_epoch owner_of(const job_record& job) {
    if (job.owner) return job.owner;
    const auto owner = who_.first_for(job.id, job.config.runner);
    if (owner && assigned_.insert(job.id).second) add(assign_job{job.id, job.version, owner});
    return owner;
  }

  void reruns() {
    for (const auto id : jobs_.with_lost()) {
      const auto& job = *jobs_.find(id);
      const auto owner = full() ? session_epoch{} : owner_of(job);
      if (!owner) continue;
      for (const auto& run : job.lost) {
        if (full()) return;
        add(fire_job{.id = job.id,
                     .version = run.version,
                     .scheduled = run.scheduled,
                     .attempt = run.attempt + 1,
                     .coalesced = run.coalesced,
                     .owner = owner,
                     .what = {},
                     .next = {}});
      }
    }
  }

  void fires(wall_time now, const limits& l) {
    for (const auto& [next, id] : jobs_.by_next()) {
      if (next > now || full()) return;
      const auto& job = *jobs_.find(id);
      const auto owner = owner_of(job);
      for (auto& f : fires_due(job, owner, now, std::min(room(), due_limit(l)), l)) add(std::move(f));
    }
  }

  void assignments() {
    for (const auto& [runner, ids] : jobs_.unowned()) {
      for (const auto id : ids) {
        if (full()) return;
        if (!owner_of(*jobs_.find(id))) break;  // the same for each job of this runner
      }
    }
  }

 private:
  const job_table& jobs_;
  const registry& who_;
  const std::size_t max_;
  std::vector<command_body> out_;
  std::set<std::string_view> assigned_;
};

}  // namespace

std::vector<command_body> machine::duties(wall_time now, std::size_t max) const {
  duty_list list(jobs_, registry_, max);
  list.reruns();
  list.fires(now, max_);
  list.assignments();
  for (auto& trim : journals_.trims_due(now, list.room())) list.add(std::move(trim));
  return list.take();
}

std::vector<command_body> machine::session_duties(const machine& meta, log_index applied, std::size_t max) const {
  std::vector<command_body> out;
  for (const auto& [epoch, s] : sessions()) {
    // One that the meta group has not opened here yet was admitted by a leader that is ahead.
    const bool ended = epoch.value <= applied.value && meta.session(epoch) == nullptr;
    if (ended && out.size() < max) out.push_back(fence_session{epoch, s.node});
  }
  for (auto s = meta.sessions().upper_bound(globals_.last_admitted); s != meta.sessions().end() && out.size() < max;
       ++s)
    out.push_back(admit_session{s->first, s->second.node});
  return out;
}

std::optional<wall_time> machine::next_duty(wall_time now) const {
  auto earliest = journals_.next_trim(now);
  const auto& by_next = jobs_.by_next();
  const auto it = by_next.lower_bound({now + milliseconds(1), {}});
  if (it != by_next.end() && (!earliest || it->first < *earliest)) earliest = it->first;
  return earliest;
}

}  // namespace coterie::machine
