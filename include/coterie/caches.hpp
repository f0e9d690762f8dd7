// Caches: values computed and kept by each node for itself, and forgotten on all nodes when one of them says so.
// docs/caches.md.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <typeindex>
#include <typeinfo>
#include <utility>
#include <vector>

#include "coterie/common.hpp"
#include "coterie/serializer.hpp"

namespace coterie {

/// How long a cache keeps what. Give it an expiry or a limit: a cache with neither grows with its keys.
struct cache_settings {
  std::optional<std::size_t> max_entries{};  ///< above it the entry that was not used for the longest time goes
  std::optional<ms> expire_after_access{};   ///< since the last get or put
  std::optional<ms> expire_after_write{};    ///< since it was loaded or put
  bool local = false;                        ///< of this node alone: nothing is sent or received
  bool synchronous = false;  ///< put, remove, ... wait until every live node has applied them, or fail with timeout
  friend bool operator==(const cache_settings&, const cache_settings&) = default;
};

/// What happened in a cache of this node since it was created.
struct cache_stats {
  std::uint64_t hits = 0, misses = 0;
  std::uint64_t loads = 0, load_failures = 0;
  std::uint64_t evictions = 0;  ///< by max_entries
  std::uint64_t invalidations_in = 0, invalidations_out = 0;
  std::uint64_t stale_loads_dropped = 0;  ///< loaded values not kept, because of an invalidation in between
};

/// A change of this node's contents.
template <class K>
struct cache_event {
  /// What can happen.
  enum class kind { added, updated, removed, evicted, expired, cleared };
  kind what = kind::added;
  std::optional<K> key;  ///< nothing for cleared
  bool remote = false;   ///< another node asked for it
};

namespace detail {

/// A cache without its types: keys are encoded, values are opaque. What is behind cache<K, V>.
class [[gnu::visibility("default")]] cache_core {
 public:
  using value = std::shared_ptr<const void>;
  struct happening {
    int what = 0;  ///< cache_event::kind
    std::optional<std::string> key;
    bool remote = false;
  };
  struct impl;
  explicit cache_core(std::shared_ptr<impl>) noexcept;

  value get(const std::string& key, const std::function<value()>& load);
  value peek(const std::string& key) const;
  void put(const std::string& key, value);
  bool put_if_absent(const std::string& key, value);
  /// Only while the value is this very object.
  bool replace_if(const std::string& key, const value& expected, value);
  bool remove_if(const std::string& key, const value& expected);
  bool remove(const std::string& key);
  void remove_all();
  void invalidate_and_wait(const std::string& key, ms timeout);
  void invalidate_and_wait(const std::string& key, ms timeout, std::error_code&);
  std::vector<std::string> keys() const;
  cache_stats stats() const;
  const std::string& name() const noexcept;
  subscription on_event(std::function<void(const happening&)>, executor);
  /// The loader of whoever created the cache first, of the type that the handle knows.
  const void* loader() const noexcept;

 private:
  std::shared_ptr<impl> impl_;
};

template <class K>
std::string encode_key(const K& key) {
  if constexpr (std::same_as<K, std::string>) {
    return key;
  } else {
    bytes out;
    default_serializer<K>{}.encode(key, out);
    return std::string(text_of(out));
  }
}
template <class K>
K decode_key(const std::string& key) {
  return default_serializer<K>{}.decode(std::as_bytes(std::span(key.data(), key.size())));
}

}  // namespace detail

/// A cache that loads what it lacks. A handle: copies, and others got by the same name, are the same cache.
/// Thread-safe. Values are immutable and shared. Everything here works on this node's contents; removing and putting
/// also make the other nodes forget the key. Only with cache_settings::synchronous do put and remove wait.
///
/// A get that begins after a remove has returned (here), or was applied (on another node), never gives a value whose
/// load began before it. Fails with closed once the node has stopped.
template <class K, class V>
class cache {
 public:
  /// Made by cache_manager::get; not for hosts.
  explicit cache(detail::cache_core core) : core_(std::move(core)) {}

  /// The value; loads it when it is absent, once for all callers at a time. What the loader throws is thrown to all of
  /// them and nothing is kept. A loader that gets its own key again fails with in_callback.
  std::shared_ptr<const V> get(const K& key) {
    return cast(core_.get(detail::encode_key(key), [&]() -> detail::cache_core::value {
      return std::make_shared<const V>((*static_cast<const std::function<V(const K&)>*>(core_.loader()))(key));
    }));
  }
  /// The value if it is there. Does not load, and does not count as access.
  std::shared_ptr<const V> peek(const K& key) const { return cast(core_.peek(detail::encode_key(key))); }
  bool contains(const K& key) const { return peek(key) != nullptr; }

  /// Sets it here; the others forget theirs.
  void put(const K& key, V v) { core_.put(detail::encode_key(key), std::make_shared<const V>(std::move(v))); }
  /// Only if it is absent here; true when it was set.
  bool put_if_absent(const K& key, V v) {
    return core_.put_if_absent(detail::encode_key(key), std::make_shared<const V>(std::move(v)));
  }
  /// Only if this value is here; true when it was replaced.
  bool replace(const K& key, const V& expected, V v) requires std::equality_comparable<V> {
    const auto encoded = detail::encode_key(key);
    const auto fresh = std::make_shared<const V>(std::move(v));
    for (;;) {
      const auto now = core_.peek(encoded);
      if (!now || !(*cast(now) == expected)) return false;
      if (core_.replace_if(encoded, now, fresh)) return true;
    }
  }

