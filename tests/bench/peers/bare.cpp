// What a replicated, synced append costs on this machine with nothing of coterie in it: the same processes and threads
// (three servers with a loop and a store thread each, one client), the same messages, bare files and sockets. No terms,
// no checksums, no state, no answer to any failure. The rows of `bare` that tools/bench_peers shows are the floor of
// what such threads can do here; what coterie takes beyond that is its own.
//
//   peer_bare serve INDEX PLACE,PLACE,PLACE FILE      server INDEX of three; the first one leads
//   peer_bare append|read PLACE,PLACE,PLACE IN_FLIGHT SECONDS BYTES   the client
#include <array>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <span>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.hpp"

namespace coterie::peers {
namespace {

constexpr std::size_t servers = 3;
constexpr off_t file_size = 64 << 20;  // written once, then again and again, so that a sync has no metadata

void check(bool good, const char* what) {
  if (!good) fail(fmt::format("{}: {}", what, std::strerror(errno)));
}

sockaddr_in parse_place(const std::string& place) {
  sockaddr_in a{};
  a.sin_family = AF_INET;
  const auto colon = place.find(':');
  a.sin_port = htons(static_cast<std::uint16_t>(std::atoi(place.c_str() + colon + 1)));
  check(::inet_pton(AF_INET, place.substr(0, colon).c_str(), &a.sin_addr) == 1, "address");
  return a;
}

void send_at_once(int fd) {
  const int one = 1;
  check(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "setsockopt");
}

/// Waits for the other side to listen.
int connect_to(const std::string& place) {
  const auto a = parse_place(place);
  for (const auto until = clock::now() + std::chrono::seconds(20); clock::now() < until;) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0) {
      send_at_once(fd);
      return fd;
    }
    ::close(fd);
    ::poll(nullptr, 0, 10);
  }
  fail("no server at " + place);
}

// ---- messages: a request, a batch of them, and, without a body, what acknowledges either

struct header {
  std::uint64_t number = 0;  ///< of the request, or of the last one in the batch
  std::uint64_t size = 0;    ///< of the body
};

void put(std::string& out, std::uint64_t number, std::string_view body) {
  const header h{number, body.size()};
  out.append(reinterpret_cast<const char*>(&h), sizeof h).append(body);
}

void write_all(int fd, std::string_view b) {
  while (!b.empty()) {
    const auto n = ::send(fd, b.data(), b.size(), MSG_NOSIGNAL);
    check(n > 0, "send");
    b.remove_prefix(static_cast<std::size_t>(n));
  }
}

class incoming {
 public:
  /// Reads once, and gives each whole message to `take(number, whole message, body)`. False when the other side ended.
  template <class Take>
  bool read(int fd, Take take) {
    const auto n = ::recv(fd, room_.data(), room_.size(), 0);
    if (n <= 0) return false;
    held_.append(room_.data(), static_cast<std::size_t>(n));
    std::string_view left = held_;
    for (header h; left.size() >= sizeof h;) {
      std::memcpy(&h, left.data(), sizeof h);
      if (left.size() - sizeof h < h.size) break;
      take(h.number, left.substr(0, sizeof h + h.size), left.substr(sizeof h, h.size));
      left.remove_prefix(sizeof h + h.size);
    }
    held_.erase(0, held_.size() - left.size());
    return true;
  }

 private:
  std::string held_, room_ = std::string(256 << 10, '\0');
};

// ---- the store's thread

class store {
 public:
  explicit store(const char* path) : fd_(::open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    check(fd_ >= 0, path);
    const std::string zeros(1 << 20, '\0');
    for (off_t at = 0; at < file_size; at += static_cast<off_t>(zeros.size()))
      check(::pwrite(fd_, zeros.data(), zeros.size(), at) > 0, "pwrite");
    check(::fsync(fd_) == 0, "fsync");
    std::thread([this] { run(); }).detach();
  }
  /// Readable when `synced` has changed.
  int event() const { return event_; }
  void add(std::string_view body, std::uint64_t last) {
    {
      const std::lock_guard lock(mutex_);
      waiting_.append(body);
      last_ = last;
    }
    changed_.notify_one();
  }
  std::uint64_t synced() {
    std::uint64_t n = 0;
    check(::read(event_, &n, sizeof n) == sizeof n, "eventfd");
    const std::lock_guard lock(mutex_);
    return synced_;
  }

 private:
  [[noreturn]] void run() {
    std::string batch;
    for (off_t at = 0;; at += static_cast<off_t>(batch.size())) {
      batch.clear();
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return !waiting_.empty(); });
      batch.swap(waiting_);
      const auto last = last_;
      lock.unlock();
      if (at + static_cast<off_t>(batch.size()) > file_size) at = 0;
      check(::pwrite(fd_, batch.data(), batch.size(), at) == static_cast<ssize_t>(batch.size()), "pwrite");
      check(::fdatasync(fd_) == 0, "fdatasync");
      lock.lock();
      synced_ = last;
      lock.unlock();
      const std::uint64_t one = 1;
      check(::write(event_, &one, sizeof one) == sizeof one, "eventfd");
    }
  }

  int fd_, event_ = ::eventfd(0, EFD_CLOEXEC);
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string waiting_;
  std::uint64_t last_ = 0, synced_ = 0;
};

// ---- servers

