// What must always hold, looked at after every step from outside: the checkers know the whole cluster, the engines know
// nothing of them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/world.hpp"

namespace coterie::sim {

/// Election safety, log matching, leader append-only, leader completeness, state machine safety, and what never falls
/// (Raft paper, figure 3); configurations that follow each other share a majority (4.3 there); one cluster id
/// (docs/membership.md). Of one group.
class consensus_checker {
 public:
  explicit consensus_checker(world& w, group_id g = meta_group) : world_(w), group_(g), seen_(world::max_nodes) {}
  void after_step(std::size_t node);
  void on_start(std::size_t node) { seen_[node] = {}; }
  /// The highest index that any node knew to be committed.
  std::uint64_t committed() const { return committed_.empty() ? 0 : committed_.rbegin()->first; }
  std::uint64_t leaders() const { return leaders_.size(); }
  std::uint64_t configurations() const { return configurations_.size(); }  ///< committed
  /// A linearizable read is answered on this node: it has applied all that was committed when the read began
  /// (thesis 6.4).
  void read_served(std::size_t node, std::uint64_t committed_before);
  /// A node told, just now, as of which entry its own state is and how old that may be: nothing is missing from it that
  /// anybody knew to be committed longer ago (docs/consensus.md 1.8).
  void own_state_told(std::size_t node, const wire::as_of&);
  /// Some clock left the assumed bound: what nodes say of ages is not to be believed.
  void clocks_lie() { ages_ = false; }

 private:
  struct node_memory {
    std::uint64_t commit = 0, applied = 0, term = 0, last = 0, last_term = 0;
    raft::role role = raft::role::follower;
  };
  /// An entry is known by index and term (log matching): its content, and the term before it.
  struct known_entry {
    std::uint64_t term, content, previous_term;
  };
  void fail(std::size_t node, const std::string& what);
  void check_log(std::size_t node, const raft::core&, node_memory&);
  void check_leader(std::size_t node, const raft::core&, const node_memory&);
  void check_committed(std::size_t node, const raft::core&, const node_memory&);
  world& world_;
  const group_id group_;
  std::map<std::uint64_t, node_id> leaders_;                   // by term
  std::map<std::uint64_t, std::vector<known_entry>> entries_;  // by index
  struct committed_entry {
    std::uint64_t term, content;
    std::uint64_t in_term;  // of the node that first knew: the leader
  };
  std::map<std::uint64_t, committed_entry> committed_;        // by index
  std::vector<std::pair<virtual_time, std::uint64_t>> grew_;  // when the highest index became known as committed
  bool ages_ = true;
  std::map<std::uint64_t, raft::configuration> configurations_;  // committed ones, by index
  std::map<std::uint64_t, std::uint64_t> digests_;               // applied index -> machine digest
  std::vector<node_memory> seen_;
  cluster_id id_;
};

/// What a node tells another is on its disk first: votes, terms and acknowledged entries (Raft paper, figure 2:
/// "updated on stable storage before responding").
class durability_checker {
 public:
  explicit durability_checker(world& w) : world_(w) {}
  void sent(std::size_t from, byte_view frame);

 private:
  void look(std::size_t from, group_id, const raft::message&);
  world& world_;
};

/// A node that was damaged and healed has all that it had promised: its term, what it applied, and every entry behind
/// the state that it got, unless that is of another history (docs/consensus.md 1.6).
class heal_checker {
 public:
  explicit heal_checker(world& w) : world_(w), had_(world::max_nodes) {}
  void damaged(std::size_t node, const raft::recovered& before) { had_[node] = before; }
  void forget(std::size_t node) { had_[node].reset(); }
  void after_step(std::size_t node);

 private:
  world& world_;
  std::vector<std::optional<raft::recovered>> had_;
};

/// Evidence is monotone: what a node believes of another never goes back in (incarnation, state)
/// (docs/membership.md); and a node with another seed list is not mixed with before it is in the cluster. Looked at now
/// and then.
class membership_checker {
 public:
  explicit membership_checker(world& w) : world_(w), looked_(world::max_nodes), believed_(world::max_nodes) {}
  void after_step(std::size_t node);
  void on_start(std::size_t node) { believed_[node].clear(); }

 private:
  void check_scope(std::size_t node);
  world& world_;
  std::vector<std::uint64_t> looked_;
  std::vector<std::map<node_id, std::pair<incarnation, swim::member_state>>> believed_;
};

/// Lock exclusion in real time, rising tokens, and what they are for: a resource that refuses older tokens never has to
/// (docs/locks.md).
class lock_checker {
 public:
  explicit lock_checker(world& w) : world_(w) {}
  /// Some clock left the assumed bound: holds may overlap then, tokens still rise and guard.
  void clocks_lie() { exclusion_ = false; }
  /// A caller was told that it holds; it believes so until `until` (real time) unless told otherwise.
  void granted(std::size_t node, std::uint64_t hold, const std::string& lock, std::uint64_t fence, virtual_time until);
  void extended(std::uint64_t hold, virtual_time until);
  void ended(std::uint64_t hold);  ///< the caller stopped believing
  /// The caller writes to the guarded resource, if it still believes.
  void writes(std::uint64_t hold);
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
  std::map<std::string, std::uint64_t> last_fence_, written_;
  std::uint64_t grants_ = 0;
  bool exclusion_ = true;
};

/// At most one start per (job, version, scheduled time, attempt) (docs/jobs.md).
class job_checker {
 public:
  explicit job_checker(world& w) : world_(w) {}
  void started(std::size_t node, const machine::job_run_record&);
  std::uint64_t starts() const { return starts_.size(); }

