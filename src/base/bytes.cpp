#include "base/bytes.hpp"

namespace coterie {

std::string to_hex(byte_view b) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  out.reserve(b.size() * 2);
  for (const auto x : b) {
    const auto v = std::to_integer<unsigned>(x);
    out.push_back(digits[v >> 4]);
    out.push_back(digits[v & 15]);
  }
  return out;
}

}  // namespace coterie
