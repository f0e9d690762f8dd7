// A node's peers on the network: datagrams and streams of frames on one port, UDP and TCP. It knows addresses, names,
// connections and frames; it must not know what a frame or a datagram says, nor which node is at the other end.
//
// Used on the thread that runs the io_context, except open(). Handlers are called from there, too, never from inside a
// call of a method, and must not throw. What goes wrong is told by `down` or counted; nothing is thrown.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/address.hpp"
#include "base/bytes.hpp"
#include "base/counters.hpp"
#include "base/result.hpp"
#include "net/resolver.hpp"

namespace coterie::net {

struct transport_options {
  address bind{};                      ///< numeric or a name; port 0 = any that is free for UDP and TCP
  std::size_t max_queued = 64u << 20;  ///< bytes waiting on one stream; more ends it
  std::size_t max_streams = 4'096;     ///< accepted and dialled; beyond it accepted ones are closed, dials fail
  std::size_t max_silent = 1'024;      ///< accepted streams without a first frame; beyond it closed
  std::chrono::milliseconds silent_timeout{10'000};  ///< until then the first frame of an accepted stream has to come
  std::chrono::milliseconds dial_timeout{2'000};     ///< with the look-up of the name
  std::chrono::milliseconds stall_timeout{5'000};    ///< what is sent and not acknowledged by then ends the stream
  resolver::options names{};                         ///< of the hosts that are dialled and sent to
};

class transport {
 public:
  struct handlers {
    std::function<void(const address& from, byte_view)> datagram;
    /// Dialled: the number that dial() was given. Accepted: 1, 2, ... with the high bit clear; `remote` is where it
    /// came from.
    std::function<void(std::uint64_t id, bool dialled, const address& remote)> up;
    /// A stream ended, or a dial failed. `refused`: the other side's system refused or reset it, no process is there.
    std::function<void(std::uint64_t id, bool refused, const std::string& reason)> down;
    std::function<void(std::uint64_t id, bytes body)> frame;
    /// No process listens for datagrams there (ICMP from that very address), as it was given to send_datagram().
    std::function<void(const address& to)> unreachable;
    /// The system threw so many datagrams away since it was told last: the buffer was full.
    std::function<void(std::uint32_t count)> dropped;
  };

  /// Binds. Failures say what to do: port in use, address not of this machine, name not known.
  static result<std::unique_ptr<transport>> open(asio::io_context&, const transport_options&, handlers);
  ~transport();

  /// Begins to listen and read.
  void start();
  /// The bound address with the real port, numeric.
  address bound() const;

  /// Sent now or dropped. A name that is not known yet is asked for, the datagram dropped.
  void send_datagram(const address& to, byte_view);
  /// Answered by up or down, unless close() comes first. `id`: with the high bit set, never used before.
  void dial(std::uint64_t id, const address& to);
  /// A whole frame for an open stream; dropped and counted when there is none.
  void send(std::uint64_t id, bytes frame);
  /// Ends a stream, or a dial; what is queued is still sent. No `down` follows.
  void close(std::uint64_t id);
  /// Writes what send() queued since the last time, one call a stream.
  void flush();
  /// Closes everything, at once or (`politely`) after what is queued; no handler is called any more.
  void stop(bool politely = false);

  std::size_t streams() const;
  /// net.*: what was refused, dropped, malformed. Of the datagram socket: udp.*.
  counters stats() const;

 private:
  struct impl;
  explicit transport(std::shared_ptr<impl>);
  std::shared_ptr<impl> impl_;
};

}  // namespace coterie::net
