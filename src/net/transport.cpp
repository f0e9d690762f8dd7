#include "net/transport.hpp"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <fmt/format.h>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/ip/v6_only.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "net/datagram_port.hpp"
#include "net/endpoint.hpp"
#include "net/frame_stream.hpp"
#include "net/resolver.hpp"

namespace coterie::net {

using asio::ip::tcp;
using asio::ip::udp;

namespace {
constexpr int port_attempts = 64;  // to find one that is free for both
constexpr auto sweep_period = std::chrono::seconds(1);
constexpr auto drain_timeout = std::chrono::seconds(2);
constexpr auto accept_pause = std::chrono::milliseconds(100);  // when descriptors have run out
constexpr std::size_t max_draining = 256;
constexpr std::size_t max_aliases = 4'096;

result<void> bind_failed(const address& at, const std::error_code& ec) {
  if (ec == asio::error::address_in_use)
    return fail(errc::exists,
                fmt::format("{} is in use by another process: stop it or bind to another port", at.str()));
  if (ec == std::errc::address_not_available)
    return fail(errc::bad_argument,
                fmt::format("{} is not an address of this machine: bind to one of its own", at.host));
  if (ec == asio::error::access_denied)
    return fail(errc::bad_argument,
                fmt::format("{} may not be bound by this user: choose a port from 1024 up", at.str()));
  return fail(errc::bad_argument, fmt::format("cannot bind to {} ({}): check the address", at.str(), ec.message()));
}

/// No delays, and a peer that does not acknowledge is noticed even when nothing is read.
void tune(tcp::socket& s, std::chrono::milliseconds stall) {
  std::error_code ec;
  s.set_option(tcp::no_delay(true), ec);
  const auto set = [fd = s.native_handle()](int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
  };
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(stall.count()));
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, std::max(1, static_cast<int>(stall.count() / 1'000)));
  set(IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

const char* counter_of(stream_end::cause why) {
  switch (why) {
    case stream_end::cause::closed:
      return "net.closed";
    case stream_end::cause::reset:
      return "net.reset";
    case stream_end::cause::bad_frame:
      return "net.bad_frame";
    case stream_end::cause::overflow:
      return "net.overflow";
    case stream_end::cause::error:
      return "net.error";
  }
  return "net.error";
}
}  // namespace

struct transport::impl : std::enable_shared_from_this<transport::impl> {
  using clock = std::chrono::steady_clock;

  /// A dial under way: the name, then its addresses one after the other, all within one time-out.
  struct attempt {
    attempt(asio::io_context& io, std::uint64_t number, address where)
        : id(number), to(std::move(where)), socket(io), timer(io) {}
    std::uint64_t id;
    address to;
    tcp::socket socket;
    asio::steady_timer timer;
    std::vector<asio::ip::address> hosts;
    std::size_t next = 0;
    bool refused = true;  ///< so far every address did
    bool over = false;
    std::string reason = "the name does not resolve";
  };
  struct open_stream {
    std::shared_ptr<frame_stream> stream;
    bool silent = false;  ///< accepted, and no frame has come
  };

  impl(asio::io_context& io, transport_options o, handlers h)
      : io_(io),
        opt_(std::move(o)),
        on_(std::move(h)),
        acceptor_(io),
        sweep_timer_(io),
        accept_timer_(io),
        resolver_(std::make_shared<resolver>(io, opt_.names)),
        group_(std::make_shared<stream_group>()) {}

  result<void> bind();
  result<void> listen(const tcp::endpoint&);
  void start();
  void accept();
  void accepted(tcp::socket);
  void dial(std::uint64_t id, const address&);
  void try_next(const std::shared_ptr<attempt>&);
  void connected(const std::shared_ptr<attempt>&, const std::error_code&);
  void give_up(const std::shared_ptr<attempt>&, const std::string& reason, bool refused);
  void fail_later(std::uint64_t id, const char* reason);
  frame_stream& add(std::uint64_t id, tcp::socket, bool silent);
  void on_frame(std::uint64_t id, bytes);
  void on_end(std::uint64_t id, const stream_end&);
  void remove(std::unordered_map<std::uint64_t, open_stream>::iterator);
  void send_datagram(const address&, byte_view);
  void on_unreachable(const udp::endpoint&);
  void close(std::uint64_t id);
  void drain(const std::shared_ptr<frame_stream>&);
  void sweep();
  void stop(bool politely);

  asio::io_context& io_;
  const transport_options opt_;
  const handlers on_;
  tcp::acceptor acceptor_;
  asio::steady_timer sweep_timer_, accept_timer_;
  std::shared_ptr<resolver> resolver_;
  std::shared_ptr<stream_group> group_;
  std::shared_ptr<datagram_port> udp_;
  address bound_;
  asio::ip::address bound_host_;
  std::unordered_map<std::uint64_t, open_stream> streams_;
  std::unordered_map<std::uint64_t, std::shared_ptr<attempt>> dials_;
  std::deque<std::pair<clock::time_point, std::uint64_t>> silent_;                    // by age
  std::deque<std::pair<clock::time_point, std::shared_ptr<frame_stream>>> draining_;  // by deadline
  std::map<udp::endpoint, address> aliases_;  // names that datagrams were sent to
  std::size_t silent_count_ = 0;
  std::uint64_t last_accepted_ = 0;
  counters stats_;
  bool stopped_ = false;
};

// ---- binding ------------------------------------------------------------------------------------------------------

result<void> transport::impl::listen(const tcp::endpoint& at) {
  std::error_code ec;
  acceptor_.close(ec);
  acceptor_.open(at.protocol(), ec);
  if (!ec) acceptor_.set_option(tcp::acceptor::reuse_address(true), ec);
  if (!ec && at.address().is_v6()) acceptor_.set_option(asio::ip::v6_only(false), ec);
  if (!ec) acceptor_.bind(at, ec);
  if (!ec) acceptor_.listen(asio::socket_base::max_listen_connections, ec);
  if (!ec) acceptor_.non_blocking(true, ec);
  if (ec) return bind_failed(to_address(at), ec);
  return {};
}

result<void> transport::impl::bind() {
  const auto hosts = resolve_now(opt_.bind.host);
  if (!hosts) return tl::unexpected(hosts.error());
  bound_host_ = hosts->front();
  std::weak_ptr<impl> weak = weak_from_this();
  udp_ = std::make_shared<datagram_port>(
      io_, datagram_port::handlers{[weak](const udp::endpoint& from, byte_view data) {
                                     if (const auto self = weak.lock(); self && !self->stopped_)
                                       self->on_.datagram(to_address(from), data);
                                   },
                                   [weak](const udp::endpoint& to) {
                                     if (const auto self = weak.lock(); self && !self->stopped_)
                                       self->on_unreachable(to);
                                   },
                                   [weak](std::uint32_t count) {
                                     if (const auto self = weak.lock(); self && !self->stopped_)
                                       self->on_.dropped(count);
                                   }});
  const int attempts = opt_.bind.port == 0 ? port_attempts : 1;
  result<void> done;
  for (int i = 0; i < attempts; ++i) {
    if (done = listen({bound_host_, opt_.bind.port}); !done) return done;
    std::error_code ec;
    const auto port = acceptor_.local_endpoint(ec).port();
    bound_ = to_address(bound_host_, port);
    ec = udp_->bind({bound_host_, port});
    if (!ec) return {};
    done = bind_failed(bound_, ec);
    if (ec != asio::error::address_in_use) return done;
  }
  return done;
}

void transport::impl::start() {
  udp_->start();
  accept();
  sweep();
}

// ---- accepting ----------------------------------------------------------------------------------------------------

void transport::impl::accept() {
  acceptor_.async_accept([self = shared_from_this()](const std::error_code& ec, tcp::socket s) {
    if (self->stopped_) return;
    if (!ec) {
      self->accepted(std::move(s));
      return self->accept();
    }
    if (ec == asio::error::connection_aborted) return self->accept();
    self->stats_.add("net.accept_failed");
    self->accept_timer_.expires_after(accept_pause);
    self->accept_timer_.async_wait([self](const std::error_code&) {
      if (!self->stopped_) self->accept();
    });
  });
}

void transport::impl::accepted(tcp::socket s) {
  if (silent_count_ >= opt_.max_silent || streams_.size() + dials_.size() >= opt_.max_streams) {
    stats_.add("net.too_many");
    return;
  }
  std::error_code ec;
  const auto remote = s.remote_endpoint(ec);
  if (ec) return;  // gone already
  const auto id = ++last_accepted_;
  silent_.emplace_back(clock::now() + opt_.silent_timeout, id);
  auto& stream = add(id, std::move(s), true);
  on_.up(id, false, to_address(remote));
  stream.start();
}

frame_stream& transport::impl::add(std::uint64_t id, tcp::socket s, bool silent) {
  tune(s, opt_.stall_timeout);
  std::weak_ptr<impl> weak = weak_from_this();
  auto stream = std::make_shared<frame_stream>(
      frame_stream::socket(std::move(s)), group_,
      frame_stream::options{.max_queued = opt_.max_queued, .kinds = {wire::frame_kind::peer}},
      frame_stream::handlers{[weak, id](wire::frame_kind, bytes body) {
                               if (const auto self = weak.lock()) self->on_frame(id, std::move(body));
                             },
                             [weak, id](const stream_end& end) {
                               if (const auto self = weak.lock()) self->on_end(id, end);
                             }});
  if (silent) ++silent_count_;
  return *(streams_[id] = open_stream{std::move(stream), silent}).stream;
}

void transport::impl::on_frame(std::uint64_t id, bytes body) {
  const auto it = streams_.find(id);
  if (stopped_ || it == streams_.end()) return;
  if (std::exchange(it->second.silent, false)) --silent_count_;
  on_.frame(id, std::move(body));
}

void transport::impl::on_end(std::uint64_t id, const stream_end& end) {
  const auto it = streams_.find(id);
  if (stopped_ || it == streams_.end()) return;
  stats_.add(counter_of(end.why));
  remove(it);
  on_.down(id, end.why == stream_end::cause::reset, end.reason);
}

void transport::impl::remove(std::unordered_map<std::uint64_t, open_stream>::iterator it) {
  if (it->second.silent) --silent_count_;
  streams_.erase(it);
}

// ---- dialling -----------------------------------------------------------------------------------------------------

void transport::impl::fail_later(std::uint64_t id, const char* reason) {
  asio::post(io_, [self = shared_from_this(), id, reason] {
    if (!self->stopped_) self->on_.down(id, false, reason);
  });
}

void transport::impl::dial(std::uint64_t id, const address& to) {
  if (stopped_) return;
  if (streams_.size() + dials_.size() >= opt_.max_streams) {
    stats_.add("net.too_many");
    return fail_later(id, "too many streams");
  }
  auto a = std::make_shared<attempt>(io_, id, to);
  dials_[id] = a;
  a->timer.expires_after(opt_.dial_timeout);
  a->timer.async_wait([self = shared_from_this(), a](const std::error_code& ec) {
    if (!ec && !a->over) self->give_up(a, "no answer in time", false);
  });
  // Posted, so that no handler is called from in here, whatever the resolver and the socket know at once.
  asio::post(io_, [self = shared_from_this(), a] {
    if (a->over || self->stopped_) return;
    self->resolver_->resolve(a->to.host, [self, a](const resolver::addresses& found) {
      if (a->over || self->stopped_) return;
      for (const auto& host : found)
        if (const auto usable = usable_from(self->bound_host_, host)) a->hosts.push_back(*usable);
      self->try_next(a);
    });
  });
}

void transport::impl::try_next(const std::shared_ptr<attempt>& a) {
  if (a->next == a->hosts.size()) return give_up(a, a->reason, a->refused && !a->hosts.empty());
  std::error_code ec;
  a->socket.close(ec);
  a->socket.async_connect({a->hosts[a->next++], a->to.port}, [self = shared_from_this(), a](const std::error_code& e) {
    if (!a->over && !self->stopped_) self->connected(a, e);
  });
}

void transport::impl::connected(const std::shared_ptr<attempt>& a, const std::error_code& ec) {
  std::error_code ignored;
  // On loopback a dial to a free port can meet itself (simultaneous open): nobody is there.
  const bool itself = !ec && a->socket.local_endpoint(ignored) == a->socket.remote_endpoint(ignored);
  if (ec || itself) {
    const bool refused = itself || ec == asio::error::connection_refused || ec == asio::error::connection_reset;
    a->refused = a->refused && refused;
    a->reason = itself ? "connection refused" : ec.message();
    return try_next(a);
  }
  a->over = true;
  a->timer.cancel();
  dials_.erase(a->id);
  auto& stream = add(a->id, std::move(a->socket), false);
  on_.up(a->id, true, a->to);
  stream.start();
}

void transport::impl::give_up(const std::shared_ptr<attempt>& a, const std::string& reason, bool refused) {
  a->over = true;
  a->timer.cancel();
  std::error_code ec;
  a->socket.close(ec);
  dials_.erase(a->id);
  stats_.add(refused ? "net.dial_refused" : "net.dial_failed");
  on_.down(a->id, refused, reason);
}

// ---- datagrams ----------------------------------------------------------------------------------------------------

void transport::impl::send_datagram(const address& to, byte_view data) {
  if (stopped_) return;
  const auto plain = numeric(to.host);
  const auto found = plain ? resolver::addresses{*plain} : resolver_->known(to.host);
  for (const auto& host : found) {
    const auto usable = usable_from(bound_host_, host);
    if (!usable) continue;
    const udp::endpoint e(*usable, to.port);
    if (!plain) {
      if (aliases_.size() >= max_aliases) aliases_.clear();
      aliases_[e] = to;
    }
    return udp_->send(e, data);
  }
  stats_.add(found.empty() ? "net.unresolved" : "net.other_family");
}

void transport::impl::on_unreachable(const udp::endpoint& to) {
  const auto it = aliases_.find(to);
  on_.unreachable(it != aliases_.end() ? it->second : to_address(to));
}

// ---- the end ------------------------------------------------------------------------------------------------------

void transport::impl::drain(const std::shared_ptr<frame_stream>& s) {
  s->close();
  if (s->ended()) return;
  if (draining_.size() >= max_draining) {
    draining_.front().second->abort();
    draining_.pop_front();
  }
  draining_.emplace_back(clock::now() + drain_timeout, s);
}

void transport::impl::close(std::uint64_t id) {
  if (const auto d = dials_.find(id); d != dials_.end()) {
    const auto a = d->second;
    a->over = true;
    a->timer.cancel();
    std::error_code ec;
    a->socket.close(ec);
    dials_.erase(d);
    return;
  }
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  const auto s = it->second.stream;
  remove(it);
  drain(s);
}

void transport::impl::sweep() {
  const auto now = clock::now();
  for (; !silent_.empty() && silent_.front().first <= now; silent_.pop_front()) {
    const auto id = silent_.front().second;
    const auto it = streams_.find(id);
    if (it == streams_.end() || !it->second.silent) continue;
    it->second.stream->abort();
    stats_.add("net.silent");
    remove(it);
    on_.down(id, false, "said nothing");
    if (stopped_) return;
  }
  for (; !draining_.empty() && draining_.front().first <= now; draining_.pop_front()) draining_.front().second->abort();
  sweep_timer_.expires_after(std::min<clock::duration>(sweep_period, opt_.silent_timeout));
  sweep_timer_.async_wait([self = shared_from_this()](const std::error_code& ec) {
    if (!ec && !self->stopped_) self->sweep();
  });
}

void transport::impl::stop(bool politely) {
  if (stopped_) return;
  stopped_ = true;
  std::error_code ec;
  acceptor_.close(ec);
  if (udp_) udp_->close();
  resolver_->stop();
  sweep_timer_.cancel();
  accept_timer_.cancel();
  for (auto& [id, a] : dials_) {
    a->over = true;
    a->timer.cancel();
    a->socket.close(ec);
  }
  dials_.clear();
  for (auto& [id, s] : streams_) {
    if (politely) {
      s.stream->close();
    } else {
      s.stream->abort();
    }
  }
  if (!politely)
    for (auto& [deadline, s] : draining_) s->abort();
  streams_.clear();
  draining_.clear();
}

// ---- transport ----------------------------------------------------------------------------------------------------

result<std::unique_ptr<transport>> transport::open(asio::io_context& io, const transport_options& o, handlers h) {
  auto i = std::make_shared<impl>(io, o, std::move(h));
  if (auto done = i->bind(); !done) return tl::unexpected(done.error());
  return std::unique_ptr<transport>(new transport(std::move(i)));
}

transport::transport(std::shared_ptr<impl> i) : impl_(std::move(i)) {}
transport::~transport() { impl_->stop(false); }
void transport::start() { impl_->start(); }
address transport::bound() const { return impl_->bound_; }
void transport::send_datagram(const address& to, byte_view data) { impl_->send_datagram(to, data); }
void transport::dial(std::uint64_t id, const address& to) { impl_->dial(id, to); }
void transport::send(std::uint64_t id, bytes frame) {
  const auto it = impl_->streams_.find(id);
  if (it == impl_->streams_.end()) return impl_->stats_.add("net.no_stream");
  it->second.stream->send(std::move(frame));
}
void transport::close(std::uint64_t id) { impl_->close(id); }
void transport::flush() { impl_->group_->flush(); }
void transport::stop(bool politely) { impl_->stop(politely); }
std::size_t transport::streams() const { return impl_->streams_.size(); }
counters transport::stats() const {
  counters r = impl_->stats_;
  for (const auto& [name, n] : impl_->udp_->stats().all()) r.add(name.data(), n);
  return r;
}

}  // namespace coterie::net
