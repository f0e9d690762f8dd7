#include "sim/scenario.hpp"

#include <algorithm>
#include <cctype>
#include <optional>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "linearizability/checker.hpp"
#include "sim/workload.hpp"
#include "sim/world.hpp"

namespace coterie::sim {

namespace {

// How long a healed cluster may take (docs/testing.md): a leader within 20 of the longest election time-outs, all the
// rest within a minute.
constexpr duration leader_patience = 20 * 600ms, patience = 60s;
constexpr duration grant_patience = 30s;  // from one grant to the next, while any lock is held
constexpr duration restart_after = 1s;    // of a process that ended by itself
constexpr duration crash_patience = 3s;
constexpr std::uint64_t assumed_clock_error_ppm = 10'000;

class scenario {
 public:
  scenario(const schedule& s, const run_options& o)
      : plan_(s), options_(o), world_(s.set, s.seed, o.bug, o.trace), work_(world_), back_(world_.size()) {
    world_.watch.violation = [this](std::string v) {
      if (out_.violations.size() < 20)
        out_.violations.push_back(fmt::format("{:.6f} {}", static_cast<double>(world_.now().count()) / 1e9, v));
      world_.trace(0, "VIOLATION " + v);
    };
    world_.watch.ended = [this](std::size_t i) { ended(i); };
    const auto freezes = [](const fault& f) { return f.what == fault_kind::freeze; };
    clocks_lie_ = s.set.clock_error_ppm > assumed_clock_error_ppm || std::ranges::any_of(s.faults, freezes);
    if (clocks_lie_) {
      work_.locks.clocks_lie();
      work_.consensus.clocks_lie();
    }
  }

  report run() {
    for (std::size_t i = 0; i < world_.size(); ++i) {
      rng r(plan_.seed + i);
      world_.at(i < plan_.set.nodes ? r.between(0s, 3s) : r.between(5s, 15s), [this, i] { start(i); });
    }
    for (const auto& f : plan_.faults) world_.at(f.at, [this, f] { begin(f); });
    for (const auto& o : plan_.operations) world_.at(o.at, [this, o] { work_.perform(o); });
    while (world_.now() < end() && !over()) world_.run_until(std::min(end(), world_.now() + 100ms));
    if (!over()) heal();
    judge_history();
    sum_up();
    return std::move(out_);
  }

 private:
  virtual_time end() const { return std::chrono::milliseconds(plan_.set.end_ms); }
  bool over() const { return options_.stop_at_first && !out_.violations.empty(); }

  void start(std::size_t i) {
    if (world_.up(i)) return;
    if (world_.left(i)) work_.forget(i);
    world_.start(i);
    // What the message says: an empty directory, and the peers have the rest.
    if (world_.refused(i)) {
      world_.wipe(i);
      work_.forget(i);
    }
    if (!world_.up(i)) come_back(i, restart_after);
  }
  void come_back(std::size_t i, duration later) {
    world_.after(later, [this, i] { start(i); });
  }
  // Each process has a supervisor that starts it again.
  void ended(std::size_t i) {
    work_.ended(i);
    ++out_.crashes;
    collect(i);
    come_back(i, std::exchange(back_[i], std::nullopt).value_or(restart_after));
  }
  void crash_first(standing as, crash_point where, bool power, duration lasts) {
    world_.kill_first(as, where, power, crash_patience, [this, lasts](std::size_t i) { back_[i] = lasts; });
  }
  void crash(std::size_t i, crash_point where, bool power, duration lasts) {
    if (!world_.up(i)) return;
    back_[i] = lasts;
    const auto life = world_.life(i);
    world_.kill_at(i, where, power);
    world_.after(crash_patience, [this, i, life, power] {
      if (world_.life(i) == life) world_.kill(i, power);
    });
  }

