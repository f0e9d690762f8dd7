#include "runtime/node_core.hpp"

#include <future>
#include <thread>

#include "base/assert.hpp"
#include "base/hash.hpp"

namespace coterie::detail {

namespace {

const char* prefix(log_level l) noexcept {
  switch (l) {
    case log_level::debug:
      return "debug ";
    case log_level::info:
      return "info  ";
    case log_level::warn:
      return "warn  ";
    case log_level::error:
      return "error ";
  }
  return "";
}

std::optional<node_state> parse_state(std::string_view s) {
  for (const auto n : {node_state::starting, node_state::forming, node_state::joining, node_state::active,
                       node_state::stopping, node_state::leaving, node_state::left, node_state::failed})
    if (s == to_string(n)) return n;
  return std::nullopt;
}

bool is_final(node_state s) noexcept {
  return s == node_state::stopped || s == node_state::left || s == node_state::failed;
}

failure node_closed() { return {errc::closed, "the node has stopped: start a new one", 0, 0}; }

}  // namespace

// ---- start and end -------------------------------------------------------------------------------------------------

node_core::node_core(options o) : opt_(std::move(o)) {}

result<std::shared_ptr<node_core>> node_core::start(runtime::driver_options d, options o) {
  std::shared_ptr<node_core> c(new node_core(std::move(o)));
  d.log = [p = c.get()](const log_line& l) {
    if (!p->opt_.log) return;
    const std::scoped_lock lock(p->log_mutex_);
    p->opt_.log(prefix(l.level) + l.text);
  };
  if (c->opt_.callbacks) {
    c->executor_ = c->opt_.callbacks;
  } else {
    c->callback_thread_ = std::make_shared<runtime::callback_thread>();
    c->executor_ = [t = c->callback_thread_](std::function<void()> f) { t->post(std::move(f)); };
  }
  auto started = runtime::driver::start(std::move(d));
  if (!started) return tl::unexpected(started.error());
  auto& driver = **started;
  c->page_ = driver.lease();
  c->watch_ = std::make_unique<runtime::lease_watch>([p = c.get()](session_epoch e) { return p->left(e); });
  c->name = driver.options().engine.name;
  c->cluster = driver.options().engine.cluster;
  c->bound = driver.bound().str();
  c->home = driver.options().home;
  c->session_ttl = driver.options().engine.session_ttl;
  c->max_channel = driver.options().engine.max_channel;
  c->max_body = driver.options().engine.max_body;
  c->alive_.emplace_back(driver.self(), c->name);
  driver.on_lease([p = c.get()](const engine::lease&) { p->watch_->look(); });
  driver.on_halted([p = c.get()](const engine::halted& h) {
    {
      const std::scoped_lock lock(p->state_mutex_);
      p->end_reason_ = h.reason;
    }
    p->set_state(!h.exit_ok ? node_state::failed : h.reason == "left" ? node_state::left : node_state::stopped);
    p->over_ = true;
    const std::scoped_lock lock(p->state_mutex_);
    p->halted_ = true;
    p->state_changed_.notify_all();
  });
  {
    const std::unique_lock lock(c->driver_mutex_);
    c->driver_ = std::move(*started);
  }
  c->follow();
  return c;
}

std::string node_core::end_reason() const {
  const std::scoped_lock lock(state_mutex_);
  return end_reason_;
}

node_core::~node_core() { COTERIE_ASSERT(!driver_); }

bool node_core::called_by_own_callback() const noexcept { return runtime::callback_scope::inside(this); }

result<void> node_core::stop(ms timeout) {
  if (called_by_own_callback())
    return fail(errc::in_callback, "a node can't be stopped inside one of its own callbacks");
  const std::scoped_lock lock(end_mutex_);
  if (ended_) return {};
  const auto until = std::chrono::steady_clock::now() + timeout;
  if (timeout > ms::zero()) {
    submit(wire::stop_node{});
    wait_halted(until);
  }
  const auto rest = std::chrono::ceil<ms>(until - std::chrono::steady_clock::now());
  finish(std::max(rest, timeout));
  return {};
}

result<void> node_core::leave(ms timeout) {
  if (called_by_own_callback()) return fail(errc::in_callback, "a node can't leave inside one of its own callbacks");
  const std::scoped_lock lock(end_mutex_);
  if (ended_) return tl::unexpected(node_closed());
  if (auto left = ask<wire::done>(wire::leave_cluster{}, timeout); !left) return tl::unexpected(left.error());
  wait_halted(std::chrono::steady_clock::now() + std::chrono::seconds(2));  // that it left is written down
  finish(timeout);
  return {};
}

bool node_core::wait_halted(std::chrono::steady_clock::time_point until) {
  std::unique_lock lock(state_mutex_);
  return state_changed_.wait_until(lock, until, [&] { return halted_; });
}

// Everything that could still call something goes first, then what it would have called.
void node_core::finish(ms patience) {
  ended_ = true;
  over_ = true;
  std::shared_ptr<runtime::driver> driver;
  {
    const std::unique_lock lock(driver_mutex_);
    driver = std::move(driver_);
  }
  while (driver.use_count() > 1) std::this_thread::yield();  // calls that are just being handed over
  driver.reset();
  if (!is_final(state_)) set_state(node_state::stopped);
  watch_->stop();
  if (!runs_.stop(patience)) report("warn  runs of jobs ignored their stop token: they were left to themselves");
  std::vector<std::function<void()>> closers;
  std::vector<std::weak_ptr<runtime::strand>> strands;
  {
    const std::scoped_lock lock(lists_mutex_);
    closers.swap(closers_);
    strands.swap(strands_);
  }
  for (const auto& f : closers) f();
  if (callback_thread_) callback_thread_->stop();  // what was handed over is still called
  for (const auto& w : strands)
    if (const auto s = w.lock()) s->close();
  const std::scoped_lock lock(state_mutex_);
  state_changed_.notify_all();
}

void node_core::on_close(std::function<void()> f) {
  const std::scoped_lock lock(lists_mutex_);
  closers_.push_back(std::move(f));
}

// ---- asking --------------------------------------------------------------------------------------------------------

std::shared_ptr<runtime::driver> node_core::driver() const {
  const std::shared_lock lock(driver_mutex_);
  return driver_;
}

engine::call_id node_core::submit(wire::request r, on_answer f) {
  if (const auto d = driver()) return d->submit(std::move(r), std::move(f));
  f(node_closed(), true);
  return {};
}

void node_core::cancel(engine::call_id id) {
  if (const auto d = driver(); d && id) d->cancel(id);
}

result<void> node_core::may_wait() const {
  if (called_by_own_callback())
    return fail(errc::in_callback, "a call that waits, inside a callback of the same node: do it on another thread");
  const auto d = driver();
  if (!d) return tl::unexpected(node_closed());
  if (d->on_loop_thread())
    return fail(errc::in_callback, "a call that waits, on the node's own loop: do it on another thread");
  return {};
}

result<wire::response> node_core::ask_any(wire::request r, std::optional<ms> patience) {
  if (auto ok = may_wait(); !ok) return tl::unexpected(ok.error());
  auto promise = std::make_shared<std::promise<wire::response>>();
  auto answer = promise->get_future();
  const auto id = submit(std::move(r), [promise](const wire::response& a, bool last) {
    if (last) promise->set_value(a);
  });
  if (patience && answer.wait_for(*patience) != std::future_status::ready) {
    cancel(id);
    return fail(errc::timeout, "no answer in the time given: it may still be done");
  }
  auto a = answer.get();
  if (auto* f = std::get_if<failure>(&a)) return tl::unexpected(std::move(*f));
  return a;
}

result<node_core::stream> node_core::open(wire::request r, on_answer rest) {
  if (auto ok = may_wait(); !ok) return tl::unexpected(ok.error());
  auto promise = std::make_shared<std::promise<wire::response>>();
  auto answer = promise->get_future();
  const auto id = submit(std::move(r),
                         [promise, rest = std::move(rest), begun = false](const wire::response& a, bool last) mutable {
                           if (std::exchange(begun, true))
                             rest(a, last);
                           else
                             promise->set_value(a);
                         });
  auto first = answer.get();
  if (auto* f = std::get_if<failure>(&first)) return tl::unexpected(std::move(*f));
  return stream{id, std::move(first)};
}

// ---- calling the host ----------------------------------------------------------------------------------------------

std::shared_ptr<runtime::strand> node_core::make_strand(executor e) {
  auto s = std::make_shared<runtime::strand>(runtime::strand::options{
      .run = e ? std::move(e) : executor_, .node = this, .report = [weak = weak_from_this()](const std::string& what) {
        if (const auto c = weak.lock()) c->report("error " + what);
      }});
  const std::scoped_lock lock(lists_mutex_);
  std::erase_if(strands_, [](const auto& w) { return w.expired(); });
  strands_.push_back(s);
  return s;
}

void node_core::call(std::function<void()> f) {
  executor_([self = shared_from_this(), f = std::move(f)] {
    const runtime::callback_scope scope(self.get());
    runtime::guarded([&](const std::string& what) { self->report("error " + what); }, "a callback", f);
  });
}

void node_core::report(const std::string& line) const {
  if (!opt_.log) return;
  const std::scoped_lock lock(log_mutex_);
  opt_.log(line);
}

const void* node_core::mark_of(std::string_view journal) {
  const std::scoped_lock lock(lists_mutex_);
  auto it = marks_.find(journal);
  if (it == marks_.end()) it = marks_.emplace(journal).first;
  return &*it;
}

// ---- state and members ---------------------------------------------------------------------------------------------

void node_core::follow() {
  submit(wire::follow_events{0, true}, [this](const wire::response& r, bool) {
    const auto* e = std::get_if<wire::event_out>(&r);
    if (e == nullptr) return;
    if (e->kind == "node.state") {
      // The end is told by on_halted, with its reason.
      if (const auto it = e->fields.find("state"); it != e->fields.end())
        if (const auto s = parse_state(it->second); s && !is_final(*s)) set_state(*s);
    } else if (e->kind.starts_with("member.")) {
      refresh_members();
    }
  });
  refresh_members();
}

void node_core::set_state(node_state s) {
  std::vector<std::function<void()>> waiting;
  {
    const std::scoped_lock lock(state_mutex_);
    if (state_ == s || is_final(state_)) return;
    state_ = s;
    state_hub_.emit(s);
    waiting.swap(at_next_state_);
  }
  state_changed_.notify_all();
  for (const auto& f : waiting) f();
}

void node_core::at_next_state(std::function<void()> f) {
  const std::scoped_lock lock(state_mutex_);
  if (!is_final(state_)) at_next_state_.push_back(std::move(f));
}

subscription node_core::on_state(std::function<void(node_state)> f, executor e) {
  auto calls = make_strand(std::move(e));
  const std::scoped_lock lock(state_mutex_);
  const auto id = state_hub_.add(calls, f);
  calls->post([f, s = state_.load()] { f(s); });
  return subscription(std::make_shared<runtime::strand_subscription>(
      calls, [self = shared_from_this(), id] { self->state_hub_.remove(id); }));
}

bool node_core::wait_ready(ms timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    auto s = ask<wire::status_info>(wire::get_status{});
    if (!s && s.error().code == errc::in_callback) runtime::raise(s.error());
    if (s && s->ready) return true;
    const auto now = std::chrono::steady_clock::now();
    std::unique_lock lock(state_mutex_);
    if (now >= until || halted_ || over_ || is_final(state_)) return false;
    state_changed_.wait_until(lock, std::min(until, now + ms(20)));
  }
}

