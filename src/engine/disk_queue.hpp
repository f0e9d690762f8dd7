// Which write is which: the disk answers in order, so what waits for a write is a queue.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <variant>
#include <vector>

#include "engine/context.hpp"
#include "engine/pace.hpp"
#include "raft/types.hpp"

namespace coterie::engine {

// Who waits for a write.
struct nobody {};
struct raft_persist {
  group_id group;
  std::uint64_t sequence = 0;
  std::vector<raft::message> then_send;
};
struct genesis_persist {
  std::uint64_t sequence = 0;
};
struct cursor_saved {
  call_id call;
  std::string journal;
  std::uint64_t token = 0;
};  ///< token: of the `process` it ends, 0 = none
struct chunk_saved {
  group_id group;
  node_id from;
  std::uint64_t transfer = 0, number = 0;
};
struct snapshot_installed {
  group_id group;
};
struct end_saved {
  end_of_identity why = end_of_identity::left;
};  ///< this identity is over, and the next start will know it
using write_waiter =
    std::variant<nobody, raft_persist, genesis_persist, cursor_saved, chunk_saved, snapshot_installed, end_saved>;

class disk_queue {
 public:
  explicit disk_queue(context& c) : ctx_(c) {}
  void write(disk::batch what, bool sync, write_waiter who) {
    if (ctx_.opt->bug == planted_bug::lost_fsync) sync = false;
    const bool quiet = !sync && std::holds_alternative<nobody>(who);
    const auto sequence = enqueue(std::move(who), sync);
    if (sync) last_synced_ = sequence;
    ctx_.emit(coterie::engine::write{sequence, sync, std::move(what), quiet});
  }
  void install_chunk(group_id g, std::vector<disk::item> items, write_waiter who) {
    ctx_.emit(coterie::engine::install_chunk{enqueue(std::move(who)), std::move(items), disk::state_of(g)});
  }
  void install_commit(group_id g, disk::batch what) {
    ctx_.emit(coterie::engine::install_commit{enqueue(snapshot_installed{g}), std::move(what), disk::state_of(g)});
  }
  /// Runs after everything of that group's log that is on its way now: at once (false) when nothing is.
  bool after_pending(group_id g, std::vector<raft::message> messages) {
    for (auto it = waiting_.rbegin(); it != waiting_.rend(); ++it)
      if (auto* p = std::get_if<raft_persist>(&it->who); p != nullptr && p->group == g) {
        for (auto& m : messages) p->then_send.push_back(std::move(m));
        return true;
      }
    return false;
  }
  /// Those that were waiting for this write or an earlier one, in order.
  std::vector<write_waiter> on_written(std::uint64_t sequence) {
    std::vector<write_waiter> r;
    // One answer is one group of writes, with one sync at most.
    if (first_unsynced_ <= last_synced_ && last_synced_ > 0) ctx_.stats.add("disk.syncs");
    first_unsynced_ = std::max(first_unsynced_, sequence + 1);
    std::optional<instant> since;
    while (!waiting_.empty() && waiting_.front().sequence <= sequence) {
      if (waiting_.front().sync && !since) since = waiting_.front().since;
      r.push_back(std::move(waiting_.front().who));
      waiting_.pop_front();
    }
    if (since) syncs_.add(ctx_.now.steady, ctx_.now.steady - *since);
    return r;
  }
  const sync_times& recent_syncs() const { return syncs_; }

 private:
  struct item {
    std::uint64_t sequence;
    write_waiter who;
    bool sync;
    instant since;
  };
  std::uint64_t enqueue(write_waiter who, bool sync = false) {
    waiting_.push_back({++next_, std::move(who), sync, ctx_.now.steady});
    return next_;
  }
  context& ctx_;
  std::uint64_t next_ = 0, last_synced_ = 0, first_unsynced_ = 1;
  std::deque<item> waiting_;
  sync_times syncs_;
};

}  // namespace coterie::engine
