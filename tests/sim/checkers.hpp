// What must always hold, looked at after every step from outside: the checkers know the whole cluster, the engines know
// nothing of them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "sim/world.hpp"

namespace coterie::sim {

/// Election safety, log matching, leader completeness, state machine safety, one cluster id (Raft paper figure 3;
/// membership.md 2).
class consensus_checker {
 public:
  explicit consensus_checker(world& w) : world_(w), seen_(64) {}
  void after_step(std::size_t node);
  void on_start(std::size_t node);
  /// At the end: how far everything got.
  std::uint64_t committed() const { return committed_.empty() ? 0 : committed_.rbegin()->first; }
  std::uint64_t leaders() const { return leaders_.size(); }
  /// A majority of slots was wiped: two ids may then exist (membership.md 2).
  void allow_two_clusters() { two_ids_ = true; }

 private:
  struct node_memory {
    std::uint64_t commit = 0, applied = 0, term = 0;
    std::uint32_t life = 0;
    raft::role role = raft::role::follower;
  };
  void fail(std::size_t node, const std::string& what) { world_.watch.violation(world_.name(node) + ": " + what); }
  world& world_;
  std::map<std::uint64_t, node_id> leaders_;                                    // by term
  std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> committed_;  // index -> (term, payload hash)
  std::map<std::uint64_t, std::uint64_t> digests_;                              // applied index -> machine digest
  std::vector<node_memory> seen_;
  cluster_id id_;
  bool two_ids_ = false;
};

/// Lock exclusion in real time, rising tokens (services.md, L1; consensus.md 2, S1 to S4).
class lock_checker {
 public:
  explicit lock_checker(world& w) : world_(w) {}
  /// A caller was told that it holds; it believes so until `until` (real time) unless told otherwise.
  void granted(std::size_t node, std::uint64_t hold, const std::string& lock, std::uint64_t fence, virtual_time until);
  void extended(std::uint64_t hold, virtual_time until);
  void ended(std::uint64_t hold);  ///< the caller stopped believing
  std::uint64_t grants() const { return grants_; }

 private:
  struct hold {
    std::size_t node;
    std::string lock;
    std::uint64_t fence;
    virtual_time until;
  };
  world& world_;
  std::map<std::uint64_t, hold> holds_;
  std::map<std::string, std::uint64_t> last_fence_;
  std::uint64_t grants_ = 0;
};

/// At most one start per (job, version, scheduled time, attempt) (services.md, Once per scheduled time).
class job_checker {
 public:
  explicit job_checker(world& w) : world_(w) {}
  void started(std::size_t node, const machine::job_run_record&);
  std::uint64_t starts() const { return starts_.size(); }

 private:
  world& world_;
  std::map<std::tuple<std::string, std::uint64_t, std::int64_t, std::uint32_t>, std::string> starts_;
};

/// Every node processes every acknowledged entry, in one order, ids rising (services.md, J rows). A node is its
/// identity on disk: a wiped one starts over.
class journal_checker {
 public:
  explicit journal_checker(world& w) : world_(w) {}
  void acknowledged(const std::string& journal, std::uint64_t id, const std::string& message);
  /// A batch was handed to the processor of this node, which will answer `cursor` (0 = nothing moves).
  void processing(std::size_t node, const std::string& journal, const std::vector<machine::journal_entry>& batch);
  void processed(std::size_t node, const std::string& journal, std::uint64_t cursor);
  void wiped(std::size_t node) {
    std::erase_if(seen_, [&](const auto& x) { return x.first.first == node; });
  }
  /// What an acknowledged entry still misses; empty = every node has it.
  std::string missing(const std::vector<std::size_t>& nodes) const;
  std::uint64_t entries() const;

 private:
  struct progress {
    std::uint64_t cursor = 0;
    std::set<std::uint64_t> ids;
  };
  world& world_;
  std::map<std::string, std::map<std::uint64_t, std::string>> acked_, known_;
  std::map<std::pair<std::size_t, std::string>, progress> seen_;
};

}  // namespace coterie::sim
