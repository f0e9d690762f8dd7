#include "sim/world.hpp"

#include <algorithm>
#include <cstdio>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/hash.hpp"
#include "base/overloaded.hpp"

namespace coterie::sim {

world::world(const settings& s, std::uint64_t seed, planted_bug bug, bool trace)
    : set_(s),
      seed_(seed),
      bug_(bug),
      trace_(trace),
      loss_(static_cast<double>(s.loss) / 1000),
      duplicate_(static_cast<double>(s.duplicate) / 1000),
      delay_min_(std::chrono::microseconds(s.delay_min_us)),
      delay_max_(std::chrono::microseconds(s.delay_max_us)) {
  COTERIE_ASSERT(s.nodes + s.joiners <= max_nodes);
  for (std::size_t i = 0; i < s.nodes + s.joiners; ++i) add_node(i < s.nodes);
}
world::~world() = default;

rng world::draw(lane l, std::size_t a, std::size_t b) {
  const auto n = ++drawn_[static_cast<std::size_t>(l)][a][b];
  rng mixed(seed_ ^ (static_cast<std::uint64_t>(l) << 60 | a << 52 | b << 44));
  return rng(mixed.next() + n).fork();
}

// ---- time

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

// ---- clocks

namespace {
std::int64_t scaled(virtual_time t, double rate) {
  return static_cast<std::int64_t>(static_cast<double>(t.count()) * rate);
}
}  // namespace

times world::clocks(std::size_t i) const {
  const auto& n = *nodes_[i];
  const auto gone = scaled(now_, n.rate);
  return {instant(duration(n.steady_frozen.value_or(n.steady_base + gone))),
          boot_instant(duration(n.boot_frozen.value_or(n.boot_base + gone))),
          wall_time(std::chrono::milliseconds(n.wall_base + gone / 1'000'000))};
}

virtual_time world::when(std::size_t i, std::int64_t steady_ns, std::int64_t boot_ns) const {
  const auto& n = *nodes_[i];
  const auto gone = std::min(steady_ns - n.steady_base, boot_ns - n.boot_base);
  return virtual_time(static_cast<std::int64_t>(static_cast<double>(gone) / n.rate));
}

void world::step_wall(std::size_t i, std::chrono::milliseconds d) {
  trace(i, fmt::format("its wall clock is set by {} ms", d.count()));
  nodes_[i]->wall_base += d.count();
}

void world::freeze_clock(std::size_t i, bool boot_too) {
  auto& n = *nodes_[i];
  const auto gone = scaled(now_, n.rate);
  if (!n.steady_frozen) n.steady_frozen = n.steady_base + gone;
  if (boot_too && !n.boot_frozen) n.boot_frozen = n.boot_base + gone;
}

void world::thaw_clock(std::size_t i) {
  auto& n = *nodes_[i];
  const auto gone = scaled(now_, n.rate);
  if (n.steady_frozen) n.steady_base = *n.steady_frozen - gone;
  if (n.boot_frozen) n.boot_base = *n.boot_frozen - gone;
  n.steady_frozen.reset();
  n.boot_frozen.reset();
  n.armed = virtual_time::max();
  if (n.engine) arm(i);
}

// ---- nodes

void world::add_node(bool seed) {
  auto n = std::make_unique<simulated_node>();
  const auto i = nodes_.size();
  auto r = draw(lane::life, i, 0);
  n->name = std::string(1, static_cast<char>('a' + i));
  n->at = address{fmt::format("10.0.0.{}", i + 1), 7400};
  n->seed = seed;
  const auto error = static_cast<double>(set_.clock_error_ppm) / 1e6;
  n->rate = 1.0 + error * (static_cast<double>(r.below(2001)) / 1000.0 - 1.0);
  n->steady_base = static_cast<std::int64_t>(r.below(1'000'000'000'000));
  n->boot_base = n->steady_base + static_cast<std::int64_t>(r.below(1'000'000'000));
  n->wall_base = 1'790'000'000'000 + static_cast<std::int64_t>(r.below(200));
  nodes_.push_back(std::move(n));
}

bool world::up(std::size_t i) const { return nodes_[i]->engine != nullptr; }
bool world::paused(std::size_t i) const { return nodes_[i]->paused > 0; }
const engine::engine& world::node(std::size_t i) const { return *nodes_[i]->engine; }
test::memory_disk& world::disk(std::size_t i) { return nodes_[i]->disk; }
const std::string& world::name(std::size_t i) const { return nodes_[i]->name; }
bool world::left(std::size_t i) const { return nodes_[i]->disk.contains(disk::space::meta, to_bytes("ended")); }
void world::set_other_list(std::size_t i, bool other) { nodes_[i]->other_list = other; }
bool world::has_other_list(std::size_t i) const { return nodes_[i]->started_with_other_list; }
std::uint32_t world::life(std::size_t i) const { return nodes_[i]->life; }

std::size_t world::node_of(const address& a) const {
  for (std::size_t i = 0; i < nodes_.size(); ++i)
    if (nodes_[i]->at == a) return i;
  return nodes_.size();
}

std::optional<std::size_t> world::leader() const {
  std::optional<std::size_t> found;
  term newest;
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (!running(i)) continue;
    const auto* r = nodes_[i]->engine->look().raft;
    if (r && r->current_role() == raft::role::leader && r->current_term() > newest) {
      newest = r->current_term();
      found = i;
    }
  }
  return found;
}

void world::trace(std::size_t i, const std::string& text) {
  if (!trace_) return;
  const auto& n = *nodes_[i];
  const auto* r = n.engine ? n.engine->look().raft : nullptr;
  const auto where =
      r ? fmt::format("{}{}:{}", r->current_role() == raft::role::leader ? "*" : "t", r->current_term(), r->commit())
        : std::string("-");
  fmt::print(stderr, "{:>12.6f} {} {:<9} {}\n", static_cast<double>(now_.count()) / 1e9, n.name, where, text);
}

void world::start(std::size_t i) {
  auto& n = *nodes_[i];
  COTERIE_ASSERT(!n.engine);
  if (n.disk_full) return trace(i, "can't start: its disk is full");
  ++n.life;
  auto r = draw(lane::life, i, 1);
  const auto image = n.disk.load(engine::state_memory_begin(), engine::state_memory_end());
  auto p = engine::recover(image, r.next(), r.next(), left(i), data_groups());
  if (std::exchange(n.rotten, false)) {
    n.refused = !p;
    if (!p) return trace(i, "can't start: " + p.error().message);
    if (!p->state.damaged) watch.violation(n.name + " starts on a damaged disk");
  }
  if (!p) return watch.violation(fmt::format("{} can't recover: {}", n.name, p.error().message));
  if (!n.disk.write(p->first_write, true)) {
    n.disk.kill();
    return trace(i, "can't start: its disk fails");
  }
  engine::options o;
  o.name = n.name;
  o.advertise = n.at;
  for (const auto& s : nodes_)
    if (s->seed) o.seeds.push_back(s->at);
  o.bootstrap_single = o.seeds.size() == 1;
  n.started_with_other_list = n.other_list && o.seeds.size() > 1;
  if (n.started_with_other_list) o.seeds.erase(o.seeds.end() - (o.seeds.back() == n.at ? 2 : 1));
  o.bug = bug_;
  o.session_ttl = std::chrono::milliseconds(set_.session_ttl_ms);
  o.compact_after_entries = set_.compact_after;
  o.keep_entries = set_.keep_entries;
  o.voters.stable_after = std::chrono::milliseconds(set_.stable_after_ms);
  o.voters.dead_grace = std::chrono::milliseconds(set_.dead_grace_ms);
  o.voters.max_voters = set_.max_voters;
  o.voters.standbys = set_.standbys;
  o.relay_fan_out = set_.fan_out;
  o.data_groups = data_groups();
  o.keep_locks = 1s;
  o.snapshot_chunk_bytes = set_.chunk_bytes;
  o.snapshot_rate = set_.chunk_bytes * 50;
  o.max_inflight_requests = set_.max_requests;
  o.raft.max_append_entries = set_.max_append_entries;
  o.raft.max_append_bytes = set_.max_append_bytes;
  o.raft.max_inflight_appends = set_.max_inflight;
  n.paused = 0;
  n.disk_busy = n.look_due = n.read_fails = false;
  n.dies.reset();
  n.armed = virtual_time::max();
  n.engine = std::make_unique<engine::engine>(o, std::move(p->state), clocks(i), r.next());
  trace(i, "starts");
  if (watch.started) watch.started(i);
  deliver(i, engine::wake{});
}

void world::kill(std::size_t i, bool power_loss) {
  auto& n = *nodes_[i];
  if (!n.engine) return;
  trace(i, power_loss ? "loses power" : "is killed");
  if (watch.ended) watch.ended(i);
  const auto* raft = n.engine->look().raft;
  const bool observes = raft && !raft->conf().contains(raft->self());
  n.engine.reset();
  n.paused = 0;
  n.dies.reset();
  n.inbox.clear();
  n.turn_due = false;
  n.disk_queue.clear();
  ++n.life;
  auto r = draw(lane::power, i);
  if (power_loss)
    lose_power(i, r, observes);
  else
    n.disk.kill();
  // A dead process is told about by its kernel; a dead machine is silent until somebody sends.
  break_streams_of_dead(i, power_loss && r.chance(0.5));
}

void world::kill_at(std::size_t i, crash_point where, bool power_loss) {
  if (!up(i)) return;
  if (where == crash_point::now) return kill(i, power_loss);
  nodes_[i]->dies = simulated_node::own_end{where, power_loss};
}

void world::kill_first(standing as, crash_point where, bool power_loss, duration patience,
                       std::function<void(std::size_t)> chosen) {
  orders_.push_back({{as, where, power_loss}, now_ + patience, std::move(chosen)});
}

std::optional<standing> world::standing_of(std::size_t i) const {
  const auto* r = up(i) ? nodes_[i]->engine->look().raft : nullptr;
  if (!r) return std::nullopt;
  switch (r->current_role()) {
    case raft::role::leader:
      return standing::leading;
    case raft::role::follower:
      return standing::following;
    case raft::role::pre_candidate:
    case raft::role::candidate:
      return standing::campaigning;
  }
  return std::nullopt;
}

bool world::dies_at(std::size_t i, crash_point where) {
  auto& n = *nodes_[i];
  if (!n.engine) return true;
  const auto as = standing_of(i);
  std::erase_if(orders_, [this](const auto& o) { return o.until <= now_; });
  const auto order =
      std::ranges::find_if(orders_, [&](const auto& o) { return o.how.as == as && o.how.where == where; });
  bool power_loss = false;
  if (order != orders_.end()) {
    power_loss = order->how.power_loss;
    order->chosen(i);
    orders_.erase(order);
  } else if (n.dies && n.dies->where == where) {
    power_loss = n.dies->power_loss;
  } else {
    return false;
  }
  trace(i, fmt::format("comes to its end, {}", crash_point_names[static_cast<std::size_t>(where)]));
  if (as) ++deaths_[{*as, where, power_loss}];
  kill(i, power_loss);
  return true;
}

void world::wipe(std::size_t i) {
  COTERIE_ASSERT(!up(i));
  trace(i, "loses its disk");
  nodes_[i]->disk = test::memory_disk();
  nodes_[i]->rotten = nodes_[i]->refused = false;
  nodes_[i]->lost.reset();
}

// Of the log, whose entries carry their own checksums, or of the state, whose blocks do. The rest is refused at the
// start (tests/contract).
void world::damage(std::size_t i) {
  COTERIE_ASSERT(!up(i));
  auto& n = *nodes_[i];
  auto r = draw(lane::power, i);
  const auto before = engine::recover(n.disk.load(engine::state_memory_begin(), engine::state_memory_end()), 1, 1,
                                      false, data_groups());
  const auto where = r.chance(0.7) ? disk::space::log : disk::space::state;
  if (!before || before->state.damaged || left(i) || !n.disk.corrupt(r, where))
    return trace(i, "has nothing to damage");
  n.rotten = true;
  trace(i, where == disk::space::log ? "has a bit of its log turned over" : "has a bit of its state turned over");
  if (watch.damaged) watch.damaged(i, before->state.log);
}

bool world::refused(std::size_t i) const { return nodes_[i]->refused; }

void world::pause(std::size_t i) {
  if (!up(i)) return;
  trace(i, "is paused");
  ++nodes_[i]->paused;
}

void world::resume(std::size_t i) {
  auto& n = *nodes_[i];
  if (n.paused == 0 || --n.paused > 0) return;
  trace(i, "goes on");
  n.inbox.emplace_back(engine::wake{});
  const auto life = n.life;
  take_turns(i);
  if (n.life == life) run_disk(i);
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
  constexpr std::size_t socket_buffer = 500;
  if (n.inbox.size() >= socket_buffer && std::holds_alternative<engine::datagram_in>(e)) return;
  n.inbox.push_back(std::move(e));
  if (n.paused || n.turn_due) return;
  if (set_.turn_us == 0) return take_turns(i);
  n.turn_due = true;
  after(std::chrono::microseconds(set_.turn_us), [this, i, life = n.life] {
    auto& x = *nodes_[i];
    if (x.life != life) return;
    x.turn_due = false;
    if (!x.paused) take_turns(i);
  });
}

void world::take_turns(std::size_t i) {
  auto& n = *nodes_[i];
  const auto life = n.life;
  const auto events = std::exchange(n.inbox, {});
  const auto most = set_.turn_us == 0 ? 1 : events.size();
  std::size_t k = 0;
  for (; k < events.size() && n.life == life && !n.paused; k += most) step(i, std::span(events).subspan(k, most));
  if (n.life == life) n.inbox.insert(n.inbox.begin(), events.begin() + static_cast<std::ptrdiff_t>(k), events.end());
}

namespace {
// None: before the node starts from what its disk holds, which is no applying.
std::optional<log_index> applied_by(const engine::engine& e) {
  const auto* r = e.look().raft;
  return r ? std::optional(r->applied()) : std::nullopt;
}
bool leaves_the_process(const engine::action& a) {
  return std::holds_alternative<engine::send_frame>(a) || std::holds_alternative<engine::answer>(a);
}
}  // namespace

void world::step(std::size_t i, std::span<const engine::event> turn) {
  auto& n = *nodes_[i];
  if (!n.engine) return;
  ++steps_;
  std::vector<engine::action> out;
  const auto applied = applied_by(*n.engine);
  n.engine->step(turn, clocks(i), out);
  const bool sent = std::ranges::any_of(out, leaves_the_process);
  perform(i, out);
  if (!n.engine) return;
  look_for_lost(i);
  if (watch.stepped) watch.stepped(i);
  const bool wrote =
      std::ranges::any_of(turn, [](const auto& e) { return std::holds_alternative<engine::written>(e); });
  if (wrote && sent && dies_at(i, crash_point::after_send)) return;
  if (applied && applied_by(*n.engine) > applied && dies_at(i, crash_point::after_apply)) return;
  if (dies_at(i, crash_point::now)) return;
  arm(i);
}

void world::arm(std::size_t i) {
  auto& n = *nodes_[i];
  const auto next = n.engine->next_wake();
  if (next == never || n.steady_frozen) return;
  const auto gone = static_cast<double>(next.time_since_epoch().count() - n.steady_base) / n.rate;
  const auto when = std::max(now_, virtual_time(static_cast<std::int64_t>(gone))) + 1us;
  if (when >= n.armed && n.armed > now_) return;
  n.armed = when;
  at(when, [this, i, life = n.life, when] {
    auto& x = *nodes_[i];
    if (x.life != life || !x.engine || x.armed != when) return;
    x.armed = virtual_time::max();
    if (x.paused) return;
    // A part that asks to be woken for something it then doesn't do would keep a core busy.
    if (now_ - x.wakes_since > 1ms) {
      x.wakes_since = now_;
      x.wakes = 0;
    }
    if (++x.wakes == 100) watch.violation(x.name + " spins: it was woken 100 times within 1 ms");
    x.inbox.emplace_back(engine::wake{});
    take_turns(i);
  });
}

void world::perform(std::size_t i, std::vector<engine::action>& actions) {
  auto& n = *nodes_[i];
  const auto life = n.life;
  for (auto& a : actions) {
    mix(a.index() * 31 + i);
    if (n.life != life) return;
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

}  // namespace coterie::sim
