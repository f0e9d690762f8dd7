// Which thread of this process holds which cluster lock, and how often. Looking for the calling thread's own hold takes
// no lock and no message. Knows nothing of leases or of the cluster: whoever owns the table does.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

namespace coterie::local {

class lock_holds;

/// One owner's time with a lock. Shared by whoever holds it and whoever watches over its validity.
class lock_grant {
 public:
  std::string name;
  std::uint64_t fence = 0, epoch = 0;
  std::atomic<std::uint64_t> watch = 0;  ///< a number of the table's owner
  std::atomic<bool> released = false;

  /// Ended from outside; it never comes back. Stop callbacks run on this thread.
  void lose();
  bool over() const noexcept { return over_; }
  /// Requested when it is lost.
  std::stop_token lost();

 private:
  std::atomic<bool> over_ = false;
  std::mutex mutex_;
  std::optional<std::stop_source> lost_;  // once somebody asks for it
};

/// One thread's hold: used by that thread alone.
struct lock_hold {
  std::shared_ptr<lock_grant> grant;
  std::size_t depth = 1;

 private:
  friend class lock_holds;
  std::shared_ptr<lock_holds> table;
};

/// The holds of one node. Must be owned by a shared_ptr: a thread's holds keep their table alive until the thread ends,
/// so that an address never stands for two tables.
class lock_holds : public std::enable_shared_from_this<lock_holds> {
 public:
  /// `at_exit` is called, on a thread that ends, with each grant that it still holds. May be called at any time until
  /// close().
  explicit lock_holds(std::function<void(lock_grant&)> at_exit) : at_exit_(std::move(at_exit)) {}
  /// From now on a thread's end is nobody's business. Waits for a call under way.
  void close();

  /// The calling thread's hold of that name; null when it has none. Valid until it is removed.
  lock_hold* find(std::string_view name) const noexcept;
  /// Of the calling thread, which has none of that name.
  void add(std::shared_ptr<lock_grant>);
  void remove(lock_hold&) noexcept;

 private:
  struct of_thread;
  static of_thread& here() noexcept;
  std::mutex mutex_;
  std::function<void(lock_grant&)> at_exit_;
};

}  // namespace coterie::local
