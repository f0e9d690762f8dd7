// The synced mark (docs/consensus.md 1.6): a number kept outside RocksDB that tells, after a crash, how far the log
// must reach. RocksDB may open clean with a lost tail; the mark can't be lost with it. Knows files; knows nothing of
// RocksDB.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/result.hpp"
#include "store/directory.hpp"

namespace coterie {

/// Two slots in one file, written in turn, each with a sequence number and a checksum: a torn write costs one slot, and
/// the other holds the value before it.
class synced_mark {
 public:
  /// Opens the file; creates it when `may_create`. Fails with errc::not_found when it is missing, errc::unavailable
  /// when it can't be read or holds no whole slot.
  static result<synced_mark> open(const std::filesystem::path& file, bool may_create);

  /// The last value set; 0 in a new file.
  std::uint64_t value() const { return value_; }
  /// Durable on return (one O_DSYNC write). After a failure the value is the old or the new one.
  result<void> set(std::uint64_t);

 private:
  synced_mark(file_descriptor fd, std::uint64_t sequence, std::uint64_t value)
      : fd_(std::move(fd)), sequence_(sequence), value_(value) {}

  file_descriptor fd_;
  std::uint64_t sequence_;
  std::uint64_t value_;
};

}  // namespace coterie
