// A whole cluster in one thread: virtual time, a virtual network, simulated disks, and the same engine that runs on
// real ones. The second driver of the engine (testing.md 2). Everything follows from one seed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "engine/engine.hpp"
#include "engine/recovery.hpp"
#include "support/memory_disk.hpp"

namespace coterie::sim {

using virtual_time = std::chrono::nanoseconds;  ///< since the world began; never any node's clock

struct world_options {
  std::size_t nodes = 3;
  double datagram_loss = 0.02, datagram_duplicate = 0.01;
  duration delay_min = 100us, delay_max = 2ms;
  duration disk_min = 50us, disk_max = 2ms;
  double clock_error = 0.009;  ///< rates are drawn from [1 - e, 1 + e]
  engine::options engine;      ///< name, advertise and seeds are filled in
  bool trace = false;
};

/// What the world tells whoever watches it (checkers, workload). Called between events, never from inside an engine.
struct watcher {
  std::function<void(std::size_t node)> stepped;  ///< after each engine step
  std::function<void(std::size_t node, engine::call_id, const wire::response&, bool last)> answered;
  std::function<void(std::size_t node)> started, ended;  ///< a process began or is gone
  std::function<void(std::string)> violation;
};

class world {
 public:
  world(world_options, std::uint64_t seed);
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
  std::size_t add_node(bool seed);  ///< prepared, not started
  void start(std::size_t, bool rejoin = false);
  void kill(std::size_t, bool power_loss);  ///< the process; with power_loss un-synced disk contents may go too
  void wipe(std::size_t);                   ///< empties the disk of a node that is down
  void pause(std::size_t);                  ///< SIGSTOP
  void resume(std::size_t);
  bool up(std::size_t) const;
  bool paused(std::size_t) const;
  bool running(std::size_t i) const { return up(i) && !paused(i); }
  const engine::engine& node(std::size_t) const;
  test::memory_disk& disk(std::size_t);
  const std::string& name(std::size_t) const;
  times clocks(std::size_t) const;
  /// The real moment at which this node's steady clock shows `t`.
  virtual_time when_steady(std::size_t, std::int64_t steady_ns) const;
  void step_wall(std::size_t, std::chrono::milliseconds);
  engine::call_id call(std::size_t, wire::request, std::optional<std::chrono::milliseconds> timeout = {});
  void cancel(std::size_t, engine::call_id);
  std::uint32_t life(std::size_t) const;  ///< +1 at each start

  // ---- network ----
  void cut(std::size_t a, std::size_t b);  ///< one way, a to b
  void mend(std::size_t a, std::size_t b);
  void mend_all();
  void set_loss(double p) { options_.datagram_loss = p; }
  void set_delay(duration min, duration max) {
    options_.delay_min = min;
    options_.delay_max = max;
  }
  void drop_streams(std::size_t a, std::size_t b);

  watcher watch;
  std::uint64_t action_hash() const { return hash_; }
  std::uint64_t steps() const { return steps_; }
  rng& random() { return random_; }
  std::size_t node_of(const address&) const;
  void trace(std::size_t node, const std::string&);

 private:
  struct stream_end {
    std::size_t node;
    engine::stream_id id;
  };
  struct stream {
    stream_end a, b;                             // a dialled
    std::deque<std::pair<bool, bytes>> stalled;  // to b?
    virtual_time to_a{}, to_b{};                 // last delivery, order is kept
    bool open = false;
  };
  struct simulated_node;
  struct item {
    virtual_time when;
    std::uint64_t order;
    std::function<void()> what;
    bool operator<(const item& o) const { return std::tie(when, order) > std::tie(o.when, o.order); }
  };

  void deliver(std::size_t, engine::event);  // queues while paused
  void step(std::size_t, const engine::event&);
  void perform(std::size_t, std::vector<engine::action>&);
  void arm(std::size_t);
  void run_disk(std::size_t);
  void send_datagram(std::size_t from, const engine::send_datagram&);
  void dial(std::size_t from, const engine::dial&);
  void send_frame(std::size_t from, const engine::send_frame&);
  void hang_up(std::size_t from, engine::stream_id);
  void deliver_frame(std::uint64_t stream, bool to_b, bytes);
  void break_stream(std::uint64_t, bool tell_a, bool tell_b, bool refused);
  bool blocked(std::size_t a, std::size_t b) const { return cuts_.contains({a, b}); }
  duration delay() { return random_.between(options_.delay_min, options_.delay_max); }
  void mix(std::uint64_t v) {
    hash_ = (hash_ ^ v) * 0x9e3779b97f4a7c15ull;
    hash_ ^= hash_ >> 29;
  }

  world_options options_;
  rng random_;
  virtual_time now_{};
  std::uint64_t order_ = 0, hash_ = 0, steps_ = 0, next_stream_ = 0, next_accept_ = 0, next_call_ = 0;
  std::priority_queue<item> queue_;
  std::vector<std::unique_ptr<simulated_node>> nodes_;
  std::map<std::uint64_t, stream> streams_;
  std::map<std::pair<std::size_t, engine::stream_id>, std::uint64_t> ends_;
  std::set<std::pair<std::size_t, std::size_t>> cuts_;
};

}  // namespace coterie::sim
