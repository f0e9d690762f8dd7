// Where results become what the public API gives: exceptions, or an error_code beside a value.
#pragma once

#include <system_error>
#include <utility>

#include "base/result.hpp"
#include "coterie/error.hpp"

namespace coterie::runtime {

/// Throws the error that stands for f.
[[noreturn]] inline void raise(const failure& f) {
  switch (f.code) {
    case errc::retention_gap:
      throw retention_gap_error(f.first, f.second);
    case errc::bad_cron:
      throw cron_error(static_cast<std::size_t>(f.first), f.message);
    default:
      throw error(make_error_code(f.code), f.message);
  }
}

template <class T>
T or_throw(result<T> r) {
  if (!r) raise(r.error());
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

template <class T>
T or_code(result<T> r, std::error_code& ec) {
  ec = r ? std::error_code() : make_error_code(r.error().code);
  if constexpr (!std::is_void_v<T>) return r ? std::move(*r) : T{};
}

}  // namespace coterie::runtime
