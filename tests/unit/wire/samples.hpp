// Everything that has an encoding, as one list of kinds: how to make a random valid one, and how to decode bytes and
// encode what came of them. Shared by the unit tests and the fuzz target.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/hash.hpp"
#include "unit/wire/fields.hpp"
#include "wire/codec.hpp"

namespace samples {

using namespace coterie;
using namespace coterie::wire;

inline bytes body_of(const bytes& frame) { return {frame.begin() + header_size, frame.end()}; }
inline bytes copy_of(const shared_bytes& b) { return copy(b.view()); }

inline void store(bytes& to, std::size_t at, std::uint64_t v, std::size_t size) {
  for (std::size_t i = 0; i < size; ++i) to[at + i] = static_cast<std::byte>(v >> (8 * i));
}
/// The datagram around `body`, made from the words of docs/protocol.md.
inline bytes datagram_around(byte_view body) {
  bytes whole = to_bytes("ctre\x01\x05");
  whole.resize(header_size);
  store(whole, 8, body.size() / 8, 4);
  store(whole, 12, hash64(body, hash64(whole)) & 0xffffffff, 4);
  whole.insert(whole.end(), body.begin(), body.end());
  return whole;
}
/// A log entry with its running hash (after zero) and checksum made right, from the words of docs/storage.md.
inline bytes relinked(bytes entry) {
  if (entry.size() < 48) return entry;
  std::fill_n(entry.begin() + 8, 16, std::byte{});
  const auto chain = hash128(byte_view(entry).subspan(8));
  store(entry, 8, chain.lo, 8);
  store(entry, 16, chain.hi, 8);
  store(entry, 0, hash64(byte_view(entry).subspan(8)), 8);
  return entry;
}

/// One decoder. `variants` is how many alternatives its value has; `make` encodes a random value of one of them;
/// `again` decodes and, when that succeeded, encodes the outcome; `survives` tells whether a random value comes back
/// from its encoding unchanged.
struct kind {
  std::string name;
  std::size_t variants = 1;
  bytes (*make)(std::size_t which, rng&) = nullptr;
  std::optional<bytes> (*again)(byte_view) = nullptr;
  bool (*survives)(std::size_t which, rng&) = nullptr;
};

/// How a kind is encoded and decoded: `value`, `body` (the variant inside, if any), encode, decode.
template <class C>
kind kind_of(const char* name) {
  kind k;
  k.name = name;
  using value = typename C::value;
  static constexpr auto make_value = [](std::size_t which, rng& r) {
    value v{};
    fields::fill(v, r);
    if constexpr (C::variants > 1) fields::fill_alternative(C::body(v), which, r);
    return v;
  };
  k.variants = C::variants;
  k.make = [](std::size_t which, rng& r) { return C::encode(make_value(which, r)); };
  k.again = [](byte_view b) -> std::optional<bytes> {
    auto v = C::decode(b);
    if (!v) return std::nullopt;
    return C::encode(*v);
  };
  k.survives = [](std::size_t which, rng& r) {
    const value v = make_value(which, r);
    const auto back = C::decode(C::encode(v));
    return back.has_value() && fields::same(v, *back);
  };
  return k;
}

struct peer_codec {
  using value = envelope;
  static constexpr std::size_t variants = std::variant_size_v<peer_message>;
  static auto& body(value& v) { return v.body; }
  static bytes encode(const value& v) { return body_of(wire::encode(v)); }
  static auto decode(byte_view b) { return decode_peer(b); }
};
struct request_codec {
  using value = decoded_request;
  static constexpr std::size_t variants = std::variant_size_v<request>;
  static auto& body(value& v) { return v.what; }
  static bytes encode(const value& v) { return body_of(wire::encode(v.call, v.what, v.timeout)); }
  static auto decode(byte_view b) { return decode_request(b); }
};
struct response_codec {
  using value = decoded_response;
  static constexpr std::size_t variants = std::variant_size_v<response>;
  static auto& body(value& v) { return v.what; }
  static bytes encode(const value& v) { return body_of(wire::encode(v.call, v.what, v.last)); }
  static auto decode(byte_view b) { return decode_response(b); }
};
struct cancel_codec {
  using value = std::uint64_t;
  static constexpr std::size_t variants = 1;
  static bytes encode(const value& v) { return body_of(encode_cancel(v)); }
  static auto decode(byte_view b) { return decode_cancel(b); }
};
struct datagram_codec {
  using value = swim::datagram;
  static constexpr std::size_t variants = std::variant_size_v<decltype(swim::datagram::body)>;
  static auto& body(value& v) { return v.body; }
  static bytes encode(const value& v) { return body_of(wire::encode(v)); }
  static auto decode(byte_view b) { return decode_datagram(datagram_around(b)); }
};
struct command_codec {
  using value = machine::command;
  static constexpr std::size_t variants = std::variant_size_v<machine::command_body>;
  static auto& body(value& v) { return v.body; }
  static bytes encode(const value& v) { return copy_of(wire::encode(v)); }
  static auto decode(byte_view b) { return decode_command(b); }
};
struct log_entry_codec {
  using value = raft::entry;
  static constexpr std::size_t variants = 1;
  static bytes encode(const value& v) {
    hash128_value chain;
    return copy_of(encode_log_entry(v, {}, chain));
  }
  static result<value> decode(byte_view b) {
    auto v = decode_log_entry(relinked(copy(b)), hash128_value{});
    if (!v) return tl::unexpected(v.error());
    return std::move(v->what);
  }
};
/// A record is decoded by its key, of which the class letter is enough.
inline constexpr std::string_view record_classes = "gmsljqbkEH";
template <std::size_t I>
struct record_codec {
  using value = std::variant_alternative_t<I, machine::record>;
  static constexpr std::size_t variants = 1;
  static bytes encode(const value& v) { return copy_of(wire::encode(machine::record(v))); }
  static result<value> decode(byte_view b) {
    auto v = decode_record(as_bytes(record_classes.substr(I, 1)), b);
    if (!v) return tl::unexpected(v.error());
    return std::get<I>(std::move(*v));
  }
};
struct hard_state_codec {
  using value = raft::hard_state;
  static constexpr std::size_t variants = 1;
  static bytes encode(const value& v) { return copy_of(wire::encode(v)); }
  static auto decode(byte_view b) { return decode_hard_state(b); }
};
struct snapshot_codec {
  using value = decoded_snapshot_meta;
  static constexpr std::size_t variants = 1;
  static bytes encode(const value& v) { return copy_of(wire::encode(v.meta, v.chain)); }
  static auto decode(byte_view b) { return decode_snapshot_meta(b); }
};
struct acceptor_codec {
  using value = swim::acceptor_state;
  static constexpr std::size_t variants = 1;
  static bytes encode(const value& v) { return copy_of(wire::encode(v)); }
  static auto decode(byte_view b) { return decode_acceptor(b); }
};

inline std::vector<kind> all_kinds() {
  std::vector<kind> kinds = {kind_of<peer_codec>("peer"),           kind_of<request_codec>("request"),
                             kind_of<response_codec>("response"),   kind_of<cancel_codec>("cancel"),
                             kind_of<datagram_codec>("datagram"),   kind_of<command_codec>("command"),
                             kind_of<log_entry_codec>("log_entry"), kind_of<hard_state_codec>("hard_state"),
                             kind_of<snapshot_codec>("snapshot"),   kind_of<acceptor_codec>("acceptor")};
  static_assert(std::variant_size_v<machine::record> == record_classes.size());
  [&]<std::size_t... I>(std::index_sequence<I...>) { (kinds.push_back(kind_of<record_codec<I>>("record")), ...); }
  (std::make_index_sequence<std::variant_size_v<machine::record>>());
  return kinds;
}

}  // namespace samples
