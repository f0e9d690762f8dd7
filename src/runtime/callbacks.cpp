#include "runtime/callbacks.hpp"

#include <exception>
#include <utility>

#include "base/assert.hpp"
#include "runtime/threads.hpp"

namespace coterie {

subscription::subscription() noexcept = default;
subscription::subscription(std::shared_ptr<detail::subscription_state> s) noexcept : state_(std::move(s)) {}
subscription::subscription(subscription&& other) noexcept = default;
subscription& subscription::operator=(subscription&& other) noexcept {
  if (this != &other) {
    const auto old = std::exchange(state_, std::exchange(other.state_, nullptr));
    if (old) old->close();
  }
  return *this;
}
subscription::~subscription() {
  if (state_) state_->close();
}
void subscription::detach() noexcept { state_.reset(); }
subscription::operator bool() const noexcept { return state_ != nullptr; }

}  // namespace coterie

namespace coterie::runtime {

// ---- callback_scope ------------------------------------------------------------------------------------------------

namespace {
const callback_scope*& innermost() noexcept {
  static thread_local const callback_scope* scope = nullptr;
  return scope;
}
}  // namespace

callback_scope::callback_scope(const void* node) noexcept : node_(node), outer_(innermost()) { innermost() = this; }
callback_scope::~callback_scope() { innermost() = outer_; }
bool callback_scope::inside(const void* node) noexcept {
  for (const auto* s = innermost(); s != nullptr; s = s->outer_)
    if (s->node_ == node) return true;
  return false;
}

void guarded(const std::function<void(const std::string&)>& report, const char* what,
             const std::function<void()>& f) noexcept {
  try {
    f();
  } catch (const std::exception& e) {
    if (report) report(std::string(what) + " threw: " + e.what());
  } catch (...) {
    if (report) report(std::string(what) + " threw something that is no std::exception");
  }
}

// ---- callback_thread -----------------------------------------------------------------------------------------------

callback_thread::callback_thread() {
  thread_ = start_thread("coterie-calls", [this] { run(); });
}

void callback_thread::stop() {
  if (!thread_.joinable()) return;
  COTERIE_ASSERT(!is_here());
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void callback_thread::post(std::function<void()> f) {
  {
    const std::scoped_lock lock(mutex_);
    if (ending_ && queue_.empty() && !is_here()) return;
    queue_.push_back(std::move(f));
  }
  wake_.notify_one();
}

void callback_thread::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return ending_ || !queue_.empty(); });
    if (queue_.empty()) return;
    auto f = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    f();
    f = nullptr;
    lock.lock();
  }
}

// ---- strand --------------------------------------------------------------------------------------------------------

void strand::post(std::function<void()> f) { post(std::move(f), false); }
void strand::post_once(std::function<void()> f) { post(std::move(f), true); }

void strand::post(std::function<void()> f, bool once) {
  {
    const std::scoped_lock lock(mutex_);
    if (closed_ || (once && !queue_.empty())) return;
    if (queue_.size() >= opt_.limit) {
      queue_.pop_front();
      ++dropped_;
    }
    queue_.push_back(std::move(f));
    if (std::exchange(scheduled_, true)) return;
  }
  schedule();
}

void strand::schedule() {
  guarded(opt_.report, "an executor", [this] { opt_.run([self = shared_from_this()] { self->run(); }); });
}

// A few calls at a time, so that one busy subscription leaves the others their turn.
void strand::run() noexcept {
  const callback_scope scope(opt_.node);
  std::unique_lock lock(mutex_);
  for (int i = 0; i < 64 && !queue_.empty(); ++i) {
    auto f = std::move(queue_.front());
    queue_.pop_front();
    running_ = std::this_thread::get_id();
    lock.unlock();
    guarded(opt_.report, "a callback", f);
    f = nullptr;
    lock.lock();
    running_ = {};
    if (closed_) idle_.notify_all();
  }
  if (queue_.empty()) {
    scheduled_ = false;
    return;
  }
  lock.unlock();
  schedule();
}

void strand::close() noexcept {
  std::deque<std::function<void()>> dropped;
  std::unique_lock lock(mutex_);
  closed_ = true;
  dropped.swap(queue_);
  idle_.wait(lock, [&] { return running_ == std::thread::id{} || running_ == std::this_thread::get_id(); });
}

std::uint64_t strand::dropped() const {
  const std::scoped_lock lock(mutex_);
  return dropped_;
}

void strand_subscription::close() noexcept {
  if (undo_) {
    undo_();
    undo_ = nullptr;
  }
  calls->close();
}

}  // namespace coterie::runtime
