// The 16 bytes before every body on a stream: enough to cut a stream into checked bodies without knowing what they mean
// (docs/protocol.md).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.hpp"
#include "base/result.hpp"

namespace coterie::wire {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"  // g++ takes scoped enumerators for declarations that hide types
enum class frame_kind : std::uint8_t { peer = 1, request = 2, response = 3, cancel = 4 };
#pragma GCC diagnostic pop

inline constexpr std::size_t header_size = 16;
inline constexpr std::uint8_t frame_version = 1;

/// magic "ctre" (4), version (1), kind (1), flags (2, zero), body length in 8-byte words (4), checksum of header and
/// body (4, XXH3-64 truncated).
struct frame_header {
  frame_kind kind{};
  std::uint32_t body_words = 0;
  std::uint32_t checksum = 0;
  std::size_t body_size() const { return std::size_t{body_words} * 8; }
};
/// Longest body of a frame of this kind; checked before memory is taken.
std::size_t max_body(frame_kind);

/// Reads and checks a header (magic, version, kind, length limit); `b` has header_size bytes.
result<frame_header> parse_header(byte_view b);
/// True when the checksum fits.
bool verify(const frame_header&, byte_view header, byte_view body);

}  // namespace coterie::wire
