#include "local_cluster.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>

#include "client.hpp"

namespace coterie::command {

using namespace std::chrono_literals;
namespace fs = std::filesystem;
using clock = std::chrono::steady_clock;

namespace {

bool is_free(int type, std::uint16_t port) {
  const int fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
  const int yes = 1;
  if (type == SOCK_STREAM) ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_port = htons(port);
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const bool free = ::bind(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0;
  ::close(fd);
  return free;
}

fs::path make_directory(const std::string& data, const std::string& cluster) {
  if (!data.empty()) {
    fs::create_directories(data);
    return data;
  }
  auto name = (fs::temp_directory_path() / fmt::format("coterie-{}-XXXXXX", cluster)).string();
  if (::mkdtemp(name.data()) == nullptr) throw command_error(failed, "cannot make a temporary directory: set TMPDIR");
  return name;
}

spawn_options run_node(const local_node& n, const std::vector<std::string>& seeds, const std::string& cluster) {
  auto run = run_here(n, seeds, cluster);
  run.command.insert(run.command.end(), {"--data", n.home.string()});
  if (seeds.size() == 1 && seeds.front() == n.address())
    run.command.insert(run.command.end(), {"--bootstrap", "single"});
  return run;
}

}  // namespace

spawn_options run_here(const local_node& n, const std::vector<std::string>& seeds, const std::string& cluster) {
  return {{"/proc/self/exe", "run", "--name", n.name, "--bind", n.address(), "--seeds",
           fmt::format("{}", fmt::join(seeds, ",")), "--cluster", cluster}};
}

std::uint16_t port_of_this_process() {
  constexpr int first = 10'000, last = 30'000, apart = 64;  // below the ports that the kernel gives to connections
  return static_cast<std::uint16_t>(first + ::getpid() % ((last - first) / apart) * apart);
}

local_cluster::local_cluster(local_options o)
    : opt_(std::move(o)),
      directory_(make_directory(opt_.data, opt_.cluster)),
      watcher_(opt_.data.empty() ? directory_.string() : std::string()) {
  for (unsigned i = 0; i < opt_.nodes; ++i) {
    const auto& n = add();
    if (i < opt_.seeds) seeds_.push_back(n.address());
  }
}

local_node& local_cluster::add() {
  std::uint16_t port = nodes_.empty() ? opt_.first_port : nodes_.back().port + 1;
  while (port < 65'000 && !(is_free(SOCK_STREAM, port) && is_free(SOCK_DGRAM, port))) ++port;
  constexpr std::size_t letters = 26;
  std::string name(1, static_cast<char>('a' + nodes_.size() % letters));
  if (nodes_.size() >= letters) name += fmt::format("{}", nodes_.size() / letters);
  return nodes_.emplace_back(local_node{name, port, directory_ / name});
}

local_cluster::~local_cluster() {
  end();
  std::error_code ec;
  if (opt_.data.empty()) fs::remove_all(directory_, ec);
}

void local_cluster::start() {
  for (auto& n : nodes_) start(n);
}

void local_cluster::start(local_node& n) {
  const int log = ::open((directory_ / (n.name + ".log")).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  auto o = opt_.command ? opt_.command(n, seeds_) : run_node(n, seeds_, opt_.cluster);
  o.input = nothing;
  o.output = o.error = log;
  n.pid = spawn(o, watcher_);
  n.gone = false;
  ::close(log);
  ::close(nothing);
}

void local_cluster::signal(const local_node& n, int s) const {
  if (n.pid > 0 && !n.gone) ::kill(n.pid, s);
}

std::vector<local_node*> local_cluster::reap() {
  std::vector<local_node*> r;
  for (auto& n : nodes_)
    if (n.pid > 0 && !n.gone && command::reap(n.pid, watcher_, false)) {
      n.gone = true;
      r.push_back(&n);
    }
  return r;
}

void local_cluster::wait_gone(local_node& n) {
  if (n.pid > 0 && !n.gone) n.gone = command::reap(n.pid, watcher_, true).has_value();
}

void local_cluster::end(const signal_queue* signals) noexcept {
  for (const auto& n : nodes_) {
    signal(n, SIGTERM);
    signal(n, SIGCONT);  // one that is stopped hears it too
  }
  const auto until = clock::now() + 5s;
  for (auto& n : nodes_) {
    while (n.pid > 0 && !n.gone) {
      n.gone = command::reap(n.pid, watcher_, clock::now() >= until).has_value();
      if (n.gone) break;
      if (clock::now() >= until) ::kill(-n.pid, SIGKILL);
      pollfd p{signals ? signals->fd() : -1, POLLIN, 0};
      ::poll(&p, 1, signals ? 50 : 5);
      if (const int s = signals ? signals->next() : 0; s != 0 && s != SIGCHLD) ::kill(-n.pid, SIGKILL);  // asked twice
    }
  }
}

std::string local_cluster::last_log(const local_node& n) const {
  std::ifstream log(directory_ / (n.name + ".log"));
  std::string last;
  for (std::string s; std::getline(log, s);) last = s;
  return last.empty() ? "" : ": " + last;
}

}  // namespace coterie::command
