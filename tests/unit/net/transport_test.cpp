// Two transports of one process talk over loopback; and what strangers do to one.
#include "net/transport.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <asio/ip/tcp.hpp>
#include <asio/ip/udp.hpp>
#include <asio/post.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include "support/catch.hpp"
#include "unit/net/loop.hpp"
#include "wire/codec.hpp"

namespace {

using namespace coterie;
using asio::ip::tcp;
using asio::ip::udp;
using test::run_until;
using namespace std::chrono_literals;

constexpr std::uint64_t dialled = 1ull << 63;

/// A transport that notes everything it is told.
struct endpoint {
  struct end {
    std::uint64_t id;
    bool refused;
    std::string reason;
  };
  std::vector<std::pair<address, bytes>> datagrams;
  std::vector<std::pair<std::uint64_t, address>> ups;
  std::vector<end> downs;
  std::vector<std::pair<std::uint64_t, bytes>> frames;
  std::vector<address> unreachable;
  std::uint64_t dropped = 0;
  std::unique_ptr<net::transport> net;

  explicit endpoint(asio::io_context& io, net::transport_options o = {}) {
    if (!o.bind) o.bind = {"127.0.0.1", 0};
    auto opened = net::transport::open(
        io, o,
        {.datagram = [this](const address& from, byte_view b) { datagrams.emplace_back(from, copy(b)); },
         .up = [this](std::uint64_t id, bool, const address& remote) { ups.emplace_back(id, remote); },
         .down =
             [this](std::uint64_t id, bool refused, const std::string& why) {
               downs.push_back({id, refused, why});
             },
         .frame = [this](std::uint64_t id, bytes b) { frames.emplace_back(id, std::move(b)); },
         .unreachable = [this](const address& to) { unreachable.push_back(to); },
         .dropped = [this](std::uint32_t n) { dropped += n; }});
    REQUIRE(opened);
    net = std::move(*opened);
    net->start();
  }
  address at() const { return net->bound(); }
};

bytes frame(const std::string& text) {
  return wire::encode(wire::envelope{{}, meta_group, wire::user_message{"c", text, boot_epoch(1), 1}});
}
std::string text_of(const bytes& body) {
  const auto e = wire::decode_peer(body);
  REQUIRE(e);
  return std::get<wire::user_message>(e->body).body;
}

/// Dials b from a under `dialled | 1`; gives the number that b knows the stream by.
std::uint64_t join(asio::io_context& io, endpoint& a, endpoint& b) {
  const auto before = b.ups.size();
  a.net->dial(dialled | 1, b.at());
  REQUIRE(run_until(io, [&] { return a.ups.size() == 1 && b.ups.size() == before + 1; }));
  return b.ups.back().first;
}

tcp::socket stranger(asio::io_context& io, const endpoint& e) {
  tcp::socket s(io);
  s.connect({asio::ip::make_address(e.at().host), e.at().port});
  return s;
}

/// A port of 127.0.0.1 where nobody is.
std::uint16_t free_port(asio::io_context& io) {
  tcp::acceptor a(io, {asio::ip::make_address("127.0.0.1"), 0});
  return a.local_endpoint().port();
}

}  // namespace

TEST_CASE("frames go both ways over one stream, in order") {
  asio::io_context io;
  endpoint a(io), b(io);
  const auto at_b = join(io, a, b);
  REQUIRE((at_b & dialled) == 0);
  REQUIRE(a.ups[0].second == b.at());
  for (int i = 0; i < 1000; ++i) {
    a.net->send(dialled | 1, frame("a" + std::to_string(i)));
    b.net->send(at_b, frame("b" + std::to_string(i)));
  }
  a.net->flush();
  b.net->flush();
  REQUIRE(run_until(io, [&] { return a.frames.size() == 1000 && b.frames.size() == 1000; }));
  for (int i = 0; i < 1000; ++i) {
    REQUIRE(text_of(a.frames[i].second) == "b" + std::to_string(i));
    REQUIRE(text_of(b.frames[i].second) == "a" + std::to_string(i));
  }
  REQUIRE(a.downs.empty());
}