  void each_link(std::uint64_t set, bool out, bool in, std::size_t spared,
                 const std::function<void(std::size_t, std::size_t)>& f) {
    for (std::size_t a = 0; a < world_.size(); ++a)
      for (std::size_t b = 0; b < world_.size(); ++b) {
        if (a == b || a == spared || b == spared) continue;
        const bool from = set >> a & 1, to = set >> b & 1;
        if ((out && from && !to) || (in && to && !from)) f(a, b);
      }
  }
  void cut(std::uint64_t set, bool out, bool in, std::size_t spared, duration lasts) {
    ++out_.partitions;
    each_link(set, out, in, spared, [this](auto a, auto b) { world_.cut(a, b); });
    world_.after(lasts, [=, this] {
      if (!healed_) each_link(set, out, in, spared, [this](auto a, auto b) { world_.mend(a, b); });
    });
  }
  void weather(double loss, double duplicate, duration delay, duration lasts) {
    world_.add_weather(loss, duplicate, delay);
    world_.after(lasts, [=, this] {
      if (!healed_) world_.add_weather(-loss, -duplicate, -delay);
    });
  }

  void begin(const fault& f) {
    const auto where = static_cast<crash_point>(f.x % power_goes % crash_point_names.size());
    if (f.node >= whoever_is({})) {
      if (world_.tracing()) world_.trace(0, print(f));
      return crash_first(static_cast<standing>(f.node - whoever_is({})), where, f.x >= power_goes, f.lasts);
    }
    const auto n = f.node == whoever_leads ? world_.leader().value_or(0) : f.node;
    if (n >= world_.size() || f.other >= world_.size()) return;
    if (world_.tracing()) world_.trace(n, print(f));
    const auto none = world_.size();
    const auto rate = static_cast<double>(f.x) / 1000;
    const auto later = [&](auto action) { world_.after(f.lasts, [this, n, action] { action(n); }); };
    const auto resume_later = [&](std::size_t i, duration after) {
      world_.after(after, [this, i, life = world_.life(i)] {
        if (world_.life(i) == life) world_.resume(i);
      });
    };
    switch (f.what) {
      case fault_kind::loss:
        return weather(rate, 0, 0ns, f.lasts);
      case fault_kind::duplicate:
        return weather(0, rate, 0ns, f.lasts);
      case fault_kind::delay:
        return weather(0, 0, std::chrono::microseconds(f.x), f.lasts);
      case fault_kind::clog:
        return world_.clog(n, f.other, world_.now() + f.lasts);
      case fault_kind::slow_link:
        world_.add_delay(n, f.other, std::chrono::microseconds(f.x));
        return world_.after(f.lasts, [this, n, f] {
          if (!healed_) world_.add_delay(n, f.other, -std::chrono::microseconds(f.x));
        });
      case fault_kind::partition:
        return cut(f.x, true, true, none, f.lasts);
      case fault_kind::partition_out:
        return cut(f.x, true, false, none, f.lasts);
      case fault_kind::bridge:
        return cut(f.x, true, true, n, f.lasts);
      case fault_kind::isolate:
        return cut(1ull << n, true, true, none, f.lasts);
      case fault_kind::cut_streams:
        return world_.drop_streams(n, f.other);
      case fault_kind::crash:
        return crash(n, where, f.x >= power_goes, f.lasts);
      case fault_kind::crash_all:
        for (std::size_t i = 0; i < world_.size(); ++i)
          crash(i, crash_point::now, f.x >= power_goes, f.lasts + i * 50ms);
        return;
      case fault_kind::flap:
        for (std::uint64_t k = 0; k < f.x; ++k)
          world_.after(k * 700ms, [this, n] {
            if (!healed_) crash(n, crash_point::now, false, 100ms);
          });
        return;
      case fault_kind::pause:
        world_.pause(n);
        return resume_later(n, f.lasts);
      case fault_kind::pause_all:
        for (std::size_t i = 0; i < world_.size(); ++i) {
          world_.pause(i);
          resume_later(i, f.lasts + i * 20ms);
        }
        return;
      case fault_kind::suspend:
        world_.pause(n);
        world_.freeze_clock(n, false);
        later([this](auto i) { world_.thaw_clock(i); });
        return resume_later(n, f.lasts);
      case fault_kind::leave:
        if (!world_.running(n)) return;
        back_[n] = f.lasts;
        world_.call(n, wire::leave_cluster{});
        return;
      case fault_kind::sync_error:
        world_.disk(n).fail_sync_after(0);
        return;
      case fault_kind::read_error:
        return world_.fail_next_read(n);
      case fault_kind::disk_full:
        world_.set_disk_full(n, true, f.x == 1);
        return later([this](auto i) { world_.set_disk_full(i, false, false); });
      case fault_kind::disk_stall:
        return world_.stall_disk(n, std::min(world_.now() + f.lasts, end()));
      case fault_kind::wipe:
        crash(n, crash_point::now, true, f.lasts);
        if (!world_.up(n)) {
          world_.wipe(n);
          work_.forget(n);
        }
        return;
      case fault_kind::bit_rot:
        crash(n, crash_point::now, true, f.lasts);
        if (!world_.up(n)) world_.damage(n);
        return;
      case fault_kind::old_disk:
      case fault_kind::clone:
        copies_.push_back({f.what, n, f.other, world_.disk(n)});
        copies_.back().disk.kill();
        return;
      case fault_kind::other_list:
        world_.set_other_list(n, true);
        crash(n, crash_point::now, false, 100ms);
        return later([this](auto i) { correct_list(i); });
      case fault_kind::step_wall:
        return world_.step_wall(n, std::chrono::milliseconds(static_cast<std::int64_t>(f.x) - 4'000'000));
      case fault_kind::freeze:
        world_.freeze_clock(n, true);
        return later([this](auto i) { world_.thaw_clock(i); });
    }
  }

