// The log in memory: entries after the last compaction, which of them were handed to the disk, written and synced, and
// the configurations among them. Knows nothing of roles, elections or commitment; the core never truncates below
// its commit index.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/time.hpp"
#include "raft/types.hpp"

namespace coterie::raft {

class entry_log {
 public:
  /// `entries` are contiguous after `base` and durable.
  entry_log(snapshot_meta base, std::vector<entry> entries);

  // ---- what is in it; all O(1) unless said otherwise ----
  /// The last entry that is not in memory any more; index 0 at the beginning of time.
  const snapshot_meta& base() const { return base_; }
  log_index first() const { return base_.index.next(); }
  log_index last() const { return base_.index + entries_.size(); }
  term last_term() const { return entries_.empty() ? base_.when : entries_.back().when; }
  /// Also for base().index; nullopt outside.
  std::optional<term> term_at(log_index) const;
  const entry* at(log_index) const;
  std::size_t bytes() const { return bytes_; }
  /// Largest index <= `from` whose term is <= `t`; an index before base() when that can't be known any more.
  /// O(log n), since terms never fall along a log.
  log_index last_not_newer_than(log_index from, term t) const;

  // ---- configurations: effective as soon as they are in the log (paper section 6) ----
  const configuration& conf() const;
  log_index conf_index() const { return conf_indexes_.empty() ? base_.index : conf_indexes_.back(); }
  const configuration& conf_at(log_index) const;
  /// The longest read lease of the configurations from that index on to the end.
  std::chrono::milliseconds longest_lease(log_index from) const;

  // ---- changes ----
  void append(entry);
  /// Removes entries >= `from`; from > base().index.
  void truncate(log_index from);
  /// Forgets entries <= `upto`; base().index <= upto <= written().
  void compact(log_index upto);
  /// Starts again after a snapshot; entries behind it stay when the log has its last entry.
  void install(const snapshot_meta&);

  // ---- durability ----
  /// Moves what the disk has not been told yet into the request's truncate_from and entries.
  void hand_out(std::optional<log_index>& truncate_from, std::vector<entry>& entries);
  /// What was handed out so far is written once `sequence` is; with `sync` it is durable then.
  void mark(std::uint64_t sequence, bool sync, instant now);
  void persisted(std::uint64_t sequence);
  log_index written() const { return written_; }
  log_index synced() const { return synced_; }
  /// Entries that were handed out and no sync has been asked for since: since when, and the bytes of their payload.
  std::optional<instant> lazy_since() const { return lazy_since_; }
  std::size_t lazy_bytes() const { return lazy_bytes_; }
  /// When the oldest persist without completion was handed out.
  std::optional<instant> waiting_since() const;

 private:
  /// A persist on its way. `last` falls with every truncation, so a late completion never counts entries that were
  /// replaced meanwhile, even when the log is as long again (the ABA race of etcd's asynchronous storage writes).
  struct persist_mark {
    std::uint64_t sequence;
    log_index last;
    bool sync;
    instant since;
  };
  std::size_t offset(log_index i) const { return static_cast<std::size_t>(i.value - base_.index.value - 1); }
  void forget_marks_from(log_index from);

  snapshot_meta base_;
  std::deque<entry> entries_;
  std::vector<log_index> conf_indexes_;  ///< of the configuration entries in memory, rising
  std::size_t bytes_ = 0;
  log_index handed_;   ///< the disk was told of entries up to here, written_ <= handed_ <= last()
  log_index written_;  ///< entries up to here survive the process; synced_ <= written_
  log_index synced_;   ///< entries up to here survive a loss of power, too
  std::optional<instant> lazy_since_;
  std::size_t lazy_bytes_ = 0;
  std::optional<log_index> truncate_from_;  ///< the disk has not been told yet
  std::deque<persist_mark> marks_;
};

}  // namespace coterie::raft
