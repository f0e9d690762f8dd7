// A virtual network and disks for genesis alone: several nodes, one clock, one seed. Disks forget what was not synced,
// streams break, messages get lost, doubled and late. Audits what leaves a node against what its disk holds.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "swim/genesis.hpp"

namespace genesis_test {

using namespace coterie;
using namespace coterie::swim;

struct world_options {
  std::size_t seeds = 3;
  std::size_t others = 0;  ///< machines that are not in the seed list
  duration latency_min = 200us, latency_max = 2ms;
  duration sync_min = 500us, sync_max = 5ms;
  duration notice_max = 0s;  ///< how late the end of a broken stream is noticed
  double lose = 0, repeat = 0;
  bool outlive = false;          ///< a message on its way reaches also the next life of its receiver
  double crash_at_persist = 0;   ///< SIGKILL at one of the points around a write
  duration restart_max = 500ms;  ///< after such a crash
  genesis_options genesis;       ///< seeds, name and address are filled in
};

enum class crash_point { before_sync, after_sync, after_report };

class world {
 public:
  struct machine {
    std::vector<address> at;  ///< all lead here; the first is advertised
    genesis_options options;
    // disk
    node_id id;
    boot_epoch epoch;
    acceptor_state disk;
    cluster_id accepted_id;
    std::deque<std::pair<std::uint64_t, acceptor_state>> unsynced;
    // process
    std::unique_ptr<genesis> process;
    std::uint64_t life = 0;
    instant wake_at = never;
    instant sync_end{};
    std::optional<gen_formed> formed;
    std::string fatal;
    std::vector<log_line> log;
    int side = 0;  ///< machines of different sides can't talk
  };

  world(std::uint64_t seed, const world_options& o) : opt(o), random(seed) {
    for (std::size_t i = 0; i < o.seeds; ++i) list.push_back({"10.0.0." + std::to_string(i + 1), default_port});
    for (std::size_t i = 0; i < o.seeds + o.others; ++i) {
      machine m;
      m.at = {{"10.0.0." + std::to_string(i + 1), default_port}};
      m.options = o.genesis;
      m.options.seeds = list;
      m.options.name = "n" + std::to_string(i + 1);
      m.options.advertise = m.at.front();
      m.id = new_id();
      machines.push_back(std::move(m));
    }
  }

  // ---- what tests do
  void start(std::size_t i) {
    machine& m = machines[i];
    if (m.process) return;
    ++m.life;
    ++m.epoch;
    m.wake_at = never;
    m.formed.reset();
    m.process = std::make_unique<genesis>(m.id, m.epoch, m.options, m.disk, now, random.next());
    perform(i);
    push(now + 1s, redial, i, m.life);
  }
  void start_all() {
    for (std::size_t i = 0; i < machines.size(); ++i) start(i);
  }
  void start_at(instant t, std::size_t i) { push(t, begin, i, 0); }
  void later(duration d, std::function<void()> f) {
    calls.push_back(std::move(f));
    push(now + d, call, calls.size() - 1, 0);
  }
  /// SIGKILL: what is not synced is gone.
  void crash(std::size_t i) {
    machine& m = machines[i];
    if (!m.process) return;
    ++crashes;
    m.process.reset();
    m.unsynced.clear();
    m.sync_end = now;
    ++m.life;
    for (std::size_t s = 0; s < streams.size(); ++s) {
      if (streams[s].a == i || streams[s].b == i) cut(s);
    }
  }
  void wipe(std::size_t i) {
    crash(i);
    ++wipes;
    machine& m = machines[i];
    m.id = new_id();
    m.epoch = {};
    m.disk = {};
    m.accepted_id = {};
    if (i < opt.seeds) wiped.insert(i);
    look_for_losses();
  }
  void restart(std::size_t i) {
    crash(i);
    start(i);
  }
  void partition(const std::vector<std::size_t>& away) {
    partitions += away.empty() ? 0 : 1;
    for (std::size_t i = 0; i < machines.size(); ++i) {
      machines[i].side = std::find(away.begin(), away.end(), i) != away.end() ? 1 : 0;
    }
    for (std::size_t s = 0; s < streams.size(); ++s) {
      if (!reach(streams[s].a, streams[s].b)) cut(s);
    }
  }
  void heal() { partition({}); }

