// The write-ahead log: what is there again after good ends and bad ones. A power loss is played with: of every file
// what was synced stays, and of the rest each sector is the new one or the old one. So is a sync that fails: what it
// should have written is in memory alone then, and no later sync writes it, unless it is written again.
#include "store/wal.hpp"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/random.hpp"
#include "catch.hpp"
#include "support/temporary_directory.hpp"

namespace {

namespace fs = std::filesystem;
using namespace coterie;
using coterie::test::temporary_directory;

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream all;
  all << in.rdbuf();
  return std::move(all).str();
}

void write(const fs::path& file, const std::string& all) {
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out << all;
  REQUIRE(out.good());
}

constexpr std::size_t sector = 512;

/// Of each file, by inode: what the disk holds, and which sectors a sync has to write there.
struct on_disk {
  std::string bytes;
  std::set<std::size_t> dirty;
};
std::map<ino_t, on_disk> disk;
bool sync_fails = false;

ino_t inode(int fd) {
  struct stat s {};
  return ::fstat(fd, &s) == 0 && S_ISREG(s.st_mode) ? s.st_ino : 0;
}

int remember(int fd) {
  const auto i = inode(fd);
  if (i == 0) return 0;
  auto& d = disk[i];
  const auto dirty = std::exchange(d.dirty, {});
  if (sync_fails) {
    errno = EIO;
    return -1;
  }
  const auto now = read(fmt::format("/proc/self/fd/{}", fd));
  d.bytes.resize(now.size());
  for (const auto n : dirty)
    if (n * sector < now.size()) d.bytes.replace(n * sector, sector, now, n * sector, sector);
  return 0;
}

}  // namespace

extern "C" int fdatasync(int fd) { return remember(fd); }
extern "C" int fsync(int fd) { return remember(fd); }
extern "C" ssize_t pwrite(int fd, const void* from, std::size_t n, off_t at) {
  const auto r = ::syscall(SYS_pwrite64, fd, from, n, at);
  auto& dirty = disk[inode(fd)].dirty;
  for (auto a = static_cast<std::size_t>(at) / sector; r > 0 && a * sector < static_cast<std::size_t>(at + r); ++a)
    dirty.insert(a);
  return r;
}

