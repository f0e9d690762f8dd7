#include "runtime/lock_core.hpp"

#include <condition_variable>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "machine/check.hpp"
#include "runtime/clocks.hpp"

namespace coterie::detail {

/// One acquire under way, shared by who waits and by the loop; and the grant that came of it, until its end.
struct lock_core::waiting {
  std::string name, label;
  local::kept_locks::number number = 0;
  std::mutex mutex;
  std::condition_variable changed;
  std::shared_ptr<local::lock_grant> grant;
  std::optional<failure> failed;
  bool granted = false, stopped = false, abandoned = false;
  std::uint64_t watch = 0;     ///< of the grant; used on the loop thread
  std::function<void()> then;  ///< instead of a thread that waits: called once there is a grant or a failure
  bool done() const { return granted || failed; }
};

std::shared_ptr<lock_core> make_lock_core(std::shared_ptr<node_core> n) {
  auto c = std::make_shared<lock_core>(std::move(n));
  c->begin();
  return c;
}

// A kept grant is given to its next owner with half of its validity left, as the engine does: less is renewed first.
lock_core::lock_core(std::shared_ptr<node_core> n)
    : node_(std::move(n)),
      grants_([node = node_.get()](
                  std::uint64_t epoch) { return node->left(session_epoch(epoch)) >= node->session_ttl / 2; },
              [] { return runtime::read_coarse_wall(); }) {}

void lock_core::begin() {
  holds_ = std::make_shared<local::lock_holds>([weak = weak_from_this()](local::lock_grant& g) {
    const auto self = weak.lock();
    if (!self) return;
    self->release(g);
    self->node_->report(fmt::format("warn  a thread ended while holding lock {}: it was released", g.name));
    self->events_.emit({lock_event::kind::released_at_exit_of_thread, g.name, g.fence});
  });
  node_->on_close([holds = holds_] { holds->close(); });
}

// ---- from the engine, on the loop thread ---------------------------------------------------------------------------

std::shared_ptr<local::lock_grant> lock_core::accept(waiting& w, const wire::lock_granted& l) {
  auto g = std::make_shared<local::lock_grant>();
  g->name = w.name;
  g->fence = l.fence;
  g->epoch = l.epoch.value;
  grants_.add(w.number, g, w.label, l.keep);
  w.watch = node_->watch().add(l.epoch, [weak = weak_from_this(), name = w.name, number = w.number] {
    if (const auto self = weak.lock()) self->on_over(name, number);
  });
  grants_.watched(w.name, w.number, w.watch);
  return g;
}

void lock_core::on_over(const std::string& name, local::kept_locks::number number) {
  const auto owner = grants_.drop(name, number);
  if (!owner || owner->released) return;
  owner->lose();
  events_.emit({lock_event::kind::lost, owner->name, owner->fence});
}

engine::call_id lock_core::ask(std::string name, std::string label, std::optional<ms> wait,
                               const std::shared_ptr<waiting>& w) {
  w->name = name;
  w->label = label;
  w->number = ++last_grant_;
  return node_->submit(wire::acquire_lock{std::move(name), std::move(label), wait, true},
                       [self = shared_from_this(), w](const wire::response& r, bool) { self->on_answer(*w, r); });
}

void lock_core::on_answer(waiting& w, const wire::response& r) {
  if (std::holds_alternative<wire::lock_wanted>(r)) {
    give_back_idle(w);
    return;
  }
  if (std::holds_alternative<wire::lock_asked>(r)) {
    if (const auto u = grants_.look(w.name, w.number))
      node_->submit(wire::tell_lock{{w.name, u->fence, u->used, u->since, u->label, 0}});
    return;
  }
  std::shared_ptr<local::lock_grant> unwanted;
  std::function<void()> then;
  {
    const std::scoped_lock lock(w.mutex);
    if (w.granted) {
      if (std::holds_alternative<failure>(r)) on_end(w);
      return;
    }
    if (const auto* l = std::get_if<wire::lock_granted>(&r)) {
      w.granted = true;
      (w.abandoned ? unwanted : w.grant) = accept(w, *l);
    } else if (const auto* f = std::get_if<failure>(&r)) {
      w.failed = *f;
    }
    if (w.done()) then = std::move(w.then);
  }
  w.changed.notify_all();
  if (unwanted) release(*unwanted);
  if (then) then();
}

// No further owner gets it. False: there is one, or it was over before.
bool lock_core::give_back_idle(waiting& w) {
  const auto fence = grants_.want(w.name, w.number);
  if (!fence) return false;
  node_->watch().remove(w.watch);
  node_->submit(wire::release_lock{w.name, *fence});
  return true;
}

// The engine has ended it: an owner is told, on the thread that does that, and an idle grant is over.
void lock_core::on_end(waiting& w) {
  if (!give_back_idle(w)) node_->watch().end(w.watch);
}

// ---- for threads ---------------------------------------------------------------------------------------------------

result<bool> lock_core::acquire(const std::string& name, const lock_options& o, std::optional<ms> wait,
                                const std::stop_token* stop) {
  if (auto* h = holds_->find(name)) {
    if (!valid(*h->grant))
      return fail(errc::lock_lost,
                  fmt::format("{} was lost while this thread held it: unlock it before locking it again", name));
    ++h->depth;
    return true;
  }
  if (stop != nullptr && stop->stop_requested()) return false;
  if (!node_->called_by_own_callback() && !node_->over()) {
    if (auto g = grants_.take(name, o.label)) {
      holds_->add(std::move(g));
      return true;
    }
  }
  if (auto ok = node_->may_wait(); !ok) return tl::unexpected(ok.error());
  if (wait && *wait <= ms::zero() && grants_.used(name)) return false;
  const auto w = std::make_shared<waiting>();
  const auto id = ask(name, o.label, wait, w);
  std::optional<std::stop_callback<std::function<void()>>> on_stop;
  if (stop != nullptr)
    on_stop.emplace(*stop, [w] {
      {
        const std::scoped_lock lock(w->mutex);
        w->stopped = true;
      }
      w->changed.notify_all();
    });
  {
    std::unique_lock lock(w->mutex);
    w->changed.wait(lock, [&] { return w->done() || w->stopped; });
    w->abandoned = !w->done();
  }
  if (w->abandoned) {
    node_->cancel(id);
    return false;
  }
  if (w->failed && w->failed->code == errc::held) return false;
  if (w->failed) return tl::unexpected(*w->failed);
  holds_->add(std::exchange(w->grant, nullptr));
  return true;
}

result<void> lock_core::release_here(const std::string& name) {
  auto* h = holds_->find(name);
  if (h == nullptr) return fail(errc::not_owner, fmt::format("this thread does not hold {}", name));
  const auto grant = h->grant;
  const bool was_valid = valid(*grant);
  if (--h->depth == 0) {
    holds_->remove(*h);
    release(*grant);
  }
  if (!was_valid) return fail(errc::lock_lost, fmt::format("the lease of {} ended before it was released", name));
  return {};
}

void lock_core::release(local::lock_grant& g) noexcept {
  if (g.released.exchange(true)) return;
  if (grants_.put_back(g)) return;
  node_->watch().remove(g.watch);
  try {
    node_->submit(wire::release_lock{g.name, g.fence});
  } catch (const std::exception&) {
    // Out of memory: the engine gives it back when its lease ends.
  }
}

local::lock_grant* lock_core::find(std::string_view name) const noexcept {
  const auto* h = holds_->find(name);
  return h == nullptr ? nullptr : h->grant.get();
}

bool lock_core::valid(const local::lock_grant& g) const noexcept {
  return !g.over() && !g.released && node_->valid(session_epoch(g.epoch));
}

ms lock_core::left(const local::lock_grant& g) const noexcept {
  return g.over() || g.released ? ms::zero() : std::chrono::duration_cast<ms>(node_->left(session_epoch(g.epoch)));
}

std::stop_token lock_core::lost(local::lock_grant& g) const {
  if (auto token = g.lost(); valid(g) || token.stop_requested()) return token;
  // The watch will request it in a moment; the caller need not wait for that.
  std::stop_source over;
  over.request_stop();
  return over.get_token();
}

// ---- without threads -----------------------------------------------------------------------------------------------

void lock_core::async_acquire(std::string name, lock_options o, lock_service::on_acquired f, std::optional<ms> wait) {
  if (auto g = grants_.take(name, o.label)) {
    auto lease = std::make_shared<lease_core>(lease_core{shared_from_this(), std::move(g)});
    return node_->call([f = std::move(f), lease = std::move(lease)] { f({}, lock_lease(lease)); });
  }
  const auto w = std::make_shared<waiting>();
  w->then = [self = shared_from_this(), weak = std::weak_ptr(w), f = std::move(f)]() mutable {
    const auto mine = weak.lock();
    self->node_->call([self, mine, f = std::move(f)] {
      if (mine->failed) return f(make_error_code(mine->failed->code), lock_lease());
      auto lease = std::make_shared<lease_core>(lease_core{self, std::exchange(mine->grant, nullptr)});
      f({}, lock_lease(std::move(lease)));
    });
  };
  ask(std::move(name), std::move(o.label), wait, w);
}

namespace {
std::vector<lock_info> owned(wire::lock_list&& all) {
  std::vector<lock_info> r;
  for (auto& l : all.locks) {
    if (l.idle) continue;
    r.push_back({std::move(l.name), std::move(l.owner), l.fence, l.acquired, l.waiters, std::move(l.label)});
  }
  return r;
}
}  // namespace

result<std::vector<lock_info>> lock_core::list(const std::string& name) const {
  auto all = node_->ask<wire::lock_list>(wire::list_locks{name});
  if (!all) return tl::unexpected(all.error());
  return owned(std::move(*all));
}

result<stale<std::vector<lock_info>>> lock_core::stale_list(std::optional<ms> max_age) const {
  auto all = node_->ask<wire::lock_list>(wire::list_locks{"", wire::staleness{max_age}});
  if (!all) return tl::unexpected(all.error());
  const auto now = all->as_of.value_or(wire::as_of{});
  return stale<std::vector<lock_info>>{owned(std::move(*all)), now.index.value, now.age};
}

subscription lock_core::on_event(std::function<void(const lock_event&)> f, executor e) {
  auto calls = node_->make_strand(std::move(e));
  const auto id = events_.add(calls, std::move(f));
  return subscription(std::make_shared<runtime::strand_subscription>(
      calls, [self = shared_from_this(), id] { self->events_.remove(id); }));
}

}  // namespace coterie::detail

