// Clients of every service on every node, and what they were told. Feeds the checkers.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "linearizability/history.hpp"
#include "local/kept_locks.hpp"
#include "sim/checkers.hpp"
#include "sim/world.hpp"

namespace coterie::sim {

class workload {
 public:
  explicit workload(world&);
  /// A client does this now, on a node that is up; on one that is paused its call waits with the process.
  void perform(const operation&);
  /// Every node processes what it has not yet.
  void drain();
  /// The process is gone: so are its clients' calls.
  void ended(std::size_t node);
  /// A node whose disk was emptied, or that comes back as somebody new, starts over.
  void forget(std::size_t node) {
    journals.forget(node);
    heals.forget(node);
    messages.forget(world_.name(node));
  }

  /// What the clients of locks and journals called and were told.
  linearizability::history take_history() { return history_.take(); }

  consensus_checker consensus;
  std::vector<consensus_checker> data_consensus;  ///< of the data groups
  std::vector<fence_checker> fences;
  durability_checker durability;
  heal_checker heals;
  membership_checker membership;
  lock_checker locks;
  job_checker jobs;
  journal_checker journals;
  cache_checker caches;
  message_checker messages;
  std::uint64_t operations = 0, acknowledged = 0, refused = 0, unsure = 0;

 private:
  /// What a call is for: what to do with its answers.
  using handler = std::function<void(engine::call_id, const wire::response&, bool last)>;
  struct open_call {
    std::size_t node;
    handler then;
  };
  struct lock_client {
    std::size_t node;
    std::string name;
    std::uint64_t x = 0;
    std::int64_t granted = 0;
    linearizability::recorder::id acquire = 0;  ///< in the history
    engine::call_id grant{};                    ///< the call that was granted
    std::shared_ptr<local::lock_grant> mine{};
  };
  /// A grant as the client that asked for it was told, for it or for others of its process.
  struct lock_grant {
    virtual_time until;
    std::uint64_t owner = 0;  ///< the hold by it; 0 = nobody has it now
  };

  std::int64_t now() const { return world_.now().count(); }
  engine::call_id call(std::size_t node, wire::request, handler);
  void on_node(std::size_t node, duration later, std::function<void()>);  ///< unless it ended meanwhile
  void register_node(std::size_t);
  void run_jobs(std::size_t node);
  void keep_cache(std::size_t node);
  void listen(std::size_t node);
  void lock(const operation&);
  local::kept_locks& kept(std::size_t node);
  void on_lock_answer(engine::call_id, lock_client&, const wire::response&, bool last);
  void on_granted(engine::call_id, lock_client, const wire::lock_granted&);
  void hold(lock_client);
  void end_hold(std::uint64_t, bool just_goes);
  void release(const lock_client&);
  void lost(const lock_client&);
  void append(const operation&);
  void process(std::size_t node, const std::string& journal, std::uint64_t x);
  void peek(const operation&);
  void read(std::size_t node, wire::request);
  void read_own(std::size_t node);
  void invalidate(const operation&);

  world& world_;
  std::map<engine::call_id, open_call> calls_;
  linearizability::recorder history_;
  std::map<std::uint64_t, lock_client> holders_;
  std::map<engine::call_id, lock_grant> grants_;
  std::map<std::size_t, std::unique_ptr<local::kept_locks>> kept_;  ///< of the host process of each node
  std::uint64_t last_hold_ = 0;
  std::map<linearizability::recorder::id, lock_client> releasing_;
  std::uint64_t next_message_ = 0, own_reads_ = 0;
};

}  // namespace coterie::sim
