#include "runtime/lease_watch.hpp"

#include <algorithm>
#include <utility>

#include "runtime/threads.hpp"

namespace coterie::runtime {

namespace {
constexpr duration longest_wait = std::chrono::seconds(1);  // clocks may drift apart: look again
}

lease_watch::lease_watch(left f) : left_(std::move(f)) {
  thread_ = start_thread("coterie-lease", [this] { run(); });
}

void lease_watch::stop() {
  if (!thread_.joinable()) return;
  {
    const std::scoped_lock lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

std::uint64_t lease_watch::add(session_epoch e, std::function<void()> over) {
  std::uint64_t id = 0;
  {
    const std::scoped_lock lock(mutex_);
    id = ++last_;
    entries_.emplace(id, entry{e, std::move(over)});
    look_ = true;
  }
  wake_.notify_one();
  return id;
}

void lease_watch::remove(std::uint64_t id) {
  std::function<void()> dropped;
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;
  dropped.swap(it->second.over);
  entries_.erase(it);
}

void lease_watch::end(std::uint64_t id) {
  {
    const std::scoped_lock lock(mutex_);
    const auto it = entries_.find(id);
    if (it == entries_.end()) return;
    it->second.ended = look_ = true;
  }
  wake_.notify_one();
}

void lease_watch::look() {
  {
    const std::scoped_lock lock(mutex_);
    look_ = true;
  }
  wake_.notify_one();
}

void lease_watch::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    look_ = false;
    auto wait = longest_wait;
    std::vector<std::function<void()>> over;
    for (auto it = entries_.begin(); it != entries_.end();) {
      const auto rest = ending_ || it->second.ended ? duration::zero() : left_(it->second.epoch);
      if (rest > duration::zero()) {
        wait = std::min(wait, rest);
        ++it;
      } else {
        over.push_back(std::move(it->second.over));
        it = entries_.erase(it);
      }
    }
    if (over.empty()) {
      if (ending_) return;
      wake_.wait_for(lock, wait, [&] { return ending_ || look_; });
      continue;
    }
    lock.unlock();
    for (auto& f : over) f();
    over.clear();
    lock.lock();
  }
}

}  // namespace coterie::runtime
