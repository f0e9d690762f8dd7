// The locks of a node behind the public API: this process's holds and grants, and what the engine is told of them.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "local/kept_locks.hpp"
#include "local/lock_holds.hpp"
#include "runtime/node_core.hpp"

namespace coterie::detail {

class lock_core : public std::enable_shared_from_this<lock_core> {
 public:
  explicit lock_core(std::shared_ptr<node_core>);
  void begin();

  /// For the calling thread. `wait`: nullopt = without bound, 0 = try. False: held by another (with `wait`), or
  /// stopped.
  result<bool> acquire(const std::string& name, const lock_options&, std::optional<ms> wait,
                       const std::stop_token* = nullptr);
  result<void> release_here(const std::string& name);
  void async_acquire(std::string name, lock_options, lock_service::on_acquired, std::optional<ms> wait);
  result<std::vector<lock_info>> list(const std::string& name) const;
  result<stale<std::vector<lock_info>>> stale_list(std::optional<ms> max_age) const;

  local::lock_grant* find(std::string_view name) const noexcept;
  bool valid(const local::lock_grant&) const noexcept;
  ms left(const local::lock_grant&) const noexcept;
  std::stop_token lost(local::lock_grant&) const;
  void release(local::lock_grant&) noexcept;
  subscription on_event(std::function<void(const lock_event&)>, executor);

 private:
  struct waiting;
  engine::call_id ask(std::string name, std::string label, std::optional<ms> wait, const std::shared_ptr<waiting>&);
  void on_answer(waiting&, const wire::response&);
  std::shared_ptr<local::lock_grant> accept(waiting&, const wire::lock_granted&);
  bool give_back_idle(waiting&);
  void on_end(waiting&);
  void on_over(const std::string& name, local::kept_locks::number);

  std::shared_ptr<node_core> node_;
  std::shared_ptr<local::lock_holds> holds_;
  local::kept_locks grants_;
  std::atomic<local::kept_locks::number> last_grant_ = 0;
  runtime::event_hub<lock_event> events_;
};

/// What a lock_lease holds.
struct lease_core {
  std::shared_ptr<lock_core> locks;
  std::shared_ptr<local::lock_grant> grant;
};

}  // namespace coterie::detail
