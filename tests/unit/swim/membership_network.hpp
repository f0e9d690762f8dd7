// Many memberships in one virtual network: delay, loss, cuts, kills, pauses. Time is virtual and everything follows
// from one seed. Knows the inputs and outputs of swim::membership, nothing of its inside.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/assert.hpp"
#include "base/random.hpp"
#include "swim/membership.hpp"

namespace coterie::swim::test {

inline std::size_t size_of_statement(const statement& s) {
  std::size_t n = 96 + s.info.name.size() + s.info.at.host.size() + s.info.version.size();
  for (const auto& [k, v] : s.info.tags) n += 16 + k.size() + v.size();
  return n;
}
inline std::size_t size_of_user(const user_datum& u) { return 56 + u.key.size() + u.value.size(); }

/// What the encoded datagram takes at most, by the same measures.
inline std::size_t size_of(const datagram& d) {
  std::size_t n = 176 + d.of.cluster.size();
  if (const auto* q = std::get_if<ping_request>(&d.body)) n += q->at.host.size() + 16;
  for (const auto& s : d.statements) n += size_of_statement(s);
  for (const auto& u : d.user) n += size_of_user(u);
  return n;
}

inline node_id id_of(std::size_t i, std::uint64_t life = 0) {
  return {0x1000 + rng(i * 77 + 5).next() % 0xffff, (i + 1) * 16 + life};
}

struct seen_event {
  duration at;  ///< since the start of the world
  event what;
};

class network {
 public:
  struct node {
    member_info info;
    std::uint64_t epoch = 1;
    std::optional<membership> m;
    bool paused = false;
    double loss_in = 0, loss_out = 0;  ///< beside the loss of the network; at 1 it has no streams either
    duration offset{};                 ///< of its steady clock
    duration skew{};                   ///< of its wall clock
    std::vector<std::function<void()>> backlog;
    std::vector<seen_event> events;
    std::vector<user_datum> user;
    std::vector<std::string> log;
    instant wake = never;
  };

  options opts;
  double loss = 0;
  duration delay_min = 100us, delay_max = 400us;
  bool evidence = false;    ///< dead addresses refuse, and streams to a killed node are reset
  bool all_streams = true;  ///< any two nodes that are up have a stream
  std::size_t datagrams = 0, bytes = 0, largest = 0, largest_push_pull = 0;
  std::set<std::pair<std::size_t, std::size_t>> cut;     ///< from, to: datagrams and streams
  std::set<std::pair<std::size_t, std::size_t>> no_udp;  ///< from, to: datagrams only
  std::set<std::pair<std::size_t, std::size_t>> streams;
  std::function<void(std::size_t from, const datagram&)> spy;
  std::function<void(std::size_t by, node_id whom)> on_unanswered;

  explicit network(std::size_t n, std::uint64_t seed = 1, options o = {}) : opts(std::move(o)), nodes_(n), rng_(seed) {
    for (std::size_t i = 0; i < n; ++i) {
      auto& x = nodes_[i];
      x.info.id = id_of(i);
      x.info.name = "n" + std::to_string(i);
      x.info.at = {"10.0.0." + std::to_string(i), 7400};
      x.info.version = "1.2.3";
      x.offset = rng_.between(1s, 1000s);
      by_address_[x.info.at] = i;
      by_id_[x.info.id] = i;
    }
  }

  node& operator[](std::size_t i) { return nodes_[i]; }
  membership& at(std::size_t i) { return *nodes_[i].m; }
  std::size_t size() const { return nodes_.size(); }
  bool up(std::size_t i) const { return nodes_[i].m.has_value(); }
  duration now() const { return now_; }

  times clock(std::size_t i) const {
    const auto& x = nodes_[i];
    times t;
    t.steady = instant(now_ + x.offset);
    t.boot = boot_instant(now_ + x.offset + 5s);
    t.wall = wall_time(std::chrono::milliseconds(1'700'000'000'000)) +
             std::chrono::duration_cast<std::chrono::milliseconds>(now_ + x.skew);
    return t;
  }

