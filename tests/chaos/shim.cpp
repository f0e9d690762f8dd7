// Preloaded into a node: a wall clock that jumps, a disk that fails, and an end at a certain call, all told live by a
// small file that is mapped into this process and into the test's. Only files under one directory are touched. Knows
// nothing of what is in them.
//
// An end begins with the first write to a log (a file called *.log) whose bytes hold a given text: before it, after it,
// after the sync that follows, after the next send on a stream, at the next write to a log after that. Or that write or
// sync fails.
//
// For each file that is written there it keeps, in the same mapped file, how much of it was synced, where it was
// written over since, and whether its name was synced, so that the rack can take away the rest after a kill, as a power
// loss does. Renames and removals count as durable at once, files only as far as fsync, fdatasync or O_DSYNC went. What
// a failed sync should have written is called clean by the kernel and is in memory alone: no later sync, of whatever
// process, writes it, unless it is written again. The layout below is repeated in shim.py.
//
// Environment: CHAOS_CONTROL the file, CHAOS_DATA the directory (absolute). Without them it does nothing.

// Both names of a call are wanted, not one made to mean the other.
#undef _FILE_OFFSET_BITS

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <string>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

namespace {

struct tracked_file {
  char name[88];                   ///< relative to the directory; empty = free
  std::uint64_t synced;            ///< bytes
  std::uint64_t dirty, dirty_end;  ///< what was written since inside of these, by pwrite; empty when equal
  std::uint64_t gone, gone_end;    ///< what a failed sync left in memory alone; empty when equal
  std::uint64_t named;             ///< its directory was synced since it was made

  void failed(std::uint64_t size) {
    if (size > synced) add(gone, gone_end, synced, size);
    if (dirty < dirty_end) add(gone, gone_end, dirty, dirty_end);
    synced = std::max(synced, size), dirty = dirty_end = 0;
  }
  void reached_the_disk(std::uint64_t size) {
    if (dirty <= gone && gone < dirty_end) gone = std::min(dirty_end, gone_end);
    if (dirty < gone_end && gone_end <= dirty_end) gone_end = std::max(dirty, gone);
    synced = std::max(synced, size), dirty = dirty_end = 0;
  }
  static void add(std::uint64_t& begin, std::uint64_t& end, std::uint64_t from, std::uint64_t to) {
    const bool empty = begin == end;
    begin = empty ? from : std::min(begin, from);
    end = empty ? to : std::max(end, to);
  }
};
constexpr std::size_t max_files = 2'048;

/// Where a process ends itself with SIGKILL; at the last two it goes on, with an error.
enum class point : std::uint32_t {
  none,
  before_write,
  after_write,
  after_sync,
  after_send,
  after_apply,
  write_fails,
  sync_fails
};

struct control {
  std::atomic<std::int64_t> wall_offset_ns;
  std::atomic<std::uint32_t> sync_stall_ms;  ///< each sync takes so much longer
  std::atomic<std::uint32_t> fail_sync;      ///< the next sync fails with EIO; goes back to zero by itself
  std::atomic<std::uint32_t> no_space;       ///< writes fail with ENOSPC
  std::atomic<std::uint32_t> fail_reads;     ///< the n-th read fails with EIO, and all after it; 0 = none
  std::atomic<std::uint32_t> low_space;      ///< statvfs tells of 1 MiB free
  std::atomic<std::uint32_t> lying;          ///< syncs succeed without doing anything
  std::atomic<std::uint32_t> syncs_failed, writes_failed, reads_failed, syncs_stalled;  ///< what came of it
  std::atomic<point> end_at;
  std::atomic<point> ended_at;  ///< the one that was come to
  char end_on[40];              ///< the text; set before end_at
  alignas(4096) tracked_file files[max_files];
};
static_assert(sizeof(tracked_file) == 136 && offsetof(control, end_at) == 48 && offsetof(control, files) == 4096);
static_assert(std::atomic<std::int64_t>::is_always_lock_free && std::atomic<point>::is_always_lock_free);

template <class F>
F* next(const char* name) {
  return reinterpret_cast<F*>(::dlsym(RTLD_NEXT, name));
}
#define REAL(name) static auto* const real = next<decltype(name)>(#name)

constexpr int max_descriptors = 65'536;
constexpr std::int16_t not_ours = 0, only_read = -1;  // else the place in the table, plus one

// Made before anything in this process can open a file of the directory; never destroyed.
struct shim {
  control* shared = nullptr;
  std::string directory;
  std::mutex mutex;  // of the table
  std::atomic<std::int16_t> descriptors[max_descriptors] = {};
  enum class stage : std::uint8_t { waiting, written, synced, sent };
  std::atomic<stage> on_its_way = stage::waiting;  // to its end

