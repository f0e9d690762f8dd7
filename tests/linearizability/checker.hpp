// Decides whether a history is linearizable (Herlihy & Wing 1990), and says why not.
//
// Linearizability is local (the same paper, theorem 1): each key is checked alone. Registers, key-value maps and locks
// are searched (search.hpp: Wing & Gong 1993, Lowe 2017), journals are decided directly (journal.hpp).
//
//   recorder r;                                                    // history.hpp
//   const auto id = r.call(process, "acquire", "lock/a", value(), now);
//   r.returned(id, value(fence), later);                           // or say nothing: its outcome is unknown
//   const auto report = check(r.take());
//   if (report && report->what == verdict::not_linearizable) print(report->failures[0].text());
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <tl/expected.hpp>

#include "linearizability/history.hpp"

namespace coterie::linearizability {

/// What the operations of a key mean (models.hpp, journal.hpp).
enum class model {
  automatic,  ///< told for each operation by its name, its input and its output; services may share a history
  register_,  ///< read, write, cas
  key_value,  ///< get, put, append of a string
  lock,       ///< acquire, release, lost
  journal,    ///< append of a list, read from an id
};
/// "auto", "register", "kv", "lock", "journal".
std::string_view name_of(model);

/// What a check may spend. The verdict depends on time only when `time` is not zero.
struct budget {
  std::uint64_t steps = 50'000'000;   ///< for each key; 0 = none at all
  std::size_t bytes = 512u << 20;     ///< for each key: of the table of what was met; a small one costs steps
  std::chrono::milliseconds time{0};  ///< for everything; 0 = no limit
};

/// How to check.
struct options {
  model meaning = model::automatic;
  budget spend;
  std::size_t max_failures = 3;  ///< as many keys are explained
  bool explain = true;           ///< false: failures have no operations and no sentence
};

enum class verdict { linearizable, not_linearizable, unknown };
/// "linearizable", "not_linearizable", "unknown".
std::string_view name_of(verdict);

/// A key that is not linearizable.
struct failure {
  std::string key;
  model meaning = model::automatic;
  std::size_t total = 0;         ///< operations of the key
  std::vector<operation> shown;  ///< in order of call: those that contradict each other, and what else helps
  std::vector<bool> core;        ///< of `shown`: whether it belongs to the contradiction
  std::string why;               ///< how far a linearization gets, and why not further
  /// All of that for a person, with a timeline.
  std::string text() const;
};

/// What came of a check.
struct report {
  verdict what = verdict::linearizable;  ///< not_linearizable as soon as one key is; else unknown as soon as one is
  std::size_t operations = 0, keys = 0;
  std::uint64_t steps = 0;
  std::size_t failed = 0;              ///< keys that are not linearizable
  std::vector<failure> failures;       ///< the first of them
  std::vector<std::string> undecided;  ///< keys on which the budget was spent, "KEY (MODEL)"
};

/// An operation that no model, or not this one, can read: its place in the history, and why.
struct check_error {
  std::size_t operation = 0;
  std::string what;
};

/// Checks a history, whose operations may be in any order. Deterministic, unless the budget has a time.
tl::expected<report, check_error> check(const history&, const options& = {});

}  // namespace coterie::linearizability
