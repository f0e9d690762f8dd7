// Journals as this node reads them: its cursor for each, one `process` at a time, reads from the disk. Cursors are
// local and durable; they are synced before `process` is answered (docs/journals.md, "At least once per node").
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/context.hpp"
#include "engine/disk_queue.hpp"
#include "engine/recovery.hpp"
#include "engine/replica.hpp"

namespace coterie::engine {

class journal_calls {
 public:
  // Each call comes with the replica of the group that has the journal.
  using cursor_map = std::map<std::string, cursor, std::less<>>;
  journal_calls(context& c, disk_queue& d, cursor_map cursors) : ctx_(c), disk_(d), cursors_(std::move(cursors)) {}

  /// With what the state is known to be as of.
  void peek(call_id, const wire::peek_journal&, const wire::as_of&, replica&);
  void count(call_id, const wire::count_journal&, const wire::as_of&, const replica&);
  void begin(call_id, const wire::begin_process&, replica&);
  void end(call_id, const wire::end_process&, replica&);
  /// After a read barrier: the cursor goes to the head.
  void reset(call_id, const std::string& journal, const replica&);
  void watch(call_id, const wire::watch_journal&, const replica&);
  /// The journals in whose line the next one is to come: next().
  std::vector<std::string> cancel(call_id);
  void next(const std::string& journal, replica&);

  const std::string* read_by(read_id) const;  ///< whose entries are read under that number; null: none's
  void on_read(const read_done&, replica&);
  void on_saved(const cursor_saved&, replica&);
  void on_grew(const std::string& journal, std::uint64_t last);

 private:
  struct reading {
    call_id call;
    std::string journal;
    bool process = false;
    std::optional<wire::as_of> as_of{};
  };
  struct position {
    std::uint64_t id = 0, ordinal = 0;
  };
  struct turn {  // the one `process` under way in a journal
    call_id call;
    std::uint64_t token = 0;
    std::uint32_t max = 0;
    std::vector<position> batch;
  };
  struct queue {
    std::optional<turn> now;
    std::deque<std::pair<call_id, std::uint32_t>> waiting;
  };

  void start(const std::string& journal, call_id, std::uint32_t max, replica&);
  void read_entries(const reading&, std::uint64_t after, std::uint32_t max, replica&);
  void save(const std::string& journal, cursor, call_id, std::uint64_t token = 0);
  cursor at(std::string_view journal) const;
  /// The gap between the cursor and what is still there; nullopt = none.
  std::optional<failure> gap(const std::string& journal, const machine::machine&);

  context& ctx_;
  disk_queue& disk_;
  cursor_map cursors_;
  std::map<std::string, queue> queues_;
  std::map<read_id, reading> reads_;
  std::map<call_id, std::string> watchers_;
  std::uint64_t next_token_ = 0;
};

}  // namespace coterie::engine