  shim() {
    const char* file = std::getenv("CHAOS_CONTROL");
    const char* data = std::getenv("CHAOS_DATA");
    if (file == nullptr || data == nullptr) return;
    const int fd = static_cast<int>(next<decltype(::open)>("open")(file, O_RDWR | O_CLOEXEC));
    if (fd < 0) std::abort();
    void* at = ::mmap(nullptr, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) std::abort();
    next<decltype(::close)>("close")(fd);
    directory = std::string(data) + "/";
    shared = static_cast<control*>(at);
    ::unsetenv("LD_PRELOAD");  // what the node starts has a sound disk and clock
  }

  /// The name inside the directory; null when it is elsewhere, or is kept without fsync on purpose.
  const char* inside(const char* path) const {
    if (shared == nullptr || path == nullptr || std::strncmp(path, directory.c_str(), directory.size()) != 0)
      return nullptr;
    const char* name = path + directory.size();
    while (*name == '/') ++name;
    for (const char* other : {"lock", "synced", "reserve", "control.sock"})
      if (std::strcmp(name, other) == 0) return nullptr;
    return *name == '\0' || std::strlen(name) >= sizeof(tracked_file::name) ? nullptr : name;
  }

  tracked_file* find(const char* name) {
    for (auto& f : shared->files)
      if (std::strcmp(f.name, name) == 0) return &f;
    return nullptr;
  }
  tracked_file* make(const char* name) {
    for (auto& f : shared->files)
      if (f.name[0] == '\0') {
        f = {};
        std::strcpy(f.name, name);
        return &f;
      }
    std::abort();
  }

  tracked_file* file_of(int fd) {
    if (fd < 0 || fd >= max_descriptors || shared == nullptr) return nullptr;
    const auto place = descriptors[fd].load();
    return place > 0 ? &shared->files[place - 1] : nullptr;
  }
  bool reads_fail(int fd) {
    if (fd < 0 || fd >= max_descriptors || shared == nullptr || descriptors[fd].load() == not_ours) return false;
    auto left = shared->fail_reads.load();
    while (left > 1 && !shared->fail_reads.compare_exchange_weak(left, left - 1)) {
    }
    if (left != 1) return false;
    ++shared->reads_failed;
    errno = EIO;
    return true;
  }
  bool write_fails(int fd) {
    if (file_of(fd) == nullptr || shared->no_space.load() == 0) return false;
    ++shared->writes_failed;
    errno = ENOSPC;
    return true;
  }

  bool comes_to(point p) {
    if (shared->end_at.load() != p) return false;
    shared->ended_at = p;
    return true;
  }
  void ends_at(point p) {
    if (!comes_to(p)) return;
    ::kill(::getpid(), SIGKILL);
    for (;;) ::pause();
  }
  bool is_log(const tracked_file* f) {
    const auto n = f == nullptr ? 0 : std::strlen(f->name);
    return n > 4 && std::strcmp(f->name + n - 4, ".log") == 0;
  }

  template <class Write>
  ssize_t write(int fd, const void* b, std::size_t n, Write real) {
    if (write_fails(fd)) return -1;
    if (shared == nullptr || shared->end_at.load() == point::none || !is_log(file_of(fd))) return real(fd, b, n);
    if (on_its_way == stage::sent) ends_at(point::after_apply);
    const bool begins =
        on_its_way == stage::waiting && ::memmem(b, n, shared->end_on, std::strlen(shared->end_on)) != nullptr;
    if (begins) ends_at(point::before_write);
    if (begins && comes_to(point::write_fails)) {
      errno = ENOSPC;
      return -1;
    }
    const auto r = real(fd, b, n);
    if (!begins) return r;
    ends_at(point::after_write);
    on_its_way = stage::written;
    return r;
  }
  /// The same for a write at a place.
  template <class Write>
  ssize_t write_at(int fd, const void* b, std::size_t n, std::uint64_t at, Write real) {
    auto* f = file_of(fd);
    if (f != nullptr && shared->no_space.load() == 0) {  // before it is done: it may be the last call
      tracked_file::add(f->dirty, f->dirty_end, at, at + n);
    }
    return write(fd, b, n, real);
  }
  void sent(int fd) {
    int type = 0;
    socklen_t size = sizeof type;
    if (on_its_way != stage::synced || ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM)
      return;
    ends_at(point::after_send);
    on_its_way = stage::sent;
  }

  void opened(int fd, const char* path, int flags, bool existed) {
    const char* name = fd < 0 || fd >= max_descriptors ? nullptr : inside(path);
    if (name == nullptr) return;
    if ((flags & O_ACCMODE) == O_RDONLY) {
      descriptors[fd] = only_read;
      return;
    }
    const std::lock_guard lock(mutex);
    auto* f = find(name);
    if (f == nullptr) {
      struct stat s {};
      f = make(name);
      f->named = existed;
      if (existed && ::fstat(fd, &s) == 0) f->synced = static_cast<std::uint64_t>(s.st_size);
    }
    if ((flags & O_TRUNC) != 0) f->synced = f->dirty = f->dirty_end = f->gone = f->gone_end = 0;
    descriptors[fd] = static_cast<std::int16_t>(f - shared->files + 1);
  }

