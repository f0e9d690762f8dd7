// Jobs behind the public API: runners and their runs in this process, and the public types turned into the machine's.
#include <algorithm>
#include <exception>

#include <fmt/format.h>

#include "cron/schedule.hpp"
#include "machine/check.hpp"
#include "runtime/node_core.hpp"

namespace coterie::detail {

class job_core {
 public:
  std::shared_ptr<node_core> node;
};

namespace {

// ---- types ---------------------------------------------------------------------------------------------------------

calendar::schedule to_machine(const schedule& s) {
  if (const auto* c = std::get_if<cron_schedule>(&s)) return calendar::cron_schedule{c->expression, c->zone, {}};
  if (const auto* i = std::get_if<interval>(&s)) return calendar::interval_schedule{i->every, i->first};
  return calendar::once_schedule{std::get<once>(s).at};
}

schedule from_machine(const calendar::schedule& s) {
  if (const auto* c = std::get_if<calendar::cron_schedule>(&s)) return cron_schedule{c->expression, c->zone};
  if (const auto* i = std::get_if<calendar::interval_schedule>(&s)) return interval{i->every, i->first};
  return once{std::get<calendar::once_schedule>(s).at};
}

machine::misfire_policy to_machine(misfire m) {
  switch (m) {
    case misfire::fire_once:
      return machine::misfire_policy::fire_once;
    case misfire::skip:
      return machine::misfire_policy::skip;
    case misfire::fire_all:
      return machine::misfire_policy::fire_all;
  }
  return machine::misfire_policy::fire_once;
}

misfire from_machine(machine::misfire_policy m) {
  switch (m) {
    case machine::misfire_policy::fire_once:
      return misfire::fire_once;
    case machine::misfire_policy::skip:
      return misfire::skip;
    case machine::misfire_policy::fire_all:
      return misfire::fire_all;
  }
  return misfire::fire_once;
}

outcome from_machine(machine::outcome o) {
  switch (o) {
    case machine::outcome::success:
      return outcome::success;
    case machine::outcome::failed:
      return outcome::failed;
    case machine::outcome::aborted:
      return outcome::aborted;
    case machine::outcome::unavailable:
      return outcome::unavailable;
    case machine::outcome::skipped:
      return outcome::skipped;
    case machine::outcome::lost:
      return outcome::lost;
  }
  return outcome::lost;
}

std::optional<outcome> from_machine(const std::optional<machine::outcome>& o) {
  return o ? std::optional(from_machine(*o)) : std::nullopt;
}

machine::outcome how_it_ended(outcome o) {
  return o == outcome::success   ? machine::outcome::success
         : o == outcome::aborted ? machine::outcome::aborted
                                 : machine::outcome::failed;
}

machine::schedule_job to_machine(std::string id, const job_config& c, bool replace) {
  machine::schedule_job j;
  j.id = std::move(id);
  j.replace = replace;
  j.config.runner = c.runner;
  j.config.when = to_machine(c.when);
  j.config.params = c.params;
  j.config.on_misfire = to_machine(c.on_misfire);
  j.config.catch_up = c.catch_up;
  j.config.on_overlap = c.on_overlap == overlap::allow ? machine::overlap_policy::allow : machine::overlap_policy::skip;
  j.config.rerun_if_lost = c.rerun_if_lost;
  return j;
}

job_details from_machine(const wire::job_info& i) {
  job_details d;
  d.id = i.job.id;
  d.owner = i.owner;
  d.config.runner = i.job.config.runner;
  d.config.when = from_machine(i.job.config.when);
  d.config.params = i.job.config.params;
  d.config.on_misfire = from_machine(i.job.config.on_misfire);
  d.config.catch_up = i.job.config.catch_up;
  d.config.on_overlap = i.job.config.on_overlap == machine::overlap_policy::allow ? overlap::allow : overlap::skip;
  d.config.rerun_if_lost = i.job.config.rerun_if_lost;
  d.next = i.job.next;
  d.last = i.job.last;
  d.last_outcome = from_machine(i.job.last_outcome);
  d.version = i.job.version;
  d.runnable = i.runnable;
  return d;
}

result<void> check_schedule(const schedule& s) {
  if (const auto* c = std::get_if<cron_schedule>(&s); c != nullptr && c->zone != "UTC")
    return fail(errc::bad_argument, fmt::format("zone '{}': zones other than UTC are not built yet", c->zone));
  return calendar::validate(to_machine(s));
}

result<std::optional<wall_time>> next_of(const schedule& s, wall_time after) {
  if (auto ok = check_schedule(s); !ok) return tl::unexpected(ok.error());
  return calendar::next_after(to_machine(s), after, after, calendar::zone_rules::utc());
}

wall_time wall_now() { return std::chrono::floor<ms>(std::chrono::system_clock::now()); }

// ---- runners -------------------------------------------------------------------------------------------------------

/// One registered runner and its runs.
class runner_entry final : public subscription_state, public std::enable_shared_from_this<runner_entry> {
 public:
  runner_entry(std::shared_ptr<node_core> n, job_service::runner f, executor e)
      : node_(std::move(n)), run_(std::move(f)), on_(std::move(e)) {}

