// The grants of locks that this process was given (docs/consensus.md 2), each for one owner after the other: the next
// one takes it without a message as long as nobody else waits for it. Knows nothing of threads that own, of leases or
// of the cluster: whoever owns the table does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "local/lock_holds.hpp"

namespace coterie::local {

/// Thread-safe; no call waits for more than a few instructions of another one.
class kept_locks {
 public:
  /// Names a grant; never reused.
  using number = std::uint64_t;
  using is_valid = std::function<bool(std::uint64_t epoch)>;
  /// Both are asked with the table locked, and must be quick.
  kept_locks(is_valid v, std::function<wall_time()> wall) : valid_(std::move(v)), wall_(std::move(wall)) {}

  /// A grant to this process, and its first owner. `keep`: may be given to further owners when that one is done.
  void add(number, std::shared_ptr<lock_grant>, std::string label, bool keep);
  /// Its watch (lock_grant::watch) is set for all its owners.
  void watched(const std::string& name, number, std::uint64_t watch);
  /// The lock for another owner, with the next fence; null when no grant is kept, or it is used, wanted or not valid.
  std::shared_ptr<lock_grant> take(std::string_view name, const std::string& label);
  /// Whether an owner in this process has it now, by a valid grant.
  bool used(std::string_view name) const;
  /// The owner is done. False: the grant is not kept: it has to be given back.
  bool put_back(const lock_grant&);
  /// Somebody else waits for it. The last fence when nobody uses it: it is not kept any more and has to be given back.
  std::optional<std::uint64_t> want(const std::string& name, number);
  struct use {
    std::uint64_t fence = 0;
    bool used = false;
    wall_time since;
    std::string label;
  };
  std::optional<use> look(const std::string& name, number) const;
  /// The grant is over. Its owner, if it has one.
  std::shared_ptr<lock_grant> drop(const std::string& name, number);

 private:
  struct entry {
    number id = 0;
    std::shared_ptr<lock_grant> owner;  // null = idle
    std::uint64_t fence = 0, epoch = 0, watch = 0;
    bool keep = false;
    wall_time since;
    std::string label;
  };
  struct hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>()(s); }
  };
  using map = std::unordered_map<std::string, entry, hash, std::equal_to<>>;
  map::iterator find(const std::string& name, number);

  const is_valid valid_;
  const std::function<wall_time()> wall_;
  mutable std::mutex mutex_;
  map entries_;
};

}  // namespace coterie::local
