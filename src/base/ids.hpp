// Strong ids: numbers that can't be mistaken for one another. Text and JSON forms are the shortest that are exact.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <fmt/format.h>

namespace coterie {

/// A number with a meaning. Ordered, incrementable, never converted implicitly.
template <class Tag, class Rep = std::uint64_t>
struct strong {
  using rep = Rep;
  Rep value{};
  constexpr strong() = default;
  constexpr explicit strong(Rep v) : value(v) {}
  friend constexpr auto operator<=>(strong, strong) = default;
  constexpr explicit operator bool() const { return value != 0; }
  constexpr strong& operator++() {
    ++value;
    return *this;
  }
  constexpr strong next() const { return strong(static_cast<Rep>(value + 1)); }
  constexpr strong prev() const { return strong(static_cast<Rep>(value - 1)); }
};

using term = strong<struct term_tag>;            ///< Raft term; 0 = none
using log_index = strong<struct log_index_tag>;  ///< position in the replicated log; the first entry is 1, 0 = none
using group_id = strong<struct group_tag, std::uint32_t>;  ///< Raft group (docs/consensus.md 1.10): 0 = the meta group,
                                                           ///< 1 to max_data_groups = those that hold data
using boot_epoch = strong<struct boot_epoch_tag>;          ///< +1 and fsynced at each start of a node; 0 = none
using session_epoch = strong<struct session_tag>;          ///< log index of the session's Open entry; 0 = no session
using request_seq = strong<struct request_tag>;            ///< number of a request inside its session; the first is 1
using grant_id = strong<struct grant_tag>;                 ///< log index of the entry that granted a lock; 0 = none

inline constexpr group_id meta_group{0};
inline constexpr std::uint32_t max_data_groups = 16;

/// A fence is the index of the entry that granted it * 2^20 + a number that counts its owners (docs/consensus.md 2).
inline constexpr int fence_sequence_bits = 20;

/// Distance b - a of two indexes, 0 when b is not larger.
constexpr std::uint64_t distance(log_index a, log_index b) { return b.value > a.value ? b.value - a.value : 0; }
constexpr log_index operator+(log_index a, std::uint64_t n) { return log_index(a.value + n); }

/// A random 128-bit id. Text form: 32 lower-case hexadecimal digits; short form: first 4 … last 2.
template <class Tag>
struct id128 {
  std::uint64_t hi = 0, lo = 0;
  friend constexpr auto operator<=>(id128, id128) = default;
  constexpr explicit operator bool() const { return (hi | lo) != 0; }
  std::string str() const { return fmt::format("{:016x}{:016x}", hi, lo); }
  std::string short_str() const {
    const auto s = str();
    return s.substr(0, 4) + "…" + s.substr(30);
  }
  /// Parses the 32-digit form; nullopt for anything else.
  static std::optional<id128> parse(std::string_view s) {
    if (s.size() != 32) return std::nullopt;
    id128 r;
    for (std::size_t i = 0; i < 32; ++i) {
      const char c = s[i];
      const int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
      if (d < 0) return std::nullopt;
      auto& half = i < 16 ? r.hi : r.lo;
      half = half << 4 | static_cast<std::uint64_t>(d);
    }
    return r;
  }
};

using node_id = id128<struct node_tag>;        ///< random, persisted before the first packet; never reused
using cluster_id = id128<struct cluster_tag>;  ///< XXH3-128 of the genesis record; zero = not known yet

/// SWIM incarnation: compared as a pair, never wraps; a restarted node beats its own past by its epoch.
struct incarnation {
  boot_epoch epoch;
  std::uint64_t counter = 0;
  friend constexpr auto operator<=>(incarnation, incarnation) = default;
};

}  // namespace coterie

// Without format specifications on purpose: ids are printed as they are.
template <class Tag, class Rep>
struct fmt::formatter<coterie::strong<Tag, Rep>> {
  template <class P>
  constexpr auto parse(P& ctx) {
    return ctx.begin();
  }
  template <class C>
  auto format(coterie::strong<Tag, Rep> v, C& ctx) const {
    return fmt::format_to(ctx.out(), "{}", v.value);
  }
};
template <class Tag>
struct fmt::formatter<coterie::id128<Tag>> {
  template <class P>
  constexpr auto parse(P& ctx) {
    return ctx.begin();
  }
  template <class C>
  auto format(coterie::id128<Tag> v, C& ctx) const {
    return fmt::format_to(ctx.out(), "{}", v.short_str());
  }
};