 private:
  world& world_;
  std::map<std::tuple<std::string, std::uint64_t, std::int64_t, std::uint32_t>, std::string> starts_;
};

/// Every node processes every acknowledged entry, in one order, ids rising (docs/journals.md). A node is its
/// identity on disk: a wiped one starts over.
class journal_checker {
 public:
  explicit journal_checker(world& w) : world_(w) {}
  void acknowledged(const std::string& journal, std::uint64_t id, const std::string& message);
  /// A batch was handed to the processor of this node, which will answer `cursor` (0 = nothing moves).
  void processing(std::size_t node, const std::string& journal, const std::vector<machine::journal_entry>& batch);
  void processed(std::size_t node, const std::string& journal, std::uint64_t cursor);
  /// Somebody looked, processing nothing.
  void seen(const std::string& journal, const std::vector<machine::journal_entry>& list) {
    for (const auto& e : list) learn(journal, e.id, e.message);
  }
  void forget(std::size_t node) {
    std::erase_if(seen_, [&](const auto& x) { return x.first.first == node; });
  }
  /// This message must never be an entry.
  void forbid(const std::string& message) { forbidden_.insert(message); }
  /// What an acknowledged entry still misses; empty = every node has it.
  std::string missing(const std::vector<std::size_t>& nodes) const;
  std::uint64_t entries() const;

 private:
  struct progress {
    std::uint64_t cursor = 0;
    std::set<std::uint64_t> ids;
  };
  void learn(const std::string& journal, std::uint64_t id, const std::string& message);
  world& world_;
  std::map<std::string, std::map<std::uint64_t, std::string>> acked_, known_;
  std::map<std::string, std::map<std::string, std::uint64_t>> ids_;  // each message is appended once
  std::map<std::pair<std::size_t, std::string>, progress> seen_;
  std::set<std::string> forbidden_;
};

/// Nothing of a session is executed in a data group behind the session's Fence (docs/consensus.md 1.10): what is
/// appended for the first time there, no journal has.
class fence_checker {
 public:
  fence_checker(world& w, journal_checker& j, group_id g) : world_(w), journals_(j), group_(g) {}
  void after_step(std::size_t node);
  std::uint64_t late() const { return late_; }  ///< commands behind a Fence

 private:
  void look(const raft::entry&);
  world& world_;
  journal_checker& journals_;
  const group_id group_;
  log_index looked_;  ///< up to here all committed entries that anybody still had
  std::set<session_epoch> fenced_;
  std::set<std::pair<session_epoch, request_seq>> known_;
  std::uint64_t late_ = 0;
};

/// Caches follow their source: once everything is quiet no node keeps a value older than an acknowledged invalidation
/// (docs/caches.md).
class cache_checker {
 public:
  explicit cache_checker(world& w) : world_(w), held_(world::max_nodes) {}
  std::uint64_t changed(const std::string& key) { return ++source_[key]; }  ///< the version to be acknowledged
  void acknowledged(const std::string& key, std::uint64_t version);
  void loaded(std::size_t node, const std::string& key) { held_[node][key] = source_[key]; }
  void invalidated(std::size_t node, const std::optional<std::string>& key);
  void on_start(std::size_t node) { held_[node].clear(); }
  /// What is too old; empty = nothing.
  std::string stale() const;

 private:
  world& world_;
  std::map<std::string, std::uint64_t> source_, acked_;
  std::vector<std::map<std::string, std::uint64_t>> held_;
};

/// Messages of one sender and channel come at most once and in order, and never to the sender (docs/messages.md).
class message_checker {
 public:
  explicit message_checker(world& w) : world_(w), heard_(world::max_nodes) {}
  void heard(std::size_t node, const wire::message_out&);
  void on_start(std::size_t node) { heard_[node].clear(); }
  /// The next sender of that name is somebody else, who counts from 1 again, boots too: once, after what is on its way.
  void forget(const std::string& sender) { ++others_[sender]; }
  std::uint64_t count() const { return count_; }

 private:
  world& world_;
  struct series {
    std::uint64_t last = 0;
    int begun = 0;  // how often a sender of that name began anew
  };
  std::vector<std::map<std::tuple<std::string, std::uint64_t, std::string>, series>> heard_;
  std::map<std::string, int> others_;
  std::uint64_t count_ = 0;
};

}  // namespace coterie::sim
