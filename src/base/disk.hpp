// What a disk is asked to do, as data. The engine says it, the store (or the simulated disk) does it; neither knows the
// other.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/ids.hpp"

namespace coterie::disk {

/// Key spaces of one node's storage. `state` is what a snapshot transfers and replaces; `local` and `meta` are this
/// node's own. Each data group has a state of its own, behind those that are named here.
enum class space : std::uint8_t { meta, log, state, local };
inline constexpr std::size_t spaces = 4 + max_data_groups;

/// Where the state of that group is; the meta group's is `state`.
constexpr space state_of(group_id g) {
  return g == meta_group ? space::state : static_cast<space>(static_cast<std::uint32_t>(space::local) + g.value);
}
/// The inverse; nullopt for a space that holds no state.
constexpr std::optional<group_id> group_of(space s) {
  if (s == space::state) return meta_group;
  if (s <= space::local) return std::nullopt;
  return group_id(static_cast<std::uint32_t>(s) - static_cast<std::uint32_t>(space::local));
}

struct op {
  enum class kind : std::uint8_t { put, erase, erase_range } what = kind::put;
  space in = space::meta;
  bytes key;           ///< erase_range: first key
  shared_bytes value;  ///< put: the value
  bytes end;           ///< erase_range: first key that stays; empty = to the end of the space
};
/// Applied as a whole or not at all, after all earlier batches and before all later ones, also across a crash.
using batch = std::vector<op>;
using item = std::pair<bytes, bytes>;

inline op put(space in, bytes key, shared_bytes value) {
  return {op::kind::put, in, std::move(key), std::move(value), {}};
}
inline op erase(space in, bytes key) { return {op::kind::erase, in, std::move(key), {}, {}}; }
inline op erase_range(space in, bytes from, bytes to) {
  return {op::kind::erase_range, in, std::move(from), {}, std::move(to)};
}

/// All spaces.
inline batch erase_everything() {
  batch b;
  for (std::size_t s = 0; s < spaces; ++s) b.push_back(erase_range(static_cast<space>(s), {}, {}));
  return b;
}

/// Everything that a node reads when it starts: three whole spaces, and of each state the keys that are held in memory
/// (engine::state_memory_begin to state_memory_end).
struct image {
  std::vector<item> meta, log, local, state;     ///< each in key order
  std::map<group_id, std::vector<item>> data{};  ///< states of data groups that there is something of
  /// What is damaged of the states, in memory or on disk alone; then nothing of it is here. Empty = it is sound.
  std::string state_damage{};
};

}  // namespace coterie::disk
