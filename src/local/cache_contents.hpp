// What one cache of this process holds: entries by encoded key, their expiry, their order of use, and the loads under
// way. Thread-safe and type-free. Knows nothing of other nodes; time comes in as an argument.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/result.hpp"

namespace coterie::local {

class cache_contents {
 public:
  using value = std::shared_ptr<const void>;
  using time = std::chrono::steady_clock::time_point;
  using span = std::chrono::steady_clock::duration;

  struct options {
    std::optional<std::size_t> max_entries{};
    std::optional<span> expire_after_access{}, expire_after_write{};
  };
  enum class change : int { added, updated, removed, evicted, expired, cleared };
  struct happening {
    change what;
    std::optional<std::string> key;
    bool remote = false;
  };
  /// Told of each change, under the cache's own mutex: it must be quick and must not call back.
  using on_change = std::function<void(happening)>;
  struct counts {
    std::uint64_t hits = 0, misses = 0, loads = 0, load_failures = 0, evictions = 0, stale_loads_dropped = 0;
  };

  cache_contents(options o, on_change f) : opt_(o), changed_(std::move(f)) {}

  /// The entry, or what `load` gives (called without any lock held). One load for each key at a time: others that ask
  /// wait for it and get its value or its exception.
  ///
  /// No stale load (docs/caches.md): an invalidation between a load's beginning and its end takes the load out of the
  /// table. Its value then goes to those who waited for it already, and is not kept; whoever asks after the
  /// invalidation begins a new load. So the counter of the paper is the load itself: it is current exactly while it is
  /// in the table.
  ///
  /// errc::in_callback when the calling thread is loading this key already.
  result<value> get(const std::string& key, time now, const std::function<value()>& load,
                    const std::function<time()>& clock);
  /// No load, no access. Null when it is absent.
  value peek(const std::string& key, time now) const;
  std::vector<std::string> keys(time now) const;
  std::size_t size(time now) const { return keys(now).size(); }

  /// These invalidate loads of the key that are under way.
  void put(const std::string& key, value, time now);
  bool put_if_absent(const std::string& key, value, time now);
  bool replace_if(const std::string& key, const value& expected, value, time now);
  bool remove_if(const std::string& key, const value& expected, time now);
  /// True when there was an entry.
  bool remove(const std::string& key, bool remote, time now);
  void clear(bool remote);

  counts stats() const;

 private:
  struct entry {
    value what;
    time written, used;
    std::list<const std::string*>::iterator by_use, by_write;
  };
  using table = std::unordered_map<std::string, entry>;
  struct loading {
    std::thread::id by;
    std::promise<value> promise;
    std::shared_future<value> future;
  };

  /// Holds the mutex; what was dropped meanwhile is destroyed after it is given up, for values run foreign code then.
  class guard {
   public:
    explicit guard(cache_contents& c) : of_(c), lock_(c.mutex_) {}
    ~guard() {
      dead_.swap(of_.dead_);
      lock_.unlock();
    }

   private:
    cache_contents& of_;
    std::vector<value> dead_;
    std::unique_lock<std::mutex> lock_;
  };

  bool expired(const entry&, time now) const;
  table::iterator find(const std::string& key, time now);  ///< drops it when it is expired
  void set(const std::string& key, value, time now, table::iterator);
  void drop(table::iterator, change, bool remote = false);
  void sweep(time now);
  void tell(change c, std::optional<std::string> key, bool remote = false) {
    if (changed_) changed_({c, std::move(key), remote});
  }

  const options opt_;
  const on_change changed_;
  mutable std::mutex mutex_;
  table entries_;
  std::list<const std::string*> by_use_, by_write_;  // the oldest in front
  std::unordered_map<std::string, std::shared_ptr<loading>> loads_;
  counts counts_;
  std::vector<value> dead_;
};

}  // namespace coterie::local
