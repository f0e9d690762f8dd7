#include "sim/workload.hpp"

#include <fmt/format.h>

namespace coterie::sim {

namespace {
const std::vector<std::string> lock_names{"deploy", "import", "index"};
const std::vector<std::string> journal_names{"orders", "news"};
}  // namespace

workload::workload(world& w, std::uint64_t seed)
    : consensus(w), locks(w), jobs(w), journals(w), world_(w), random_(seed) {
  w.watch.stepped = [this](std::size_t i) { consensus.after_step(i); };
  w.watch.answered = [this](std::size_t i, engine::call_id id, const wire::response& r, bool last) {
    answered(i, id, r, last);
  };
  w.watch.started = [this](std::size_t i) {
    consensus.on_start(i);
    register_node(i);
  };
  w.watch.ended = [this](std::size_t i) { ended(i); };
}

std::vector<std::size_t> workload::participants() const {
  std::vector<std::size_t> r;
  for (std::size_t i = 0; i < world_.size(); ++i)
    if (world_.running(i)) r.push_back(i);
  return r;
}

void workload::register_node(std::size_t i) {
  world_.after(1ms, [this, i, life = world_.life(i)] {
    if (world_.life(i) != life || !world_.up(i)) return;
    const auto id = world_.call(i, wire::add_runner{"runner"});
    runners_[id] = i;
    world_.call(i, wire::register_cache{"names"});
  });
}

void workload::ended(std::size_t i) {
  // Clients of a dead process: those that hold a lock keep the deadline they were told, as `lock exec` does. Their
  // calls are over.
  std::erase_if(appends_, [](const auto&) { return false; });
  std::erase_if(processes_, [&](const auto& p) { return p.second.node == i; });
  std::erase_if(ends_, [&](const auto& e) { return e.second.node == i; });
  std::erase_if(runners_, [&](const auto& r) { return r.second == i; });
  std::erase_if(lock_calls_, [&](const auto& l) { return l.second.node == i; });
}

void workload::run(virtual_time end, duration period) {
  if (world_.now() >= end) return;
  one();
  world_.after(random_.between(period / 2, period * 3 / 2), [this, end, period] { run(end, period); });
}

void workload::one() {
  const auto nodes = participants();
  if (nodes.empty()) return;
  const auto n = nodes[random_.below(nodes.size())];
  ++operations;
  switch (random_.below(10)) {
    case 0:
    case 1:
    case 2: {
      const auto& name = lock_names[random_.below(lock_names.size())];
      wire::acquire_lock a;
      a.name = name;
      if (random_.chance(0.3)) a.wait = std::chrono::milliseconds(random_.below(3) * 500);
      lock_calls_[world_.call(n, a)] = {n, world_.life(n), name};
      break;
    }
    case 3:
    case 4:
    case 5: {
      const auto& journal = journal_names[random_.below(journal_names.size())];
      wire::append_journal a;
      a.journal = journal;
      const auto count = 1 + random_.below(3);
      const auto message = fmt::format("m{}", ++next_message_);
      for (std::uint64_t i = 0; i < count; ++i) a.items.push_back({"t", message});
      appends_[world_.call(n, a)] = {journal, message};
      break;
    }
    case 6:
    case 7:
      process(n, journal_names[random_.below(journal_names.size())]);
      break;
    case 8: {
      wire::add_job j;
      j.job.id = fmt::format("job{}", random_.below(3));
      j.job.config.runner = "runner";
      j.job.config.when = calendar::interval_schedule{std::chrono::milliseconds(1'000 + 500 * random_.below(3)), {}};
      j.job.replace = random_.chance(0.2);
      j.job.config.rerun_if_lost = random_.chance(0.3);
      world_.call(n, j);
      break;
    }
    default:
      if (random_.chance(0.5))
        world_.call(n, wire::list_locks{});
      else
        world_.call(n, wire::invalidate_cache{"names", fmt::format("k{}", random_.below(10))});
  }
}

void workload::process(std::size_t node, const std::string& journal) {
  wire::begin_process b;
  b.journal = journal;
  b.max = static_cast<std::uint32_t>(1 + random_.below(50));
  processes_[world_.call(node, b)] = {node, journal};
}

void workload::drain() {
  for (const auto n : participants())
    for (const auto& j : journal_names) process(n, j);
}

void workload::answered(std::size_t node, engine::call_id id, const wire::response& r, bool last) {
  const auto* f = std::get_if<failure>(&r);
  if (f) world_.trace(node, fmt::format("call {} refused: {}", id, f->message));
  if (f) ++(f->code == errc::indeterminate ? unsure : refused);
  if (const auto it = lock_calls_.find(id); it != lock_calls_.end()) {
    auto& l = it->second;
    if (const auto* g = std::get_if<wire::lock_granted>(&r)) {
      l.held = true;
      l.fence = g->fence;
      ++acknowledged;
      locks.granted(node, id.value, l.lock, g->fence, world_.when_steady(node, g->deadline_raw_ns));
      // Holds for a while, then gives it back, or dies and leaves that to the deadline.
      const auto how = random_.below(10);
      const auto hold = random_.between(1ms, how == 9 ? 8s : 300ms);
      world_.after(hold, [this, id, node, life = l.life, crash = how == 8] {
        const auto x = lock_calls_.find(id);
        if (x == lock_calls_.end() || !world_.up(node) || world_.life(node) != life) return;
        if (crash) return world_.cancel(node, id);
        if (world_.paused(node)) return;  // it can't be told now: its deadline ends the hold
        locks.ended(id.value);
        world_.call(node, wire::release_lock{x->second.lock, x->second.fence});
      });
    } else if (const auto* e = std::get_if<wire::lock_renewed>(&r)) {
      locks.extended(id.value, world_.when_steady(node, e->deadline_raw_ns));
    }
    if (last) {
      // Told that it is over: the client stops at once.
      if (f) locks.ended(id.value);
      lock_calls_.erase(id);
    }
    return;
  }
  if (const auto it = appends_.find(id); it != appends_.end()) {
    if (const auto* a = std::get_if<wire::appended>(&r)) {
      ++acknowledged;
      for (const auto e : a->ids) journals.acknowledged(it->second.journal, e, it->second.message);
    }
    if (last) appends_.erase(it);
    return;
  }
  if (const auto it = processes_.find(id); it != processes_.end()) {
    const auto call = it->second;
    if (last) processes_.erase(it);
    const auto* e = std::get_if<wire::entries>(&r);
    if (!e || e->list.empty()) return;
    journals.processing(node, call.journal, e->list);
    std::uint64_t cursor = e->list.back().id;
    const auto how = random_.below(10);
    if (how == 0) cursor = 0;
    if (how == 1) cursor = e->list[e->list.size() / 2].id;
    world_.after(random_.between(0ms, 5ms),
                 [this, node, life = world_.life(node), j = call.journal, token = e->token, cursor, id] {
                   if (!world_.up(node) || world_.life(node) != life) return;
                   wire::end_process end;
                   end.journal = j;
                   end.token = token;
                   end.cursor = cursor;
                   const auto call_id = world_.call(node, end);
                   if (cursor) ends_[call_id] = {node, life, j, cursor};
                 });
    return;
  }
  if (const auto it = ends_.find(id); it != ends_.end()) {
    if (std::holds_alternative<wire::done>(r)) {
      ++acknowledged;
      journals.processed(node, it->second.journal, it->second.cursor);
    }
    ends_.erase(it);
    return;
  }
  if (const auto it = runners_.find(id); it != runners_.end()) {
    if (const auto* run = std::get_if<wire::run_job>(&r)) {
      jobs.started(node, run->run);
      world_.after(random_.between(1ms, 400ms), [this, node, life = world_.life(node), rec = run->run] {
        if (!world_.up(node) || world_.life(node) != life) return;
        wire::finish_job done;
        done.run.id = rec.job;
        done.run.fence = rec.fence;
        done.run.what = random_.chance(0.1) ? machine::outcome::failed : machine::outcome::success;
        done.run.started = rec.claimed;
        world_.call(node, done);
      });
    }
    if (last) runners_.erase(it);
  }
}

}  // namespace coterie::sim
