// The command's side of the control socket: finds a node of this user, sends requests, waits for answers. Blocking, one
// connection, one thread. Knows sockets and frames, not what commands make of the answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/result.hpp"
#include "wire/codec.hpp"
#include "wire/request.hpp"

namespace coterie::command {

using ms = std::chrono::milliseconds;

/// What the command ends with.
enum status : int {
  ok = 0,
  failed = 1,
  wrong_usage = 2,
  no_node = 3,
  no_quorum = 4,
  timed_out = 5,
  held = 6,
  unknown_outcome = 7,
  own_error = 100,  ///< of `lock exec`, added to the above
};

/// Ends the command: a sentence ("what happened: what to do") and an exit status.
class command_error : public std::runtime_error {
 public:
  command_error(int s, const std::string& text) : std::runtime_error(text), status_(s) {}
  int exit_status() const { return status_; }

 private:
  int status_;
};

int status_of(errc) noexcept;
[[noreturn]] void raise(const failure&);
[[noreturn]] void raise(const error&);  ///< what the C++ API threw

using deadline = std::chrono::steady_clock::time_point;
inline deadline in(ms d) { return std::chrono::steady_clock::now() + d; }

/// A running node: the name that it gave its socket, and where that is.
struct found_node {
  std::string name;
  std::filesystem::path socket;
};
/// The nodes of this user that answer.
std::vector<found_node> running_nodes();
/// The socket for what the user said: a path, a directory, a name or an address; the only running node when it is
/// empty.
std::filesystem::path find_node(const std::string& said, ms patience);

class client {
 public:
  struct answer {
    std::uint64_t call = 0;
    bool last = true;
    wire::response what;
  };
  /// Throws command_error(no_node).
  explicit client(std::filesystem::path socket);
  client(const client&) = delete;
  client(client&&) noexcept;
  client& operator=(client&& o) noexcept {
    std::swap(fd_, o.fd_);
    std::swap(socket_, o.socket_);
    std::swap(last_call_, o.last_call_);
    std::swap(in_, o.in_);
    std::swap(out_, o.out_);
    std::swap(taken_, o.taken_);
    return *this;
  }
  ~client();

  /// Sends; the number of the call.
  std::uint64_t send(const wire::request&, std::optional<ms> timeout = {});
  /// The same, but it may wait for others that go with it: for flush(), or the next call of send().
  std::uint64_t queue(const wire::request&, std::optional<ms> timeout = {});
  void flush();
  /// No more answers to this call.
  void cancel(std::uint64_t call);
  /// The next answer to any call; nothing when the deadline is reached first. Throws command_error(no_node) when the
  /// connection ends.
  std::optional<answer> next(deadline);
  /// What has come already; never waits.
  std::optional<answer> poll() { return next(deadline::min()); }
  /// The one answer to a request. Throws its failure; when none comes in time: timed_out, or unknown_outcome when the
  /// request changes something.
  wire::response ask(const wire::request&, ms patience, bool changes = false);
  template <class T>
  T ask(const wire::request& r, ms patience, bool changes = false) {
    auto a = ask(r, patience, changes);
    if (auto* x = std::get_if<T>(&a)) return std::move(*x);
    throw command_error(failed, "the node gave an answer of another kind: are both of the same version?");
  }
  int fd() const { return fd_; }
  const std::filesystem::path& socket() const { return socket_; }

 private:
  void write(byte_view, deadline);
  bool read_more(deadline);
  std::optional<answer> take_frame();

  std::filesystem::path socket_;
  int fd_ = -1;
  std::uint64_t last_call_ = 0;
  bytes in_, out_;
  std::size_t taken_ = 0;  ///< of in_
};

}  // namespace coterie::command
