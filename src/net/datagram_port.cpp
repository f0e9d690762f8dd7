#include "net/datagram_port.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <linux/errqueue.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <asio/ip/v6_only.hpp>

#include "net/endpoint.hpp"

namespace coterie::net {

namespace {
constexpr std::size_t batch = 16;  // datagrams of one call
constexpr int batches_a_turn = 4;
constexpr int errors_a_turn = 64;
constexpr int receive_buffer = 1 << 20;

asio::ip::udp::endpoint to_endpoint(const sockaddr_storage& from, socklen_t size) {
  asio::ip::udp::endpoint e;
  if (size > e.capacity()) return e;
  std::memcpy(e.data(), &from, size);
  e.resize(size);
  return e;
}

bool set_option(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof value) == 0;
}

/// A port-unreachable that the destination itself sent; one from a router on the way proves nothing.
bool from_the_destination(const sock_extended_err& e, const cmsghdr& header, const asio::ip::udp::endpoint& to) {
  const bool v4 = e.ee_origin == SO_EE_ORIGIN_ICMP && e.ee_type == ICMP_DEST_UNREACH && e.ee_code == ICMP_PORT_UNREACH;
  const bool v6 =
      e.ee_origin == SO_EE_ORIGIN_ICMP6 && e.ee_type == ICMPV6_DEST_UNREACH && e.ee_code == ICMPV6_PORT_UNREACH;
  if (!v4 && !v6) return false;
  // The offender's address follows the struct: struct sockaddr_in or sockaddr_in6.
  const auto* data = CMSG_DATA(&header);
  const std::size_t have = header.cmsg_len - CMSG_LEN(0);
  sockaddr_storage offender{};
  std::memcpy(&offender, data + sizeof e, std::min(sizeof offender, have - sizeof e));
  const auto size = offender.ss_family == AF_INET    ? sizeof(sockaddr_in)
                    : offender.ss_family == AF_INET6 ? sizeof(sockaddr_in6)
                                                     : 0;
  if (size == 0) return false;
  return unmapped(to_endpoint(offender, static_cast<socklen_t>(size)).address()) == unmapped(to.address());
}
}  // namespace

struct datagram_port::receive_buffers {
  std::unique_ptr<std::byte[]> memory = std::make_unique_for_overwrite<std::byte[]>(batch * max_datagram);
  std::array<sockaddr_storage, batch> from;
  std::array<iovec, batch> parts;
  std::array<mmsghdr, batch> messages;
  struct alignas(cmsghdr) control_space {
    std::array<std::byte, CMSG_SPACE(sizeof(std::uint32_t))> bytes;
  };
  std::array<control_space, batch> control;  // how many were dropped

  void reset() {
    for (std::size_t i = 0; i < batch; ++i) {
      parts[i] = {memory.get() + i * max_datagram, max_datagram};
      messages[i] = {};
      messages[i].msg_hdr.msg_name = &from[i];
      messages[i].msg_hdr.msg_namelen = sizeof from[i];
      messages[i].msg_hdr.msg_iov = &parts[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_control = control[i].bytes.data();
      messages[i].msg_hdr.msg_controllen = control[i].bytes.size();
    }
  }
};

datagram_port::datagram_port(asio::io_context& io, handlers h)
    : socket_(io), on_(std::move(h)), buffers_(std::make_shared<receive_buffers>()) {}

std::error_code datagram_port::bind(const asio::ip::udp::endpoint& at) {
  std::error_code ec;
  socket_.close(ec);
  if (socket_.open(at.protocol(), ec)) return ec;
  const bool v6 = at.address().is_v6();
  if (v6) socket_.set_option(asio::ip::v6_only(false), ec);
  if (socket_.bind(at, ec)) return ec;
  if (socket_.non_blocking(true, ec)) return ec;
  const int fd = socket_.native_handle();
  bool hears = set_option(fd, SOL_IP, IP_RECVERR, 1);
  if (v6) hears = set_option(fd, SOL_IPV6, IPV6_RECVERR, 1) && hears;
  if (!hears) stats_.add("udp.no_error_queue");
  set_option(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer);
  if (!set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, 1)) stats_.add("udp.no_drop_count");
  return {};
}