  /// Forgets the key here before it returns, and on all other nodes soon after (one message; a lost one is found and
  /// repaired within about 2 s of contact). True when it was here. Remove after the change is committed, never before.
  bool remove(const K& key) { return core_.remove(detail::encode_key(key)); }
  /// Only if this value is here.
  bool remove(const K& key, const V& expected) requires std::equality_comparable<V> {
    const auto encoded = detail::encode_key(key);
    for (;;) {
      const auto now = core_.peek(encoded);
      if (!now || !(*cast(now) == expected)) return false;
      if (core_.remove_if(encoded, now)) return true;
    }
  }
  /// Forgets everything, everywhere.
  void remove_all() { core_.remove_all(); }
  /// remove, and returns once every live node has applied it. Fails with timeout (it goes on by itself), in_callback.
  void invalidate_and_wait(const K& key, ms timeout = ms(5'000)) {
    core_.invalidate_and_wait(detail::encode_key(key), timeout);
  }
  void invalidate_and_wait(const K& key, ms timeout, std::error_code& ec) {
    core_.invalidate_and_wait(detail::encode_key(key), timeout, ec);
  }

  /// What is here now, in no order.
  std::vector<K> keys() const {
    std::vector<K> r;
    for (const auto& k : core_.keys()) r.push_back(detail::decode_key<K>(k));
    return r;
  }
  /// Counts since the cache was created.
  cache_stats stats() const { return core_.stats(); }
  const std::string& name() const noexcept { return core_.name(); }

  /// Every change of this node's contents. An entry that expires is told when it is noticed.
  [[nodiscard]] subscription on_event(std::function<void(const cache_event<K>&)> f, executor on = {}) {
    return core_.on_event(
        [f = std::move(f)](const detail::cache_core::happening& h) {
          cache_event<K> e{static_cast<typename cache_event<K>::kind>(h.what), std::nullopt, h.remote};
          if (h.key) e.key = detail::decode_key<K>(*h.key);
          f(e);
        },
        std::move(on));
  }

 private:
  static std::shared_ptr<const V> cast(const detail::cache_core::value& v) {
    return std::static_pointer_cast<const V>(v);
  }
  detail::cache_core core_;
};

/// One value, loaded when it is needed, forgotten on all nodes by reset(). Otherwise as a cache with one key.
template <class V>
class cached_reference {
 public:
  /// Made by cache_manager; not for hosts.
  explicit cached_reference(detail::cache_core core) : core_(std::move(core)) {}
  /// As cache.
  std::shared_ptr<const V> get() {
    return cast(core_.get({}, [&]() -> detail::cache_core::value {
      return std::make_shared<const V>((*static_cast<const std::function<V()>*>(core_.loader()))());
    }));
  }
  /// The value if it is there; does not load it.
  std::shared_ptr<const V> peek() const { return cast(core_.peek({})); }
  /// Forgets the value here before it returns, and on all other nodes soon after, as cache::remove.
  void reset() { core_.remove_all(); }

 private:
  static std::shared_ptr<const V> cast(const detail::cache_core::value& v) {
    return std::static_pointer_cast<const V>(v);
  }
  detail::cache_core core_;
};

/// The caches of a node. Thread-safe.
class [[gnu::visibility("default")]] cache_manager {
 public:
  struct impl;
  /// Made by the node; not for hosts.
  explicit cache_manager(std::shared_ptr<impl>) noexcept;

  /// The cache of that name, created on the first call; later calls give the same one and keep its first loader. The
  /// loader runs on the thread that gets, several at a time for different keys, and may wait. Unless it is local the
  /// name is the same cache on every node. Fails with exists when it is there with other types or settings, bad_name,
  /// limit (1 024 caches), closed, in_callback.
  template <class K, class V>
  requires serializer_for<default_serializer<K>, K> cache<K, V> get(
      std::string_view name, std::function<V(const K&)> loader, cache_settings settings = {}) {
    return cache<K, V>(open(name, typeid(cache<K, V>), settings,
                            std::make_shared<const std::function<V(const K&)>>(std::move(loader))));
  }
  /// The same for a single value.
  template <class V>
  cached_reference<V> reference(std::string_view name, std::function<V()> supplier, cache_settings settings = {}) {
    return cached_reference<V>(open(name, typeid(cached_reference<V>), settings,
                                    std::make_shared<const std::function<V()>>(std::move(supplier))));
  }

  /// Forgets all contents of all caches here, on this node alone.
  void flush_all();
  /// Names of the caches of this node.
  std::vector<std::string> names() const;

 private:
  detail::cache_core open(std::string_view name, std::type_index types, const cache_settings&,
                          std::shared_ptr<const void> loader);
  std::shared_ptr<impl> impl_;
};

}  // namespace coterie
