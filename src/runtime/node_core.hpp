// What all services of one node stand on: the driver, the callback executor, the lease watch, the threads of jobs, and
// the end of them all. Turns questions to the engine into results. Knows of the services only how each is made.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "coterie/node.hpp"
#include "runtime/callbacks.hpp"
#include "runtime/driver.hpp"
#include "runtime/edge.hpp"
#include "runtime/lease_watch.hpp"
#include "runtime/run_pool.hpp"

namespace coterie::detail {

/// Thread-safe. Always owned by a shared_ptr; services and handles share it, the node ends it.
class node_core : public std::enable_shared_from_this<node_core> {
 public:
  using on_answer = runtime::driver::on_answer;
  struct options {
    executor callbacks{};
    std::function<void(const std::string&)> log{};
  };
  static result<std::shared_ptr<node_core>> start(runtime::driver_options, options);
  ~node_core();

  // ---- asking the engine
  /// Answers come on the loop thread, or at once with errc::closed when the node is over. Never waits.
  engine::call_id submit(wire::request, on_answer);
  void submit(wire::request r) {
    submit(std::move(r), [](const wire::response&, bool) {});
  }
  void cancel(engine::call_id);
  /// in_callback or closed when this thread can't wait for the node.
  result<void> may_wait() const;
  bool called_by_own_callback() const noexcept;
  /// Waits for the one answer; a failure and an answer of another kind are errors. `patience`: then it is cancelled,
  /// and the error is timeout.
  template <class Answer>
  result<Answer> ask(wire::request r, std::optional<ms> patience = {}) {
    auto a = ask_any(std::move(r), patience);
    if (!a) return tl::unexpected(std::move(a.error()));
    if constexpr (std::is_same_v<Answer, wire::response>) {
      return a;  // whatever says that it is done
    } else {
      if (auto* wanted = std::get_if<Answer>(&*a)) return std::move(*wanted);
    }
    return fail(errc::unavailable, "an answer of another kind: the parts of this process do not fit together");
  }
  struct stream {
    engine::call_id id;
    wire::response first;
  };
  /// Waits for the first answer, which may be a failure; all later ones go to `rest`, on the loop thread.
  result<stream> open(wire::request, on_answer rest);

  // ---- the lease
  bool valid(session_epoch e) const noexcept { return left(e) > duration::zero(); }
  duration left(session_epoch e) const noexcept { return page_->left(e); }  ///< a few loads and two clock readings
  runtime::lease_watch& watch() noexcept { return *watch_; }

  // ---- calling the host
  /// A strand on the given executor, or on the node's; closed when the node ends.
  std::shared_ptr<runtime::strand> make_strand(executor);
  /// One call on the node's executor.
  void call(std::function<void()>);
  runtime::run_pool& runs() noexcept { return runs_; }
  void report(const std::string&) const;

  // ---- state
  node_state state() const noexcept { return state_; }
  std::string end_reason() const;
  bool over() const noexcept { return over_; }
  subscription on_state(std::function<void(node_state)>, executor);
  bool wait_ready(ms timeout);
  /// Once, on the loop thread, after the next change of state. From the loop thread only.
  void at_next_state(std::function<void()> f);
  std::string owner_of(std::string_view key) const;

  /// `f` is called when the node ends, with nothing of it running any more.
  void on_close(std::function<void()> f);
  result<void> stop(ms timeout);
  result<void> leave(ms timeout);
  /// Where a thread is said to process this journal of this node.
  const void* mark_of(std::string_view journal);

  std::string name, bound, cluster;
  std::filesystem::path home;
  std::size_t max_channel = 64, max_body = 65'536;
  duration session_ttl{};

 private:
  explicit node_core(options);
  void follow();
  void set_state(node_state);
  void refresh_members();
  void finish(ms patience);
  bool wait_halted(std::chrono::steady_clock::time_point until);
  result<wire::response> ask_any(wire::request, std::optional<ms> patience);
  std::shared_ptr<runtime::driver> driver() const;

  const options opt_;
  mutable std::mutex log_mutex_;

  mutable std::shared_mutex driver_mutex_;
  std::shared_ptr<runtime::driver> driver_;  // null before the start and after the end
  std::atomic<bool> over_ = false;           // no service works any more

  std::shared_ptr<runtime::callback_thread> callback_thread_;
  executor executor_;
  std::shared_ptr<const runtime::lease_page> page_;  // the driver's; set once, before any service is made
  std::unique_ptr<runtime::lease_watch> watch_;
  runtime::run_pool runs_;

  std::mutex end_mutex_;  // held while the node ends
  bool ended_ = false;
  std::mutex lists_mutex_;
  std::vector<std::weak_ptr<runtime::strand>> strands_;
  std::vector<std::function<void()>> closers_;
  std::set<std::string, std::less<>> marks_;

  std::atomic<node_state> state_ = node_state::starting;
  mutable std::mutex state_mutex_;
  std::condition_variable state_changed_;
  bool halted_ = false;
  std::string end_reason_;
  runtime::event_hub<node_state> state_hub_;
  std::vector<std::function<void()>> at_next_state_;

  mutable std::mutex members_mutex_;
  std::vector<std::pair<node_id, std::string>> alive_;
  bool refreshing_ = false, stale_ = false;
};

class lock_core;
class job_core;
std::shared_ptr<lock_core> make_lock_core(std::shared_ptr<node_core>);
std::shared_ptr<job_core> make_job_core(std::shared_ptr<node_core>);
std::shared_ptr<cache_manager::impl> make_cache_core(std::shared_ptr<node_core>);
// Messages and journals keep nothing of their own: message_core.cpp and journal_core.cpp work on the node_core itself.

}  // namespace coterie::detail
