// Commands that this process runs for the cluster: each in a process group of its own that never outlives us. Knows
// processes and signals, nothing of locks, jobs or nodes.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace coterie::command {

/// A process in a session of its own that waits on a pipe and, when this process ends however it ends, kills the
/// groups that were told to it. Made early, before there are threads.
class watcher {
 public:
  /// `directory`: removed as well then, empty = none.
  explicit watcher(const std::string& directory = {});
  ~watcher();
  watcher(const watcher&) = delete;
  /// Kills the group when we end. Async-signal-safe.
  void watch(pid_t group) const noexcept;
  /// Not from now on.
  void forget(pid_t group) const noexcept;

 private:
  void tell(pid_t) const noexcept;
  int pipe_ = -1;
  pid_t pid_ = 0;
};

struct spawn_options {
  std::vector<std::string> command;
  std::vector<std::pair<std::string, std::string>> environment{};  ///< beside ours
  int input = -1, output = -1, error = -1;                         ///< descriptors for 0, 1, 2; -1 = ours
  bool foreground = false;                                         ///< gives it the terminal on standard input
};

/// Starts it as the leader of a new process group, known to the watcher before it runs. It is killed as well when the
/// calling thread ends (PDEATHSIG), which therefore must be the one that waits for it. Throws command_error when it
/// can't be started.
pid_t spawn(const spawn_options&, const watcher&);

/// 0-255, or 128 + the signal, of a status that wait gave.
int exit_status(int wait_status) noexcept;

/// Whether it has ended, with its wait status; the rest of its group is killed then, and its watch is over. Waits when
/// asked to.
std::optional<int> reap(pid_t, const watcher&, bool wait);

/// Signals that come as data: blocked in this thread (and threads made later), read from fd().
class signal_queue {
 public:
  explicit signal_queue(std::initializer_list<int> signals);
  ~signal_queue();
  signal_queue(const signal_queue&) = delete;
  int fd() const { return fd_; }
  /// The next one; 0 when there is none.
  int next() const;

 private:
  int fd_ = -1;
};

}  // namespace coterie::command
