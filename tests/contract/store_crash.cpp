// RocksDB after a crash: processes killed while they write, logs cut and damaged, files gone. What was acknowledged is
// there, or the store says that it may not be.
#include <csignal>
#include <fstream>
#include <set>

#include <fcntl.h>

#include <fmt/format.h>

#include "base/big_endian.hpp"
#include "base/random.hpp"
#include "contract/store_disks.hpp"
#include "contract/store_process.hpp"

namespace coterie::test {
namespace {

namespace fs = std::filesystem;

std::string number(std::uint64_t i) { return fmt::format("{:08}", i); }

/// Batch `i` of these tests: something in each space, so that a batch that was torn apart shows.
disk::batch batch_of(std::uint64_t i) {
  return {put(space::log, number(i), std::string(300, 'x')), put(space::state, number(i), std::string(300, 'y')),
          put(space::meta, "last", number(i)), put(space::local, "last", number(i))};
}

/// The number of batches that are there; checks that it is a prefix, and that each is whole.
std::uint64_t prefix_in(store& s) {
  const auto i = must(s.load({}, {}));
  const auto n = i.log.size();
  REQUIRE(i.state.size() == n);
  if (n == 0) {
    REQUIRE(i.meta.empty());
    REQUIRE(i.local.empty());
    return 0;
  }
  REQUIRE(to_text(i.log.front().first) == number(1));
  REQUIRE(to_text(i.log.back().first) == number(n));
  REQUIRE(i.state.back().first == i.log.back().first);
  REQUIRE(text(i.meta) == "last=" + number(n));
  REQUIRE(text(i.local) == "last=" + number(n));
  return n;
}

std::vector<fs::path> files(const fs::path& directory, const std::string& pattern) {
  std::set<fs::path> r;
  for (const auto& f : fs::directory_iterator(directory)) {
    if (f.path().filename().string().find(pattern) != std::string::npos) r.insert(f.path());
  }
  return {r.begin(), r.end()};
}
std::vector<fs::path> logs(const fs::path& home) { return files(home / "db/wal", ".log"); }

/// Of a file that was filled with zeros before: what has been written since.
std::uint64_t used(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(in), {}};
  return all.find_last_not_of('\0') + 1;
}

void flip(const fs::path& file, std::uint64_t at) {
  std::fstream f(file, std::ios::in | std::ios::out | std::ios::binary);
  f.seekg(static_cast<std::streamoff>(at));
  const auto c = static_cast<char>(f.get() ^ 0x55);
  f.seekp(static_cast<std::streamoff>(at));
  f.put(c);
  REQUIRE(f.good());
}

/// `n` synced batches in one write-ahead log, the mark at the last.
void fill(const fs::path& directory, std::uint64_t n) {
  auto s = must(store::open(directory));
  for (std::uint64_t i = 1; i <= n; ++i) must(s->write(batch_of(i), true));
  must(s->mark_synced(n));
}

}  // namespace

TEST_CASE("child: writes synced batches and tells each", "[.child-writer]") {
  const int out = std::atoi(std::getenv("COTERIE_TEST_PIPE"));
  auto s = must(store::open(std::getenv("COTERIE_TEST_DIRECTORY"), small_options()));
  for (std::uint64_t i = prefix_in(*s) + 1;; ++i) {
    must(s->write(batch_of(i), true));
    if (::write(out, &i, sizeof i) != sizeof i) return;
    if (i % 50 == 0) {  // an install in flight must not disturb
      must(s->install_begin());
      must(s->install_chunk(std::vector{item("x", "1")}));
    }
  }
}

