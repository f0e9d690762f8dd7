// When a client's request is taken: one rule for each request, and which commands are data. A request or command
// without a rule does not compile.
#pragma once

#include <concepts>

#include "machine/types.hpp"
#include "wire/request.hpp"

namespace coterie::engine {

struct admission {
  bool needs_log = false;       ///< refused on a node that runs without one
  bool needs_formed = false;    ///< refused at once before the cluster is formed; others wait for that
  bool while_stopping = false;  ///< taken even after the node was told to stop: ends what was begun, or only looks
};

inline constexpr admission on_any_node{};
inline constexpr admission in_the_log{.needs_log = true};
inline constexpr admission in_the_log_here{.needs_log = true, .needs_formed = true};

constexpr admission admission_of(const wire::get_status&) { return {.while_stopping = true}; }
constexpr admission admission_of(const wire::get_members&) { return {.while_stopping = true}; }
constexpr admission admission_of(const wire::wait_members&) { return on_any_node; }
constexpr admission admission_of(const wire::follow_events&) { return on_any_node; }
constexpr admission admission_of(const wire::explain_member&) { return {.while_stopping = true}; }
constexpr admission admission_of(const wire::get_round_trip&) { return {.while_stopping = true}; }
constexpr admission admission_of(const wire::init_without&) { return in_the_log; }
constexpr admission admission_of(const wire::discard_record&) { return in_the_log; }
constexpr admission admission_of(const wire::set_tags&) { return on_any_node; }
constexpr admission admission_of(const wire::leave_cluster&) { return in_the_log; }
constexpr admission admission_of(const wire::remove_node&) { return in_the_log_here; }
constexpr admission admission_of(const wire::transfer_leadership&) { return in_the_log_here; }
constexpr admission admission_of(const wire::set_read_lease&) { return in_the_log; }
constexpr admission admission_of(const wire::read_snapshot&) { return in_the_log_here; }
constexpr admission admission_of(const wire::stop_node&) { return on_any_node; }

constexpr admission admission_of(const wire::acquire_lock&) { return in_the_log; }
constexpr admission admission_of(const wire::release_lock&) { return {.needs_log = true, .while_stopping = true}; }
constexpr admission admission_of(const wire::tell_lock&) { return {.needs_log = true, .while_stopping = true}; }
constexpr admission admission_of(const wire::list_locks&) { return in_the_log; }

constexpr admission admission_of(const wire::add_job&) { return in_the_log; }
constexpr admission admission_of(const wire::remove_job&) { return in_the_log; }
constexpr admission admission_of(const wire::list_jobs&) { return in_the_log; }
constexpr admission admission_of(const wire::job_history&) { return in_the_log; }
constexpr admission admission_of(const wire::add_runner&) { return on_any_node; }
constexpr admission admission_of(const wire::finish_job&) { return {.needs_log = true, .while_stopping = true}; }

constexpr admission admission_of(const wire::append_journal&) { return in_the_log; }
constexpr admission admission_of(const wire::peek_journal&) { return in_the_log_here; }
constexpr admission admission_of(const wire::count_journal&) { return in_the_log_here; }
constexpr admission admission_of(const wire::reset_journal&) { return in_the_log; }
constexpr admission admission_of(const wire::begin_process&) { return in_the_log_here; }
constexpr admission admission_of(const wire::end_process&) {
  return {.needs_log = true, .needs_formed = true, .while_stopping = true};
}
constexpr admission admission_of(const wire::wait_visible&) { return in_the_log; }
constexpr admission admission_of(const wire::watch_journal&) { return in_the_log_here; }
constexpr admission admission_of(const wire::keep_journal&) { return in_the_log; }

constexpr admission admission_of(const wire::register_cache&) { return on_any_node; }
constexpr admission admission_of(const wire::invalidate_cache&) { return on_any_node; }
constexpr admission admission_of(const wire::list_caches&) { return on_any_node; }
constexpr admission admission_of(const wire::publish&) { return on_any_node; }
constexpr admission admission_of(const wire::listen&) { return on_any_node; }

inline admission admission_of(const wire::request& r) {
  return std::visit([](const auto& x) { return admission_of(x); }, r);
}

template <class T, class... Of>
concept one_of = (std::same_as<T, Of> || ...);

/// Commands that fill the disk, and so are refused while it is nearly full. What keeps the cluster going, or makes
/// room, is not.
template <one_of<machine::schedule_job, machine::journal_append> Command>
constexpr bool grows_data(const Command&) {
  return true;
}
template <one_of<machine::add_member, machine::remove_member, machine::change_view, machine::set_read_lease,
                 machine::open_session, machine::expire_session, machine::close_session, machine::admit_session,
                 machine::fence_session, machine::set_activity, machine::register_runner, machine::unregister_runner,
                 machine::lock_acquire, machine::lock_release, machine::lock_cancel, machine::unschedule_job,
                 machine::assign_job, machine::fire_job, machine::finish_run, machine::journal_trim,
                 machine::journal_retention>
              Command>
constexpr bool grows_data(const Command&) {
  return false;
}
inline bool grows_data(const machine::command_body& b) {
  return std::visit([](const auto& x) { return grows_data(x); }, b);
}

}  // namespace coterie::engine
