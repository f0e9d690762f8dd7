// Misfire policies over the arithmetic of cron. Reads no clock: the moment is an argument.
#include "machine/due.hpp"

#include <algorithm>
#include <limits>

namespace coterie::machine {
namespace {

// Zones other than UTC are refused by check().
const calendar::zone_rules utc;

std::uint32_t cut(std::uint64_t n) {
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(n, std::numeric_limits<std::uint32_t>::max()));
}

class collector {
 public:
  collector(const job_record& j, session_epoch owner, wall_time now, std::size_t max, const limits& l)
      : job_(j), owner_(owner), now_(now), max_(max), limits_(l), next_(j.next) {}

  std::vector<fire_job> collect() {
    if (next_ && *next_ <= latest_missed()) missed();
    while (next_ && *next_ <= now_ && fires_.size() < max_) {
      const auto at = *next_;
      add(at, 0, std::nullopt, after(at));
    }
    return std::move(fires_);
  }

 private:
  wall_time latest_missed() const { return now_ - misfire_tolerance - milliseconds(1); }
  // Any time of the schedule is an anchor of the same grid.
  std::optional<wall_time> after(wall_time t) const {
    return calendar::next_after(job_.config.when, t, *job_.next, utc);
  }
  calendar::due_times due(wall_time from, milliseconds window) const {
    return calendar::times_due(job_.config.when, {.next = from, .now = latest_missed(), .catch_up = window}, *job_.next,
                               utc);
  }

  void add(wall_time at, std::uint64_t coalesced, std::optional<outcome> what, std::optional<wall_time> following) {
    if (!what && !owner_) what = outcome::unavailable;
    next_ = following && *following > at ? following : std::nullopt;
    if (fires_.size() >= max_) return;
    fires_.push_back({.id = job_.id,
                      .version = job_.version,
                      .scheduled = at,
                      .attempt = 1,
                      .coalesced = cut(coalesced),
                      .owner = what ? session_epoch{} : owner_,
                      .what = what,
                      .next = next_});
  }

  void missed() {
    const auto window =
        job_.config.catch_up - misfire_tolerance - milliseconds(1);  // counted back from latest_missed()
    const auto d = due(*next_, std::max(window, milliseconds(0)));
    if (d.count == 0 || window < milliseconds(0)) return add(*next_, d.count + d.older, outcome::skipped, d.following);
    switch (job_.config.on_misfire) {
      case misfire_policy::skip:
        return add(*d.newest, d.count + d.older, outcome::skipped, d.following);
      case misfire_policy::fire_once:
        return add(*d.newest, d.count, std::nullopt, d.following);
      case misfire_policy::fire_all:
        return each(d, window);
    }
  }

  void each(const calendar::due_times& d, milliseconds window) {
    std::optional<wall_time> at = d.count <= limits_.fire_all ? *d.oldest : nth_newest(*d.oldest, *d.newest, window);
    while (at && *at <= *d.newest && fires_.size() < max_) {
      const auto following = *at == *d.newest ? d.following : after(*at);
      add(*at, 0, std::nullopt, following);
      at = following;
    }
  }

  // The oldest of the limits::fire_all newest times, by bisection on the count.
  std::optional<wall_time> nth_newest(wall_time low, wall_time high, milliseconds window) const {
    while (low < high) {
      const auto middle = low + (high - low) / 2;
      if (due(middle, window).count > limits_.fire_all)
        low = middle + milliseconds(1);
      else
        high = middle;
    }
    return after(low - milliseconds(1));
  }

  const job_record& job_;
  const session_epoch owner_;
  const wall_time now_;
  const std::size_t max_;
  const limits& limits_;
  std::optional<wall_time> next_;
  std::vector<fire_job> fires_;
};

}  // namespace

std::optional<wall_time> first_time(const calendar::schedule& when, wall_time stamp) {
  const bool once = std::holds_alternative<calendar::once_schedule>(when);
  return calendar::next_after(when, stamp, once ? stamp + milliseconds(1) : stamp, utc);
}

std::vector<fire_job> fires_due(const job_record& job, session_epoch owner, wall_time now, std::size_t max,
                                const limits& l) {
  if (!job.next || max == 0) return {};
  return collector(job, owner, now, max, l).collect();
}

std::optional<wall_time> time_after_next(const job_record& j) {
  return j.next ? calendar::next_after(j.config.when, *j.next, *j.next, utc) : std::nullopt;
}

}  // namespace coterie::machine
