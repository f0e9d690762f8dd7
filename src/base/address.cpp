#include "base/address.hpp"

#include <charconv>

#include <fmt/format.h>

namespace coterie {

std::string address::str() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

result<address> address::parse(std::string_view text, std::uint16_t port_if_missing) {
  const auto bad = [&](const char* why) {
    return fail(errc::bad_argument, fmt::format("address '{}': {}; write HOST:PORT or [IPV6]:PORT", text, why));
  };
  std::string_view host = text, port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) return bad("the closing bracket is missing");
    host = text.substr(1, end - 1);
    const auto rest = text.substr(end + 1);
    if (!rest.empty()) {
      if (rest.front() != ':') return bad("':' expected after the bracket");
      port = rest.substr(1);
      if (port.empty()) return bad("the port is empty");
    }
  } else if (const auto colon = text.find(':');
             colon != std::string_view::npos && text.find(':', colon + 1) == std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    if (port.empty()) return bad("the port is empty");
  }
  if (host.empty()) return bad("the host is empty");
  if (host.size() > 255) return bad("the host is longer than 255 bytes");
  for (const char c : host)
    if (static_cast<unsigned char>(c) <= ' ' || c == '/' || c == ',' || c == '[' || c == ']')
      return bad("the host has a forbidden character");
  address a{std::string(host), port_if_missing};
  if (!port.empty()) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), value);
    if (error != std::errc{} || end != port.data() + port.size() || value > 65535)
      return bad("the port is not 0-65535");
    a.port = static_cast<std::uint16_t>(value);
  }
  return a;
}

bool address::is_loopback() const {
  if (host == "localhost" || host == "::1") return true;
  // 127.x.y.z, digits and dots only: a name such as 127.example.org is not loopback.
  return host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

}  // namespace coterie
