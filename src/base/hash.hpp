// XXH3 behind two functions, and rendezvous hashing on them. The values are part of on-disk and on-wire formats.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.hpp"
#include "base/ids.hpp"

namespace coterie {

struct hash128_value {
  std::uint64_t hi = 0, lo = 0;
  friend constexpr auto operator<=>(hash128_value, hash128_value) = default;
};

/// XXH3-64 with a seed.
std::uint64_t hash64(byte_view, std::uint64_t seed = 0);
inline std::uint64_t hash64(std::string_view s, std::uint64_t seed = 0) { return hash64(as_bytes(s), seed); }
/// XXH3-128.
hash128_value hash128(byte_view);

/// The group that holds what has this name: the meta group where there are no data groups.
group_id group_of(std::string_view name, std::uint32_t data_groups);

/// Weight of a node for a key (highest random weight, Thaler and Ravishankar 1998): the candidate with the largest
/// weight owns the key; removing a node moves only that node's keys.
std::uint64_t rendezvous_weight(std::string_view key, node_id);

}  // namespace coterie
