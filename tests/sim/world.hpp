// A whole cluster in one thread: virtual time, a virtual network, simulated disks, and the same engine that runs on
// real ones. The second driver of the engine (docs/testing.md). Every draw is a hash of the seed, its place (a link, a
// disk) and its number there, so that what one fault does leaves the draws of other places alone.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "engine/engine.hpp"
#include "engine/recovery.hpp"
#include "sim/schedule.hpp"
#include "support/memory_disk.hpp"

namespace coterie::sim {

/// What the world tells whoever watches it (checkers, workload, supervisor). Called between events, never from inside
/// an engine.
struct watcher {
  std::function<void(std::size_t node)> stepped;  ///< after each engine step
  std::function<void(std::size_t node, engine::call_id, const wire::response&, bool last)> answered;
  std::function<void(std::size_t node)> started, ended;  ///< a process began, or is about to be gone
  std::function<void(std::size_t from, std::size_t to, byte_view frame)> sent;   ///< before a frame leaves
  std::function<void(std::size_t node, const raft::recovered& before)> damaged;  ///< what its disk held
  std::function<void(std::string)> violation;
};

class world {
 public:
  static constexpr std::size_t max_nodes = 9;

  world(const settings&, std::uint64_t seed, planted_bug, bool trace);
  ~world();

  // ---- time ----
  virtual_time now() const { return now_; }
  void at(virtual_time, std::function<void()>);
  void after(duration d, std::function<void()> f) { at(now_ + d, std::move(f)); }
  void run_until(virtual_time);
  /// Runs until the condition holds; false when `limit` of virtual time passed first. Looked at every 10 ms.
  bool run_while_not(const std::function<bool()>& condition, duration limit);

  // ---- nodes ----
  std::size_t size() const { return nodes_.size(); }
  std::uint32_t data_groups() const { return static_cast<std::uint32_t>(set_.data_groups); }
  void start(std::size_t);
  void kill(std::size_t, bool power_loss);  ///< the process; with power_loss un-synced disk contents may go too
  /// The process dies the next time that it comes to this point.
  void kill_at(std::size_t, crash_point, bool power_loss);
  /// The first process that comes to this point with this standing dies there, unless `patience` is over; `chosen` is
  /// told before.
  void kill_first(standing, crash_point, bool power_loss, duration patience, std::function<void(std::size_t)> chosen);
  /// How often processes died at their point on order.
  const std::map<death, std::uint64_t>& deaths() const { return deaths_; }
  void wipe(std::size_t);    ///< empties the disk of a node that is down
  void damage(std::size_t);  ///< one bit of the disk of a node that is down
  /// Its disk is damaged so that it refuses to start.
  bool refused(std::size_t) const;
  void pause(std::size_t);  ///< SIGSTOP; goes on when as many have resumed it
  void resume(std::size_t);
  bool up(std::size_t) const;
  bool paused(std::size_t) const;
  bool running(std::size_t i) const { return up(i) && !paused(i); }
  const engine::engine& node(std::size_t) const;
  const std::string& name(std::size_t) const;
  std::optional<standing> standing_of(std::size_t) const;  ///< none: down, or not formed
  bool left(std::size_t) const;                            ///< it left or was removed; its next start is somebody new
  std::uint32_t life(std::size_t) const;                   ///< +1 at each start and end
  std::size_t node_of(const address&) const;
  void set_other_list(std::size_t, bool);     ///< its next start is with another seed list than the others'
  bool has_other_list(std::size_t) const;     ///< as it was started
  std::optional<std::size_t> leader() const;  ///< running, of the highest term
  engine::call_id next_call() const { return engine::call_id(next_call_ + 1); }  ///< of the next call()
  engine::call_id call(std::size_t, wire::request, std::optional<std::chrono::milliseconds> timeout = {});
  void cancel(std::size_t, engine::call_id);

  // ---- clocks ----
  times clocks(std::size_t) const;
  /// The real moment at which a deadline on this node's clocks is over, by whichever of them comes first.
  virtual_time when(std::size_t, std::int64_t steady_ns, std::int64_t boot_ns) const;
  void step_wall(std::size_t, std::chrono::milliseconds);
  void freeze_clock(std::size_t, bool boot_too);
  void thaw_clock(std::size_t);

  // ---- disks ----
  test::memory_disk& disk(std::size_t);
  void fail_next_read(std::size_t);
  void set_disk_full(std::size_t, bool full, bool writes_fail);
  void stall_disk(std::size_t, virtual_time until);

  // ---- network ----
  void cut(std::size_t a, std::size_t b);  ///< one way, a to b; counted
  void mend(std::size_t a, std::size_t b);
  void clog(std::size_t a, std::size_t b, virtual_time until);
  void add_delay(std::size_t a, std::size_t b, duration);
  void add_weather(double loss, double duplicate, duration delay);  ///< everywhere; negative takes back
  void drop_streams(std::size_t a, std::size_t b);
  void calm();  ///< everything above is over, and the links are quick