// The candidates of owner_of, kept up to date by events. On the loop thread, but for the first time.
void node_core::refresh_members() {
  {
    const std::scoped_lock lock(members_mutex_);
    if (std::exchange(refreshing_, true)) {
      stale_ = true;
      return;
    }
  }
  submit(wire::get_members{}, [this](const wire::response& r, bool) {
    bool again = false;
    {
      const std::scoped_lock lock(members_mutex_);
      refreshing_ = false;
      if (const auto* list = std::get_if<wire::member_list>(&r)) {
        again = std::exchange(stale_, false);
        alive_.clear();
        for (const auto& m : list->members)
          if (m.state == "alive" || m.state == "suspect") alive_.emplace_back(m.id, m.name);
      }
    }
    if (again) refresh_members();
  });
}

std::string node_core::owner_of(std::string_view key) const {
  const std::scoped_lock lock(members_mutex_);
  const std::pair<node_id, std::string>* best = nullptr;
  std::uint64_t most = 0;
  for (const auto& m : alive_) {
    const auto weight = rendezvous_weight(key, m.first);
    if (best != nullptr && std::pair(weight, m.first) <= std::pair(most, best->first)) continue;
    best = &m;
    most = weight;
  }
  return best == nullptr ? std::string() : best->second;
}

}  // namespace coterie::detail
