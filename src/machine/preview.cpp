// Times that only people want to see.
#include "machine/machine.hpp"

namespace coterie::machine {

std::optional<wall_time> time_after_next(const job_record& j) {
  return j.next ? cron::next_after(j.config.when, *j.next, *j.next, cron::zone_rules::utc()) : std::nullopt;
}

}  // namespace coterie::machine
