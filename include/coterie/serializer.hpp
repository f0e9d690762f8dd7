// How cache keys become bytes: the same on every node and in every build. Strings are their own bytes and integers
// decimal text, so that a key can be typed at the command line (coterie cache invalidate NAME KEY).
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "coterie/error.hpp"

namespace coterie {

using bytes = std::vector<std::byte>;

/// What a serializer of T offers. Different values give different bytes; equal values equal bytes. encode appends to
/// `out`; decode gets exactly what encode appended. schema_version rises when the bytes of a value change.
template <class S, class T>
concept serializer_for = requires(const S s, const T& value, bytes& out, std::span<const std::byte> in) {
  { s.encode(value, out) } -> std::same_as<void>;
  { s.decode(in) } -> std::same_as<T>;
  { S::schema_version } -> std::convertible_to<std::uint32_t>;
};

/// For std::string, integers, bool, enumerations, and std::pair, tuple, optional, vector and map of those. Specialise
/// it for types of your own.
template <class T>
struct default_serializer;

namespace detail {

inline void append_text(std::string_view s, bytes& out) {
  const auto b = std::as_bytes(std::span(s.data(), s.size()));
  out.insert(out.end(), b.begin(), b.end());
}
inline std::string_view text_of(std::span<const std::byte> in) noexcept {
  return {reinterpret_cast<const char*>(in.data()), in.size()};
}
[[noreturn]] inline void bad_encoding() {
  throw error(make_error_code(errc::bad_argument), "bytes that this serializer did not write");
}

/// A part of a larger value: its length in 4 bytes, big-endian, then its own bytes.
template <class T>
void append_part(const T& value, bytes& out) {
  const auto at = out.size();
  out.resize(at + 4);
  default_serializer<T>{}.encode(value, out);
  const auto size = out.size() - at - 4;
  if (size > 0xffff'ffff) throw error(make_error_code(errc::limit), "a part of a key has more than 4 GiB");
  for (std::size_t i = 0; i < 4; ++i) out[at + i] = static_cast<std::byte>(size >> (24 - 8 * i));
}
template <class T>
T take_part(std::span<const std::byte>& in) {
  if (in.size() < 4) bad_encoding();
  std::size_t size = 0;
  for (std::size_t i = 0; i < 4; ++i) size = size << 8 | std::to_integer<std::size_t>(in[i]);
  in = in.subspan(4);
  if (in.size() < size) bad_encoding();
  const auto part = in.first(size);
  in = in.subspan(size);
  return default_serializer<T>{}.decode(part);
}

}  // namespace detail

/// The bytes themselves.
template <>
struct default_serializer<std::string> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  void encode(const std::string& s, bytes& out) const { detail::append_text(s, out); }
  std::string decode(std::span<const std::byte> in) const { return std::string(detail::text_of(in)); }
};

/// `true` or `false`.
template <>
struct default_serializer<bool> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  void encode(bool b, bytes& out) const { detail::append_text(b ? "true" : "false", out); }
  bool decode(std::span<const std::byte> in) const { return detail::text_of(in) == "true"; }
};

/// Decimal text.
template <std::integral T>
struct default_serializer<T> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  void encode(T v, bytes& out) const {
    std::array<char, 24> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), wide(v)).ptr;
    detail::append_text({text.data(), static_cast<std::size_t>(end - text.data())}, out);
  }
  T decode(std::span<const std::byte> in) const {
    const auto text = detail::text_of(in);
    wide v{};
    const auto r = std::from_chars(text.data(), text.data() + text.size(), v);
    if (r.ec != std::errc{} || r.ptr != text.data() + text.size()) detail::bad_encoding();
    return static_cast<T>(v);
  }

 private:
  using wide = std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t>;
};

/// As their numbers.
template <class T>
requires std::is_enum_v<T>
struct default_serializer<T> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  using number = std::underlying_type_t<T>;
  void encode(T v, bytes& out) const { default_serializer<number>{}.encode(static_cast<number>(v), out); }
  T decode(std::span<const std::byte> in) const { return static_cast<T>(default_serializer<number>{}.decode(in)); }
};

/// Part after part.
template <class... T>
struct default_serializer<std::tuple<T...>> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  void encode(const std::tuple<T...>& v, bytes& out) const {
    std::apply([&](const auto&... part) { (detail::append_part(part, out), ...); }, v);
  }
  std::tuple<T...> decode(std::span<const std::byte> in) const {
    std::tuple<T...> v{detail::take_part<T>(in)...};  // braces: from left to right
    if (!in.empty()) detail::bad_encoding();
    return v;
  }
};

/// As a tuple.
template <class A, class B>
struct default_serializer<std::pair<A, B>> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  void encode(const std::pair<A, B>& v, bytes& out) const {
    detail::append_part(v.first, out);
    detail::append_part(v.second, out);
  }
  std::pair<A, B> decode(std::span<const std::byte> in) const {
    std::pair<A, B> v{detail::take_part<A>(in), detail::take_part<B>(in)};
    if (!in.empty()) detail::bad_encoding();
    return v;
  }
};

/// No part or one.
template <class T>
struct default_serializer<std::optional<T>> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  void encode(const std::optional<T>& v, bytes& out) const {
    if (v) detail::append_part(*v, out);
  }
  std::optional<T> decode(std::span<const std::byte> in) const {
    if (in.empty()) return std::nullopt;
    return detail::take_part<T>(in);
  }
};

/// Part after part.
template <class T>
struct default_serializer<std::vector<T>> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  void encode(const std::vector<T>& v, bytes& out) const {
    for (const T& part : v) detail::append_part(part, out);
  }
  std::vector<T> decode(std::span<const std::byte> in) const {
    std::vector<T> v;
    while (!in.empty()) v.push_back(detail::take_part<T>(in));
    return v;
  }
};

/// Key and value in turn, in the order of the keys.
template <class K, class V>
struct default_serializer<std::map<K, V>> {
  /// See serializer_for.
  static constexpr std::uint32_t schema_version = 1;
  void encode(const std::map<K, V>& v, bytes& out) const {
    for (const auto& [key, value] : v) {
      detail::append_part(key, out);
      detail::append_part(value, out);
    }
  }
  std::map<K, V> decode(std::span<const std::byte> in) const {
    std::map<K, V> v;
    while (!in.empty()) {
      auto key = detail::take_part<K>(in);
      v.insert_or_assign(std::move(key), detail::take_part<V>(in));
    }
    return v;
  }
};

}  // namespace coterie