/// Where others connect: the leader at a follower, and one client after the other.
class door {
 public:
  explicit door(const std::string& place) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const int one = 1;
    check(::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0, "setsockopt");
    const auto a = parse_place(place);
    check(::bind(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0, "bind");
    check(::listen(fd_, 2) == 0, "listen");
  }
  int fd() const { return fd_; }
  int accept() const {
    const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    check(fd >= 0, "accept");
    send_at_once(fd);
    return fd;
  }

 private:
  int fd_;
};

/// The client that is there, or the door where one may come.
class guest {
 public:
  explicit guest(const door& d) : door_(d) {}
  pollfd waits() const { return {fd_ < 0 ? door_.fd() : fd_, POLLIN, 0}; }
  /// Calls `take` as incoming::read does. False when the client has just come or gone.
  template <class Take>
  bool serve(Take take) {
    if (fd_ < 0) {
      fd_ = door_.accept();
      return false;
    }
    if (in_.read(fd_, take)) return true;
    ::close(std::exchange(fd_, -1));
    in_ = {};
    return false;
  }
  void answer(std::string_view b) const {
    if (fd_ >= 0 && !b.empty()) write_all(fd_, b);
  }

 private:
  const door& door_;
  int fd_ = -1;
  incoming in_;
};

// What a follower tells its leader: how far it has synced, or a question, which is how far it is with this bit.
constexpr std::uint64_t question = std::uint64_t{1} << 63;

/// Until the leader ends. Its client reads: with three servers the leader and the follower that asks are a majority.
void follow(const std::string& place, const char* file) {
  store disk(file);
  const door entrance(place);
  const int leader = entrance.accept();
  incoming from_leader;
  guest client(entrance);
  for (;;) {
    std::array<pollfd, 3> ready{{client.waits(), {leader, POLLIN, 0}, {disk.event(), POLLIN, 0}}};
    check(::poll(ready.data(), ready.size(), -1) > 0, "poll");
    std::string up, answers;
    if (ready[0].revents) client.serve([&](auto call, auto, auto) { put(up, question | call, {}); });
    if (ready[1].revents && !from_leader.read(leader, [&](auto number, auto, auto body) {
          if (body.empty())
            put(answers, number & ~question, {});
          else
            disk.add(body, number);
        }))
      return;
    if (ready[2].revents) put(up, disk.synced(), {});
    if (!up.empty()) write_all(leader, up);
    client.answer(answers);
  }
}

[[noreturn]] void lead(const std::vector<std::string>& places, const char* file) {
  store disk(file);
  const std::array followers{connect_to(places[1]), connect_to(places[2])};
  const door entrance(places[0]);  // who gets in here is not the first one at a follower
  guest client(entrance);
  std::array<incoming, 2> from_follower;
  std::array<std::uint64_t, servers> synced{};
  std::uint64_t last = 0;
  std::deque<std::uint64_t> calls;  // that are not answered; the last one is number `last`
  for (;;) {
    std::array<pollfd, servers + 1> ready{
        {client.waits(), {followers[0], POLLIN, 0}, {followers[1], POLLIN, 0}, {disk.event(), POLLIN, 0}}};
    check(::poll(ready.data(), ready.size(), -1) > 0, "poll");
    std::string turn, batch, answers;
    if (ready[0].revents && !client.serve([&](auto call, auto whole, auto) {
          calls.push_back(call);
          turn += whole;
          ++last;
        }))
      calls.clear();
    if (!turn.empty()) {
      put(batch, last, turn);
      for (const int f : followers) write_all(f, batch);
      disk.add(turn, last);
    }
    for (std::size_t i = 0; i < followers.size(); ++i) {
      std::string known;
      if (ready[i + 1].revents && !from_follower[i].read(followers[i], [&](auto number, auto whole, auto) {
            if (number & question)
              known += whole;
            else
              synced[i + 1] = number;
          }))
        fail("a follower ended");
      if (!known.empty()) write_all(followers[i], known);
    }
    if (ready[3].revents) synced[0] = disk.synced();
    auto order = synced;
    std::ranges::nth_element(order, order.begin() + 1);
    for (const auto of_majority = order[1]; !calls.empty() && last - calls.size() < of_majority; calls.pop_front())
      put(answers, calls.front(), {});
    client.answer(answers);
  }
}

// ---- the client

/// Appends at the leader, reads at a follower.
void ask(const arguments& a) {
  const int leader = connect_to(a.endpoints[0]);
  const int server = a.what == "append" ? leader : connect_to(a.endpoints[1]);
  const std::string body(a.what == "append" ? a.size : 0, 'x');
  measured m(a);
  incoming answers;
  std::deque<clock::time_point> begun;  // answers come in order
  for (std::uint64_t next = 0; !m.over();) {
    std::string requests;
    for (; begun.size() < a.in_flight; begun.push_back(clock::now())) put(requests, ++next, body);
    write_all(server, requests);
    if (!answers.read(server, [&](auto, auto, auto) {
          m.done(begun.front());
          begun.pop_front();
        }))
      fail("the server ended");
  }
  m.print("bare");
}

}  // namespace
}  // namespace coterie::peers

int main(int argc, char** argv) {
  using namespace coterie::peers;
  if (argc != 5 || std::string_view(argv[1]) != "serve") {
    ask(parse(argc, argv, {"append", "read"}));
    return 0;
  }
  const auto places = parse_endpoints(argv[3]);
  const auto index = static_cast<std::size_t>(std::atoi(argv[2]));
  if (places.size() != servers || index >= servers) fail("usage: peer_bare serve 0|1|2 PLACE,PLACE,PLACE FILE");
  if (index == 0) lead(places, argv[4]);
  follow(places[index], argv[4]);
}
