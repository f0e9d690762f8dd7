// The network of memberships for tests with Catch: how its words are printed.
#pragma once

#include "catch.hpp"
#include "unit/swim/membership_network.hpp"

namespace Catch {
template <>
struct StringMaker<coterie::swim::event_kind> {
  static std::string convert(coterie::swim::event_kind k) { return coterie::swim::to_string(k); }
};
template <>
struct StringMaker<coterie::swim::member_state> {
  static std::string convert(coterie::swim::member_state s) { return coterie::swim::to_string(s); }
};
}  // namespace Catch
