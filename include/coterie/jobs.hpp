// Jobs: code that runs at certain times, each time once in the whole cluster. docs/jobs.md has the exact promises.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "coterie/common.hpp"

namespace coterie {

namespace detail {
class job_core;
}

// ---- when ----------------------------------------------------------------------------------------------------------

/// At the times of a cron expression in Quartz's grammar: `second minute hour day-of-month month day-of-week [year]`.
struct cron_schedule {
  std::string expression{};
  std::string zone = "UTC";  ///< others fail with bad_argument: they are not built yet
  friend bool operator==(const cron_schedule&, const cron_schedule&) = default;
};
using cron = cron_schedule;

/// At first + k * every: no drift, and a failover keeps the grid. At least 100 ms.
struct interval {
  ms every{};
  std::optional<wall_time> first{};  ///< nothing = when it is scheduled
  friend bool operator==(const interval&, const interval&) = default;
};

/// One time.
struct once {
  std::optional<wall_time> at{};  ///< nothing = when it is scheduled
  friend bool operator==(const once&, const once&) = default;
};

using schedule = std::variant<cron_schedule, interval, once>;

/// The first time strictly after `after`; nothing = never. A schedule without a beginning of its own begins at `after`.
/// Pure: asks no node. Throws cron_error (with the position) or bad_argument.
[[gnu::visibility("default")]] std::optional<wall_time> next_run(const schedule&, wall_time after);
[[gnu::visibility("default")]] std::optional<wall_time> next_run(const schedule&, wall_time after, std::error_code&);

// ---- what ----------------------------------------------------------------------------------------------------------

/// Fires that the cluster could not claim at their time, because no majority or no leader was there.
enum class misfire {
  fire_once,  ///< the newest one inside catch_up runs; job_run::coalesced says how many it stands for
  skip,       ///< they are lost
  fire_all,   ///< each one inside catch_up runs, oldest first, at most 1 000
};
/// A fire while an earlier run of the job is still under way.
enum class overlap {
  skip,   ///< it is recorded as outcome::skipped
  allow,  ///< both run
};
enum class outcome {
  success,
  failed,
  aborted,      ///< stopped, or its runner went away
  unavailable,  ///< no active node had the runner
  skipped,      ///< by the overlap policy
  lost,         ///< its node died, or lost its lease, before it said how it ended
};

using job_param = std::variant<std::int64_t, double, bool, std::string>;
/// By name, single values or lists; 64 KiB together.
using job_params = std::map<std::string, std::variant<job_param, std::vector<job_param>>>;

/// What a job is. Replicated and durable; equal configurations are the same version of a job.
struct job_config {
  std::string runner{};  ///< the key that nodes register by register_runner
  schedule when{};
  job_params params{};
  misfire on_misfire = misfire::fire_once;
  ms catch_up = std::chrono::hours(1);  ///< how long a missed time still counts
  overlap on_overlap = overlap::skip;
  bool rerun_if_lost = false;  ///< a run that was lost is started again: same time, next attempt, larger fence
  friend bool operator==(const job_config&, const job_config&) = default;
};

/// One run, as its runner sees it.
struct job_run {
  std::string job;
  wall_time scheduled, started;
  std::uint32_t attempt = 1;
  std::uint32_t coalesced = 0;  ///< missed times that this run stands for
  std::uint64_t fence = 0;      ///< larger than that of each earlier run of this job
  job_params params;
  std::stop_token stop;  ///< requested when the node stops or its lease ends: the run is not the cluster's any more
};

/// How a run ended. `what` is success, failed or aborted; of the message the first 255 bytes are kept.
struct job_result {
  outcome what = outcome::success;
  std::string message{};
  /// The usual ways to end.
  static job_result success(std::string message = {}) { return {outcome::success, std::move(message)}; }
  static job_result failed(std::string message) { return {outcome::failed, std::move(message)}; }
  static job_result aborted(std::string message = {}) { return {outcome::aborted, std::move(message)}; }
};

/// One line of a job's history.
struct run_details {
  wall_time scheduled;
  std::optional<wall_time> started;
  std::optional<ms> took;       ///< by the clock of the node that ran it; nothing = it has not ended, or never began
  std::optional<outcome> what;  ///< nothing = it is running
  std::uint32_t attempt = 1, coalesced = 0;
  std::uint64_t fence = 0;
  std::string message, node;
};

/// A job and where it stands.
struct job_details {
  std::string id;
  std::string owner;  ///< the node that runs it next; empty = nobody can
  job_config config;
  std::optional<wall_time> next, last;
  std::optional<outcome> last_outcome;
  std::uint64_t version = 0;
  bool runnable = false;  ///< an active node has its runner
};

/// What schedule_job does when there is a job of that id.
enum class if_exists {
  keep,     ///< nothing, whatever its configuration
  replace,  ///< gives it this configuration; an equal one changes nothing
};

// ---- the service ---------------------------------------------------------------------------------------------------

/// The jobs of the cluster, seen from one node. Thread-safe. Calls that wait take up to 5 s and fail with no_quorum,
/// timeout, indeterminate (safe to repeat), closed or in_callback. Runs themselves may wait as they like.
class [[gnu::visibility("default")]] job_service {
 public:
  /// Made by the node; not for hosts.
  explicit job_service(std::shared_ptr<detail::job_core>) noexcept;

