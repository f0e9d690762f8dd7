#include "runtime/run_pool.hpp"

#include <utility>

#include "runtime/threads.hpp"

namespace coterie::runtime {

void run_pool::post(std::function<void()> f) {
  auto& s = *state_;
  {
    const std::scoped_lock lock(s.mutex);
    if (s.stopping) return;
    s.queue.push_back(std::move(f));
    if (s.idle < s.queue.size() && s.threads.size() < s.max_threads) {
      try {
        s.threads.push_back(start_thread("coterie-run", [p = state_] { work(p); }));
        ++s.alive;
      } catch (...) {
        // No more threads: those that are there will do it; the first one must be there.
        if (s.threads.empty()) {
          s.queue.pop_back();
          throw;
        }
      }
    }
  }
  s.wake.notify_one();
}

void run_pool::work(const std::shared_ptr<state>& p) noexcept {
  auto& s = *p;
  std::unique_lock lock(s.mutex);
  for (;;) {
    ++s.idle;
    s.wake.wait(lock, [&] { return s.stopping || !s.queue.empty(); });
    --s.idle;
    if (s.stopping) break;
    auto f = std::move(s.queue.front());
    s.queue.pop_front();
    lock.unlock();
    f();
    f = nullptr;
    lock.lock();
  }
  --s.alive;
  s.ended.notify_all();
}

bool run_pool::stop(std::chrono::milliseconds patience) noexcept {
  auto& s = *state_;
  std::deque<std::function<void()>> dropped;
  std::vector<std::thread> threads;
  std::unique_lock lock(s.mutex);
  s.stopping = true;
  dropped.swap(s.queue);
  threads.swap(s.threads);
  s.wake.notify_all();
  const bool all = s.ended.wait_for(lock, patience, [&] { return s.alive == 0; });
  lock.unlock();
  for (auto& t : threads) {
    if (all)
      t.join();
    else
      t.detach();
  }
  return all;
}

}  // namespace coterie::runtime
