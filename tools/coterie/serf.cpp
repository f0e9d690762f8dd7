// Serf's agents, and its RPC as far as watching needs it: MessagePack over TCP, each answer a header and, for some, a
// body (https://github.com/hashicorp/serf/blob/master/docs/agent/rpc.html.markdown).
#include <array>
#include <cerrno>
#include <cstdio>
#include <sstream>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fmt/format.h>

#include "agents.hpp"
#include "client.hpp"
#include "output.hpp"

namespace coterie::command {

namespace {

constexpr const char* rpc_host = "127.0.0.2";  // at the port that gossip has on 127.0.0.1

class serf_watch : public agent_watch {
 public:
  explicit serf_watch(const local_node& n)
      : agent_watch(n.name), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(n.port);
    ::inet_pton(AF_INET, rpc_host, &a.sin_addr);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&a), sizeof a) != 0) {
      ::close(fd_);
      throw command_error(no_node, fmt::format("no Serf agent answers at {}:{}", rpc_host, n.port));
    }
    send(call::handshake, "handshake", {{"Version", 1}});
    send(call::stream, "stream", {{"Type", "*"}});
    send(call::members, "members", nullptr);  // those that came before the stream
  }
  ~serf_watch() override { ::close(fd_); }
  int fd() const override { return fd_; }

  void read() override {
    std::array<char, 65'536> b;
    ssize_t n = 0;
    while ((n = ::recv(fd_, b.data(), b.size(), MSG_DONTWAIT)) > 0) in_.append(b.data(), static_cast<std::size_t>(n));
    const bool ended = n == 0 || (errno != EAGAIN && errno != EINTR);
    while (take_message()) {
    }
    if (ended) throw command_error(no_node, "the connection to a Serf agent ended");
  }

 private:
  enum call : int { handshake, stream, members };

  void send(call number, const char* command, const json& body) {
    auto b = json::to_msgpack({{"Command", command}, {"Seq", int{number}}});
    if (!body.is_null()) json::to_msgpack(body, b);
    if (::send(fd_, b.data(), b.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(b.size()))
      throw command_error(no_node, "the connection to a Serf agent ended");
  }

  bool take_message() try {
    std::istringstream in(in_);
    const auto header = json::from_msgpack(in, false, false);
    if (header.is_discarded()) return false;
    if (const auto error = header.at("Error").get<std::string>(); !error.empty())
      throw command_error(failed, "Serf refused: " + error);
    const int number = header.at("Seq");
    const bool plain = number == call::handshake || (number == call::stream && !streaming_);
    json body;
    if (!plain) body = json::from_msgpack(in, false, false);
    if (body.is_discarded()) return false;
    in_.erase(0, static_cast<std::size_t>(in.tellg()));
    streaming_ |= number == call::stream;
    if (!plain) hear(body, number == call::stream ? body.at("Event").get<std::string>() : "members");
    return true;
  } catch (const json::exception& e) {
    throw command_error(failed, fmt::format("what Serf said is not understood: {}", e.what()));
  }

  void hear(const json& body, const std::string& what) {
    if (!body.contains("Members")) return;
    for (const auto& m : body.at("Members")) {
      const std::string name = m.at("Name");
      if (what == "member-join" || (what == "members" && m.at("Status") == "alive")) came(name);
      if (what == "member-failed" || what == "member-leave") went(name);
    }
  }

  const int fd_;
  bool streaming_ = false;
  std::string in_;
};

/// The first line that `serf version` prints.
std::string version() {
  std::array<char, 256> line{};
  FILE* out = ::popen("serf version 2>/dev/null", "re");
  const bool said = out != nullptr && std::fgets(line.data(), line.size(), out) != nullptr;
  if (out != nullptr) ::pclose(out);
  if (!said)
    throw command_error(failed,
                        "--peer serf: the program serf is not installed here: Debian has it in the package serf");
  std::string s(line.data());
  return s.substr(0, s.find('\n'));
}

}  // namespace

agents serf_agents() {
  return {"serf", fmt::format("serf {}, profile lan", version()),
          [](const local_node& n, const std::vector<std::string>& seeds) {
            spawn_options o{{"serf", "agent", "-profile=lan", "-node=" + n.name, "-bind=" + n.address(),
                             fmt::format("-rpc-addr={}:{}", rpc_host, n.port)}};
            for (const auto& s : seeds) o.command.push_back("-retry-join=" + s);
            return o;
          },
          [](const local_node& n) { return std::make_unique<serf_watch>(n); }};
}

}  // namespace coterie::command
