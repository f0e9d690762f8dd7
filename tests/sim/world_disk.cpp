// The simulated disk at work, as the store thread does it: everything waiting up to the next read is one group;
// written, then synced, then told. A crash can fall between any two.
#include <algorithm>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/big_endian.hpp"
#include "base/overloaded.hpp"

#include "sim/world.hpp"

namespace coterie::sim {

void world::later_on_disk(std::size_t i, duration d, std::function<void()> f) {
  after(d, [this, i, life = nodes_[i]->life, f = std::move(f)] {
    if (nodes_[i]->life == life) f();
  });
}

void world::disk_done(std::size_t i, engine::event e, duration d) {
  later_on_disk(i, d, [this, i, e = std::move(e)] {
    nodes_[i]->disk_busy = false;
    deliver(i, e);
    if (nodes_[i]->engine) run_disk(i);
  });
}

duration world::disk_latency(std::size_t i) {
  auto r = draw(lane::disk, i);
  const auto plain =
      r.between(std::chrono::microseconds(set_.disk_min_us), std::chrono::microseconds(set_.disk_max_us));
  return std::max<duration>(plain, nodes_[i]->stalled_until - now_);
}

void world::run_disk(std::size_t i) {
  auto& n = *nodes_[i];
  if (!n.engine || n.disk_busy || n.disk_queue.empty() || n.paused) return;
  // Quiet writes wait for something else, or for the thread's look around once a second.
  const auto quiet = [](const engine::action& a) {
    const auto* w = std::get_if<engine::write>(&a);
    return w != nullptr && w->quiet;
  };
  if (now_ < n.disk_looks && std::ranges::all_of(n.disk_queue, quiet)) {
    if (!std::exchange(n.look_due, true))
      later_on_disk(i, n.disk_looks - now_, [this, i] {
        nodes_[i]->look_due = false;
        run_disk(i);
      });
    return;
  }
  n.disk_looks = now_ + 1s;
  n.disk_busy = true;
  later_on_disk(i, disk_latency(i) / 2, [this, i] { do_disk_work(i); });
}

void world::do_disk_work(std::size_t i) {
  auto& n = *nodes_[i];
  if (n.disk_full) return disk_done(i, engine::disk_failed{"no space left on the device"}, 0ns);
  std::vector<disk::batch> batches;
  std::uint64_t last = 0;
  bool sync = false, awaited = false;
  if (std::holds_alternative<engine::write>(n.disk_queue.front()) && dies_at(i, crash_point::before_write)) return;
  while (!n.disk_queue.empty()) {
    auto* w = std::get_if<engine::write>(&n.disk_queue.front());
    if (!w) break;
    last = w->sequence;
    sync |= w->sync;
    awaited |= !w->quiet;
    batches.push_back(std::move(w->what));
    n.disk_queue.pop_front();
  }
  if (!batches.empty()) {
    for (const auto& b : batches) n.disk.write(b, false);
    if (dies_at(i, crash_point::after_write)) return;
    if (!awaited) {
      n.disk_busy = false;
      return run_disk(i);
    }
    if (!sync) return disk_done(i, engine::written{last}, 0ns);
    return later_on_disk(i, disk_latency(i), [this, i, last] {
      if (!nodes_[i]->disk.sync()) return disk_done(i, engine::disk_failed{"fsync: input/output error"}, 0ns);
      if (dies_at(i, crash_point::after_sync)) return;
      disk_done(i, engine::written{last}, disk_latency(i) / 4);
    });
  }
  auto a = std::move(n.disk_queue.front());
  n.disk_queue.pop_front();
  const auto at_once = [&] {
    n.disk_busy = false;
    run_disk(i);
  };
  std::visit(overloaded{
                 [&](const engine::read& r) {
                   if (std::exchange(n.read_fails, false))
                     return disk_done(i, engine::disk_failed{"read: input/output error"}, 0ns);
                   auto p = n.disk.range(r);
                   disk_done(i, engine::read_done{r.id, std::move(p.items), p.more}, 0ns);
                 },
                 [&](const engine::open_view& v) {
                   n.disk.open_view(v.view);
                   at_once();
                 },
                 [&](const engine::close_view& v) {
                   n.disk.close_view(v.view);
                   at_once();
                 },
                 [&](const engine::install_begin& b) {
                   n.disk.install_begin(b.in);
                   at_once();
                 },
                 [&](const engine::install_chunk& c) {
                   n.disk.install_chunk(c.items, c.in);
                   if (dies_at(i, crash_point::at_chunk)) return;
                   disk_done(i, engine::written{c.sequence}, 0ns);
                 },
                 [&](const engine::install_commit& c) {
                   n.disk.install_commit(c.what, c.in);
                   if (dies_at(i, crash_point::at_install)) return;
                   disk_done(i, engine::written{c.sequence}, disk_latency(i));
                 },
                 [](const auto&) { COTERIE_ASSERT(!"not a disk action"); },
             },
             a);
}

void world::lose_power(std::size_t i, rng& r, bool observes) {
  auto& n = *nodes_[i];
  const auto end = [&] {
    const auto last = n.disk.range(engine::read{.id = {},
                                                .in = disk::space::log,
                                                .from = engine::log_key(meta_group, log_index(0)),
                                                .to = engine::log_key(meta_group.next(), log_index(0)),
                                                .max_items = 1,
                                                .reverse = true});
    return last.items.empty() ? log_index() : engine::parse_log_key(last.items.front().first)->second;
  };
  const auto before = end();
  n.disk.crash(r);
  if (!observes || end() >= before) return;
  trace(i, fmt::format("has lost its log from {} to {}", end().next(), before));
  marks_.add("observer.lost_entries");
  n.lost = std::max(before, n.lost.value_or(before));
}

void world::look_for_lost(std::size_t i) {
  auto& n = *nodes_[i];
  const auto* r = n.lost ? n.engine->look().raft : nullptr;
  if (r == nullptr || r->commit() < *n.lost) return;
  n.lost.reset();
  marks_.add("observer.fetched_again");
}

void world::fail_next_read(std::size_t i) { nodes_[i]->read_fails = true; }

void world::set_disk_full(std::size_t i, bool full, bool writes_fail) {
  trace(i, full ? "its disk is full" : "its disk has room again");
  nodes_[i]->disk_full = full && writes_fail;
  deliver(i, engine::disk_space{full});
}

void world::stall_disk(std::size_t i, virtual_time until) {
  trace(i, "its disk stalls");
  nodes_[i]->stalled_until = std::max(nodes_[i]->stalled_until, until);
}

}  // namespace coterie::sim
