// Short ways to write histories down, for tests.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <utility>

#include "linearizability/checker.hpp"

namespace coterie::linearizability::test {

/// An operation on key "k" that gave `output` within [call, returned].
inline operation did(std::uint64_t process, std::string name, value input, value output, std::int64_t call,
                     std::int64_t returned) {
  return {process, std::move(name), "k", std::move(input), std::move(output), call, returned};
}
/// One whose outcome is unknown.
inline operation maybe(std::uint64_t process, std::string name, value input, std::int64_t call) {
  return {process, std::move(name), "k", std::move(input), std::nullopt, call, std::nullopt};
}
/// The verdict; "malformed: ..." when there is none.
inline std::string judged(const history& h, const options& o = {}) {
  const auto r = check(h, o);
  return r ? std::string(name_of(r->what)) : "malformed: " + r.error().what;
}
inline bool right(const history& h) { return judged(h) == "linearizable"; }
inline bool wrong(const history& h) { return judged(h) == "not_linearizable"; }

}  // namespace coterie::linearizability::test
