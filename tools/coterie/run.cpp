// One node in the foreground: options to a node, its log to standard error, signals to its end, and runners that are
// commands. Uses the public API alone; the reason of an end comes over the control socket, as for everybody.
#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>
#include <toml++/toml.h>

#include "commands.hpp"
#include "coterie/node.hpp"
#include "net/control_place.hpp"
#include "output.hpp"
#include "process.hpp"

namespace coterie::command {

using namespace std::chrono_literals;

// ---- configuration -------------------------------------------------------------------------------------------------

namespace {

[[noreturn]] void wrong(const std::string& file, const std::string& what) {
  throw command_error(wrong_usage, fmt::format("{}: {}", file, what));
}

std::string text(const toml::node& n, const std::string& file, std::string_view key) {
  if (const auto s = n.value_exact<std::string>()) return *s;
  wrong(file, fmt::format("{} must be a text", key));
}

unsigned number(const toml::node& n, const std::string& file, std::string_view key) {
  const auto v = n.value_exact<std::int64_t>();
  if (!v || *v < 0 || *v > 1'000'000) wrong(file, fmt::format("{} must be a whole number", key));
  return static_cast<unsigned>(*v);
}
bool flag(const toml::node& n, const std::string& file, std::string_view key) {
  if (const auto b = n.value_exact<bool>()) return *b;
  wrong(file, fmt::format("{} must be true or false", key));
}

ms duration_in(const toml::node& n, const std::string& file, std::string_view key) {
  const auto d = n.is_string() ? parse_duration(text(n, file, key)) : std::nullopt;
  if (!d) wrong(file, fmt::format("{} must be a duration, as \"5s\" or \"10m\"", key));
  return *d;
}

std::vector<std::string> texts(const toml::node& n, const std::string& file, std::string_view key) {
  std::vector<std::string> r;
  if (const auto* a = n.as_array()) {
    for (const auto& x : *a) r.push_back(text(x, file, key));
    return r;
  }
  wrong(file, fmt::format("{} must be a list of texts", key));
}

runner_options runner_of(const toml::node& n, const std::string& file, const std::string& name) {
  const auto* t = n.as_table();
  if (t == nullptr) wrong(file, fmt::format("[runner.{}] must be a table", name));
  runner_options r;
  for (const auto& [k, v] : *t) {
    const std::string key(k.str());
    const auto full = fmt::format("runner.{}.{}", name, key);
    if (key == "command") {
      r.command = texts(v, file, full);
    } else if (key == "timeout") {
      r.timeout = duration_in(v, file, full);
    } else if (key == "grace") {
      r.grace = duration_in(v, file, full);
    } else if (key == "env" && v.is_table()) {
      for (const auto& [ek, ev] : *v.as_table())
        r.environment.emplace_back(std::string(ek.str()), text(ev, file, full));
    } else if (key == "user") {
      wrong(file, ::geteuid() != 0 ? fmt::format("{}: only root can run commands as another user", full)
                                   : fmt::format("{}: another user is not built yet", full));
    } else {
      wrong(file, fmt::format("{} is not known: see coterie run --help", full));
    }
  }
  if (r.command.empty()) wrong(file, fmt::format("runner.{} needs a command, as [\"/usr/bin/backup\"]", name));
  return r;
}

void take(run_options& o, const std::string& key, const toml::node& v) {
  const auto& file = o.config;
  const std::map<std::string_view, std::string*> words{{"name", &o.name},       {"bind", &o.bind},
                                                       {"data", &o.data},       {"advertise", &o.advertise},
                                                       {"cluster", &o.cluster}, {"log", &o.log_level}};
  const std::map<std::string_view, bool*> flags{
      {"rejoin", &o.rejoin}, {"gossip-only", &o.gossip_only}, {"insecure", &o.insecure}};
  const std::map<std::string_view, unsigned*> numbers{
      {"max-voters", &o.max_voters}, {"standbys", &o.standbys}, {"relay-fan-out", &o.relay_fan_out}};
  if (const auto w = words.find(key); w != words.end()) {
    *w->second = text(v, file, key);
  } else if (const auto n = numbers.find(key); n != numbers.end()) {
    *n->second = number(v, file, key);
  } else if (const auto f = flags.find(key); f != flags.end()) {
    *f->second = flag(v, file, key);
  } else if (key == "seeds") {
    o.seeds = texts(v, file, key);
  } else if (key == "session-ttl") {
    o.session_ttl = duration_in(v, file, key);
  } else if (key == "bootstrap") {
    if (text(v, file, key) != "single") wrong(file, "bootstrap can be \"single\" only");
    o.bootstrap_single = true;
  } else if (key == "tag" && v.is_table()) {
    for (const auto& [k, x] : *v.as_table()) o.tags.emplace(std::string(k.str()), text(x, file, key));
  } else if (key == "key" || key == "http" || key == "shared-home" || key == "passive") {
    wrong(file, key + " is not built yet");
  } else {
    wrong(file, key + " is not known: see coterie run --help");
  }
}

}  // namespace

void read_config(run_options& o, const std::vector<std::string>& given) {
  try {
    const auto t = toml::parse_file(o.config);
    for (const auto& [k, v] : t) {
      std::string key(k.str());
      std::replace(key.begin(), key.end(), '_', '-');
      if (key == "runner") {
        if (!v.is_table()) wrong(o.config, "runner must be a table, as [runner.backup]");
        for (const auto& [name, r] : *v.as_table()) {
          const std::string n(name.str());
          o.runners[n] = runner_of(r, o.config, n);
        }
      } else if (std::find(given.begin(), given.end(), key) == given.end()) {
        take(o, key, v);
      }
    }
  } catch (const toml::parse_error& e) {
    wrong(o.config, fmt::format("line {}: {}", e.source().begin.line, e.description()));
  }
}

// ---- runners that are commands -------------------------------------------------------------------------------------

namespace {

std::string text_of(const job_param& p) {
  if (const auto* s = std::get_if<std::string>(&p)) return *s;
  if (const auto* b = std::get_if<bool>(&p)) return *b ? "true" : "false";
  if (const auto* d = std::get_if<double>(&p)) return fmt::format("{}", *d);
  return fmt::format("{}", std::get<std::int64_t>(p));
}

/// One run of a command, on the thread that the run has.
class command_run {
 public:
  command_run(const runner_options& o, const watcher& w, const job_run& r) : opt_(o), watcher_(w), run_(r) {}

