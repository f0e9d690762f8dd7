// One node's disk: an ordered sequence of atomic batches over four key spaces (base/disk.hpp), frozen views, and the
// installation of a snapshot. It knows bytes and how to keep them; it must not know what a key or a value means.
// RocksDB is behind one pointer. docs/storage.md tells the format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.hpp"
#include "base/disk.hpp"
#include "base/result.hpp"

namespace coterie {

/// Used by one thread at a time, but for scans. Calls block for as long as the disk takes. The first error of the disk
/// is final: from then on every call fails with errc::closed and does not reach the disk (docs/consensus.md 1.6).
class store {
 public:
  /// Limits of memory, files and space; sizes in bytes.
  struct options {
    std::uint64_t reserve = 16 << 20;  ///< kept back for the log of a node whose disk is full; 0 = none
    /// Free space below which low_space() is true; default: max(reserve, min(10 % of the file system, 1 GiB)).
    std::optional<std::uint64_t> low_space_threshold;
    std::size_t write_buffer = 16 << 20;  ///< of a big space; all together are held to four of these
    std::size_t block_cache = 32 << 20;   ///< shared by all spaces
    std::uint64_t max_log = 64 << 20;     ///< of the write-ahead log; reaching it flushes what it covers
    std::size_t log_segment = 16 << 20;   ///< of the write-ahead log: its files, and one spare
    int max_open_files = 256;
    std::size_t max_views = 128;  ///< open_view fails with errc::limit above it
  };

  /// What to read. The fields are those of engine::read.
  struct query {
    disk::space in = disk::space::state;
    bytes from, to;  ///< from <= key < to; an empty `to` = to the end of the space
    std::size_t max_items = 1'000;
    std::size_t max_bytes = 1 << 20;  ///< of keys and values; one item is returned however large it is
    bool reverse = false;             ///< from the end of the range
    std::uint64_t view = 0;           ///< of open_view; 0 = the present state
  };
  /// The items in the asked order; `more`: a limit cut the range, go on after the last key.
  struct page {
    std::vector<disk::item> items;
    bool more = false;
  };
  /// A range as of when it was asked for: it sees every write before it and none after. May be read by another thread
  /// while the store goes on. None may be left when the store begins an install or ends.
  class scan {
   public:
    scan(scan&&) noexcept;
    ~scan();
    result<page> read() const;

   private:
    friend class store;
    struct parts;
    explicit scan(std::unique_ptr<parts>);
    std::unique_ptr<parts> parts_;
  };

  /// Opens or creates the directory (mode 0700, as all that it creates above it) and locks it. Failures: errc::exists
  /// when another process has it; errc::bad_argument when the directory can't be used; errc::unavailable when what is
  /// in it is damaged, written by a newer version, or can't be read. Messages say what happened and what to do.
  static result<std::unique_ptr<store>> open(const std::filesystem::path& directory, const options&);
  static result<std::unique_ptr<store>> open(const std::filesystem::path& directory) {
    return open(directory, options());
  }
  ~store();
  store(const store&) = delete;
  store& operator=(const store&) = delete;

  // ---- what the engine asks for ------------------------------------------------------------------------------------
  /// Applies the batches in order as one atomic step; with `sync`, it and everything before it is durable on return.
  result<void> write(std::span<const disk::batch* const>, bool sync);
  result<void> write(const disk::batch&, bool sync);
  /// A write returns when it is in the write-ahead log. This brings it into the tables now, instead of at the next
  /// call: for a caller that has something to tell before.
  result<void> settle();

  /// Sees every write before it, or the view. An unknown view: errc::not_found.
  result<page> range(const query&);
  /// The same, to be read later.
  result<scan> begin_scan(query);
  /// Freezes all spaces as of now under a number that is not 0 and not open (else errc::bad_argument).
  result<void> open_view(std::uint64_t view);
  /// An unknown number is ignored.
  result<void> close_view(std::uint64_t view);

  /// Drops what an unfinished install of that state left (a restart does so, too) and starts a new one. `in` is a state
  /// (disk::state_of); those of several groups may be installed side by side.
  result<void> install_begin(disk::space in = disk::space::state);
  /// Collects items of the new state, beside the present one. Without install_begin: errc::bad_argument.
  result<void> install_chunk(std::span<const disk::item>, disk::space in = disk::space::state);
  /// In one atomic, durable step that state becomes the chunks and `what` is applied. Open views keep what they saw.
  result<void> install_commit(const disk::batch& what, disk::space in = disk::space::state);

  /// Everything that a node reads at its start: of each state the keys in [state_begin, state_end), an empty end = all.
  /// After tables were found damaged the next opening looks at all of them. When they are those of `state`, that is
  /// told in image::state_damage until another state is installed or all of it is erased, and nothing else may be done
  /// to `state` meanwhile; others: errc::unavailable at the opening.
  result<disk::image> load(const bytes& state_begin, const bytes& state_end);

  // ---- what the runtime watches ------------------------------------------------------------------------------------
  /// The first error of the disk, when there was one. Also noticed by RocksDB's own threads. Thread-safe.
  std::optional<failure> failed() const;

  /// The synced mark as last set, before a crash as well; 0 when it never was.
  std::uint64_t synced() const;
  /// Notes, durably and outside RocksDB, that everything up to `index` is durable. The caller decides what is counted,
  /// and lowers the mark *before* it erases below it. One O_DSYNC write: once a second and at snapshots.
  result<void> mark_synced(std::uint64_t index);
  /// Set when this directory was ever opened by cutting a damaged write-ahead log, or without its synced mark: writes
  /// that were durable may be missing, so the node must compare with its peers before it votes. Kept across restarts.
  std::optional<std::string> damage() const;
  /// The damage has been judged harmless, or the state was replaced.
  result<void> forget_damage();

  /// Bytes that can still be written on this file system. Thread-safe.
  std::uint64_t free_bytes() const;
  /// Whether free space is below the threshold: data proposals should stop. Gives the reserve back to the file system
  /// when that runs out, and takes it again when there is space; so call it about once a second.
  bool low_space();
  /// Makes room for what will be written next, so that it is quicker; may take tens of milliseconds, so call it when
  /// nobody waits.
  result<void> prepare();
  /// Synced writes so far.
  std::uint64_t syncs() const;

 private:
  struct impl;
  explicit store(std::unique_ptr<impl>);
  std::unique_ptr<impl> impl_;
};

}  // namespace coterie
