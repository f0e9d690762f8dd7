// What a search remembers: which operations are taken (bits), how many of those of unknown outcome were used up
// (multisets), and the configurations it met (table). Knows nothing of the order in which they are met.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "linearizability/models.hpp"

namespace coterie::linearizability::detail {

template <std::size_t Words>
struct bits {
  std::array<std::uint64_t, Words> words{};
  bool test(std::size_t i) const { return words[i / 64] >> (i % 64) & 1; }
  void set(std::size_t i) { words[i / 64] |= std::uint64_t{1} << (i % 64); }
  void reset(std::size_t i) { words[i / 64] &= ~(std::uint64_t{1} << (i % 64)); }
  std::uint64_t hash() const {
    std::uint64_t h = 0;
    for (const auto w : words) h = mix(h + w + 0x9e3779b97f4a7c15ull);
    return h;
  }
  friend bool operator==(const bits&, const bits&) = default;
};

// Sorted lists of numbers, with repetition, each kept once.
class multisets {
 public:
  using id = std::uint32_t;
  multisets() : lists_(1) {}
  const std::vector<std::uint32_t>& operator[](id i) const { return lists_[i]; }
  id intern(std::vector<std::uint32_t> list) {
    std::uint64_t h = list.size();
    for (const auto x : list) h = mix(h * 31 + x);
    const auto [begin, end] = by_hash_.equal_range(h);
    for (auto at = begin; at != end; ++at)
      if (lists_[at->second] == list) return at->second;
    if (list.empty()) return 0;
    bytes_ += list.size() * sizeof(std::uint32_t) + 64;
    lists_.push_back(std::move(list));
    by_hash_.emplace(h, static_cast<id>(lists_.size() - 1));
    return static_cast<id>(lists_.size() - 1);
  }
  static std::vector<std::uint32_t> with(const std::vector<std::uint32_t>& list, std::uint32_t x) {
    auto result = list;
    result.insert(std::upper_bound(result.begin(), result.end(), x), x);
    return result;
  }
  static bool contains(const std::vector<std::uint32_t>& big, const std::vector<std::uint32_t>& small) {
    return small.size() <= big.size() && std::includes(big.begin(), big.end(), small.begin(), small.end());
  }
  std::size_t bytes() const { return bytes_; }

 private:
  std::vector<std::vector<std::uint32_t>> lists_;
  std::unordered_multimap<std::uint64_t, id> by_hash_;
  std::size_t bytes_ = 0;
};

// The configurations met: open addressing over a vector; those that differ only in what they used up, and in which of
// the operations that may be skipped they took, form a chain.
template <class M, std::size_t Words>
class table {
 public:
  struct configuration {
    bits<Words> mask;
    typename M::state state;
    std::uint32_t at;
    multisets::id used;
  };
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  // `skippable`: the bits of operations that may be skipped.
  explicit table(const bits<Words>& skippable) : skippable_(skippable) {}

  // The first of its chain, or none.
  std::uint32_t find(const configuration& c) const {
    if (slots_.empty()) return none;
    for (std::size_t i = hash(c) & (slots_.size() - 1);; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i] == none || same(entries_[slots_[i]].c, c)) return slots_[i];
    }
  }
  std::uint32_t next(std::uint32_t entry) const { return entries_[entry].next; }
  // Whether the entry leads wherever one of its chain leads: it used no more.
  bool covers(std::uint32_t entry, const configuration& c, const multisets& m) const {
    const configuration& e = entries_[entry].c;
    for (std::size_t i = 0; i < Words; ++i)
      if (e.mask.words[i] & ~c.mask.words[i]) return false;
    return m.contains(m[c.used], m[e.used]);
  }
  bool dead(std::uint32_t entry) const { return entries_[entry].dead; }
  void bury(std::uint32_t entry) { entries_[entry].dead = true; }
  // `first`: what find gave.
  std::uint32_t insert(const configuration& c, std::uint32_t first) {
    const auto entry = static_cast<std::uint32_t>(entries_.size());
    entries_.push_back({c, none, false});
    if (first != none) {
      entries_[entry].next = entries_[first].next;
      entries_[first].next = entry;
      return entry;
    }
    if (++heads_ * 2 > slots_.size()) grow();
    place(entry);
    return entry;
  }
  std::size_t bytes() const { return entries_.size() * sizeof(record) + slots_.size() * sizeof(std::uint32_t); }
  std::size_t size() const { return entries_.size(); }
  void clear() {
    entries_.clear();
    slots_.clear();
    heads_ = 0;
    ++generation_;
  }
  std::uint32_t generation() const { return generation_; }

 private:
  struct record {
    configuration c;
    std::uint32_t next;
    bool dead, head = false;
  };
  bits<Words> key(bits<Words> mask) const {
    for (std::size_t i = 0; i < Words; ++i) mask.words[i] &= ~skippable_.words[i];
    return mask;
  }
  std::uint64_t hash(const configuration& c) const {
    return mix(key(c.mask).hash() + mix(c.at + M::hash(c.state)) * 0x9e3779b97f4a7c15ull);
  }
  bool same(const configuration& a, const configuration& b) const {
    return a.at == b.at && a.state == b.state && key(a.mask) == key(b.mask);
  }
  void place(std::uint32_t entry) {
    entries_[entry].head = true;
    std::size_t i = hash(entries_[entry].c) & (slots_.size() - 1);
    while (slots_[i] != none) i = (i + 1) & (slots_.size() - 1);
    slots_[i] = entry;
  }
  void grow() {
    const auto size = slots_.empty() ? 64 : slots_.size() * 2;
    slots_.assign(size, none);
    for (std::uint32_t e = 0; e < entries_.size(); ++e)
      if (entries_[e].head) place(e);
  }

  bits<Words> skippable_;
  std::vector<record> entries_;
  std::vector<std::uint32_t> slots_;
  std::size_t heads_ = 0;
  std::uint32_t generation_ = 0;
};

}  // namespace coterie::linearizability::detail
