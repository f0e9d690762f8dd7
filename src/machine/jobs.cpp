// The scheduler's entries applied. Computes no times and reads no clock: the entries carry them.
#include "machine/jobs.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace coterie::machine {
namespace {

// May this first attempt be claimed or recorded, given the job's next time? Next times only rise, so no tuple is
// claimed twice.
bool claimable(const job_record& job, std::optional<wall_time> next, const fire_job& f, wall_time stamp) {
  const bool recorded_as = !f.what || *f.what == outcome::unavailable || *f.what == outcome::skipped;
  return f.attempt == 1 && f.version == job.version && next && f.scheduled >= *next && f.scheduled <= stamp &&
         (!f.next || *f.next > f.scheduled) && recorded_as;
}

bool is_attempt_after(const fire_job& f, const job_run_record& lost) {
  return f.version == lost.version && f.scheduled == lost.scheduled && f.attempt == lost.attempt + 1;
}

// The last character that fits is kept whole.
std::string cut_text(const std::string& s, std::size_t size) {
  if (s.size() <= size) return s;
  while (size > 0 && (static_cast<unsigned char>(s[size]) & 0xc0) == 0x80) --size;
  return s.substr(0, size);
}

answer no_job(const std::string& id) {
  return refuse(errc::not_found, fmt::format("there is no job '{}': see the job list", id));
}

}  // namespace

const job_record* job_table::find(std::string_view id) const {
  const auto it = jobs_.find(id);
  return it == jobs_.end() ? nullptr : &it->second;
}

// ---- derived tables ------------------------------------------------------------------------------------------------

void job_table::link(map::const_iterator it) {
  const std::string_view id = it->first;
  const auto& job = it->second;
  if (job.next) by_next_.emplace(*job.next, id);
  if (job.owner)
    owned_.emplace(job.owner, id);
  else
    unowned_[job.config.runner].insert(id);
  if (!job.lost.empty()) with_lost_.insert(id);
}

void job_table::unlink(map::const_iterator it) {
  const std::string_view id = it->first;
  const auto& job = it->second;
  if (job.next) by_next_.erase({*job.next, id});
  if (job.owner) {
    owned_.erase({job.owner, id});
  } else {
    const auto of_runner = unowned_.find(job.config.runner);
    of_runner->second.erase(id);
    if (of_runner->second.empty()) unowned_.erase(of_runner);
  }
  with_lost_.erase(id);
}

template <class F>
void job_table::change(map::iterator it, F f) {
  unlink(it);
  f(it->second);
  link(it);
  changed_.mark(it->first);
}

// ---- configurations ------------------------------------------------------------------------------------------------

answer job_table::schedule(turn& t, const schedule_job& c, const registry& who) {
  const auto it = jobs_.find(c.id);
  const bool known = it != jobs_.end();
  if (known && (!c.replace || it->second.config == c.config)) return done(it->second.version, 0);
  if (!known && jobs_.size() >= t.max.jobs)
    return refuse(errc::limit, fmt::format("the cluster has {} jobs: remove some", jobs_.size()));
  if ((c.next && *c.next < t.stamp) || (known && !settles(it->second, c, t, who)))
    return refuse(errc::unavailable, fmt::format("the job '{}' or the clock moved meanwhile: repeat the call", c.id));
  if (known) {
    replace(t, it, c, who);
    return done(it->second.version, 1);
  }
  job_record job;
  job.id = c.id;
  job.config = c.config;
  job.version = 1;
  job.next = c.next;
  job.created = t.stamp;
  link(jobs_.emplace(c.id, std::move(job)).first);
  changed_.mark(c.id);
  t.happened.emplace_back(job_changed{c.id});
  return done(1, 1);
}

// Whether c.due leaves nothing of the old version at or before the stamp (docs/jobs.md, "Replacing").
bool job_table::settles(const job_record& job, const schedule_job& c, const turn& t, const registry& who) const {
  auto next = job.next;
  for (const auto& f : c.due) {
    if (!claimable(job, next, f, t.stamp)) continue;
    const bool owner_is_right = f.owner == job.owner || !job.owner;
    if (!f.what && !(owner_is_right && who.may_own(f.owner, job.config.runner))) continue;
    next = f.next;
  }
  return !next || *next > t.stamp;
}

