// The simulator: `sim [--seeds N] [--seed S] [--first S] [--trace] [--bug NAME]`. Each seed draws its options and
// faults, runs a fault phase, heals, and must converge; each seed runs twice and must give the same action hash.
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>

#include <fmt/format.h>

#include "base/hash.hpp"
#include "sim/workload.hpp"

namespace {

using namespace coterie;
using namespace coterie::sim;

struct arguments {
  std::uint64_t seeds = 200, first = 1;
  bool trace = false, once = false, quiet = false;
  planted_bug bug = planted_bug::none;
};

struct outcome {
  std::vector<std::string> violations;
  std::uint64_t hash = 0, operations = 0, acknowledged = 0, crashes = 0, leaders = 0, partitions = 0, steps = 0,
                grants = 0, starts = 0, entries = 0;
  virtual_time virtual_end{};
};

world_options draw(rng& r, const arguments& a) {
  world_options o;
  o.nodes = r.below(10) < 6 ? 3 : r.below(2) ? 5 : 4;
  o.datagram_loss = r.chance(0.3) ? 0.1 : 0.01;
  o.trace = a.trace;
  o.engine.bug = a.bug;
  // Tiny limits, so that compaction, snapshots and full windows happen often.
  if (r.chance(0.5)) {
    o.engine.compact_after_entries = 50 + r.below(200);
    o.engine.keep_entries = 10 + r.below(20);
    o.engine.snapshot_chunk_bytes = 512 + r.below(4'096);
  }
  if (r.chance(0.3)) o.engine.max_inflight_requests = 4;
  if (r.chance(0.2)) o.engine.raft.max_append_entries = 3;
  if (r.chance(0.3)) o.engine.session_ttl = std::chrono::milliseconds(2'000);
  return o;
}

class scenario {
 public:
  scenario(std::uint64_t seed, const arguments& a)
      : random_(seed * 0x9e3779b97f4a7c15ull), world_(draw(random_, a), random_.next()), work_(world_, random_.next()) {
    world_.watch.violation = [this](std::string v) {
      if (out_.violations.size() < 20)
        out_.violations.push_back(fmt::format("{:.6f} {}", static_cast<double>(world_.now().count()) / 1e9, v));
      world_.trace(0, "VIOLATION " + v);
    };
  }

  outcome run() {
    for (std::size_t i = 0; i < world_.size(); ++i)
      world_.after(random_.between(0s, 3s), [this, i] {
        if (!world_.up(i)) world_.start(i);
      });
    const virtual_time faults_end = 40s;
    world_.after(2s, [this, faults_end] { work_.run(faults_end, 60ms); });
    const auto start = random_.chance(0.3) ? 500ms : 9s;  // some seeds break the formation itself
    for (virtual_time t = start; t < faults_end;) {
      t += random_.between(200ms, 3s);
      world_.at(t, [this] { fault(); });
    }
    world_.run_until(faults_end);
    heal();
    out_.hash = world_.action_hash();
    out_.operations = work_.operations;
    out_.acknowledged = work_.acknowledged;
    out_.leaders = work_.consensus.leaders();
    out_.steps = world_.steps();
    out_.grants = work_.locks.grants();
    out_.starts = work_.jobs.starts();
    out_.entries = work_.journals.entries();
    out_.virtual_end = world_.now();
    return std::move(out_);
  }

 private:
  std::size_t any() { return random_.below(world_.size()); }

  void restart_later(std::size_t i) {
    world_.after(random_.between(100ms, 6s), [this, i] {
      if (!world_.up(i)) world_.start(i);
    });
  }

  void fault() {
    const auto i = any();
    switch (random_.below(12)) {
      case 0:
      case 1:
      case 2:
        if (!world_.up(i)) break;
        ++out_.crashes;
        world_.kill(i, random_.chance(0.5));
        restart_later(i);
        break;
      case 3: {  // everybody at once
        if (!random_.chance(0.3)) break;
        for (std::size_t k = 0; k < world_.size(); ++k) {
          if (world_.up(k)) ++out_.crashes;
          world_.kill(k, random_.chance(0.5));
          restart_later(k);
        }
        break;
      }
      case 4:
      case 5: {  // isolate one, or split in two, or one way only
        ++out_.partitions;
        const bool both = random_.chance(0.7);
        const auto side = random_.below(1ull << world_.size());
        for (std::size_t x = 0; x < world_.size(); ++x)
          for (std::size_t y = 0; y < world_.size(); ++y)
            if (x != y && (side >> x & 1) != (side >> y & 1) && (both || (side >> x & 1))) world_.cut(x, y);
        world_.after(random_.between(200ms, 8s), [this] { world_.mend_all(); });
        break;
      }
      case 6:
      case 7:
        world_.pause(i);
        world_.after(random_.between(30ms, 7s), [this, i] { world_.resume(i); });
        break;
      case 8:
        world_.step_wall(i, std::chrono::milliseconds(static_cast<std::int64_t>(random_.below(20'000)) - 10'000));
        break;
      case 9:
        world_.set_loss(random_.chance(0.5) ? 0.3 : 0.01);
        break;
      case 10:
        world_.drop_streams(i, any());
        break;
      default:
        world_.set_delay(50us, random_.chance(0.3) ? 80ms : 2ms);
        break;
    }
  }

  void heal() {
    world_.mend_all();
    world_.set_loss(0);
    world_.set_delay(100us, 1ms);
    for (std::size_t i = 0; i < world_.size(); ++i) {
      world_.resume(i);
      if (!world_.up(i)) world_.start(i);
    }
    const auto settled = [this] { return unsettled().empty(); };
    world_.run_until(world_.now() + 5s);
    for (int k = 0; k < 12 && !(settled() && work_.journals.missing(work_.participants()).empty()); ++k) {
      for (int j = 0; j < 20; ++j) {
        work_.drain();
        world_.run_until(world_.now() + 100ms);
      }
    }
    if (const auto why = unsettled(); !why.empty()) world_.watch.violation("not live after the heal: " + why);
    if (const auto m = work_.journals.missing(work_.participants()); !m.empty())
      world_.watch.violation("never processed: " + m);
  }

  // Why the healed cluster is not where it must be; empty = all is well.
  std::string unsettled() {
    node_id leader;
    std::uint64_t last = 0, view = 0;
    for (std::size_t i = 0; i < world_.size(); ++i) {
      if (!world_.up(i)) return world_.name(i) + " is down";
      const auto v = world_.node(i).look();
      if (!v.raft) return fmt::format("{} is not formed: {}", world_.name(i), v.genesis->situation());
      if (!v.raft->leader()) return world_.name(i) + " knows no leader";
      if (leader && v.raft->leader() != leader) return world_.name(i) + " follows another leader";
      leader = v.raft->leader();
      last = std::max(last, v.raft->commit().value);
      if (!v.session) return world_.name(i) + " has no session";
      if (v.members->alive_count() != world_.size())
        return fmt::format("{} sees {} alive", world_.name(i), v.members->alive_count());
      if (view && v.machine->globals().view != view && v.raft->applied().value == last) return "views differ";
      if (v.raft->conf().joint()) return "the configuration is joint";
    }
    for (std::size_t i = 0; i < world_.size(); ++i) {
      const auto v = world_.node(i).look();
      if (last > v.raft->applied().value + 50)
        return fmt::format("{} is behind: {} of {}", world_.name(i), v.raft->applied(), last);
    }
    return {};
  }

  rng random_;
  world world_;
  workload work_;
  outcome out_;
};

bool number(const char* text, std::uint64_t& value) {
  const auto end = text + std::strlen(text);
  return std::from_chars(text, end, value).ptr == end;
}

int usage() {
  fmt::print(stderr,
             "usage: sim [--seeds N] [--first S] [--seed S] [--trace] [--once] [--bug "
             "double_vote|early_ack|skip_read_confirmation|commit_old_term]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string_view o = argv[i];
    const char* next = i + 1 < argc ? argv[i + 1] : "";
    if (o == "--trace") {
      a.trace = true;
    } else if (o == "--once") {
      a.once = true;
    } else if (o == "--seeds" && number(next, a.seeds)) {
      ++i;
    } else if (o == "--first" && number(next, a.first)) {
      ++i;
    } else if (o == "--seed" && number(next, a.first)) {
      a.seeds = 1;
      ++i;
    } else if (o == "--bug") {
      using bug = planted_bug;
      const std::string_view name = next;
      a.bug = name == "double_vote"              ? bug::double_vote
              : name == "early_ack"              ? bug::early_ack
              : name == "skip_read_confirmation" ? bug::skip_read_confirmation
              : name == "commit_old_term"        ? bug::commit_old_term
                                                 : bug::none;
      if (a.bug == bug::none) return usage();
      ++i;
    } else {
      return usage();
    }
  }
  const auto begun = std::chrono::steady_clock::now();
  std::uint64_t violations = 0;
  outcome sum;
  double virtual_seconds = 0;
  for (std::uint64_t s = a.first; s < a.first + a.seeds; ++s) {
    auto o = scenario(s, a).run();
    if (!a.once && !a.trace) {
      const auto again = scenario(s, a).run();
      if (again.hash != o.hash) o.violations.push_back("two runs of this seed differ: something is not deterministic");
    }
    virtual_seconds += static_cast<double>(o.virtual_end.count()) / 1e9;
    sum.operations += o.operations;
    sum.acknowledged += o.acknowledged;
    sum.leaders += o.leaders;
    sum.crashes += o.crashes;
    sum.partitions += o.partitions;
    sum.grants += o.grants;
    sum.starts += o.starts;
    sum.entries += o.entries;
    sum.steps += o.steps;
    if (o.violations.empty()) continue;
    ++violations;
    fmt::print("seed {} failed (replay: sim --seed {} --trace)\n", s, s);
    for (const auto& v : o.violations) fmt::print("  {}\n", v);
    if (a.bug != planted_bug::none) break;  // found
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  fmt::print(
      "{:.1f} virtual hours, {} operations, {} acknowledged, {} terms with a leader, {} crashes, {} partitions, {} "
      "grants, {} job starts, {} journal entries, {} steps, {:.1f} s\n",
      virtual_seconds / 3600, sum.operations, sum.acknowledged, sum.leaders, sum.crashes, sum.partitions, sum.grants,
      sum.starts, sum.entries, sum.steps, took.count());
  if (a.bug != planted_bug::none) {
    fmt::print("the planted bug was {}\n", violations > 0 ? "found" : "not found");
    return violations > 0 ? 0 : 1;
  }
  fmt::print("{} seeds, {} violations\n", a.seeds, violations);
  return violations == 0 ? 0 : 1;
}
