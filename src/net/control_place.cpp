#include "net/control_place.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

namespace coterie::net {

namespace fs = std::filesystem;

std::size_t max_socket_path() { return sizeof(sockaddr_un::sun_path) - 1; }

fs::path control_directory() {
  std::error_code ec;
  if (const char* run = std::getenv("XDG_RUNTIME_DIR"); run != nullptr && *run == '/' && fs::is_directory(run, ec))
    return fs::path(run) / "coterie";
  return fmt::format("/tmp/coterie-{}", ::geteuid());
}

result<void> secure_directory(const fs::path& d) {
  if (::mkdir(d.c_str(), 0700) != 0 && errno != EEXIST)
    return fail(errc::bad_argument,
                fmt::format("cannot create {} ({}): make it, or set XDG_RUNTIME_DIR to a directory of yours",
                            d.string(), std::generic_category().message(errno)));
  struct stat s {};
  if (::lstat(d.c_str(), &s) != 0 || !S_ISDIR(s.st_mode) || s.st_uid != ::geteuid() || (s.st_mode & 077) != 0)
    return fail(errc::bad_argument,
                fmt::format("{} is not a directory that this user alone may use: remove it, or set XDG_RUNTIME_DIR",
                            d.string()));
  return {};
}

bool socket_answers(const fs::path& p) {
  const auto& text = p.native();
  if (text.size() > max_socket_path()) return true;
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return true;
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, text.data(), text.size());
  const bool dead = ::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0 &&
                    (errno == ECONNREFUSED || errno == ENOENT || errno == ENOTDIR);
  ::close(fd);
  return !dead;
}

std::vector<fs::path> live_sockets(const fs::path& directory) {
  std::vector<fs::path> live;
  std::error_code ec;
  if (!fs::is_directory(directory, ec) || !secure_directory(directory)) return live;
  for (auto it = fs::directory_iterator(directory, ec); !ec && it != fs::directory_iterator(); it.increment(ec)) {
    const auto& p = it->path();
    const auto name = p.filename().string();
    if (p.extension() != ".sock" || name.starts_with('.')) continue;
    if (socket_answers(p)) {
      live.push_back(p);
    } else {
      std::error_code ignored;
      fs::remove(p, ignored);
    }
  }
  std::sort(live.begin(), live.end());
  return live;
}

}  // namespace coterie::net