  watcher watch;
  std::uint64_t action_hash() const { return hash_; }
  std::uint64_t steps() const { return steps_; }
  const counters& marks() const { return marks_; }  ///< what only the world can see
  bool tracing() const { return trace_; }
  void trace(std::size_t node, const std::string&);

 private:
  // A place where something is drawn.
  enum class lane : std::uint8_t { datagram, frame, dial, disk, power, life };
  struct stream_end {
    std::size_t node;
    engine::stream_id id;
    bool gone = false;  // its machine died without a word
  };
  struct stream {
    stream_end a, b;                             // a dialled
    std::deque<std::pair<bool, bytes>> stalled;  // to b?
    virtual_time to_a{}, to_b{};                 // last delivery, order is kept
  };
  struct link {
    int cuts = 0;
    virtual_time clogged{};
    duration more{};
  };
  struct simulated_node;
  struct order_to_die {
    death how;
    virtual_time until;
    std::function<void(std::size_t)> chosen;
  };
  struct item {
    virtual_time when;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const item& o) const { return std::tie(when, order) > std::tie(o.when, o.order); }
  };

  // world.cpp
  rng draw(lane, std::size_t a, std::size_t b = 0);
  void add_node(bool seed);
  void deliver(std::size_t, engine::event);  // queues while paused
  void take_turns(std::size_t);              // with all that is queued
  void step(std::size_t, std::span<const engine::event>);
  void perform(std::size_t, std::vector<engine::action>&);
  void arm(std::size_t);
  bool dies_at(std::size_t, crash_point);
  void lose_power(std::size_t, rng&, bool observes);
  void look_for_lost(std::size_t);
  void mix(std::uint64_t v) {
    hash_ = (hash_ ^ v) * 0x9e3779b97f4a7c15ull;
    hash_ ^= hash_ >> 29;
  }

  // world_disk.cpp
  void run_disk(std::size_t);
  void do_disk_work(std::size_t);
  void later_on_disk(std::size_t, duration, std::function<void()>);
  void disk_done(std::size_t, engine::event, duration);
  duration disk_latency(std::size_t);

  // world_network.cpp
  void send_datagram(std::size_t from, const engine::send_datagram&);
  void dial(std::size_t from, const engine::dial&);
  void send_frame(std::size_t from, const engine::send_frame&);
  void hang_up(std::size_t from, engine::stream_id);
  void deliver_frame(std::uint64_t stream, bool to_b, bytes);
  void break_stream(std::uint64_t, bool tell_a, bool tell_b, bool refused);
  void break_streams_of_dead(std::size_t, bool silent);
  void flush_stalled();
  bool blocked(std::size_t a, std::size_t b) const { return links_[a][b].cuts > 0; }
  virtual_time arrival(std::size_t a, std::size_t b, rng&, int trips = 1) const;

  settings set_;
  std::uint64_t seed_;
  planted_bug bug_;
  bool trace_;
  virtual_time now_{};
  std::uint64_t order_ = 0, hash_ = 0, steps_ = 0, next_stream_ = 0, next_accept_ = 0, next_call_ = 0;
  std::priority_queue<item> queue_;
  std::vector<std::unique_ptr<simulated_node>> nodes_;
  std::vector<order_to_die> orders_;  // for whoever comes first
  std::map<death, std::uint64_t> deaths_;
  counters marks_;
  std::map<std::uint64_t, stream> streams_;
  std::map<std::pair<std::size_t, engine::stream_id>, std::uint64_t> ends_;
  std::array<std::array<link, max_nodes>, max_nodes> links_{};
  std::array<std::array<std::array<std::uint32_t, max_nodes>, max_nodes>, 6> drawn_{};
  double loss_ = 0, duplicate_ = 0;
  duration delay_min_{}, delay_max_{};
};

struct world::simulated_node {
  std::string name;
  address at;
  bool seed = false, other_list = false, started_with_other_list = false;
  std::unique_ptr<engine::engine> engine;
  std::uint32_t life = 0;
  std::uint32_t paused = 0;  // how many faults stop it
  std::vector<engine::event> inbox;
  bool turn_due = false;
  virtual_time armed = virtual_time::max();
  int wakes = 0;  // within the ms from wakes_since
  virtual_time wakes_since{};
  // clocks: what they show at virtual time 0, and how fast they go
  double rate = 1;
  std::int64_t steady_base = 0, boot_base = 0, wall_base = 0;
  std::optional<std::int64_t> steady_frozen, boot_frozen;
  // disk
  test::memory_disk disk;
  std::deque<engine::action> disk_queue;
  std::optional<log_index> lost;  // an observer's log ended there before its power went
  bool disk_busy = false, look_due = false, read_fails = false, disk_full = false, rotten = false, refused = false;
  virtual_time stalled_until{}, disk_looks{};
  struct own_end {
    crash_point where;
    bool power_loss;
  };
  std::optional<own_end> dies;
};

}  // namespace coterie::sim
