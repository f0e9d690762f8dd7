#include "base/hash.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace coterie {

std::uint64_t hash64(byte_view b, std::uint64_t seed) { return XXH3_64bits_withSeed(b.data(), b.size(), seed); }

hash128_value hash128(byte_view b) {
  const auto h = XXH3_128bits(b.data(), b.size());
  return {h.high64, h.low64};
}

group_id group_of(std::string_view name, std::uint32_t data_groups) {
  return data_groups == 0 ? meta_group : group_id(1 + static_cast<std::uint32_t>(hash64(name) % data_groups));
}

std::uint64_t rendezvous_weight(std::string_view key, node_id id) {
  return hash64(key, id.hi ^ (id.lo * 0x9e3779b97f4a7c15ull));
}

}  // namespace coterie