  void start(std::size_t i) {
    auto& x = nodes_[i];
    x.m.emplace(x.info, boot_epoch(x.epoch), opts, size_of_statement, size_of_user, clock(i), rng_.next());
    x.m->set_cluster_id({1, 2});
    touch(i);
  }
  void kill(std::size_t i) {
    nodes_[i].m.reset();
    nodes_[i].backlog.clear();
    nodes_[i].paused = false;
    set_wake(i, never);
    for (std::size_t j = 0; j < nodes_.size(); ++j) {
      if (j != i && up(j) && evidence && connected(i, j)) refuse(j, i);
    }
    std::erase_if(streams, [&](const auto& s) { return s.first == i || s.second == i; });
  }
  void restart(std::size_t i) {
    kill(i);
    ++nodes_[i].epoch;
    start(i);
  }
  /// A stream between the two comes up; both sides are told.
  void connect(std::size_t i, std::size_t j) {
    streams.insert({std::min(i, j), std::max(i, j)});
    greet(i, j);
    greet(j, i);
  }
  /// As the engine does: while it sees nobody it dials the seeds, nodes 0 to `seeds` - 1, each second.
  void seek(std::size_t i, std::size_t seeds) {
    if (at(i).alive_count() <= 1) {
      for (std::size_t s = 0; s < seeds; ++s) {
        if (s != i && up(s) && !cut.contains({i, s}) && !cut.contains({s, i})) connect(i, s);
      }
    }
    later(1s, i, [this, i, seeds, life = nodes_[i].epoch] {
      if (nodes_[i].epoch == life) seek(i, seeds);
    });
  }
  bool connected(std::size_t i, std::size_t j) const {
    return all_streams || streams.contains({std::min(i, j), std::max(i, j)});
  }
  /// All up, joined through node 0, and given time.
  void form() {
    for (std::size_t i = 0; i < nodes_.size(); ++i) start(i);
    for (std::size_t i = 1; i < nodes_.size(); ++i) connect(i, 0);
    run(3s);
    require_agreement();
    clear_events();
  }
  /// All up, each told of all others: a cluster that formed long ago, without the news of its forming.
  void settle() {
    for (std::size_t i = 0; i < nodes_.size(); ++i) start(i);
    push_pull all{true, {}, 0, {}, {}, {}};
    for (const auto& x : nodes_) all.statements.push_back({x.info, {boot_epoch(x.epoch), 1}, member_state::alive, {}});
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      all.from = nodes_[i == 0 ? 1 : 0].info.id;
      at(i).on_push_pull(all, clock(i));
      at(i).take();
      touch(i);
    }
    run(3s);
    require_agreement();
    clear_events();
  }
  void pause(std::size_t i) {
    nodes_[i].paused = true;
    set_wake(i, never);
  }
  /// The process goes on; its sockets' queues are read before or after its timers.
  void wake(std::size_t i, bool sockets_first) {
    auto& x = nodes_[i];
    x.paused = false;
    if (!sockets_first) {
      x.m->tick(clock(i));
      touch(i);
    }
    for (auto& f : std::exchange(x.backlog, {})) {
      if (!x.m) return;
      f();
      touch(i);
    }
    x.m->tick(clock(i));
    touch(i);
  }
  /// To be done while it is down.
  void move(std::size_t i, const address& to) {
    by_address_.erase(nodes_[i].info.at);
    nodes_[i].info.at = to;
    by_address_[to] = i;
  }
  std::size_t index_of(node_id id) const { return *find(id); }
  void partition(const std::set<std::size_t>& side) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      for (std::size_t j = 0; j < nodes_.size(); ++j) {
        if (side.contains(i) != side.contains(j)) cut.insert({i, j});
      }
    }
  }

  void run(duration d) {
    const duration end = now_ + d;
    for (;;) {
      const duration next_item = queue_.empty() ? duration::max() : queue_.top()->at;
      const duration next_wake = wakes_.empty() ? duration::max() : wakes_.begin()->first;
      const duration next = std::min(next_item, next_wake);
      if (next > end) break;
      now_ = std::max(now_, next);
      if (next_item <= next_wake) {
        const auto it = queue_.top();
        queue_.pop();
        deliver(it->to, it->run);
      } else {
        const auto i = wakes_.begin()->second;
        at(i).tick(clock(i));
        touch(i);
      }
    }
    now_ = end;
  }
  /// Runs until the condition holds; how long that took, or nothing when it did not within `limit`.
  std::optional<duration> run_until(const std::function<bool()>& done, duration limit, duration step = 10ms) {
    const duration from = now_;
    while (!done()) {
      if (now_ - from >= limit) return std::nullopt;
      run(step);
    }
    return now_ - from;
  }

  /// Performs what an input caused.
  void touch(std::size_t i) {
    auto& x = nodes_[i];
    output out = x.m->take();
    for (auto& e : out.events) x.events.push_back({now_, std::move(e)});
    for (auto& u : out.user) x.user.push_back(std::move(u));
    for (auto& l : out.log) x.log.push_back(std::move(l.text));
    for (const auto whom : out.unanswered)
      if (on_unanswered) on_unanswered(i, whom);
    for (auto& a : out.actions) std::visit([&](auto& what) { perform(i, what); }, a);
    set_wake(i, x.m->next_wake() == never ? never : x.m->next_wake());
  }

  member_state state(std::size_t at_node, std::size_t of) {
    const member* m = at(at_node).find(nodes_[of].info.id);
    COTERIE_ASSERT(m);
    return m->state;
  }
  /// True when all nodes that are up (and not paused) believe this of `of`.
  bool all_believe(std::size_t of, member_state s) {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (i == of || !up(i) || nodes_[i].paused) continue;
      const member* m = at(i).find(nodes_[of].info.id);
      if (!m || m->state != s) return false;
    }
    return true;
  }
  /// All that are up believe exactly those to be alive.
  bool agreed() {
    std::size_t living = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) living += up(i) ? 1 : 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (!up(i)) continue;
      if (at(i).alive_count() != living) return false;
      for (std::size_t j = 0; j < nodes_.size(); ++j) {
        const member* m = at(i).find(nodes_[j].info.id);
        if (up(j) && (!m || m->state != member_state::alive)) return false;
      }
    }
    return true;
  }
  void require_agreement() { COTERIE_ASSERT(agreed()); }
  void clear_events() {
    for (auto& x : nodes_) x.events.clear();
  }
  std::size_t count(std::size_t i, event_kind k) const {
    std::size_t n = 0;
    for (const auto& e : nodes_[i].events) n += e.what.kind == k ? 1 : 0;
    return n;
  }
  std::size_t count_all(event_kind k) const {
    std::size_t n = 0;
    for (std::size_t i = 0; i < nodes_.size(); ++i) n += count(i, k);
    return n;
  }
  struct verdict {
    std::size_t by, of;
    duration at;
  };
  /// What the events that were kept call unreachable: the first at each node, of each node that is up or not, as asked.
  std::vector<verdict> verdicts(bool of_up) const {
    std::vector<verdict> out;
    std::set<std::size_t> seen;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      seen.clear();
      for (const auto& e : nodes_[i].events) {
        if (e.what.kind != event_kind::unreachable) continue;
        const auto who = index_of(e.what.who.info.id);
        if (up(who) == of_up && seen.insert(who).second) out.push_back({i, who, e.at});
      }
    }
    return out;
  }
  rng& random() { return rng_; }

 private:
  struct item {
    duration at;
    std::uint64_t order;
    std::size_t to;
    std::function<void()> run;
  };
  struct later_first {
    bool operator()(const std::shared_ptr<item>& a, const std::shared_ptr<item>& b) const {
      return a->at != b->at ? a->at > b->at : a->order > b->order;
    }
  };

  void set_wake(std::size_t i, instant at_node) {
    auto& x = nodes_[i];
    if (x.wake != never) wakes_.erase({x.wake.time_since_epoch() - x.offset, i});
    x.wake = at_node;
    if (at_node != never) wakes_.insert({at_node.time_since_epoch() - x.offset, i});
  }
  duration delay() { return rng_.between(delay_min, delay_max); }
  void later(duration d, std::size_t to, std::function<void()> f) {
    queue_.push(std::make_shared<item>(item{now_ + d, next_order_++, to, std::move(f)}));
  }
  void deliver(std::size_t to, std::function<void()>& f) {
    auto& x = nodes_[to];
    if (!x.m) return;
    if (x.paused) {
      if (x.backlog.size() < 200) x.backlog.push_back(std::move(f));
      return;
    }
    f();
    touch(to);
  }
  void greet(std::size_t a, std::size_t b) {
    later(delay(), a, [this, a, b] {
      if (up(b)) at(a).on_peer_up(at(b).self(), at(b).self_incarnation(), clock(a));
    });
  }
  void refuse(std::size_t who, std::size_t dead) {
    later(delay(), who, [this, who, dead] { at(who).on_refused(nodes_[dead].info.id, clock(who)); });
  }
  std::optional<std::size_t> find(const address& a) const {
    const auto it = by_address_.find(a);
    if (it == by_address_.end()) return std::nullopt;
    return it->second;
  }
  std::optional<std::size_t> find(node_id id) const {
    const auto it = by_id_.find(id);
    if (it == by_id_.end()) return std::nullopt;
    return it->second;
  }

  void perform(std::size_t from, send_datagram& s) {
    const auto n = size_of(s.what);
    COTERIE_ASSERT(n <= opts.max_datagram);
    ++datagrams;
    bytes += n;
    largest = std::max(largest, n);
    if (spy) spy(from, s.what);
    const auto to = find(s.to);
    if (!to || cut.contains({from, *to}) || no_udp.contains({from, *to}) || lost(from, *to)) return;
    if (!up(*to)) {
      if (evidence) refuse(from, *to);
      return;
    }
    later(delay(), *to, [this, from, to = *to, d = std::make_shared<datagram>(std::move(s.what))] {
      at(to).on_datagram(nodes_[from].info.at, *d, clock(to));
    });
  }
  bool lost(std::size_t from, std::size_t to) {
    const auto sick = [&](double chance) { return chance > 0 && rng_.chance(chance); };
    return rng_.chance(loss) || sick(nodes_[from].loss_out) || sick(nodes_[to].loss_in);
  }
  bool dead(std::size_t i) const { return nodes_[i].loss_in >= 1 || nodes_[i].loss_out >= 1; }
  /// A stream loses nothing, it only takes longer, and longer each time.
  template <class F>
  void by_stream(std::size_t from, node_id id, F f) {
    const auto to = find(id);
    if (!to || !up(*to) || !connected(from, *to) || cut.contains({from, *to}) || cut.contains({*to, from})) return;
    if (dead(from) || dead(*to)) return;
    duration d = delay();
    for (duration again = 200ms; lost(from, *to); again *= 2) d += again;
    later(d, *to, [f = std::move(f), to = *to] { f(to); });
  }
  void perform(std::size_t from, send_push_pull& s) {
    largest_push_pull = std::max(largest_push_pull, s.what.statements.size());
    by_stream(from, s.to, [this, p = std::move(s.what)](std::size_t to) { at(to).on_push_pull(p, clock(to)); });
  }
  void perform(std::size_t from, send_stream_ping& s) {
    by_stream(from, s.to,
              [this, from, p = s.what](std::size_t to) { at(to).on_stream_ping(nodes_[from].info.id, p, clock(to)); });
  }
  void perform(std::size_t from, send_stream_ack& s) {
    by_stream(from, s.to, [this, a = s.what](std::size_t to) { at(to).on_stream_ack(a, clock(to)); });
  }

  std::vector<node> nodes_;
  std::map<address, std::size_t> by_address_;
  std::map<node_id, std::size_t> by_id_;
  rng rng_;
  duration now_{};
  std::uint64_t next_order_ = 0;
  std::priority_queue<std::shared_ptr<item>, std::vector<std::shared_ptr<item>>, later_first> queue_;
  std::set<std::pair<duration, std::size_t>> wakes_;
};

}  // namespace coterie::swim::test