// ---- the public classes --------------------------------------------------------------------------------------------

namespace coterie {

using runtime::or_code;
using runtime::or_throw;

cluster_mutex::cluster_mutex(std::shared_ptr<detail::lock_core> c, std::string name, lock_options o) noexcept
    : core_(std::move(c)), name_(std::move(name)), options_(std::move(o)) {}

void cluster_mutex::lock() { or_throw(core_->acquire(name_, options_, {})); }
void cluster_mutex::lock(std::error_code& ec) { or_code(core_->acquire(name_, options_, {}), ec); }
bool cluster_mutex::lock(std::stop_token s) { return or_throw(core_->acquire(name_, options_, {}, &s)); }
bool cluster_mutex::lock(std::stop_token s, std::error_code& ec) {
  return or_code(core_->acquire(name_, options_, {}, &s), ec);
}
bool cluster_mutex::try_lock() { return lock_within(ms::zero()); }
bool cluster_mutex::try_lock(std::error_code& ec) { return lock_within(ms::zero(), ec); }
bool cluster_mutex::lock_within(ms d) { return or_throw(core_->acquire(name_, options_, std::max(d, ms::zero()))); }
bool cluster_mutex::lock_within(ms d, std::error_code& ec) {
  return or_code(core_->acquire(name_, options_, std::max(d, ms::zero())), ec);
}

void cluster_mutex::unlock() noexcept {
  const auto r = core_->release_here(name_);
  COTERIE_ASSERT(r || r.error().code != errc::not_owner);
}
void cluster_mutex::unlock(std::error_code& ec) noexcept { or_code(core_->release_here(name_), ec); }

std::uint64_t cluster_mutex::fence() const noexcept {
  const auto* g = core_->find(name_);
  return g == nullptr ? 0 : g->fence;
}
bool cluster_mutex::held() const noexcept {
  const auto* g = core_->find(name_);
  return g != nullptr && core_->valid(*g);
}
ms cluster_mutex::lease_left() const noexcept {
  const auto* g = core_->find(name_);
  return g == nullptr ? ms::zero() : core_->left(*g);
}
std::stop_token cluster_mutex::lost() const {
  if (auto* g = core_->find(name_)) return core_->lost(*g);
  std::stop_source none;
  none.request_stop();
  return none.get_token();
}

namespace {
result<std::optional<lock_info>> only(result<std::vector<lock_info>> all) {
  if (!all) return tl::unexpected(all.error());
  return all->empty() ? std::nullopt : std::optional(std::move(all->front()));
}
}  // namespace

std::optional<lock_info> cluster_mutex::info() const { return or_throw(only(core_->list(name_))); }
std::optional<lock_info> cluster_mutex::info(std::error_code& ec) const {
  return or_code(only(core_->list(name_)), ec);
}

lock_lease::lock_lease() noexcept = default;
lock_lease::lock_lease(std::shared_ptr<detail::lease_core> c) noexcept : core_(std::move(c)) {}
lock_lease::lock_lease(lock_lease&&) noexcept = default;
lock_lease& lock_lease::operator=(lock_lease&& other) noexcept {
  if (this != &other) {
    release();
    core_ = std::move(other.core_);
  }
  return *this;
}
lock_lease::~lock_lease() { release(); }
std::uint64_t lock_lease::fence() const noexcept { return core_ ? core_->grant->fence : 0; }
bool lock_lease::held() const noexcept { return core_ && core_->locks->valid(*core_->grant); }
ms lock_lease::lease_left() const noexcept { return core_ ? core_->locks->left(*core_->grant) : ms::zero(); }
std::stop_token lock_lease::lost() const {
  if (core_) return core_->locks->lost(*core_->grant);
  std::stop_source none;
  none.request_stop();
  return none.get_token();
}
void lock_lease::release() noexcept {
  if (core_) core_->locks->release(*core_->grant);
}

lock_service::lock_service(std::shared_ptr<detail::lock_core> c) noexcept : core_(std::move(c)) {}

cluster_mutex lock_service::get(std::string_view name, lock_options o) {
  or_throw(machine::check_name("lock", name));
  if (!o.label.empty()) or_throw(machine::check_name("label", o.label));
  return cluster_mutex(core_, std::string(name), std::move(o));
}
void lock_service::async_acquire(std::string_view name, lock_options o, on_acquired f, std::optional<ms> wait) {
  or_throw(machine::check_name("lock", name));
  core_->async_acquire(std::string(name), std::move(o), std::move(f), wait);
}
std::vector<lock_info> lock_service::list() const { return or_throw(core_->list({})); }
std::vector<lock_info> lock_service::list(std::error_code& ec) const { return or_code(core_->list({}), ec); }
stale<std::vector<lock_info>> lock_service::stale_list(std::optional<ms> max_age) const {
  return or_throw(core_->stale_list(max_age));
}
stale<std::vector<lock_info>> lock_service::stale_list(std::optional<ms> max_age, std::error_code& ec) const {
  return or_code(core_->stale_list(max_age), ec);
}
subscription lock_service::on_event(std::function<void(const lock_event&)> f, executor e) {
  return core_->on_event(std::move(f), std::move(e));
}

}  // namespace coterie
