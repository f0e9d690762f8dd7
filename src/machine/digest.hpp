// A running hash over records, field by field, the same on every node. Not a format: never stored, never compared
// across versions.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <type_traits>

#include "base/bytes.hpp"
#include "machine/types.hpp"

namespace coterie::machine {

class digest_builder {
 public:
  void add(const global_record&);
  void add(const member_record&);
  void add(const session_record&);
  void add(const lock_record&);
  void add(const job_record&);
  void add(const job_run_record&);
  void add(const journal_record&);
  void add(const journal_bucket&);
  void add(const journal_key&);
  std::uint64_t value();

 private:
  template <class T>
  requires std::is_arithmetic_v<T> || std::is_enum_v<T>
  void field(T v) { number(static_cast<std::uint64_t>(v)); }
  void field(double);
  void field(std::string_view);
  template <class Tag, class Rep>
  void field(strong<Tag, Rep> v) {
    number(v.value);
  }
  void field(node_id v) {
    number(v.hi);
    number(v.lo);
  }
  void field(wall_time v) { number(static_cast<std::uint64_t>(v.time_since_epoch().count())); }
  void field(milliseconds v) { number(static_cast<std::uint64_t>(v.count())); }
  template <class T>
  void field(const std::optional<T>& v) {
    number(v.has_value());
    if (v) field(*v);
  }
  void field(const answer&);
  void field(const job_param&);
  void field(const job_config&);
  template <class... T>
  void fields(const T&... v) {
    (field(v), ...);
  }
  void number(std::uint64_t);
  void fold();

  bytes buffer_;
  std::uint64_t hash_ = 0;
};

}  // namespace coterie::machine
