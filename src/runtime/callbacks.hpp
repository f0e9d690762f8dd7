// Calls into the host's code: one at a time and in order for each subscription, on an executor, never under a lock.
// Knows which node's callback a thread is in. Knows nothing of what is called.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "coterie/common.hpp"

namespace coterie::detail {

/// What a subscription object ends.
struct subscription_state {
  virtual ~subscription_state() = default;
  /// No call begins after it; waits for one under way, unless it is on this thread. Any number of times.
  virtual void close() noexcept = 0;
};

}  // namespace coterie::detail

namespace coterie::runtime {

/// While it lives, this thread is inside a callback of `node`.
class callback_scope {
 public:
  explicit callback_scope(const void* node) noexcept;
  ~callback_scope();
  callback_scope(const callback_scope&) = delete;
  static bool inside(const void* node) noexcept;

 private:
  const void* const node_;
  const callback_scope* const outer_;
};

/// One thread that runs what it is given, in order.
class callback_thread {
 public:
  callback_thread();
  ~callback_thread() { stop(); }
  /// Runs what is there, then ends; later posts are dropped. Not from its own thread. Any number of times.
  void stop();
  void post(std::function<void()>);
  bool is_here() const noexcept { return std::this_thread::get_id() == thread_.get_id(); }

 private:
  void run();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool ending_ = false;
  std::thread thread_;
};

/// The calls of one subscription.
class strand : public std::enable_shared_from_this<strand> {
 public:
  struct options {
    executor run{};                                    ///< where
    const void* node = nullptr;                        ///< whose callbacks these are
    std::function<void(const std::string&)> report{};  ///< what a callback threw
    std::size_t limit = 10'000;                        ///< waiting calls; one more drops the oldest
  };
  explicit strand(options o) : opt_(std::move(o)) {}

  void post(std::function<void()>);
  /// Only when nothing is waiting: for calls that say the same as the one before.
  void post_once(std::function<void()>);
  void close() noexcept;
  std::uint64_t dropped() const;

 private:
  void post(std::function<void()>, bool once);
  void schedule();
  void run() noexcept;

  const options opt_;
  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::deque<std::function<void()>> queue_;
  std::uint64_t dropped_ = 0;
  std::thread::id running_{};
  bool scheduled_ = false, closed_ = false;
};

/// Calls f and reports what it throws.
void guarded(const std::function<void(const std::string&)>& report, const char* what,
             const std::function<void()>& f) noexcept;

/// A subscription that consists of a strand and something to undo.
struct strand_subscription final : coterie::detail::subscription_state {
  strand_subscription(std::shared_ptr<strand> s, std::function<void()> undo)
      : calls(std::move(s)), undo_(std::move(undo)) {}
  void close() noexcept override;

 private:
  std::shared_ptr<strand> calls;
  std::function<void()> undo_;
};

/// Several strands that are told the same events.
template <class Event>
class event_hub {
 public:
  using handler = std::function<void(const Event&)>;
  std::uint64_t add(std::shared_ptr<strand> s, handler f) {
    const std::scoped_lock lock(mutex_);
    list_.push_back({++last_, std::move(s), std::make_shared<const handler>(std::move(f))});
    return last_;
  }
  void remove(std::uint64_t id) {
    const std::scoped_lock lock(mutex_);
    std::erase_if(list_, [&](const auto& x) { return x.id == id; });
  }
  void emit(const Event& e) {
    for (const auto& x : copy()) x.calls->post([f = x.f, e] { (*f)(e); });
  }
  bool empty() const {
    const std::scoped_lock lock(mutex_);
    return list_.empty();
  }

 private:
  struct one {
    std::uint64_t id;
    std::shared_ptr<strand> calls;
    std::shared_ptr<const handler> f;
  };
  std::vector<one> copy() const {
    const std::scoped_lock lock(mutex_);
    return list_;
  }
  mutable std::mutex mutex_;
  std::vector<one> list_;
  std::uint64_t last_ = 0;
};

}  // namespace coterie::runtime
