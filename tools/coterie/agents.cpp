#include "agents.hpp"

#include <fmt/format.h>

#include "base/version.hpp"
#include "client.hpp"

namespace coterie::command {

namespace {

/// Without a data directory its socket is where the user's run-time files are; each has a directory of its own for
/// them.
class coterie_watch : public agent_watch {
 public:
  explicit coterie_watch(const local_node& n)
      : agent_watch(n.name), client_(n.home / "coterie" / fmt::format("{}-{}.sock", n.name, n.pid)) {
    client_.send(wire::follow_events{});
  }
  int fd() const override { return client_.fd(); }
  void read() override {
    while (const auto a = client_.poll()) {
      if (const auto* f = std::get_if<failure>(&a->what)) raise(*f);
      if (const auto* e = std::get_if<wire::event_out>(&a->what)) hear(*e);
    }
  }

 private:
  void hear(const wire::event_out& e) {
    const auto node = e.fields.find("node"), id = e.fields.find("id");
    if (node == e.fields.end() || id == e.fields.end()) return;
    if (e.kind == "member.joined" || e.kind == "member.alive") came(node->second, id->second);
    if (e.kind == "member.unreachable" || e.kind == "member.left") went(node->second, id->second);
  }
  client client_;
};

}  // namespace

agents coterie_agents() {
  return {"coterie", fmt::format("coterie {}, gossip only", coterie_version),
          [](const local_node& n, const std::vector<std::string>& seeds) {
            std::filesystem::create_directories(n.home);
            auto run = run_here(n, seeds, "bench");
            run.command.push_back("--gossip-only");
            run.environment = {{"XDG_RUNTIME_DIR", n.home.string()}};
            return run;
          },
          [](const local_node& n) { return std::make_unique<coterie_watch>(n); }};
}

}  // namespace coterie::command
