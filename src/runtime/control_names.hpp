// The names of a node's control socket: HOME/control.sock and NAME-PID.sock in the user's control directory, one of
// them the socket, the other a link to it. Knows files; not who connects, nor what is said.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "base/result.hpp"

namespace coterie::runtime {

class control_names {
 public:
  struct where {
    std::filesystem::path home;       ///< locked by this process; empty = none
    std::filesystem::path directory;  ///< net::control_directory()
    std::string node;
  };
  /// Listens, mode 0600 from its first moment. What a crash left under these names is replaced, dead sockets in the
  /// directory are removed. The socket is in the home; in the directory when there is no home or its path is too long
  /// for a socket. A directory that others may use is an error then, else a reason in warning() why no link is there.
  static result<control_names> open(const where&);
  control_names(control_names&&) noexcept;
  control_names& operator=(control_names&&) = delete;
  /// Removes the names; closes the socket unless it was taken.
  ~control_names();

  const std::filesystem::path& path() const { return socket_; }
  const std::optional<std::string>& warning() const { return warning_; }
  /// The listening descriptor, now the caller's.
  int take();

 private:
  control_names() = default;
  std::filesystem::path socket_, link_;
  std::optional<std::string> warning_;
  int fd_ = -1;
};

}  // namespace coterie::runtime
