#include "session.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/format.h>

namespace coterie::chaos {

std::atomic<bool> draining = false, finishing = false, ending = false;

namespace {
constexpr std::uint64_t sessions_a_node = 32;

std::int64_t clock_ns(clockid_t id) {
  timespec t{};
  ::clock_gettime(id, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}
}  // namespace

std::int64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

std::int64_t deadline_ns(std::int64_t raw, std::int64_t boot) {
  return now_ns() + std::min(raw - clock_ns(CLOCK_MONOTONIC_RAW), boot - clock_ns(CLOCK_BOOTTIME));
}

line_file::line_file(const std::string& path)
    : fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) {
  if (fd_ < 0) throw std::system_error(errno, std::generic_category(), path);
}
line_file::~line_file() { ::close(fd_); }

void line_file::write(const json& j) const {
  const auto line = j.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  if (::write(fd_, line.data(), line.size()) != std::ssize(line))
    throw std::system_error(errno, std::generic_category(), "a line of the history");
}

std::string name_of(errc e) {
  switch (e) {
    case errc::no_quorum:
      return "no_quorum";
    case errc::timeout:
      return "timeout";
    case errc::lock_lost:
      return "lock_lost";
    case errc::limit:
      return "limit";
    case errc::closed:
      return "closed";
    case errc::indeterminate:
      return "indeterminate";
    case errc::held:
      return "held";
    case errc::unavailable:
      return "unavailable";
    case errc::retention_gap:
      return "retention_gap";
    case errc::passive:
      return "passive";
    default:
      return fmt::format("code {}", static_cast<int>(e));
  }
}

bool without_effect(errc e) {
  return e == errc::no_quorum || e == errc::timeout || e == errc::limit || e == errc::held || e == errc::unavailable ||
         e == errc::passive;
}

// ---- a session
// ------------------------------------------------------------------------------------------------------

session::session(const options& o, unsigned number, const line_file& history, const line_file& notes)
    : opt_(o), process_(o.first_process + number), random_(o.seed * 1'000 + number), history_(history), notes_(notes) {}

command::client* session::connect() {
  if (!node_) {
    try {
      node_.emplace(opt_.socket);
    } catch (const command::command_error&) {
      std::this_thread::sleep_for(milliseconds(50));
      return nullptr;
    }
  }
  return &*node_;
}

outcome session::ask(const wire::request& r, milliseconds patience) {
  outcome o;
  o.call = now_ns();
  auto* node = connect();
  if (node == nullptr) {  // nothing was sent
    o.what = failure{errc::unavailable, "no node"};
    o.returned = now_ns();
    return o;
  }
  try {
    const auto call = node->send(r, patience);
    const auto until = command::in(patience + milliseconds(3'000));
    while (auto a = node->next(until)) {
      if (a->call != call) continue;
      o.returned = now_ns();
      if (auto* f = std::get_if<failure>(&a->what))
        o.what = std::move(*f);
      else
        o.what = std::move(a->what);
      return o;
    }
    silent(o.call, static_cast<unsigned>(r.index()));
  } catch (const command::command_error&) {  // the node went away: whatever it did before
  }
  o.returned = now_ns();
  disconnect();
  return o;
}

void session::record(const char* op, const std::string& key, json input, json output, std::int64_t call,
                     std::optional<std::int64_t> returned) {
  const bool known = returned.has_value();
  history_.write({{"process", process_},
                  {"op", op},
                  {"key", key},
                  {"input", std::move(input)},
                  {"output", known ? std::move(output) : json(nullptr)},
                  {"call", call},
                  {"return", known ? json(*returned) : json(nullptr)}});
  // An operation of unknown outcome may still be going on: what follows is another process's.
  if (!known) process_ += 1'000 * sessions_a_node;
}

void session::record_failed(const char* op, const std::string& key, json input, const outcome& o) {
  if (const auto* f = o.refused(); f != nullptr && without_effect(f->code))
    record(op, key, std::move(input), {{"error", name_of(f->code)}, {"effect", "none"}}, o.call, o.returned);
  else
    record(op, key, std::move(input), nullptr, o.call, std::nullopt);
}

void session::note(json j) {
  j["node"] = opt_.node;
  notes_.write(j);
}

void session::silent(std::int64_t call, unsigned request) {
  note({{"what", "silence"}, {"request", request}, {"call", call}, {"return", now_ns()}});
}

void session::pause(milliseconds mean) {
  const auto factor = std::min(std::exponential_distribution<double>(1)(random_), 10.0) * opt_.pace;
  std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(mean) * factor);
}

// ---- the store of record
// ----------------------------------------------------------------------------------------------

guard_client::guard_client(const std::filesystem::path& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::strncpy(a.sun_path, path.c_str(), sizeof a.sun_path - 1);
  if (fd_ < 0 || ::connect(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0)
    throw std::runtime_error("the store of record does not answer at " + path.string());
}
guard_client::~guard_client() { ::close(fd_); }

std::string guard_client::ask(const std::string& line) {
  if (::send(fd_, line.data(), line.size(), MSG_NOSIGNAL) != std::ssize(line))
    throw std::runtime_error("the store of record is gone");
  std::string answer;
  for (char c = 0; c != '\n';) {
    const auto n = ::recv(fd_, &c, 1, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw std::runtime_error("the store of record is gone");
    if (c != '\n') answer += c;
  }
  return answer;
}

bool guard_client::write(const std::string& key, std::uint64_t& fence) {
  const auto answer = ask(fmt::format("write {} {}\n", key, fence));
  fence = std::stoull(answer.substr(answer.find(' ') + 1));
  return answer.starts_with("ok");
}
std::uint64_t guard_client::read(const std::string& key) { return std::stoull(ask(fmt::format("read {}\n", key))); }
std::uint64_t guard_client::raise(const std::string& key) { return std::stoull(ask(fmt::format("raise {}\n", key))); }

}  // namespace coterie::chaos
