// Caches behind the public API: this process's contents, tied to the invalidations of the cluster (docs/caches.md).
// Types are the headers' business.
#include <atomic>

#include <fmt/format.h>

#include "local/cache_contents.hpp"
#include "machine/check.hpp"
#include "runtime/node_core.hpp"

namespace coterie::detail {

namespace {
auto now() { return std::chrono::steady_clock::now(); }

local::cache_contents::options contents_options(const cache_settings& s) {
  return {.max_entries = s.max_entries,
          .expire_after_access = s.expire_after_access,
          .expire_after_write = s.expire_after_write};
}
}  // namespace

struct cache_core::impl {
  impl(std::shared_ptr<node_core> n, std::string the_name, std::type_index the_types, const cache_settings& s,
       std::shared_ptr<const void> load)
      : node(std::move(n)),
        name(std::move(the_name)),
        types(the_types),
        settings(s),
        loader(std::move(load)),
        contents(contents_options(s), [this](local::cache_contents::happening h) {
          if (!events.empty()) events.emit({static_cast<int>(h.what), std::move(h.key), h.remote});
        }) {}

  /// What another node, the command, or a repaired gap says. On the loop thread.
  void on_invalidation(const wire::invalidation_out& i) {
    ++invalidations_in;
    if (i.key)
      contents.remove(*i.key, i.remote, now());
    else
      contents.clear(i.remote);
  }

  result<void> usable(const std::string& key) const {
    if (node->over()) return fail(errc::closed, "the node has stopped: its caches are not kept up to date any more");
    if (!settings.local && key.size() > node->max_body)
      return fail(errc::limit, fmt::format("the key has {} bytes, at most {} are allowed", key.size(), node->max_body));
    if (!settings.local && settings.synchronous) return node->may_wait();
    return {};
  }

  /// The others forget it too; this cache has done so already.
  result<void> tell(std::optional<std::string> key, bool wait, std::optional<ms> patience = {}) {
    if (settings.local) return {};
    ++invalidations_out;
    wire::invalidate_cache request{name, std::move(key), wait, call.load().value};
    if (!wait) {
      node->submit(std::move(request));
      return {};
    }
    const auto r = node->ask<wire::done>(std::move(request), patience);
    return r ? result<void>() : tl::unexpected(r.error());
  }

  /// Does something here and tells the others if it changed anything.
  template <class F>
  bool change(const std::string& key, F f) {
    runtime::or_throw(usable(key));
    if (!f()) return false;
    runtime::or_throw(tell(key, settings.synchronous));
    return true;
  }

  const std::shared_ptr<node_core> node;
  const std::string name;
  const std::type_index types;
  const cache_settings settings;
  const std::shared_ptr<const void> loader;
  runtime::event_hub<happening> events;
  local::cache_contents contents;
  std::atomic<engine::call_id> call{};
  std::atomic<std::uint64_t> invalidations_in = 0, invalidations_out = 0;
};

cache_core::cache_core(std::shared_ptr<impl> i) noexcept : impl_(std::move(i)) {}

cache_core::value cache_core::get(const std::string& key, const std::function<value()>& load) {
  if (impl_->node->over()) runtime::or_throw(impl_->usable(key));
  return runtime::or_throw(impl_->contents.get(key, now(), load, now));
}

cache_core::value cache_core::peek(const std::string& key) const { return impl_->contents.peek(key, now()); }

void cache_core::put(const std::string& key, value v) {
  impl_->change(key, [&] {
    impl_->contents.put(key, std::move(v), now());
    return true;
  });
}
bool cache_core::put_if_absent(const std::string& key, value v) {
  return impl_->change(key, [&] { return impl_->contents.put_if_absent(key, std::move(v), now()); });
}
bool cache_core::replace_if(const std::string& key, const value& expected, value v) {
  return impl_->change(key, [&] { return impl_->contents.replace_if(key, expected, std::move(v), now()); });
}
bool cache_core::remove_if(const std::string& key, const value& expected) {
  return impl_->change(key, [&] { return impl_->contents.remove_if(key, expected, now()); });
}
bool cache_core::remove(const std::string& key) {
  bool was_here = false;
  impl_->change(key, [&] {
    was_here = impl_->contents.remove(key, false, now());
    return true;
  });
  return was_here;
}

void cache_core::remove_all() {
  runtime::or_throw(impl_->usable({}));
  impl_->contents.clear(false);
  runtime::or_throw(impl_->tell(std::nullopt, impl_->settings.synchronous));
}

namespace {
result<void> remove_everywhere(cache_core::impl& i, const std::string& key, ms timeout) {
  if (auto ok = i.usable(key); !ok) return ok;
  if (auto ok = i.node->may_wait(); !ok) return ok;
  i.contents.remove(key, false, now());
  return i.tell(key, true, timeout);
}
}  // namespace

void cache_core::invalidate_and_wait(const std::string& key, ms timeout) {
  runtime::or_throw(remove_everywhere(*impl_, key, timeout));
}
void cache_core::invalidate_and_wait(const std::string& key, ms timeout, std::error_code& ec) {
  runtime::or_code(remove_everywhere(*impl_, key, timeout), ec);
}

std::vector<std::string> cache_core::keys() const { return impl_->contents.keys(now()); }
const std::string& cache_core::name() const noexcept { return impl_->name; }
const void* cache_core::loader() const noexcept { return impl_->loader.get(); }

cache_stats cache_core::stats() const {
  const auto c = impl_->contents.stats();
  return {c.hits,
          c.misses,
          c.loads,
          c.load_failures,
          c.evictions,
          impl_->invalidations_in,
          impl_->invalidations_out,
          c.stale_loads_dropped};
}

subscription cache_core::on_event(std::function<void(const happening&)> f, executor e) {
  auto calls = impl_->node->make_strand(std::move(e));
  const auto id = impl_->events.add(calls, std::move(f));
  return subscription(std::make_shared<runtime::strand_subscription>(calls, [i = impl_, id] { i->events.remove(id); }));
}

}  // namespace coterie::detail

