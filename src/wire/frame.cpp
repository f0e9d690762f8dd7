#include "wire/frame_building.hpp"

#include <array>

#include "base/assert.hpp"
#include "base/hash.hpp"

namespace coterie::wire {
namespace {

constexpr std::array<std::uint8_t, 4> magic = {'c', 't', 'r', 'e'};
constexpr std::size_t checksum_at = 12;

std::uint32_t load32(byte_view b, std::size_t at) {
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < 4; ++i) v |= static_cast<std::uint32_t>(b[at + i]) << (8 * i);
  return v;
}
void store32(std::byte* to, std::uint32_t v) {
  for (std::size_t i = 0; i < 4; ++i) to[i] = static_cast<std::byte>(v >> (8 * i));
}

/// XXH3-64 of the body, seeded with XXH3-64 of the header whose checksum is zero; the low half.
std::uint32_t checksum_of(byte_view header, byte_view body) {
  std::array<std::byte, header_size> h{};
  std::copy_n(header.begin(), checksum_at, h.begin());
  return static_cast<std::uint32_t>(hash64(body, hash64(byte_view(h))));
}

std::size_t max_body_of(frame_kind kind) {
  return kind == datagram_kind ? (max_datagram_whole - header_size) / 8 * 8 : max_body(kind);
}

}  // namespace

std::size_t max_body(frame_kind kind) {
  switch (kind) {
    case frame_kind::peer:
    case frame_kind::response:
      return std::size_t{32} << 20;
    case frame_kind::request:
      return std::size_t{4} << 20;
    case frame_kind::cancel:
      return 64;
  }
  return 0;
}

result<frame_header> parse_header_of(byte_view b, frame_kind first, frame_kind last) {
  COTERIE_ASSERT(b.size() == header_size);
  for (std::size_t i = 0; i < magic.size(); ++i) {
    if (b[i] != std::byte{magic[i]}) return fail(errc::bad_argument, "not a coterie frame: wrong magic");
  }
  if (b[4] != std::byte{frame_version}) {
    return fail(errc::bad_argument, "unknown frame version " + std::to_string(static_cast<unsigned>(b[4])));
  }
  frame_header h{static_cast<frame_kind>(b[5]), load32(b, 8), load32(b, checksum_at)};
  if (h.kind < first || h.kind > last) return fail(errc::bad_argument, "unknown frame kind");
  if (b[6] != std::byte{} || b[7] != std::byte{}) return fail(errc::bad_argument, "unknown frame flags");
  if (h.body_words == 0) return fail(errc::bad_argument, "empty frame");
  if (h.body_size() > max_body_of(h.kind)) return fail(errc::bad_argument, "frame too long");
  return h;
}

result<frame_header> parse_header(byte_view b) { return parse_header_of(b, frame_kind::peer, frame_kind::cancel); }

bool verify(const frame_header& h, byte_view header, byte_view body) {
  COTERIE_ASSERT(header.size() == header_size);
  return body.size() == h.body_size() && checksum_of(header, body) == h.checksum;
}

void seal(bytes& frame, frame_kind kind) {
  COTERIE_ASSERT(frame.size() >= header_size && frame.size() % 8 == 0);
  for (std::size_t i = 0; i < magic.size(); ++i) frame[i] = std::byte{magic[i]};
  frame[4] = std::byte{frame_version};
  frame[5] = static_cast<std::byte>(kind);
  frame[6] = frame[7] = std::byte{};
  store32(&frame[8], static_cast<std::uint32_t>((frame.size() - header_size) / 8));
  const byte_view whole = frame;
  store32(&frame[checksum_at], checksum_of(whole.first(header_size), whole.subspan(header_size)));
}

result<void> check_length(byte_view body, frame_kind kind) {
  if (body.size() > max_body_of(kind)) return fail(errc::bad_argument, "message too long");
  return {};
}

}  // namespace coterie::wire