  void correct_list(std::size_t i) {
    world_.set_other_list(i, false);
    if (world_.has_other_list(i)) crash(i, crash_point::now, false, 100ms);
  }

  // ---- after the faults

  void heal() {
    healed_ = true;
    world_.calm();
    for (std::size_t i = 0; i < world_.size(); ++i) {
      world_.thaw_clock(i);
      world_.set_disk_full(i, false, false);
      world_.stall_disk(i, world_.now());
      correct_list(i);
      while (world_.paused(i)) world_.resume(i);
    }
    const auto begun = world_.now();
    // What is still down comes back by its supervisor; crashes that wait for their point are over.
    world_.run_until(begun + crash_patience);
    for (std::size_t i = 0; i < world_.size(); ++i) start(i);
    const auto healthy = world_.now();
    if (!world_.run_while_not([this] { return over() || world_.leader(); }, leader_patience))
      return world_.watch.violation("no leader after the heal");
    settle("after the heal");
    out_.healing = world_.now() - healthy;
    for (auto& c : copies_)
      if (!over() && out_.violations.empty()) misplace(c);
  }

  void settle(std::string_view when) {
    auto until = world_.now() + patience;
    auto grants = work_.locks.grants();
    std::string why;
    do {
      work_.drain();
      world_.run_until(world_.now() + 200ms);
      if (auto now = unsettled(); now != why) {
        why = std::move(now);
        world_.trace(0, "still to come " + std::string(when) + ": " + why);
      }
      // Whoever waits for a lock gets it, one after the other, and holds it for a while.
      if (std::exchange(grants, work_.locks.grants()) != grants) until = std::max(until, world_.now() + grant_patience);
    } while (!why.empty() && world_.now() < until && !over());
    if (!why.empty()) world_.watch.violation(fmt::format("not live {}: {}", when, why));
  }

