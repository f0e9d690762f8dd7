// The write-ahead log: numbered records in segment files that were filled before, by old records or in an idle moment,
// so that a sync has no metadata to write (docs/decisions/0007-a-log-file-of-our-own.md). Knows files and bytes;
// nothing of RocksDB nor of what a record says. docs/storage.md tells the format. Private to src/store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "store/directory.hpp"

namespace coterie {

/// Used by one thread at a time. After the first error of a write or a sync nothing more may be asked of it.
class write_ahead_log {
 public:
  struct options {
    std::size_t segment = 16 << 20;  ///< bytes of a segment file; one with a larger record is larger
    std::size_t keep = 6;            ///< so many files, in use or spare, are used again instead of removed
  };
  /// What a start does with what it finds. `record` gets the records above `after`, in order and without a gap;
  /// `damage` has to note durably, before anything is cut off, that records that had been synced are missing.
  struct finder {
    std::function<result<void>(std::uint64_t number, std::string payload)> record;
    std::function<result<void>(const std::string& what)> damage;
  };

  /// Opens or makes the directory. Records up to `after` are in the tables and not needed. What is not whole at the end
  /// is cut off; damage before a record that says that it had been synced is told.
  static result<write_ahead_log> open(std::filesystem::path directory, std::uint64_t after, const options&,
                                      const finder&);

  /// Of the next record; consecutive.
  std::uint64_t next() const { return next_; }
  result<void> append(std::string_view payload);
  /// Everything appended is durable on return.
  result<void> sync();
  /// Records up to `number` are in the tables: segments that hold nothing else go.
  result<void> drop(std::uint64_t number);
  /// Makes a spare segment if there is none; takes as long as filling a file. Without one a segment is a file that
  /// grows.
  result<void> prepare();
  /// Bytes of the records that were not dropped, by whole segments.
  std::uint64_t size() const;

 private:
  struct segment {
    std::uint64_t first = 0;  ///< number of its first record
    std::uint64_t used = 0;   ///< bytes
    std::filesystem::path file{};
  };
  struct scan;

  write_ahead_log(std::filesystem::path directory, const options& o) : directory_(std::move(directory)), opt_(o) {}
  result<void> recover(std::uint64_t after, const finder&);
  result<void> begin_segment();
  result<void> open_last(std::string_view unsure);
  result<void> write(std::string_view, std::uint64_t at);

  std::filesystem::path directory_;
  options opt_;
  std::deque<segment> segments_;  ///< the last is written to, when file_ is open
  std::vector<std::filesystem::path> spares_;
  file_descriptor file_;
  std::uint64_t salt_ = 0;  ///< of the last segment
  std::uint64_t next_ = 1, durable_ = 0;
  std::string buffer_;
};

}  // namespace coterie
