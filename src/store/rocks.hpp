// RocksDB as coterie runs it: its settings, how it is opened, and the latch that its errors close. Private to
// src/store.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/listener.h>

#include "base/disk.hpp"
#include "store/store.hpp"

namespace coterie {

/// In the data directory: what was found damaged in the tables, which are to be looked at before they are used again.
inline constexpr const char* suspect_file = "suspect";

/// Closes once, at the first error of the disk, and stays closed; RocksDB's own threads close it, too. When tables were
/// found damaged the file `suspect` in the directory says so to the next start. Thread-safe.
class failure_latch {
 public:
  explicit failure_latch(std::string directory) : directory_(std::move(directory)) {}
  void close(const rocksdb::Status&);
  void close(const std::string& reason);
  bool closed() const { return closed_.load(std::memory_order_acquire); }
  /// Something was flushed since it was asked last.
  bool take_flushed() { return flushed_.exchange(false, std::memory_order_acq_rel); }
  void flushed() { flushed_.store(true, std::memory_order_release); }
  /// The first error, with what to do; only when closed.
  failure why() const;

 private:
  const std::string directory_;
  std::atomic<bool> closed_{false}, flushed_{false};
  mutable std::mutex mutex_;
  std::string reason_;
};

/// The open database. Column families: one for each disk::space, of which the states share one, and RocksDB's `default`
/// for what the store itself notes.
struct rocks {
  static constexpr std::size_t own = 4;  ///< index of the store's own family, behind the spaces

  std::unique_ptr<rocksdb::Env> files;  ///< how the database reaches them
  std::unique_ptr<rocksdb::DB> db;
  std::array<rocksdb::ColumnFamilyHandle*, 5> families{};  ///< owned

  rocks() = default;
  rocks(rocks&& other) noexcept
      : files(std::move(other.files)), db(std::move(other.db)), families(std::exchange(other.families, {})) {}
  rocks& operator=(rocks&&) = delete;
  ~rocks();
  rocksdb::ColumnFamilyHandle* operator[](disk::space in) const {
    return families[static_cast<std::size_t>(disk::group_of(in) ? disk::space::state : in)];
  }

  /// Which of the tables of these families does not have the contents it was written with, and how; none: all do.
  std::optional<std::string> damaged_table(const std::vector<std::size_t>& of) const;
  /// A new, empty family in place of this one, whose tables go without being read. All must be flushed.
  rocksdb::Status replace(std::size_t family, const store::options&);
  /// Whether tables are merged by themselves; not while one of them may be damaged.
  rocksdb::Status merge_tables(bool);

  /// Whether there is a database in this directory, be it a damaged one.
  static bool exists(const std::string& directory);
  /// Opens, or creates where there is none. RocksDB's own write-ahead log is not used: what is in the tables was
  /// flushed, in all families at once. `suspect`: tables stay as they are until merge_tables(true).
  static rocksdb::Status open(const std::string& directory, const store::options&,
                              const std::shared_ptr<failure_latch>&, bool suspect, rocks& to);
};

}  // namespace coterie