  job_result go() {
    std::array<int, 2> out{};
    if (::pipe2(out.data(), O_CLOEXEC) != 0) return job_result::failed("cannot make a pipe");
    ::fcntl(out[0], F_SETFL, O_NONBLOCK);
    const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    spawn_options s{opt_.command, environment(), nothing, out[1], out[1], false};
    pid_t pid = -1;
    std::string why;
    try {
      pid = spawn(s, watcher_);
    } catch (const command_error& e) {
      why = e.what();
    }
    ::close(nothing);
    ::close(out[1]);
    const auto r = pid > 0 ? follow(pid, out[0]) : job_result::failed(why);
    ::close(out[0]);
    return r;
  }

 private:
  std::vector<std::pair<std::string, std::string>> environment() const {
    auto e = opt_.environment;
    e.emplace_back("COTERIE_JOB", run_.job);
    e.emplace_back("COTERIE_SCHEDULED", rfc3339(run_.scheduled));
    e.emplace_back("COTERIE_ATTEMPT", fmt::format("{}", run_.attempt));
    e.emplace_back("COTERIE_FENCE", fmt::format("{}", run_.fence));
    for (const auto& [k, v] : run_.params) {
      std::string value;
      if (const auto* one = std::get_if<job_param>(&v)) {
        value = text_of(*one);
      } else {
        for (const auto& x : std::get<std::vector<job_param>>(v)) value += (value.empty() ? "" : " ") + text_of(x);
      }
      e.emplace_back("COTERIE_PARAM_" + k, std::move(value));
    }
    return e;
  }

