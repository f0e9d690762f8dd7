#include "store/diary.hpp"

#include <chrono>
#include <filesystem>
#include <system_error>

#include <fmt/chrono.h>

namespace coterie {

namespace {
constexpr std::size_t max_size = 1 << 20;
}

diary::diary(std::string directory)
    : rocksdb::Logger(rocksdb::InfoLogLevel::WARN_LEVEL), file_(std::move(directory) + "/LOG") {
  open();
}

void diary::open() {
  out_.reset(std::fopen(file_.c_str(), "ae"));
  std::error_code ignored;
  const auto size = std::filesystem::file_size(file_, ignored);
  size_ = ignored ? 0 : static_cast<std::size_t>(size);
}

void diary::Logv(const char* format, std::va_list arguments) {
  const std::lock_guard lock(mutex_);
  if (size_ > max_size) {
    out_.reset();
    std::error_code ignored;
    std::filesystem::rename(file_, file_ + ".old", ignored);
    open();
  }
  if (!out_) return;
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto stamp = fmt::format("{:%Y-%m-%dT%H:%M:%S}Z ", fmt::gmtime(now));
  std::fputs(stamp.c_str(), out_.get());
  const int length = std::vfprintf(out_.get(), format, arguments);
  std::fputc('\n', out_.get());
  std::fflush(out_.get());
  size_ += stamp.size() + 1 + (length > 0 ? static_cast<std::size_t>(length) : 0);
}

}  // namespace coterie
