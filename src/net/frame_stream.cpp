#include "net/frame_stream.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <asio/error.hpp>
#include <asio/post.hpp>

namespace coterie::net {

namespace {
constexpr std::size_t chunk_size = 64u << 10;  // frames are joined up to this
constexpr std::size_t small_frame = 8u << 10;  // larger ones are not copied
constexpr std::size_t max_gather = 64;         // buffers of one write call (Asio's limit)
constexpr std::size_t body_step = 256u << 10;  // memory taken ahead of what has come
constexpr int reads_a_turn = 4;                // of one stream, so that the others get theirs

bool again(const std::error_code& ec) { return ec == asio::error::would_block || ec == asio::error::try_again; }
}  // namespace

void stream_group::flush() {
  // A failing stream never marks another one, but be safe against growth.
  for (std::size_t i = 0; i < dirty_.size(); ++i) {
    const auto s = dirty_[i].lock();
    if (!s) continue;
    s->dirty_ = false;
    s->flush();
  }
  dirty_.clear();
}

frame_stream::frame_stream(socket s, std::shared_ptr<stream_group> group, options o, handlers h)
    : socket_(std::move(s)), group_(std::move(group)), opt_(std::move(o)), on_(std::move(h)) {
  std::error_code ec;
  socket_.non_blocking(true, ec);
}

void frame_stream::start() { wait_readable(); }

// ---- input --------------------------------------------------------------------------------------------------------

void frame_stream::wait_readable() {
  socket_.async_wait(socket::wait_read, [self = shared_from_this()](const std::error_code& ec) {
    if (self->state_ == state::ended) return;
    if (ec) return self->fail(ec);
    self->on_readable();
  });
}

void frame_stream::on_readable() {
  for (int i = 0; i < reads_a_turn; ++i) {
    // A body under way is read into its place, whatever follows into the shared buffer.
    std::array<asio::mutable_buffer, 2> into;
    std::size_t direct = 0;
    if (header_ && state_ == state::open) {
      if (body_have_ == body_.size())
        body_.resize(std::min(header_->body_size(), body_have_ + std::max(body_have_, body_step)));
      direct = body_.size() - body_have_;
      into[0] = asio::buffer(body_.data() + body_have_, direct);
    }
    into[1] = asio::buffer(group_->buffer_.get(), stream_group::buffer_size);
    std::error_code ec;
    const std::size_t n = socket_.read_some(into, ec);
    if (again(ec)) break;
    if (ec) return fail(ec);
    if (state_ == state::open) {
      body_have_ += std::min(n, direct);
      if (header_ && body_have_ == header_->body_size()) {
        body_have_ = 0;
        if (!finish_frame(std::exchange(body_, {}))) return;
      }
      if (n > direct && !take({group_->buffer_.get(), n - direct})) return;
    }
    if (state_ == state::ended) return;
    if (n < direct + stream_group::buffer_size) break;
  }
  wait_readable();
}

/// Cuts frames out of what came; the rest is kept. False when the stream ended.
bool frame_stream::take(byte_view in) {
  while (!in.empty()) {
    if (state_ != state::open) return state_ == state::draining;
    if (!header_ && !take_header(in)) return state_ != state::ended;
    const std::size_t size = header_->body_size();
    if (body_have_ == 0 && in.size() >= size) {
      if (!finish_frame(copy(in.first(size)))) return false;
      in = in.subspan(size);
      continue;
    }
    const std::size_t n = std::min(in.size(), size - body_have_);
    if (body_.size() < body_have_ + n) body_.resize(std::min(size, std::max(body_have_ + n, body_step)));
    std::copy_n(in.data(), n, body_.data() + body_have_);  // of nothing into nothing, too
    body_have_ += n;
    in = in.subspan(n);
    if (body_have_ == size) {
      body_have_ = 0;
      if (!finish_frame(std::exchange(body_, {}))) return false;
    }
  }
  return state_ != state::ended;
}

/// Moves up to a header's bytes from `in`; true when the header is complete and acceptable.
bool frame_stream::take_header(byte_view& in) {
  const std::size_t n = std::min(in.size(), wire::header_size - header_have_);
  std::memcpy(header_bytes_.data() + header_have_, in.data(), n);
  header_have_ += n;
  in = in.subspan(n);
  if (header_have_ < wire::header_size) return false;
  header_have_ = 0;
  const auto h = wire::parse_header(header_bytes_);
  if (!h) {
    fail(stream_end::cause::bad_frame, h.error().message);
    return false;
  }
  if (std::find(opt_.kinds.begin(), opt_.kinds.end(), h->kind) == opt_.kinds.end()) {
    fail(stream_end::cause::bad_frame, "a kind of frame that has no business here");
    return false;
  }
  if (h->body_size() > wire::max_body(h->kind)) {
    fail(stream_end::cause::bad_frame, "a frame that is too long");
    return false;
  }
  header_ = *h;
  return true;
}

bool frame_stream::finish_frame(bytes body) {
  const auto header = *std::exchange(header_, std::nullopt);
  if (!wire::verify(header, header_bytes_, body)) {
    fail(stream_end::cause::bad_frame, "a frame with a wrong checksum");
    return false;
  }
  on_.frame(header.kind, std::move(body));
  return state_ != state::ended;
}

// ---- output -------------------------------------------------------------------------------------------------------

void frame_stream::send(bytes frame) {
  if (state_ != state::open || frame.empty()) return;
  if (queued_ + frame.size() > opt_.max_queued) {
    return fail(stream_end::cause::overflow, "the other side does not read what it is sent");
  }
  queued_ += frame.size();
  if (frame.size() <= small_frame && !queue_.empty() && queue_.back().size() + frame.size() <= chunk_size) {
    queue_.back().insert(queue_.back().end(), frame.begin(), frame.end());
  } else {
    queue_.push_back(std::move(frame));
  }
  if (!dirty_) {
    dirty_ = true;
    group_->dirty_.push_back(weak_from_this());
  }
}

void frame_stream::flush() {
  if (state_ == state::ended || waiting_writable_) return;
  while (!queue_.empty()) {
    gather_.clear();
    std::size_t skip = front_done_;
    for (const auto& b : queue_) {
      if (gather_.size() == max_gather) break;
      gather_.emplace_back(b.data() + skip, b.size() - skip);
      skip = 0;
    }
    std::error_code ec;
    const std::size_t n = socket_.write_some(gather_, ec);
    if (again(ec)) return wait_writable();
    if (ec) return fail(ec);
    consume(n);
  }
  if (state_ == state::draining) {
    std::error_code ec;
    socket_.shutdown(socket::shutdown_send, ec);
    if (ec) shut();
  }
}

void frame_stream::consume(std::size_t n) {
  queued_ -= n;
  while (n > 0) {
    const std::size_t front = queue_.front().size() - front_done_;
    if (n < front) {
      front_done_ += n;
      return;
    }
    n -= front;
    front_done_ = 0;
    queue_.pop_front();
  }
}

void frame_stream::wait_writable() {
  waiting_writable_ = true;
  socket_.async_wait(socket::wait_write, [self = shared_from_this()](const std::error_code& ec) {
    self->waiting_writable_ = false;
    if (self->state_ == state::ended) return;
    if (ec) return self->fail(ec);
    self->flush();
  });
}

// ---- the end ------------------------------------------------------------------------------------------------------

void frame_stream::close() {
  told_ = true;
  if (state_ != state::open) return;
  state_ = state::draining;
  body_ = {};
  flush();
}

void frame_stream::abort() {
  told_ = true;
  shut();
}

void frame_stream::shut() {
  if (state_ == state::ended) return;
  state_ = state::ended;
  std::error_code ec;
  socket_.close(ec);
  queue_.clear();
  queued_ = front_done_ = 0;
  body_ = {};
}

void frame_stream::fail(const std::error_code& ec) {
  if (ec == asio::error::eof) return fail(stream_end::cause::closed, "closed by the other side");
  const bool reset = ec == asio::error::connection_reset || ec == asio::error::connection_refused;
  fail(reset ? stream_end::cause::reset : stream_end::cause::error, ec.message());
}

void frame_stream::fail(stream_end::cause why, std::string reason) {
  if (state_ == state::ended) return;
  auto executor = socket_.get_executor();
  shut();
  if (told_) return;
  asio::post(executor, [self = shared_from_this(), end = stream_end{why, std::move(reason)}] {
    if (std::exchange(self->told_, true)) return;
    self->on_.end(end);
  });
}

}  // namespace coterie::net
