// Frames on one connected stream socket, TCP or Unix: cuts what comes in into checked frames, and writes what goes out
// in as few calls as it can. Knows the frame's header and checksum (wire), not what a body means nor who is at the
// other end. Everything happens on the loop thread.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <asio/generic/stream_protocol.hpp>

#include "base/bytes.hpp"
#include "wire/frame.hpp"

namespace coterie::net {

class frame_stream;

/// What the streams of one loop share: the buffer they read into, and who has something to write at the end of the
/// turn.
class stream_group {
 public:
  /// One write call for each stream that was given frames since the last time.
  void flush();

 private:
  friend frame_stream;
  static constexpr std::size_t buffer_size = 64u << 10;
  std::unique_ptr<std::byte[]> buffer_ = std::make_unique_for_overwrite<std::byte[]>(buffer_size);
  std::vector<std::weak_ptr<frame_stream>> dirty_;  // a stream holds its group
};

/// Why a stream ended.
struct stream_end {
  enum class cause : std::uint8_t {
    closed,     ///< by the other side, in order
    reset,      ///< by the other side's system: no process is there (any more)
    bad_frame,  ///< garbage, a wrong checksum, a kind that has no business here, too long
    overflow,   ///< the other side does not read: the limit of what waits to be sent was reached
    error,      ///< anything else: timed out, unreachable, ...
  } why = cause::error;
  std::string reason;  ///< for people
};

/// Lives as long as somebody holds it or an operation is under way. Handlers are never called after close() or abort(),
/// and `end` at most once, never from inside send() or flush().
class frame_stream : public std::enable_shared_from_this<frame_stream> {
 public:
  using socket = asio::generic::stream_protocol::socket;
  struct options {
    std::size_t max_queued = 64u << 20;   ///< bytes waiting to be sent; more ends the stream
    std::vector<wire::frame_kind> kinds;  ///< that the other side may send
  };
  struct handlers {
    std::function<void(wire::frame_kind, bytes body)> frame;
    std::function<void(const stream_end&)> end;
  };

  frame_stream(socket, std::shared_ptr<stream_group>, options, handlers);

  /// Begins to read.
  void start();
  /// Queues a whole frame; it leaves at the group's next flush().
  void send(bytes frame);
  void flush();
  /// Sends what is queued, says so to the other side, and drops what it still says until it closes too (a socket that
  /// is closed with unread input would look like a crash to it). abort() when that takes too long.
  void close();
  /// Closes the socket at once.
  void abort();

  bool ended() const { return state_ == state::ended; }

 private:
  friend stream_group;
  enum class state : std::uint8_t { open, draining, ended };
  void wait_readable();
  void on_readable();
  bool take(byte_view);
  bool take_header(byte_view&);
  bool finish_frame(bytes body);
  void shut();
  void fail(stream_end::cause, std::string reason);
  void fail(const std::error_code&);
  void consume(std::size_t);
  void wait_writable();

  socket socket_;
  std::shared_ptr<stream_group> group_;
  const options opt_;
  const handlers on_;
  state state_ = state::open;
  bool told_ = false;  // the owner knows that it is over
  bool dirty_ = false, waiting_writable_ = false;

  // Input: a header, perhaps in pieces, then its body when that came in pieces.
  std::array<std::byte, wire::header_size> header_bytes_{};
  std::size_t header_have_ = 0;
  std::optional<wire::frame_header> header_;
  bytes body_;  // grows with what has come, not with what was announced
  std::size_t body_have_ = 0;

  std::deque<bytes> queue_;  // small frames share a chunk
  std::size_t queued_ = 0, front_done_ = 0;
  std::vector<asio::const_buffer> gather_;
};

}  // namespace coterie::net
