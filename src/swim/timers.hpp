// Timers of a pure state machine: at most one instant per key, the earliest first. Reads no clock.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/time.hpp"

namespace coterie::swim {

/// Ordered by (instant, key), so that two runs fire in the same order. All operations are O(log n).
template <class Key>
class timer_queue {
 public:
  /// Sets or moves the timer of `key`.
  void arm(const Key& key, instant at) {
    cancel(key);
    by_key_.emplace(key, at);
    by_time_.emplace(at, key);
  }
  void cancel(const Key& key) {
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) return;
    by_time_.erase({it->second, key});
    by_key_.erase(it);
  }
  bool armed(const Key& key) const { return by_key_.contains(key); }
  /// The earliest timer's instant, `never` when there is none.
  instant next() const { return by_time_.empty() ? never : by_time_.begin()->first; }
  /// Removes and returns the earliest timer that is due.
  std::optional<Key> pop_due(instant now) {
    if (by_time_.empty() || by_time_.begin()->first > now) return std::nullopt;
    Key key = by_time_.begin()->second;
    by_time_.erase(by_time_.begin());
    by_key_.erase(key);
    return key;
  }
  void clear() {
    by_key_.clear();
    by_time_.clear();
  }

 private:
  std::map<Key, instant> by_key_;
  std::set<std::pair<instant, Key>> by_time_;
};

}  // namespace coterie::swim
