// A value or a failure. Inside the library nothing is thrown; the public edge turns failures into coterie::error.
#pragma once

#include <string>
#include <utility>

#include <tl/expected.hpp>

#include "coterie/error.hpp"

namespace coterie {

/// Why something was not done: a code for programs, a sentence for people ("what happened: what to do").
struct failure {
  errc code{};
  std::string message;
  std::uint64_t first = 0,
                second = 0;  ///< data of some codes: retention_gap {first lost, first available}, bad_cron {position}
  friend bool operator==(const failure&, const failure&) = default;
};

template <class T>
using result = tl::expected<T, failure>;

inline tl::unexpected<failure> fail(errc code, std::string message, std::uint64_t first = 0, std::uint64_t second = 0) {
  return tl::unexpected<failure>(failure{code, std::move(message), first, second});
}

/// The default sentence of a code.
const char* describe(errc) noexcept;

}  // namespace coterie