  // An operator puts the copy of a disk where it does not belong: in place of the same node's newer one, or, when that
  // runs, of another's.
  struct copied {
    fault_kind what;
    std::size_t of, other;
    test::memory_disk disk;
  };
  void misplace(copied& c) {
    const bool clone = c.what == fault_kind::clone;
    const auto place = clone ? c.other : c.of;
    const auto identity = [](const test::memory_disk& d) { return d.durable(disk::space::meta, to_bytes("identity")); };
    const auto boots = [](const test::memory_disk& d) { return d.durable(disk::space::meta, to_bytes("boot_epoch")); };
    const auto is = [](const auto& x, const auto& y) { return x && y && std::ranges::equal(x->view(), y->view()); };
    // A copy of what was emptied since is of somebody who is no member any more.
    if ((clone && place == c.of) || !is(identity(c.disk), identity(world_.disk(c.of)))) return;
    if (c.disk.durable(disk::space::meta, to_bytes("ended"))) return;
    // One that acknowledged nothing since, and was not started since, is as good as the newer one. What a leader held
    // by itself nobody else remembers: only a later start of it is noticed.
    const bool behind = world_.disk(c.of).size(disk::space::log) > 0 && acked_more(c, place);
    const bool noticed = clone || behind || !is(boots(c.disk), boots(world_.disk(c.of)));
    if (!noticed) return;
    // It stops for good; or an end that was ordered before has started it again already, as somebody new.
    const auto ended = [&] {
      return (world_.left(place) && !world_.up(place)) || !is(identity(world_.disk(place)), identity(c.disk));
    };
    const auto undisturbed = world_.life(c.of);
    back_[place] = patience;
    world_.kill(place, false);
    work_.forget(place);
    world_.disk(place) = c.disk;
    world_.trace(place, clone ? "gets a copy of another's disk" : "gets an older copy of its disk");
    world_.start(place);
    const auto begun = world_.now();
    if (clone) {
      world_.run_until(begun + 10s);
      if (world_.up(place) && world_.node(place).look().session)
        world_.watch.violation(world_.name(place) + " runs on a clone");
      if (world_.life(c.of) != undisturbed || !world_.node(c.of).look().session)
        world_.watch.violation(world_.name(c.of) + " is disturbed by its clone");
      if (world_.up(place)) world_.kill(place, false);
      world_.wipe(place);
      work_.forget(place);
    } else if (!world_.run_while_not(ended, 20s)) {
      world_.watch.violation(world_.name(place) + " goes on with an older copy of its disk");
    }
    start(place);
    settle("after a disk was misplaced");
  }
  // Of any group that another node leads.
  bool acked_more(const copied& c, std::size_t place) const {
    const auto image = c.disk.load(engine::state_memory_begin(), engine::state_memory_end());
    const auto recovered = engine::recover(image, 1, 1, false, world_.data_groups());
    if (!recovered) return false;
    const auto& mine = recovered->state;
    const auto more = [&](const raft::core* core, log_index last) {
      if (!core || core->current_role() != raft::role::leader) return false;
      for (const auto& p : core->progress())
        if (p.id == mine.self) return last < std::min(p.match, core->commit());
      return false;
    };
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (i == place || !world_.running(i)) continue;
      const auto v = world_.node(i).look();
      if (world_.leader() == i && more(v.raft, mine.log.last())) return true;
      for (std::size_t g = 0; g < v.data.size(); ++g)
        if (more(v.data[g].raft, mine.data[g].log.last())) return true;
    }
    return false;
  }

  // Why the healed cluster is not where it must be; empty = all is well.
  std::string unsettled() {
    const machine::machine* state = nullptr;
    node_id leader;
    log_index last;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      const auto& name = world_.name(i);
      if (!world_.up(i)) return name + " is down";
      const auto v = world_.node(i).look();
      if (!v.raft) return fmt::format("{} is not formed: {}", name, v.genesis->situation());
      if (!v.raft->leader()) return name + " knows no leader";
      if (leader && v.raft->leader() != leader) return name + " follows another leader";
      leader = v.raft->leader();
      if (!v.session) return name + " has no session";
      if (v.members->alive_count() != world_.size())
        return fmt::format("{} sees {} alive", name, v.members->alive_count());
      if (v.raft->conf().joint()) return "the configuration is joint";
      engine::voter_rules rules;
      rules.max_voters = plan_.set.max_voters;
      if (const auto wanted = engine::wanted_voters(world_.size(), rules); v.raft->conf().voters.size() != wanted)
        return fmt::format("{} voters, not {}", v.raft->conf().voters.size(), wanted);
      if (v.raft->conf().learners.size() > plan_.set.standbys)
        return fmt::format("{} standbys, not {}", v.raft->conf().learners.size(), plan_.set.standbys);
      if (v.raft->commit() > last) {
        last = v.raft->commit();
        state = v.machine;
      }
    }
    // The vote of one that will never come back must have gone to another: until then one more loss is one too many.
    std::set<node_id> here;
    for (std::size_t i = 0; i < world_.size(); ++i) here.insert(world_.node(i).look().raft->self());
    for (const auto id : world_.node(0).look().raft->conf().voters)
      if (!here.contains(id)) return "a voter is gone, and has its vote still";
    for (std::size_t i = 0; i < world_.size(); ++i) {
      const auto v = world_.node(i).look();
      if (last.value > v.raft->applied().value + 50)
        return fmt::format("{} is behind: {} of {}", world_.name(i), v.raft->applied(), last);
      if (v.members->view_digest() != world_.node(0).look().members->view_digest()) return "the views differ";
    }
    std::vector<std::size_t> all;
    for (std::size_t i = 0; i < world_.size(); ++i) all.push_back(i);
    if (const auto m = work_.journals.missing(all); !m.empty()) return "not processed: " + m;
    if (const auto c = work_.caches.stale(); !c.empty()) return "a stale cache: " + c;
    if (auto left = left_over(*state); !left.empty()) return left;
    for (std::size_t g = 0; g < world_.data_groups(); ++g)
      if (auto why = unsettled(g, *state); !why.empty()) return fmt::format("group {}: {}", g + 1, why);
    return overdue(*state);
  }

