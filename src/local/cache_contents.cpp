#include "local/cache_contents.hpp"

#include <utility>

namespace coterie::local {

namespace {
constexpr int swept_a_write =
    16;  // expired entries dropped along with each new one: memory follows, work stays bounded
}

bool cache_contents::expired(const entry& e, time now) const {
  return (opt_.expire_after_access && now - e.used >= *opt_.expire_after_access) ||
         (opt_.expire_after_write && now - e.written >= *opt_.expire_after_write);
}

cache_contents::table::iterator cache_contents::find(const std::string& key, time now) {
  const auto it = entries_.find(key);
  if (it == entries_.end() || !expired(it->second, now)) return it;
  drop(it, change::expired);
  return entries_.end();
}

void cache_contents::drop(table::iterator it, change why, bool remote) {
  by_use_.erase(it->second.by_use);
  by_write_.erase(it->second.by_write);
  auto node = entries_.extract(it);
  dead_.push_back(std::move(node.mapped().what));
  tell(why, std::move(node.key()), remote);
}

void cache_contents::sweep(time now) {
  for (auto* order : {&by_use_, &by_write_})
    for (int i = 0; i < swept_a_write && !order->empty(); ++i) {
      const auto it = entries_.find(*order->front());
      if (!expired(it->second, now)) break;
      drop(it, change::expired);
    }
}

void cache_contents::set(const std::string& key, value v, time now, table::iterator it) {
  const bool known = it != entries_.end();
  if (known) {
    dead_.push_back(std::exchange(it->second.what, std::move(v)));
    it->second.written = it->second.used = now;
    by_use_.splice(by_use_.end(), by_use_, it->second.by_use);
    by_write_.splice(by_write_.end(), by_write_, it->second.by_write);
  } else {
    it = entries_.emplace(key, entry{std::move(v), now, now, {}, {}}).first;
    it->second.by_use = by_use_.insert(by_use_.end(), &it->first);
    it->second.by_write = by_write_.insert(by_write_.end(), &it->first);
  }
  tell(known ? change::updated : change::added, key);
  sweep(now);
  while (opt_.max_entries && entries_.size() > *opt_.max_entries) {
    ++counts_.evictions;
    drop(entries_.find(*by_use_.front()), change::evicted);
  }
}

result<cache_contents::value> cache_contents::get(const std::string& key, time now, const std::function<value()>& load,
                                                  const std::function<time()>& clock) {
  std::shared_ptr<loading> mine;
  std::shared_future<value> theirs;
  {
    const guard lock(*this);
    if (const auto it = find(key, now); it != entries_.end()) {
      ++counts_.hits;
      it->second.used = now;
      by_use_.splice(by_use_.end(), by_use_, it->second.by_use);
      return it->second.what;
    }
    ++counts_.misses;
    if (const auto l = loads_.find(key); l != loads_.end()) {
      if (l->second->by == std::this_thread::get_id())
        return fail(errc::in_callback, "the loader of a key asks for that key again: it would wait for itself");
      theirs = l->second->future;
    } else {
      mine = std::make_shared<loading>();
      mine->by = std::this_thread::get_id();
      mine->future = mine->promise.get_future().share();
      loads_.emplace(key, mine);
      ++counts_.loads;
    }
  }
  if (!mine) return theirs.get();
  const auto current = [&] {
    const auto l = loads_.find(key);
    return l != loads_.end() && l->second == mine;
  };
  try {
    auto v = load();
    {
      const guard lock(*this);
      if (current()) {
        loads_.erase(key);
        const auto then = clock();
        set(key, v, then, find(key, then));
      } else {
        ++counts_.stale_loads_dropped;
      }
    }
    mine->promise.set_value(v);
    return v;
  } catch (...) {
    {
      const guard lock(*this);
      ++counts_.load_failures;
      if (current()) loads_.erase(key);
    }
    mine->promise.set_exception(std::current_exception());
    throw;
  }
}

cache_contents::value cache_contents::peek(const std::string& key, time now) const {
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(key);
  return it == entries_.end() || expired(it->second, now) ? nullptr : it->second.what;
}

std::vector<std::string> cache_contents::keys(time now) const {
  const std::scoped_lock lock(mutex_);
  std::vector<std::string> r;
  for (const auto& [key, e] : entries_)
    if (!expired(e, now)) r.push_back(key);
  return r;
}

void cache_contents::put(const std::string& key, value v, time now) {
  const guard lock(*this);
  loads_.erase(key);
  set(key, std::move(v), now, find(key, now));
}

bool cache_contents::put_if_absent(const std::string& key, value v, time now) {
  const guard lock(*this);
  const auto it = find(key, now);
  if (it != entries_.end()) return false;
  loads_.erase(key);
  set(key, std::move(v), now, it);
  return true;
}

bool cache_contents::replace_if(const std::string& key, const value& expected, value v, time now) {
  const guard lock(*this);
  const auto it = find(key, now);
  if (it == entries_.end() || it->second.what != expected) return false;
  loads_.erase(key);
  set(key, std::move(v), now, it);
  return true;
}

bool cache_contents::remove_if(const std::string& key, const value& expected, time now) {
  const guard lock(*this);
  const auto it = find(key, now);
  if (it == entries_.end() || it->second.what != expected) return false;
  loads_.erase(key);
  drop(it, change::removed);
  return true;
}

bool cache_contents::remove(const std::string& key, bool remote, time now) {
  const guard lock(*this);
  loads_.erase(key);
  const auto it = find(key, now);
  if (it == entries_.end()) return false;
  drop(it, change::removed, remote);
  return true;
}

void cache_contents::clear(bool remote) {
  const guard lock(*this);
  loads_.clear();
  by_use_.clear();
  by_write_.clear();
  for (auto& [key, e] : entries_) dead_.push_back(std::move(e.what));
  entries_.clear();
  tell(change::cleared, std::nullopt, remote);
}

cache_contents::counts cache_contents::stats() const {
  const std::scoped_lock lock(mutex_);
  return counts_;
}

}  // namespace coterie::local
