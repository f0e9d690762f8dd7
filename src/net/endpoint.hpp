// Between coterie::address and what the operating system wants: numeric addresses, endpoints, and the one blocking
// look-up of a name, for the start. Knows no sockets.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>

#include "base/address.hpp"
#include "base/result.hpp"

namespace coterie::net {

/// The address when `host` is numeric.
std::optional<asio::ip::address> numeric(const std::string& host);
/// An IPv4-mapped IPv6 address as the IPv4 address that it means; others as they are.
asio::ip::address unmapped(const asio::ip::address&);
/// As a socket bound to an address of the family of `bound` can use it: IPv4 becomes mapped on an IPv6 socket; nullopt
/// for IPv6 on an IPv4 socket.
std::optional<asio::ip::address> usable_from(const asio::ip::address& bound, const asio::ip::address&);

address to_address(const asio::ip::address&, std::uint16_t port);
inline address to_address(const asio::ip::tcp::endpoint& e) { return to_address(e.address(), e.port()); }
inline address to_address(const asio::ip::udp::endpoint& e) { return to_address(e.address(), e.port()); }

/// All addresses of a host. Blocks as long as the resolver does. errc::bad_argument when there is none.
result<std::vector<asio::ip::address>> resolve_now(const std::string& host);

}  // namespace coterie::net