TEST_CASE("every acknowledged synced write survives kill -9 (rdb#1351)", "[store][lesson]") {
  temporary_directory t;
  rng random(static_cast<std::uint64_t>(::getpid()));
  std::uint64_t acknowledged = 0;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    ::fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    child_process child("[.child-writer]", t.path().string(), ends[1]);
    ::close(ends[1]);
    std::uint64_t i = 0;
    for (auto n = 1 + random.below(300); n > 0; --n) {
      REQUIRE(::read(ends[0], &i, sizeof i) == sizeof i);
      acknowledged = i;
    }
    child.kill();
    while (::read(ends[0], &i, sizeof i) == sizeof i) acknowledged = i;
    ::close(ends[0]);
    auto s = must(store::open(t.path(), small_options()));
    CHECK_FALSE(s->damage());
    CHECK(prefix_in(*s) >= acknowledged);
    CHECK(prefix_in(*s) <= acknowledged + 1);
  }
}

TEST_CASE("a second open is refused, here and in another process", "[store]") {
  temporary_directory t;
  const auto expected = [&](long pid) {
    return fmt::format("{} is in use by another process (pid {}): stop it or choose another --data", t.path().string(),
                       pid);
  };
  {
    const auto s = must(store::open(t.path(), small_options()));
    const auto second = store::open(t.path() / "", small_options());
    REQUIRE_FALSE(second);
    CHECK(second.error().code == errc::exists);
    CHECK(second.error().message == expected(::getpid()));
  }
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  child_process child("[.child-writer]", t.path().string(), ends[1]);
  std::uint64_t i = 0;
  REQUIRE(::read(ends[0], &i, sizeof i) == sizeof i);
  const auto second = store::open(t.path(), small_options());
  REQUIRE_FALSE(second);
  CHECK(second.error().code == errc::exists);
  CHECK(second.error().message == expected(child.pid()));
  child.kill();
  CHECK(store::open(t.path(), small_options()));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST_CASE("a log cut anywhere leaves whole batches, and the mark tells (etcd#6378)", "[store][lesson]") {
  temporary_directory t;
  fill(t.path(), 200);
  REQUIRE(logs(t.path()).size() == 1);
  const auto size = used(logs(t.path())[0]);
  rng random(42);
  for (int round = 0; round < 12; ++round) {
    INFO("round " << round);
    temporary_directory copy;
    fs::copy(t.path(), copy.path(), fs::copy_options::recursive | fs::copy_options::overwrite_existing);
    const auto cut = round == 0 ? size / 2 : random.below(size);
    fs::resize_file(logs(copy.path())[0], cut);
    const auto s = store::open(copy.path());
    if (!s) {
      CHECK(s.error().code == errc::unavailable);
      CHECK(s.error().message.find("is damaged") != std::string::npos);
      continue;
    }
    const auto n = prefix_in(**s);
    CHECK(n < 200);
    CHECK((*s)->synced() == 200);  // so the node knows that something is missing
  }
}

TEST_CASE("a damaged log opens with a whole prefix and says so until told to forget (rdb#6288, rdb#6963, pebble#453)",
          "[store][lesson]") {
  temporary_directory t;
  fill(t.path(), 400);
  REQUIRE(logs(t.path()).size() == 1);
  REQUIRE(used(logs(t.path())[0]) > 200'000);
  flip(logs(t.path())[0], 100'000);
  std::uint64_t n = 0;
  {
    auto s = must(store::open(t.path()));
    n = prefix_in(*s);
    CHECK(n > 50);
    CHECK(n < 200);
    REQUIRE(s->damage());
    CHECK(s->damage()->find("orruption") != std::string::npos);
    CHECK(s->synced() == 400);
    must(s->write(batch_of(n + 1), true));
  }
  {
    auto s = must(store::open(t.path()));
    CHECK(prefix_in(*s) == n + 1);
    REQUIRE(s->damage());
    must(s->forget_damage());
    CHECK_FALSE(s->damage());
  }
  CHECK_FALSE(must(store::open(t.path()))->damage());
}

TEST_CASE("a damaged database is refused with what to do", "[store]") {
  temporary_directory t;
  fill(t.path(), 3);
  const auto refused = [&] {
    const auto s = store::open(t.path());
    REQUIRE_FALSE(s);
    CHECK(s.error().code == errc::unavailable);
    const auto& m = s.error().message;
    INFO(m);
    CHECK(m.find("the data in " + t.path().string() + " is damaged (") == 0);
    CHECK(m.find("): move it away and start again, the node then joins under a new id") != std::string::npos);
  };
  SECTION("CURRENT is garbage") {
    std::ofstream(t.path() / "db/CURRENT") << "nonsense";
    refused();
  }
  SECTION("CURRENT is empty") {
    std::ofstream(t.path() / "db/CURRENT").flush();
    refused();
  }
  SECTION("CURRENT is gone: not a new database") {
    fs::remove(t.path() / "db/CURRENT");
    refused();
  }
  SECTION("the manifest is gone") {
    for (const auto& f : files(t.path() / "db", "MANIFEST")) fs::remove(f);
    refused();
  }
  SECTION("the manifest is damaged") {
    const auto manifests = files(t.path() / "db", "MANIFEST");
    REQUIRE_FALSE(manifests.empty());
    flip(manifests.back(), 20);
    refused();
  }
}

TEST_CASE("a table that is damaged stops the store at the read", "[store]") {
  temporary_directory t;
  {
    auto s = must(store::open(t.path(), small_options()));
    for (std::uint64_t i = 1; i <= 2'000; ++i) must(s->write(batch_of(i), i == 2'000));
  }
  must(store::open(t.path(), small_options()));  // opening flushes
  for (const auto& f : files(t.path() / "db", ".sst")) {
    if (fs::file_size(f) > 8'000) flip(f, 4'000);
  }
  auto s = store::open(t.path(), small_options());
  if (!s) {
    CHECK(s.error().code == errc::unavailable);
    return;
  }
  const auto image = (*s)->load({}, {});
  REQUIRE_FALSE(image);
  CHECK(image.error().code == errc::closed);
  REQUIRE((*s)->failed());
  CHECK_FALSE((*s)->write(batch_of(1), false));
}

namespace {
std::vector<disk::item> many_items() {
  rng r(5);
  std::vector<disk::item> items;
  for (std::uint64_t i = 1; i <= 500; ++i) {
    bytes value(200);
    for (auto& b : value) b = std::byte(r.below(256));
    items.emplace_back(big_endian(i), value);
  }
  return items;
}
/// A home whose tables of this space are large and damaged, and the others are not; and what was found first.
void damage_tables_of(disk::space in, const fs::path& home) {
  {
    auto s = must(store::open(home, small_options()));
    disk::batch b{disk::put(disk::space::meta, to_bytes("vote"), to_bytes("kept"))};
    for (const auto& [key, value] : many_items())
      if (in != disk::space::state) b.push_back(disk::put(in, key, value));
    must(s->write(b, true));
    must(s->install_begin());
    if (in == disk::space::state) must(s->install_chunk(many_items()));
    must(s->install_commit({}));  // flushes
  }
  std::size_t damaged = 0;
  for (const auto& f : files(home / "db", ".sst"))
    if (fs::file_size(f) > 50'000) flip(f, fs::file_size(f) / 2), ++damaged;
  REQUIRE(damaged > 0);
  // The first start meets it, or finds it when all is read.
  auto s = store::open(home, small_options());
  if (!s) return;
  const auto image = (*s)->load({}, {});
  REQUIRE_FALSE(image);
  CHECK((*s)->failed());
}
std::string vote_of(const disk::image& i) {
  for (const auto& [key, value] : i.meta)
    if (as_text(key) == "vote") return to_text(value);
  return "";
}
}  // namespace

TEST_CASE("damaged tables of the state are told, and go when another state comes", "[store]") {
  temporary_directory t;
  damage_tables_of(disk::space::state, t.path());
  auto s = must(store::open(t.path(), small_options()));
  auto image = must(s->load({}, {}));
  INFO(image.state_damage);
  REQUIRE(image.state_damage.find("orruption") != std::string::npos);
  CHECK(image.state.empty());
  CHECK(vote_of(image) == "kept");
  const auto again = [&] {
    s.reset();
    s = must(store::open(t.path(), small_options()));
    image = must(s->load({}, {}));
  };
  SECTION("each start says so until then") {
    again();
    REQUIRE_FALSE(image.state_damage.empty());
  }
  SECTION("one that does not come whole is none") {
    must(s->install_begin());
    must(s->install_chunk(std::vector{item("half", "1")}));
    again();
    REQUIRE_FALSE(image.state_damage.empty());
    must(s->install_begin());
    must(s->install_chunk(std::vector{item("half", "1")}));
    must(s->install_begin());
  }
  SECTION("nor does it come back when everything is erased") {
    auto b = disk::erase_everything();
    b.push_back(disk::put(disk::space::state, to_bytes("new"), to_bytes("1")));
    must(s->write(b, true));
    for (int i = 0; i < 2; ++i) {
      image = must(s->load({}, {}));
      CHECK(image.state_damage.empty());
      CHECK(image.meta.empty());
      CHECK(image.state == std::vector{item("new", "1")});
      again();
    }
    return;
  }
  must(s->install_begin());
  must(s->install_chunk(std::vector{item("new", "1")}));
  must(s->install_commit({disk::put(disk::space::meta, to_bytes("applied"), to_bytes("9"))}));
  for (int i = 0; i < 2; ++i) {
    image = must(s->load({}, {}));
    CHECK(image.state_damage.empty());
    CHECK(image.state == std::vector{item("new", "1")});
    CHECK(vote_of(image) == "kept");
    again();
  }
  CHECK_FALSE(fs::exists(t.path() / "suspect"));
  // Nothing of the damaged ones is left that could be met later.
  must(s->write(batch_of(1), true));
  must(s->install_begin());
  must(s->install_chunk(many_items()));
  must(s->install_commit({}));
  CHECK_FALSE(s->failed());
}

TEST_CASE("damaged tables of anything else are refused", "[store]") {
  temporary_directory t;
  damage_tables_of(GENERATE(disk::space::log, disk::space::meta, disk::space::local), t.path());
  const auto s = store::open(t.path(), small_options());
  REQUIRE_FALSE(s);
  CHECK(s.error().code == errc::unavailable);
  CHECK(s.error().message.find("the data in " + t.path().string() + " is damaged (") == 0);
}

TEST_CASE("a lost or damaged mark is a damage", "[store]") {
  temporary_directory t;
  fill(t.path(), 3);
  CHECK(must(store::open(t.path()))->synced() == 3);
  SECTION("lost") { fs::remove(t.path() / "synced"); }
  SECTION("damaged") {
    flip(t.path() / "synced", 20);
    flip(t.path() / "synced", 4'096 + 20);
  }
  {
    auto s = must(store::open(t.path()));
    CHECK(s->damage());
    CHECK(prefix_in(*s) == 3);
  }
  auto s = must(store::open(t.path()));
  CHECK(s->damage());
  must(s->mark_synced(3));
  must(s->forget_damage());
}

TEST_CASE("a database that was removed is a new one; one that lost its log is not", "[store]") {
  temporary_directory t;
  fill(t.path(), 3);
  SECTION("removed") {
    fs::remove_all(t.path() / "db");
    auto s = must(store::open(t.path()));
    CHECK(s->synced() == 0);
    CHECK_FALSE(s->damage());
    CHECK(prefix_in(*s) == 0);
  }
  SECTION("its log was cut to nothing") {
    for (const auto& f : logs(t.path())) fs::resize_file(f, 0);
    const auto s = store::open(t.path());
    if (s) {
      CHECK((*s)->damage());
      CHECK((*s)->synced() == 3);
    } else {
      CHECK(s.error().code == errc::unavailable);
    }
  }
}

}  // namespace coterie::test
