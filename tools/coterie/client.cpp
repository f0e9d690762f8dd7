#include "client.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

#include "net/control_place.hpp"

namespace coterie::command {

namespace fs = std::filesystem;

int status_of(errc e) noexcept {
  switch (e) {
    case errc::no_quorum:
      return no_quorum;
    case errc::timeout:
      return timed_out;
    case errc::held:
      return held;
    case errc::indeterminate:
      return unknown_outcome;
    default:
      return failed;
  }
}

void raise(const failure& f) {
  throw command_error(status_of(f.code), f.message.empty() ? describe(f.code) : f.message);
}

void raise(const error& e) {
  std::string what = e.what();
  const auto tail = ": " + e.code().message();
  if (what.ends_with(tail)) what.resize(what.size() - tail.size());
  throw command_error(failed, what);
}

// ---- finding a node ------------------------------------------------------------------------------------------------

namespace {

/// NAME-PID.sock or NAME-PID-N.sock; a name may have dashes itself.
std::string node_of(const fs::path& socket) {
  auto s = socket.stem().string();
  const auto number_at = [&](std::size_t dash) {
    return dash != std::string::npos && dash + 1 < s.size() &&
           s.find_first_not_of("0123456789", dash + 1) == std::string::npos;
  };
  const auto dash = s.rfind('-');
  if (number_at(dash)) s.resize(dash);
  return s;
}

std::string list(const std::vector<found_node>& nodes) {
  std::string r;
  for (const auto& n : nodes) r += fmt::format("\n  {}  {}", n.name, n.socket.string());
  return r;
}

int connect_to(const fs::path& socket) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  const auto& text = socket.native();
  if (text.size() > net::max_socket_path()) {
    errno = ENAMETOOLONG;
    return -1;
  }
  std::memcpy(a.sun_path, text.data(), text.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0) return fd;
  const int why = errno;
  ::close(fd);
  errno = why;
  return -1;
}

std::optional<fs::path> by_address(const std::vector<found_node>& nodes, const std::string& said, ms patience) {
  const auto at = address::parse(said);
  if (!at) return std::nullopt;
  for (const auto& n : nodes) {
    try {
      client c(n.socket);
      for (const auto& m : c.ask<wire::member_list>(wire::get_members{}, patience).members)
        if (m.self && m.at == *at) return n.socket;
    } catch (const command_error&) {  // another one may be it
    }
  }
  return std::nullopt;
}

}  // namespace

std::vector<found_node> running_nodes() {
  std::vector<found_node> r;
  for (auto& p : net::live_sockets(net::control_directory())) r.push_back({node_of(p), p});
  return r;
}

fs::path find_node(const std::string& given, ms patience) {
  const char* environment = std::getenv("COTERIE_NODE");
  const std::string said = !given.empty() ? given : environment != nullptr ? environment : "";
  std::error_code ec;
  if (said.find('/') != std::string::npos || said.ends_with(".sock"))
    return fs::is_directory(said, ec) ? fs::path(said) / "control.sock" : fs::path(said);
  const auto nodes = running_nodes();
  if (said.empty()) {
    if (nodes.empty())
      throw command_error(no_node, fmt::format("no node of this user is running (looked in {}): start one with "
                                               "`coterie run`, or name its socket with --node",
                                               net::control_directory().string()));
    if (nodes.size() > 1)
      throw command_error(wrong_usage,
                          fmt::format("{} nodes of this user are running: name one with --node or COTERIE_NODE:{}",
                                      nodes.size(), list(nodes)));
    return nodes.front().socket;
  }
  std::vector<found_node> named;
  std::copy_if(nodes.begin(), nodes.end(), std::back_inserter(named), [&](const auto& n) { return n.name == said; });
  if (named.size() > 1)
    throw command_error(wrong_usage, fmt::format("{} nodes are called {}: give the socket of one with --node:{}",
                                                 named.size(), said, list(named)));
  if (named.size() == 1) return named.front().socket;
  if (said.find(':') != std::string::npos)
    if (auto p = by_address(nodes, said, patience)) return *p;
  throw command_error(no_node, nodes.empty()
                                   ? fmt::format("no node '{}' is running here: start it with `coterie run`", said)
                                   : fmt::format("no node '{}' is running here: there are{}", said, list(nodes)));
}

// ---- one connection ------------------------------------------------------------------------------------------------

client::client(fs::path socket) : socket_(std::move(socket)), fd_(connect_to(socket_)) {
  if (fd_ < 0)
    throw command_error(no_node, fmt::format("no node answers at {} ({}): is it running?", socket_.string(),
                                             std::generic_category().message(errno)));
}