  result<void> open(const std::string& key) {
    auto s =
        node_->open(wire::add_runner{key}, [self = shared_from_this()](const wire::response& r, bool) { self->on(r); });
    if (!s) return tl::unexpected(s.error());
    call_ = s->id;
    return {};
  }

  void close() noexcept override {
    node_->cancel(call_);
    std::vector<std::stop_source> stops;
    std::unique_lock lock(mutex_);
    closed_ = true;
    for (auto& [fence, r] : runs_) stops.push_back(r.stop);
    lock.unlock();
    for (auto& s : stops) s.request_stop();
    lock.lock();
    ended_.wait(lock, [&] {
      return std::none_of(runs_.begin(), runs_.end(), [](const auto& r) {
        return r.second.by != std::thread::id{} && r.second.by != std::this_thread::get_id();
      });
    });
  }

 private:
  struct one_run {
    std::stop_source stop;
    std::uint64_t watch = 0;
    std::thread::id by{};  ///< none until it has begun
  };

  void on(const wire::response& r) {
    if (const auto* run = std::get_if<wire::run_job>(&r)) return begin(*run);
    if (const auto* stop = std::get_if<wire::stop_job>(&r)) return end(stop->fence);
    if (!std::holds_alternative<failure>(r)) return;
    std::vector<std::uint64_t> all;
    {
      const std::scoped_lock lock(mutex_);
      for (const auto& [fence, x] : runs_) all.push_back(fence);
    }
    for (const auto fence : all) end(fence);
  }

  void begin(const wire::run_job& r) {
    job_run run{r.run.job, r.run.scheduled, {}, r.run.attempt, r.run.coalesced, r.run.fence, r.params, {}};
    {
      const std::scoped_lock lock(mutex_);
      auto& x = runs_[run.fence];
      run.stop = x.stop.get_token();
      x.watch = node_->watch().add(r.run.session, [stop = x.stop]() mutable { stop.request_stop(); });
    }
    auto task = [self = shared_from_this(), run = std::move(run)]() mutable { self->execute(run); };
    const auto report = [this](const std::string& what) { node_->report("error " + what); };
    runtime::guarded(report, "starting a run",
                     [&] { on_ ? on_(std::move(task)) : node_->runs().post(std::move(task)); });
  }

  void end(std::uint64_t fence) {
    std::uint64_t watch = 0;
    {
      const std::scoped_lock lock(mutex_);
      const auto it = runs_.find(fence);
      if (it == runs_.end()) return;
      watch = it->second.watch;
    }
    node_->watch().end(watch);
  }

  void execute(job_run& run) noexcept {
    const auto fence = run.fence;
    bool skip = false;
    {
      const std::scoped_lock lock(mutex_);
      skip = closed_;  // the engine has aborted it already
      if (!skip) runs_.at(fence).by = std::this_thread::get_id();
    }
    if (!skip) {
      const auto began = std::chrono::steady_clock::now();
      run.started = wall_now();
      const auto r = call(run);
      machine::finish_run f{run.job, fence, how_it_ended(r.what), r.message, run.started, {}};
      f.took = std::chrono::duration_cast<ms>(std::chrono::steady_clock::now() - began);
      runtime::guarded({}, "", [&] { node_->submit(wire::finish_job{std::move(f)}); });
    }
    std::uint64_t watch = 0;
    {
      const std::scoped_lock lock(mutex_);
      watch = runs_.at(fence).watch;
      runs_.erase(fence);
    }
    ended_.notify_all();
    node_->watch().remove(watch);
  }

