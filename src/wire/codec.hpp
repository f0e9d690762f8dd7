// Bytes and structs: the one place that knows Cap'n Proto. Frames are a 16-byte header and one unpacked segment
// (docs/protocol.md). All decoders are total: any bytes give a value or a failure, with memory bounded by the input's
// length and the limits below.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.hpp"
#include "base/disk.hpp"
#include "base/result.hpp"
#include "machine/types.hpp"
#include "raft/types.hpp"
#include "swim/genesis.hpp"
#include "swim/types.hpp"
#include "wire/peer.hpp"
#include "wire/request.hpp"

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

/// Whole frames, header included.
bytes encode(const envelope&);
/// `timeout`: how long the node may take; nullopt = its default.
bytes encode(std::uint64_t call, const request&, std::optional<milliseconds> timeout = {});
bytes encode(std::uint64_t call, const response&, bool last);  ///< last = no more answers to this call
bytes encode_cancel(std::uint64_t call);                       ///< the client is no longer interested

struct decoded_request {
  std::uint64_t call = 0;
  request what;
  std::optional<milliseconds> timeout{};
};
struct decoded_response {
  std::uint64_t call = 0;
  bool last = true;
  response what;
};
result<envelope> decode_peer(byte_view body);
result<decoded_request> decode_request(byte_view body);
result<decoded_response> decode_response(byte_view body);
result<std::uint64_t> decode_cancel(byte_view body);

/// Datagrams: the same header and one segment.
bytes encode(const swim::datagram&);
result<swim::datagram> decode_datagram(byte_view whole);
std::size_t encoded_size(const swim::statement&);  ///< upper bound inside a datagram
std::size_t encoded_size(const swim::user_datum&);

/// Log entries: commands as payloads, and whole entries as stored in the log (term, kind, checksum, running hash of the
/// log, payload).
shared_bytes encode(const machine::command&);
result<machine::command> decode_command(byte_view);
shared_bytes encode_log_entry(const raft::entry&, hash128_value previous_chain, hash128_value& chain);
struct decoded_entry {
  raft::entry what;
  hash128_value chain;
};
result<decoded_entry> decode_log_entry(byte_view, hash128_value previous_chain);  ///< bad checksum or chain: failure

/// Stored values.
shared_bytes encode(const machine::record&);
result<machine::record> decode_record(byte_view key, byte_view value);
shared_bytes encode(const raft::hard_state&);
result<raft::hard_state> decode_hard_state(byte_view);
shared_bytes encode(const raft::snapshot_meta&, hash128_value chain);
struct decoded_snapshot_meta {
  raft::snapshot_meta meta;
  hash128_value chain;
};
result<decoded_snapshot_meta> decode_snapshot_meta(byte_view);
shared_bytes encode(const swim::acceptor_state&);
result<swim::acceptor_state> decode_acceptor(byte_view);

}  // namespace coterie::wire
