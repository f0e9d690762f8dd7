#include "runtime/read_thread.hpp"

#include <exception>
#include <utility>

#include "runtime/threads.hpp"

namespace coterie::runtime {

read_thread::read_thread(sink to) : sink_(std::move(to)), thread_(start_thread("coterie-read", [this] { run(); })) {}

read_thread::~read_thread() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  more_.notify_one();
  thread_.join();
}

void read_thread::submit(engine::read_id id, store::scan s) {
  {
    const std::scoped_lock lock(mutex_);
    queue_.emplace_back(id, std::move(s));
  }
  more_.notify_one();
}

void read_thread::drain() {
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return queue_.empty(); });
}

void read_thread::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    more_.wait(lock, [this] { return stop_ || !queue_.empty(); });
    if (stop_) return;
    const auto& [id, scan] = queue_.front();  // a deque's elements stay where they are
    lock.unlock();
    try {
      sink_(id, scan.read());
    } catch (const std::exception& e) {
      sink_(id, fail(errc::unavailable, e.what()));
    }
    lock.lock();
    queue_.pop_front();
    if (queue_.empty()) idle_.notify_one();
  }
}

}  // namespace coterie::runtime