TEST_CASE("frames of many megabytes arrive whole, among small ones") {
  asio::io_context io;
  endpoint a(io), b(io);
  join(io, a, b);
  std::string big(9'000'000, 'x');
  for (std::size_t i = 0; i < big.size(); i += 997) big[i] = static_cast<char>('a' + i % 26);
  a.net->send(dialled | 1, frame("before"));
  a.net->send(dialled | 1, frame(big));
  a.net->send(dialled | 1, frame("after"));
  a.net->flush();
  REQUIRE(run_until(io, [&] { return b.frames.size() == 3; }));
  REQUIRE(text_of(b.frames[0].second) == "before");
  REQUIRE(text_of(b.frames[1].second) == big);
  REQUIRE(text_of(b.frames[2].second) == "after");
}

TEST_CASE("a frame may come byte by byte") {
  asio::io_context io;
  endpoint e(io);
  auto s = stranger(io, e);
  for (const auto b : frame("slow")) {
    asio::write(s, asio::buffer(&b, 1));
    io.poll();
    io.restart();
  }
  REQUIRE(run_until(io, [&] { return e.frames.size() == 1; }));
  REQUIRE(text_of(e.frames[0].second) == "slow");
}

TEST_CASE("what is queued is still sent when a stream is closed, and that is no crash") {
  asio::io_context io;
  endpoint a(io), b(io);
  const auto at_b = join(io, a, b);
  b.net->send(at_b, frame("unread by a"));
  b.net->flush();
  a.net->send(dialled | 1, frame("the last word"));
  a.net->close(dialled | 1);
  REQUIRE(run_until(io, [&] { return b.downs.size() == 1; }));
  REQUIRE(b.frames.size() == 1);
  REQUIRE(text_of(b.frames[0].second) == "the last word");
  REQUIRE_FALSE(b.downs[0].refused);
  REQUIRE(a.downs.empty());
  REQUIRE(a.net->streams() == 0);
}

TEST_CASE("a bad frame closes its connection and is counted") {
  asio::io_context io;
  endpoint e(io);
  bytes bad;
  SECTION("garbage") { bad = to_bytes("GET / HTTP/1.1\r\nHost: example\r\n\r\n"); }
  SECTION("a wrong checksum") {
    bad = frame("hello");
    bad.back() ^= std::byte{1};
  }
  SECTION("a length over the limit") {
    bad = frame("hello");
    for (int i = 8; i < 12; ++i) bad[i] = std::byte{0xff};
  }
  SECTION("a kind for the control socket") { bad = wire::encode_cancel(1); }
  auto s = stranger(io, e);
  asio::write(s, asio::buffer(bad));
  REQUIRE(run_until(io, [&] { return e.downs.size() == 1; }));
  REQUIRE(e.frames.empty());
  REQUIRE(e.net->stats().get("net.bad_frame") == 1);
  std::error_code ec;
  std::byte b;
  asio::read(s, asio::buffer(&b, 1), ec);
  REQUIRE(ec);
}

