#include "runtime/lock_core.hpp"

#include <condition_variable>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "machine/check.hpp"

namespace coterie::detail {

/// One acquire under way, shared by who waits and by the loop.
struct lock_core::waiting {
  std::mutex mutex;
  std::condition_variable changed;
  std::shared_ptr<local::lock_grant> grant;
  std::optional<failure> failed;
  bool stopped = false, abandoned = false;
  std::function<void()> then;  ///< instead of a thread that waits: called once there is a grant or a failure
  bool done() const { return grant || failed; }
};

std::shared_ptr<lock_core> make_lock_core(std::shared_ptr<node_core> n) {
  auto c = std::make_shared<lock_core>(std::move(n));
  c->begin();
  return c;
}

lock_core::lock_core(std::shared_ptr<node_core> n) : node_(std::move(n)) {}

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

std::shared_ptr<local::lock_grant> lock_core::accept(const std::string& name, const wire::lock_granted& l) {
  auto g = std::make_shared<local::lock_grant>();
  g->name = name;
  g->fence = l.fence;
  g->epoch = l.epoch.value;
  g->watch = node_->watch().add(l.epoch, [weak = weak_from_this(), g] {
    if (g->released) return;
    if (const auto self = weak.lock()) self->on_over(*g);
  });
  return g;
}

void lock_core::on_over(local::lock_grant& g) {
  g.over = true;
  g.lost.request_stop();
  events_.emit({lock_event::kind::lost, g.name, g.fence});
}

engine::call_id lock_core::ask(std::string name, std::string label, std::optional<ms> wait,
                               const std::shared_ptr<waiting>& w) {
  auto request = wire::acquire_lock{name, std::move(label), wait};
  return node_->submit(std::move(request),
                       [self = shared_from_this(), name = std::move(name), w](const wire::response& r, bool) {
                         std::shared_ptr<local::lock_grant> unwanted, ended;
                         std::function<void()> then;
                         {
                           const std::scoped_lock lock(w->mutex);
                           const bool before = w->done();
                           if (const auto* l = std::get_if<wire::lock_granted>(&r); l != nullptr && !before) {
                             auto g = self->accept(name, *l);
                             (w->abandoned ? unwanted : w->grant) = std::move(g);
                           } else if (const auto* f = std::get_if<failure>(&r)) {
                             if (before)
                               ended = w->grant;
                             else
                               w->failed = *f;
                           }
                           if (!before && w->done()) then = std::move(w->then);
                         }
                         w->changed.notify_all();
                         if (unwanted) self->release(*unwanted);
                         if (ended) self->node_->watch().end(ended->watch);
                         if (then) then();
                       });
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
  if (auto ok = node_->may_wait(); !ok) return tl::unexpected(ok.error());
  if (stop != nullptr && stop->stop_requested()) return false;
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
  holds_->add(w->grant);
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
  node_->watch().remove(g.watch);
  try {
    node_->submit(wire::release_lock{g.name, g.fence});
  } catch (const std::exception&) {
    // Out of memory: the engine gives it back when its lease ends.
  }
}

const local::lock_grant* lock_core::find(std::string_view name) const noexcept {
  const auto* h = holds_->find(name);
  return h == nullptr ? nullptr : h->grant.get();
}

bool lock_core::valid(const local::lock_grant& g) const noexcept {
  return !g.over && !g.released && node_->valid(session_epoch(g.epoch));
}

ms lock_core::left(const local::lock_grant& g) const noexcept {
  return g.over || g.released ? ms::zero() : std::chrono::duration_cast<ms>(node_->left(session_epoch(g.epoch)));
}

std::stop_token lock_core::lost(const local::lock_grant& g) const {
  if (valid(g) || g.lost.stop_requested()) return g.lost.get_token();
  // The watch will request it in a moment; the caller need not wait for that.
  std::stop_source over;
  over.request_stop();
  return over.get_token();
}

// ---- without threads -----------------------------------------------------------------------------------------------

void lock_core::async_acquire(std::string name, lock_options o, lock_service::on_acquired f, std::optional<ms> wait) {
  const auto w = std::make_shared<waiting>();
  w->then = [self = shared_from_this(), weak = std::weak_ptr(w), f = std::move(f)]() mutable {
    const auto mine = weak.lock();
    self->node_->call([self, mine, f = std::move(f)] {
      if (mine->failed) return f(make_error_code(mine->failed->code), lock_lease());
      f({}, lock_lease(std::make_shared<lease_core>(lease_core{self, mine->grant})));
    });
  };
  ask(std::move(name), std::move(o.label), wait, w);
}

result<std::vector<lock_info>> lock_core::list(const std::string& name) const {
  auto all = node_->ask<wire::lock_list>(wire::list_locks{name});
  if (!all) return tl::unexpected(all.error());
  std::vector<lock_info> r;
  for (auto& l : all->locks)
    r.push_back({std::move(l.name), std::move(l.owner), l.fence, l.acquired, l.waiters, std::move(l.label)});
  return r;
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
  if (const auto* g = core_->find(name_)) return core_->lost(*g);
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
subscription lock_service::on_event(std::function<void(const lock_event&)> f, executor e) {
  return core_->on_event(std::move(f), std::move(e));
}

}  // namespace coterie
