// One apply, as the parts of the machine see it: where the entry stands, who asked, and where effects go. Internal to
// src/machine.
#pragma once

#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/counters.hpp"
#include "machine/happening.hpp"
#include "machine/limits.hpp"
#include "machine/types.hpp"

namespace coterie::machine {

struct turn {
  log_index index;
  term when;
  wall_time stamp;        ///< the entry's, raised to the highest before it: never falls along the log
  session_epoch session;  ///< of the command's header; zero = none
  request_seq seq;
  const limits& max;
  std::vector<happening>& happened;
  std::vector<write>& data;  ///< changes of records that are on disk alone, in order
  std::uint64_t fences = 0;  ///< handed out in this entry

  std::uint64_t next_fence() { return fence_of(index, fences++); }
};

inline answer done(std::uint64_t value = 0, std::uint64_t value2 = 0) { return {errc{}, value, value2, {}}; }
inline answer refuse(errc code, std::string text) { return {code, 0, 0, std::move(text)}; }

/// Keys of records that changed since they were last collected.
template <class Key>
class dirty_keys {
 public:
  template <class K>
  void mark(const K& key) {
    if (keys_.find(key) == keys_.end()) keys_.emplace(key);
  }
  void clear() { keys_.clear(); }
  /// Calls f(key) for each in order, then forgets them.
  template <class F>
  void drain(F f) {
    for (const auto& key : keys_) f(key);
    keys_.clear();
  }

 private:
  std::set<Key, std::less<>> keys_;
};

}  // namespace coterie::machine
