// RocksDB on a disk that fails: the first error is final, and nothing reaches the disk after it. Directories that can't
// be used are refused with a sentence that helps.
#include <atomic>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <vector>

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "contract/store_disks.hpp"

namespace {

std::atomic<int> failing_syncs{0};  // so many fdatasync calls fail
std::atomic<int> sound_syncs{0};    // before that
std::atomic<int> all_syncs{0};

}  // namespace

// RocksDB's calls come here, too: the dynamic linker takes the executable's definition first.
extern "C" int fdatasync(int fd) {
  ++all_syncs;
  if (failing_syncs > 0 && sound_syncs-- <= 0) {
    --failing_syncs;
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

namespace coterie::test {
namespace {

namespace fs = std::filesystem;

disk::batch some(std::string_view key, std::size_t size = 10) { return {put(space::log, key, std::string(size, 'x'))}; }

/// Every call fails at once, with the first reason, and none reaches the disk.
void expect_latched(store& s, const std::string& because) {
  const int before = all_syncs;
  REQUIRE(s.failed());
  const auto why = *s.failed();
  INFO(why.message);
  CHECK(why.code == errc::closed);
  CHECK(why.message.find(because) != std::string::npos);
  CHECK(why.message.find("): make sure that it is sound and has space, then start the node again") !=
        std::string::npos);
  const auto same = [&](const auto& r) {
    REQUIRE_FALSE(r);
    CHECK(r.error() == why);
  };
  same(s.write(some("z"), false));
  same(s.write(some("z"), true));
  same(s.write(disk::batch(), true));
  same(s.range({}));
  same(s.load({}, {}));
  same(s.open_view(77));
  same(s.close_view(77));
  same(s.install_begin());
  same(s.install_chunk({}));
  same(s.install_commit({}));
  same(s.mark_synced(77));
  same(s.forget_damage());
  CHECK(all_syncs == before);
}

/// Runs as another user for a while, when this one may do everything.
struct unprivileged {
  unprivileged() {
    if (::geteuid() == 0) changed = ::seteuid(65534) == 0;
  }
  ~unprivileged() {
    if (changed && ::seteuid(0) != 0) std::abort();
  }
  bool changed = false;
};

}  // namespace

TEST_CASE("a sync that fails is the last one, even if the next would succeed (cockroach#37102)", "[store][lesson]") {
  temporary_directory t;
  {
    auto s = must(store::open(t.path()));
    must(s->write(some("a"), true));
    const int before = all_syncs;
    must(s->write(some("b"), true));
    REQUIRE(all_syncs == before + 1);  // one write, one sync; and the plant works
    failing_syncs = 1;
    const auto r = s->write(some("c"), true);
    CHECK(failing_syncs == 0);
    REQUIRE_FALSE(r);
    CHECK(r.error().code == errc::closed);
    expect_latched(*s, "Input/output error");
    const int at_end = all_syncs;
    s.reset();
    CHECK(all_syncs == at_end);
  }
  auto s = must(store::open(t.path()));
  CHECK_FALSE(s->failed());
  query q;
  q.in = space::log;
  const auto items = must(s->range(q)).items;
  CHECK(items.size() >= 2);  // what was acknowledged; the rest is anyone's guess
}

TEST_CASE("a write that fails is the last one", "[store]") {
  temporary_directory t;
  auto s = must(store::open(t.path()));
  must(s->write(some("a"), true));
  std::vector<result<void>> answers;
  {
    // files above this size can't be written; nothing is printed meanwhile
    rlimit old{};
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &old) == 0);
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit tight{64 << 10, old.rlim_max};
    const bool limited = ::setrlimit(RLIMIT_FSIZE, &tight) == 0;
    for (int i = 0; limited && i < 100 && (answers.empty() || answers.back()); ++i) {
      answers.push_back(s->write(some(fmt::format("b{}", i), 4'000), i % 2 == 0));
    }
    ::setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, handler);
  }
  REQUIRE(answers.size() > 5);
  REQUIRE(answers.size() < 30);
  REQUIRE_FALSE(answers.back());
  expect_latched(*s, "File too large");
  s.reset();
  s = must(store::open(t.path()));
  auto q = whole(space::log);
  CHECK(must(s->range(q)).items.size() >= answers.size() - 1);
}

// Its tables are synced, moved into the database, and referred to by a record of the log: what is between two of these
// is neither the old state nor the new one.
TEST_CASE("an install that fails at any of its syncs is whole or absent, and so is the one after it (nuraft#562)",
          "[store][lesson]") {
  std::vector<disk::item> items;
  for (int i = 0; i < 300; ++i) items.push_back(item(fmt::format("{:04}", i), std::string(1'000, 'n')));
  int syncs = 0;
  for (bool failed = true; failed; ++syncs) {
    temporary_directory t;
    {
      auto s = must(store::open(t.path(), small_options()));
      must(s->write({put(space::state, "old", "1"), put(space::meta, "old", "1")}, true));
      must(s->install_begin());
      must(s->install_chunk(items));
      sound_syncs = syncs;
      failing_syncs = 1;
      const auto r = s->install_commit({erase(space::meta, "old"), put(space::meta, "new", "1")});
      failed = failing_syncs.exchange(0) == 0;
      sound_syncs = 0;
      INFO("after " << syncs << " syncs");
      REQUIRE(r.has_value() != failed);
    }
    auto s = must(store::open(t.path(), small_options()));
    const auto image = must(s->load({}, {}));
    const bool is_new = image.state == items && text(image.meta) == "new=1";
    const bool is_old = text(image.state) == "old=1" && text(image.meta) == "old=1";
    INFO("after " << syncs << " syncs: " << text(image.meta) << ", " << image.state.size() << " items");
    REQUIRE((is_new || (failed && is_old)));
    CHECK_FALSE(fs::exists(t.path() / "db" / "incoming"));
    must(s->install_begin());
    must(s->install_chunk(std::vector{item("0001", "another")}));
    must(s->install_commit({}));
    s.reset();
    s = must(store::open(t.path(), small_options()));
    REQUIRE(text(must(s->load({}, {})).state) == "0001=another");
  }
  REQUIRE(syncs > 5);
}

TEST_CASE("a failed flush in the background is noticed", "[store]") {
  temporary_directory t;
  auto s = must(store::open(t.path(), small_options()));
  // an open table can't be created any more: its name is taken by a directory
  for (int i = 1; i < 200; ++i) fs::create_directory(t.path() / "db" / fmt::format("{:06}.sst", i));
  bool ok = true;
  for (int i = 0; ok && i < 20'000; ++i) ok = s->write(some(fmt::format("{:06}", i), 1'000), false).has_value();
  CHECK_FALSE(ok);
  expect_latched(*s, "Is a directory");
}

TEST_CASE("a view open at the failure does no harm", "[store]") {
  temporary_directory t;
  auto s = must(store::open(t.path()));
  must(s->write(some("a"), true));
  {
#ifdef __SANITIZE_ADDRESS__
    const __lsan::ScopedDisabler known;  // the store lets the view's few bytes go rather than call a failed database
#endif
    must(s->open_view(1));
  }
  failing_syncs = 1;
  CHECK_FALSE(s->write(some("b"), true));
  expect_latched(*s, "Input/output error");
  s.reset();
  s = must(store::open(t.path()));
  CHECK(s->range(whole(space::log, 1)).error().code == errc::not_found);
}

TEST_CASE("a full disk ends the store; nothing acknowledged is lost", "[store]") {
  temporary_directory t;
  if (::mount("none", t.path().c_str(), "tmpfs", 0, "size=8m") != 0) {
    WARN("skipped: a file system of its own can't be mounted here: " << std::strerror(errno));
    return;
  }
  struct unmount {
    const fs::path& at;
    ~unmount() { ::umount2(at.c_str(), MNT_DETACH); }
  } at_end{t.path()};
  auto o = small_options();
  o.reserve = 1 << 20;
  std::vector<std::string> acknowledged;
  {
    auto s = must(store::open(t.path() / "data", o));
    CHECK_FALSE(s->low_space());
    std::ofstream filler(t.path() / "filler");
    const std::string chunk(64 << 10, 'f');
    while (s->free_bytes() > 700'000) REQUIRE((filler << chunk << std::flush).good());
    CHECK(s->low_space());  // below the reserve, which is now given back
    CHECK(s->free_bytes() > 1'000'000);
    CHECK(s->low_space());
    bool ok = true;
    for (int i = 0; ok && i < 10'000; ++i) {
      const auto key = fmt::format("{:06}", i);
      ok = s->write(some(key, 1'000), true).has_value();
      if (ok) acknowledged.push_back(key);
    }
    REQUIRE_FALSE(ok);
    CHECK(acknowledged.size() > 100);
    expect_latched(*s, "No space left on device");
    // Closing must not need room either.
    s.reset();
    filler.close();
    fs::remove(t.path() / "filler");
  }
  auto s = must(store::open(t.path() / "data", o));
  CHECK_FALSE(s->low_space());
  const auto items = must(s->range(whole(space::log))).items;
  REQUIRE(items.size() >= acknowledged.size());
  for (std::size_t i = 0; i < acknowledged.size(); ++i) REQUIRE(to_text(items[i].first) == acknowledged[i]);
}

TEST_CASE("misuse is refused and changes nothing", "[store]") {
  temporary_directory t;
  auto o = small_options();
  o.max_views = 2;
  auto s = must(store::open(t.path(), o));
  CHECK(s->install_chunk({}).error().code == errc::bad_argument);
  CHECK(s->install_commit({}).error().code == errc::bad_argument);
  CHECK(s->open_view(0).error().code == errc::bad_argument);
  must(s->open_view(1));
  CHECK(s->open_view(1).error().code == errc::bad_argument);
  must(s->open_view(2));
  CHECK(s->open_view(3).error().code == errc::limit);
  must(s->close_view(1));
  must(s->open_view(3));
  CHECK(s->range(whole(space::log, 1)).error().code == errc::not_found);
  CHECK_FALSE(s->failed());
  must(s->write(some("a"), true));
}

TEST_CASE("a directory that can't be used is refused with a reason and a remedy", "[store]") {
  temporary_directory t;
  const auto refusal = [](const fs::path& at) {
    const auto s = store::open(at, small_options());
    REQUIRE_FALSE(s);
    CHECK(s.error().code == errc::bad_argument);
    return s.error().message;
  };
  const auto name = t.path().string();
  std::ofstream(t.path() / "file") << "text";
  CHECK(refusal(t.path() / "file") == name + "/file is not a directory: choose another --data");
  CHECK(refusal(t.path() / "file/below") == name + "/file/below is not a directory: choose another --data");
  CHECK(refusal("/proc/coterie") ==
        "/proc/coterie can't be created (No such file or directory): create it for this user, "
        "or choose another --data");
  fs::create_directory(t.path() / "closed");
  REQUIRE(::chmod((t.path() / "closed").c_str(), 0) == 0);
  REQUIRE(::chmod(t.path().c_str(), 0755) == 0);
  std::string closed, below;
  {
    const unprivileged other;
    closed = refusal(t.path() / "closed");
    below = refusal(t.path() / "closed/below");
  }
  CHECK(closed ==
        name + "/closed can't be written (Permission denied): give it to this user, or choose another --data");
  CHECK(below == name +
                     "/closed/below can't be created (Permission denied): create it for this user, or choose another "
                     "--data");
}

TEST_CASE("directories are made for this user alone, and paths are made absolute", "[store]") {
  temporary_directory t;
  const auto old = ::umask(0);
  must(store::open(t.path() / "a/b/../c/", small_options()));
  ::umask(old);
  for (const auto* made : {"a", "a/c", "a/c/db"}) {
    struct stat st {};
    REQUIRE(::stat((t.path() / made).c_str(), &st) == 0);
    CHECK((st.st_mode & 07777) == 0700);
  }
  const auto s = must(store::open(t.path() / "a/c", small_options()));
  CHECK(store::open(t.path() / "a/c", small_options()).error().message.find((t.path() / "a/c is in use").string()) ==
        0);
}

TEST_CASE("a reserve is kept and counts as used", "[store]") {
  temporary_directory t;
  store::options o;
  must(store::open(t.path(), o));
  CHECK(fs::file_size(t.path() / "reserve") == 16 << 20);
  o.reserve = 0;
  must(store::open(t.path(), o));
  CHECK_FALSE(fs::exists(t.path() / "reserve"));
  o.low_space_threshold = UINT64_MAX;
  CHECK(must(store::open(t.path(), o))->low_space());
  o.low_space_threshold = 0;
  CHECK_FALSE(must(store::open(t.path(), o))->low_space());
}

}  // namespace coterie::test
