// The UDP socket: drains several datagrams a turn, and tells which destinations answered "no such port" (ICMP). An
// unconnected UDP socket hears of that only with IP_RECVERR, on its error queue. Knows no names and no contents. On the
// loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include <asio/io_context.hpp>
#include <asio/ip/udp.hpp>

#include "base/bytes.hpp"
#include "base/counters.hpp"

struct msghdr;

namespace coterie::net {

class datagram_port : public std::enable_shared_from_this<datagram_port> {
 public:
  struct handlers {
    std::function<void(const asio::ip::udp::endpoint& from, byte_view)> datagram;
    /// A port-unreachable came from the destination's own address.
    std::function<void(const asio::ip::udp::endpoint& to)> unreachable;
    /// So many datagrams were thrown away since this was told last, because the receive buffer was full. Told with the
    /// next datagram that comes.
    std::function<void(std::uint32_t count)> dropped;
  };
  static constexpr std::size_t max_datagram = 9'216;  ///< longer ones are dropped and counted

  datagram_port(asio::io_context&, handlers);
  std::error_code bind(const asio::ip::udp::endpoint&);
  asio::ip::udp::endpoint local() const;
  void start();
  /// Sends now or drops (and counts): datagrams are never queued.
  void send(const asio::ip::udp::endpoint&, byte_view);
  /// No handler is called any more.
  void close();
  const counters& stats() const { return stats_; }

 private:
  void wait();
  void drain();
  void drain_errors();
  void note_drops(const msghdr&);

  struct receive_buffers;
  asio::ip::udp::socket socket_;
  const handlers on_;
  std::shared_ptr<receive_buffers> buffers_;
  counters stats_;
  std::uint32_t dropped_ = 0;  ///< as the system counts them
  bool closed_ = false;
};

}  // namespace coterie::net
