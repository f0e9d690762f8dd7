#include "store/synced_mark.hpp"

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/bytes.hpp"
#include "base/hash.hpp"

namespace coterie {
namespace {

constexpr std::string_view magic = "coterie1";
constexpr off_t slot_distance = 4096;  // a page and a sector each, so that one torn write can't reach both
constexpr std::size_t slot_size = 32;  // magic, sequence, value, XXH3-64 of these

struct slot {
  std::uint64_t sequence = 0, value = 0;
};

void put_u64(std::byte* to, std::uint64_t v) {
  for (int i = 7; i >= 0; --i, v >>= 8) to[i] = static_cast<std::byte>(v & 0xff);
}

std::uint64_t get_u64(const std::byte* from) {
  std::uint64_t v = 0;
  for (int i = 0; i < 8; ++i) v = v << 8 | std::to_integer<std::uint64_t>(from[i]);
  return v;
}

bool write_slot(int fd, slot s) {
  std::array<std::byte, slot_size> b{};
  std::memcpy(b.data(), magic.data(), magic.size());
  put_u64(&b[8], s.sequence);
  put_u64(&b[16], s.value);
  put_u64(&b[24], hash64(byte_view(b).first(24)));
  return ::pwrite(fd, b.data(), b.size(), static_cast<off_t>(s.sequence % 2) * slot_distance) == std::ssize(b);
}

std::optional<slot> read_slot(int fd, int number) {
  std::array<std::byte, slot_size> b{};
  if (::pread(fd, b.data(), b.size(), number * slot_distance) != std::ssize(b)) return std::nullopt;
  if (std::memcmp(b.data(), magic.data(), magic.size()) != 0) return std::nullopt;
  if (get_u64(&b[24]) != hash64(byte_view(b).first(24))) return std::nullopt;
  return slot{get_u64(&b[8]), get_u64(&b[16])};
}

}  // namespace

result<synced_mark> synced_mark::open(const std::filesystem::path& file, bool may_create) {
  file_descriptor fd(::open(file.c_str(), O_RDWR | O_DSYNC | O_CLOEXEC | (may_create ? O_CREAT : 0), 0600));
  if (!fd) {
    return fail(errno == ENOENT ? errc::not_found : errc::unavailable,
                fmt::format("{} can't be opened: {}", file.string(), std::strerror(errno)));
  }
  auto even = read_slot(fd.get(), 0), odd = read_slot(fd.get(), 1);
  if (!even && !odd && may_create) {  // new, or never finished
    even = slot{0, 0}, odd = slot{1, 0};
    if (!write_slot(fd.get(), *even) || !write_slot(fd.get(), *odd) || !sync_directory(file.parent_path())) {
      return fail(errc::unavailable, fmt::format("{} can't be written: {}", file.string(), std::strerror(errno)));
    }
  }
  if (!even && !odd) return fail(errc::unavailable, fmt::format("{} is damaged", file.string()));
  const slot newest = !odd || (even && even->sequence > odd->sequence) ? *even : *odd;
  return synced_mark(std::move(fd), newest.sequence, newest.value);
}

result<void> synced_mark::set(std::uint64_t value) {
  if (!write_slot(fd_.get(), {sequence_ + 1, value})) {
    return fail(errc::unavailable, fmt::format("the synced mark can't be written: {}", std::strerror(errno)));
  }
  ++sequence_;
  value_ = value;
  return {};
}

}  // namespace coterie
