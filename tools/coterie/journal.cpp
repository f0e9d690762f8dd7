// Journals from the shell.
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <iostream>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <fmt/format.h>

#include "commands.hpp"
#include "output.hpp"
#include "process.hpp"

namespace coterie::command {

namespace {

constexpr std::size_t items_a_request = 1'000;
constexpr std::size_t bytes_a_request = 512u << 10;

json to_json(const machine::journal_entry& e) {
  return {
      {"id", e.id}, {"journal", e.journal}, {"created", rfc3339(e.created)}, {"type", e.type}, {"message", e.message}};
}

std::vector<std::uint64_t> append(client& node, const common& c, wire::append_journal a) {
  return node.ask<wire::appended>(wire::request(std::move(a)), c.patience(), true).ids;
}

}  // namespace

int journal_append(const common& c, const std::string& name, const std::string& type, const std::string& message,
                   const std::string& key) {
  auto node = c.connect();
  if (message != "-") {
    const auto ids = append(node, c, {name, key, {{type, message}}});
    if (c.as_json)
      print(json{{"id", ids.front()}});
    else
      print_text(fmt::format("{}\n", ids.front()));
    return ok;
  }
  if (!key.empty()) throw command_error(wrong_usage, "--key names one append: not with - (one entry per line)");
  json all = json::array();
  wire::append_journal batch{name, "", {}};
  std::size_t size = 0;
  const auto flush = [&] {
    if (batch.items.empty()) return;
    for (const auto id : append(node, c, std::exchange(batch, {name, "", {}}))) {
      if (c.as_json)
        all.push_back(id);
      else
        print_text(fmt::format("{}\n", id));
    }
    size = 0;
  };
  for (std::string line; std::getline(std::cin, line);) {
    size += line.size();
    batch.items.push_back({type, std::move(line)});
    if (batch.items.size() >= items_a_request || size >= bytes_a_request || std::cin.rdbuf()->in_avail() <= 0) flush();
  }
  flush();
  if (c.as_json) print(json{{"ids", all}});
  return ok;
}

// These read the node's own state anyway: --stale only asks how old that is.
int journal_peek(const common& c, const std::string& name, std::uint32_t max, const stale_options& o) {
  auto l = c.connect().ask<wire::entries>(wire::peek_journal{name, max, {o.max_age}}, c.patience());
  if (!o.wanted()) l.as_of.reset();
  if (c.as_json) {
    json r = json::array();
    for (const auto& e : l.list) r.push_back(to_json(e));
    print_list("entries", std::move(r), l.as_of);
    return ok;
  }
  table t({"ID", "CREATED", "TYPE", "MESSAGE"});
  for (const auto& e : l.list) t.add({fmt::format("{}", e.id), human(e.created), e.type, e.message});
  print_text(t.text() + (l.as_of ? words(*l.as_of) + "\n" : ""));
  return ok;
}

int journal_count(const common& c, const std::string& name, const stale_options& o) {
  auto n = c.connect().ask<wire::journal_counts>(wire::count_journal{name, {o.max_age}}, c.patience());
  if (!o.wanted()) n.as_of.reset();
  if (c.as_json) {
    json j{{"count", n.count}, {"retained", n.retained}, {"cursor", n.cursor}};
    if (n.as_of) j["as_of"] = to_json(*n.as_of);
    print(j);
  } else {
    print_text(fmt::format("{}\n", n.count) + (n.as_of ? words(*n.as_of) + "\n" : ""));
  }
  return ok;
}

int journal_reset(const common& c, const std::string& name) {
  c.connect().ask(wire::reset_journal{name}, c.patience(), true);
  if (c.as_json) print(json{{"journal", name}, {"reset", true}});
  return ok;
}

// ---- process -------------------------------------------------------------------------------------------------------

namespace {

/// What the command said and how it ended.
struct verdict {
  std::optional<std::uint64_t> done, failed;
  int status = 0;
};

class processing {
 public:
  processing(const common& c, const journal_process_options& o)
      : common_(c), opt_(o), signals_({SIGINT, SIGTERM, SIGHUP, SIGCHLD}), node_(c.connect()) {
    ::signal(SIGPIPE, SIG_IGN);
  }

  int run() {
    const auto watching = opt_.follow ? node_.send(wire::watch_journal{opt_.name}) : 0;
    for (;;) {
      const auto r = batch();
      if (!opt_.follow) return r.value_or(ok);
      if (r) {
        // Again from the same entry, but not at once.
        if (*r != ok && pause()) return 128 + signal_;
        if (signal_ != 0) return 128 + signal_;
        continue;
      }
      if (wait_until_ready(watching)) return 128 + signal_;
    }
  }