namespace {

struct log_world {
  temporary_directory t;
  write_ahead_log::options o{.segment = 4'096};
  std::optional<write_ahead_log> log;
  std::vector<std::string> found;
  std::uint64_t first_found = 0;
  std::string damage;

  log_world() { disk.clear(); }
  ~log_world() { sync_fails = false; }
  fs::path directory() const { return t.path() / "wal"; }

  result<void> try_open(std::uint64_t after = 0) {
    log.reset();
    found.clear();
    damage.clear();
    first_found = 0;
    write_ahead_log::finder f;
    f.record = [this](std::uint64_t n, std::string payload) -> result<void> {
      if (first_found == 0) first_found = n;
      REQUIRE(n == first_found + found.size());
      found.push_back(std::move(payload));
      return {};
    };
    f.damage = [this](const std::string& what) -> result<void> {
      REQUIRE(damage.empty());
      damage = what;
      return {};
    };
    auto opened = write_ahead_log::open(directory(), after, o, f);
    if (!opened) return tl::unexpected(opened.error());
    log.emplace(std::move(*opened));
    return {};
  }
  void open(std::uint64_t after = 0) {
    const auto r = try_open(after);
    INFO((r ? "" : r.error().message));
    REQUIRE(r);
  }
  static std::string payload(std::uint64_t n, std::size_t size = 100) {
    auto s = fmt::format("{}.", n);
    s.resize(std::max(size, s.size()), 'x');
    return s;
  }
  void append(std::size_t size = 100) { REQUIRE(log->append(payload(log->next(), size))); }
  void fill(std::uint64_t n, std::size_t size = 100) {
    for (; n > 0; --n) append(size);
    REQUIRE(log->sync());
  }
  void fail_sync() {
    sync_fails = true;
    (void)log->sync();
    sync_fails = false;
  }
  /// The first `n` records, and nothing else, after so many that were in the tables.
  void expect(std::uint64_t n, std::uint64_t after = 0) {
    REQUIRE(found.size() == n - after);
    for (std::size_t i = 0; i < found.size(); ++i)
      REQUIRE(found[i].substr(0, found[i].find('.') + 1) == fmt::format("{}.", after + i + 1));
    REQUIRE(log->next() == std::max(n, after) + 1);
  }
  std::vector<fs::path> files(std::string_view extension) const {
    std::vector<fs::path> r;
    for (const auto& x : fs::directory_iterator(directory()))
      if (x.path().extension() == extension) r.push_back(x.path());
    std::ranges::sort(r);
    return r;
  }
  std::vector<fs::path> segments() const { return files(".log"); }
  void change(const fs::path& file, std::size_t at, char mask = 0x55) {
    auto all = read(file);
    all.at(at) ^= mask;
    write(file, all);
  }
  /// Where record `n` begins in a file.
  static std::size_t place(const fs::path& file, std::uint64_t n) {
    const auto at = read(file).find(fmt::format("{}.x", n));
    REQUIRE(at != std::string::npos);
    return at - 28;
  }
  void lose_power(rng& random) { lose_power(random, std::array{0.0, 0.3, 0.7, 1.0}[random.below(4)]); }
  void lose_power(rng& random, double share) {
    log.reset();
    for (const auto& x : fs::directory_iterator(directory())) {
      struct stat s {};
      REQUIRE(::stat(x.path().c_str(), &s) == 0);
      auto now = read(x.path());
      auto& d = disk[s.st_ino];
      auto before = d.bytes;
      if (random.chance(0.3)) now.resize(before.size());  // what it grew by is gone
      before.resize(now.size());
      for (std::size_t at = 0; at < now.size(); at += sector)
        if (!random.chance(share)) now.replace(at, sector, before, at, sector);
      write(x.path(), now);
      d = {now, {}};
    }
  }
};

}  // namespace

TEST_CASE("records come back in order, over many segments", "[wal]") {
  log_world w;
  w.open();
  REQUIRE(w.log->next() == 1);
  w.fill(100);
  REQUIRE(w.segments().size() > 2);
  w.open();
  w.expect(100);
  w.fill(20);
  w.open(50);
  w.expect(120, 50);
  REQUIRE(w.damage.empty());
}

TEST_CASE("a record larger than a segment has one of its own", "[wal]") {
  log_world w;
  w.open();
  w.fill(1);
  w.fill(1, 20'000);
  w.fill(3);
  w.open();
  w.expect(5);
  REQUIRE(w.found[1].size() == 20'000);
}

TEST_CASE("what is in the tables goes, and its files are used again", "[wal]") {
  log_world w;
  w.open();
  for (int round = 0; round < 5; ++round) {
    w.fill(60);
    REQUIRE(w.log->drop(w.log->next() - 10));
    REQUIRE(w.segments().size() <= 2);
    REQUIRE(!w.files(".spare").empty());
    REQUIRE(w.log->prepare());
    REQUIRE(w.segments().size() + w.files(".spare").size() <= w.o.keep);
  }
  const auto size = w.log->size();
  REQUIRE(size < 3 * w.o.segment);
  w.open(291);
  w.expect(300, 291);
  REQUIRE(w.damage.empty());
}

TEST_CASE("an end that is torn anywhere is cut off, and the log goes on there", "[wal]") {
  log_world w;
  w.open();
  w.fill(20);
  const auto file = w.segments().front();
  const auto whole = read(file);
  const auto at = w.place(file, 20);
  for (std::size_t cut = at; cut < at + 128; cut += 3) {
    auto torn = whole;
    std::fill(torn.begin() + static_cast<std::ptrdiff_t>(cut), torn.end(), '\0');
    w.log.reset();
    write(file, torn);
    w.open();
    w.expect(19);
    REQUIRE(w.damage.empty());
    w.fill(2, 30);
    w.open();
    w.expect(21);
    for (const auto& s : w.segments())
      if (s != file) fs::remove(s);
  }
}

TEST_CASE("a file that was cut short keeps what is left", "[wal]") {
  log_world w;
  w.open();
  w.fill(20);
  const auto file = w.segments().front();
  for (std::size_t size = w.place(file, 20) + 100; size > 40; size -= 7) {
    fs::resize_file(file, size);
    w.open();
    const auto n = w.found.size();
    w.expect(n);
    REQUIRE(n < 20);
    REQUIRE(w.damage.empty());  // the synced mark tells
  }
}

TEST_CASE("damage before a record that had been synced is told, and the log ends there", "[wal]") {
  log_world w;
  w.open();
  const auto n = GENERATE(std::uint64_t{20}, std::uint64_t{100});
  w.fill(n);
  w.fill(3);  // says that the first ones are durable
  const auto file = w.segments().front();
  w.change(file, w.place(file, 7) + static_cast<std::size_t>(GENERATE(0, 10, 20, 25, 60)));
  w.open();
  w.expect(6);
  REQUIRE(w.damage.find("corruption in the write-ahead log: record 7 in ") == 0);
  w.fill(4);
  w.open();
  w.expect(10);
  REQUIRE(w.damage.empty());
}

TEST_CASE("records that nobody was told of may reach the disk in any order (etcd#6378)", "[wal][lesson]") {
  log_world w;
  w.open();
  w.fill(5);
  for (int i = 0; i < 4; ++i) w.append();
  const auto file = w.segments().front();
  const auto at = w.place(file, 7);
  w.log.reset();
  auto all = read(file);
  std::fill_n(all.begin() + static_cast<std::ptrdiff_t>(at), 128, '\0');
  write(file, all);
  w.open();
  w.expect(6);
  REQUIRE(w.damage.empty());
  // The ones behind don't come back with a record that is as long as the lost one was.
  w.fill(1);
  w.open();
  w.expect(7);
}

TEST_CASE("segments that are missing are told", "[wal]") {
  log_world w;
  w.open();
  w.fill(150);
  const auto files = w.segments();
  REQUIRE(files.size() >= 4);
  w.log.reset();
  SECTION("one in the middle") {
    fs::remove(files[1]);
    w.open();
    w.expect(w.found.size());
    REQUIRE(w.found.size() < 60);
    REQUIRE(w.damage.find("corruption") == 0);
  }
  SECTION("the first") {
    fs::remove(files[0]);
    w.open();
    w.expect(0);
    REQUIRE(w.damage.find("the write-ahead log begins at record ") == 0);
  }
  SECTION("all, and the tables have a part") {
    for (const auto& f : files) fs::remove(f);
    w.open(40);
    w.expect(40, 40);
    REQUIRE(w.damage == "the write-ahead log is gone, the tables end at 40");
  }
  w.fill(5);
  const auto end = w.log->next() - 1;
  const auto after = end == 45 ? std::uint64_t{40} : 0;
  w.open(after);
  w.expect(end, after);
  REQUIRE(w.damage.empty());
}

TEST_CASE("tables that were flushed before a power loss may be ahead of the log", "[wal]") {
  log_world w;
  w.open();
  w.fill(20);
  w.open(30);
  w.expect(30, 30);
  REQUIRE(w.damage.empty());
  w.fill(3);
  w.open(31);
  w.expect(33, 31);
  REQUIRE(w.damage.empty());
}

TEST_CASE("a segment that was never begun is as good as none", "[wal]") {
  log_world w;
  w.open();
  w.fill(10);
  REQUIRE(w.log->prepare());
  w.log.reset();
  SECTION("a fresh file") {}
  SECTION("one that was used before") {
    fs::copy_file(w.segments().front(), w.files(".spare").front(), fs::copy_options::overwrite_existing);
  }
  fs::rename(w.files(".spare").front(), w.directory() / "00000000000000000011.log");
  w.open();
  w.expect(10);
  REQUIRE(w.damage.empty());
  w.fill(50);
  w.open();
  w.expect(60);
}

TEST_CASE("nothing of a file's earlier use is taken for a record", "[wal]") {
  log_world w;
  w.open();
  w.fill(60);
  REQUIRE(w.log->drop(60));
  w.fill(10);  // into a file whose old records have other numbers
  const auto file = w.segments().back();
  // The very same record with the salt of another use, where the next one belongs.
  auto all = read(file);
  const auto last = w.place(file, 70), before = w.place(file, 69);
  REQUIRE(last > before);
  w.log.reset();
  log_world other;
  other.open(69);
  other.fill(1);
  const auto stranger = read(other.segments().front()).substr(32, 128);
  all.replace(last, 128, stranger);
  write(file, all);
  w.open(60);
  w.expect(69, 60);
}

TEST_CASE("no room for the next segment is an error that says so, and loses nothing", "[wal]") {
  log_world w;
  w.open();
  w.fill(5);
  result<void> r;
  while (r) {
    const auto taken = w.directory() / fmt::format("{:020}.log", w.log->next());
    fs::create_directory(taken);
    r = w.log->append(w.payload(w.log->next()));
    fs::remove(taken);
  }
  REQUIRE(r.error().message.find(".log: Is a directory") != std::string::npos);
  const auto end = w.log->next() - 1;
  w.open();
  w.expect(end);
}

TEST_CASE("whatever is damaged, there is a prefix, and nothing that was not written", "[wal]") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    INFO("seed " << seed);
    rng random(seed);
    log_world w;
    w.open();
    for (auto n = 1 + random.below(80); n > 0; --n) {
      w.append(20 + random.below(200));
      if (random.chance(0.3)) REQUIRE(w.log->sync());
    }
    const auto written = w.log->next() - 1;
    w.log.reset();
    for (auto n = 1 + random.below(4); n > 0; --n) {
      const auto all = w.segments();
      if (all.empty()) break;
      const auto& file = all[random.below(all.size())];
      const auto size = fs::file_size(file);
      if (random.chance(0.1))
        fs::remove(file);
      else if (random.chance(0.2))
        fs::resize_file(file, random.below(size + 100));
      else if (size > 0)
        w.change(file, random.below(size), static_cast<char>(1 + random.below(255)));
    }
    w.open();
    const auto n = w.found.size();
    REQUIRE(n <= written);
    w.expect(n);
    w.fill(3);
    w.open();
    w.expect(n + 3);
    REQUIRE(w.damage.empty());
  }
}

TEST_CASE("what only looks like records behind the end is no damage, and is not all summed up", "[wal]") {
  log_world w;
  w.o = {};
  w.open();
  REQUIRE(w.log->prepare());
  w.fill(3);
  const auto file = w.segments().front();
  auto all = read(file);
  REQUIRE(all.size() == w.o.segment);
  std::string junk;  // number, durable and length as they would be; each sum a half of the file
  for (const std::uint64_t v : {0ull, 4ull, 3ull, static_cast<unsigned long long>(all.size() / 2)})
    for (int i = 0; i < 8; ++i) junk.push_back(static_cast<char>(v >> (8 * i)));
  for (auto at = w.place(file, 3) + 200; at + junk.size() <= all.size(); at += junk.size())
    all.replace(at, junk.size(), junk);
  write(file, all);
  w.open();
  w.expect(3);
  REQUIRE(w.damage.empty());
  w.fill(2);
  w.open();
  w.expect(5);
}

TEST_CASE("what a failed sync left in memory alone is durable once a start has counted it (cockroach#37102)",
          "[wal][lesson]") {
  for (const std::uint64_t before : {0, 3}) {
    log_world w;
    w.open();
    if (before > 0) w.fill(before, 600);
    w.append(600);
    w.fail_sync();
    const auto n = before + 1;
    w.open();
    w.expect(n);
    rng all_lost(1);
    w.lose_power(all_lost, 0.0);
    w.open();
    w.expect(n);
    REQUIRE(w.damage.empty());
  }
}

TEST_CASE("after any power loss there is a prefix, with all that was synced, and no false alarm", "[wal]") {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    INFO("seed " << seed);
    rng random(seed);
    log_world w;
    std::uint64_t durable = 0, after = 0;
    w.open();
    for (int life = 0; life < 4; ++life) {
      for (auto n = random.below(60); n > 0; --n) {
        w.append(random.chance(0.02) ? 6'000 : 20 + random.below(300));
        if (random.chance(0.3)) {
          REQUIRE(w.log->sync());
          durable = w.log->next() - 1;
        }
        if (random.chance(0.05) && durable > after) {  // tables are flushed, now and then with what is not synced yet
          after = random.chance(0.2) ? w.log->next() - 1 : after + random.below(durable - after + 1);
          REQUIRE(w.log->drop(after));
        }
        if (random.chance(0.02)) REQUIRE(w.log->prepare());
        if (random.chance(0.02)) {  // the process ends and starts: what it finds it calls durable
          if (random.chance(0.5)) w.fail_sync();
          durable = w.log->next() - 1;
          w.open(after);
          w.expect(durable, after);
        }
      }
      w.lose_power(random);
      w.open(after);
      CHECK(w.damage.empty());
      const auto n = after + w.found.size();
      REQUIRE(n >= durable);
      w.expect(n, after);
      durable = n;
    }
  }
}
