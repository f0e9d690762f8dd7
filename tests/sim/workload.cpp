#include "sim/workload.hpp"

#include <array>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/random.hpp"

namespace coterie::sim {

namespace {
constexpr std::array lock_names{"deploy", "import", "index"};
constexpr std::array journal_names{"orders", "news"};
constexpr std::uint64_t everything = 0;          // draws nothing: a journal is processed to its end
constexpr std::uint64_t hasty = 7, patient = 9;  // of ten ways to hold a lock

using linearizability::value;

// Told in so many words that nothing was done; an outcome that is unknown is another matter.
bool surely_nothing(const wire::response& r) {
  const auto* f = std::get_if<failure>(&r);
  return f && f->code != errc::indeterminate && f->code != errc::closed;
}

std::string journal_of(const operation& o) { return journal_names[o.name % journal_names.size()]; }
}  // namespace

workload::workload(world& w)
    : consensus(w),
      durability(w),
      heals(w),
      membership(w),
      locks(w),
      jobs(w),
      journals(w),
      caches(w),
      messages(w),
      world_(w) {
  for (std::uint32_t g = 1; g <= w.data_groups(); ++g) {
    data_consensus.emplace_back(w, group_id(g));
    fences.emplace_back(w, journals, group_id(g));
  }
  w.watch.stepped = [this](std::size_t i) {
    consensus.after_step(i);
    for (auto& c : data_consensus) c.after_step(i);
    for (auto& f : fences) f.after_step(i);
    heals.after_step(i);
    membership.after_step(i);
  };
  w.watch.damaged = [this](std::size_t i, const raft::recovered& before) { heals.damaged(i, before); };
  w.watch.sent = [this](std::size_t from, std::size_t, byte_view frame) { durability.sent(from, frame); };
  w.watch.answered = [this](std::size_t i, engine::call_id id, const wire::response& r, bool last) {
    if (const auto* f = std::get_if<failure>(&r)) {
      if (world_.tracing()) world_.trace(i, fmt::format("call {} is refused: {}", id, f->message));
      ++(f->code == errc::indeterminate ? unsure : refused);
    }
    const auto it = calls_.find(id);
    if (it == calls_.end()) return;
    const auto then = it->second.then;
    if (last) calls_.erase(it);
    then(id, r, last);
  };
  w.watch.started = [this](std::size_t i) {
    consensus.on_start(i);
    for (auto& c : data_consensus) c.on_start(i);
    membership.on_start(i);
    caches.on_start(i);
    messages.on_start(i);
    on_node(i, 1ms, [this, i] { register_node(i); });
  };
}

engine::call_id workload::call(std::size_t node, wire::request r, handler then) {
  // Known before it is made: the answer may come within the call.
  const auto next = world_.next_call();
  calls_[next] = {node, std::move(then)};
  const auto id = world_.call(node, std::move(r));
  COTERIE_ASSERT(id == next);
  return id;
}

void workload::on_node(std::size_t node, duration later, std::function<void()> f) {
  world_.after(later, [this, node, life = world_.life(node), f = std::move(f)] {
    if (world_.up(node) && world_.life(node) == life) f();
  });
}

// Clients of a dead process: those that hold a lock keep the deadline they were told, as `lock exec` does; what they
// asked is over.
void workload::ended(std::size_t node) {
  // A release without an answer may have been none: then the session's end is the hold's.
  const auto of_node = [node](const auto& x) { return x.second.node == node; };
  const auto lose = [&](auto& clients) {
    for (const auto& c : clients)
      if (of_node(c)) lost(c.second);
    std::erase_if(clients, of_node);
  };
  lose(releasing_);
  lose(holders_);
  for (const auto& [id, c] : calls_)
    if (c.node == node) grants_.erase(id);
  std::erase_if(calls_, of_node);
  kept_.erase(node);
}

void workload::register_node(std::size_t node) {
  run_jobs(node);
  keep_cache(node);
  listen(node);
}

void workload::run_jobs(std::size_t node) {
  call(node, wire::add_runner{"runner"}, [this, node](auto, const wire::response& r, bool last) {
    if (const auto* run = std::get_if<wire::run_job>(&r)) {
      jobs.started(node, run->run);
      rng x(run->run.fence);
      const bool fails = x.chance(0.1);
      on_node(node, x.between(1ms, 400ms), [this, node, rec = run->run, fails] {
        wire::finish_job done;
        done.run.id = rec.job;
        done.run.fence = rec.fence;
        done.run.what = fails ? machine::outcome::failed : machine::outcome::success;
        done.run.started = rec.claimed;
        world_.call(node, done);
      });
    }
    if (last) on_node(node, 500ms, [this, node] { run_jobs(node); });
  });
}

void workload::keep_cache(std::size_t node) {
  call(node, wire::register_cache{"names"}, [this, node](auto, const wire::response& r, bool last) {
    if (const auto* out = std::get_if<wire::invalidation_out>(&r)) caches.invalidated(node, out->key);
    if (!last) return;
    // Not registered: nothing may be kept.
    caches.invalidated(node, std::nullopt);
    on_node(node, 500ms, [this, node] { keep_cache(node); });
  });
}

void workload::listen(std::size_t node) {
  call(node, wire::listen{"hints"}, [this, node](auto, const wire::response& r, bool last) {
    if (const auto* m = std::get_if<wire::message_out>(&r)) messages.heard(node, *m);
    if (last) on_node(node, 500ms, [this, node] { listen(node); });
  });
}

void workload::perform(const operation& o) {
  if (o.node >= world_.size() || !world_.up(o.node)) return;
  ++operations;
  switch (o.what) {
    case operation_kind::lock:
      return lock(o);
    case operation_kind::append:
      return append(o);
    case operation_kind::process:
      return process(o.node, journal_of(o), o.x);
    case operation_kind::peek:
      return peek(o);
    case operation_kind::add_job: {
      rng r(o.x);
      wire::add_job j;
      j.job.id = fmt::format("job{}", o.name);
      j.job.config.runner = "runner";
      j.job.config.when = calendar::interval_schedule{std::chrono::milliseconds(1'000 + 500 * r.below(3)), {}};
      j.job.replace = r.chance(0.2);
      j.job.config.rerun_if_lost = r.chance(0.3);
      world_.call(o.node, j);
      return;
    }
    case operation_kind::remove_job:
      world_.call(o.node, wire::remove_job{fmt::format("job{}", o.name)});
      return;
    case operation_kind::read:
      return read(o.node, wire::wait_visible{});
    case operation_kind::list_locks:
      return read(o.node, wire::list_locks{});
    case operation_kind::read_lease:
      world_.call(o.node, wire::set_read_lease{std::chrono::milliseconds(o.x)});
      return;
    case operation_kind::invalidate:
      return invalidate(o);
    case operation_kind::send:
      world_.call(o.node, wire::publish{"hints", fmt::format("hint {}", o.x)});
      return;
  }
}

// ---- locks

// What the runtime does for a host: a grant is kept for the next owner in the same process.
local::kept_locks& workload::kept(std::size_t node) {
  auto& table = kept_[node];
  if (!table)
    table = std::make_unique<local::kept_locks>(
        [this](std::uint64_t call) { return grants_.at(engine::call_id(call)).until > world_.now(); },
        [this] { return wall_time(std::chrono::duration_cast<std::chrono::milliseconds>(world_.now())); });
  return *table;
}

void workload::lock(const operation& o) {
  rng r(o.x);
  wire::acquire_lock a;
  a.name = lock_names[o.name % lock_names.size()];
  if (r.chance(0.3)) a.wait = std::chrono::milliseconds(r.below(3) * 500);
  lock_client client{.node = o.node, .name = a.name, .x = r.next()};
  a.keeps = r.chance(0.6);
  client.acquire = history_.call(o.node, "acquire", a.name, value(), now());
  if (a.keeps && !world_.paused(o.node)) {
    if ((client.mine = kept(o.node).take(a.name, ""))) {
      client.grant = engine::call_id(client.mine->epoch);
      return hold(client);
    }
  }
  call(o.node, a, [this, client](engine::call_id id, const wire::response& w, bool last) mutable {
    on_lock_answer(id, client, w, last);
  });
}

void workload::on_lock_answer(engine::call_id id, lock_client& client, const wire::response& w, bool last) {
  if (const auto* g = std::get_if<wire::lock_granted>(&w)) return on_granted(id, client, *g);
  const auto g = grants_.find(id);
  if (g == grants_.end()) {
    if (surely_nothing(w)) history_.refused(client.acquire);
    return;
  }
  auto& table = kept(client.node);
  const auto tell = [&](wire::request what) {
    on_node(client.node, 10us, [this, node = client.node, what = std::move(what)] { world_.call(node, what); });
  };
  if (const auto* e = std::get_if<wire::lock_renewed>(&w)) {
    g->second.until = std::max(g->second.until, world_.when(client.node, e->deadline_raw_ns, e->deadline_boot_ns));
    if (g->second.owner) locks.extended(g->second.owner, g->second.until);
  }
  if (std::holds_alternative<wire::lock_asked>(w)) {
    if (const auto u = table.look(client.name, id.value))
      tell(wire::tell_lock{{client.name, u->fence, u->used, u->since, u->label, 0}});
  }
  const bool over = last && std::holds_alternative<failure>(w);
  if (std::holds_alternative<wire::lock_wanted>(w) || over)
    if (const auto fence = table.want(client.name, id.value)) tell(wire::release_lock{client.name, *fence});
  if (!last) return;
  // Told that it is over: the owner stops at once.
  if (over && g->second.owner) {
    locks.ended(g->second.owner);
    if (const auto h = holders_.extract(g->second.owner)) lost(h.mapped());
    table.drop(client.name, id.value);
  }
  grants_.erase(g);
}

void workload::on_granted(engine::call_id id, lock_client client, const wire::lock_granted& g) {
  client.grant = id;
  client.mine = std::make_shared<local::lock_grant>();
  client.mine->name = client.name;
  client.mine->fence = g.fence;
  client.mine->epoch = id.value;  // valid as long as this call was told
  grants_[id] = {world_.when(client.node, g.deadline_raw_ns, g.deadline_boot_ns)};
  kept(client.node).add(id.value, client.mine, "", g.keep);
  hold(client);
}

// Holds for a while, then gives it back, or goes away, or dies and leaves that to the deadline.
void workload::hold(lock_client client) {
  ++acknowledged;
  const auto id = ++last_hold_;
  client.granted = now();
  history_.returned(client.acquire, value(client.mine->fence), now());
  auto& grant = grants_.at(client.grant);
  grant.owner = id;
  locks.granted(client.node, id, client.name, client.mine->fence, grant.until);
  rng r(client.x);
  const auto how = r.below(10);
  const auto hold = r.between(1ms, how == patient ? 8s : 300ms);
  world_.after(r.between(0ns, hold), [this, id] { locks.writes(id); });
  const auto node = client.node;
  holders_.emplace(id, std::move(client));
  on_node(node, hold, [this, id, how] { end_hold(id, how == hasty); });
}

void workload::end_hold(std::uint64_t id, bool just_goes) {
  const auto it = holders_.find(id);
  if (it == holders_.end()) return;
  const auto client = it->second;
  // A stopped node can't be told: the client tries again until the deadline ends its hold.
  if (world_.paused(client.node))
    return on_node(client.node, 100ms, [this, id, just_goes] { end_hold(id, just_goes); });
  holders_.erase(it);
  if (const auto g = grants_.find(client.grant); g != grants_.end()) g->second.owner = 0;
  if (just_goes) {
    lost(client);
    kept(client.node).drop(client.name, client.grant.value);
    grants_.erase(client.grant);
    return world_.cancel(client.node, client.grant);
  }
  locks.ended(id);
  if (!kept(client.node).put_back(*client.mine)) return release(client);
  const auto op = history_.call(client.node, "release", client.name, value(client.mine->fence), now());
  history_.returned(op, value("done"), now());
}

void workload::release(const lock_client& c) {
  const auto op = history_.call(c.node, "release", c.name, value(c.mine->fence), now());
  releasing_[op] = c;
  call(c.node, wire::release_lock{c.name, c.mine->fence}, [this, c, op](auto, const wire::response& w, bool) {
    releasing_.erase(op);
    if (std::holds_alternative<wire::done>(w)) return history_.returned(op, value("done"), now());
    if (!std::holds_alternative<failure>(w)) return;
    history_.refused(op);
    lost(c);
  });
}

// Its end is the session's, and nobody says when.
void workload::lost(const lock_client& c) { history_.call(c.node, "lost", c.name, value(c.mine->fence), c.granted); }

// ---- reads

// The same node's own state beside it, half of the time only if that is fresh.
void workload::read_own(std::size_t node) {
  wire::staleness wanted;
  if (++own_reads_ % 2 == 0) wanted.max_age = 1s;
  call(node, wire::list_locks{"", wanted}, [this, node, wanted](auto, const wire::response& r, bool) {
    const auto* l = std::get_if<wire::lock_list>(&r);
    if (!l) return;
    if (!l->as_of || (wanted.max_age && (!l->as_of->age || *l->as_of->age > *wanted.max_age)))
      return world_.watch.violation(world_.name(node) + " gives another state than was asked for");
    consensus.own_state_told(node, *l->as_of);
  });
}

void workload::read(std::size_t node, wire::request what) {
  read_own(node);
  const auto before = consensus.committed();
  call(node, std::move(what), [this, before, node](auto, const wire::response& r, bool) {
    if (!std::holds_alternative<failure>(r)) consensus.read_served(node, before);
  });
}

// ---- journals

void workload::append(const operation& o) {
  rng r(o.x);
  wire::append_journal a;
  a.journal = journal_of(o);
  const auto message = fmt::format("m{}", ++next_message_);
  const auto count = 1 + r.below(3);
  for (std::uint64_t k = 0; k < count; ++k) a.items.push_back({"t", fmt::format("{}.{}", message, k)});
  std::vector<std::string> texts;
  for (const auto& i : a.items) texts.push_back(i.message);
  const auto journal = a.journal;
  const auto op = history_.call(o.node, "append", journal, value(texts), now());
  call(o.node, std::move(a), [this, journal, texts, op](auto, const wire::response& w, bool) {
    if (surely_nothing(w)) history_.refused(op);
    const auto* done = std::get_if<wire::appended>(&w);
    if (!done) return;
    history_.returned(op, value(done->ids), now());
    ++acknowledged;
    if (done->ids.size() != texts.size())
      return world_.watch.violation(
          fmt::format("{}: {} entries were appended as {}", journal, texts.size(), done->ids.size()));
    for (std::size_t k = 0; k < done->ids.size(); ++k) journals.acknowledged(journal, done->ids[k], texts.at(k));
  });
}

void workload::process(std::size_t node, const std::string& journal, std::uint64_t x) {
  rng r(x);
  wire::begin_process b;
  b.journal = journal;
  b.max = static_cast<std::uint32_t>(x == everything ? 1'000 : 1 + r.below(50));
  call(node, b, [this, node, journal, x, r](auto, const wire::response& w, bool) mutable {
    const auto* e = std::get_if<wire::entries>(&w);
    if (!e || e->list.empty()) return;
    journals.processing(node, journal, e->list);
    // All of it, nothing, or half of it is done.
    wire::end_process end;
    end.journal = journal;
    end.token = e->token;
    const auto how = x == everything ? 9 : r.below(10);
    end.cursor = how == 0 ? 0 : how == 1 ? e->list[e->list.size() / 2].id : e->list.back().id;
    on_node(node, r.between(0ms, 5ms), [this, node, end] {
      call(node, end, [this, node, end](auto, const wire::response& done, bool) {
        if (!std::holds_alternative<wire::done>(done) || !end.cursor) return;
        ++acknowledged;
        journals.processed(node, end.journal, end.cursor);
      });
    });
  });
}

// A linearizable look: what was appended before it began is visible first.
void workload::peek(const operation& o) {
  const auto begun = now();
  call(o.node, wire::wait_visible{}, [this, o, begun](auto, const wire::response& seen, bool) {
    if (!std::holds_alternative<wire::done>(seen)) return;
    wire::peek_journal p;
    p.journal = journal_of(o);
    call(o.node, p, [this, o, p, begun](auto, const wire::response& w, bool) {
      const auto* e = std::get_if<wire::entries>(&w);
      if (!e || e->list.empty()) return;
      journals.seen(p.journal, e->list);
      auto entries = value::array();
      for (const auto& x : e->list) entries.push_back({x.id, x.message});
      const auto op =
          history_.call(o.node, "read", p.journal, {{"after", e->list.front().id - 1}, {"max", p.max}}, begun);
      history_.returned(op, {{"entries", std::move(entries)}, {"end", e->list.size() < p.max}}, now());
    });
  });
}

void workload::drain() {
  for (std::size_t n = 0; n < world_.size(); ++n)
    if (world_.running(n))
      for (const auto* j : journal_names) process(n, j, everything);
}

// ---- caches

void workload::invalidate(const operation& o) {
  rng r(o.x);
  const auto key = fmt::format("k{}", r.below(5));
  // Half of them only look something up.
  if (r.chance(0.5)) return caches.loaded(o.node, key);
  const auto version = caches.changed(key);
  caches.invalidated(o.node, key);
  wire::invalidate_cache i;
  i.cache = "names";
  i.key = key;
  i.wait = r.chance(0.3);
  call(o.node, i, [this, key, version](auto, const wire::response& w, bool) {
    if (std::holds_alternative<wire::done>(w)) caches.acknowledged(key, version);
  });
}

}  // namespace coterie::sim