  // The same of a data group, which follows the meta group.
  std::string unsettled(std::size_t g, const machine::machine& meta) const {
    node_id leader;
    log_index last;
    const auto at = [&](std::size_t i) { return world_.node(i).look().data.at(g); };
    for (std::size_t i = 0; i < world_.size(); ++i) {
      const auto* r = at(i).raft;
      if (!r->leader()) return world_.name(i) + " knows no leader";
      if (leader && r->leader() != leader) return world_.name(i) + " follows another leader";
      leader = r->leader();
      const auto& wanted = world_.node(i).look().raft->conf();
      if (r->conf().voters != wanted.voters || r->conf().learners != wanted.learners || r->conf().joint())
        return world_.name(i) + " has another configuration than in the meta group";
      last = std::max(last, r->commit());
    }
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (last.value > at(i).raft->applied().value + 50)
        return fmt::format("{} is behind: {} of {}", world_.name(i), at(i).raft->applied(), last);
      for (const auto& [epoch, s] : at(i).machine->sessions())
        if (meta.session(epoch) == nullptr) return fmt::format("session {} is over, and has no Fence", epoch);
      for (const auto& [epoch, s] : meta.sessions())
        if (at(i).machine->session(epoch) == nullptr) return fmt::format("session {} is not admitted", epoch);
    }
    return {};
  }

  // Nobody asks for locks any more, and every client gives back or goes: what is held still was forgotten. So was the
  // session of a life that is over, and a member that came back.
  std::string left_over(const machine::machine& state) {
    for (const auto& [name, l] : state.locks())
      if (l.holder)
        return fmt::format("the lock {} is held by session {}, fence {}", name, l.holder->session,
                           machine::fence_of(l.holder->grant));
    std::set<session_epoch> present;
    for (std::size_t i = 0; i < world_.size(); ++i) present.insert(world_.node(i).look().session);
    for (const auto& [epoch, s] : state.sessions())
      if (!present.contains(epoch)) return fmt::format("session {} of an earlier life goes on", epoch);
    for (std::size_t i = 0; i < world_.size(); ++i)
      if (const auto* m = state.member(world_.node(i).look().raft->self()); m && m->failed)
        return fmt::format("{} is up, and has failed by view {}", world_.name(i), state.globals().view);
    return {};
  }

  // Every due job is claimed: none waits for a time long gone on every clock.
  std::string overdue(const machine::machine& state) {
    constexpr auto late = 10s;
    auto slowest = wall_time::max();
    for (std::size_t i = 0; i < world_.size(); ++i) slowest = std::min(slowest, world_.clocks(i).wall);
    for (const auto& [id, job] : state.jobs())
      if (job.next && *job.next + late < slowest) return fmt::format("{} is overdue", id);
    return {};
  }

  void judge_history() {
    linearizability::options o;
    o.explain = options_.explain;
    auto history = work_.take_history();
    // With clocks out of the assumed bound a holder may not know that it is none any more.
    if (clocks_lie_)
      std::erase_if(history,
                    [](const auto& x) { return x.name == "acquire" || x.name == "release" || x.name == "lost"; });
    const auto verdict = linearizability::check(history, o);
    if (!verdict) return world_.watch.violation("the history makes no sense: " + verdict.error().what);
    if (verdict->what != linearizability::verdict::not_linearizable) return;
    for (const auto& f : verdict->failures) world_.watch.violation("not linearizable: " + f.text());
  }

  void collect(std::size_t i) {
    if (!world_.up(i)) return;
    const auto v = world_.node(i).look();
    const auto take = [&](const counters* c) {
      if (!c) return;
      for (const auto& [name, count] : c->all()) out_.marks[std::string(name)] += count;
    };
    if (v.raft) take(&v.raft->stats());
    for (const auto& g : v.data) take(&g.raft->stats());
    take(&v.members->stats());
    take(v.stats);
    if (v.genesis) take(&v.genesis->stats());
  }

  void sum_up() {
    for (std::size_t i = 0; i < world_.size(); ++i) collect(i);
    for (const auto& [name, count] : world_.marks().all()) out_.marks[std::string(name)] += count;
    out_.hash = world_.action_hash();
    out_.virtual_time = world_.now();
    out_.operations = work_.operations;
    out_.acknowledged = work_.acknowledged;
    out_.refused = work_.refused;
    out_.unsure = work_.unsure;
    out_.leaders = work_.consensus.leaders();
    out_.configurations = work_.consensus.configurations();
    for (const auto& f : work_.fences)
      if (f.late() > 0) out_.marks["group.behind_fence"] += f.late();
    out_.grants = work_.locks.grants();
    out_.starts = work_.jobs.starts();
    out_.entries = work_.journals.entries();
    out_.messages = work_.messages.count();
    out_.steps = world_.steps();
    out_.deaths = world_.deaths();
  }

  const schedule& plan_;
  const run_options options_;
  world world_;
  workload work_;
  std::vector<std::optional<duration>> back_;  ///< when the next start of a node is due after its end
  std::vector<copied> copies_;
  bool healed_ = false, clocks_lie_ = false;
  report out_;
};

}  // namespace

