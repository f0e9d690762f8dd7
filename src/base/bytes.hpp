// Byte strings: owned, viewed, shared. Knows nothing of what the bytes mean.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace coterie {

using bytes = std::vector<std::byte>;
using byte_view = std::span<const std::byte>;

/// An immutable byte string that many owners share without copying (a log entry on its way to several followers).
class shared_bytes {
 public:
  shared_bytes() = default;
  shared_bytes(bytes b) : data_(std::make_shared<const bytes>(std::move(b))) {}  // NOLINT: a value like any other
  byte_view view() const noexcept { return data_ ? byte_view(*data_) : byte_view{}; }
  std::size_t size() const noexcept { return data_ ? data_->size() : 0; }
  bool empty() const noexcept { return size() == 0; }
  friend bool operator==(const shared_bytes& a, const shared_bytes& b) {
    return a.size() == b.size() && (a.size() == 0 || std::memcmp(a.view().data(), b.view().data(), a.size()) == 0);
  }

 private:
  std::shared_ptr<const bytes> data_;
};

inline byte_view as_bytes(std::string_view s) noexcept { return std::as_bytes(std::span(s.data(), s.size())); }
inline bytes to_bytes(std::string_view s) {
  const auto v = as_bytes(s);
  return {v.begin(), v.end()};
}
inline std::string_view as_text(byte_view b) noexcept { return {reinterpret_cast<const char*>(b.data()), b.size()}; }
inline std::string to_text(byte_view b) { return std::string(as_text(b)); }
inline bytes copy(byte_view b) { return {b.begin(), b.end()}; }

/// Lower-case hexadecimal, two digits a byte.
std::string to_hex(byte_view);

}  // namespace coterie
