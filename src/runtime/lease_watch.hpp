// Ends what depends on the node's lease at the moment when its local validity ends, on a thread of its own, so that
// neither a busy loop nor a slow callback can delay it (docs/locks.md). Knows epochs and what to call,
// nothing of locks.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"

namespace coterie::runtime {

/// Thread-safe.
class lease_watch {
 public:
  using left = std::function<duration(session_epoch)>;  ///< remaining validity, any thread, quick
  explicit lease_watch(left);
  ~lease_watch() { stop(); }
  /// Ends all entries; nothing is watched from now on. Not from its own thread. Any number of times.
  void stop();

  /// `over` is called once, on the watch's thread, when the epoch is not valid any more, or after end(). Number of the
  /// entry.
  std::uint64_t add(session_epoch, std::function<void()> over);
  /// Not called from now on, unless the call has begun.
  void remove(std::uint64_t);
  /// As if its validity had ended just now.
  void end(std::uint64_t);
  /// Looks again: the lease was renewed, or is over.
  void look();

 private:
  struct entry {
    session_epoch epoch;
    std::function<void()> over;
    bool ended = false;
  };
  void run();
  const left left_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<std::uint64_t, entry> entries_;
  std::uint64_t last_ = 0;
  bool ending_ = false, look_ = false;
  std::thread thread_;
};

}  // namespace coterie::runtime
