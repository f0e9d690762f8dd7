// The tools of the codecs: one message built into, or read from, one segment, and fields of the types that all of them
// share. Private to src/wire. Knows Cap'n Proto, but no message in particular.
#pragma once

#include <capnp/any.h>
#include <capnp/message.h>
#include <kj/exception.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/address.hpp"
#include "base/bytes.hpp"
#include "base/disk.hpp"
#include "base/ids.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "wire/schemas/common.capnp.h"

namespace coterie::wire {

inline constexpr std::size_t max_name = 255;  ///< bytes of whatever names something: a cluster, node, lock, host, ...
inline constexpr int default_nesting = 8;     ///< pointers from the root to the deepest value
inline constexpr std::size_t usual_size = 1 << 10;  ///< bytes; most messages fit

/// Thrown while a message is read, never past decode().
struct malformed {
  const char* what;
};
[[noreturn]] inline void refuse(const char* what) { throw malformed{what}; }
inline void require(bool holds, const char* what) {
  if (!holds) refuse(what);
}

// ---- a message in one segment --------------------------------------------------------------------------------------

/// A builder whose first segment is given; more are allocated when it is too small, only to learn how large it should
/// be.
class segment_builder final : public capnp::MessageBuilder {
 public:
  /// `first` is zeroed.
  explicit segment_builder(kj::ArrayPtr<capnp::word> first) : first_(first) {}
  kj::ArrayPtr<capnp::word> allocateSegment(capnp::uint minimum) override;
  bool in_first() const { return more_.empty(); }

