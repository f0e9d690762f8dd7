// Would a log of our own be quicker than RocksDB's? A prototype of a segmented, checksummed log file beside the store
// and the bare disk, in one run, while as many processes do the same as a machine has nodes
// (docs/decisions/0007-a-log-file-of-our-own.md). Prints medians in microseconds. The prototype is not used anywhere.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/big_endian.hpp"
#include "base/hash.hpp"
#include "store/store.hpp"
#include "support/temporary_directory.hpp"

namespace {

using namespace coterie;
namespace fs = std::filesystem;

constexpr std::size_t entry_size = 300;

/// Records of length (4), chained XXH3-64 (8) and payload, in segments that were filled with zeros before, so that a
/// sync has no metadata to write. A record that is torn, or of an earlier use of the place, does not fit the chain.
class segmented_log {
 public:
  explicit segmented_log(fs::path directory) : directory_(std::move(directory)) { open_next(); }
  ~segmented_log() { ::close(fd_); }
  segmented_log(const segmented_log&) = delete;

  bool append(const std::vector<byte_view>& payloads) {
    record_.clear();
    for (const auto p : payloads) {
      chain_ = hash64(p, chain_);
      const auto length = static_cast<std::uint32_t>(p.size());
      const auto at = record_.size();
      record_.resize(at + header + p.size());
      std::memcpy(record_.data() + at, &length, sizeof length);
      std::memcpy(record_.data() + at + sizeof length, &chain_, sizeof chain_);
      std::memcpy(record_.data() + at + header, p.data(), p.size());
    }
    if (at_ + record_.size() > segment_size) open_next();
    if (::pwrite(fd_, record_.data(), record_.size(), static_cast<off_t>(at_)) != std::ssize(record_)) return false;
    at_ += record_.size();
    return ::fdatasync(fd_) == 0;
  }

  /// How many whole records a start would find.
  static std::size_t recover(const fs::path& directory) {
    std::size_t found = 0;
    std::uint64_t chain = 0;
    for (std::size_t n = 1;; ++n) {
      const int fd = ::open(name(directory, n).c_str(), O_RDONLY | O_CLOEXEC);
      if (fd < 0) return found;
      std::vector<std::byte> all(segment_size);
      const bool whole = ::read(fd, all.data(), all.size()) == std::ssize(all);
      ::close(fd);
      if (!whole) return found;
      for (std::size_t at = 0; at + header <= all.size(); ++found) {
        std::uint32_t length = 0;
        std::uint64_t said = 0;
        std::memcpy(&length, &all[at], sizeof length);
        std::memcpy(&said, &all[at + sizeof length], sizeof said);
        if (length == 0 || length > all.size() - at - header) break;
        const auto next = hash64(byte_view(&all[at + header], length), chain);
        if (next != said) break;
        chain = next;
        at += header + length;
      }
    }
  }

 private:
  static constexpr std::size_t segment_size = 16u << 20, header = 12;
  static fs::path name(const fs::path& d, std::size_t n) { return d / fmt::format("{:08}.log", n); }
  void open_next() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = ::open(name(directory_, ++number_).c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const std::vector<std::byte> zeros(segment_size);
    COTERIE_ASSERT(fd_ >= 0 && ::pwrite(fd_, zeros.data(), zeros.size(), 0) == std::ssize(zeros) && ::fsync(fd_) == 0);
    at_ = 0;
  }

