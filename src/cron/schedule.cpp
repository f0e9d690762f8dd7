#include "cron/schedule.hpp"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

namespace coterie::calendar {
namespace {

using std::chrono::milliseconds;

// Each kind of schedule offers the same three questions: next after a time, last and count in [from, to].

/// first + k * every for 0 <= k <= last_step.
class grid {
 public:
  grid(wall_time first, milliseconds every, std::uint64_t last_step)
      : first_(first), every_(every), last_step_(last_step) {}

  std::optional<wall_time> next(wall_time after) const {
    const wide k = steps_until(after);  // of the last time <= after, or -1
    return k < last_step_ ? at(k + 1) : std::nullopt;
  }
  std::optional<wall_time> last(wall_time from, wall_time to) const {
    const wide k = std::min<wide>(steps_until(to), last_step_);
    const auto found = k < 0 ? std::nullopt : at(k);
    return found && *found >= from ? found : std::nullopt;
  }
  std::uint64_t count(wall_time from, wall_time to) const {
    const wide end = std::min<wide>(steps_until(to), last_step_);
    const wide begin = std::min<wide>(steps_until(from - milliseconds(1)), last_step_);
    return end > begin ? static_cast<std::uint64_t>(end - begin) : 0;
  }

 private:
  __extension__ using wide = __int128;  // differences of any two times fit

  wide steps_until(wall_time t) const {
    const wide passed = static_cast<wide>(t.time_since_epoch().count()) - first_.time_since_epoch().count();
    return passed < 0 ? -1 : passed / every_.count();
  }
  std::optional<wall_time> at(wide k) const {
    const wide t = first_.time_since_epoch().count() + k * every_.count();
    if (t > wall_time::max().time_since_epoch().count()) return std::nullopt;
    return wall_time(milliseconds(static_cast<milliseconds::rep>(t)));
  }

  wall_time first_;
  milliseconds every_;
  wide last_step_;
};

class calendar {
 public:
  calendar(const expression& e, const zone_rules& zone, dst_policy policy)
      : expression_(e), zone_(zone), policy_(policy) {}
  std::optional<wall_time> next(wall_time after) const { return expression_.next(after, zone_, policy_); }
  std::optional<wall_time> last(wall_time from, wall_time to) const {
    return expression_.last(from, to, zone_, policy_);
  }
  std::uint64_t count(wall_time from, wall_time to) const { return expression_.count(from, to, zone_, policy_); }

 private:
  const expression& expression_;
  const zone_rules& zone_;
  dst_policy policy_;
};

/// Calls use(times) with the grid or calendar of a schedule; `otherwise` for one that is not valid.
template <class Result, class Use>
Result with_times(const schedule& s, wall_time anchor, const zone_rules& zone, Result otherwise, Use use) {
  if (const auto* cron = std::get_if<cron_schedule>(&s)) {
    const auto parsed = expression::parse(cron->expression);
    return parsed ? use(calendar(*parsed, zone, cron->dst)) : otherwise;
  }
  if (const auto* interval = std::get_if<interval_schedule>(&s)) {
    if (interval->every < min_interval) return otherwise;
    return use(grid(interval->first.value_or(anchor), interval->every, std::numeric_limits<std::uint64_t>::max()));
  }
  return use(grid(std::get<once_schedule>(s).at.value_or(anchor), min_interval, 0));
}

}  // namespace

result<void> validate(const schedule& s, const zone_set& zones) {
  if (const auto* cron = std::get_if<cron_schedule>(&s)) {
    if (auto parsed = expression::parse(cron->expression); !parsed) return tl::unexpected(parsed.error());
    if (find_zone(zones, cron->zone) == nullptr) {
      return fail(errc::bad_argument,
                  fmt::format("time zone '{}' is not known: use a name like Europe/Berlin or UTC", cron->zone));
    }
  } else if (const auto* interval = std::get_if<interval_schedule>(&s); interval && interval->every < min_interval) {
    return fail(errc::bad_argument, fmt::format("an interval of {} ms is too short: the least is {} ms",
                                                interval->every.count(), min_interval.count()));
  }
  return {};
}

std::optional<wall_time> next_after(const schedule& s, wall_time after, wall_time anchor, const zone_rules& zone) {
  return with_times(s, anchor, zone, std::optional<wall_time>(), [&](const auto& times) { return times.next(after); });
}

due_times times_due(const schedule& s, const due_window& w, wall_time anchor, const zone_rules& zone) {
  return with_times(s, anchor, zone, due_times(), [&](const auto& times) {
    due_times due;
    due.following = times.next(w.now);
    constexpr milliseconds tick(1);
    const wall_time next = std::max(w.next, wall_time::min() + tick);
    const milliseconds catch_up = std::max(w.catch_up, milliseconds(0));
    const bool reaches_back =
        w.now.time_since_epoch() < milliseconds::min() + catch_up;  // now - catch_up would overflow
    const wall_time begin = reaches_back ? next : std::max(next, w.now - catch_up);
    if (begin > w.now) return due;
    if (begin > next) due.older = times.count(next, begin - tick);
    due.count = times.count(begin, w.now);
    due.newest = times.last(begin, w.now);
    if (due.newest) due.oldest = times.next(begin - tick);
    return due;
  });
}

}  // namespace coterie::calendar
