// Cluster locks: one owner in the whole cluster at a time. docs/locks.md says what that is worth and what it costs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "coterie/common.hpp"

namespace coterie {

namespace detail {
class lock_core;
struct lease_core;
}  // namespace detail

/// How a lock is asked for.
struct lock_options {
  std::string label{};  ///< shown to operators beside the owner: who or what holds it; at most 255 bytes
};

/// A held lock, as the cluster sees it.
struct lock_info {
  std::string name;
  std::string owner_node;
  std::uint64_t fence = 0;
  wall_time acquired;         ///< by the clock of its node at that time
  std::uint32_t waiters = 0;  ///< of its own node; and other nodes, however many of their threads wait
  std::string label;
};

/// Something that happened to a hold of this node without its owner asking for it.
struct lock_event {
  /// What can happen.
  enum class kind {
    lost,                        ///< its lease ended before it was released
    released_at_exit_of_thread,  ///< its thread ended while holding it
  };
  kind what = kind::lost;
  std::string name;
  std::uint64_t fence = 0;
};

/// The lock of one name. A handle: copies, and handles of the same name on the same node, are the same lock. The owner
/// is the thread (of this node); it may lock again and has to unlock as often. Meets TimedLockable, so that
/// std::lock_guard, std::unique_lock and std::scoped_lock work. Waiters are served in the order in which they asked,
/// the threads of a node together (docs/locks.md).
///
/// A hold lasts only as long as the node can renew its lease (node_options::session_ttl). Long work watches lost(), or
/// passes fence() to whatever it writes to. All functions are thread-safe, and speak of the calling thread's own hold.
/// Waiting calls fail with no_quorum after 5 s without a majority, closed when the node stops, and in_callback.
class [[gnu::visibility("default")]] cluster_mutex {
 public:
  /// Made by lock_service::get; not for hosts.
  explicit cluster_mutex(std::shared_ptr<detail::lock_core>, std::string name, lock_options) noexcept;

  /// Waits until this thread owns the lock. Locking again what the thread owns costs no message, and fails with
  /// lock_lost when that hold was lost.
  void lock();
  void lock(std::error_code&);
  /// The same, but gives up when a stop is requested, and then returns false. A grant that crosses with the stop is
  /// given back, at the latest when its lease ends.
  bool lock(std::stop_token);
  bool lock(std::stop_token, std::error_code&);

  /// One round trip. False: another thread or node owns it. Fails with indeterminate when the answer was lost on the
  /// way (whatever was granted is given back).
  bool try_lock();
  bool try_lock(std::error_code&);
  /// Waits at most so long, in steps of about 100 ms. False: another thread or node owns it.
  template <class Rep, class Period>
  bool try_lock_for(const std::chrono::duration<Rep, Period>& d) {
    return lock_within(std::chrono::ceil<ms>(d));
  }
  template <class Rep, class Period>
  bool try_lock_for(const std::chrono::duration<Rep, Period>& d, std::error_code& ec) {
    return lock_within(std::chrono::ceil<ms>(d), ec);
  }
  /// The same, until a point in time.
  template <class Clock, class Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration>& t) {
    return try_lock_for(t - Clock::now());
  }
  template <class Clock, class Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration>& t, std::error_code& ec) {
    return try_lock_for(t - Clock::now(), ec);
  }

  /// Gives it up; never throws and does not wait: the cluster hears of it in the background. That the lease was lost
  /// meanwhile is told by lost(), lock_service::on_event and the other form. Unlocking what this thread does not own is
  /// a programmer's error and ends the process.
  void unlock() noexcept;
  /// Sets lock_lost when the lease had ended before; not_owner, and does nothing, when this thread does not own it.
  void unlock(std::error_code&) noexcept;

  /// Larger for each new owner of this name, for ever. Readable until unlock(), also when the lock is lost; 0 when this
  /// thread has not locked it.
  std::uint64_t fence() const noexcept;
  /// This thread owns it and the lease is provably valid at this moment.
  bool held() const noexcept;
  /// How long the lease is valid without a further renewal, by this machine's clocks; 0 when not held.
  ms lease_left() const noexcept;
  /// Stop is requested no later than another owner is possible. Without a hold: a token that is stopped already. A
  /// std::stop_callback on it runs on the node's lease thread, which ends the other holds, too: it must be quick, must
  /// not wait, and must not call what waits.
  std::stop_token lost() const;

  /// Who owns it now, in the whole cluster; nothing = nobody. Waits for a majority, then for the owner's node; when
  /// that does not answer within 300 ms, as of the time when it got the lock.
  std::optional<lock_info> info() const;
  std::optional<lock_info> info(std::error_code&) const;

  /// As given to lock_service::get.
  const std::string& name() const noexcept { return name_; }

 private:
  bool lock_within(ms);
  bool lock_within(ms, std::error_code&);
  std::shared_ptr<detail::lock_core> core_;
  std::string name_;
  lock_options options_;
};

/// A lock owned by this object instead of a thread: for coroutines, and for work that moves between threads. Move-only;
/// the destructor releases. Thread-safe but for moving.
class [[gnu::visibility("default")]] lock_lease {
 public:
  /// Holds nothing.
  lock_lease() noexcept;
  /// Made by lock_service::async_acquire; not for hosts.
  explicit lock_lease(std::shared_ptr<detail::lease_core>) noexcept;
  lock_lease(lock_lease &&) noexcept;
  lock_lease& operator=(lock_lease&&) noexcept;
  ~lock_lease();

  /// As for cluster_mutex.
  std::uint64_t fence() const noexcept;
  bool held() const noexcept;
  ms lease_left() const noexcept;
  std::stop_token lost() const;
  /// Gives it up; does not wait. Does nothing when it holds nothing.
  void release() noexcept;

 private:
  std::shared_ptr<detail::lease_core> core_;
};

/// The locks of a node. Thread-safe.
class [[gnu::visibility("default")]] lock_service {
 public:
  /// Made by the node; not for hosts.
  explicit lock_service(std::shared_ptr<detail::lock_core>) noexcept;

  /// A handle, without any message. `name`: 1 to 255 bytes of printable UTF-8, else bad_name. Names that nobody uses
  /// cost nothing after a while, so they may be made up as needed.
  cluster_mutex get(std::string_view name, lock_options = {});

  using on_acquired = std::function<void(std::error_code, lock_lease)>;
  /// Queues for the lock without a waiting thread. The handler is called once, on the node's callback executor. It
  /// waits at most `wait` (then the error is errc::held), or without bound; other errors as for cluster_mutex::lock.
  void async_acquire(std::string_view name, lock_options, on_acquired, std::optional<ms> wait = {});

  /// Every lock that somebody owns, in the whole cluster. Waits as cluster_mutex::info does.
  std::vector<lock_info> list() const;
  std::vector<lock_info> list(std::error_code&) const;
  /// As this node has it. Locks that a node only keeps for its next owner count as owned. Fails with `unavailable` when
  /// it may be older than max_age.
  stale<std::vector<lock_info>> stale_list(std::optional<ms> max_age = {}) const;
  stale<std::vector<lock_info>> stale_list(std::optional<ms> max_age, std::error_code&) const;

  /// What happens to this node's holds by themselves.
  [[nodiscard]] subscription on_event(std::function<void(const lock_event&)>, executor = {});

 private:
  std::shared_ptr<detail::lock_core> core_;
};

}  // namespace coterie
