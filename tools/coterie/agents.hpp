// Membership agents of a system that is measured: how one is started, and what it tells to whoever subscribes. Knows
// what agents say, not what is measured.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "local_cluster.hpp"

namespace coterie::command {

/// One connection to one agent: the others that it believes to be alive, as it says so.
class agent_watch {
 public:
  explicit agent_watch(std::string self) : self_(std::move(self)) {}
  virtual ~agent_watch() = default;
  agent_watch(const agent_watch&) = delete;

  virtual int fd() const = 0;
  /// Takes what has come; never waits. Throws command_error when the connection has ended.
  virtual void read() = 0;

  std::size_t others() const { return alive_.size(); }
  bool lists(const std::string& name) const { return alive_.contains(name); }

 protected:
  void came(const std::string& name, const std::string& id = {}) {
    if (name != self_) alive_[name] = id;
  }
  /// Of an identity that has a successor by this name it says nothing new.
  void went(const std::string& name, const std::string& id = {}) {
    const auto it = alive_.find(name);
    if (it != alive_.end() && it->second == id) alive_.erase(it);
  }

 private:
  const std::string self_;
  std::map<std::string, std::string> alive_;  // identity by name
};

struct agents {
  std::string system, about;  ///< `about`: for people
  std::function<spawn_options(const local_node&, const std::vector<std::string>& seeds)> command;
  /// Subscribes. Throws command_error when the agent does not answer yet.
  std::function<std::unique_ptr<agent_watch>(const local_node&)> watch;
};

agents coterie_agents();
agents serf_agents();  ///< throws command_error when it is not installed

}  // namespace coterie::command
