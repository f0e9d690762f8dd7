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

#include <rocksdb/db.h>
#include <rocksdb/listener.h>

#include "base/disk.hpp"
#include "store/store.hpp"

namespace coterie {

/// Closes once, at the first error of the disk, and stays closed; RocksDB's own threads close it, too. Thread-safe.
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

/// The open database. Column families: one for each disk::space, and RocksDB's `default` for what the store itself
/// notes.
struct rocks {
  static constexpr std::size_t own = 4;  ///< index of the store's own family, behind the spaces

  std::unique_ptr<rocksdb::DB> db;
  std::array<rocksdb::ColumnFamilyHandle*, 5> families{};  ///< owned

  rocks() = default;
  rocks(rocks&& other) noexcept : db(std::move(other.db)), families(std::exchange(other.families, {})) {}
  rocks& operator=(rocks&&) = delete;
  ~rocks();
  rocksdb::ColumnFamilyHandle* operator[](disk::space in) const { return families[static_cast<std::size_t>(in)]; }

  /// Whether there is a database in this directory, be it a damaged one.
  static bool exists(const std::string& directory);
  /// Opens, or creates where there is none. RocksDB's own write-ahead log is not used: what is in the tables was
  /// flushed, in all families at once.
  static rocksdb::Status open(const std::string& directory, const store::options&,
                              const std::shared_ptr<failure_latch>&, rocks& to);
};

}  // namespace coterie
