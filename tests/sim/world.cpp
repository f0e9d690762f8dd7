#include "sim/world.hpp"

#include <cstdio>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/hash.hpp"
#include "wire/codec.hpp"

namespace coterie::sim {

namespace {
template <class... F>
struct overloaded : F... {
  using F::operator()...;
};
template <class... F>
overloaded(F...) -> overloaded<F...>;

constexpr duration dial_timeout = 2s;
}  // namespace

struct world::simulated_node {
  std::string name;
  address at;
  bool seed = false;
  std::unique_ptr<engine::engine> engine;
  test::memory_disk disk;
  bool paused = false;
  std::uint32_t life = 0;
  double rate = 1;
  std::int64_t steady_base = 0, boot_extra = 0, wall_base = 0;
  std::deque<engine::event> held;  // while paused
  std::deque<engine::action> disk_queue;
  bool disk_busy = false;
  virtual_time armed = virtual_time::max();
};

world::world(world_options o, std::uint64_t seed) : options_(std::move(o)), random_(seed) {
  for (std::size_t i = 0; i < options_.nodes; ++i) add_node(true);
}
world::~world() = default;

// ---- time
// ---------------------------------------------------------------------------------------------------------------------

void world::at(virtual_time t, std::function<void()> f) { queue_.push({std::max(t, now_), ++order_, std::move(f)}); }

void world::run_until(virtual_time t) {
  while (!queue_.empty() && queue_.top().when <= t) {
    auto next = std::move(const_cast<item&>(queue_.top()));
    queue_.pop();
    now_ = next.when;
    next.what();
  }
  now_ = t;
}

bool world::run_while_not(const std::function<bool()>& condition, duration limit) {
  const auto end = now_ + limit;
  while (now_ < end) {
    if (condition()) return true;
    run_until(std::min(end, now_ + 10ms));
  }
  return condition();
}

times world::clocks(std::size_t i) const {
  const auto& n = *nodes_[i];
  const auto local = n.steady_base + static_cast<std::int64_t>(static_cast<double>(now_.count()) * n.rate);
  const auto wall_ms = n.wall_base + static_cast<std::int64_t>(static_cast<double>(now_.count()) * n.rate) / 1'000'000;
  return {instant(duration(local)), boot_instant(duration(local + n.boot_extra)),
          wall_time(std::chrono::milliseconds(wall_ms))};
}

virtual_time world::when_steady(std::size_t i, std::int64_t steady_ns) const {
  const auto& n = *nodes_[i];
  return virtual_time(static_cast<std::int64_t>(static_cast<double>(steady_ns - n.steady_base) / n.rate));
}

void world::step_wall(std::size_t i, std::chrono::milliseconds d) { nodes_[i]->wall_base += d.count(); }

// ---- nodes
// --------------------------------------------------------------------------------------------------------------------

std::size_t world::add_node(bool seed) {
  auto n = std::make_unique<simulated_node>();
  const auto i = nodes_.size();
  n->name = std::string(1, static_cast<char>('a' + i));
  n->at = address{fmt::format("10.0.0.{}", i + 1), 7400};
  n->seed = seed;
  n->rate = 1.0 + options_.clock_error * (static_cast<double>(random_.below(2001)) / 1000.0 - 1.0);
  n->steady_base = static_cast<std::int64_t>(random_.below(1'000'000'000'000));
  n->wall_base = 1'790'000'000'000 + static_cast<std::int64_t>(random_.below(200));
  nodes_.push_back(std::move(n));
  return i;
}

bool world::up(std::size_t i) const { return nodes_[i]->engine != nullptr; }
bool world::paused(std::size_t i) const { return nodes_[i]->paused; }
const engine::engine& world::node(std::size_t i) const { return *nodes_[i]->engine; }
test::memory_disk& world::disk(std::size_t i) { return nodes_[i]->disk; }
const std::string& world::name(std::size_t i) const { return nodes_[i]->name; }
std::uint32_t world::life(std::size_t i) const { return nodes_[i]->life; }

std::size_t world::node_of(const address& a) const {
  for (std::size_t i = 0; i < nodes_.size(); ++i)
    if (nodes_[i]->at == a) return i;
  return nodes_.size();
}

void world::trace(std::size_t i, const std::string& text) {
  if (options_.trace)
    fmt::print(stderr, "{:>12.6f} {} {}\n", static_cast<double>(now_.count()) / 1e9, nodes_[i]->name, text);
}

void world::start(std::size_t i, bool rejoin) {
  auto& n = *nodes_[i];
  COTERIE_ASSERT(!n.engine);
  ++n.life;
  auto image = n.disk.load(engine::state_memory_begin(), engine::state_memory_end());
  auto p = engine::recover(image, random_.next(), random_.next(), rejoin);
  if (!p) {
    watch.violation(fmt::format("{} can't recover: {}", n.name, p.error().message));
    return;
  }
  n.disk.write(p->first_write, true);
  auto o = options_.engine;
  o.name = n.name;
  o.advertise = n.at;
  o.seeds.clear();
  for (const auto& s : nodes_)
    if (s->seed) o.seeds.push_back(s->at);
  n.paused = false;
  n.disk_busy = false;
  n.armed = virtual_time::max();
  n.engine = std::make_unique<engine::engine>(o, std::move(p->state), clocks(i), random_.next());
  trace(i, fmt::format("starts, life {}", n.life));
  if (watch.started) watch.started(i);
  step(i, engine::wake{});
}

void world::kill(std::size_t i, bool power_loss) {
  auto& n = *nodes_[i];
  if (!n.engine) return;
  trace(i, power_loss ? "loses power" : "is killed");
  n.engine.reset();
  n.paused = false;
  n.held.clear();
  n.disk_queue.clear();
  ++n.life;
  if (power_loss)
    n.disk.crash(random_);
  else
    n.disk.kill();
  std::vector<std::uint64_t> mine;
  for (const auto& [id, s] : streams_)
    if (s.a.node == i || s.b.node == i) mine.push_back(id);
  for (const auto id : mine) {
    const auto& s = streams_.at(id);
    // A dead process is told about by its kernel; a dead machine is silent until somebody sends.
    const bool tell = !power_loss || random_.chance(0.5);
    break_stream(id, tell && s.a.node != i, tell && s.b.node != i, false);
  }
  if (watch.ended) watch.ended(i);
}

void world::wipe(std::size_t i) { nodes_[i]->disk = test::memory_disk(); }

void world::pause(std::size_t i) {
  if (!running(i)) return;
  trace(i, "is paused");
  nodes_[i]->paused = true;
}

void world::resume(std::size_t i) {
  auto& n = *nodes_[i];
  if (!n.paused) return;
  trace(i, "goes on");
  n.paused = false;
  auto held = std::exchange(n.held, {});
  held.push_back(engine::wake{});
  const auto life = n.life;
  for (auto& e : held) {
    if (n.life != life || n.paused) break;
    step(i, e);
  }
  run_disk(i);
}

engine::call_id world::call(std::size_t i, wire::request r, std::optional<std::chrono::milliseconds> timeout) {
  const engine::call_id id(++next_call_);
  deliver(i, engine::call{id, std::move(r), timeout});
  return id;
}

void world::cancel(std::size_t i, engine::call_id id) { deliver(i, engine::cancel_call{id}); }

void world::deliver(std::size_t i, engine::event e) {
  auto& n = *nodes_[i];
  if (!n.engine) return;
  if (n.paused) {
    n.held.push_back(std::move(e));
    return;
  }
  step(i, e);
}

void world::step(std::size_t i, const engine::event& e) {
  auto& n = *nodes_[i];
  if (!n.engine) return;
  ++steps_;
  std::vector<engine::action> out;
  n.engine->step(e, clocks(i), out);
  perform(i, out);
  if (!n.engine) return;
  if (watch.stepped) watch.stepped(i);
  if (n.engine) arm(i);
}

void world::arm(std::size_t i) {
  auto& n = *nodes_[i];
  const auto next = n.engine->next_wake();
  if (next == never) return;
  const auto when = std::max(now_ + 1us, when_steady(i, next.time_since_epoch().count()) + 1us);
  if (when >= n.armed && n.armed > now_) return;
  n.armed = when;
  at(when, [this, i, life = n.life, when] {
    auto& x = *nodes_[i];
    if (x.life != life || !x.engine || x.armed != when) return;
    x.armed = virtual_time::max();
    if (!x.paused) step(i, engine::wake{});
  });
}

void world::perform(std::size_t i, std::vector<engine::action>& actions) {
  auto& n = *nodes_[i];
  const auto life = n.life;
  for (auto& a : actions) {
    mix(a.index() * 31 + i);
    if (n.life != life || !n.engine) return;
    std::visit(overloaded{
                   [&](engine::send_datagram& x) {
                     mix(hash64(x.data));
                     send_datagram(i, x);
                   },
                   [&](engine::dial& x) {
                     mix(x.id.value);
                     dial(i, x);
                   },
                   [&](engine::send_frame& x) {
                     mix(hash64(x.frame));
                     send_frame(i, x);
                   },
                   [&](engine::hang_up& x) { hang_up(i, x.id); },
                   [&](engine::answer& x) {
                     mix(x.id.value * 64 + x.what.index());
                     if (watch.answered) watch.answered(i, x.id, x.what, x.last);
                   },
                   [&](engine::lease& x) { mix(x.epoch.value); },
                   [&](log_line& x) { trace(i, x.text); },
                   [&](engine::halted& x) {
                     trace(i, "halts: " + x.reason);
                     after(0ns, [this, i, life] {
                       if (nodes_[i]->life == life) kill(i, false);
                     });
                   },
                   [&](auto& x) { n.disk_queue.emplace_back(std::move(x)); },
               },
               a);
  }
  run_disk(i);
}

// ---- disk
// ---------------------------------------------------------------------------------------------------------------------

// As the store thread does it: everything waiting up to the next read is one group; written, then synced, then told. A
// crash can fall between any two.
void world::run_disk(std::size_t i) {
  auto& n = *nodes_[i];
  if (n.disk_busy || n.disk_queue.empty() || n.paused) return;
  n.disk_busy = true;
  const auto life = n.life;
  const auto later = [this, i, life](duration d, std::function<void()> f) {
    after(d, [this, i, life, f = std::move(f)] {
      if (nodes_[i]->life == life) f();
    });
  };
  const auto finish = [this, i, later](engine::event e, duration d) {
    later(d, [this, i, e = std::move(e)] {
      nodes_[i]->disk_busy = false;
      deliver(i, e);
      if (nodes_[i]->engine) run_disk(i);
    });
  };
  const auto latency = [this] { return random_.between(options_.disk_min, options_.disk_max); };
  later(latency() / 2, [this, i, later, finish, latency] {
    auto& x = *nodes_[i];
    std::vector<disk::batch> batches;
    std::uint64_t last = 0;
    bool sync = false;
    while (!x.disk_queue.empty()) {
      auto* w = std::get_if<engine::write>(&x.disk_queue.front());
      if (!w) break;
      last = w->sequence;
      sync |= w->sync;
      batches.push_back(std::move(w->what));
      x.disk_queue.pop_front();
    }
    if (!batches.empty()) {
      for (const auto& b : batches) x.disk.write(b, false);
      if (!sync) return finish(engine::written{last}, 0ns);
      return later(latency(), [this, i, last, finish, latency] {
        if (!nodes_[i]->disk.sync()) return finish(engine::disk_failed{"sync failed"}, 0ns);
        finish(engine::written{last}, latency() / 4);
      });
    }
    auto a = std::move(x.disk_queue.front());
    x.disk_queue.pop_front();
    std::visit(overloaded{
                   [&](const engine::read& r) {
                     auto p = x.disk.range(r);
                     finish(engine::read_done{r.id, std::move(p.items), p.more}, 0ns);
                   },
                   [&](const engine::open_view& v) {
                     x.disk.open_view(v.view);
                     x.disk_busy = false;
                     run_disk(i);
                   },
                   [&](const engine::close_view& v) {
                     x.disk.close_view(v.view);
                     x.disk_busy = false;
                     run_disk(i);
                   },
                   [&](const engine::install_begin&) {
                     x.disk.install_begin();
                     x.disk_busy = false;
                     run_disk(i);
                   },
                   [&](const engine::install_chunk& c) {
                     x.disk.install_chunk(c.items);
                     finish(engine::written{c.sequence}, 0ns);
                   },
                   [&](const engine::install_commit& c) {
                     x.disk.install_commit(c.what);
                     finish(engine::written{c.sequence}, latency());
                   },
                   [](const auto&) { COTERIE_ASSERT(!"not a disk action"); },
               },
               a);
  });
}

// ---- network
// ------------------------------------------------------------------------------------------------------------------

void world::send_datagram(std::size_t from, const engine::send_datagram& d) {
  const auto to = node_of(d.to);
  if (to >= nodes_.size() || blocked(from, to) || random_.chance(options_.datagram_loss)) return;
  if (!nodes_[to]->engine) {
    // ICMP port unreachable, when the machine is there.
    if (!blocked(to, from))
      after(delay() * 2, [this, from, life = nodes_[from]->life, a = d.to] {
        if (nodes_[from]->life == life) deliver(from, engine::unreachable_in{a});
      });
    return;
  }
  const int copies = random_.chance(options_.datagram_duplicate) ? 2 : 1;
  for (int c = 0; c < copies; ++c)
    after(delay(), [this, from, to, life = nodes_[to]->life, data = d.data] {
      if (nodes_[to]->life == life) deliver(to, engine::datagram_in{nodes_[from]->at, data});
    });
}

void world::dial(std::size_t from, const engine::dial& d) {
  const auto to = node_of(d.to);
  const auto life = nodes_[from]->life;
  const auto fail = [&](duration when, bool refused) {
    after(when, [this, from, life, id = d.id, refused] {
      if (nodes_[from]->life == life)
        deliver(from, engine::stream_down{id, refused, refused ? "refused" : "timed out"});
    });
  };
  if (to >= nodes_.size() || blocked(from, to) || blocked(to, from)) return fail(dial_timeout, false);
  if (!nodes_[to]->engine) return fail(delay() * 2, true);
  const auto s = ++next_stream_;
  after(delay() * 2, [this, from, to, life, to_life = nodes_[to]->life, id = d.id, s] {
    if (nodes_[from]->life != life) return;
    if (nodes_[to]->life != to_life) return deliver(from, engine::stream_down{id, true, "refused"});
    auto& x = streams_[s];
    x.a = {from, id};
    x.b = {to, engine::stream_id(++next_accept_)};
    x.open = true;
    x.to_a = x.to_b = now_;
    ends_[{from, id}] = s;
    ends_[{to, x.b.id}] = s;
    const auto accepted = x.b.id;
    deliver(to, engine::stream_up{accepted, false, nodes_[from]->at});
    if (nodes_[from]->life == life && streams_.contains(s)) deliver(from, engine::stream_up{id, true, nodes_[to]->at});
  });
}

void world::send_frame(std::size_t from, const engine::send_frame& f) {
  const auto it = ends_.find({from, f.id});
  if (it == ends_.end()) return;
  auto& s = streams_.at(it->second);
  const bool to_b = s.a.node == from && s.a.id == f.id;
  const auto to = to_b ? s.b.node : s.a.node;
  if (blocked(from, to) || !s.stalled.empty()) {
    if (s.stalled.size() < 10'000) s.stalled.emplace_back(to_b, f.frame);
    return;
  }
  deliver_frame(it->second, to_b, f.frame);
}

void world::deliver_frame(std::uint64_t id, bool to_b, bytes frame) {
  auto& s = streams_.at(id);
  auto& last = to_b ? s.to_b : s.to_a;
  last = std::max(last + 1us, now_ + delay());
  at(last, [this, id, to_b, f = std::move(frame)] {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return;
    const auto e = to_b ? it->second.b : it->second.a;
    deliver(e.node, engine::frame_in{e.id, bytes(f.begin() + wire::header_size, f.end())});
  });
}

void world::hang_up(std::size_t from, engine::stream_id id) {
  const auto it = ends_.find({from, id});
  if (it == ends_.end()) return;
  const auto s = it->second;
  const bool by_a = streams_.at(s).a.node == from && streams_.at(s).a.id == id;
  break_stream(s, !by_a, by_a, false);
}

void world::break_stream(std::uint64_t id, bool tell_a, bool tell_b, bool refused) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  const auto s = it->second;
  ends_.erase({s.a.node, s.a.id});
  ends_.erase({s.b.node, s.b.id});
  streams_.erase(it);
  const auto tell = [&](const stream_end& e) {
    after(delay(), [this, e, life = nodes_[e.node]->life, refused] {
      if (nodes_[e.node]->life == life) deliver(e.node, engine::stream_down{e.id, refused, "closed"});
    });
  };
  if (tell_a) tell(s.a);
  if (tell_b) tell(s.b);
}

void world::drop_streams(std::size_t a, std::size_t b) {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, s] : streams_)
    if ((s.a.node == a && s.b.node == b) || (s.a.node == b && s.b.node == a)) ids.push_back(id);
  for (const auto id : ids) break_stream(id, true, true, false);
}

void world::cut(std::size_t a, std::size_t b) { cuts_.insert({a, b}); }

void world::mend(std::size_t a, std::size_t b) {
  cuts_.erase({a, b});
  for (auto& [id, s] : streams_) {
    if (blocked(s.a.node, s.b.node) || blocked(s.b.node, s.a.node)) continue;
    auto stalled = std::exchange(s.stalled, {});
    for (auto& [to_b, frame] : stalled) deliver_frame(id, to_b, std::move(frame));
  }
}

void world::mend_all() {
  const auto all = cuts_;
  for (const auto& [a, b] : all) mend(a, b);
}

}  // namespace coterie::sim