 private:
  kj::ArrayPtr<capnp::word> first_;  // empty once it is in use
  std::vector<kj::Array<capnp::word>> more_;
};

/// The bytes of one message behind `prefix` (a multiple of 8) zero bytes. `fill` takes the root's builder and may be
/// called twice: `size` is the expected number of bytes, and when it was too small everything is written again, so one
/// that is likely to be longer than `usual_size` should say so.
template <class Root, class Fill>
bytes build(std::size_t prefix, std::size_t size, Fill fill) {
  std::size_t capacity = (size + 7) / 8;
  if (size <= usual_size) {  // on the stack first: the allocator then sees only blocks of the right size
    std::array<capnp::word, usual_size / 8> scratch{};
    segment_builder message({scratch.data(), scratch.size()});
    fill(message.initRoot<Root>());
    capacity = message.sizeInWords();
    if (message.in_first()) {
      bytes out(prefix + capacity * 8);
      std::memcpy(out.data() + prefix, scratch.data(), capacity * 8);
      return out;
    }
  }
  for (;;) {
    bytes out(prefix + capacity * 8);
    segment_builder message({reinterpret_cast<capnp::word*>(out.data() + prefix), capacity});
    fill(message.initRoot<Root>());
    capacity = message.sizeInWords();
    if (!message.in_first()) continue;
    out.resize(prefix + capacity * 8);
    return out.capacity() > 2 * out.size() ? bytes(out.begin(), out.end()) : out;
  }
}

/// Calls read(root) on the message in `body` and gives its result; a failure (errc::bad_argument) for bytes that are no
/// such message.
template <class Root, class Read>
auto decode(byte_view body, Read read, int nesting = default_nesting)
    -> result<decltype(read(std::declval<typename Root::Reader>()))> {
  if (body.empty() || body.size() % 8 != 0) return fail(errc::bad_argument, "malformed message: not a number of words");
  bytes aligned;
  if (reinterpret_cast<std::uintptr_t>(body.data()) % alignof(capnp::word) != 0) {
    aligned = copy(body);
    body = aligned;
  }
  const std::size_t words = body.size() / 8;
  const kj::ArrayPtr<const capnp::word> segment(reinterpret_cast<const capnp::word*>(body.data()), words);
  capnp::ReaderOptions options;
  options.traversalLimitInWords = words + 1;  // nothing is read twice but the root's pointer
  options.nestingLimit = nesting;
  try {
    capnp::SegmentArrayMessageReader message(kj::arrayPtr(&segment, 1), options);
    return read(message.getRoot<Root>());
  } catch (const malformed& e) {
    return fail(errc::bad_argument, std::string("malformed message: ") + e.what);
  } catch (const kj::Exception&) {
    return fail(errc::bad_argument, "malformed message");
  }
}

// ---- numbers and enumerations --------------------------------------------------------------------------------------

template <class To, class From>
To as_enum(From value) {
  return static_cast<To>(value);
}
/// An enumerator from 0 to `last`.
template <class To, class From>
To get_enum(From value, To last) {
  require(static_cast<std::uint64_t>(value) <= static_cast<std::uint64_t>(last), "unknown enumerator");
  return static_cast<To>(value);
}
inline std::uint16_t put_code(errc code) { return static_cast<std::uint16_t>(code); }
inline errc get_code(std::uint16_t code) { return get_enum(code, errc::unavailable); }

inline constexpr std::int64_t max_milliseconds = std::int64_t{1} << 43;  ///< 278 years: always fits nanoseconds

inline std::int64_t put_time(wall_time t) { return t.time_since_epoch().count(); }
/// Times and durations beyond max_milliseconds become that: "for ever" stays for ever, and no arithmetic overflows.
inline std::chrono::milliseconds get_duration(std::int64_t ms) {
  return std::chrono::milliseconds(std::clamp(ms, -max_milliseconds, max_milliseconds));
}
inline wall_time get_time(std::int64_t ms) { return wall_time(get_duration(ms)); }

// ---- optional values: a union of none and some ---------------------------------------------------------------------

template <class B, class T, class Put>
void put_optional(B b, const std::optional<T>& v, Put put_value) {
  if (v) {
    b.setSome(put_value(*v));
  } else {
    b.setNone();
  }
}
template <class R, class Get>
auto get_optional(R r, Get get_value) -> std::optional<decltype(get_value(r.getSome()))> {
  if (r.isNone()) return std::nullopt;
  require(r.isSome(), "unknown optional");
  return get_value(r.getSome());
}
template <class B>
void put_optional(B b, const std::optional<wall_time>& v) {
  put_optional(b, v, put_time);
}
template <class B>
void put_optional(B b, const std::optional<std::chrono::milliseconds>& v) {
  put_optional(b, v, [](std::chrono::milliseconds d) { return d.count(); });
}
template <class R>
std::optional<wall_time> get_optional_time(R r) {
  return get_optional(r, get_time);
}
template <class R>
std::optional<std::chrono::milliseconds> get_optional_duration(R r) {
  return get_optional(r, get_duration);
}

// ---- bytes and text ------------------------------------------------------------------------------------------------

inline capnp::Text::Reader text(const std::string& s) { return {s.c_str(), s.size()}; }
inline std::string get_text(capnp::Text::Reader t) { return {t.begin(), t.size()}; }
inline std::string get_name(capnp::Text::Reader t) {
  require(t.size() <= max_name, "a name is too long");
  return get_text(t);
}
inline capnp::Data::Reader blob(byte_view b) { return {reinterpret_cast<const kj::byte*>(b.data()), b.size()}; }
inline capnp::Data::Reader blob(const std::string& s) { return blob(as_bytes(s)); }
inline byte_view get_view(capnp::Data::Reader d) { return {reinterpret_cast<const std::byte*>(d.begin()), d.size()}; }
inline bytes get_bytes(capnp::Data::Reader d) { return copy(get_view(d)); }
inline std::string get_string(capnp::Data::Reader d) { return to_text(get_view(d)); }
inline shared_bytes get_shared(capnp::Data::Reader d) {
  return d.size() == 0 ? shared_bytes() : shared_bytes(get_bytes(d));
}

// ---- ids and addresses: groups, and list elements, of the same fields ----------------------------------------------

template <class B, class T>
requires requires(T v) { v.hi, v.lo; }
void put_id(B b, const T& v) {
  b.setHi(v.hi);
  b.setLo(v.lo);
}
template <class T, class R>
T get_id(R r) {
  return T{r.getHi(), r.getLo()};
}
template <class B>
void put_address(B b, const address& v) {
  b.setHost(text(v.host));
  b.setPort(v.port);
}
template <class R>
address get_address(R r) {
  return {get_name(r.getHost()), r.getPort()};
}

// ---- lists and maps ------------------------------------------------------------------------------------------------

template <class L, class Range, class Put>
void put_list(L list, const Range& values, Put put_one) {
  capnp::uint i = 0;
  for (const auto& v : values) put_one(list[i++], v);
}
/// Elements through the put() of their types, found beside the schema's types.
template <class L, class Range>
void put_list(L list, const Range& values) {
  put_list(list, values, [](auto b, const auto& v) { put(b, v); });
}
template <class Range>
capnp::uint count(const Range& values) {
  return static_cast<capnp::uint>(values.size());
}

template <class>
struct element;
template <class T, capnp::Kind K>
struct element<capnp::List<T, K>> {
  using type = T;
  static constexpr bool is_struct = K == capnp::Kind::STRUCT;
};
/// No element may take less room than the schema says: so what is made of a message is bounded by its length. (When a
/// struct of a list grows after a release, its size in the first release is the bound.)
template <class L>
void require_room(const L& list) {
  using element_type = element<typename L::Reads>;
  if constexpr (element_type::is_struct) {
    using room = typename element_type::type::_capnpPrivate;
    if (list.size() == 0) return;
    const capnp::AnyStruct::Reader first(list[0]);
    require(first.getDataSection().size() >= room::dataWordSize * sizeof(capnp::word) &&
                first.getPointerSection().size() >= room::pointerCount,
            "a list's elements are too small");
  }
}
template <class L, class Get>
auto get_list(L list, Get get_one) {
  require_room(list);
  std::vector<decltype(get_one(list[0]))> out;
  out.reserve(list.size());
  for (auto v : list) out.push_back(get_one(v));
  return out;
}
/// Elements through the get() of their types.
template <class L>
auto get_list(L list) {
  return get_list(list, [](auto v) { return get(v); });
}
/// `get_one` gives a pair of key and value; keys must strictly rise.
template <class Map, class L, class Get>
Map get_map(L list, Get get_one) {
  require_room(list);
  Map out;
  for (auto v : list) {
    auto pair = get_one(v);
    require(out.empty() || out.rbegin()->first < pair.first, "a map's keys do not rise");
    out.emplace_hint(out.end(), std::move(pair));
  }
  return out;
}

namespace schema {
inline void put(Item::Builder b, const disk::item& v) {
  b.setKey(blob(byte_view(v.first)));
  b.setValue(blob(byte_view(v.second)));
}
inline disk::item get(Item::Reader r) { return {get_bytes(r.getKey()), get_bytes(r.getValue())}; }
/// About how many bytes they take.
inline std::size_t size_of(const std::vector<disk::item>& items) {
  std::size_t n = 0;
  for (const auto& [key, value] : items) n += 32 + key.size() + value.size();
  return n;
}
}  // namespace schema

template <class L>
void put_ids(L list, const std::vector<node_id>& ids) {
  put_list(list, ids, [](auto b, node_id v) { put_id(b, v); });
}
template <class L>
std::vector<node_id> get_ids(L list) {
  return get_list(list, [](auto v) { return get_id<node_id>(v); });
}
template <class L>
void put_texts(L list, const std::vector<std::string>& values) {
  for (capnp::uint i = 0; i < count(values); ++i) list.set(i, text(values[i]));
}
using text_map = std::map<std::string, std::string>;
void put_map(capnp::List<schema::Pair>::Builder, const text_map&);
text_map get_text_map(capnp::List<schema::Pair>::Reader);

}  // namespace coterie::wire
