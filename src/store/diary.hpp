// RocksDB's own log lines, in a file of their own that may fail: RocksDB's logger asserts, while it closes, that its
// last line could be written, and so would abort a node whose disk is full. Private to src/store.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>

#include <rocksdb/env.h>

namespace coterie {

/// Warnings and errors, at most 1 MiB in `LOG` and as much in `LOG.old`. What can't be written is dropped. Thread-safe.
class diary final : public rocksdb::Logger {
 public:
  explicit diary(std::string directory);
  using rocksdb::Logger::Logv;
  void Logv(const char* format, std::va_list) override;

 private:
  void open();
  struct closer {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  const std::string file_;
  std::mutex mutex_;
  std::unique_ptr<std::FILE, closer> out_;
  std::size_t size_ = 0;
};

}  // namespace coterie
