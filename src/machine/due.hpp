// What a job owes at a moment: scheduled times and the misfire policy turned into fires (docs/jobs.md, "Missed times").
// Pure arithmetic on one record; for leaders only: apply never calls it.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "machine/limits.hpp"
#include "machine/types.hpp"

namespace coterie::machine {

/// A fire this much after its time or less is on time.
inline constexpr milliseconds misfire_tolerance{1'000};

/// Fires that one job may owe at once: those of fire_all, and those within the tolerance (an interval is at least 100
/// ms).
inline std::size_t due_limit(const limits& max) { return max.fire_all + 16; }

/// The first time of a schedule made at `stamp`, strictly after it; "once, now" is the next millisecond.
std::optional<wall_time> first_time(const calendar::schedule&, wall_time stamp);

/// The fires that the job owes at `now`, oldest first, each valid after the one before it; at most `max` of them. They
/// run on `owner`; zero = no node has the runner: they are recorded as unavailable.
std::vector<fire_job> fires_due(const job_record&, session_epoch owner, wall_time now, std::size_t max, const limits&);

/// The scheduled time that follows the job's next one, for people who want to see two; nullopt = none.
std::optional<wall_time> time_after_next(const job_record&);

}  // namespace coterie::machine
