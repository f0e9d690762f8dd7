// What a synced write costs, beside the machine's own floor in the same run: a bare fdatasync on a file that grows, and
// on one that was filled before. Times are percentiles of single calls, in microseconds.
#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include "store/store.hpp"
#include "support/temporary_directory.hpp"

namespace {

using coterie::store;
using coterie::test::temporary_directory;
namespace disk = coterie::disk;

constexpr std::size_t size = 300;

/// Times each call of `f` and reports the percentiles.
template <class F>
void percentiles(benchmark::State& state, F f) {
  std::vector<double> took;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    f();
    took.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(took.begin(), took.end());
  state.counters["p50_us"] = took[took.size() / 2];
  state.counters["p99_us"] = took[took.size() * 99 / 100];
}

void bare_fdatasync(benchmark::State& state) {
  const temporary_directory t;
  const int fd = ::open((t.path() / "file").c_str(), O_RDWR | O_CREAT, 0600);
  const bool filled = state.range(0) != 0;
  if (filled) {
    const std::string zeros(16 << 20, '\0');
    if (::write(fd, zeros.data(), zeros.size()) < 0 || ::fsync(fd) != 0) state.SkipWithError("can't write");
  }
  const std::string data(size, 'x');
  off_t at = 0;
  percentiles(state, [&] {
    if (::pwrite(fd, data.data(), data.size(), at) < 0 || ::fdatasync(fd) != 0) state.SkipWithError("can't sync");
    at = (at + static_cast<off_t>(size)) % (15 << 20);
  });
  ::close(fd);
}
BENCHMARK(bare_fdatasync)->ArgName("filled")->Arg(0)->Arg(1)->Iterations(3'000)->Unit(benchmark::kMicrosecond);

coterie::bytes key_of(std::uint64_t i) {
  coterie::bytes k(8);
  for (std::size_t at = 8; at-- > 0; i >>= 8) k[at] = static_cast<std::byte>(i & 0xff);
  return k;
}

/// As a node does: `batches` log entries and the changed hard state in one synced write.
void synced_write(benchmark::State& state) {
  const temporary_directory t;
  const auto s = store::open(t.path());
  if (!s) return state.SkipWithError(s.error().message.c_str());
  const coterie::shared_bytes entry(coterie::bytes(size, std::byte{'x'})), hard(coterie::bytes(32, std::byte{'h'}));
  std::uint64_t index = 0;
  percentiles(state, [&] {
    std::vector<disk::batch> batches(static_cast<std::size_t>(state.range(0)));
    std::vector<const disk::batch*> pointers;
    for (auto& b : batches) {
      b.push_back(disk::put(disk::space::log, key_of(++index), entry));
      pointers.push_back(&b);
    }
    batches.back().push_back(disk::put(disk::space::meta, key_of(1), hard));
    if (!(*s)->write(pointers, true)) state.SkipWithError("the disk failed");
  });
}
BENCHMARK(synced_write)->ArgName("batches")->Arg(1)->Arg(64)->Iterations(3'000)->Unit(benchmark::kMicrosecond);

/// The same without the sync: what the store adds to the disk.
void unsynced_write(benchmark::State& state) {
  const temporary_directory t;
  const auto s = store::open(t.path());
  if (!s) return state.SkipWithError(s.error().message.c_str());
  const coterie::shared_bytes entry(coterie::bytes(size, std::byte{'x'}));
  std::uint64_t index = 0;
  percentiles(state, [&] {
    const disk::batch b{disk::put(disk::space::log, key_of(++index), entry)};
    if (!(*s)->write(b, false)) state.SkipWithError("the disk failed");
  });
}
BENCHMARK(unsynced_write)->Iterations(20'000)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();
