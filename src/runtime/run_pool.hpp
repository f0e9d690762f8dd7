// Threads for runs of jobs, which may be long: as many as there is work for, up to a limit; what is over it waits.
// Knows nothing of jobs.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace coterie::runtime {

/// Thread-safe.
class run_pool {
 public:
  explicit run_pool(std::size_t max_threads = 16) : state_(std::make_shared<state>(max_threads)) {}
  /// stop(0).
  ~run_pool() { stop(std::chrono::milliseconds(0)); }

  /// Runs f soon; it must not throw. Dropped after stop().
  void post(std::function<void()> f);
  /// Drops what waits, and waits at most so long for what runs. False: some went on and were left to themselves; they
  /// keep what they need of the pool alive.
  bool stop(std::chrono::milliseconds patience) noexcept;

 private:
  struct state {
    explicit state(std::size_t n) : max_threads(n) {}
    const std::size_t max_threads;
    std::mutex mutex;
    std::condition_variable wake, ended;
    std::deque<std::function<void()>> queue;
    std::vector<std::thread> threads;
    std::size_t idle = 0, alive = 0;
    bool stopping = false;
  };
  static void work(const std::shared_ptr<state>&) noexcept;
  std::shared_ptr<state> state_;
};

}  // namespace coterie::runtime
