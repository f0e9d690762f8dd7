#include "local/lock_holds.hpp"

#include <algorithm>
#include <vector>

#include "base/assert.hpp"

namespace coterie::local {

void lock_grant::lose() {
  over_ = true;
  std::optional<std::stop_source> told;
  {
    const std::scoped_lock lock(mutex_);
    told = lost_;
  }
  if (told) told->request_stop();
}

std::stop_token lock_grant::lost() {
  const std::scoped_lock lock(mutex_);
  if (!lost_) {
    lost_.emplace();
    if (over_) lost_->request_stop();
  }
  return lost_->get_token();
}

// A thread holds few locks at a time: a list is the fastest map.
struct lock_holds::of_thread {
  std::vector<std::unique_ptr<lock_hold>> list;
  ~of_thread() {
    for (const auto& h : list) {
      const std::scoped_lock lock(h->table->mutex_);
      if (h->table->at_exit_) h->table->at_exit_(*h->grant);
    }
  }
};

lock_holds::of_thread& lock_holds::here() noexcept {
  static thread_local of_thread holds;
  return holds;
}

void lock_holds::close() {
  const std::scoped_lock lock(mutex_);
  at_exit_ = nullptr;
}

lock_hold* lock_holds::find(std::string_view name) const noexcept {
  for (const auto& h : here().list)
    if (h->table.get() == this && h->grant->name == name) return h.get();
  return nullptr;
}

void lock_holds::add(std::shared_ptr<lock_grant> g) {
  COTERIE_ASSERT(find(g->name) == nullptr);
  auto h = std::make_unique<lock_hold>();
  h->grant = std::move(g);
  h->table = shared_from_this();
  here().list.push_back(std::move(h));
}

void lock_holds::remove(lock_hold& h) noexcept {
  auto& list = here().list;
  const auto it = std::find_if(list.begin(), list.end(), [&](const auto& x) { return x.get() == &h; });
  COTERIE_ASSERT(it != list.end());
  std::swap(*it, list.back());
  list.pop_back();
}

}  // namespace coterie::local
