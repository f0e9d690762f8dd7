// Clients of every service on every node, and what they were told. Feeds the checkers.
#pragma once

#include <map>
#include <string>

#include "sim/checkers.hpp"
#include "sim/world.hpp"

namespace coterie::sim {

class workload {
 public:
  workload(world&, std::uint64_t seed);
  /// One client operation each `period`, on a random running node, until `end`.
  void run(virtual_time end, duration period);
  /// Everything acknowledged is processed everywhere it can be.
  void drain();

  consensus_checker consensus;
  lock_checker locks;
  job_checker jobs;
  journal_checker journals;
  std::uint64_t operations = 0, acknowledged = 0, refused = 0, unsure = 0;
  std::vector<std::size_t> participants() const;  ///< running nodes

 private:
  struct lock_call {
    std::size_t node;
    std::uint32_t life;
    std::string lock;
    std::uint64_t fence = 0;
    bool held = false;
  };
  struct append_call {
    std::string journal, message;
  };
  struct process_call {
    std::size_t node;
    std::string journal;
    std::uint64_t token = 0;
  };
  struct end_call {
    std::size_t node;
    std::uint32_t life;
    std::string journal;
    std::uint64_t cursor = 0;
  };

  void one();
  void process(std::size_t node, const std::string& journal);
  void register_node(std::size_t);
  void answered(std::size_t node, engine::call_id, const wire::response&, bool last);
  void ended(std::size_t node);

  world& world_;
  rng random_;
  std::map<engine::call_id, lock_call> lock_calls_;
  std::map<engine::call_id, append_call> appends_;
  std::map<engine::call_id, process_call> processes_;
  std::map<engine::call_id, end_call> ends_;
  std::map<engine::call_id, std::size_t> runners_;
  std::uint64_t next_message_ = 0;
};

}  // namespace coterie::sim
