#include "runtime/control_names.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

#include "net/control_place.hpp"

namespace coterie::runtime {

namespace fs = std::filesystem;

namespace {
constexpr int backlog = 256;
constexpr int same_names = 64;  // nodes of one name in one process

/// Bound under a name that nobody looks for, and renamed when it listens: so a socket that does not answer is a dead
/// one.
result<int> listen_at(const fs::path& at) {
  const auto why = [&at](const char* what) {
    return fail(errc::bad_argument,
                fmt::format("cannot {} the control socket {} ({}): check the directory and its free space", what,
                            at.string(), std::generic_category().message(errno)));
  };
  const fs::path hidden = at.parent_path() / fmt::format(".{}.new", ::getpid());
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  const auto& text = hidden.native();
  if (text.size() > net::max_socket_path()) {
    errno = ENAMETOOLONG;
    return why("create");
  }
  std::memcpy(a.sun_path, text.data(), text.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return why("create");
  ::unlink(hidden.c_str());
  // The mode set on an unbound socket is the one that its file gets, whatever the umask.
  const bool listening = ::fchmod(fd, 0600) == 0 && ::bind(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0 &&
                         ::chmod(hidden.c_str(), 0600) == 0 && ::listen(fd, backlog) == 0 &&
                         ::rename(hidden.c_str(), at.c_str()) == 0;
  if (!listening) {
    const auto error = why("create");
    ::unlink(hidden.c_str());
    ::close(fd);
    return error;
  }
  return fd;
}

/// A free name in the directory.
fs::path free_name(const fs::path& directory, std::string node) {
  std::replace(node.begin(), node.end(), '/', '_');
  std::error_code ec;
  for (int i = 1; i < same_names; ++i) {
    const auto p = directory / (i == 1 ? fmt::format("{}-{}.sock", node, ::getpid())
                                       : fmt::format("{}-{}-{}.sock", node, ::getpid(), i));
    if (fs::symlink_status(p, ec).type() == fs::file_type::not_found) return p;
  }
  return directory / fmt::format("{}-{}.sock", node, ::getpid());
}

/// Replaces whatever has this name.
bool link_to(const fs::path& socket, const fs::path& link) {
  const fs::path fresh = link.parent_path() / fmt::format(".{}.link", ::getpid());
  std::error_code ec;
  fs::remove(fresh, ec);
  fs::create_symlink(socket, fresh, ec);
  if (!ec) fs::rename(fresh, link, ec);
  return !ec;
}
}  // namespace

result<control_names> control_names::open(const where& n) {
  const auto directory = net::secure_directory(n.directory);
  if (directory) net::live_sockets(n.directory);
  const fs::path in_home = n.home.empty() ? fs::path() : fs::absolute(n.home) / "control.sock";
  // Room for the hidden name that it is bound under.
  const bool fits = !n.home.empty() && in_home.native().size() + 8 <= net::max_socket_path();
  if (!fits && !directory) return tl::unexpected(directory.error());

  const fs::path in_directory = directory ? free_name(n.directory, n.node) : fs::path();
  control_names s;
  auto fd = listen_at(fits ? in_home : in_directory);
  if (!fd) return tl::unexpected(fd.error());
  s.fd_ = *fd;
  s.socket_ = fits ? in_home : in_directory;
  if (!directory) {
    s.warning_ = "no link to the control socket: " + directory.error().message;
  } else if (const auto link = fits ? in_directory : in_home; !link.empty()) {
    if (link_to(s.socket_, link)) {
      s.link_ = link;
    } else {
      s.warning_ = fmt::format("cannot create {}, a link to the control socket {}", link.string(), s.socket_.string());
    }
  }
  return s;
}

control_names::control_names(control_names&& other) noexcept
    : socket_(std::exchange(other.socket_, {})),
      link_(std::exchange(other.link_, {})),
      warning_(std::move(other.warning_)),
      fd_(std::exchange(other.fd_, -1)) {}

control_names::~control_names() {
  if (fd_ >= 0) ::close(fd_);
  for (const auto& p : {link_, socket_})
    if (!p.empty()) ::unlink(p.c_str());
}

int control_names::take() { return std::exchange(fd_, -1); }

}  // namespace coterie::runtime