  job_result call(const job_run& run) noexcept {
    try {
      // A run that waited for a thread until its lease was over does not begin.
      if (run.stop.stop_requested()) return job_result::aborted("stopped before it began");
      return run_(run);
    } catch (const std::exception& e) {
      return {outcome::failed, e.what()};
    } catch (...) {
      return {outcome::failed, "threw something that is no std::exception"};
    }
  }

  const std::shared_ptr<node_core> node_;
  const job_service::runner run_;
  const executor on_;
  engine::call_id call_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::map<std::uint64_t, one_run> runs_;  // by fence
  bool closed_ = false;
};

// ---- calls ---------------------------------------------------------------------------------------------------------

result<subscription> add_runner(job_core& c, std::string_view key, job_service::runner f, executor e) {
  auto entry = std::make_shared<runner_entry>(c.node, std::move(f), std::move(e));
  if (auto ok = entry->open(std::string(key)); !ok) return tl::unexpected(ok.error());
  return subscription(std::move(entry));
}

result<wire::job_added> add_job(job_core& c, std::string_view id, const job_config& config, if_exists how) {
  if (auto ok = check_schedule(config.when); !ok) return tl::unexpected(ok.error());
  return c.node->ask<wire::job_added>(wire::add_job{to_machine(std::string(id), config, how == if_exists::replace)});
}

result<bool> add_named(job_core& c, std::string_view id, const job_config& config, if_exists how) {
  if (auto ok = machine::check_name("job", id); !ok) return tl::unexpected(ok.error());
  return add_job(c, id, config, how).map([](const wire::job_added& a) { return a.changed; });
}

result<std::string> add_generated(job_core& c, const job_config& config) {
  return add_job(c, {}, config, if_exists::keep).map([](const wire::job_added& a) { return a.id; });
}

result<bool> remove_job(job_core& c, std::string_view id) {
  const auto r = c.node->ask<wire::response>(wire::remove_job{std::string(id)});
  if (r) return true;
  if (r.error().code == errc::not_found) return false;
  return tl::unexpected(r.error());
}

std::vector<job_details> from_wire(const wire::job_list& list) {
  std::vector<job_details> r;
  for (const auto& j : list.jobs) r.push_back(from_machine(j));
  return r;
}

std::vector<run_details> from_wire(wire::run_list&& list) {
  std::vector<run_details> r;
  for (auto& x : list.runs)
    r.push_back({x.run.scheduled, x.run.started, x.run.took, from_machine(x.run.what), x.run.attempt, x.run.coalesced,
                 x.run.fence, std::move(x.run.message), std::move(x.node)});
  return r;
}

/// The answer to a stale read, as the API gives it.
template <class Details, class Answer>
result<stale<std::vector<Details>>> with_age(result<Answer> r) {
  if (!r) return tl::unexpected(r.error());
  const auto now = r->as_of.value_or(wire::as_of{});
  return stale<std::vector<Details>>{from_wire(std::move(*r)), now.index.value, now.age};
}

std::uint32_t lines(std::size_t max) { return static_cast<std::uint32_t>(std::clamp<std::size_t>(max, 1, 1'000)); }

result<std::vector<job_details>> list_jobs(job_core& c, std::string_view id, std::string_view runner) {
  auto list = c.node->ask<wire::job_list>(wire::list_jobs{std::string(id), std::string(runner)});
  if (!list) return tl::unexpected(list.error());
  return from_wire(*list);
}

result<stale<std::vector<job_details>>> stale_jobs(job_core& c, std::string_view runner, std::optional<ms> max_age) {
  return with_age<job_details>(
      c.node->ask<wire::job_list>(wire::list_jobs{"", std::string(runner), wire::staleness{max_age}}));
}

result<stale<std::vector<run_details>>> stale_history(job_core& c, std::string_view id, std::size_t max,
                                                      std::optional<ms> max_age) {
  return with_age<run_details>(
      c.node->ask<wire::run_list>(wire::job_history{std::string(id), lines(max), wire::staleness{max_age}}));
}

result<std::optional<job_details>> find_job(job_core& c, std::string_view id) {
  if (auto ok = machine::check_name("job", id); !ok) return tl::unexpected(ok.error());
  auto list = list_jobs(c, id, {});
  if (!list && list.error().code == errc::not_found) return std::nullopt;
  if (!list) return tl::unexpected(list.error());
  return list->empty() ? std::nullopt : std::optional(std::move(list->front()));
}

result<std::vector<run_details>> history_of(job_core& c, std::string_view id, std::size_t max) {
  auto list = c.node->ask<wire::run_list>(wire::job_history{std::string(id), lines(max)});
  if (!list) return tl::unexpected(list.error());
  return from_wire(std::move(*list));
}

}  // namespace

std::shared_ptr<job_core> make_job_core(std::shared_ptr<node_core> n) {
  return std::make_shared<job_core>(job_core{std::move(n)});
}

}  // namespace coterie::detail

// ---- the public classes --------------------------------------------------------------------------------------------

namespace coterie {

using runtime::or_code;
using runtime::or_throw;

std::optional<wall_time> next_run(const schedule& s, wall_time after) { return or_throw(detail::next_of(s, after)); }
std::optional<wall_time> next_run(const schedule& s, wall_time after, std::error_code& ec) {
  return or_code(detail::next_of(s, after), ec);
}

job_service::job_service(std::shared_ptr<detail::job_core> c) noexcept : core_(std::move(c)) {}

subscription job_service::register_runner(std::string_view key, runner f, executor e) {
  return or_throw(detail::add_runner(*core_, key, std::move(f), std::move(e)));
}
subscription job_service::register_runner(std::string_view key, runner f, executor e, std::error_code& ec) {
  return or_code(detail::add_runner(*core_, key, std::move(f), std::move(e)), ec);
}
bool job_service::schedule_job(std::string_view id, const job_config& c, if_exists how) {
  return or_throw(detail::add_named(*core_, id, c, how));
}
bool job_service::schedule_job(std::string_view id, const job_config& c, if_exists how, std::error_code& ec) {
  return or_code(detail::add_named(*core_, id, c, how), ec);
}
std::string job_service::schedule_job(const job_config& c) { return or_throw(detail::add_generated(*core_, c)); }
std::string job_service::schedule_job(const job_config& c, std::error_code& ec) {
  return or_code(detail::add_generated(*core_, c), ec);
}
bool job_service::unschedule(std::string_view id) { return or_throw(detail::remove_job(*core_, id)); }
bool job_service::unschedule(std::string_view id, std::error_code& ec) {
  return or_code(detail::remove_job(*core_, id), ec);
}
std::optional<job_details> job_service::details(std::string_view id) const {
  return or_throw(detail::find_job(*core_, id));
}
std::optional<job_details> job_service::details(std::string_view id, std::error_code& ec) const {
  return or_code(detail::find_job(*core_, id), ec);
}
std::vector<job_details> job_service::jobs(std::string_view of) const {
  return or_throw(detail::list_jobs(*core_, {}, of));
}
std::vector<job_details> job_service::jobs(std::string_view of, std::error_code& ec) const {
  return or_code(detail::list_jobs(*core_, {}, of), ec);
}
std::vector<run_details> job_service::history(std::string_view id, std::size_t max) const {
  return or_throw(detail::history_of(*core_, id, max));
}
std::vector<run_details> job_service::history(std::string_view id, std::size_t max, std::error_code& ec) const {
  return or_code(detail::history_of(*core_, id, max), ec);
}

stale<std::vector<job_details>> job_service::stale_jobs(std::string_view of, std::optional<ms> max_age) const {
  return or_throw(detail::stale_jobs(*core_, of, max_age));
}
stale<std::vector<job_details>> job_service::stale_jobs(std::string_view of, std::optional<ms> max_age,
                                                        std::error_code& ec) const {
  return or_code(detail::stale_jobs(*core_, of, max_age), ec);
}
stale<std::vector<run_details>> job_service::stale_history(std::string_view id, std::size_t max,
                                                           std::optional<ms> max_age) const {
  return or_throw(detail::stale_history(*core_, id, max, max_age));
}
stale<std::vector<run_details>> job_service::stale_history(std::string_view id, std::size_t max,
                                                           std::optional<ms> max_age, std::error_code& ec) const {
  return or_code(detail::stale_history(*core_, id, max, max_age), ec);
}

}  // namespace coterie
