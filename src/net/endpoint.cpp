#include "net/endpoint.hpp"

#include <algorithm>

#include <fmt/format.h>
#include <asio/io_context.hpp>

namespace coterie::net {

std::optional<asio::ip::address> numeric(const std::string& host) {
  std::error_code ec;
  const auto a = asio::ip::make_address(host, ec);
  if (ec) return std::nullopt;
  return a;
}

asio::ip::address unmapped(const asio::ip::address& a) {
  if (!a.is_v6() || !a.to_v6().is_v4_mapped()) return a;
  return asio::ip::make_address_v4(asio::ip::v4_mapped, a.to_v6());
}

std::optional<asio::ip::address> usable_from(const asio::ip::address& bound, const asio::ip::address& a) {
  const auto plain = unmapped(a);
  if (bound.is_v4()) return plain.is_v4() ? std::optional(plain) : std::nullopt;
  if (plain.is_v4()) return asio::ip::address(asio::ip::make_address_v6(asio::ip::v4_mapped, plain.to_v4()));
  return plain;
}

address to_address(const asio::ip::address& a, std::uint16_t port) {
  std::error_code ec;
  return {unmapped(a).to_string(ec), port};
}

result<std::vector<asio::ip::address>> resolve_now(const std::string& host) {
  if (const auto a = numeric(host)) return std::vector{*a};
  asio::io_context io;
  std::error_code ec;
  const auto found = asio::ip::tcp::resolver(io).resolve(host, "", ec);
  std::vector<asio::ip::address> r;
  if (!ec)
    for (const auto& e : found)
      if (std::find(r.begin(), r.end(), e.endpoint().address()) == r.end()) r.push_back(e.endpoint().address());
  if (r.empty())
    return fail(errc::bad_argument,
                fmt::format("the host name {} does not resolve ({}): use a numeric address or correct the name", host,
                            ec ? ec.message() : "no address"));
  return r;
}

}  // namespace coterie::net