void job_table::replace(turn& t, map::iterator it, const schedule_job& c, const registry& who) {
  for (const auto& f : c.due) {
    auto& job = it->second;
    if (!claimable(job, job.next, f, t.stamp)) continue;
    if (!f.what && !job.owner && who.may_own(f.owner, job.config.runner)) set_owner(t, it, f.owner);
    if (!f.what && job.owner != f.owner) continue;
    start(t, it, f, who);
  }
  change(it, [&](job_record& job) {
    job.config = c.config;
    ++job.version;
    job.next = c.next;
    if (!job.config.rerun_if_lost) job.lost.clear();
  });
  if (it->second.owner && !who.may_own(it->second.owner, it->second.config.runner)) set_owner(t, it, {});
  t.happened.emplace_back(job_changed{c.id});
}

answer job_table::unschedule(turn& t, const unschedule_job& c) {
  const auto it = jobs_.find(c.id);
  if (it == jobs_.end()) return refuse(errc::not_found, fmt::format("there is no job '{}': see the job list", c.id));
  unlink(it);
  for (const auto& run : it->second.running) running_.erase({run.session, it->first, run.fence});
  t.data.emplace_back(erase_range{history_key(c.id, 0), history_key(c.id, ~0ull)});
  jobs_.erase(it);
  changed_.mark(c.id);
  t.happened.emplace_back(job_changed{c.id, true});
  return done();
}

// ---- owners --------------------------------------------------------------------------------------------------------

void job_table::set_owner(turn& t, map::iterator it, session_epoch owner) {
  change(it, [&](job_record& job) { job.owner = owner; });
  t.happened.emplace_back(job_assigned{it->first, owner});
}

answer job_table::assign(turn& t, const assign_job& c, const registry& who) {
  const auto it = jobs_.find(c.id);
  if (it == jobs_.end()) return no_job(c.id);
  const auto& job = it->second;
  if (c.owner == job.owner) return done();
  if (c.version != job.version || (c.owner && (job.owner || !who.may_own(c.owner, job.config.runner))))
    return refuse(errc::not_owner, fmt::format("the job '{}' or the session changed meanwhile", c.id));
  set_owner(t, it, c.owner);
  return done();
}

void job_table::disown(turn& t, session_epoch epoch, std::optional<std::string_view> runner) {
  std::vector<std::string_view> ids;
  for (auto it = owned_.lower_bound({epoch, {}}); it != owned_.end() && it->first == epoch; ++it)
    if (!runner || jobs_.find(it->second)->second.config.runner == *runner) ids.push_back(it->second);
  for (const auto id : ids) set_owner(t, jobs_.find(id), {});
}

// ---- runs ----------------------------------------------------------------------------------------------------------

answer job_table::fire(turn& t, const fire_job& f, const registry& who) {
  const auto it = jobs_.find(f.id);
  if (it == jobs_.end()) return no_job(f.id);
  const auto& job = it->second;
  const bool right_time = f.attempt == 1
                              ? claimable(job, job.next, f, t.stamp)
                              : !f.what && std::any_of(job.lost.begin(), job.lost.end(),
                                                       [&](const auto& run) { return is_attempt_after(f, run); });
  if (!right_time)
    return refuse(errc::not_found,
                  fmt::format("the job '{}' has no such time to fire: claimed already or changed", f.id));
  if (!f.what && (job.owner != f.owner || !who.may_own(f.owner, job.config.runner)))
    return refuse(errc::not_owner, fmt::format("the job '{}' has another owner", f.id));
  return start(t, it, f, who);
}

// Claims the fire or records it; overlap is decided here, in the entry of the claim (docs/jobs.md, "Overlap").
answer job_table::start(turn& t, map::iterator it, const fire_job& f, const registry& who) {
  job_run_record run;
  run.job = f.id;
  run.version = f.version;
  run.scheduled = f.scheduled;
  run.attempt = f.attempt;
  run.coalesced = f.coalesced;
  run.claimed = t.stamp;
  run.what = f.what;
  const auto& job = it->second;
  if (!run.what && job.config.on_overlap == overlap_policy::skip && !job.running.empty()) {
    run.what = outcome::skipped;
    run.message = "the run before is not finished";
  } else if (!run.what && job.running.size() >= t.max.running_per_job) {
    run.what = outcome::skipped;
    run.message = fmt::format("{} runs are not finished", job.running.size());
  } else if (run.what == outcome::unavailable) {
    run.message = cut_text(fmt::format("no active node has runner '{}'", job.config.runner), t.max.message_bytes);
  } else if (run.what == outcome::skipped) {
    run.message = "missed";
  }
  if (!run.what) {
    run.fence = t.next_fence();
    run.session = f.owner;
    run.node = who.session(f.owner)->node;
    running_.emplace(run.session, it->first, run.fence);
  }
  change(it, [&](job_record& j) {
    if (f.attempt == 1) {
      j.next = f.next;
      j.last = f.scheduled;
    } else {
      const auto lost = [&](const job_run_record& r) { return is_attempt_after(f, r); };
      j.lost.erase(std::find_if(j.lost.begin(), j.lost.end(), lost));
    }
    record(t, j, run);
    if (run.what)
      j.last_outcome = run.what;
    else
      j.running.push_back(run);
  });
  const auto fence = run.fence;
  if (run.what)
    t.happened.emplace_back(run_finished{std::move(run)});
  else
    t.happened.emplace_back(run_claimed{std::move(run), job.config.runner, job.config.params});
  return done(fence);
}

