// The control socket: its names and modes on the file system, and what it does with what clients say.
#include "runtime/control.hpp"

#include <map>
#include <thread>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <asio/io_context.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include "net/control_place.hpp"
#include "runtime/control_names.hpp"
#include "support/catch.hpp"
#include "unit/net/loop.hpp"
#include "unit/runtime/places.hpp"
#include "wire/codec.hpp"

namespace {

using namespace coterie;
namespace fs = std::filesystem;
using runtime::control_names;
using runtime::control_server;
using test::run_until;
using namespace std::chrono_literals;

fs::perms mode(const fs::path& p) { return fs::symlink_status(p).permissions(); }
constexpr auto private_socket = fs::perms::owner_read | fs::perms::owner_write;

/// A socket file whose process is gone.
void leave_dead_socket(const fs::path& at) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  at.native().copy(a.sun_path, sizeof a.sun_path - 1);
  REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0);
  ::close(fd);
}

std::vector<fs::path> names_in(const fs::path& d) {
  std::vector<fs::path> r;
  for (const auto& e : fs::directory_iterator(d)) r.push_back(e.path().filename());
  return r;
}

}  // namespace

TEST_CASE("the socket is in the home, private, and linked from the user's directory") {
  test::temporary_directory place;
  fs::create_directory(place / "home");
  const auto before = ::umask(0);
  auto names = control_names::open({place / "home", place / "run", "a"});
  ::umask(before);
  REQUIRE(names);
  REQUIRE_FALSE(names->warning());
  REQUIRE(names->path() == place / "home" / "control.sock");
  REQUIRE(mode(names->path()) == private_socket);
  REQUIRE(mode(place / "run") == fs::perms::owner_all);
  const auto link = place / "run" / ("a-" + std::to_string(::getpid()) + ".sock");
  REQUIRE(fs::read_symlink(link) == names->path());
  REQUIRE(net::live_sockets(place / "run") == std::vector<fs::path>{link});
  { const control_names gone = std::move(*names); }
  REQUIRE(names_in(place / "home").empty());
  REQUIRE(names_in(place / "run").empty());
}

TEST_CASE("what a crash left behind is replaced and removed") {
  test::temporary_directory place;
  fs::create_directory(place / "home");
  REQUIRE(net::secure_directory(place / "run"));
  leave_dead_socket(place / "home/control.sock");
  leave_dead_socket(place / "run/old-1.sock");
  fs::create_symlink(place / "nowhere", place / "run/older-2.sock");
  fs::create_symlink(place / "home/control.sock", place / "run/oldest-3.sock");
  const auto names = control_names::open({place / "home", place / "run", "a"});
  REQUIRE(names);
  REQUIRE(net::socket_answers(place / "home/control.sock"));
  REQUIRE(names_in(place / "run").size() == 1);
}

TEST_CASE("a home too deep for a socket has a link, the socket lives in the user's directory") {
  test::temporary_directory place;
  const auto deep = place / std::string(90, 'd');
  fs::create_directory(deep);
  const auto names = control_names::open({deep, place / "run", "a"});
  REQUIRE(names);
  REQUIRE(names->path().parent_path() == place / "run");
  REQUIRE(mode(names->path()) == private_socket);
  REQUIRE(fs::read_symlink(deep / "control.sock") == names->path());
}

TEST_CASE("a node without a home has its socket in the user's directory") {
  test::temporary_directory place;
  const auto one = control_names::open({{}, place / "run", "a"});
  const auto two = control_names::open({{}, place / "run", "a"});
  REQUIRE(one);
  REQUIRE(two);
  REQUIRE(one->path() != two->path());
  REQUIRE(net::live_sockets(place / "run").size() == 2);
}

TEST_CASE("a directory that others can write to is not used") {
  test::temporary_directory place;
  fs::create_directory(place / "home");
  fs::create_directory(place / "run");
  fs::permissions(place / "run", fs::perms::all);
  const auto linked = control_names::open({place / "home", place / "run", "a"});
  REQUIRE(linked);
  REQUIRE(linked->warning());
  REQUIRE(names_in(place / "run").empty());
  const auto refused = control_names::open({{}, place / "run", "a"});
  REQUIRE_FALSE(refused);
  REQUIRE(refused.error().message.find((place / "run").string()) != std::string::npos);
  REQUIRE(net::live_sockets(place / "run").empty());
}

namespace {

/// A server whose calls are answered by the test.
struct served {
  using on_answer = std::function<void(const wire::response&, bool)>;
  test::temporary_directory place;
  asio::io_context io;
  std::map<std::uint64_t, std::pair<wire::request, on_answer>> calls;
  std::vector<std::uint64_t> cancelled;
  std::uint64_t last = 100;
  std::optional<control_names> names;
  std::optional<control_server> server;