  void closed(int fd) {
    if (fd >= 0 && fd < max_descriptors) descriptors[fd] = not_ours;
  }

  void directory_synced(int fd) {
    char link[64], path[512];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    const auto n = ::readlink(link, path, sizeof path - 2);
    if (n <= 0) return;
    path[n] = '/', path[n + 1] = '\0';
    if (std::strncmp(path, directory.c_str(), directory.size()) != 0) return;
    const std::string prefix(path + directory.size());
    const std::lock_guard lock(mutex);
    for (auto& f : shared->files)
      if (f.name[0] != '\0' && std::strncmp(f.name, prefix.c_str(), prefix.size()) == 0 &&
          std::strchr(f.name + prefix.size(), '/') == nullptr)
        f.named = 1;
  }

  template <class Sync>
  int sync(int fd, Sync real) {
    auto* f = file_of(fd);
    struct stat s {};
    if (shared == nullptr || ::fstat(fd, &s) != 0) return real(fd);
    if (f == nullptr) {
      const int r = real(fd);
      if (r == 0 && S_ISDIR(s.st_mode)) directory_synced(fd);
      return r;
    }
    if (const auto ms = shared->sync_stall_ms.load(); ms > 0) {
      ++shared->syncs_stalled;
      ::usleep(ms * 1'000);
    }
    const bool on_way = on_its_way == stage::written && is_log(f);
    if (shared->fail_sync.exchange(0) != 0 || (on_way && comes_to(point::sync_fails))) {
      f->failed(static_cast<std::uint64_t>(s.st_size));
      ++shared->syncs_failed;
      errno = EIO;
      return -1;
    }
    const int r = real(fd);
    if (r == 0 && shared->lying.load() == 0) f->reached_the_disk(static_cast<std::uint64_t>(s.st_size));
    if (on_way) {
      ends_at(point::after_sync);
      on_its_way = stage::synced;
    }
    return r;
  }

  void renamed(const char* from, const char* to) {
    const char *a = inside(from), *b = inside(to);
    if (a == nullptr || b == nullptr) return;
    const std::lock_guard lock(mutex);
    auto* f = find(a);
    if (auto* old = find(b)) *old = {};
    if (f == nullptr) return;
    std::memset(f->name, 0, sizeof f->name);
    std::strcpy(f->name, b);
    f->named = 1;
  }
  void removed(const char* path) {
    const char* name = inside(path);
    if (name == nullptr) return;
    const std::lock_guard lock(mutex);
    if (auto* f = find(name)) *f = {};
  }
};

// No destructor: other libraries' threads may still write when this process ends.
shim& self() {
  static auto* const s = new shim;
  return *s;
}
std::atomic<bool> begun = false;
[[gnu::constructor]] void begin() {
  self();
  begun = true;
}

int offset(clockid_t id, timespec* t) {
  const auto* shared = self().shared;
  if (shared == nullptr || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE)) return 0;
  const auto ns = std::int64_t{t->tv_sec} * 1'000'000'000 + t->tv_nsec + shared->wall_offset_ns.load();
  t->tv_sec = ns / 1'000'000'000;
  t->tv_nsec = ns % 1'000'000'000;
  return 0;
}

template <class Open>
int open_file(Open real, const char* path, int flags, mode_t mode) {
  const bool existed = self().inside(path) != nullptr && ::access(path, F_OK) == 0;
  const int fd = real(path, flags, mode);
  const int why = errno;
  self().opened(fd, path, flags, existed);
  errno = why;
  return fd;
}

template <class Open>
FILE* open_stream(Open real, const char* path, const char* mode) {
  FILE* f = real(path, mode);
  // Streams are used for reading, and for diaries that nobody relies on.
  if (f != nullptr && mode[0] == 'r' && std::strchr(mode, '+') == nullptr)
    self().opened(::fileno(f), path, O_RDONLY, true);
  return f;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// ---- the clock
// ------------------------------------------------------------------------------------------------------

int clock_gettime(clockid_t id, timespec* t) noexcept {
  // An allocator that asks for the time when it is asked for memory first, by us.
  if (!begun) return static_cast<int>(::syscall(SYS_clock_gettime, id, t));
  REAL(clock_gettime);
  const int r = real(id, t);
  return r == 0 ? offset(id, t) : r;
}

int gettimeofday(timeval* t, void*) noexcept {
  timespec s{};
  if (clock_gettime(CLOCK_REALTIME, &s) != 0) return -1;
  t->tv_sec = s.tv_sec;
  t->tv_usec = s.tv_nsec / 1'000;
  return 0;
}

time_t time(time_t* t) noexcept {
  timespec s{};
  clock_gettime(CLOCK_REALTIME, &s);
  if (t != nullptr) *t = s.tv_sec;
  return s.tv_sec;
}

// ---- opening and closing
// -------------------------------------------------------------------------------------------

int open(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const auto mode = static_cast<mode_t>(va_arg(more, unsigned));
  va_end(more);
  REAL(open);
  return open_file(real, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  const auto mode = static_cast<mode_t>(va_arg(more, unsigned));
  va_end(more);
  REAL(open64);
  return open_file(real, path, flags, mode);
}

FILE* fopen(const char* path, const char* mode) {
  REAL(fopen);
  return open_stream(real, path, mode);
}
FILE* fopen64(const char* path, const char* mode) {
  REAL(fopen64);
  return open_stream(real, path, mode);
}

// A descriptor that becomes a stream keeps its place.
int close(int fd) {
  REAL(close);
  self().closed(fd);
  return real(fd);
}
int fclose(FILE* f) {
  REAL(fclose);
  self().closed(::fileno(f));
  return real(f);
}

int rename(const char* from, const char* to) noexcept {
  REAL(rename);
  const int r = real(from, to);
  if (r == 0) self().renamed(from, to);
  return r;
}
int unlink(const char* path) noexcept {
  REAL(unlink);
  const int r = real(path);
  if (r == 0) self().removed(path);
  return r;
}

// ---- writing
// ----------------------------------------------------------------------------------------------------------

ssize_t write(int fd, const void* b, size_t n) {
  REAL(write);
  return self().write(fd, b, n, real);
}
ssize_t writev(int fd, const iovec* v, int n) {
  REAL(writev);
  return self().write_fails(fd) ? -1 : real(fd, v, n);
}
ssize_t pwrite(int fd, const void* b, size_t n, off_t at) {
  REAL(pwrite);
  return self().write_at(fd, b, n, static_cast<std::uint64_t>(at),
                         [at](int file, const void* what, size_t size) { return real(file, what, size, at); });
}
ssize_t pwrite64(int fd, const void* b, size_t n, off64_t at) {
  REAL(pwrite64);
  return self().write_at(fd, b, n, static_cast<std::uint64_t>(at),
                         [at](int file, const void* what, size_t size) { return real(file, what, size, at); });
}

int fsync(int fd) {
  REAL(fsync);
  return self().sync(fd, real);
}
int fdatasync(int fd) {
  REAL(fdatasync);
  return self().sync(fd, real);
}

// ---- sending
// ----------------------------------------------------------------------------------------------------------

ssize_t send(int fd, const void* b, size_t n, int flags) {
  REAL(send);
  const auto r = real(fd, b, n, flags);
  if (r > 0) self().sent(fd);
  return r;
}
ssize_t sendmsg(int fd, const msghdr* m, int flags) {
  REAL(sendmsg);
  const auto r = real(fd, m, flags);
  if (r > 0) self().sent(fd);
  return r;
}

// ---- reading
// ----------------------------------------------------------------------------------------------------------

ssize_t read(int fd, void* b, size_t n) {
  REAL(read);
  return self().reads_fail(fd) ? -1 : real(fd, b, n);
}
ssize_t pread(int fd, void* b, size_t n, off_t at) {
  REAL(pread);
  return self().reads_fail(fd) ? -1 : real(fd, b, n, at);
}
ssize_t pread64(int fd, void* b, size_t n, off64_t at) {
  REAL(pread64);
  return self().reads_fail(fd) ? -1 : real(fd, b, n, at);
}
size_t fread(void* b, size_t size, size_t n, FILE* f) {
  REAL(fread);
  return self().reads_fail(::fileno(f)) ? 0 : real(b, size, n, f);
}
size_t fread_unlocked(void* b, size_t size, size_t n, FILE* f) {
  REAL(fread_unlocked);
  return self().reads_fail(::fileno(f)) ? 0 : real(b, size, n, f);
}

// ---- space
// ------------------------------------------------------------------------------------------------------------

int statvfs(const char* path, struct statvfs* s) noexcept {
  REAL(statvfs);
  const int r = real(path, s);
  const auto* shared = self().shared;
  if (r == 0 && shared != nullptr && shared->low_space.load() != 0) s->f_bavail = s->f_bfree = (1u << 20) / s->f_frsize;
  return r;
}
int statvfs64(const char* path, struct statvfs64* s) noexcept {
  REAL(statvfs64);
  const int r = real(path, s);
  const auto* shared = self().shared;
  if (r == 0 && shared != nullptr && shared->low_space.load() != 0) s->f_bavail = s->f_bfree = (1u << 20) / s->f_frsize;
  return r;
}

}  // extern "C"
#pragma GCC visibility pop
