// A message as a frame or a datagram: the header before one segment. Private to src/wire.
#pragma once

#include "wire/coding.hpp"
#include "wire/frame.hpp"

namespace coterie::wire {

inline constexpr frame_kind datagram_kind{5};              ///< never on a stream
inline constexpr std::size_t max_datagram_whole = 65'507;  ///< what UDP over IPv4 carries

/// Writes the header over the first header_size bytes of a frame whose body is in place.
void seal(bytes& frame, frame_kind);
/// parse_header for any kind in [first, last].
result<frame_header> parse_header_of(byte_view, frame_kind first, frame_kind last);
/// A failure for a body longer than its kind allows.
result<void> check_length(byte_view body, frame_kind);

/// The frame around a message; arguments as for build().
template <class Root, class Fill>
bytes build_frame(frame_kind kind, std::size_t size, Fill fill) {
  bytes frame = build<Root>(header_size, size, fill);
  seal(frame, kind);
  return frame;
}

}  // namespace coterie::wire