TEST_CASE("a peer that does not read loses its connection at the limit") {
  asio::io_context io;
  endpoint e(io, {.max_queued = 1 << 20});
  auto s = stranger(io, e);
  REQUIRE(run_until(io, [&] { return e.ups.size() == 1; }));
  const auto big = frame(std::string(500'000, 'x'));
  for (int i = 0; i < 200 && e.downs.empty(); ++i) {
    e.net->send(e.ups[0].first, big);
    e.net->flush();
    io.poll();
    io.restart();
  }
  REQUIRE(e.downs.size() == 1);
  REQUIRE_FALSE(e.downs[0].refused);
  REQUIRE(e.net->stats().get("net.overflow") == 1);
}

TEST_CASE("a dial tells refused from silent") {
  asio::io_context io;
  endpoint e(io, {.dial_timeout = 100ms});
  SECTION("nobody listens: refused") {
    e.net->dial(dialled | 1, {"127.0.0.1", free_port(io)});
    REQUIRE(run_until(io, [&] { return e.downs.size() == 1; }));
    REQUIRE(e.downs[0].refused);
  }
  SECTION("a full backlog answers nothing: timed out") {
    tcp::acceptor deaf(io, tcp::v4());
    deaf.bind({asio::ip::make_address("127.0.0.1"), 0});
    deaf.listen(0);
    std::vector<std::unique_ptr<tcp::socket>> fill;
    for (int i = 0; i < 3; ++i) {
      fill.push_back(std::make_unique<tcp::socket>(io));
      fill.back()->async_connect(deaf.local_endpoint(), [](std::error_code) {});
    }
    run_until(
        io, [] { return false; }, 50ms);
    e.net->dial(dialled | 1, {"127.0.0.1", deaf.local_endpoint().port()});
    REQUIRE(run_until(io, [&] { return e.downs.size() == 1; }));
    REQUIRE_FALSE(e.downs[0].refused);
  }
  SECTION("a name that does not exist") {
    e.net->dial(dialled | 1, {"no-such-host.invalid", 7400});
    REQUIRE(run_until(io, [&] { return e.downs.size() == 1; }));
    REQUIRE_FALSE(e.downs[0].refused);
  }
  SECTION("close() ends a dial without a word") {
    e.net->dial(dialled | 1, {"127.0.0.1", free_port(io)});
    e.net->close(dialled | 1);
    run_until(
        io, [] { return false; }, 50ms);
    REQUIRE(e.downs.empty());
  }
}

TEST_CASE("a reset of a live stream is evidence of a crash") {
  asio::io_context io;
  endpoint e(io);
  auto s = stranger(io, e);
  REQUIRE(run_until(io, [&] { return e.ups.size() == 1; }));
  s.set_option(asio::socket_base::linger(true, 0));
  s.close();
  REQUIRE(run_until(io, [&] { return e.downs.size() == 1; }));
  INFO(e.downs[0].reason);
  REQUIRE(e.downs[0].refused);
}

TEST_CASE("names are resolved for dials and datagrams") {
  asio::io_context io;
  endpoint a(io), b(io);
  a.net->dial(dialled | 1, {"localhost", b.at().port});
  REQUIRE(run_until(io, [&] { return a.ups.size() == 1; }));
  REQUIRE(a.ups[0].second.host == "localhost");
  REQUIRE(run_until(io, [&] {
    a.net->send_datagram({"localhost", b.at().port}, as_bytes("hi"));
    return !b.datagrams.empty();
  }));
}

namespace {

/// Names that lead where the test says.
struct directory {
  asio::io_context& io;
  std::map<std::string, std::vector<std::string>> leads{};
  std::size_t asked = 0;

  net::resolver::options options(std::chrono::milliseconds ttl) {
    return {.ttl = ttl, .ask = [this](const std::string& host, net::resolver::handler done) {
              ++asked;
              net::resolver::addresses found;
              for (const auto& a : leads[host]) found.push_back(asio::ip::make_address(a));
              asio::post(io, [done = std::move(done), found = std::move(found)] { done(found); });
            }};
  }
};

/// Everything that is under way is done.
void settle(asio::io_context& io) {
  run_until(
      io, [] { return false; }, 20ms);
}

}  // namespace

TEST_CASE("a name that leads elsewhere later is followed, by datagrams and dials") {
  asio::io_context io;
  directory names{io, {{"node.test", {"127.0.0.1"}}}};
  endpoint a(io, {.names = names.options(0ms)}), before(io, {.bind = {"127.0.0.1", 0}});
  const auto port = before.at().port;
  endpoint after(io, {.bind = {"127.0.0.2", port}});
  const address name{"node.test", port};
  const auto reaches = [&](endpoint& e) {
    const auto n = e.datagrams.size();
    return run_until(io, [&] {
      a.net->send_datagram(name, as_bytes("hi"));
      return e.datagrams.size() > n;
    });
  };
  a.net->dial(dialled | 1, name);
  REQUIRE(run_until(io, [&] { return before.ups.size() == 1; }));
  REQUIRE(reaches(before));

  names.leads["node.test"] = {"127.0.0.2"};
  REQUIRE(reaches(after));
  settle(io);
  const auto old = before.datagrams.size();
  REQUIRE(reaches(after));
  settle(io);
  REQUIRE(before.datagrams.size() == old);
  a.net->dial(dialled | 2, name);
  REQUIRE(run_until(io, [&] { return after.ups.size() == 1; }));
  REQUIRE(before.ups.size() == 1);
  REQUIRE(a.downs.empty());  // the stream that was open stays
  REQUIRE(a.ups.back().second == name);

  // No answer is no news: who was found goes on being reached.
  names.leads["node.test"] = {};
  settle(io);
  const auto asked = names.asked;
  REQUIRE(reaches(after));
  a.net->dial(dialled | 3, name);
  REQUIRE(run_until(io, [&] { return after.ups.size() == 2; }));
  REQUIRE(names.asked > asked);

  // And it is asked for again: the next answer counts.
  names.leads["node.test"] = {"127.0.0.1"};
  REQUIRE(reaches(before));
}

TEST_CASE("an answer is kept for its time, whether the name resolves or not") {
  asio::io_context io;
  directory names{io, {{"node.test", {"127.0.0.1"}}}};
  endpoint a(io, {.names = names.options(1h)}), b(io);
  REQUIRE(run_until(io, [&] {
    a.net->send_datagram({"node.test", b.at().port}, as_bytes("hi"));
    return b.datagrams.size() > 2;
  }));
  a.net->dial(dialled | 1, {"node.test", b.at().port});
  REQUIRE(run_until(io, [&] { return b.ups.size() == 1; }));
  REQUIRE(names.asked == 1);

  a.net->send_datagram({"none.test", 7400}, as_bytes("hi"));
  settle(io);
  const auto lost = a.net->stats().get("net.unresolved");
  a.net->send_datagram({"none.test", 7400}, as_bytes("hi"));
  a.net->dial(dialled | 2, {"none.test", 7400});
  REQUIRE(run_until(io, [&] { return a.downs.size() == 1; }));
  REQUIRE_FALSE(a.downs[0].refused);
  REQUIRE(a.downs[0].reason == "the name does not resolve");
  REQUIRE(a.net->stats().get("net.unresolved") == lost + 1);
  REQUIRE(names.asked == 2);
}

TEST_CASE("datagrams arrive with their sender's address") {
  asio::io_context io;
  for (const std::string host : {"127.0.0.1", "::1"}) {
    std::error_code ec;
    udp::socket probe(io);
    probe.open(asio::ip::make_address(host).is_v6() ? udp::v6() : udp::v4(), ec);
    if (!ec) probe.bind({asio::ip::make_address(host), 0}, ec);
    if (ec) continue;  // no IPv6 here
    endpoint a(io, {.bind = {host, 0}}), b(io, {.bind = {host, 0}});
    for (int i = 0; i < 50; ++i) a.net->send_datagram(b.at(), as_bytes(std::to_string(i)));
    REQUIRE(run_until(io, [&] { return b.datagrams.size() == 50; }));
    REQUIRE(b.datagrams[0].first == a.at());
    REQUIRE(as_text(b.datagrams[49].second) == "49");
  }
}

TEST_CASE("a datagram to a port without a process comes back as evidence, by ICMP") {
  asio::io_context io;
  endpoint e(io);
  const auto port = free_port(io);
  std::string host;
  SECTION("by number") { host = "127.0.0.1"; }
  SECTION("by name, under that name") {
    host = "localhost";
    endpoint other(io);
    REQUIRE(run_until(io, [&] {
      e.net->send_datagram({"localhost", other.at().port}, as_bytes("learn the name"));
      return !other.datagrams.empty();
    }));
  }
  e.net->send_datagram({host, port}, as_bytes("anybody?"));
  REQUIRE(run_until(io, [&] { return !e.unreachable.empty(); }));
  REQUIRE(e.unreachable[0] == address{host, port});
  // and the socket goes on
  endpoint other(io);
  e.net->send_datagram(other.at(), as_bytes("hello"));
  REQUIRE(run_until(io, [&] { return other.datagrams.size() == 1; }));
}

TEST_CASE("what the system drops because nobody reads is told") {
  asio::io_context io;
  endpoint a(io);
  udp::socket s(io, udp::v4());
  const udp::endpoint to{asio::ip::make_address(a.at().host), a.at().port};
  const std::string big(1'000, 'x');
  std::size_t sent = 0;
  // More than the largest buffer that a socket of ours can have, and nobody reads meanwhile.
  for (; sent < 5'000; ++sent) s.send_to(asio::buffer(big), to);
  run_until(
      io, [&] { return false; }, 200ms);
  const auto first = a.datagrams.size();
  REQUIRE(first < sent);
  s.send_to(asio::buffer(big), to);
  REQUIRE(run_until(io, [&] { return a.datagrams.size() == first + 1; }));
  REQUIRE(a.dropped == sent - first);
  REQUIRE(a.net->stats().get("udp.dropped") == a.dropped);
  s.send_to(asio::buffer(big), to);
  REQUIRE(run_until(io, [&] { return a.datagrams.size() == first + 2; }));
  REQUIRE(a.dropped == sent - first);  // told once
}

TEST_CASE("connections that say nothing are limited in number and time") {
  asio::io_context io;
  SECTION("number") {
    endpoint e(io, {.max_silent = 3});
    std::vector<tcp::socket> crowd;
    for (int i = 0; i < 5; ++i) crowd.push_back(stranger(io, e));
    REQUIRE(run_until(io, [&] { return e.net->stats().get("net.too_many") == 2; }));
    REQUIRE(e.net->streams() == 3);
    // One that speaks makes room for another.
    asio::write(crowd[0], asio::buffer(frame("hi")));
    REQUIRE(run_until(io, [&] { return e.frames.size() == 1; }));
    auto another = stranger(io, e);
    REQUIRE(run_until(io, [&] { return e.net->streams() == 4; }));
  }
  SECTION("time") {
    endpoint e(io, {.silent_timeout = 50ms});
    auto mute = stranger(io, e);
    auto speaker = stranger(io, e);
    asio::write(speaker, asio::buffer(frame("hi")));
    REQUIRE(run_until(io, [&] { return e.downs.size() == 1; }));
    REQUIRE(e.net->streams() == 1);
    REQUIRE(e.net->stats().get("net.silent") == 1);
  }
  SECTION("all") {
    endpoint e(io, {.max_streams = 2});
    std::vector<tcp::socket> crowd;
    for (int i = 0; i < 4; ++i) {
      crowd.push_back(stranger(io, e));
      std::error_code ec;
      asio::write(crowd.back(), asio::buffer(frame("hi")), ec);
    }
    REQUIRE(run_until(io, [&] { return e.net->stats().get("net.too_many") == 2; }));
    e.net->dial(dialled | 1, {"127.0.0.1", 1});
    REQUIRE(run_until(io, [&] { return !e.downs.empty(); }));
    REQUIRE(e.net->streams() == 2);
  }
}

TEST_CASE("a port in use, or an address of another machine, is told with what to do") {
  asio::io_context io;
  endpoint e(io);
  const auto taken = net::transport::open(io, {.bind = e.at()}, {});
  REQUIRE_FALSE(taken);
  REQUIRE(taken.error().code == errc::exists);
  REQUIRE(taken.error().message.find(e.at().str() + " is in use") != std::string::npos);
  const auto foreign = net::transport::open(io, {.bind = {"192.0.2.1", 7400}}, {});
  REQUIRE_FALSE(foreign);
  REQUIRE(foreign.error().message.find("192.0.2.1") != std::string::npos);
}
