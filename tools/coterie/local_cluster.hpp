// A cluster of node processes on loopback, of this program unless told otherwise: started, watched and ended with the
// object. Knows processes, ports and directories, nothing of what the nodes are used for.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "process.hpp"

namespace coterie::command {

struct local_node {
  std::string name;
  std::uint16_t port = 0;
  std::filesystem::path home;
  pid_t pid = -1;
  bool gone = false;
  std::filesystem::path socket() const { return home / "control.sock"; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port); }
};

struct local_options {
  unsigned nodes = 3;
  std::string data{};    ///< where it is kept; empty = a temporary directory, removed at the end, however that comes
  std::string cluster;   ///< its name
  unsigned seeds = ~0u;  ///< how many of the nodes, the first, are named to all
  std::uint16_t first_port = 7401;  ///< the first node has the first free one from here on, the next one another
  /// What a node runs, with which seeds; empty = `run` of this program.
  std::function<spawn_options(const local_node&, const std::vector<std::string>& seeds)> command{};
};

/// `run` of this program as this node, with these seeds, as far as nodes of all kinds have it in common.
spawn_options run_here(const local_node&, const std::vector<std::string>& seeds, const std::string& cluster);

/// A first port that another process hardly has: for clusters that nobody looks for, so that two can start at once.
std::uint16_t port_of_this_process();

class local_cluster {
 public:
  /// Starts nothing yet.
  explicit local_cluster(local_options);
  ~local_cluster();
  local_cluster(const local_cluster&) = delete;

  void start();  ///< all
  void start(local_node&);
  /// One more, with a home of its own, that the others do not name as a seed; not started yet.
  local_node& add();
  /// Sends the signal; a node that ends by it is noticed by reap().
  void signal(const local_node&, int) const;
  /// Those that have ended since the last call.
  std::vector<local_node*> reap();
  void wait_gone(local_node&);
  /// SIGTERM to all, SIGKILL after 5 s, or at once when another signal comes.
  void end(const signal_queue* signals = nullptr) noexcept;

  std::deque<local_node>& nodes() { return nodes_; }
  const std::deque<local_node>& nodes() const { return nodes_; }
  /// The last line of the node's log, behind ": "; empty when there is none.
  std::string last_log(const local_node&) const;

 private:
  const local_options opt_;
  const std::filesystem::path directory_;
  watcher watcher_;
  std::vector<std::string> seeds_;
  std::deque<local_node> nodes_;  // one that is added leaves the others where they are
};

}  // namespace coterie::command