  void run_for(duration d) {
    run_until(d, [] { return false; });
  }
  /// False when `done` was not reached within d.
  template <class F>
  bool run_until(duration d, F done) {
    const instant end = now + d;
    while (!done()) {
      if (queue.empty() || queue.top().when > end) {
        now = end;
        return done();
      }
      const event e = queue.top();
      queue.pop();
      now = e.when;
      ++events;
      handle(e);
    }
    return true;
  }
  bool all_formed() const {
    return std::all_of(machines.begin(), machines.end(), [](const machine& m) { return m.formed.has_value(); });
  }
  bool formed(std::size_t i) const { return machines[i].formed.has_value(); }
  std::size_t formed_count() const {
    return static_cast<std::size_t>(
        std::count_if(machines.begin(), machines.end(), [](const machine& m) { return m.formed.has_value(); }));
  }
  /// How many nodes sent a Prepare.
  std::size_t proposers() const {
    std::set<node_id> who;
    for (const auto& [b, ids] : prepared_) who.insert(b.proposer);
    return who.size();
  }
  std::string situation(std::size_t i) const { return machines[i].process ? machines[i].process->situation() : "down"; }
  std::size_t majority() const { return opt.seeds / 2 + 1; }

  // ---- what tests look at
  const world_options opt;
  rng random;
  instant now{};
  std::vector<address> list;
  std::vector<machine> machines;
  bool calm = false;                        ///< no faults of network and disk any more, and both quick
  std::set<std::size_t> wiped;              ///< seed slots
  std::set<cluster_id> ever, chosen, lost;  ///< durable commits; accepted by a majority; chosen, then without a holder
  std::string violation;                    ///< the first
  std::uint64_t persists = 0, events = 0, crashes = 0, wipes = 0, partitions = 0;
  std::map<std::uint64_t, crash_point> crash_plan;  ///< by number of the write, over all machines
  std::function<bool(std::size_t from, std::size_t to, const genesis_message&)> filter;  ///< false: lost

 private:
  enum kind : std::uint8_t { begin, wake, syn, hello_in, end_of_stream, mail_in, synced, reported, redial, call };
  struct event {
    instant when;
    std::uint64_t number;
    kind what;
    std::size_t x;
    std::uint64_t y;
    std::size_t z;
    bool operator<(const event& o) const { return when != o.when ? when > o.when : number > o.number; }
  };
  struct stream {
    std::size_t a, b;  ///< a dialled
    std::uint64_t life_a, life_b;
    address dialled;
    bool broken = false;
    bool a_knows = false, b_knows = false;  ///< the other's hello was taken
    bool a_gone = false, b_gone = false;    ///< the end was noticed
    node_id id_a{}, id_b{};
    instant last_a{}, last_b{};  ///< hellos stay in order
  };
  struct letter {
    std::size_t from, to;
    std::uint64_t life;
    node_id sender, addressee;
    genesis_message what;
  };

  node_id new_id() { return {random.next() | 1, random.next()}; }
  void push(instant when, kind k, std::size_t x, std::uint64_t y, std::size_t z = 0) {
    queue.push({when, ++number_, k, x, y, z});
  }
  duration delay() { return random.between(opt.latency_min, calm ? 2ms : opt.latency_max); }
  bool mishap(double chance) { return !calm && random.chance(chance); }
  bool reach(std::size_t a, std::size_t b) const { return machines[a].side == machines[b].side; }
  bool alive(std::size_t i, std::uint64_t life) const { return machines[i].process && machines[i].life == life; }
  void blame(std::string why) {
    if (violation.empty()) violation = std::move(why);
  }

