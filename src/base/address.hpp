// Network addresses as text and number; resolving names is the driver's work.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace coterie {

inline constexpr std::uint16_t default_port = 7400;

/// host is a numeric IPv4 or IPv6 address (without brackets) or a name.
struct address {
  std::string host;
  std::uint16_t port = 0;
  friend auto operator<=>(const address&, const address&) = default;
  friend bool operator==(const address&, const address&) = default;
  explicit operator bool() const { return !host.empty(); }
  /// "host:port", "[v6]:port".
  std::string str() const;
  /// Accepts host, host:port, [v6], [v6]:port, bare v6; a missing port becomes `port_if_missing`.
  static result<address> parse(std::string_view, std::uint16_t port_if_missing = default_port);
  /// 127.0.0.0/8, ::1 or "localhost".
  bool is_loopback() const;
};

}  // namespace coterie
