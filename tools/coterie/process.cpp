#include "process.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "client.hpp"

namespace coterie::command {

namespace {

[[noreturn]] void give_up(const char* what) {
  throw command_error(failed, fmt::format("{}: {}: check the limits on processes and files", what,
                                          std::generic_category().message(errno)));
}

/// The life of the watcher: numbers come in, a positive one is a group to kill at the end, a negative one is no more.
[[noreturn]] void watch_until_end(int pipe, const std::string& directory) {
  ::setsid();
  ::prctl(PR_SET_NAME, "coterie-watch");
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, nullptr);
  ::dup2(pipe, 0);
  ::close_range(1, ~0u, 0);
  std::set<pid_t> groups;
  pid_t said = 0;
  for (;;) {
    const auto n = ::read(0, &said, sizeof said);
    if (n < 0 && errno == EINTR) continue;
    if (n != sizeof said) break;
    if (said > 0)
      groups.insert(said);
    else
      groups.erase(-said);
  }
  for (const auto g : groups) ::kill(-g, SIGKILL);
  // Those that were just killed may still be writing there.
  std::error_code ec;
  for (int i = 0; i < 50 && !directory.empty() && std::filesystem::exists(directory, ec); ++i) {
    std::filesystem::remove_all(directory, ec);
    if (ec) ::usleep(20'000);
  }
  ::_exit(0);
}

}  // namespace

watcher::watcher(const std::string& directory) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) give_up("cannot make a pipe");
  pid_ = ::fork();
  if (pid_ < 0) give_up("cannot start a process");
  if (pid_ == 0) {
    ::close(ends[1]);
    watch_until_end(ends[0], directory);
  }
  ::close(ends[0]);
  pipe_ = ends[1];
}

watcher::~watcher() {
  ::close(pipe_);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void watcher::tell(pid_t p) const noexcept {
  while (::write(pipe_, &p, sizeof p) < 0 && errno == EINTR) {
  }
}
void watcher::watch(pid_t group) const noexcept { tell(group); }
void watcher::forget(pid_t group) const noexcept { tell(-group); }

// ---- starting and ending -------------------------------------------------------------------------------------------

namespace {

/// What the child does between fork and exec: async-signal-safe only, everything was prepared before.
struct child_plan {
  char* const* arguments;
  char* const* environment;
  std::array<int, 3> descriptors;
  bool foreground;
  pid_t parent;
  int report;  ///< where errno goes when exec fails
};

[[noreturn]] void become(const child_plan& p, const watcher& w) {
  ::setpgid(0, 0);
  w.watch(::getpid());
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != p.parent) ::_exit(127);
  if (p.foreground) ::tcsetpgrp(STDIN_FILENO, ::getpid());  // SIGTTOU is blocked here
  for (int i = 0; i < 3; ++i)
    if (p.descriptors[static_cast<std::size_t>(i)] >= 0) ::dup2(p.descriptors[static_cast<std::size_t>(i)], i);
  for (int s = 1; s < NSIG; ++s) ::signal(s, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvpe(p.arguments[0], p.arguments, p.environment);
  const int why = errno;
  while (::write(p.report, &why, sizeof why) < 0 && errno == EINTR) {
  }
  ::_exit(127);
}

std::vector<char*> pointers(std::vector<std::string>& v) {
  std::vector<char*> r;
  for (auto& s : v) r.push_back(s.data());
  r.push_back(nullptr);
  return r;
}

std::vector<std::string> environment_with(const std::vector<std::pair<std::string, std::string>>& more) {
  std::vector<std::string> r;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string_view have(*e);
    const bool replaced = std::any_of(more.begin(), more.end(), [&](const auto& m) {
      return have.size() > m.first.size() && have.starts_with(m.first) && have[m.first.size()] == '=';
    });
    if (!replaced) r.emplace_back(have);
  }
  for (const auto& [k, v] : more) r.push_back(k + "=" + v);
  return r;
}

}  // namespace

pid_t spawn(const spawn_options& o, const watcher& w) {
  auto command = o.command;
  auto environment = environment_with(o.environment);
  const auto arguments = pointers(command);
  const auto variables = pointers(environment);
  std::array<int, 2> report{};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) give_up("cannot make a pipe");
  const child_plan plan{arguments.data(), variables.data(), {o.input, o.output, o.error},
                        o.foreground,     ::getpid(),       report[1]};
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);
  const pid_t pid = ::fork();
  if (pid == 0) become(plan, w);
  const int why_no_fork = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(report[1]);
  if (pid < 0) {
    ::close(report[0]);
    errno = why_no_fork;
    give_up("cannot start a process");
  }
  ::setpgid(pid, pid);
  int why = 0;
  ssize_t n = -1;
  while ((n = ::read(report[0], &why, sizeof why)) < 0 && errno == EINTR) {
  }
  ::close(report[0]);
  if (n != sizeof why) return pid;
  reap(pid, w, true);
  throw command_error(why == ENOENT ? 127 : 126, fmt::format("cannot run {} ({}): check the path and its permissions",
                                                             o.command.front(), std::generic_category().message(why)));
}

int exit_status(int s) noexcept { return WIFEXITED(s) ? WEXITSTATUS(s) : 128 + WTERMSIG(s); }

std::optional<int> reap(pid_t pid, const watcher& w, bool wait) {
  siginfo_t info{};
  int r = -1;
  // It stays a zombie until the rest of its group is gone, so that its number is nobody else's.
  while ((r = ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT | (wait ? 0 : WNOHANG))) < 0 &&
         errno == EINTR) {
  }
  if (r < 0 || info.si_pid == 0) return std::nullopt;
  ::kill(-pid, SIGKILL);
  w.forget(pid);
  int s = 0;
  while (::waitpid(pid, &s, 0) < 0 && errno == EINTR) {
  }
  return s;
}

// ---- signals -------------------------------------------------------------------------------------------------------

signal_queue::signal_queue(std::initializer_list<int> signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int s : signals) ::sigaddset(&set, s);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (fd_ < 0) give_up("cannot make a signal descriptor");
}

signal_queue::~signal_queue() { ::close(fd_); }

int signal_queue::next() const {
  signalfd_siginfo i{};
  return ::read(fd_, &i, sizeof i) == sizeof i ? static_cast<int>(i.ssi_signo) : 0;
}

}  // namespace coterie::command