client::client(client&& o) noexcept
    : socket_(std::move(o.socket_)),
      fd_(std::exchange(o.fd_, -1)),
      last_call_(o.last_call_),
      in_(std::move(o.in_)),
      out_(std::move(o.out_)),
      taken_(o.taken_) {}

client::~client() {
  if (fd_ >= 0) ::close(fd_);
}

std::uint64_t client::send(const wire::request& r, std::optional<ms> timeout) {
  const auto call = queue(r, timeout);
  flush();
  return call;
}

std::uint64_t client::queue(const wire::request& r, std::optional<ms> timeout) {
  const auto frame = wire::encode(++last_call_, r, timeout);
  if (frame.size() > wire::header_size + wire::max_body(wire::frame_kind::request))
    throw command_error(failed, fmt::format("the request has {} bytes, which is over the limit of {}", frame.size(),
                                            wire::max_body(wire::frame_kind::request)));
  out_.insert(out_.end(), frame.begin(), frame.end());
  return last_call_;
}

void client::flush() {
  write(out_, in(ms(10'000)));
  out_.clear();
}

void client::cancel(std::uint64_t call) { write(wire::encode_cancel(call), in(ms(1'000))); }

namespace {
bool wait_for(int fd, short what, deadline until) {
  for (;;) {
    const auto left = std::chrono::ceil<ms>(until - std::max(std::chrono::steady_clock::now(), deadline()));
    const bool none = until == deadline::min() || left.count() <= 0;
    pollfd p{fd, what, 0};
    const int n = ::poll(&p, 1, none ? 0 : static_cast<int>(std::min<std::int64_t>(left.count(), 1'000'000)));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return true;  // the read or write says why
    if (none) return false;
  }
}
}  // namespace

void client::write(byte_view b, deadline until) {
  while (!b.empty()) {
    const auto n = ::send(fd_, b.data(), b.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      b = b.subspan(static_cast<std::size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      if (!wait_for(fd_, POLLOUT, until)) throw command_error(timed_out, "the node does not read its control socket");
    } else if (errno != EINTR) {
      throw command_error(no_node,
                          "the connection to the node ended: it has stopped or crashed, or cut off who did not read");
    }
  }
}

bool client::read_more(deadline until) {
  if (!wait_for(fd_, POLLIN, until)) return false;
  std::array<std::byte, 65'536> room;  // what is not read into is not looked at
  const auto n = ::recv(fd_, room.data(), room.size(), MSG_DONTWAIT);
  const int why = errno;
  in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(std::exchange(taken_, 0)));
  in_.insert(in_.end(), room.begin(), room.begin() + std::max<ssize_t>(n, 0));
  if (n == 0 || (n < 0 && why != EAGAIN && why != EINTR))
    throw command_error(no_node,
                        "the connection to the node ended: it has stopped or crashed, or cut off who did not read");
  return true;
}

std::optional<client::answer> client::take_frame() {
  const auto all = byte_view(in_).subspan(taken_);
  if (all.size() < wire::header_size) return std::nullopt;
  const auto strange = [] {
    return command_error(failed, "the node's answer does not decode: are both of the same version?");
  };
  const auto header = all.first(wire::header_size);
  const auto h = wire::parse_header(header);
  if (!h || h->kind != wire::frame_kind::response) throw strange();
  if (all.size() < wire::header_size + h->body_size()) return std::nullopt;
  const auto body = all.subspan(wire::header_size, h->body_size());
  if (!wire::verify(*h, header, body)) throw strange();
  // Decoders want their input aligned.
  auto r = wire::decode_response(copy(body));
  if (!r) throw strange();
  taken_ += wire::header_size + h->body_size();
  return answer{r->call, r->last, std::move(r->what)};
}

std::optional<client::answer> client::next(deadline until) {
  for (;;) {
    if (auto a = take_frame()) return a;
    if (!read_more(until)) return std::nullopt;
  }
}

wire::response client::ask(const wire::request& r, ms patience, bool changes) {
  // The node keeps the time-out and knows what is certain; the margin is for a node that does not answer at all.
  const auto until = in(patience + ms(1'000));
  const auto call = send(r, patience);
  while (auto a = next(until)) {
    if (a->call != call) continue;
    if (const auto* f = std::get_if<failure>(&a->what)) raise(*f);
    return std::move(a->what);
  }
  if (changes)
    throw command_error(unknown_outcome, fmt::format("no answer within {} ms, so the outcome is unknown: look before "
                                                     "repeating it, or wait longer with --timeout",
                                                     patience.count()));
  throw command_error(
      timed_out,
      fmt::format("no answer within {} ms: see coterie status, or wait longer with --timeout", patience.count()));
}

}  // namespace coterie::command
