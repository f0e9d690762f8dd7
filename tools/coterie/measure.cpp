#include "measure.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "client.hpp"

namespace coterie::command {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

double us_since(clock::time_point t) { return std::chrono::duration<double, std::micro>(clock::now() - t).count(); }

double quantile(const std::vector<double>& sorted, double q) {
  if (sorted.empty()) return 0;
  return sorted[std::min(sorted.size() - 1, static_cast<std::size_t>(q * static_cast<double>(sorted.size())))];
}

double loopback_round_trip(std::size_t size) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof a;
  const int one = 1;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&a), length) != 0 || ::listen(listener, 1) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&a), &length) != 0)
    throw command_error(failed, "cannot listen on loopback");
  const auto pass = [size](int fd, std::vector<char>& b) {
    for (std::size_t got = 0; got < size;) {
      const auto n = ::read(fd, b.data() + got, size - got);
      if (n <= 0) return false;
      got += static_cast<std::size_t>(n);
    }
    return true;
  };
  std::thread echo([&] {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    std::vector<char> b(size);
    while (pass(fd, b) && ::write(fd, b.data(), size) == static_cast<ssize_t>(size)) {
    }
    ::close(fd);
  });
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  std::vector<double> us;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&a), length) == 0) {
    std::vector<char> b(size, 'x');
    for (int i = 0; i < 5'000; ++i) {
      const auto begun = clock::now();
      if (::write(fd, b.data(), size) != static_cast<ssize_t>(size) || !pass(fd, b)) break;
      us.push_back(us_since(begun));
    }
  }
  ::close(fd);
  echo.join();
  ::close(listener);
  std::ranges::sort(us);
  return quantile(us, 0.5);
}

double shared_fdatasync(const std::filesystem::path& where, unsigned processes, std::size_t size) {
  std::vector<pid_t> children;
  std::array<int, 2> p{};
  if (::pipe2(p.data(), O_CLOEXEC) != 0) throw command_error(failed, "cannot make a pipe");
  for (unsigned i = 0; i < processes; ++i) {
    const auto child = ::fork();
    if (child != 0) {
      children.push_back(child);
      continue;
    }
    const auto file = where / fmt::format("floor{}", i);
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    constexpr int rounds = 2'000;
    [[maybe_unused]] const auto room = ::posix_fallocate(fd, 0, static_cast<off_t>(rounds * size));
    const std::vector<char> b(size, 'x');
    std::vector<double> us;
    const auto until = clock::now() + 1s;
    for (int k = 0; k < rounds && clock::now() < until; ++k) {
      const auto begun = clock::now();
      if (::pwrite(fd, b.data(), size, static_cast<off_t>(static_cast<std::size_t>(k) * size)) < 0 ||
          ::fdatasync(fd) != 0)
        break;
      us.push_back(us_since(begun));
    }
    std::ranges::sort(us);
    const double median = quantile(us, 0.5);
    [[maybe_unused]] const auto n = ::write(p[1], &median, sizeof median);
    ::unlink(file.c_str());
    ::_exit(0);
  }
  std::vector<double> medians;
  for (const auto child : children) {
    double m = 0;
    if (::read(p[0], &m, sizeof m) == static_cast<ssize_t>(sizeof m)) medians.push_back(m);
    int s = 0;
    ::waitpid(child, &s, 0);
  }
  ::close(p[0]);
  ::close(p[1]);
  std::ranges::sort(medians);
  return quantile(medians, 0.5);
}

double sequential_write(const std::filesystem::path& where, std::size_t mib) {
  const auto file = where / "floor";
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const std::vector<char> piece(1 << 20, 'x');
  const auto begun = clock::now();
  bool good = fd >= 0;
  for (std::size_t i = 0; good && i < mib; ++i)
    good = ::write(fd, piece.data(), piece.size()) == static_cast<ssize_t>(piece.size());
  good = good && ::fdatasync(fd) == 0;
  const auto us = us_since(begun);
  ::close(fd);
  ::unlink(file.c_str());
  if (!good) throw command_error(failed, fmt::format("{} MiB cannot be written to {}", mib, where.string()));
  return static_cast<double>(mib) / (us / 1e6);
}

// ---- processes

double cpu_seconds(pid_t pid) {
  clockid_t processor{};
  timespec t{};
  if (::clock_getcpuclockid(pid, &processor) != 0 || ::clock_gettime(processor, &t) != 0) return 0;
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

double proportional_mib(pid_t pid) {
  std::ifstream in(fmt::format("/proc/{}/smaps_rollup", pid));
  for (std::string line; std::getline(in, line);) {
    double kib = 0;
    std::string name;
    if (std::istringstream(line) >> name >> kib && name == "Pss:") return kib / 1'024;
  }
  return 0;
}

// ---- a network of one's own

namespace {

/// As root, or with a user namespace in which this user is what he was.
bool leave_network() {
  if (::unshare(CLONE_NEWNET) == 0) return true;
  const auto user = ::getuid(), group = ::getgid();
  if (::unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << fmt::format("{0} {0} 1", user);
  std::ofstream("/proc/self/gid_map") << fmt::format("{0} {0} 1", group);
  return true;
}

}  // namespace

bool enter_own_network() {
  if (!leave_network()) return false;
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq loopback{};
  loopback.ifr_name[0] = 'l';
  loopback.ifr_name[1] = 'o';
  loopback.ifr_flags = IFF_UP | IFF_RUNNING;
  const bool up = ::ioctl(fd, SIOCSIFFLAGS, &loopback) == 0;
  ::close(fd);
  if (!up) throw command_error(failed, "the loopback device of a new network namespace can't be set up");
  return true;
}

double loopback_bytes() {
  std::ifstream in("/proc/thread-self/net/dev");
  for (std::string line; std::getline(in, line);) {
    std::string name;
    double bytes = 0;
    if (std::istringstream(line) >> name >> bytes && name == "lo:") return bytes;
  }
  return 0;
}

}  // namespace coterie::command
