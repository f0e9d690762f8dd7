// What happens to a simulated cluster: its settings, the faults and the clients' operations, all drawn from one seed
// before anything runs, so that the list can be printed, edited, replayed and shrunk.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "base/result.hpp"
#include "base/time.hpp"

namespace coterie::sim {

using virtual_time = std::chrono::nanoseconds;  ///< since the world began; never any node's clock

/// Limits and qualities of one world. All numbers, so that one table prints and reads them.
struct settings {
  std::uint64_t nodes = 3;                  ///< named as seeds
  std::uint64_t joiners = 0;                ///< started later, no seeds themselves
  std::uint64_t loss = 10, duplicate = 10;  ///< datagrams, per mille
  std::uint64_t delay_min_us = 100, delay_max_us = 2'000;
  std::uint64_t disk_min_us = 50, disk_max_us = 2'000;
  std::uint64_t clock_error_ppm = 9'000;  ///< rates are drawn from [1 - e, 1 + e]; the assumed bound is 10 000
  std::uint64_t session_ttl_ms = 5'000;
  std::uint64_t compact_after = 100'000, keep_entries = 10'000, chunk_bytes = 256 << 10;
  std::uint64_t max_requests = 4'096, max_append_entries = 4'096, max_append_bytes = 1 << 20, max_inflight = 64;
  std::uint64_t stable_after_ms = 10'000, dead_grace_ms = 30'000;  ///< of voters (docs/consensus.md 1.4)
  std::uint64_t turn_us = 0;  ///< a node gathers what comes for so long and handles it in one turn; 0: one by one
  std::uint64_t max_voters = 5, standbys = 2, fan_out = 8;  ///< fan_out: of relays (docs/consensus.md 1.3)
  std::uint64_t data_groups = 0;                            ///< beside the meta group (docs/consensus.md 1.10)
  std::uint64_t end_ms = 40'000;                            ///< of faults and operations
  bool operator==(const settings&) const = default;
};

enum class fault_kind : std::uint8_t {
  // network; `x` is a set of nodes, a rate in per mille, or a delay in us
  loss,
  duplicate,
  delay,
  clog,           ///< node -> other: nothing arrives for a while, then everything does
  slow_link,      ///< node -> other: `x` us more
  partition,      ///< the nodes in `x` from the others, both ways
  partition_out,  ///< what the nodes in `x` send does not reach the others
  bridge,         ///< the nodes in `x` from the others, but for `node`, which reaches all
  isolate,        ///< `node` from all
  cut_streams,    ///< connections between node and other break, with what is on its way
  // process
  crash,      ///< `x`: where (crash_point), and +power_goes
  crash_all,  ///< `x`: 0, or power_goes
  flap,       ///< `x` quick crashes in a row
  pause,
  pause_all,
  suspend,  ///< as pause, and the steady clock stands still
  leave,    ///< as asked by an operator; comes back with --rejoin
  // disk
  sync_error,  ///< the next sync fails, and what it was to make durable may be lost
  read_error,
  disk_full,   ///< `x` = 0: the reserve is reached; 1: writes fail
  disk_stall,  ///< syncs wait for the end of it
  wipe,        ///< crash, and the disk is empty when it comes back
  bit_rot,     ///< crash, and a bit of the disk is wrong: healed by others; or refused, then emptied
  old_disk,    ///< a copy is made now and put back after the heal: noticed, or harmless
  clone,       ///< a copy is made now and started in place of `other` after the heal: refused
  // clock
  step_wall,  ///< by `x` - 4 000 000 ms
  freeze,     ///< the steady clock stands still, the process does not
  // configuration
  other_list,  ///< started with another seed list, until it is started again with the right one
};
enum class operation_kind : std::uint8_t {
  lock,     ///< acquire, hold, release; `x` draws how
  append,   ///< to a journal
  process,  ///< a batch of a journal, and where the cursor moves
  peek,
  add_job,
  remove_job,
  read,        ///< a linearizable read with nothing to show: what was committed before is applied after
  list_locks,  ///< a linearizable read
  invalidate,
  send,
  read_lease,  ///< of `x` ms from now on (docs/consensus.md 1.8)
};

/// Where a process dies. after_send: what a write allowed has left (frames, answers); after_apply: entries were
/// applied, and what they changed is not on the disk yet.
enum class crash_point : std::uint8_t {
  now,
  before_write,
  after_write,
  after_sync,
  after_send,
  at_chunk,
  at_install,
  after_apply
};
inline constexpr std::array<std::string_view, 8> crash_point_names{
    "now", "before write", "after write", "after sync", "after send", "at chunk", "at install", "after apply"};
inline constexpr std::uint64_t power_goes = 16;

/// What a node is in the eyes of Raft. campaigning: a candidate, or asking whether it may be one.
enum class standing : std::uint8_t { leading, following, campaigning };

/// Of one process, at a point, on order.
struct death {
  standing as;
  crash_point where;
  bool power_loss;
  auto operator<=>(const death&) const = default;
};

/// In place of a node. whoever_leads: who does when the fault begins. Of a crash alone, whoever_is: the first that
/// comes to the point with that standing, within 3 s.
inline constexpr std::uint32_t whoever_leads = 99;
constexpr std::uint32_t whoever_is(standing s) { return 100 + static_cast<std::uint32_t>(s); }

struct fault {
  virtual_time at{};
  fault_kind what{};
  std::uint32_t node = 0, other = 0;  ///< node may be whoever_leads, or whoever_is() for a crash
  duration lasts{};                   ///< until it is undone, or the process is started again
  std::uint64_t x = 0;
  bool operator==(const fault&) const = default;
};
struct operation {
  virtual_time at{};
  operation_kind what{};
  std::uint32_t node = 0, name = 0;  ///< name: which of a few
  std::uint64_t x = 0;
  bool operator==(const operation&) const = default;
};

struct schedule {
  std::uint64_t seed = 0;  ///< of every draw while it runs: delays, losses, time-outs
  settings set;
  std::vector<fault> faults;          ///< in order of time
  std::vector<operation> operations;  ///< in order of time
  bool operator==(const schedule&) const = default;
};

schedule generate(std::uint64_t seed);
settings draw_settings(rng&);
/// Of all kinds, on all nodes, until the end.
std::vector<operation> draw_operations(rng&, const settings&);
/// Rounded, so that what is printed is what is run.
duration draw_time(rng&, duration min, duration max);
/// One line each; comments begin with #. What print wrote, parse reads back equal.
std::string print(const schedule&);
std::string print(const fault&);
/// errc::bad_argument, with the line's number and what is wrong with it.
result<schedule> parse(std::string_view text);

}  // namespace coterie::sim
