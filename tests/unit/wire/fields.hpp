// Walks over the fields of any plain struct: fills them at random, and compares them. So a field that is added to a
// message and forgotten in its codec fails the tests. Knows nothing of encodings.
#pragma once

#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/bytes.hpp"
#include "base/ids.hpp"
#include "base/random.hpp"
#include "base/time.hpp"
#include "machine/types.hpp"
#include "raft/types.hpp"
#include "swim/types.hpp"
#include "wire/codec.hpp"

namespace fields {

using namespace coterie;

template <class T>
constexpr std::size_t arity() {
  // clang-format off
  if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 20;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 19;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 18;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 17;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 16;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 15;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 14;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 13;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 12;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 11;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 10;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}, {}}; }) return 9;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}, {}}; }) return 8;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}, {}}; }) return 7;
  else if constexpr (requires { T{{}, {}, {}, {}, {}, {}}; }) return 6;
  else if constexpr (requires { T{{}, {}, {}, {}, {}}; }) return 5;
  else if constexpr (requires { T{{}, {}, {}, {}}; }) return 4;
  else if constexpr (requires { T{{}, {}, {}}; }) return 3;
  else if constexpr (requires { T{{}, {}}; }) return 2;
  else if constexpr (requires { T{{}}; }) return 1;
  // clang-format on
  else
    return 0;
}

/// References to the fields of an aggregate.
template <class T>
auto tie_fields(T& v) {
  constexpr std::size_t n = arity<std::remove_const_t<T>>();
  static_assert(n > 0, "more fields than this walk knows");
  // clang-format off
  if constexpr (n == 1) { auto& [f1] = v; return std::tie(f1); }
  else if constexpr (n == 2) { auto& [f1, f2] = v; return std::tie(f1, f2); }
  else if constexpr (n == 3) { auto& [f1, f2, f3] = v; return std::tie(f1, f2, f3); }
  else if constexpr (n == 4) { auto& [f1, f2, f3, f4] = v; return std::tie(f1, f2, f3, f4); }
  else if constexpr (n == 5) { auto& [f1, f2, f3, f4, f5] = v; return std::tie(f1, f2, f3, f4, f5); }
  else if constexpr (n == 6) { auto& [f1, f2, f3, f4, f5, f6] = v; return std::tie(f1, f2, f3, f4, f5, f6); }
  else if constexpr (n == 7) { auto& [f1, f2, f3, f4, f5, f6, f7] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7); }
  else if constexpr (n == 8) { auto& [f1, f2, f3, f4, f5, f6, f7, f8] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8); }
  else if constexpr (n == 9) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9); }
  else if constexpr (n == 10) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10); }
  else if constexpr (n == 11) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11); }
  else if constexpr (n == 12) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12); }
  else if constexpr (n == 13) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13); }
  else if constexpr (n == 14) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14); }
  else if constexpr (n == 15) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15); }
  else if constexpr (n == 16) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16); }
  else if constexpr (n == 17) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17); }
  else if constexpr (n == 18) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18); }
  else if constexpr (n == 19) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19); }
  else if constexpr (n == 20) { auto& [f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20] = v; return std::tie(f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, f20); }
  // clang-format on
}

template <class T, template <class...> class X>
inline constexpr bool is_a = false;
template <template <class...> class X, class... P>
inline constexpr bool is_a<X<P...>, X> = true;
template <class T>
inline constexpr bool is_strong = false;
template <class Tag, class Rep>
inline constexpr bool is_strong<strong<Tag, Rep>> = true;

template <class E>
constexpr E last_of() {
  if constexpr (std::is_same_v<E, swim::member_state>) return E::left;
  if constexpr (std::is_same_v<E, machine::outcome>) return E::lost;
  if constexpr (std::is_same_v<E, machine::misfire_policy>) return E::fire_all;
  if constexpr (std::is_same_v<E, machine::overlap_policy>) return E::allow;
  if constexpr (std::is_same_v<E, calendar::dst_gap>) return E::at_transition;
  if constexpr (std::is_same_v<E, calendar::dst_overlap>) return E::both;
  if constexpr (std::is_same_v<E, errc>) return E::unavailable;
  if constexpr (std::is_same_v<E, raft::entry_kind>) return E::configuration;
  if constexpr (std::is_same_v<E, wire::join_verdict>) return E::elsewhere;
  if constexpr (std::is_same_v<E, wire::fetch_verdict>) return E::fork;
}

// ---- random values -------------------------------------------------------------------------------------------------

template <class T>
void fill(T& v, rng& r);

inline std::string random_text(rng& r) {
  std::string s(r.below(20), 0);
  for (char& c : s) c = static_cast<char>(r.next());
  return s;
}

