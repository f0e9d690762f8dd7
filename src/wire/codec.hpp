// Bytes and structs: the one place that knows Cap'n Proto. A body is one unpacked segment (docs/protocol.md). All
// decoders are total: any bytes give a value or a failure, with memory bounded by the input's length and the limits of
// its kind.
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
#include "wire/frame.hpp"
#include "wire/peer.hpp"
#include "wire/request.hpp"

namespace coterie::wire {

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
/// Bad checksum or chain: failure. Without the chain of the entry before only the checksum is looked at.
result<decoded_entry> decode_log_entry(byte_view, std::optional<hash128_value> previous_chain);

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
