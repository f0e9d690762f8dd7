// A few cores on a network of one queue, with disks that forget what was not completed. The test decides when messages
// arrive and persists complete. It watches the paper's safety properties (figure 3) at every step. Knows only the
// public interface of the core.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "raft/core.hpp"

namespace coterie::raft::test {

inline node_id id(std::uint64_t n) { return {0, n}; }
inline std::vector<node_id> ids(std::initializer_list<std::uint64_t> ns) {
  std::vector<node_id> out;
  for (const auto n : ns) out.push_back(id(n));
  return out;
}
inline configuration voters(std::initializer_list<std::uint64_t> ns) { return {ids(ns), {}, {}}; }
inline shared_bytes text(std::string_view s) { return to_bytes(s); }
inline entry command(std::uint64_t when, std::uint64_t index, std::string_view s = "x") {
  return {term(when), log_index(index), entry_kind::command, text(s), {}};
}
/// Entries 1, 2, ... with these terms.
std::vector<entry> entries_of_terms(std::initializer_list<std::uint64_t> terms);

struct disk {
  hard_state hard;
  snapshot_meta snapshot;
  std::vector<entry> entries;
  log_index applied;
  void write(const persist_request&);
  void compact(const snapshot_meta&);
  void install(const snapshot_meta&);
};

struct host {
  struct write {
    persist_request request;
    std::vector<message> after;
  };
  disk on_disk;
  std::optional<raft::core> core;  ///< none while it is down
  std::deque<write> writes;        ///< handed out, not completed
  bool hold_writes = false;        ///< complete only on demand
  double rate = 1;                 ///< of both clocks
  duration suspended{};            ///< not seen by the steady one
  log_index seen_commit;
  term seen_term;
  std::vector<read_state> reads;
};

class cluster {
 public:
  explicit cluster(options o = {}, std::uint64_t seed = 1) : options_(o), seed_(seed) {}

  /// Adds and starts a node; every node starts with `conf` as the configuration before the first entry unless it has a
  /// disk.
  void add(std::uint64_t n, configuration conf);
  void add(std::uint64_t n, disk d);
  void crash(std::uint64_t n);
  void restart(std::uint64_t n);

  /// As of now: it is told what its clocks say.
  raft::core& operator[](std::uint64_t n) {
    tell(id(n));
    return *hosts_.at(id(n)).core;
  }
  host& at(std::uint64_t n) { return hosts_.at(id(n)); }
  bool up(std::uint64_t n) { return hosts_.at(id(n)).core.has_value(); }

  // ---- time and delivery ----
  instant now() const { return now_; }
  /// What the steady clock of a node says.
  instant time(std::uint64_t n) const { return clocks(id(n)).steady; }
  times clocks(node_id) const;
  /// From the beginning on its clocks go at this rate.
  void set_rate(std::uint64_t n, double rate) { hosts_.at(id(n)).rate = rate; }
  /// Its steady clock missed so much, its other one did not.
  void suspend(std::uint64_t n, duration d) { hosts_.at(id(n)).suspended += d; }
  /// Performs what the node wants, without delivering.
  void pump(std::uint64_t n);
  void complete_write(std::uint64_t n);
  /// Delivers until nothing is on its way and no node wants anything.
  void settle();
  /// Lets time pass, ticking each node when it asked for it, settling in between.
  void advance(duration);
  /// Time passes without any tick.
  void skip(duration d) { now_ += d; }
  void tick(std::uint64_t n);
  void deliver(std::size_t position, bool keep = false);
  /// What a driver notices of a loss: a snapshot that did not arrive.
  void lose(const message&);
  void inject(message m) { network.push_back(std::move(m)); }

  // ---- faults ----
  void cut(std::uint64_t a, std::uint64_t b);
  void isolate(std::uint64_t n);
  void heal() { cuts_.clear(); }

  // ---- shortcuts ----
  /// Makes this node campaign now and settles. True if it leads.
  bool elect(std::uint64_t n);
  /// The leader with the largest term, 0 if none.
  std::uint64_t leader() const;
  result<log_index> propose(std::uint64_t n, std::string_view s = "x") {
    return (*this)[n].propose({text(s)}, time(n));
  }
  /// Commands that are known to be committed, in order.
  std::vector<std::string> committed() const;
  std::optional<read_state> read_result(std::uint64_t n, std::uint64_t read) const;
  void read(std::uint64_t n, std::uint64_t read);
  void compact(std::uint64_t n, std::uint64_t upto);

  void check();       ///< election safety, leader completeness, state machine safety; cheap
  void check_logs();  ///< log matching; all pairs

  std::deque<message> network;
  std::function<bool(const message&)> drop;                                 ///< true: lost
  std::function<void(std::uint64_t n, const std::vector<entry>&)> applied;  ///< told of what a node applies, in order
  std::function<void(std::uint64_t from, std::uint64_t to, log_index)> installed;  ///< told of each snapshot
  std::vector<message> dropped;
  std::vector<std::string> violations;
  bool install_snapshots = true;
  options options_;

 private:
  instant tell(node_id);
  void start(node_id);
  void perform(node_id, ready);
  void transmit(std::vector<message>);
  void note_commit(host&);
  void on_snapshot(host& to, const message&);

  std::uint64_t seed_;
  static constexpr instant begin_{1s};
  instant now_ = begin_;
  std::map<node_id, host> hosts_;
  std::set<std::pair<node_id, node_id>> cuts_;
  std::map<term, node_id> leaders_;
  std::map<log_index, entry> truth_;  ///< committed anywhere at any time
  std::map<std::pair<node_id, std::uint64_t>, log_index> read_floor_;
};

}  // namespace coterie::raft::test
