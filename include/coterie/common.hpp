// What all services share: units, executors, subscriptions. Needs std only, as every public header; knows no service.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "coterie/error.hpp"

namespace coterie {

using ms = std::chrono::milliseconds;
using wall_time = std::chrono::sys_time<std::chrono::milliseconds>;  ///< UTC

/// Where callbacks run: takes a function and has it run once, soon, on whatever thread it likes, but not inside this
/// call, which may come from any thread and must not block. Without one, callbacks run on one thread of the node.
using executor = std::function<void(std::function<void()>)>;

/// What a node knows by itself: told at once and without a majority, so it may be out of date.
template <class T>
struct stale {
  T value{};
  std::uint64_t index = 0;  ///< it is the state after this entry of the log, or a later one
  /// Nothing is missing from it that was committed longer ago than this before the node answered. Nothing = that is not
  /// known: the node has heard of no majority since its start.
  std::optional<ms> age{};
};

namespace detail {
struct subscription_state;
}

/// Keeps a callback registered for as long as it lives. The calls of one subscription come one at a time and in order.
/// What a callback throws is logged, and the subscription goes on. A call that waits (a lock, an enqueue, ...) fails
/// with errc::in_callback inside a callback, unless its documentation says otherwise. Move-only; not thread-safe
/// itself.
class [[gnu::visibility("default")]] subscription {
 public:
  /// Registers nothing.
  subscription() noexcept;
  explicit subscription(std::shared_ptr<detail::subscription_state>) noexcept;
  subscription(subscription &&) noexcept;
  subscription& operator=(subscription&&) noexcept;
  /// Ends it: no call begins any more, one that is running is waited for (unless this is that call's own thread).
  ~subscription();
  /// Lets the callback go on until the node stops.
  void detach() noexcept;
  /// Whether something is registered.
  explicit operator bool() const noexcept;

 private:
  std::shared_ptr<detail::subscription_state> state_;
};

}  // namespace coterie