asio::ip::udp::endpoint datagram_port::local() const {
  std::error_code ec;
  return socket_.local_endpoint(ec);
}

void datagram_port::start() { wait(); }

void datagram_port::wait() {
  // Ready to read also means that the error queue has something.
  socket_.async_wait(asio::ip::udp::socket::wait_read, [self = shared_from_this()](const std::error_code& ec) {
    if (self->closed_ || ec) return;
    self->drain();
    if (self->closed_) return;
    self->drain_errors();
    if (!self->closed_) self->wait();
  });
}

void datagram_port::drain() {
  const auto b = buffers_;
  for (int round = 0; round < batches_a_turn; ++round) {
    b->reset();
    const int n = ::recvmmsg(socket_.native_handle(), b->messages.data(), batch, MSG_DONTWAIT, nullptr);
    if (n < 0) {
      // A pending ICMP error is told here first, and then it is gone; its details are on the error queue.
      if (errno == EINTR || errno == ECONNREFUSED || errno == EHOSTUNREACH || errno == ENETUNREACH) continue;
      return;
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
      const auto& m = b->messages[i];
      note_drops(m.msg_hdr);
      if (closed_) return;
      if ((m.msg_hdr.msg_flags & MSG_TRUNC) != 0) {
        stats_.add("udp.too_long");
        continue;
      }
      on_.datagram(to_endpoint(b->from[i], m.msg_hdr.msg_namelen), {b->memory.get() + i * max_datagram, m.msg_len});
      if (closed_) return;
    }
    if (static_cast<std::size_t>(n) < batch) return;
  }
}

/// Since the first drop each datagram tells how many there were (SO_RXQ_OVFL).
void datagram_port::note_drops(const msghdr& m) {
  auto header = m;
  for (auto* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SO_RXQ_OVFL) continue;
    std::uint32_t all = 0;
    std::memcpy(&all, CMSG_DATA(c), sizeof all);
    const auto fresh = all - std::exchange(dropped_, all);
    if (fresh == 0) continue;
    stats_.add("udp.dropped", fresh);
    on_.dropped(fresh);
  }
}

void datagram_port::drain_errors() {
  for (int i = 0; i < errors_a_turn; ++i) {
    sockaddr_storage to{};
    std::byte ignored[1];
    iovec part{ignored, sizeof ignored};
    alignas(cmsghdr) std::array<std::byte, 512> control;
    msghdr m{};
    m.msg_name = &to;
    m.msg_namelen = sizeof to;
    m.msg_iov = &part;
    m.msg_iovlen = 1;
    m.msg_control = control.data();
    m.msg_controllen = control.size();
    if (::recvmsg(socket_.native_handle(), &m, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return;
    const auto destination = to_endpoint(to, m.msg_namelen);
    for (auto* c = CMSG_FIRSTHDR(&m); c != nullptr; c = CMSG_NXTHDR(&m, c)) {
      const bool error = (c->cmsg_level == SOL_IP && c->cmsg_type == IP_RECVERR) ||
                         (c->cmsg_level == SOL_IPV6 && c->cmsg_type == IPV6_RECVERR);
      if (!error || c->cmsg_len < CMSG_LEN(sizeof(sock_extended_err))) continue;
      sock_extended_err e;
      std::memcpy(&e, CMSG_DATA(c), sizeof e);
      stats_.add("udp.icmp");
      if (from_the_destination(e, *c, destination)) on_.unreachable(destination);
      if (closed_) return;
    }
  }
}

void datagram_port::send(const asio::ip::udp::endpoint& to, byte_view data) {
  if (closed_) return;
  // An error of an earlier datagram may be told by this call instead of sending; it is told once.
  for (int attempt = 0; attempt < 2; ++attempt) {
    const auto n = ::sendto(socket_.native_handle(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL, to.data(),
                            static_cast<socklen_t>(to.size()));
    if (n >= 0) return;
    if (errno != ECONNREFUSED && errno != EHOSTUNREACH && errno != EINTR) break;
  }
  stats_.add(errno == EAGAIN || errno == ENOBUFS ? "udp.send_full" : "udp.send_failed");
}

void datagram_port::close() {
  closed_ = true;
  std::error_code ec;
  socket_.close(ec);
}

}  // namespace coterie::net
