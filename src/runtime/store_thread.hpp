// The thread that owns the store: does the engine's disk work in the order given, joins writes that wait together into
// one synced step (group commit), and watches the disk; ranges are read beside it. Knows actions and the store; of the
// keys it knows the log's, for the synced mark alone.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <variant>
#include <vector>

#include "engine/recovery.hpp"
#include "engine/seam.hpp"
#include "runtime/read_thread.hpp"
#include "store/store.hpp"

namespace coterie::runtime {

class store_thread {
 public:
  using task = std::variant<engine::write, engine::read, engine::open_view, engine::close_view, engine::install_begin,
                            engine::install_chunk, engine::install_commit>;
  /// Gets what came of the work, on the store thread, in order; of reads on the reading thread. Must not block.
  using sink = std::function<void(std::vector<engine::event>)>;
  struct options {
    engine::log_ends log_ends{};                    ///< of the logs as recovered
    std::chrono::milliseconds watch_period{1'000};  ///< of free space, failures and the synced mark
    std::size_t max_joined_bytes = 16u << 20;       ///< of values in one step
    std::size_t max_quiet_bytes = 1u << 20;         ///< of quiet writes that wait for something urgent
  };

  store_thread(std::unique_ptr<store>, sink, options);
  /// Finishes what is being done, drops the rest, closes the store.
  ~store_thread();

  /// Never blocks on the disk. The engine bounds what is under way. All of one call is seen at once by the thread.
  void submit(std::vector<task>);

 private:
  void run();
  void work(std::vector<task>&);
  std::size_t write_some(std::vector<task>&, std::size_t first);
  void do_one(const engine::write&) {}  // joined by write_some
  void do_one(const engine::read&);
  void do_one(const engine::open_view&);
  void do_one(const engine::close_view&);
  void do_one(const engine::install_begin&);
  void do_one(const engine::install_chunk&);
  void do_one(const engine::install_commit&);
  void on_page(engine::read_id, result<store::page>);
  void follow_log(const disk::batch&, std::uint64_t& lowest);
  bool lower_mark(std::uint64_t lowest);
  void watch();
  bool check(const result<void>&);
  void fail_disk(const std::string& reason);

  const std::unique_ptr<store> store_;
  const sink sink_;
  const options opt_;

  std::atomic<bool> failed_{false};

  // Of the thread alone.
  std::uint64_t steps_ = 0;  // since the last look around
  bool low_ = false;
  engine::log_ends log_ends_;                // as written
  std::uint64_t length_, durable_, marked_;  // of all logs: as written, as synced, as noted in the synced mark

  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<task> queue_;      // under mutex_
  std::size_t quiet_bytes_ = 0;  // of queue_, under mutex_
  bool urgent_ = false;          // something in queue_ may not wait; under mutex_
  bool stop_ = false;            // under mutex_
  read_thread reads_;
  std::thread thread_;  // last: starts when the rest is there
};

}  // namespace coterie::runtime
