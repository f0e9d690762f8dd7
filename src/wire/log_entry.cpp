// Entries as the log stores them: a fixed layout, little-endian (docs/storage.md, Log entries), so that the leader's
// bytes of a command are hashed and stored as they came.
//   0 checksum: XXH3-64 of all that follows   8 running hash (low, high half)   24 index   32 term   40 kind   41
//   version   42 zero   44 read lease of a configuration, ms   48 payload
// The running hash is the XXH3-128 of the bytes from 8 to the end with the previous entry's running hash in its place.
#include <array>

#include "wire/codec.hpp"
#include "wire/structs.hpp"

namespace coterie::wire {
namespace {

constexpr std::size_t chain_at = 8, index_at = 24, term_at = 32, kind_at = 40, version_at = 41, read_lease_at = 44,
                      payload_at = 48;
constexpr std::byte layout_version{1};

std::uint32_t load32(const std::byte* from) {
  std::uint32_t v = 0;
  for (std::size_t i = 0; i < 4; ++i) v |= static_cast<std::uint32_t>(from[i]) << (8 * i);
  return v;
}
void store32(std::byte* to, std::uint32_t v) {
  for (std::size_t i = 0; i < 4; ++i) to[i] = static_cast<std::byte>(v >> (8 * i));
}
std::uint64_t load64(const std::byte* from) {
  std::uint64_t v = 0;
  for (std::size_t i = 0; i < 8; ++i) v |= static_cast<std::uint64_t>(from[i]) << (8 * i);
  return v;
}
void store64(std::byte* to, std::uint64_t v) {
  for (std::size_t i = 0; i < 8; ++i) to[i] = static_cast<std::byte>(v >> (8 * i));
}
void store_chain(bytes& entry, hash128_value chain) {
  store64(&entry[chain_at], chain.lo);
  store64(&entry[chain_at + 8], chain.hi);
}
hash128_value load_chain(byte_view entry) { return {load64(&entry[chain_at + 8]), load64(&entry[chain_at])}; }

shared_bytes encode(const raft::configuration& v) {
  return build<schema::Configuration>(0, usual_size, [&](schema::Configuration::Builder b) { put(b, v); });
}

}  // namespace

shared_bytes encode_log_entry(const raft::entry& v, hash128_value previous_chain, hash128_value& chain) {
  shared_bytes payload;
  if (v.kind == raft::entry_kind::command) payload = v.payload;
  if (v.kind == raft::entry_kind::configuration) payload = encode(v.conf);
  bytes out;
  out.reserve(payload_at + payload.size());
  out.resize(payload_at);
  store64(&out[index_at], v.index.value);
  store64(&out[term_at], v.when.value);
  out[kind_at] = static_cast<std::byte>(v.kind);
  out[version_at] = layout_version;
  if (v.kind == raft::entry_kind::configuration) store32(&out[read_lease_at], schema::put_read_lease(v.conf));
  out.insert(out.end(), payload.view().begin(), payload.view().end());
  const byte_view whole = out;
  store_chain(out, previous_chain);
  chain = hash128(whole.subspan(chain_at));
  store_chain(out, chain);
  store64(out.data(), hash64(whole.subspan(chain_at)));
  return out;
}

result<decoded_entry> decode_log_entry(byte_view b, std::optional<hash128_value> previous_chain) {
  if (b.size() < payload_at) return fail(errc::bad_argument, "log entry too short");
  if (load64(b.data()) != hash64(b.subspan(chain_at))) return fail(errc::bad_argument, "log entry: wrong checksum");
  if (b[version_at] != layout_version) return fail(errc::bad_argument, "log entry: unknown version");
  const hash128_value chain = load_chain(b);
  if (previous_chain) {
    bytes linked = copy(b);
    store_chain(linked, *previous_chain);
    if (hash128(byte_view(linked).subspan(chain_at)) != chain)
      return fail(errc::bad_argument, "log entry does not follow the one before it");
  }
  raft::entry v{
      term(load64(&b[term_at])), log_index(load64(&b[index_at])), static_cast<raft::entry_kind>(b[kind_at]), {}, {}};
  const byte_view payload = b.subspan(payload_at);
  switch (v.kind) {
    case raft::entry_kind::noop:
      return decoded_entry{std::move(v), chain};
    case raft::entry_kind::command:
      if (!payload.empty()) v.payload = copy(payload);
      return decoded_entry{std::move(v), chain};
    case raft::entry_kind::configuration: {
      const auto read_lease = load32(&b[read_lease_at]);
      auto conf =
          decode<schema::Configuration>(payload, [&](schema::Configuration::Reader r) { return get(r, read_lease); });
      if (!conf) return tl::unexpected(std::move(conf.error()));
      v.conf = std::move(*conf);
      return decoded_entry{std::move(v), chain};
    }
  }
  return fail(errc::bad_argument, "log entry: unknown kind");
}

}  // namespace coterie::wire
