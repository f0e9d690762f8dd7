// The data directory: that it exists, is ours alone, and how much space is left. Knows POSIX files; knows nothing of
// RocksDB nor of what is stored.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.hpp"

namespace coterie {

/// An open file, closed at the end.
class file_descriptor {
 public:
  file_descriptor() = default;
  explicit file_descriptor(int fd) : fd_(fd) {}
  file_descriptor(file_descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  file_descriptor& operator=(file_descriptor&& other) noexcept;
  ~file_descriptor();
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

/// Makes the names in a directory durable; false with errno set when that fails.
bool sync_directory(const std::filesystem::path&);

/// A directory held exclusively by this object: no other one, in this process or another, can open it.
class data_directory {
 public:
  /// Creates what is missing of the path (mode 0700) and takes the lock. Fails with errc::exists when somebody has it,
  /// errc::bad_argument when it can't be used.
  static result<data_directory> open(const std::filesystem::path&);

  /// Absolute.
  const std::filesystem::path& path() const { return path_; }
  /// What an unprivileged process may still write on this file system, in bytes; 0 when that can't be found out.
  std::uint64_t free_bytes() const;
  /// Size of the file system in bytes; 0 when that can't be found out.
  std::uint64_t capacity() const;

  /// Keeps `size` bytes back in the file `reserve`; false (nothing kept) when there is no room for it.
  bool hold_reserve(std::uint64_t size) const;
  /// Gives the reserve back to the file system.
  void release_reserve() const;
  /// Bytes kept back at present.
  std::uint64_t reserve() const;

 private:
  data_directory(std::filesystem::path path, file_descriptor lock) : path_(std::move(path)), lock_(std::move(lock)) {}

  std::filesystem::path path_;
  file_descriptor lock_;
};

}  // namespace coterie
