// The thread that reads ranges for the engine, as of when they were asked for, so that a long one keeps no write
// waiting for its sync. Knows scans of the store; not what is in them.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "engine/seam.hpp"
#include "store/store.hpp"

namespace coterie::runtime {

class read_thread {
 public:
  /// Gets each page, or why there is none, on the reading thread. Must not block.
  using sink = std::function<void(engine::read_id, result<store::page>)>;

  explicit read_thread(sink);
  /// Finishes the scan that is being read, drops the rest.
  ~read_thread();

  /// Never blocks. The engine bounds how many there are.
  void submit(engine::read_id, store::scan);
  /// Returns when no scan is left. Called by the thread that submits.
  void drain();

 private:
  void run();

  const sink sink_;
  std::mutex mutex_;
  std::condition_variable more_, idle_;
  std::deque<std::pair<engine::read_id, store::scan>> queue_;  // under mutex_; the front is being read
  bool stop_ = false;                                          // under mutex_
  std::thread thread_;                                         // last: starts when the rest is there
};

}  // namespace coterie::runtime
