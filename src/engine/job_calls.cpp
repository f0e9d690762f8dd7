#include "engine/job_calls.hpp"

#include <fmt/format.h>

#include "machine/check.hpp"
#include "machine/machine.hpp"

namespace coterie::engine {

namespace {
constexpr std::size_t max_runners = 10'000;
}

void job_calls::tell(machine::command_body body) { outbox_.submit_quietly(std::move(body)); }

void job_calls::add_runner(call_id id, const wire::add_runner& r) {
  if (auto ok = machine::check_name("runner", r.runner); !ok) return ctx_.reply(id, ok.error());
  if (stopping_) return ctx_.refuse(id, errc::closed, "the node is stopping");
  if (runners_.contains(r.runner))
    return ctx_.refuse(
        id, errc::exists,
        fmt::format("runner '{}' is registered on this node already: one process may offer it once", r.runner));
  if (runners_.size() >= max_runners)
    return ctx_.refuse(id, errc::limit, fmt::format("{} runners are registered on this node", max_runners));
  if (auto ok = outbox_.may_submit(); !ok) return ctx_.reply(id, ok.error());
  runners_[r.runner] = {id};
  ctx_.reply(id, wire::done{}, false);
  if (session_.epoch()) tell(machine::register_runner{r.runner});
}

void job_calls::on_session() {
  seen_.clear();
  for (const auto& [name, r] : runners_) tell(machine::register_runner{name});
}

void job_calls::cancel(call_id id) {
  for (auto it = runners_.begin(); it != runners_.end(); ++it) {
    if (it->second.stream != id) continue;
    if (session_.epoch()) tell(machine::unregister_runner{it->first});
    runners_.erase(it);
    break;
  }
  // What its process was running ended with it.
  for (auto it = running_.begin(); it != running_.end();) {
    if (it->second.stream != id) {
      ++it;
      continue;
    }
    tell(machine::finish_run{
        it->second.job, it->first, machine::outcome::aborted, "the runner went away", ctx_.now.wall, {}});
    it = running_.erase(it);
  }
}

void job_calls::abort(const machine::job_run_record& r, std::string why) {
  tell(machine::finish_run{r.job, r.fence, machine::outcome::aborted, std::move(why), ctx_.now.wall, {}});
}

void job_calls::on_claimed(const machine::run_claimed& c) {
  if (!session_.epoch() || c.run.session != session_.epoch()) return;
  if (!seen_.insert(c.run.fence).second) return;
  if (stopping_) return abort(c.run, "the node is stopping");
  pending_.push_back(c);
  start_pending();
}

void job_calls::start_pending() {
  if (!session_.valid()) return session_.hurry();
  for (auto& c : std::exchange(pending_, {})) {
    const auto r = runners_.find(c.runner);
    if (r == runners_.end()) {
      abort(c.run, fmt::format("runner '{}' was unregistered on this node", c.runner));
      continue;
    }
    running_[c.run.fence] = {c.run.job, r->second.stream};
    ctx_.reply(r->second.stream, wire::run_job{c.run, c.params, session_.validity().steady.time_since_epoch().count()},
               false);
  }
}

void job_calls::on_lapsed() {
  pending_.clear();
  for (const auto& [fence, r] : std::exchange(running_, {})) ctx_.reply(r.stream, wire::stop_job{r.job, fence}, false);
  seen_.clear();
}

void job_calls::finish(call_id id, const wire::finish_job& f) {
  const auto it = running_.find(f.run.fence);
  if (it == running_.end())
    return ctx_.refuse(id, errc::lock_lost,
                       fmt::format("run {} of {} is not ours any more: its lease ended and it is recorded as lost",
                                   f.run.fence, f.run.id));
  auto t = outbox_.submit(f.run, never);
  if (!t) return ctx_.reply(id, t.error());
  running_.erase(it);
  finishing_[*t] = id;
}

bool job_calls::on_answer(const outbox::answered& a) {
  const auto it = finishing_.find(a.id);
  if (it == finishing_.end()) return false;
  if (a.what.ok())
    ctx_.reply(it->second, wire::done{});
  else
    ctx_.refuse(it->second, a.what.code, a.what.text);
  finishing_.erase(it);
  return true;
}

void job_calls::on_installed(const machine::machine& m) {
  for (const auto& [id, j] : m.jobs())
    for (const auto& r : j.running) on_claimed({r, j.config.runner, j.config.params});
}

void job_calls::begin_stop() {
  stopping_ = true;
  for (const auto& c : std::exchange(pending_, {})) abort(c.run, "the node is stopping");
  for (const auto& [fence, r] : running_) ctx_.reply(r.stream, wire::stop_job{r.job, fence}, false);
}

}  // namespace coterie::engine