 private:
  bool pause() {
    pollfd p{signals_.fd(), POLLIN, 0};
    ::poll(&p, 1, 1'000);
    take_signals();
    return signal_ != 0;
  }
  void take_signals() {
    while (const int s = signals_.next())
      if (s != SIGCHLD) {
        signal_ = s;
        if (child_ > 0) ::kill(-child_, s);
      }
  }

  bool wait_until_ready(std::uint64_t watching) {
    for (;;) {
      std::array<pollfd, 2> p{pollfd{signals_.fd(), POLLIN, 0}, pollfd{node_.fd(), POLLIN, 0}};
      ::poll(p.data(), p.size(), 1'000);
      take_signals();
      if (signal_ != 0) return true;
      while (auto a = node_.poll()) {
        if (const auto* f = std::get_if<failure>(&a->what); f != nullptr && a->call == watching) raise(*f);
        if (std::holds_alternative<wire::journal_ready>(a->what)) return false;
      }
    }
  }

  /// The exit status; nothing when there was no entry.
  std::optional<int> batch() {
    const auto call = node_.send(wire::begin_process{opt_.name, opt_.max});
    std::optional<wire::entries> got;
    while (!got) {
      const auto a = node_.next(in(ms(200)));
      take_signals();
      if (signal_ != 0) return 128 + signal_;
      if (!a || a->call != call) continue;
      if (const auto* f = std::get_if<failure>(&a->what)) {
        if (f->code != errc::retention_gap || !opt_.follow) raise(*f);
        complain(f->message);
        return ok;
      }
      if (const auto* e = std::get_if<wire::entries>(&a->what)) got = *e;
    }
    if (got->list.empty()) return std::nullopt;
    const auto v = hand_over(got->list);
    const auto [cursor, error] = judge(v, got->list);
    node_.ask(wire::end_process{opt_.name, got->token, cursor}, common_.patience(), true);
    if (!error.empty()) throw command_error(failed, error);
    return v.failed && v.status == 0 ? static_cast<int>(failed) : v.status;
  }

  std::pair<std::uint64_t, std::string> judge(const verdict& v, const std::vector<machine::journal_entry>& list) const {
    const auto at = [&](std::uint64_t id) {
      return std::find_if(list.begin(), list.end(), [&](const auto& e) { return e.id == id; });
    };
    const auto foreign = [&](std::uint64_t id) {
      return std::pair(std::uint64_t{0},
                       fmt::format("{} named {}, which is not an id of this batch ({} to {}): nothing moved",
                                   opt_.command.front(), id, list.front().id, list.back().id));
    };
    if (v.failed) {
      const auto i = at(*v.failed);
      if (i == list.end()) return foreign(*v.failed);
      return {i == list.begin() ? 0 : std::prev(i)->id, ""};
    }
    if (v.done) return at(*v.done) == list.end() ? foreign(*v.done) : std::pair(*v.done, std::string());
    return {v.status == 0 ? list.back().id : 0, ""};
  }

  verdict hand_over(const std::vector<machine::journal_entry>& list) {
    std::array<int, 2> in{}, out{};
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0)
      throw command_error(failed, "cannot make a pipe: check the limit on files");
    spawn_options s;
    s.command = opt_.command;
    s.environment = {{"COTERIE_JOURNAL", opt_.name}};
    s.input = in[0];
    s.output = out[1];
    child_ = spawn(s, watcher_);
    ::close(in[0]);
    ::close(out[1]);
    ::fcntl(in[1], F_SETFL, O_NONBLOCK);
    std::string todo;
    for (const auto& e : list) todo += to_json(e).dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    verdict v;
    std::optional<int> ended;
    bool open = true;
    int input = in[1];
    while (!ended || open) {
      std::array<pollfd, 3> p{pollfd{signals_.fd(), POLLIN, 0}, pollfd{open ? out[0] : -1, POLLIN, 0},
                              pollfd{input, POLLOUT, 0}};
      ::poll(p.data(), p.size(), 1'000);
      if (input >= 0 && p[2].revents != 0) feed(input, todo);
      if (open && p[1].revents != 0) open = read_some(out[0], v);
      take_signals();
      if (!ended) ended = reap(child_, watcher_, false);
    }
    if (input >= 0) ::close(input);
    ::close(out[0]);
    child_ = -1;
    line(std::exchange(rest_, {}), v, false);
    v.status = exit_status(*ended);
    return v;
  }

  static void feed(int& fd, std::string& todo) {
    const auto n = ::write(fd, todo.data(), todo.size());
    if (n > 0) todo.erase(0, static_cast<std::size_t>(n));
    if (todo.empty() || (n < 0 && errno != EAGAIN && errno != EINTR)) {
      ::close(fd);
      fd = -1;
    }
  }

  bool read_some(int fd, verdict& v) {
    std::array<char, 4096> b;
    const auto n = ::read(fd, b.data(), b.size());
    if (n <= 0) return n < 0 && errno == EINTR;
    rest_.append(b.data(), static_cast<std::size_t>(n));
    for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
      line(rest_.substr(0, end), v, true);
      rest_.erase(0, end + 1);
    }
    return true;
  }

  /// `ok ID`, `failed ID`, or something for our own output.
  static void line(const std::string& s, verdict& v, bool whole) {
    const auto space = s.find(' ');
    const auto word = s.substr(0, space);
    if (space != std::string::npos && (word == "ok" || word == "failed")) {
      std::uint64_t id = 0;
      const auto r = std::from_chars(s.data() + space + 1, s.data() + s.size(), id);
      if (r.ec == std::errc{} && r.ptr == s.data() + s.size()) {
        (word == "ok" ? v.done : v.failed) = id;
        return;
      }
    }
    if (whole || !s.empty()) print_text(s + (whole ? "\n" : ""));
  }

  const common& common_;
  const journal_process_options& opt_;
  watcher watcher_;
  signal_queue signals_;
  client node_;
  std::string rest_;
  pid_t child_ = -1;
  int signal_ = 0;
};

}  // namespace

int journal_process(const common& c, const journal_process_options& o) { return processing(c, o).run(); }

}  // namespace coterie::command
