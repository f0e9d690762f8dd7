// See kv.hpp.
#include "kv.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string>

#include "world.hpp"

namespace coterie::raft::test {
namespace {

using linearizability::recorder;
using linearizability::value;

constexpr int steps = 1500;
constexpr std::size_t keys = 3, clients = 8;
constexpr duration patience = 1s;

using number = std::uint64_t;  ///< what a key holds; 0 = nothing yet
using state = std::array<number, keys>;

value shown(number n) { return n ? value(n) : value(); }

enum class kind { put, get, compare_and_set };

struct call {
  kind what = kind::put;
  std::size_t key = 0;
  number old = 0, next = 0;
  std::string id;  ///< of a command, and of no other
  std::uint64_t node = 0;
  std::uint64_t read = 0;  ///< its number for read_index
  std::optional<log_index> at;
  recorder::id noted = 0;
  instant until;
};

struct client {
  std::optional<call> open;
  state seen{};  ///< what it last knew of each key
};

class machine_world {
 public:
  machine_world(std::uint64_t seed, options o, std::chrono::milliseconds lease) : w_(seed, o, lease), bug_(o.bug) {
    w_.c.applied = [this](std::uint64_t n, const std::vector<entry>& entries) { apply(n, entries); };
    w_.c.installed = [this](std::uint64_t from, std::uint64_t to, log_index at) {
      states_[{to, at}] = states_[{from, at}];
    };
    w_.crashed = [this](std::uint64_t n) { crashed(n); };
    for (std::uint64_t n = 1; n <= world::nodes; ++n) synced_[n] = w_.c.at(n).on_disk;
  }

  kv_result run() {
    for (int i = 0; i < steps; ++i) {
      w_.move_messages();
      w_.move_disks();
      w_.move_time();
      use();
      const auto n = w_.any();
      if (w_.c.up(n)) w_.disturb(n);
      w_.break_things();
      if (w_.random.chance(0.02)) w_.mend();
      if (w_.random.chance(0.05)) synced_[n] = w_.c.at(n).on_disk;
    }
    w_.recover();
    for (std::uint64_t n = 1; n <= world::nodes; ++n) read_all(n);
    result_.history = history_.take();
    return result_;
  }

 private:
  /// Rises with each event, so that what happened within one step stays in order.
  std::int64_t now() { return stamp_ = std::max<std::int64_t>(stamp_ + 1, w_.c.now().time_since_epoch().count()); }

  // ---- the machine: state after each entry that a node applied ----

  void apply(std::uint64_t n, std::vector<entry> entries) {
    const auto first = entries.front().index;
    if (bug_ == planted_bug::unordered_apply) std::reverse(entries.begin(), entries.end());
    state s = states_[{n, first.prev()}];
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const auto found = commands_.find(to_text(entries[i].payload.view()));  // the other entries have no payload
      const bool done = found != commands_.end() && execute(s, found->second);
      states_[{n, first + i}] = s;
      for (auto& c : clients_) {
        if (c.open && c.open->node == n && found != commands_.end() && c.open->id == found->first) answer(c, done);
      }
    }
  }

  static bool execute(state& s, const call& c) {
    if (c.what == kind::compare_and_set && s[c.key] != c.old) return false;
    s[c.key] = c.next;
    return true;
  }

  /// Those who asked here are not told any more. A node whose disk lied comes back as it was at its last sync.
  void crashed(std::uint64_t n) {
    for (auto& c : clients_) {
      if (c.open && c.open->node == n) give_up(c);
    }
    if (bug_ == planted_bug::lost_fsync) w_.c.at(n).on_disk = synced_[n];
  }

  // ---- the clients ----

  void use() {
    serve_reads();
    for (auto& c : clients_) {
      if (c.open && w_.c.now() >= c.open->until) give_up(c);
      if (!c.open && w_.random.chance(0.3)) begin(c);
    }
  }