// Writes the run's line of the history. A run without a number gets the next one, and the oldest line goes when there
// are too many.
void job_table::record(turn& t, job_record& job, job_run_record& run) {
  if (run.number == 0) {
    run.number = job.history_first + job.history_count++;
    if (job.history_count > t.max.history_per_job) {
      t.data.emplace_back(erase{history_key(job.id, job.history_first++)});
      --job.history_count;
    }
  }
  if (run.number >= job.history_first) t.data.emplace_back(put{run});
}

answer job_table::finish(turn& t, const finish_run& c) {
  const auto it = jobs_.find(c.id);
  if (it == jobs_.end()) return no_job(c.id);
  const auto& running = it->second.running;
  const auto at = std::find_if(running.begin(), running.end(), [&](const auto& run) { return run.fence == c.fence; });
  if (at == running.end())
    return refuse(errc::not_found, fmt::format("the job '{}' has no such run: it was finished or lost before", c.id));
  if (at->session != t.session)
    return refuse(errc::not_owner, fmt::format("this run of '{}' belongs to another session", c.id));
  auto run = *at;
  run.what = c.what;
  run.message = cut_text(c.message, t.max.message_bytes);
  run.started = c.started;
  run.took = c.took;
  running_.erase({run.session, it->first, run.fence});
  change(it, [&](job_record& job) {
    job.running.erase(job.running.begin() + (at - running.begin()));
    job.last_outcome = run.what;
    record(t, job, run);
  });
  t.happened.emplace_back(run_finished{std::move(run)});
  return done();
}

void job_table::end_session(turn& t, session_epoch epoch, outcome what) {
  const auto first = running_.lower_bound({epoch, {}, 0});
  auto last = first;
  while (last != running_.end() && std::get<0>(*last) == epoch) ++last;
  const std::vector<std::tuple<session_epoch, std::string_view, std::uint64_t>> ended(first, last);
  running_.erase(first, last);
  for (const auto& [session, id, fence] : ended) {
    change(jobs_.find(id), [&, wanted = fence](job_record& job) {
      const auto at =
          std::find_if(job.running.begin(), job.running.end(), [&](const auto& run) { return run.fence == wanted; });
      auto run = std::move(*at);
      job.running.erase(at);
      run.what = what;
      job.last_outcome = what;
      record(t, job, run);
      const bool again = what == outcome::lost && job.config.rerun_if_lost && run.attempt < t.max.attempts &&
                         job.lost.size() < t.max.running_per_job;
      if (again) job.lost.push_back(run);
      t.happened.emplace_back(run_finished{std::move(run)});
    });
  }
  disown(t, epoch);
}

// ---- storage -------------------------------------------------------------------------------------------------------

void job_table::restore(const job_record& r) {
  if (const auto it = jobs_.find(r.id); it != jobs_.end()) return;  // not written by this machine
  const auto it = jobs_.emplace(r.id, r).first;
  link(it);
  for (const auto& run : r.running) running_.emplace(run.session, std::string_view(it->first), run.fence);
}

void job_table::collect(std::vector<write>& out) {
  changed_.drain([&](const std::string& id) {
    if (const auto* job = find(id)) return void(out.emplace_back(put{*job}));
    job_record gone;
    gone.id = id;
    out.emplace_back(erase{key_of(gone)});
  });
}

void job_table::add_to(digest_builder& d) const {
  for (const auto& [id, job] : jobs_) d.add(job);
}

}  // namespace coterie::machine
