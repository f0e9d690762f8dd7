// What came of applying a command, for the node that cares: it compares sessions with its own. Data only.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "machine/types.hpp"

namespace coterie::machine {

struct session_opened {
  session_record session;
};
struct session_ended {
  session_epoch epoch;
  node_id node;
  bool expired = false;
};
struct lock_granted {
  std::string name;
  lock_holder holder;
};
/// Somebody of that session waits behind the holder now.
struct lock_waited {
  std::string name;
  lock_holder holder;
  session_epoch waiter;
};
struct lock_freed {
  std::string name;
  grant_id grant;
};
struct run_claimed {
  job_run_record run;
  std::string runner;
  job_params params;
};
struct run_finished {
  job_run_record run;
};  ///< also recorded-only fires
struct job_changed {
  std::string id;
  bool removed = false;
};
struct job_assigned {
  std::string id;
  session_epoch owner;
};  ///< zero = nobody
struct journal_grew {
  std::string journal;
  std::uint64_t last = 0;
};
struct journal_trimmed {
  std::string journal;
  std::uint64_t first = 0;
};  ///< the first entry still there, or the next id that could be
enum class member_change : std::uint8_t { added, moved, left, removed, failed, back };
const char* to_string(member_change);
struct member_changed {
  member_record member;
  member_change what{};
  std::uint64_t view = 0;
};
using happening = std::variant<session_opened, session_ended, lock_granted, lock_waited, lock_freed, run_claimed,
                               run_finished, job_changed, job_assigned, journal_grew, journal_trimmed, member_changed>;

struct applied {
  answer result;
  bool duplicate = false;  ///< (session, seq) was used before: result is the stored answer, nothing happened
  std::vector<happening> happened;
};

}  // namespace coterie::machine
