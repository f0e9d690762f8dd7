// What a durable batch costs: the store beside the bare disk, in one run, while as many processes do the same as a
// machine has nodes (docs/storage.md, docs/decisions/0007-a-log-file-of-our-own.md). Prints medians in microseconds,
// and the bytes that reached the disk for each byte of an entry.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/assert.hpp"
#include "base/big_endian.hpp"
#include "store/store.hpp"
#include "support/temporary_directory.hpp"

namespace {

using namespace coterie;
namespace fs = std::filesystem;

constexpr std::size_t entry_size = 300;

bytes key_of(char letter, std::uint64_t i) {
  bytes k{static_cast<std::byte>(letter)};
  put_big_endian(k, i);
  return k;
}

constexpr std::uint64_t kept = 10'000;  // entries of the log behind a snapshot

/// What a node writes for each batch of `n` appends: the entries, and with them the state of the batch before; now and
/// then the log is cut behind a snapshot.
disk::batch node_batch(std::uint64_t& index, std::size_t n) {
  static const shared_bytes entry(bytes(entry_size, std::byte{'x'})), small(bytes(64, std::byte{'s'}));
  disk::batch b;
  for (std::size_t i = 0; i < n; ++i) {
    ++index;
    b.push_back(disk::put(disk::space::log, key_of('l', index), entry));
    b.push_back(disk::put(disk::space::state, key_of('E', index), entry));
    if (index % kept == 0)
      b.push_back(disk::erase_range(disk::space::log, {}, key_of('l', index - std::min(index, kept))));
  }
  for (const char c : {'g', 's', 'q', 'b'}) b.push_back(disk::put(disk::space::state, key_of(c, 0), small));
  b.push_back(disk::put(disk::space::meta, key_of('a', 0), small));
  return b;
}

/// One synced batch, which is timed, and what is left to do behind it.
struct work {
  std::function<bool()> batch;
  std::function<bool()> then = [] { return true; };
};

struct variant {
  std::string name;
  /// Batches of so many entries, in this empty directory.
  std::function<work(const fs::path&, std::size_t entries)> make;
};

work bare(const fs::path& d, std::size_t entries, bool filled) {
  const auto file = (d / "bare").string();
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const std::string data(entries * entry_size, 'x');
  if (filled) {
    const std::string zeros(64u << 20, '\0');
    if (::write(fd, zeros.data(), zeros.size()) < 0 || ::fsync(fd) != 0) return {};
  }
  return {.batch = [fd, data, at = off_t{0}]() mutable {
    const bool ok = ::pwrite(fd, data.data(), data.size(), at) == std::ssize(data) && ::fdatasync(fd) == 0;
    at = (at + std::ssize(data)) % (60 << 20);
    return ok;
  }};
}

const std::vector<variant> variants{
    {"fdatasync, growing file", [](const fs::path& d, std::size_t n) { return bare(d, n, false); }},
    {"fdatasync, filled file", [](const fs::path& d, std::size_t n) { return bare(d, n, true); }},
    {"store",
     [](const fs::path& d, std::size_t n) -> work {
       const std::shared_ptr<store> s(std::move(*store::open(d / "store")));
       return {
           .batch = [s, n,
                     index = std::uint64_t{0}]() mutable { return s->write(node_batch(index, n), true).has_value(); },
           .then = [s] { return s->settle().has_value(); }};
     }},
};

/// Bytes that were ever written to the disk under this directory, by anybody; 0 when that can't be known.
std::uint64_t written(const fs::path& where) {
  struct stat s {};
  const int fd = ::open(where.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 || ::syncfs(fd) != 0 || ::fstat(fd, &s) != 0) return 0;
  ::close(fd);
  std::ifstream in(fmt::format("/sys/dev/block/{}:{}/stat", major(s.st_dev), minor(s.st_dev)));
  std::uint64_t sectors = 0;
  for (int i = 0; i < 7; ++i) in >> sectors;  // Documentation/block/stat.rst
  return in ? sectors * 512 : 0;
}

struct measured {
  double us = 0;             ///< median of a batch
  double amplification = 0;  ///< bytes that reached the disk for each byte of an entry
};

/// The median.
double run(const work& w, int rounds) {
  std::vector<double> us;
  for (int i = 0; i < rounds; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    if (!w.batch || !w.batch()) ::_exit(1);
    us.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun).count());
    if (!w.then()) ::_exit(1);
  }
  std::sort(us.begin(), us.end());
  return us[us.size() / 2];
}

/// The median of the processes' medians.
measured measure(const variant& v, const fs::path& where, int processes, std::size_t entries, int rounds) {
  std::array<int, 2> said{}, go{};
  COTERIE_ASSERT(::pipe2(said.data(), O_CLOEXEC) == 0 && ::pipe2(go.data(), O_CLOEXEC) == 0);
  std::vector<pid_t> children;
  double m = 0;
  for (int p = 0; p < processes; ++p) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    ::close(go[1]);
    const auto d = where / fmt::format("{}", p);
    fs::create_directories(d);
    const auto w = v.make(d, entries);
    [[maybe_unused]] auto n = ::write(said[1], &m, sizeof m);  // ready
    n = ::read(go[0], &m, sizeof m);                           // all are, when the other end is closed
    m = run(w, rounds);
    n = ::write(said[1], &m, sizeof m);
    ::_exit(0);
  }
  ::close(go[0]);
  for (int p = 0; p < processes; ++p) COTERIE_ASSERT(::read(said[0], &m, sizeof m) == sizeof m);
  const auto before = written(where);
  ::close(go[1]);
  std::vector<double> all;
  for (const auto child : children) {
    if (::read(said[0], &m, sizeof m) == sizeof m) all.push_back(m);
    int status = 0;
    ::waitpid(child, &status, 0);
    COTERIE_ASSERT(status == 0);
  }
  ::close(said[0]);
  ::close(said[1]);
  std::ranges::sort(all);
  const auto payload = static_cast<double>(entries * entry_size) * rounds * processes;
  return {all[all.size() / 2], static_cast<double>(written(where) - before) / payload};
}

}  // namespace

int main(int argc, char** argv) {
  const int processes = argc > 1 ? std::atoi(argv[1]) : 3, repeats = argc > 2 ? std::atoi(argv[2]) : 3;
  const test::temporary_directory place;
  fmt::print("{} processes at once, best of {} runs: median of a synced batch in us, bytes on the disk a byte\n",
             processes, repeats);
  fmt::print("{:<28}{:>20}{:>20}\n", "", "1 entry", "64 entries");
  std::vector<std::array<measured, 2>> best(variants.size());
  for (int r = 0; r < repeats; ++r)  // in turns, so that a busy moment of the machine meets all of them
    for (std::size_t v = 0; v < variants.size(); ++v)
      for (const std::size_t k : {0u, 1u}) {
        const auto d = place.path() / "run";
        const auto m = measure(variants[v], d, processes, k == 0 ? 1 : 64, 3'000);
        if (r == 0 || m.us < best[v][k].us) best[v][k] = m;
        fs::remove_all(d);
      }
  for (std::size_t v = 0; v < variants.size(); ++v) {
    fmt::print("{:<28}", variants[v].name);
    for (const auto& m : best[v]) fmt::print("{:>13.0f} {:>5.1f}x", m.us, m.amplification);
    fmt::print("\n");
  }
}
