#include "local/kept_locks.hpp"

namespace coterie::local {

namespace {
constexpr std::uint64_t owners_a_grant = 1ull << fence_sequence_bits;
}

kept_locks::map::iterator kept_locks::find(const std::string& name, number id) {
  const auto it = entries_.find(name);
  return it != entries_.end() && it->second.id == id ? it : entries_.end();
}

void kept_locks::add(number id, std::shared_ptr<lock_grant> g, std::string label, bool keep) {
  const std::scoped_lock lock(mutex_);
  auto name = g->name;
  const auto fence = g->fence, epoch = g->epoch;
  entries_.insert_or_assign(std::move(name), entry{id, std::move(g), fence, epoch, 0, keep, wall_(), std::move(label)});
}

void kept_locks::watched(const std::string& name, number id, std::uint64_t watch) {
  const std::scoped_lock lock(mutex_);
  const auto it = find(name, id);
  if (it == entries_.end()) return;
  it->second.watch = watch;
  if (it->second.owner) it->second.owner->watch = watch;
}

std::shared_ptr<lock_grant> kept_locks::take(std::string_view name, const std::string& label) {
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end()) return nullptr;
  auto& e = it->second;
  if (e.owner || !e.keep || (e.fence + 1) % owners_a_grant == 0 || !valid_(e.epoch)) return nullptr;
  auto g = std::make_shared<lock_grant>();
  g->name = name;
  g->fence = ++e.fence;
  g->epoch = e.epoch;
  g->watch = e.watch;
  e.owner = g;
  e.since = wall_();
  e.label = label;
  return g;
}

bool kept_locks::used(std::string_view name) const {
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(name);
  return it != entries_.end() && it->second.owner && valid_(it->second.epoch);
}

bool kept_locks::put_back(const lock_grant& g) {
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(g.name);
  if (it == entries_.end() || it->second.owner.get() != &g) return false;
  if (!it->second.keep) {
    entries_.erase(it);
    return false;
  }
  it->second.owner = nullptr;
  it->second.since = wall_();
  return true;
}

std::optional<std::uint64_t> kept_locks::want(const std::string& name, number id) {
  const std::scoped_lock lock(mutex_);
  const auto it = find(name, id);
  if (it == entries_.end()) return std::nullopt;
  it->second.keep = false;
  if (it->second.owner) return std::nullopt;
  const auto fence = it->second.fence;
  entries_.erase(it);
  return fence;
}

std::optional<kept_locks::use> kept_locks::look(const std::string& name, number id) const {
  const std::scoped_lock lock(mutex_);
  const auto it = entries_.find(name);
  if (it == entries_.end() || it->second.id != id) return std::nullopt;
  const auto& e = it->second;
  return use{e.fence, e.owner != nullptr, e.since, e.owner ? e.label : std::string()};
}

std::shared_ptr<lock_grant> kept_locks::drop(const std::string& name, number id) {
  const std::scoped_lock lock(mutex_);
  const auto it = find(name, id);
  if (it == entries_.end()) return nullptr;
  auto owner = std::move(it->second.owner);
  entries_.erase(it);
  return owner;
}

}  // namespace coterie::local