void report::add(const report& o) {
  virtual_time += o.virtual_time;
  healing = std::max(healing, o.healing);
  operations += o.operations;
  acknowledged += o.acknowledged;
  refused += o.refused;
  unsure += o.unsure;
  crashes += o.crashes;
  leaders += o.leaders;
  partitions += o.partitions;
  configurations += o.configurations;
  grants += o.grants;
  starts += o.starts;
  entries += o.entries;
  messages += o.messages;
  steps += o.steps;
  for (const auto& [name, count] : o.marks) marks[name] += count;
  for (const auto& [how, count] : o.deaths) deaths[how] += count;
}

report run(const schedule& s, const run_options& o) { return scenario(s, o).run(); }

namespace {
// What a violation says but for times, nodes and numbers.
std::string kind_of(const std::string& violation) {
  std::istringstream in(violation);
  std::string r;
  for (std::string word; in >> word;)
    if (word.size() > 2 && std::ranges::none_of(word, [](unsigned char c) { return std::isdigit(c); })) r += word + ' ';
  return r;
}
}  // namespace

schedule shrink(const schedule& whole, const run_options& options, std::size_t tries) {
  auto o = options;
  o.trace = false;
  o.stop_at_first = true;
  o.explain = false;
  const auto first = run(whole, o).violations;
  if (first.empty()) return whole;
  const auto fails = [&](const std::vector<fault>& faults) {
    auto s = whole;
    s.faults = faults;
    if (tries == 0) return false;
    --tries;
    const auto r = run(s, o).violations;
    return !r.empty() && kind_of(r.front()) == kind_of(first.front());
  };
  auto best = whole;
  std::size_t parts = 2;
  while (!best.faults.empty() && tries > 0) {
    const auto n = best.faults.size();
    parts = std::min(parts, n);
    bool smaller = false;
    for (std::size_t k = 0; k < parts && !smaller; ++k) {
      // All but one part.
      std::vector<fault> rest;
      for (std::size_t i = 0; i < n; ++i)
        if (i * parts / n != k) rest.push_back(best.faults[i]);
      if (!fails(rest)) continue;
      best.faults = std::move(rest);
      parts = std::max<std::size_t>(2, parts - 1);
      smaller = true;
    }
    if (smaller) continue;
    if (parts >= n) break;
    parts = std::min(n, parts * 2);
  }
  return best;
}

}  // namespace coterie::sim