  void begin(client& c) {
    call o;
    o.node = w_.any();
    o.key = w_.random.below(keys);
    o.until = w_.c.now() + patience;
    const auto die = w_.random.below(10);
    o.what = die < 5 ? kind::get : die < 8 ? kind::put : kind::compare_and_set;
    if (w_.c.up(o.node)) o.what == kind::get ? read(c, o) : write(c, o);
  }

  /// Here, or where this node sees the leader. Refused at once is not called at all.
  void write(client& c, call o) {
    const auto leader = w_.c[o.node].leader();
    if (leader && w_.c.up(leader.lo)) o.node = leader.lo;
    o.old = c.seen[o.key];
    o.next = ++last_;
    o.id = std::to_string(o.next);
    if (!w_.c.propose(o.node, o.id)) return;
    commands_[o.id] = o;
    const auto process = static_cast<std::uint64_t>(&c - clients_.data());
    const auto key = std::to_string(o.key);
    if (o.what == kind::put) {
      o.noted = history_.call(process, "write", key, shown(o.next), now());
    } else {
      o.noted = history_.call(process, "cas", key, {shown(o.old), shown(o.next)}, now());
    }
    c.open = o;
    w_.c.pump(o.node);
  }

  void read(client& c, call o) {
    o.read = ++reads_;
    o.noted = history_.call(static_cast<std::uint64_t>(&c - clients_.data()), "read", std::to_string(o.key), {}, now());
    c.open = o;
    w_.c.read(o.node, o.read);
    w_.c.pump(o.node);
  }

  void answer(client& c, bool done) {
    const auto& o = *c.open;
    if (o.what == kind::put) {
      ++result_.written;
    } else {
      ++(done ? result_.swapped : result_.mismatched);
    }
    history_.returned(o.noted, o.what == kind::put ? value("ok") : value(done), now());
    if (done) c.seen[o.key] = o.next;
    c.open.reset();
  }

  /// A read that is confirmed waits until this node has applied what it has to show.
  void serve_reads() {
    for (auto& c : clients_) {
      if (!c.open || c.open->what != kind::get) continue;
      auto& o = *c.open;
      if (const auto r = w_.c.read_result(o.node, o.read)) {
        if (!r->ok) {
          give_up(c);
          continue;
        }
        o.at = r->index;
      }
      const auto applied = w_.c[o.node].applied();
      if (!o.at || applied < *o.at) continue;
      c.seen[o.key] = states_[{o.node, applied}][o.key];
      history_.returned(o.noted, shown(c.seen[o.key]), now());
      ++result_.read;
      c.open.reset();
    }
    for (std::uint64_t n = 1; n <= world::nodes; ++n) w_.c.at(n).reads.clear();
  }

  void give_up(client& c) {
    if (c.open->what == kind::get) {
      history_.refused(c.open->noted);
    } else {
      ++result_.unsure;
    }
    c.open.reset();
  }

  void read_all(std::uint64_t n) {
    for (std::size_t key = 0; key < keys; ++key) {
      auto& c = clients_[key];
      if (c.open) give_up(c);
      call o;
      o.what = kind::get;
      o.node = n;
      o.key = key;
      read(c, o);
    }
    w_.c.advance(200ms);
    const auto before = result_.read;
    serve_reads();
    result_.last_reads += result_.read - before;
  }

  world w_;
  planted_bug bug_;
  std::map<std::uint64_t, disk> synced_;  ///< what a disk that lies still has after a crash
  std::map<std::pair<std::uint64_t, log_index>, state> states_;
  std::map<std::string, call> commands_;
  std::array<client, clients> clients_;
  recorder history_;
  std::int64_t stamp_ = 0;
  number last_ = 0;
  std::uint64_t reads_ = 0;
  kv_result result_;
};

}  // namespace

kv_result kv(std::uint64_t seed, options o, std::chrono::milliseconds lease) {
  return machine_world(seed, o, lease).run();
}

linearizability::report judge(const linearizability::history& h) {
  linearizability::options o;
  o.meaning = linearizability::model::register_;
  const auto r = linearizability::check(h, o);
  if (!r) return {linearizability::verdict::unknown, 0, 0, 0, 0, {}, {r.error().what}};
  return *r;
}

}  // namespace coterie::raft::test
