// The loop: gathers what is ready into events, steps the engine through them, then performs what it wants, in turns.
// Public calls arrive by the inbox, disk work leaves by the store thread. Knows how to do things, not why they are
// done.
#include "runtime/driver.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include "base/overloaded.hpp"
#include "net/control_place.hpp"
#include "net/transport.hpp"
#include "runtime/clocks.hpp"
#include "runtime/control.hpp"
#include "runtime/control_names.hpp"
#include "runtime/inbox.hpp"
#include "runtime/start.hpp"
#include "runtime/store_thread.hpp"
#include "runtime/threads.hpp"

namespace coterie::runtime {

namespace {
constexpr int handlers_a_turn = 256;  // then the engine gets its events, whatever is ready still
constexpr duration shortest_wait = std::chrono::microseconds(100);
constexpr duration longest_wait = std::chrono::hours(1);
}  // namespace

struct driver::impl {
  explicit impl(driver_options o) : opt(std::move(o)) {}
  ~impl();

  result<void> start();
  net::transport::handlers network_handlers();
  void serve_control(control_names);

  void run() noexcept;
  void turn();
  void take_inbox();
  void arm(instant now);

  void perform(std::vector<engine::action>&);
  template <class Task>
  void disk(Task&&);
  void answer(engine::answer&);
  void set_lease(const engine::lease&);
  void halt(const engine::halted&);
  void close_calls(const failure&);

  engine::call_id submit(wire::request what, on_answer answer, std::optional<std::chrono::milliseconds> timeout) {
    const auto added = calls.add(std::move(what), answer, timeout);
    if (added.closed && answer) answer(calls.why(), true);
    if (added.wake) wake_loop();
    return added.id;
  }
  void wake_loop() {
    asio::post(io, [this] { take_inbox(); });
  }
  void log(log_level level, std::string text) {
    if (!opt.log) return;
    const std::scoped_lock lock(log_mutex);
    opt.log({level, std::move(text)});
  }
  template <class F>
  void guarded(const char* what, F&& f) {
    try {
      f();
    } catch (const std::exception& e) {
      log(log_level::error, fmt::format("an exception from {}: {}", what, e.what()));
    }
  }

  driver_options opt;
  std::mutex log_mutex;
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> always{io.get_executor()};  // it never runs out of work
  asio::steady_timer timer{io};
  inbox calls;
  const std::shared_ptr<lease_page> page = std::make_shared<lease_page>();
  node_id self;
  address bound;
  std::filesystem::path control_path;
  std::atomic<std::thread::id> loop_id{};

  // Of the loop.
  std::optional<engine::engine> node;
  std::unique_ptr<net::transport> network;
  std::optional<control_names> names;
  std::unique_ptr<control_server> control;
  std::vector<engine::event> events;
  std::vector<engine::action> actions;
  std::vector<store_thread::task> disk_work;
  std::function<void(const engine::lease&)> lease_changed;
  std::function<void(const engine::halted&)> has_halted;
  std::optional<engine::halted> over;
  engine::lease validity;
  instant armed = never;
  bool stopping = false;

