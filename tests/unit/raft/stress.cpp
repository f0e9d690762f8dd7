// See stress.hpp.
#include "stress.hpp"

#include "world.hpp"

namespace coterie::raft::test {
namespace {

constexpr int steps = 1500;

/// Proposes and reads wherever a node is up.
void use(world& w, std::uint64_t& proposals, std::uint64_t& reads) {
  const auto n = w.any();
  if (!w.c.up(n)) return;
  if (w.random.chance(0.4) && w.c.propose(n, std::to_string(++proposals))) w.c.pump(n);
  if (w.random.chance(0.2)) {
    w.c.read(n, ++reads);
    w.c.pump(n);
  }
  w.disturb(n);
}

}  // namespace

stress_result stress(std::uint64_t seed, options o, std::chrono::milliseconds lease) {
  world w(seed, o, lease);
  auto& c = w.c;
  std::uint64_t proposals = 0, reads = 0;
  for (int i = 0; i < steps && c.violations.empty(); ++i) {
    w.move_messages();
    w.move_disks();
    w.move_time();
    use(w, proposals, reads);
    w.break_things();
    if (i % 50 == 0) c.check_logs();
  }
  stress_result result;
  if (c.violations.empty()) result.live = w.recover();
  c.check_logs();
  result.violations = c.violations;
  result.committed = c.committed().size();
  result.configurations = w.configurations;
  for (std::uint64_t n = 1; n <= world::nodes; ++n) {
    if (!c.up(n)) continue;
    result.leaders += c[n].stats().get("raft_elections_won");
    result.snapshots += c[n].stats().get("raft_snapshots_installed");
    result.lease_reads += c[n].stats().get("raft_lease_reads");
    for (const auto& r : c.at(n).reads) result.reads += r.ok;
  }
  return result;
}

}  // namespace coterie::raft::test