  void handle(const event& e) {
    switch (e.what) {
      case begin:
        start(e.x);
        break;
      case wake:
        on_wake(e.x, e.y);
        break;
      case syn:
        on_syn(e.x, e.y, e.z);
        break;
      case hello_in:
        on_hello(e.x, e.y != 0, e.z);
        break;
      case end_of_stream:
        on_end(e.x, e.y != 0);
        break;
      case mail_in:
        on_mail(e.x);
        break;
      case synced:
        on_synced(e.x, e.y, e.z);
        break;
      case reported:
        on_reported(e.x, e.y, e.z);
        break;
      case redial:
        on_redial(e.x, e.y);
        break;
      case call:
        calls[e.x]();
        break;
    }
  }
  void on_wake(std::size_t i, std::uint64_t life) {
    machine& m = machines[i];
    if (!alive(i, life) || m.wake_at != now) return;
    m.wake_at = never;
    m.process->tick(now);
    if (m.process->next_wake() <= now) blame("next_wake stands still");
    perform(i);
  }
  /// Membership's part: those who have a cluster look for seeds they have no stream to.
  void on_redial(std::size_t i, std::uint64_t life) {
    if (!alive(i, life)) return;
    if (machines[i].formed) {
      for (std::size_t k = 0; k < list.size(); ++k) {
        const bool there = std::any_of(streams.begin(), streams.end(), [&](const stream& s) {
          return !s.broken && ((s.a == i && s.dialled == list[k]) || (s.b == i && s.a == k));
        });
        if (!there && k != i) push(now + delay(), syn, i, life, k);
      }
    }
    push(now + 1s, redial, i, life);
  }
  void dial(std::size_t i, const address& to) {
    for (std::size_t k = 0; k < list.size(); ++k) {
      if (list[k] == to) push(now + delay(), syn, i, machines[i].life, k);
    }
  }
  void on_syn(std::size_t i, std::uint64_t life, std::size_t k) {
    if (!alive(i, life) || mishap(opt.lose)) return;
    for (std::size_t j = 0; j < machines.size(); ++j) {
      const auto& at = machines[j].at;
      if (!machines[j].process || !reach(i, j) || std::find(at.begin(), at.end(), list[k]) == at.end()) continue;
      stream s{i, j, life, machines[j].life, list[k]};
      s.id_a = machines[i].id;
      s.id_b = machines[j].id;
      streams.push_back(s);
      greet(streams.size() - 1, true);
      greet(streams.size() - 1, false);
      return;
    }
  }
  /// Sends the hello of one side (a or b) to the other.
  void greet(std::size_t s, bool of_a) {
    stream& t = streams[s];
    hellos.push_back(machines[of_a ? t.a : t.b].process->own_hello());
    instant& last = of_a ? t.last_a : t.last_b;
    last = std::max(last, now + delay());
    push(last, hello_in, s, of_a, hellos.size() - 1);
    if (hellos.back().cluster_known && !machines[of_a ? t.a : t.b].disk.id) blame("a hello shows an id not on disk");
  }
  void on_hello(std::size_t s, bool of_a, std::size_t h) {
    const std::size_t to = of_a ? streams[s].b : streams[s].a;
    if (streams[s].broken || !alive(to, of_a ? streams[s].life_b : streams[s].life_a)) return;
    const auto ok = machines[to].process->on_hello(
        hellos[h], of_a ? std::nullopt : std::optional<address>(streams[s].dialled), now);
    if (ok) {
      (of_a ? streams[s].b_knows : streams[s].a_knows) = true;
    } else {
      cut(s);
    }
    perform(to);
  }
  void cut(std::size_t s) {
    if (streams[s].broken) return;
    streams[s].broken = true;
    push(now + random.between(0s, opt.notice_max), end_of_stream, s, 1);
    push(now + random.between(0s, opt.notice_max), end_of_stream, s, 0);
  }
  bool open(const stream& s, std::size_t i, node_id to) const {
    if (s.a == i && s.a_knows && !s.a_gone && s.life_a == machines[i].life && s.id_b == to) return true;
    return s.b == i && s.b_knows && !s.b_gone && s.life_b == machines[i].life && s.id_a == to;
  }
  void on_end(std::size_t s, bool of_a) {
    stream& t = streams[s];
    const std::size_t i = of_a ? t.a : t.b;
    const bool knew = of_a ? t.a_knows : t.b_knows;
    (of_a ? t.a_gone : t.b_gone) = true;
    if (!alive(i, of_a ? t.life_a : t.life_b) || !knew) return;
    const node_id peer = of_a ? t.id_b : t.id_a;
    for (const stream& u : streams) {
      if (open(u, i, peer)) return;
    }
    machines[i].process->on_stream_down(peer, now);
    perform(i);
  }
  void on_mail(std::size_t n) {
    const letter l = letters[n];
    machine& m = machines[l.to];
    if (!m.process || !reach(l.from, l.to) || (!opt.outlive && (m.life != l.life || m.id != l.addressee))) return;
    m.process->on_message(l.what, now);
    perform(l.to);
  }
  void post(std::size_t i, const gen_send& g) {
    audit(i, g.what);
    for (const stream& s : streams) {
      if (!open(s, i, g.to)) continue;
      const std::size_t to = s.a == i ? s.b : s.a;
      if (s.broken || (filter && !filter(i, to, g.what)) || mishap(opt.lose)) return;
      letters.push_back({i, to, s.a == i ? s.life_b : s.life_a, machines[i].id, g.to, g.what});
      push(now + delay(), mail_in, letters.size() - 1, 0);
      if (mishap(opt.repeat)) push(now + 3 * delay(), mail_in, letters.size() - 1, 0);
      return;
    }
  }
  /// Nothing leaves before the disk holds what it depends on.
  void audit(std::size_t i, const genesis_message& what) {
    const machine& m = machines[i];
    const acceptor_state& d = m.disk;
    if (const auto* p = std::get_if<genesis_prepare>(&what)) {
      if (d.promised < p->b) blame("Prepare before the own promise");
      if (d.id) blame("a committed node proposes");
      if (prepared_.try_emplace(p->b, p->ids).first->second != p->ids) blame("a ballot used twice");
    } else if (const auto* q = std::get_if<genesis_promise>(&what)) {
      if (d.promised < q->b) blame("Promise before it is durable");
      if (d.id) blame("a committed node promises");
    } else if (const auto* a = std::get_if<genesis_accept>(&what)) {
      if (d.accepted_ballot < a->b) blame("Accept before the own accept");
      if (proposed_.try_emplace(a->b, a->record).first->second != a->record) blame("two records in one ballot");
      if (!a->record.lists(m.id)) blame("Accept of a record that does not list the proposer");
    } else if (const auto* b = std::get_if<genesis_accepted>(&what)) {
      if (d.accepted_ballot < b->b) blame("Accepted before it is durable");
      if (!b->record.lists(m.id)) blame("a record accepted that does not list the acceptor");
    } else if (const auto* c = std::get_if<genesis_commit>(&what)) {
      if (d.id != c->record.id()) blame("Commit before it is durable");
    } else if (std::holds_alternative<genesis_commit_ack>(what) && !d.id) {
      blame("Commit acknowledged before it is durable");
    }
  }
  void perform(std::size_t i) {
    const std::uint64_t life = machines[i].life;
    while (machines[i].process) {
      auto actions = machines[i].process->take();
      for (auto& line : machines[i].process->take_log()) machines[i].log.push_back(std::move(line));
      if (actions.empty()) break;
      for (const gen_action& a : actions) {
        if (!alive(i, life)) return;
        act(i, a);
      }
    }
    if (!machines[i].process) return;
    const instant next = machines[i].process->next_wake();
    if (next < machines[i].wake_at) {
      machines[i].wake_at = std::max(next, now);
      push(machines[i].wake_at, wake, i, machines[i].life);
    }
  }
  void act(std::size_t i, const gen_action& a) {
    machine& m = machines[i];
    if (const auto* d = std::get_if<gen_dial>(&a)) {
      dial(i, d->to);
    } else if (const auto* g = std::get_if<gen_send>(&a)) {
      post(i, *g);
    } else if (const auto* p = std::get_if<gen_persist>(&a)) {
      write(i, *p);
    } else if (const auto* f = std::get_if<gen_formed>(&a)) {
      if (m.disk.id != f->record.id() || m.disk.committed != f->record) blame("formed before it is durable");
      if (f->founder != f->record.lists(m.id)) blame("founder is wrong");
      m.formed = *f;
      for (std::size_t s = 0; s < streams.size(); ++s) {
        if (streams[s].broken) continue;
        if (streams[s].a == i) greet(s, true);
        if (streams[s].b == i) greet(s, false);
      }
    } else if (const auto* x = std::get_if<gen_fatal>(&a)) {
      m.fatal = x->message;
      crash(i);
    }
  }
  void write(std::size_t i, const gen_persist& p) {
    machine& m = machines[i];
    const std::uint64_t number = persists++;
    m.unsynced.emplace_back(p.sequence, p.state);
    m.sync_end = std::max(m.sync_end, now + random.between(opt.sync_min, calm ? 5ms : opt.sync_max));
    std::optional<crash_point> point;
    if (const auto it = crash_plan.find(number); it != crash_plan.end() && !calm) point = it->second;
    if (mishap(opt.crash_at_persist)) {
      point = static_cast<crash_point>(random.below(3));
    }
    const std::size_t code = point ? 1 + static_cast<std::size_t>(*point) : 0;
    push(m.sync_end, synced, i, m.life, p.sequence * 4 + code);
  }
  void kill(std::size_t i) {
    crash(i);
    start_at(now + random.between(1ms, opt.restart_max), i);
  }
  void on_synced(std::size_t i, std::uint64_t life, std::size_t z) {
    if (!alive(i, life)) return;
    machine& m = machines[i];
    if (z % 4 == 1) return kill(i);
    while (!m.unsynced.empty() && m.unsynced.front().first <= z / 4) {
      m.disk = std::move(m.unsynced.front().second);
      m.unsynced.pop_front();
      look_at(i);
    }
    if (z % 4 == 2) return kill(i);
    push(now, reported, i, life, z);
  }
  void on_reported(std::size_t i, std::uint64_t life, std::size_t z) {
    if (!alive(i, life)) return;
    machines[i].process->on_persisted(z / 4, now);
    perform(i);
    if (z % 4 == 3 && alive(i, life)) kill(i);
  }
  /// The property of the model: never two committed records, unless one that was chosen had no holder left.
  void look_at(std::size_t i) {
    machine& m = machines[i];
    const acceptor_state& d = m.disk;
    m.accepted_id = d.accepted ? d.accepted->id() : cluster_id{};
    if (i < opt.seeds && d.accepted) {
      auto& slots = acceptors_[{d.accepted_ballot, m.accepted_id}];
      slots.insert(i);
      if (slots.size() >= majority()) chosen.insert(m.accepted_id);
    }
    look_for_losses();
    if (!d.id || !ever.insert(d.id).second) return;
    std::size_t kept = 0;
    for (const cluster_id& c : ever) kept += !lost.count(c);
    if (kept > 1) blame("two clusters while a seed that accepted each survives");
    if (ever.size() > 1 && wiped.size() < majority()) blame("two clusters, fewer than a majority of slots wiped");
  }
  void look_for_losses() {
    for (const cluster_id& c : chosen) {
      if (std::none_of(machines.begin(), machines.end(), [&](const machine& m) { return m.accepted_id == c; })) {
        lost.insert(c);
      }
    }
  }

  std::priority_queue<event> queue;
  std::uint64_t number_ = 0;
  std::vector<stream> streams;
  std::vector<hello> hellos;
  std::vector<letter> letters;
  std::vector<std::function<void()>> calls;
  std::map<ballot, std::vector<node_id>> prepared_;
  std::map<ballot, genesis_record> proposed_;
  std::map<std::pair<ballot, cluster_id>, std::set<std::size_t>> acceptors_;
};

}  // namespace genesis_test
