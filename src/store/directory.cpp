#include "store/directory.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fmt/format.h>

namespace coterie {
namespace {

namespace fs = std::filesystem;

std::string reason(int error) { return std::strerror(error); }

/// mkdir -p, each new directory for this user alone and durable in its parent. 0 or the error.
int make_directories(const fs::path& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) == 0) return S_ISDIR(s.st_mode) ? 0 : ENOTDIR;
  if (errno != ENOENT) return errno;
  const auto parent = path.parent_path();
  if (parent != path && !parent.empty()) {
    if (const int error = make_directories(parent)) return error;
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return errno;
  return sync_directory(parent) ? 0 : errno;
}

/// The process number that the holder of the lock wrote into it; 0 when it has not yet.
long holder(int fd) {
  char text[24] = {};
  const auto n = ::pread(fd, text, sizeof text - 1, 0);
  return n > 0 ? std::strtol(text, nullptr, 10) : 0;
}

}  // namespace

file_descriptor& file_descriptor::operator=(file_descriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

file_descriptor::~file_descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

bool sync_directory(const fs::path& path) {
  const file_descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return errno == EACCES;  // a parent that we may enter but not read: nothing more can be done about it
  return ::fsync(fd.get()) == 0 || errno == EINVAL;  // some file systems have no such thing
}

result<data_directory> data_directory::open(const fs::path& given) {
  std::error_code ignored;
  auto path = fs::absolute(given, ignored).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const auto name = path.string();
  if (const int error = make_directories(path)) {
    if (error == ENOTDIR) {
      return fail(errc::bad_argument, fmt::format("{} is not a directory: choose another --data", name));
    }
    return fail(errc::bad_argument,
                fmt::format("{} can't be created ({}): create it for this user, or choose another --data", name,
                            reason(error)));
  }
  file_descriptor lock(::open((path / "lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) {
    const int error = errno;
    return fail(errc::bad_argument,
                fmt::format("{} can't be written ({}): {}", name, reason(error),
                            error == ENOSPC || error == EDQUOT ? "free some space, or choose another --data"
                                                               : "give it to this user, or choose another --data"));
  }
  // flock belongs to the open file: it also keeps out a second store in this process, and ends with the process
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) {
      return fail(errc::bad_argument,
                  fmt::format("{} can't be locked ({}): choose another --data, on a file system with locks", name,
                              reason(errno)));
    }
    const long pid = holder(lock.get());
    const auto who = pid > 0 ? fmt::format(" (pid {})", pid) : std::string();
    return fail(errc::exists,
                fmt::format("{} is in use by another process{}: stop it or choose another --data", name, who));
  }
  // only for the message above, so a failure does not matter
  const auto pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(lock.get(), 0) == 0 && ::pwrite(lock.get(), pid.data(), pid.size(), 0) < 0) ignored.clear();
  return data_directory(std::move(path), std::move(lock));
}

std::uint64_t data_directory::free_bytes() const {
  struct statvfs s {};
  return ::statvfs(path_.c_str(), &s) == 0 ? std::uint64_t{s.f_bavail} * s.f_frsize : 0;
}

std::uint64_t data_directory::capacity() const {
  struct statvfs s {};
  return ::statvfs(path_.c_str(), &s) == 0 ? std::uint64_t{s.f_blocks} * s.f_frsize : 0;
}

bool data_directory::hold_reserve(std::uint64_t size) const {
  if (reserve() == size) return true;
  if (size == 0) {
    release_reserve();
    return true;
  }
  const auto file = path_ / "reserve";
  const file_descriptor fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (fd && ::posix_fallocate(fd.get(), 0, static_cast<off_t>(size)) == 0) return true;
  ::unlink(file.c_str());
  return false;
}

void data_directory::release_reserve() const { ::unlink((path_ / "reserve").c_str()); }

std::uint64_t data_directory::reserve() const {
  struct stat s {};
  return ::stat((path_ / "reserve").c_str(), &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : 0;
}

}  // namespace coterie
