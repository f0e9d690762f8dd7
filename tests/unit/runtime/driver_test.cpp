// Whole nodes in this process: what start refuses, one node alone, three that form a cluster. Real sockets, disks and
// clocks; every wait has a deadline inside the node.
#include "runtime/driver.hpp"

#include <array>
#include <atomic>
#include <cstdlib>
#include <future>
#include <thread>

#include <sys/stat.h>

#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/read.hpp>
#include <asio/write.hpp>

#include "store/store.hpp"
#include "support/catch.hpp"
#include "unit/runtime/places.hpp"
#include "wire/codec.hpp"

namespace {

using namespace coterie;
namespace fs = std::filesystem;
using runtime::driver;
using runtime::driver_options;

/// A place for homes, and a control directory of its own.
struct fixture {
  test::temporary_directory place;
  fixture() { ::setenv("XDG_RUNTIME_DIR", place.path().c_str(), 1); }
  ~fixture() { ::unsetenv("XDG_RUNTIME_DIR"); }

  driver_options options(const std::string& name, std::uint16_t port = 0) const {
    driver_options o;
    o.engine.name = name;
    o.engine.call_timeout = 30s;
    o.bind = {"127.0.0.1", port};
    o.home = place / name;
    return o;
  }
  driver_options alone(const std::string& name = "a") const {
    auto o = options(name);
    o.engine.bootstrap_single = true;
    return o;
  }
};

std::unique_ptr<driver> started(driver_options o) {
  auto d = driver::start(std::move(o));
  INFO((d ? "" : d.error().message));
  REQUIRE(d);
  return std::move(*d);
}

/// The answer of this type; anything else fails the test.
template <class T>
T expect(const wire::response& r) {
  if (const auto* f = std::get_if<failure>(&r)) FAIL(f->message);
  REQUIRE(std::holds_alternative<T>(r));
  return std::get<T>(r);
}
errc code_of(const wire::response& r) {
  const auto* f = std::get_if<failure>(&r);
  REQUIRE(f != nullptr);
  return f->code;
}

/// The first answer, streaming or not.
wire::response first_answer(driver& d, wire::request what) {
  auto promise = std::make_shared<std::promise<wire::response>>();
  auto done = std::make_shared<std::atomic<bool>>(false);
  auto answer = promise->get_future();
  d.submit(std::move(what), [promise, done](const wire::response& r, bool) {
    if (!done->exchange(true)) promise->set_value(r);
  });
  REQUIRE(answer.wait_for(40s) == std::future_status::ready);
  return answer.get();
}

template <std::size_t N>
std::array<std::uint16_t, N> free_ports() {
  asio::io_context io;
  std::array<std::uint16_t, N> r;
  std::vector<asio::ip::tcp::acceptor> held;
  for (auto& port : r) {
    held.emplace_back(io, asio::ip::tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
    port = held.back().local_endpoint().port();
  }
  return r;
}

}  // namespace

TEST_CASE("start refuses what can't work, and says what to do") {
  fixture f;
  auto o = f.alone();
  std::string says;
  SECTION("an address open to the network") {
    o.bind = {"10.0.0.1", 7400};
    says =
        "refusing to listen on 10.0.0.1 without encryption: cluster keys are not built yet; bind to a loopback "
        "address, or "
        "pass --insecure to go without";
  }
  SECTION("every address") {
    o.bind = {"0.0.0.0", 0};
    says = "refusing to listen on 0.0.0.0";
  }
  SECTION("every address, and none to advertise") {
    o.bind = {"0.0.0.0", 0};
    o.insecure = true;
    says = "--advertise";
  }
  SECTION("no home") {
    o.home.clear();
    says = "--data";
  }
  SECTION("a name that does not resolve") {
    o.bind.host = "no-such-host.invalid";
    says = "no-such-host.invalid";
  }
  const auto d = driver::start(o);
  REQUIRE_FALSE(d);
  REQUIRE(d.error().code == errc::bad_argument);
  INFO(d.error().message);
  REQUIRE(d.error().message.find(says) != std::string::npos);
}

TEST_CASE("a home and a port belong to one node") {
  fixture f;
  const auto first = started(f.alone());
  const auto same_home = driver::start(f.alone());
  REQUIRE_FALSE(same_home);
  REQUIRE(same_home.error().code == errc::exists);
  auto o = f.alone("b");
  o.bind = first->bound();
  const auto same_port = driver::start(o);
  REQUIRE_FALSE(same_port);
  REQUIRE(same_port.error().code == errc::exists);
  REQUIRE(same_port.error().message.find(first->bound().str()) != std::string::npos);
}

TEST_CASE("a node alone forms, answers, and keeps its identity") {
  fixture f;
  node_id self;
  for (std::uint64_t boot = 1; boot <= 2; ++boot) {
    const auto d = started(f.alone());
    REQUIRE(d->bound().port != 0);
    const auto members = expect<wire::member_list>(d->ask(wire::wait_members{1}));
    REQUIRE(members.members.size() == 1);
    REQUIRE(members.members[0].at == d->bound());
    const auto status = expect<wire::status_info>(d->ask(wire::get_status{}));
    REQUIRE(status.self == d->self());
    REQUIRE(status.boot == boot_epoch(boot));
    REQUIRE(status.leader == "a");
    if (boot == 1) self = d->self();
    REQUIRE(d->self() == self);
  }
}

TEST_CASE("a node whose log lost what was synced does not start, but as a new one (rdb#6288, rdb#6963, pebble#453)",
          "[lesson]") {
  fixture f;
  const auto self = started(f.alone())->self();
  {
    const auto disk = coterie::store::open(f.alone().home);
    REQUIRE(disk);
    REQUIRE((*disk)->mark_synced(1'000));
  }
  const auto refused = driver::start(f.alone());
  REQUIRE_FALSE(refused);
  INFO(refused.error().message);
  REQUIRE(refused.error().code == errc::unavailable);
  REQUIRE(refused.error().message.find("has lost writes (the log ends at ") != std::string::npos);
  REQUIRE(refused.error().message.find("start it with --rejoin") != std::string::npos);
  auto o = f.alone();
  o.rejoin = true;
  const auto other = started(o)->self();
  REQUIRE(other != self);
  REQUIRE(started(f.alone())->self() == other);
}

TEST_CASE("a gossip-only node needs no home") {
  fixture f;
  auto o = f.options("g");
  o.home.clear();
  o.engine.gossip_only = true;
  const auto d = started(o);
  REQUIRE(d->control_socket().parent_path() == f.place / "coterie");
  REQUIRE(expect<wire::status_info>(d->ask(wire::get_status{})).node == "g");
}

TEST_CASE("a lock makes the lease page valid, and the end of the node ends it") {
  fixture f;
  auto d = started(f.alone());
  const auto granted = expect<wire::lock_granted>(first_answer(*d, wire::acquire_lock{"x", "", std::nullopt}));
  REQUIRE(granted.fence != 0);
  REQUIRE(d->lease()->epoch() == granted.epoch);
  REQUIRE(d->lease()->valid(granted.epoch));
  std::promise<engine::halted> over;
  d->on_halted([&](const engine::halted& h) { over.set_value(h); });
  expect<wire::done>(d->ask(wire::stop_node{}));
  auto halted = over.get_future();
  REQUIRE(halted.wait_for(30s) == std::future_status::ready);
  REQUIRE(halted.get().exit_ok);
  REQUIRE_FALSE(d->lease()->valid(granted.epoch));
  REQUIRE(code_of(d->ask(wire::get_status{})) == errc::closed);
  const auto page = d->lease();
  d.reset();
  REQUIRE_FALSE(page->valid(granted.epoch));  // whoever still has it
}

TEST_CASE("calls that wait are refused on the loop, and answered when the node goes away") {
  fixture f;
  auto o = f.options("a");  // one seed of two: it never forms
  o.engine.seeds = {{"127.0.0.1", 1}, {"127.0.0.1", 2}};
  auto d = started(o);
  std::promise<errc> inside;
  d->post([&] { inside.set_value(d->on_loop_thread() ? code_of(d->ask(wire::get_status{})) : errc{}); });
  REQUIRE(inside.get_future().get() == errc::in_callback);
  REQUIRE_FALSE(d->on_loop_thread());

  std::atomic<int> answers{0};
  errc code{};
  d->submit(wire::wait_members{2}, [&](const wire::response& r, bool last) {
    REQUIRE(last);
    code = code_of(r);
    ++answers;
  });
  const auto unwanted = d->submit(wire::wait_members{2}, [&](const wire::response&, bool) { ++answers; });
  d->cancel(unwanted);
  d.reset();
  REQUIRE(answers == 1);
  REQUIRE(code == errc::closed);
}

TEST_CASE("the control socket speaks for the node") {
  fixture f;
  const auto d = started(f.alone());
  REQUIRE(d->control_socket() == f.place / "a" / "control.sock");
  REQUIRE((fs::status(d->control_socket()).permissions() & (fs::perms::group_all | fs::perms::others_all)) ==
          fs::perms::none);
  asio::io_context io;
  asio::local::stream_protocol::socket s(io);
  s.connect(d->control_socket().string());
  asio::write(s, asio::buffer(wire::encode(42, wire::get_status{})));
  bytes header(wire::header_size);
  asio::read(s, asio::buffer(header));
  const auto h = wire::parse_header(header);
  REQUIRE(h);
  bytes body(h->body_size());
  asio::read(s, asio::buffer(body));
  const auto answer = wire::decode_response(body);
  REQUIRE(answer);
  REQUIRE(answer->call == 42);
  REQUIRE(answer->last);
  REQUIRE(expect<wire::status_info>(answer->what).self == d->self());
}

TEST_CASE("three nodes form one cluster and exclude each other from a lock") {
  fixture f;
  const auto ports = free_ports<3>();
  std::vector<address> seeds;
  for (const auto p : ports) seeds.push_back({"127.0.0.1", p});
  std::vector<std::unique_ptr<driver>> nodes;
  for (std::size_t i = 0; i < 3; ++i) {
    auto o = f.options(std::string(1, static_cast<char>('a' + i)), ports[i]);
    o.engine.seeds = seeds;
    nodes.push_back(started(o));
  }
  std::vector<cluster_id> ids;
  for (const auto& d : nodes) {
    REQUIRE(expect<wire::member_list>(d->ask(wire::wait_members{3})).members.size() == 3);
    ids.push_back(expect<wire::status_info>(d->ask(wire::get_status{})).id);
  }
  REQUIRE(ids[0]);
  REQUIRE(ids[0] == ids[1]);
  REQUIRE(ids[1] == ids[2]);
  const auto granted = expect<wire::lock_granted>(first_answer(*nodes[0], wire::acquire_lock{"x", "", std::nullopt}));
  REQUIRE(code_of(first_answer(*nodes[1], wire::acquire_lock{"x", "", wire::milliseconds(0)})) == errc::held);
  expect<wire::done>(nodes[0]->ask(wire::release_lock{"x", granted.fence}));
  REQUIRE(expect<wire::lock_granted>(first_answer(*nodes[2], wire::acquire_lock{"x", "", std::nullopt})).fence >
          granted.fence);
}
