// Locks from the shell. `lock exec` keeps the lease's end itself (docs/locks.md): whatever becomes of the
// node, of the connection, or of this process, the command does not outlive the validity that it was told.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "commands.hpp"
#include "output.hpp"
#include "process.hpp"

namespace coterie::command {

using namespace std::chrono_literals;

// ---- list and show -------------------------------------------------------------------------------------------------

namespace {
json to_json(const wire::lock_info& l) {
  return {{"name", l.name},
          {"mode", "exclusive"},
          {"holders", json::array({{{"node", l.owner}, {"fence", fmt::format("{}", l.fence)}, {"label", l.label}}})},
          {"waiters", l.waiters},
          {"idle", l.idle},
          {"acquired", rfc3339(l.acquired)}};
}
}  // namespace

int lock_list(const common& c, const std::string& name, const stale_options& o) {
  const auto l = c.connect().ask<wire::lock_list>(wire::list_locks{name, o.wanted()}, c.patience());
  const bool is_free = !name.empty() && l.locks.empty();
  if (c.as_json) {
    json r = json::array();
    for (const auto& x : l.locks) r.push_back(to_json(x));
    if (name.empty()) {
      print_list("locks", std::move(r), l.as_of);
      return ok;
    }
    json one = is_free ? json{{"name", name}, {"mode", "exclusive"}, {"holders", json::array()},
                              {"waiters", 0}, {"idle", false},       {"acquired", nullptr}}
                       : std::move(r.front());
    if (l.as_of) one["as_of"] = to_json(*l.as_of);
    print(one);
    return ok;
  }
  const auto age = l.as_of ? words(*l.as_of) + "\n" : "";
  if (is_free) {
    print_text(fmt::format("{} is free\n{}", name, age));
    return ok;
  }
  table t({"LOCK", "HOLDER", "FENCE", "SINCE", "WAITING", "LABEL"});
  for (const auto& x : l.locks)
    t.add({x.name, x.idle ? x.owner + " (idle)" : x.owner, fmt::format("{}", x.fence), human(wall_now() - x.acquired),
           fmt::format("{}", x.waiters), x.label});
  print_text(t.text() + age);
  return ok;
}

// ---- exec ----------------------------------------------------------------------------------------------------------

namespace {

[[noreturn]] void own(const command_error& e) {
  throw command_error(e.exit_status() >= own_error ? e.exit_status() : own_error + e.exit_status(), e.what());
}

std::int64_t clock_ns(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

/// The end of validity by both clocks, the sooner one counts.
struct validity {
  std::int64_t raw = 0, boot = 0;
  std::chrono::nanoseconds left() const {
    return std::chrono::nanoseconds(std::min(raw - clock_ns(CLOCK_MONOTONIC_RAW), boot - clock_ns(CLOCK_BOOTTIME)));
  }
};

class exec {
 public:
  exec(const common& c, const lock_exec_options& o)
      : common_(c), opt_(o), signals_({SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, SIGTTOU}), node_(c.connect()) {}

  int run() {
    if (const int s = acquire(); s != 0) return 128 + s;
    start();
    while (!ended_) step();
    take_terminal();
    return finish();
  }

 private:
  /// A signal that ended the wait, or zero.
  int acquire() {
    call_ = node_.send(wire::acquire_lock{opt_.name, fmt::format("exec {}", ::getpid()), opt_.wait}, common_.timeout);
    for (;;) {
      if (const int s = wait(24h); s != 0 && s != SIGCHLD && s != SIGTTOU) {
        node_.cancel(call_);
        return s;
      }
      while (auto a = node_.poll()) {
        if (a->call != call_) continue;
        if (const auto* f = std::get_if<failure>(&a->what)) refused(*f);
        if (const auto* g = std::get_if<wire::lock_granted>(&a->what)) {
          fence_ = g->fence;
          renewed(g->deadline_raw_ns, g->deadline_boot_ns);
          return 0;
        }
      }
    }
  }

  [[noreturn]] void refused(const failure& f) {
    if (f.code != errc::held) raise(f);
    std::string text = f.message;
    try {
      for (const auto& l : node_.ask<wire::lock_list>(wire::list_locks{opt_.name}, 2s).locks)
        text =
            fmt::format("{} is held by {} (fence {}) for {}, {} waiting: {}", l.name, l.owner, l.fence,
                        human(wall_now() - l.acquired), l.waiters,
                        opt_.wait->count() == 0 ? "drop --wait 0 to queue" : "wait longer with --wait, or without it");
    } catch (const command_error&) {  // the node's own words, then
    }
    throw command_error(held, text);
  }

  void start() {
    terminal_ = ::isatty(STDIN_FILENO) == 1 && ::tcgetpgrp(STDIN_FILENO) == ::getpgrp();
    spawn_options s;
    s.command = opt_.command;
    s.environment = {{"COTERIE_FENCE", fmt::format("{}", fence_)}, {"COTERIE_LOCK", opt_.name}};
    s.foreground = terminal_;
    try {
      child_ = spawn(s, watcher_);
    } catch (const command_error&) {
      take_terminal();
      release();
      throw;
    }
  }

  void renewed(std::int64_t raw, std::int64_t boot) {
    until_ = {raw, boot};
    ttl_ = std::max(ttl_, until_.left());
  }

  /// Waits for the node or a signal, at most so long; the signal, or zero.
  int wait(std::chrono::nanoseconds most) {
    std::array<pollfd, 2> p{pollfd{signals_.fd(), POLLIN, 0}, pollfd{connected_ ? node_.fd() : -1, POLLIN, 0}};
    const auto at_most = std::clamp<std::int64_t>(std::chrono::ceil<ms>(most).count(), 0, 60'000);
    ::poll(p.data(), p.size(), static_cast<int>(at_most));
    return signals_.next();
  }

  void step() {
    const auto grace = std::min<std::chrono::nanoseconds>(1s, ttl_ / 5);
    const auto left = until_.left();
    const int s = wait(left <= 0ns ? 1s : left > grace ? left - grace : left);
    if (connected_) hear();
    const auto now_left = until_.left();
    if (now_left <= 0ns) {
      lose("its validity ended");
      ::kill(-child_, SIGKILL);
    } else if (now_left <= grace && !told_to_end_) {
      lose("it could not be renewed in time");
      told_to_end_ = true;
      ::kill(-child_, SIGTERM);
      ::kill(-child_, SIGCONT);
    }
    if (s == SIGCHLD)
      look();
    else if (s != 0 && s != SIGTTOU)
      ::kill(-child_, s);
  }

  void hear() {
    try {
      while (auto a = node_.poll()) {
        if (a->call != call_) continue;
        if (const auto* r = std::get_if<wire::lock_renewed>(&a->what)) renewed(r->deadline_raw_ns, r->deadline_boot_ns);
        if (const auto* f = std::get_if<failure>(&a->what)) {
          // The node ends it now, or has lost it: it is not ours beyond the grace.
          lose(f->message);
          connected_ = false;
          const auto grace = std::min<std::chrono::nanoseconds>(1s, ttl_ / 5);
          if (f->code != errc::closed)
            until_ = {};
          else if (until_.left() > grace)
            shorten(grace);
        }
      }
    } catch (const command_error&) {
      connected_ = false;
      complain(fmt::format("the node went away: {} may go on for {}, as long as {} is known to be held",
                           opt_.command.front(), human(std::chrono::duration_cast<ms>(until_.left())), opt_.name));
    }
  }

  void shorten(std::chrono::nanoseconds left) {
    until_ = {clock_ns(CLOCK_MONOTONIC_RAW) + left.count(), clock_ns(CLOCK_BOOTTIME) + left.count()};
  }

  void lose(std::string why) {
    if (lost_.empty()) lost_ = std::move(why);
  }

  /// Ended, or stopped from the keyboard: then we stop as well, and it goes on with us.
  void look() {
    if (const auto s = reap(child_, watcher_, false)) {
      ended_ = s;
      return;
    }
    siginfo_t i{};
    if (!terminal_ || ::waitid(P_PID, static_cast<id_t>(child_), &i, WSTOPPED | WNOHANG) != 0 || i.si_pid == 0) return;
    take_terminal();
    ::raise(SIGSTOP);
    if (connected_) hear();
    if (until_.left() <= 0ns) return;  // step() ends it
    ::tcsetpgrp(STDIN_FILENO, child_);
    ::kill(-child_, SIGCONT);
  }

  void take_terminal() {
    if (terminal_) ::tcsetpgrp(STDIN_FILENO, ::getpgrp());  // SIGTTOU is blocked
  }

  void release() {
    if (!connected_) return;
    try {
      node_.ask(wire::release_lock{opt_.name, fence_}, common_.patience(), true);
    } catch (const command_error& e) {
      if (lost_.empty()) complain(fmt::format("{} was not released: {}", opt_.name, e.what()));
    }
  }

  int finish() {
    release();
    if (!lost_.empty() && (told_to_end_ || WIFSIGNALED(*ended_)))
      throw command_error(failed,
                          fmt::format("{} was lost ({}): {} was stopped", opt_.name, lost_, opt_.command.front()));
    return exit_status(*ended_);
  }

  const common& common_;
  const lock_exec_options& opt_;
  watcher watcher_;  // before everything else that has descriptors
  signal_queue signals_;
  client node_;
  std::uint64_t call_ = 0, fence_ = 0;
  validity until_;
  std::chrono::nanoseconds ttl_{0};
  pid_t child_ = -1;
  bool connected_ = true, terminal_ = false, told_to_end_ = false;
  std::string lost_;
  std::optional<int> ended_;
};

}  // namespace

int lock_exec(const common& c, const lock_exec_options& o) {
  try {
    return exec(c, o).run();
  } catch (const command_error& e) {
    if (e.exit_status() == 126 || e.exit_status() == 127) throw;  // the command itself, as a shell says it
    own(e);
  }
}

}  // namespace coterie::command