  job_result follow(pid_t pid, int out) {
    const auto began = std::chrono::steady_clock::now();
    std::optional<std::chrono::steady_clock::time_point> kill_at;
    bool late = false;
    for (;;) {
      pollfd p{out, POLLIN, 0};
      if (::poll(&p, 1, 50) > 0 && !read_from(out)) std::this_thread::sleep_for(10ms);
      if (const auto s = reap(pid, watcher_, false)) {
        read_from(out);
        return judge(exit_status(*s), kill_at.has_value(), late);
      }
      const auto now = std::chrono::steady_clock::now();
      late |= opt_.timeout && now - began >= *opt_.timeout;
      if (!kill_at && (late || run_.stop.stop_requested())) {
        ::kill(-pid, SIGTERM);
        kill_at = now + opt_.grace;
      }
      if (kill_at && now >= *kill_at) ::kill(-pid, SIGKILL);
    }
  }

  job_result judge(int status, bool told, bool late) const {
    auto message = last_.empty() ? rest_ : last_;
    if (!rest_.empty()) message = rest_;
    if (late) return job_result::failed(fmt::format("stopped after its time-out of {}", human(*opt_.timeout)));
    if (told) return job_result::aborted(message.empty() ? "stopped" : message);
    if (status == 0) return job_result::success(message);
    return job_result::failed(message.empty() ? fmt::format("exit status {}", status) : message);
  }

  /// Keeps the last line that says something; all of it goes to standard error. False at the end.
  bool read_from(int fd) {
    std::array<char, 4096> b;
    for (;;) {
      const auto n = ::read(fd, b.data(), b.size());
      if (n <= 0) return n < 0;
      for (ssize_t i = 0; i < n; ++i) {
        const char c = b[static_cast<std::size_t>(i)];
        if (c != '\n') {
          if (rest_.size() < 255) rest_ += c;
        } else if (!rest_.empty()) {
          last_ = std::exchange(rest_, {});
        }
      }
      [[maybe_unused]] const auto written = ::write(STDERR_FILENO, b.data(), static_cast<std::size_t>(n));
    }
  }

  const runner_options& opt_;
  const watcher& watcher_;
  const job_run& run_;
  std::string last_, rest_;
};

// ---- the node ------------------------------------------------------------------------------------------------------

void log_line(std::string_view line) {
  const auto t = std::time(nullptr);
  tm parts{};
  ::localtime_r(&t, &parts);
  const auto s = fmt::format("{:02}:{:02}:{:02} {}\n", parts.tm_hour, parts.tm_min, parts.tm_sec, line);
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, s.data(), s.size());
}

int level_of(std::string_view line) {
  return line.starts_with("debug") ? 0 : line.starts_with("warn") ? 2 : line.starts_with("error") ? 3 : 1;
}

/// Tells the service manager, when there is one (sd_notify(3)).
void notify(std::string_view what) {
  const char* where = std::getenv("NOTIFY_SOCKET");
  if (where == nullptr || (*where != '/' && *where != '@')) return;
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  const auto n = std::min(std::strlen(where), sizeof a.sun_path - 1);
  std::memcpy(a.sun_path, where, n);
  if (*where == '@') a.sun_path[0] = '\0';
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  ::sendto(fd, what.data(), what.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&a),
           static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + n));
  ::close(fd);
}

node_options options_of(const run_options& o) {
  node_options n;
  n.name = o.name;
  n.cluster = o.cluster;
  n.seeds = o.seeds;
  n.bind = o.bind;
  n.advertise = o.advertise;
  n.local_home = o.data;
  n.tags = o.tags;
  n.session_ttl = o.session_ttl;
  n.max_voters = o.max_voters;
  n.standbys = o.standbys;
  n.relay_fan_out = o.relay_fan_out;
  n.bootstrap_single = o.bootstrap_single;
  n.gossip_only = o.gossip_only;
  n.rejoin = o.rejoin;
  n.insecure = o.insecure;
  n.log = [least = level_of(o.log_level)](const std::string& line) {
    if (level_of(line) >= least) log_line(line);
  };
  return n;
}

