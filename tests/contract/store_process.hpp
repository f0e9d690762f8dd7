// For tests that need a process of their own: this executable again, running one hidden test case.
#pragma once

#include <cstdlib>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

namespace coterie::test {

/// A child that runs the hidden test case `tag`; what it is to do is in environment variables.
class child_process {
 public:
  /// `to_parent`: a file descriptor that the child inherits.
  child_process(const std::string& tag, const std::string& directory, int to_parent) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::setenv("COTERIE_TEST_DIRECTORY", directory.c_str(), 1);
    ::setenv("COTERIE_TEST_PIPE", std::to_string(to_parent).c_str(), 1);
    ::execl("/proc/self/exe", "contract_store", tag.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  child_process(const child_process&) = delete;
  child_process& operator=(const child_process&) = delete;
  ~child_process() { kill(); }

  pid_t pid() const { return pid_; }
  /// SIGKILL, and waits for the end.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace coterie::test
