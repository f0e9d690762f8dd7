// What gossip costs. What is believed at the end is checked, what it took is printed; how fast the machine is decides
// nothing.
//
//   swim_scale [NODES [MINUTES [RUNS]]]      a network of memberships on one core, minutes of virtual time with loss
//                                            and crashes: 200 nodes, 10 minutes, 3 runs. Takes 1 KiB for each pair.
//   swim_scale --one [NODES [MINUTES [RUNS]]]
//                                            one member among 10 000 that only answer it, 600 minutes: what fits no
//                                            memory as a network
#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <sys/resource.h>

#include <fmt/format.h>

#include "bench/lone_member.hpp"

namespace {

using namespace coterie;
using namespace coterie::swim;
using swim::test::network;

constexpr std::size_t crashes = 4;  ///< every other one comes back
constexpr double loss = 0.02;

double user_seconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  return static_cast<double>(u.ru_utime.tv_sec) + static_cast<double>(u.ru_utime.tv_usec) * 1e-6;
}

long resident_megabytes() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  return u.ru_maxrss / 1024;
}

double seconds(duration d) { return std::chrono::duration<double>(d).count(); }

struct outcome {
  std::vector<std::string> wrong;
  double formed_in = 0, slowest = 0;  ///< virtual seconds
  double forming = 0, in_all = 0;     ///< CPU seconds
  std::size_t datagrams = 0, bytes = 0;
};

/// Looks for removals of nodes that were there, and forgets the events.
void judge(network& w, outcome& o) {
  for (const auto& v : w.verdicts(true))
    o.wrong.push_back(
        fmt::format("{} was removed by {} at {:.1f} s", w[v.of].info.name, w[v.by].info.name, seconds(v.at)));
  w.clear_events();
}

outcome run(std::size_t nodes, duration length, std::uint64_t seed) {
  outcome o;
  const auto from = user_seconds();
  network w(nodes, seed);
  for (std::size_t i = 0; i < nodes; ++i) w.start(i);
  for (std::size_t i = 1; i < nodes; ++i) w.connect(i, 0);
  const auto formed = w.run_until([&] { return w.agreed(); }, 1min, 100ms);
  if (!formed) o.wrong.push_back("the views did not agree within a minute");
  o.formed_in = seconds(formed.value_or(1min));
  o.forming = user_seconds() - from;

  w.clear_events();
  w.loss = loss;
  const auto calm = (length - 30s - w.now()) / static_cast<int>(crashes);
  for (std::size_t c = 0; c < crashes; ++c) {
    const auto begun = w.now();
    w.run(calm / 4);
    judge(w, o);
    const auto victim = (c + 1) * nodes / (crashes + 1);
    w.kill(victim);
    const auto seen = w.run_until([&] { return w.all_believe(victim, member_state::unreachable); }, 1min, 100ms);
    if (!seen) o.wrong.push_back(fmt::format("the crash of {} was not seen", w[victim].info.name));
    o.slowest = std::max(o.slowest, seconds(seen.value_or(1min)));
    judge(w, o);
    if (c % 2 == 1) {
      w.run(calm / 4);
      w.restart(victim);
      w.connect(victim, 0);
    }
    if (w.now() < begun + calm) w.run(begun + calm - w.now());
    judge(w, o);
  }
  w.loss = 0;
  if (w.now() < length) w.run(length - w.now());
  judge(w, o);
  if (!w.agreed()) o.wrong.push_back("the views differ at the end");
  o.in_all = user_seconds() - from;
  o.datagrams = w.datagrams;
  o.bytes = w.bytes;
  return o;
}

outcome run_one(std::size_t nodes, duration length) {
  outcome o;
  const auto from = user_seconds();
  const auto c = swim::test::lone_member(nodes).run(length);
  o.in_all = user_seconds() - from;
  o.datagrams = c.datagrams;
  o.bytes = c.bytes;
  if (c.removed > 0) o.wrong.push_back(fmt::format("{} were removed", c.removed));
  return o;
}

std::size_t argument(int argc, char** argv, int n, std::size_t otherwise) {
  return argc > n ? std::strtoul(argv[n], nullptr, 10) : otherwise;
}

/// Prints it; true when nothing was wrong.
bool report(const outcome& o, std::size_t members, double node_seconds) {
  const auto per = [&](double x) { return x / node_seconds; };
  fmt::print(
      "{} members: {:.2f} s of CPU, {} datagrams; per node and second {:.1f} datagrams, {:.0f} bytes, {:.0f} ns\n",
      members, o.in_all, o.datagrams, per(static_cast<double>(o.datagrams)), per(static_cast<double>(o.bytes)),
      per(o.in_all * 1e9));
  for (const auto& what : o.wrong) fmt::print("wrong: {}\n", what);
  return o.wrong.empty();
}

int usage() {
  fmt::print(stderr, "swim_scale [--one] [NODES [MINUTES [RUNS]]]: 8 to 10000 nodes, at least 2 minutes\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const bool one = argc > 1 && std::string_view(argv[1]) == "--one";
  if (one) ++argv, --argc;
  const auto nodes = argument(argc, argv, 1, one ? 10'000 : 200), minutes = argument(argc, argv, 2, one ? 600 : 10);
  const auto runs = argument(argc, argv, 3, 3);
  if (nodes < 8 || nodes > 10'000 || minutes < 2 || minutes > 10'000 || runs < 1) return usage();
  const auto length = std::chrono::minutes(minutes);
  const auto node_seconds = static_cast<double>((one ? 1 : nodes) * minutes * 60);
  std::vector<double> took;
  bool right = true;
  for (std::uint64_t seed = 1; seed <= runs; ++seed) {
    const auto o = one ? run_one(nodes, length) : run(nodes, length, seed);
    right &= report(o, nodes, node_seconds);
    if (!one)
      fmt::print("  one view after {:.1f} virtual s and {:.2f} s of CPU; crashes seen in {:.1f} virtual s at most\n",
                 o.formed_in, o.forming, o.slowest);
    took.push_back(o.in_all);
  }
  std::sort(took.begin(), took.end());
  fmt::print("{} virtual minutes: median {:.2f} s of CPU, {:.1f} us per node and second; {} MiB\n", minutes,
             took[took.size() / 2], took[took.size() / 2] * 1e6 / node_seconds, resident_megabytes());
  return right ? 0 : 1;
}