template <class T, std::size_t... I>
void fill_alternative(T& v, std::size_t which, rng& r, std::index_sequence<I...>) {
  ((I == which ? fill(v.template emplace<I>(), r) : void()), ...);
}
/// Makes `v` hold its alternative `which`, filled.
template <class T>
void fill_alternative(T& v, std::size_t which, rng& r) {
  fill_alternative(v, which, r, std::make_index_sequence<std::variant_size_v<T>>());
}

inline void fill_ids(std::vector<node_id>& ids, rng& r) {
  fill(ids, r);
  std::sort(ids.begin(), ids.end());
}

/// A random value that the encodings can hold: ids of configurations are sorted, and an entry has what its kind allows.
template <class T>
void fill(T& v, rng& r) {
  if constexpr (std::is_same_v<T, wire::decoded_request>) {
    fill(v.call, r), fill(v.what, r);
    if (r.chance(0.6)) v.timeout = std::chrono::milliseconds(r.below(1'000'000));  // never negative, at most a year
  } else if constexpr (std::is_same_v<T, raft::configuration>) {
    fill_ids(v.voters, r), fill_ids(v.outgoing, r), fill_ids(v.learners, r);
    v.read_lease = std::chrono::milliseconds(r.below(1ull << 32));
  } else if constexpr (std::is_same_v<T, raft::entry>) {
    fill(v.when, r), fill(v.index, r), fill(v.kind, r);
    if (v.kind == raft::entry_kind::command) fill(v.payload, r);
    if (v.kind == raft::entry_kind::configuration) fill(v.conf, r);
  } else if constexpr (std::is_same_v<T, bool>) {
    v = r.chance(0.5);
  } else if constexpr (std::is_enum_v<T> && !std::is_same_v<T, std::byte>) {
    v = static_cast<T>(r.below(static_cast<std::uint64_t>(last_of<T>()) + 1));
  } else if constexpr (std::is_integral_v<T> || std::is_same_v<T, std::byte>) {
    v = static_cast<T>(r.next());
  } else if constexpr (std::is_floating_point_v<T>) {
    v = static_cast<T>(r.next()) / 3;
  } else if constexpr (std::is_same_v<T, std::string>) {
    v = random_text(r);
  } else if constexpr (is_strong<T>) {
    fill(v.value, r);
  } else if constexpr (std::is_same_v<T, std::chrono::milliseconds>) {
    v = T(static_cast<std::int64_t>(r.next() >> 22) - (std::int64_t{1} << 41));
  } else if constexpr (std::is_same_v<T, wall_time>) {
    std::chrono::milliseconds ms;
    fill(ms, r);
    v = T(ms);
  } else if constexpr (std::is_same_v<T, shared_bytes>) {
    v = to_bytes(random_text(r));
  } else if constexpr (is_a<T, std::vector>) {
    v.resize(r.below(4));
    for (auto& one : v) fill(one, r);
  } else if constexpr (is_a<T, std::map>) {
    for (auto n = r.below(4); n > 0; --n) {
      typename T::key_type key;
      fill(key, r);
      fill(v[key], r);
    }
  } else if constexpr (is_a<T, std::optional>) {
    if (r.chance(0.6)) fill(v.emplace(), r);
  } else if constexpr (is_a<T, std::variant>) {
    fill_alternative(v, r.below(std::variant_size_v<T>), r);
  } else if constexpr (is_a<T, std::pair>) {
    fill(v.first, r), fill(v.second, r);
  } else if constexpr (!std::is_empty_v<T>) {
    std::apply([&](auto&... field) { (fill(field, r), ...); }, tie_fields(v));
  }
}

// ---- comparison ----------------------------------------------------------------------------------------------------

template <class T>
bool same(const T& a, const T& b) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  } else if constexpr (is_a<T, std::vector> || is_a<T, std::map>) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) { return same(x, y); });
  } else if constexpr (is_a<T, std::optional>) {
    return a.has_value() == b.has_value() && (!a || same(*a, *b));
  } else if constexpr (is_a<T, std::variant>) {
    return a.index() == b.index() &&
           std::visit([&](const auto& x) { return same(x, *std::get_if<std::decay_t<decltype(x)>>(&b)); }, a);
  } else if constexpr (is_a<T, std::pair>) {
    return same(a.first, b.first) && same(a.second, b.second);
  } else if constexpr (std::is_aggregate_v<T> && !std::is_empty_v<T>) {
    const auto x = tie_fields(a);
    const auto y = tie_fields(b);
    return [&]<std::size_t... I>(std::index_sequence<I...>) { return (same(std::get<I>(x), std::get<I>(y)) && ...); }
    (std::make_index_sequence<std::tuple_size_v<decltype(x)>>());
  } else if constexpr (!std::is_empty_v<T>) {
    return a == b;
  } else {
    return true;
  }
}

}  // namespace fields