namespace coterie {

using cache_ptr = std::shared_ptr<detail::cache_core::impl>;

struct cache_manager::impl {
  explicit impl(std::shared_ptr<detail::node_core> n) : node(std::move(n)) {}

  result<cache_ptr> open(std::string_view name, std::type_index types, const cache_settings& s,
                         std::shared_ptr<const void> loader) {
    if (auto ok = machine::check_name("cache", name); !ok) return tl::unexpected(ok.error());
    const std::scoped_lock lock(mutex);
    if (const auto it = caches.find(name); it != caches.end()) {
      if (it->second->types != types)
        return fail(errc::exists, fmt::format("cache {} has other types in this process", name));
      if (it->second->settings != s)
        return fail(errc::exists, fmt::format("cache {} has other settings in this process", name));
      return it->second;
    }
    auto c = std::make_shared<detail::cache_core::impl>(node, std::string(name), types, s, std::move(loader));
    if (!s.local) {
      // Before the first load, so that no invalidation can be missed.
      auto stream = node->open(wire::register_cache{c->name}, [c](const wire::response& r, bool) {
        if (const auto* i = std::get_if<wire::invalidation_out>(&r)) c->on_invalidation(*i);
      });
      if (!stream) return tl::unexpected(stream.error());
      c->call = stream->id;
    }
    caches.emplace(c->name, c);
    return c;
  }

  std::vector<cache_ptr> all() const {
    const std::scoped_lock lock(mutex);
    std::vector<cache_ptr> r;
    for (const auto& [name, c] : caches) r.push_back(c);
    return r;
  }

  const std::shared_ptr<detail::node_core> node;
  mutable std::mutex mutex;
  std::map<std::string, cache_ptr, std::less<>> caches;
};

cache_manager::cache_manager(std::shared_ptr<impl> i) noexcept : impl_(std::move(i)) {}

detail::cache_core cache_manager::open(std::string_view name, std::type_index types, const cache_settings& s,
                                       std::shared_ptr<const void> loader) {
  return detail::cache_core(runtime::or_throw(impl_->open(name, types, s, std::move(loader))));
}

void cache_manager::flush_all() {
  for (const auto& c : impl_->all()) c->contents.clear(false);
}

std::vector<std::string> cache_manager::names() const {
  std::vector<std::string> r;
  for (const auto& c : impl_->all()) r.push_back(c->name);
  return r;
}

namespace detail {
std::shared_ptr<cache_manager::impl> make_cache_core(std::shared_ptr<node_core> n) {
  return std::make_shared<cache_manager::impl>(std::move(n));
}
}  // namespace detail

}  // namespace coterie