  using runner = std::function<job_result(const job_run&)>;
  /// This node can run the jobs of that runner, until the subscription ends; its destructor asks the runs under way to
  /// stop and waits for them. Needs no majority. Fails with exists when the node has the runner already, bad_name,
  /// limit.
  ///
  /// Runs have threads of their own, up to 16 a node, and wait for one when all are busy; or they go to `on`. Runs of
  /// different jobs (and with overlap::allow of one job) come at the same time. What a runner throws is
  /// outcome::failed with what() as the message.
  [[nodiscard]] subscription register_runner(std::string_view key, runner, executor on = {});
  [[nodiscard]] subscription register_runner(std::string_view key, runner, executor on, std::error_code&);

  /// Creates the job, or leaves or replaces the one of that id; true when something was changed. One entry of the log:
  /// several nodes may call it at once, and a replaced job neither misses nor doubles a time. Fails with bad_name,
  /// cron_error, bad_argument, limit.
  bool schedule_job(std::string_view id, const job_config&, if_exists = if_exists::keep);
  bool schedule_job(std::string_view id, const job_config&, if_exists, std::error_code&);
  /// The same under a generated id, which is returned.
  std::string schedule_job(const job_config&);
  std::string schedule_job(const job_config&, std::error_code&);
  /// Removes it on all nodes; false when there is none. A run under way goes on.
  bool unschedule(std::string_view id);
  bool unschedule(std::string_view id, std::error_code&);

  /// One job; nothing = there is none. Linearizable, as the others below.
  std::optional<job_details> details(std::string_view id) const;
  std::optional<job_details> details(std::string_view id, std::error_code&) const;
  /// All jobs, or those of one runner, by id.
  std::vector<job_details> jobs(std::string_view runner = {}) const;
  std::vector<job_details> jobs(std::string_view runner, std::error_code&) const;
  /// The newest runs first, 1 to 1 000. Fails with not_found.
  std::vector<run_details> history(std::string_view id, std::size_t max = 10) const;
  std::vector<run_details> history(std::string_view id, std::size_t max, std::error_code&) const;

  /// The two as this node has them, without a majority. They fail with `unavailable` when that may be older than
  /// max_age.
  stale<std::vector<job_details>> stale_jobs(std::string_view runner = {}, std::optional<ms> max_age = {}) const;
  stale<std::vector<job_details>> stale_jobs(std::string_view runner, std::optional<ms> max_age, std::error_code&)
      const;
  stale<std::vector<run_details>> stale_history(std::string_view id, std::size_t max = 10,
                                                std::optional<ms> max_age = {}) const;
  stale<std::vector<run_details>> stale_history(std::string_view id, std::size_t max, std::optional<ms> max_age,
                                                std::error_code&) const;

 private:
  std::shared_ptr<detail::job_core> core_;
};

}  // namespace coterie
