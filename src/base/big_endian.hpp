// Numbers in keys: big endian, so that byte order is their order.
#pragma once

#include <cstdint>
#include <optional>

#include "base/bytes.hpp"

namespace coterie {

inline void put_big_endian(bytes& to, std::uint64_t v) {
  for (int shift = 56; shift >= 0; shift -= 8) to.push_back(static_cast<std::byte>(v >> shift));
}
inline bytes big_endian(std::uint64_t v) {
  bytes b;
  b.reserve(8);
  put_big_endian(b, v);
  return b;
}
/// nullopt unless there are exactly 8 bytes.
inline std::optional<std::uint64_t> from_big_endian(byte_view b) {
  if (b.size() != 8) return std::nullopt;
  std::uint64_t v = 0;
  for (const auto x : b) v = v << 8 | std::to_integer<std::uint64_t>(x);
  return v;
}

}  // namespace coterie