node start_node(const run_options& o) {
  try {
    return node::start(options_of(o));
  } catch (const error& e) {
    raise(e);
  }
}

/// Our own control socket: by the name that the node gave it.
std::optional<client> connect_to_self(const node& n) {
  for (const auto& p :
       {net::control_directory() / fmt::format("{}-{}.sock", n.name(), ::getpid()), n.local_home() / "control.sock"}) {
    try {
      return client(p);
    } catch (const command_error&) {  // the other one
    }
  }
  return std::nullopt;
}

class foreground {
 public:
  foreground(const run_options& o, const watcher& w)
      : opt_(o), signals_({SIGINT, SIGTERM}), over_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), node_(start_node(o)) {
    introduce();
    for (const auto& [name, r] : o.runners)
      runners_.push_back(
          node_.jobs().register_runner(name, [&r = r, &w](const job_run& run) { return command_run(r, w, run).go(); }));
    states_ = node_.on_state([this](node_state s) {
      state_ = s;
      const std::uint64_t one = 1;
      [[maybe_unused]] const auto n = ::write(over_, &one, sizeof one);
    });
  }
  ~foreground() { ::close(over_); }

  int run() {
    bool told = false;
    for (;;) {
      std::array<pollfd, 2> p{pollfd{signals_.fd(), POLLIN, 0}, pollfd{over_, POLLIN, 0}};
      ::poll(p.data(), p.size(), told ? 10'000 : 100);
      if (signals_.next() != 0) return stop();
      std::uint64_t n = 0;
      [[maybe_unused]] const auto r = ::read(over_, &n, sizeof n);
      const auto s = state_.load();
      if (s == node_state::left) return left();
      if (s == node_state::stopped) return left("stopped");
      if (s == node_state::failed) throw command_error(failed, node_.end_reason());
      if (!told && node_.ready()) {
        told = true;
        notify("READY=1");
      }
    }
  }

 private:
  void introduce() {
    try {
      auto self = connect_to_self(node_);
      if (!self) return;
      const auto s = self->ask<wire::status_info>(wire::get_status{}, 2s);
      log_line(fmt::format("info  node {} {} epoch {}, {} at {}", s.node, s.self.short_str(), s.boot.value,
                           opt_.gossip_only ? "gossip only" : "home " + opt_.data, node_.address()));
    } catch (const command_error&) {  // it is over: run() says why
    }
  }

  int left(std::string_view how = "left the cluster") {
    log_line(fmt::format("info  {}", how));
    node_.stop(ms(5'000));
    return ok;
  }

  /// A second signal does not wait.
  int stop() {
    notify("STOPPING=1");
    log_line("info  stopping: asked by a signal, a second one ends it at once");
    std::atomic<bool> done = false;
    std::thread t([&] {
      std::error_code ec;
      node_.stop(ms(5'000), ec);
      done = true;
      const std::uint64_t one = 1;
      [[maybe_unused]] const auto n = ::write(over_, &one, sizeof one);
    });
    while (!done) {
      std::array<pollfd, 2> p{pollfd{signals_.fd(), POLLIN, 0}, pollfd{over_, POLLIN, 0}};
      ::poll(p.data(), p.size(), 100);
      std::uint64_t n = 0;
      [[maybe_unused]] const auto r = ::read(over_, &n, sizeof n);
      if (const int s = signals_.next(); s != 0) ::_exit(128 + s);
    }
    t.join();
    log_line("info  stopped");
    return ok;
  }

  const run_options& opt_;
  signal_queue signals_;
  const int over_;
  node node_;
  std::atomic<node_state> state_{node_state::starting};
  std::vector<subscription> runners_;
  subscription states_;
};

}  // namespace

int run(const common&, const run_options& o) {
  ::signal(SIGPIPE, SIG_IGN);
  const watcher w;
  return foreground(o, w).run();
}

}  // namespace coterie::command