  std::unique_ptr<store_thread> disk_thread;  // null without a home
  std::thread loop;
};

// ---- start and end ------------------------------------------------------------------------------------------------

result<void> driver::impl::start() {
  if (auto ok = check(opt); !ok) return ok;
  raise_descriptor_limit();
  auto home = open_home(opt);
  if (!home) return tl::unexpected(home.error());
  if (!home->warning.empty()) log(log_level::warn, home->warning);
  self = home->state.self;

  auto opened = net::transport::open(io, {.bind = opt.bind}, network_handlers());
  if (!opened) return tl::unexpected(opened.error());
  network = std::move(*opened);
  bound = network->bound();
  if (!opt.engine.advertise) opt.engine.advertise = bound;
  if (opt.engine.advertise.port == 0) opt.engine.advertise.port = bound.port;
  auto found = control_names::open({opt.home, net::control_directory(), opt.engine.name});
  if (!found) return tl::unexpected(found.error());
  if (opt.insecure && !bound.is_loopback())
    log(log_level::warn,
        fmt::format("listening on {} without encryption: whoever reaches it can read and change everything",
                    bound.str()));

  node.emplace(opt.engine, std::move(home->state), read_clocks(), random_word());
  network->start();
  serve_control(std::move(*found));
  if (home->disk)
    disk_thread = std::make_unique<store_thread>(
        std::move(home->disk),
        [this](std::vector<engine::event> done) {
          asio::post(io, [this, done = std::move(done)]() mutable {
            for (auto& e : done) events.push_back(std::move(e));
          });
        },
        store_thread::options{.log_ends = home->log_ends});
  events.push_back(engine::wake{});
  loop = start_thread("coterie-loop", [this] { run(); });
  return {};
}

void driver::impl::serve_control(control_names n) {
  if (n.warning()) log(log_level::warn, *n.warning());
  control_path = n.path();
  const int listening = n.take();
  names.emplace(std::move(n));
  control = std::make_unique<control_server>(
      io, listening,
      control_server::handlers{
          [this](wire::request what, inbox::on_answer answer, std::optional<std::chrono::milliseconds> timeout) {
            return submit(std::move(what), std::move(answer), timeout);
          },
          [this](engine::call_id id) {
            if (calls.cancel(id)) wake_loop();
          }});
  control->start();
}

driver::impl::~impl() {
  if (loop.joinable()) {
    asio::post(io, [this] { stopping = true; });
    loop.join();
  }
  page->set({});
  close_calls({errc::closed, "the node has stopped"});
  if (control) control->flush();
  control.reset();
  names.reset();  // while the home is still locked: the next node there makes a socket of that name
  if (network) network->stop();
  disk_thread.reset();
}

// ---- turns --------------------------------------------------------------------------------------------------------

void driver::impl::run() noexcept {
  loop_id = std::this_thread::get_id();
  while (!stopping) {
    guarded("the loop", [this] {
      if (events.empty()) io.run_one();
      for (int i = 0; i < handlers_a_turn && !stopping && io.poll_one() != 0; ++i) {
      }
      if (!stopping) turn();
    });
  }
}

void driver::impl::turn() {
  const auto now = read_clocks();
  const auto batch = std::exchange(events, {});
  if (!over) {
    if (!batch.empty() || node->next_wake() <= now.steady) node->step(batch, now, actions);
    perform(actions);
  }
  // Those that wait for an answer first, then the peers, whose disks work while this one does.
  control->flush();
  network->flush();
  if (!disk_work.empty()) disk_thread->submit(std::exchange(disk_work, {}));
  if (!over) arm(now.steady);
}

void driver::impl::take_inbox() {
  for (auto& i : calls.take()) {
    if (auto* f = std::get_if<std::function<void()>>(&i)) {
      guarded("a posted function", *f);
    } else if (auto* c = std::get_if<engine::call>(&i)) {
      events.push_back(std::move(*c));
    } else {
      events.push_back(std::get<engine::cancel_call>(i));
    }
  }
}

/// One timer for the engine. It is not set again for a later time: coming too early costs one look at the clock. A
/// cancelled one may still call, which does no harm for the same reason.
void driver::impl::arm(instant now) {
  const auto next = node->next_wake();
  if (next >= armed) return;
  const auto wait = next <= now ? shortest_wait : std::clamp(next - now, shortest_wait, longest_wait);
  armed = now + wait;
  timer.expires_after(duration_cast<asio::steady_timer::duration>(wait));
  timer.async_wait([this, mine = armed](const std::error_code& ec) {
    if (!ec && armed == mine) armed = never;  // the turn looks at next_wake()
  });
}

net::transport::handlers driver::impl::network_handlers() {
  using engine::stream_id;
  return {
      .datagram =
          [this](const address& from, byte_view b) {
            events.push_back(engine::datagram_in{from, copy(b)});
          },
      .up =
          [this](std::uint64_t id, bool dialled, const address& remote) {
            events.push_back(engine::stream_up{stream_id(id), dialled, remote});
          },
      .down =
          [this](std::uint64_t id, bool refused, const std::string& why) {
            events.push_back(engine::stream_down{stream_id(id), refused, why});
          },
      .frame =
          [this](std::uint64_t id, bytes body) {
            events.push_back(engine::frame_in{stream_id(id), std::move(body)});
          },
      .unreachable = [this](const address& to) { events.push_back(engine::unreachable_in{to}); },
      .dropped = [this](std::uint32_t count) { events.push_back(engine::datagrams_dropped{count}); },
  };
}

// ---- what the engine wants ----------------------------------------------------------------------------------------

template <class Task>
void driver::impl::disk(Task&& t) {
  if (disk_thread) {
    disk_work.emplace_back(std::forward<Task>(t));
    return;
  }
  // Without a home nothing is kept, and nothing is found.
  using type = std::decay_t<Task>;
  if constexpr (requires { t.sequence; }) {
    events.push_back(engine::written{t.sequence});
  } else if constexpr (std::is_same_v<type, engine::read>) {
    events.push_back(engine::read_done{t.id, {}, false});
  }
}

void driver::impl::perform(std::vector<engine::action>& todo) {
  const auto act = overloaded{
      [this](engine::send_datagram& a) { network->send_datagram(a.to, a.data); },
      [this](engine::dial& a) { network->dial(a.id.value, a.to); },
      [this](engine::send_frame& a) { network->send(a.id.value, std::move(a.frame)); },
      [this](engine::hang_up& a) { network->close(a.id.value); },
      [this](engine::answer& a) { answer(a); },
      [this](engine::lease& a) { set_lease(a); },
      [this](log_line& a) { log(a.level, std::move(a.text)); },
      [this](engine::halted& a) { halt(a); },
      [this](auto& disk_action) { disk(std::move(disk_action)); },
  };
  for (auto& a : todo) {
    guarded("an action", [&] { std::visit(act, a); });
    if (over) break;  // nothing follows
  }
  todo.clear();
}

void driver::impl::answer(engine::answer& a) {
  // What the engine can't count.
  if (auto* s = std::get_if<wire::status_info>(&a.what))
    for (const auto& c : {network->stats(), control->stats()})
      for (const auto& [name, n] : c.all()) s->counters[std::string(name)] += n;
  if (const auto f = calls.find(a.id, a.last); f && *f) (*f)(a.what, a.last);
}

void driver::impl::set_lease(const engine::lease& l) {
  page->set(l);
  validity = l;
  if (lease_changed) lease_changed(l);
}

void driver::impl::halt(const engine::halted& why) {
  over = why;
  timer.cancel();
  set_lease({});
  network->flush();
  network->stop(true);
  close_calls({errc::closed, why.reason.empty() ? "the node has stopped" : "the node has stopped: " + why.reason});
  if (has_halted) guarded("on_halted", [&] { has_halted(why); });
}

void driver::impl::close_calls(const failure& why) {
  for (const auto& f : calls.close(why))
    if (*f) guarded("an answer", [&] { (*f)(why, true); });
}

// ---- driver -------------------------------------------------------------------------------------------------------

result<std::unique_ptr<driver>> driver::start(driver_options o) {
  try {
    auto i = std::make_unique<impl>(std::move(o));
    if (auto ok = i->start(); !ok) return tl::unexpected(ok.error());
    return std::unique_ptr<driver>(new driver(std::move(i)));
  } catch (const std::exception& e) {
    return fail(errc::unavailable,
                fmt::format("the node can't start ({}): check the limits on files, threads and memory", e.what()));
  }
}

driver::driver(std::unique_ptr<impl> i) : impl_(std::move(i)) {}
driver::~driver() = default;

engine::call_id driver::submit(wire::request what, on_answer answer, std::optional<std::chrono::milliseconds> timeout) {
  return impl_->submit(std::move(what), std::move(answer), timeout);
}

void driver::cancel(engine::call_id id) {
  if (impl_->calls.cancel(id)) impl_->wake_loop();
}

wire::response driver::ask(wire::request what) {
  if (on_loop_thread())
    return failure{errc::in_callback, "a call that waits, from inside a callback of the node: use the other form"};
  auto promise = std::make_shared<std::promise<wire::response>>();
  auto answer = promise->get_future();
  submit(std::move(what), [promise](const wire::response& r, bool last) {
    if (last) promise->set_value(r);
  });
  return answer.get();
}

void driver::post(std::function<void()> f) {
  if (impl_->calls.post(std::move(f))) impl_->wake_loop();
}

bool driver::on_loop_thread() const noexcept { return impl_->loop_id.load() == std::this_thread::get_id(); }
std::shared_ptr<const lease_page> driver::lease() const noexcept { return impl_->page; }

void driver::on_lease(std::function<void(const engine::lease&)> f) {
  post([i = impl_.get(), f = std::move(f)]() mutable {
    i->lease_changed = std::move(f);
    if (i->validity.epoch && i->lease_changed) i->lease_changed(i->validity);
  });
}

void driver::on_halted(std::function<void(const engine::halted&)> f) {
  post([i = impl_.get(), f = std::move(f)]() mutable {
    i->has_halted = std::move(f);
    if (i->over && i->has_halted) i->has_halted(*i->over);
  });
}

address driver::bound() const { return impl_->bound; }
node_id driver::self() const { return impl_->self; }
const driver_options& driver::options() const { return impl_->opt; }
std::filesystem::path driver::control_socket() const { return impl_->control_path; }

}  // namespace coterie::runtime