  explicit served(runtime::control_options o = {}) {
    auto n = control_names::open({{}, place / "run", "a"});
    REQUIRE(n);
    names.emplace(std::move(*n));
    server.emplace(
        io, names->take(),
        control_server::handlers{[this](wire::request r, on_answer f, std::optional<std::chrono::milliseconds>) {
                                   calls[++last] = {std::move(r), std::move(f)};
                                   return engine::call_id(last);
                                 },
                                 [this](engine::call_id id) { cancelled.push_back(id.value); }},
        o);
    server->start();
  }
  asio::local::stream_protocol::socket connect() {
    asio::local::stream_protocol::socket s(io);
    s.connect(names->path().string());
    return s;
  }
  template <class F>
  bool until(F f) {
    return run_until(io, [&] {
      server->flush();
      return f();
    });
  }
};

void say(asio::local::stream_protocol::socket& s, const bytes& frame) { asio::write(s, asio::buffer(frame)); }

wire::decoded_response hear(asio::local::stream_protocol::socket& s) {
  bytes header(wire::header_size);
  asio::read(s, asio::buffer(header));
  const auto h = wire::parse_header(header);
  REQUIRE(h);
  REQUIRE(h->kind == wire::frame_kind::response);
  bytes body(h->body_size());
  asio::read(s, asio::buffer(body));
  auto r = wire::decode_response(body);
  REQUIRE(r);
  return *r;
}

}  // namespace

TEST_CASE("requests become calls, and answers go back under the client's numbers") {
  served n;
  auto a = n.connect(), b = n.connect();
  say(a, wire::encode(7, wire::list_caches{}));
  say(b, wire::encode(7, wire::get_members{}));
  REQUIRE(n.until([&] { return n.calls.size() == 2; }));
  for (auto& [id, c] : n.calls) {
    const bool of_a = std::holds_alternative<wire::list_caches>(c.first);
    c.second(failure{errc::not_found, of_a ? "a" : "b"}, false);
    c.second(wire::done{}, true);
  }
  n.server->flush();
  for (auto* s : {&a, &b}) {
    const auto first = hear(*s);
    REQUIRE(first.call == 7);
    REQUIRE_FALSE(first.last);
    REQUIRE(std::get<failure>(first.what).message == (s == &a ? "a" : "b"));
    REQUIRE(hear(*s).last);
  }
  REQUIRE(n.cancelled.empty());
}

TEST_CASE("a cancelled call is cancelled, and those of a lost connection are") {
  served n;
  auto s = n.connect();
  for (std::uint64_t i = 1; i <= 3; ++i) say(s, wire::encode(i, wire::acquire_lock{"x", "", std::nullopt}));
  REQUIRE(n.until([&] { return n.calls.size() == 3; }));
  say(s, wire::encode_cancel(2));
  REQUIRE(n.until([&] { return n.cancelled == std::vector<std::uint64_t>{102}; }));
  n.calls[101].second(wire::done{}, true);
  s.close();
  REQUIRE(n.until([&] { return n.cancelled.size() == 2; }));
  REQUIRE(n.cancelled[1] == 103);
  REQUIRE(n.server->clients() == 0);
  n.calls[103].second(wire::done{}, true);  // too late for anybody
}

TEST_CASE("too many calls are refused one by one; garbage and a number used twice end the connection") {
  served n({.max_calls = 2});
  auto s = n.connect();
  for (std::uint64_t i = 1; i <= 3; ++i) say(s, wire::encode(i, wire::get_status{}));
  REQUIRE(n.until([&] { return n.server->stats().get("control.limit") == 1; }));
  n.server->flush();
  const auto refused = hear(s);
  REQUIRE(refused.call == 3);
  REQUIRE(refused.last);
  REQUIRE(std::get<failure>(refused.what).code == errc::limit);
  REQUIRE(n.calls.size() == 2);
  SECTION("garbage") { say(s, to_bytes("what is this, sixteen bytes?")); }
  SECTION("a number twice") {
    n.calls[102].second(wire::done{}, true);
    say(s, wire::encode(1, wire::get_status{}));
  }
  REQUIRE(n.until([&] { return n.server->clients() == 0; }));
  REQUIRE(n.cancelled.front() == 101);
}

TEST_CASE("a client that does not read its answers is cut off") {
  served n({.max_queued = 1 << 20});
  auto s = n.connect();
  say(s, wire::encode(1, wire::follow_events{}));
  REQUIRE(n.until([&] { return n.calls.size() == 1; }));
  for (int i = 0; i < 100 && n.cancelled.empty(); ++i) {
    n.calls[101].second(wire::message_out{"c", std::string(100'000, 'x'), "a", 1, 1}, false);
    n.server->flush();
    n.io.poll();
    n.io.restart();
  }
  REQUIRE(n.cancelled == std::vector<std::uint64_t>{101});
  REQUIRE(n.server->stats().get("control.overflow") == 1);
}
