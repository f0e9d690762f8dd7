#include "runtime/control.hpp"

#include <chrono>
#include <map>
#include <unordered_map>
#include <utility>

#include <unistd.h>

#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/steady_timer.hpp>

#include "net/frame_stream.hpp"
#include "wire/codec.hpp"

namespace coterie::runtime {

using local = asio::local::stream_protocol;

namespace {
constexpr auto accept_pause = std::chrono::milliseconds(100);  // when descriptors have run out
}

struct control_server::impl : std::enable_shared_from_this<control_server::impl> {
  struct client {
    std::shared_ptr<net::frame_stream> stream;
    std::map<std::uint64_t, engine::call_id> calls;  // by the client's numbers; zero while it is being submitted
  };

  impl(asio::io_context& io, int listening, handlers h, control_options o)
      : opt_(o), on_(std::move(h)), acceptor_(io), pause_(io), group_(std::make_shared<net::stream_group>()) {
    std::error_code ec;
    acceptor_.assign(local(), listening, ec);
    if (ec) ::close(listening);
  }

  void accept();
  void accepted(local::socket);
  void on_frame(std::uint64_t id, wire::frame_kind, const bytes&);
  void on_request(std::uint64_t id, client&, const bytes&);
  void on_answer(std::uint64_t id, std::uint64_t call, const wire::response&, bool last);
  void end(std::uint64_t id, const char* counter);
  void stop();

  const control_options opt_;
  const handlers on_;
  local::acceptor acceptor_;
  asio::steady_timer pause_;
  std::shared_ptr<net::stream_group> group_;
  std::unordered_map<std::uint64_t, client> clients_;
  std::uint64_t last_client_ = 0;
  counters stats_;
  bool stopped_ = false;
};

void control_server::impl::accept() {
  acceptor_.async_accept([self = shared_from_this()](const std::error_code& ec, local::socket s) {
    if (self->stopped_ || ec == asio::error::bad_descriptor) return;
    if (!ec) {
      self->accepted(std::move(s));
      return self->accept();
    }
    self->pause_.expires_after(accept_pause);
    self->pause_.async_wait([self](const std::error_code&) {
      if (!self->stopped_) self->accept();
    });
  });
}

void control_server::impl::accepted(local::socket s) {
  if (clients_.size() >= opt_.max_clients) return stats_.add("control.too_many");
  const auto id = ++last_client_;
  std::weak_ptr<impl> weak = weak_from_this();
  auto stream = std::make_shared<net::frame_stream>(
      net::frame_stream::socket(std::move(s)), group_,
      net::frame_stream::options{.max_queued = opt_.max_queued,
                                 .kinds = {wire::frame_kind::request, wire::frame_kind::cancel}},
      net::frame_stream::handlers{[weak, id](wire::frame_kind kind, bytes body) {
                                    if (const auto self = weak.lock()) self->on_frame(id, kind, body);
                                  },
                                  [weak, id](const net::stream_end& e) {
                                    const bool slow = e.why == net::stream_end::cause::overflow;
                                    if (const auto self = weak.lock())
                                      self->end(id, slow ? "control.overflow" : "control.closed");
                                  }});
  clients_[id].stream = stream;
  stream->start();
}

void control_server::impl::on_frame(std::uint64_t id, wire::frame_kind kind, const bytes& body) {
  const auto it = clients_.find(id);
  if (stopped_ || it == clients_.end()) return;
  if (kind == wire::frame_kind::request) return on_request(id, it->second, body);
  const auto call = wire::decode_cancel(body);
  if (!call) return end(id, "control.bad_frame");
  const auto known = it->second.calls.find(*call);
  if (known == it->second.calls.end()) return;  // answered meanwhile
  const auto ours = known->second;
  it->second.calls.erase(known);
  on_.cancel(ours);
}

void control_server::impl::on_request(std::uint64_t id, client& c, const bytes& body) {
  auto r = wire::decode_request(body);
  if (!r || c.calls.contains(r->call)) return end(id, "control.bad_frame");
  const auto call = r->call;
  if (c.calls.size() >= opt_.max_calls) {
    stats_.add("control.limit");
    return c.stream->send(wire::encode(
        call, failure{errc::limit, "too many calls on one connection: wait for answers, or open another"}, true));
  }
  c.calls[call] = {};
  std::weak_ptr<impl> weak = weak_from_this();
  const auto ours = on_.submit(
      std::move(r->what),
      [weak, id, call](const wire::response& what, bool last) {
        if (const auto self = weak.lock()) self->on_answer(id, call, what, last);
      },
      r->timeout);
  // Unless it is answered already.
  if (const auto it = c.calls.find(call); it != c.calls.end()) it->second = ours;
}

void control_server::impl::on_answer(std::uint64_t id, std::uint64_t call, const wire::response& what, bool last) {
  const auto it = clients_.find(id);
  if (stopped_ || it == clients_.end() || !it->second.calls.contains(call)) return;
  if (last) it->second.calls.erase(call);
  it->second.stream->send(wire::encode(call, what, last));
}

/// The client is gone: so is whatever it holds or waits for.
void control_server::impl::end(std::uint64_t id, const char* counter) {
  const auto it = clients_.find(id);
  if (stopped_ || it == clients_.end()) return;
  stats_.add(counter);
  const auto gone = std::move(it->second);
  clients_.erase(it);
  gone.stream->abort();
  for (const auto& [call, ours] : gone.calls) on_.cancel(ours);
}

void control_server::impl::stop() {
  stopped_ = true;
  std::error_code ec;
  acceptor_.close(ec);
  pause_.cancel();
  for (auto& [id, c] : clients_) c.stream->close();
  clients_.clear();
}

control_server::control_server(asio::io_context& io, int listening, handlers h, control_options o)
    : impl_(std::make_shared<impl>(io, listening, std::move(h), o)) {}
control_server::~control_server() { impl_->stop(); }
void control_server::start() { impl_->accept(); }
void control_server::flush() { impl_->group_->flush(); }
std::size_t control_server::clients() const { return impl_->clients_.size(); }
const counters& control_server::stats() const { return impl_->stats_; }

}  // namespace coterie::runtime
