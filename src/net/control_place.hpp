// Where the control sockets of this user's nodes are found: one directory, private to the user. Both sides need it, the
// node that makes a socket and the command that looks for one. Knows file names, not what is said on the socket.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace coterie::net {

/// Longest path that a Unix socket can be bound to or reached by.
std::size_t max_socket_path();

/// $XDG_RUNTIME_DIR/coterie when that variable names a directory, else /tmp/coterie-UID. It need not exist.
std::filesystem::path control_directory();

/// Creates the directory (0700) when it is missing. errc::bad_argument when it is not a directory, not ours, or open to
/// others: then nothing in it can be trusted.
result<void> secure_directory(const std::filesystem::path&);

/// Whether a process listens on this socket (or behind this link). False only when that is certain.
bool socket_answers(const std::filesystem::path&);

/// The sockets and links NAME-PID.sock in the directory that answer, sorted; those that do not are removed. Empty when
/// the directory can't be trusted.
std::vector<std::filesystem::path> live_sockets(const std::filesystem::path& directory);

}  // namespace coterie::net