  fs::path directory_;
  int fd_ = -1;
  std::size_t number_ = 0, at_ = 0;
  std::uint64_t chain_ = 0;
  std::vector<std::byte> record_;
};

bytes key_of(char letter, std::uint64_t i) {
  bytes k{static_cast<std::byte>(letter)};
  put_big_endian(k, i);
  return k;
}

/// What a node writes for each batch of `n` appends: the entries, synced, and with them the state of the batch before.
disk::batch node_batch(std::uint64_t& index, std::size_t n, bool with_log) {
  static const shared_bytes entry(bytes(entry_size, std::byte{'x'})), small(bytes(64, std::byte{'s'}));
  disk::batch b;
  for (std::size_t i = 0; i < n; ++i) {
    ++index;
    if (with_log) b.push_back(disk::put(disk::space::log, key_of('l', index), entry));
    b.push_back(disk::put(disk::space::state, key_of('E', index), entry));
  }
  for (const char c : {'g', 's', 'q', 'b'}) b.push_back(disk::put(disk::space::state, key_of(c, 0), small));
  b.push_back(disk::put(disk::space::meta, key_of('a', 0), small));
  return b;
}

struct variant {
  std::string name;
  /// Makes what is timed: one synced batch of so many entries, in this empty directory.
  std::function<std::function<bool()>(const fs::path&, std::size_t entries)> make;
};

std::function<bool()> bare(const fs::path& d, std::size_t entries, bool filled) {
  const auto file = (d / "bare").string();
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const std::string data(entries * entry_size, 'x');
  if (filled) {
    const std::string zeros(64u << 20, '\0');
    if (::write(fd, zeros.data(), zeros.size()) < 0 || ::fsync(fd) != 0) return {};
  }
  return [fd, data, at = off_t{0}]() mutable {
    const bool ok = ::pwrite(fd, data.data(), data.size(), at) == std::ssize(data) && ::fdatasync(fd) == 0;
    at = (at + std::ssize(data)) % (60 << 20);
    return ok;
  };
}

const std::vector<variant> variants{
    {"fdatasync, growing file", [](const fs::path& d, std::size_t n) { return bare(d, n, false); }},
    {"fdatasync, filled file", [](const fs::path& d, std::size_t n) { return bare(d, n, true); }},
    {"segmented log (prototype)",
     [](const fs::path& d, std::size_t n) -> std::function<bool()> {
       const auto log = std::make_shared<segmented_log>(d);
       return [log, n, data = bytes(entry_size, std::byte{'x'})] {
         return log->append(std::vector<byte_view>(n, byte_view(data)));
       };
     }},
    {"segmented log, state in the store",
     [](const fs::path& d, std::size_t n) -> std::function<bool()> {
       const auto log = std::make_shared<segmented_log>(d);
       const std::shared_ptr<store> s(std::move(*store::open(d / "store")));
       return [log, s, n, data = bytes(entry_size, std::byte{'x'}), index = std::uint64_t{0}]() mutable {
         return log->append(std::vector<byte_view>(n, byte_view(data))) &&
                s->write(node_batch(index, n, false), false).has_value();
       };
     }},
    {"store",
     [](const fs::path& d, std::size_t n) -> std::function<bool()> {
       const std::shared_ptr<store> s(std::move(*store::open(d / "store")));
       return [s, n, index = std::uint64_t{0}]() mutable {
         return s->write(node_batch(index, n, true), true).has_value();
       };
     }},
};

/// The median of the processes' medians.
double measure(const variant& v, const fs::path& where, int processes, std::size_t entries, int rounds) {
  std::array<int, 2> said{}, go{};
  COTERIE_ASSERT(::pipe2(said.data(), O_CLOEXEC) == 0 && ::pipe2(go.data(), O_CLOEXEC) == 0);
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    ::close(go[1]);
    const auto d = where / fmt::format("{}", p);
    fs::create_directories(d);
    const auto once = v.make(d, entries);
    double median = 0;
    [[maybe_unused]] auto n = ::write(said[1], &median, sizeof median);  // ready
    n = ::read(go[0], &median, sizeof median);                           // all are, when the other end is closed
    std::vector<double> us;
    for (int i = 0; i < rounds; ++i) {
      const auto begun = std::chrono::steady_clock::now();
      if (!once || !once()) ::_exit(1);
      us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun).count());
    }
    std::sort(us.begin(), us.end());
    median = us[us.size() / 2];
    n = ::write(said[1], &median, sizeof median);
    ::_exit(0);
  }
  ::close(go[0]);
  double m = 0;
  for (int p = 0; p < processes; ++p) COTERIE_ASSERT(::read(said[0], &m, sizeof m) == sizeof m);
  ::close(go[1]);
  std::vector<double> medians;
  for (const auto child : children) {
    if (::read(said[0], &m, sizeof m) == sizeof m) medians.push_back(m);
    int status = 0;
    ::waitpid(child, &status, 0);
    COTERIE_ASSERT(status == 0);
  }
  ::close(said[0]);
  ::close(said[1]);
  std::sort(medians.begin(), medians.end());
  return medians[medians.size() / 2];
}

/// The prototype finds again what it wrote, and nothing behind a damaged record.
void check_prototype(const fs::path& d) {
  fs::create_directories(d);
  const bytes data(entry_size, std::byte{'x'});
  {
    segmented_log log(d);
    for (int i = 0; i < 100; ++i) COTERIE_ASSERT(log.append({data}));
  }
  COTERIE_ASSERT(segmented_log::recover(d) == 100);
  const int fd = ::open((d / "00000001.log").c_str(), O_RDWR | O_CLOEXEC);
  COTERIE_ASSERT(fd >= 0 && ::pwrite(fd, "y", 1, 50 * (12 + entry_size) + 20) == 1);
  ::close(fd);
  COTERIE_ASSERT(segmented_log::recover(d) == 50);
}

}  // namespace

int main(int argc, char** argv) {
  const int processes = argc > 1 ? std::atoi(argv[1]) : 3, repeats = argc > 2 ? std::atoi(argv[2]) : 3;
  const test::temporary_directory place;
  check_prototype(place.path() / "check");
  fmt::print("median of a synced batch in us, {} processes at once, best of {} runs\n", processes, repeats);
  fmt::print("{:<36}{:>12}{:>12}\n", "", "1 entry", "64 entries");
  std::vector<std::array<double, 2>> best(variants.size(), {1e9, 1e9});
  for (int r = 0; r < repeats; ++r)  // in turns, so that a busy moment of the machine meets all of them
    for (std::size_t v = 0; v < variants.size(); ++v)
      for (const std::size_t k : {0u, 1u}) {
        const auto d = place.path() / "run";
        best[v][k] = std::min(best[v][k], measure(variants[v], d, processes, k == 0 ? 1 : 64, k == 0 ? 1'500 : 300));
        fs::remove_all(d);
      }
  for (std::size_t v = 0; v < variants.size(); ++v)
    fmt::print("{:<36}{:>12.0f}{:>12.0f}\n", variants[v].name, best[v][0], best[v][1]);
}
