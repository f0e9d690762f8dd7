// Measures membership without a log: agents on this machine, each a process with sockets of its own and watched by a
// subscription of its own, and beside them as many agents of another system. Knows what is asked of both, not how
// either is spoken to.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <random>
#include <thread>

#include <poll.h>

#include <fmt/format.h>

#include "agents.hpp"
#include "commands.hpp"
#include "measure.hpp"
#include "output.hpp"

namespace coterie::command {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {

constexpr unsigned most_seeds = 3;  // as operators have them
constexpr auto patience = 300s;     // several rounds of a slow anti-entropy
constexpr ms retry_interval{10};    // of a subscription, while the agent starts

struct row {
  std::string what, system;
  std::vector<double> samples;
  std::string unit;
  double value() const {
    auto sorted = samples;
    std::ranges::sort(sorted);
    return quantile(sorted, 0.5);
  }
};

void progress(const std::string& line) { fmt::print(stderr, "{}\n", line); }

/// The agents of one system, and what each of them says.
class field {
 public:
  field(const agents& a, unsigned nodes)
      : agents_(a),
        seeds_(std::min(most_seeds, nodes - 1)),
        cluster_({.nodes = nodes,
                  .cluster = "bench-" + a.system,
                  .seeds = seeds_,
                  .first_port = port_of_this_process(),
                  .command = a.command}),
        watches_(nodes) {}

  local_cluster& cluster() { return cluster_; }

  /// The seeds first, the others at once when those answer. Milliseconds from the last one's start until every agent
  /// lists all.
  double start() {
    auto& all = cluster_.nodes();
    for (unsigned i = 0; i < seeds_; ++i) cluster_.start(all[i]);
    await("the seeds' answer", [&] { return std::all_of(watches_.begin(), watches_.begin() + seeds_, is_there); });
    for (std::size_t i = seeds_; i + 1 < all.size(); ++i) cluster_.start(all[i]);
    begun_ = clock::now();
    cluster_.start(all.back());
    return await("full membership", [&] { return full(); });
  }

  /// Milliseconds from the signal to a random agent until all others know.
  double lose(int signal) {
    rest(1s + ms(random_() % 1'000));  // at any moment of a probe period
    victim_ = random_() % watches_.size();
    auto& n = cluster_.nodes()[victim_];
    begun_ = clock::now();
    cluster_.signal(n, signal);
    const auto took = await("the loss of " + n.name, [&] { return unlisted(n.name); });
    if (signal == SIGSTOP) {
      cluster_.signal(n, SIGCONT);
    } else {
      cluster_.wait_gone(n);
      watches_[victim_].reset();
      cluster_.start(n);
    }
    victim_ = none;
    begun_ = clock::now();
    await("the return of " + n.name, [&] { return full(); });
    return took;
  }

  void rest(clock::duration d) {
    for (const auto until = clock::now() + d; clock::now() < until;) turn(std::chrono::ceil<ms>(until - clock::now()));
  }

 private:
  static constexpr std::size_t none = ~std::size_t{0};
  static bool is_there(const std::unique_ptr<agent_watch>& w) { return w != nullptr; }

  bool full() const {
    return std::ranges::all_of(watches_, [&](const auto& w) { return w && w->others() + 1 == watches_.size(); });
  }
  bool unlisted(const std::string& name) const {
    for (std::size_t i = 0; i < watches_.size(); ++i)
      if (i != victim_ && !(watches_[i] && !watches_[i]->lists(name))) return false;
    return true;
  }

  /// Milliseconds since begun_ when it is done.
  template <class Done>
  double await(const std::string& what, Done done) {
    while (!done()) {
      if (clock::now() - begun_ > patience)
        throw command_error(failed, fmt::format("{}: {} took more than {} s{}", agents_.system, what, patience.count(),
                                                cluster_.last_log(cluster_.nodes().front())));
      turn(ms(1'000));
    }
    return us_since(begun_) / 1e3;
  }

  /// Waits for what any agent says, and takes it.
  void turn(ms most) {
    std::vector<pollfd> p;
    std::vector<std::size_t> whose;
    for (std::size_t i = 0; i < watches_.size(); ++i) {
      subscribe(i);
      if (!watches_[i]) continue;
      p.push_back({watches_[i]->fd(), POLLIN, 0});
      whose.push_back(i);
    }
    ::poll(p.data(), p.size(),
           static_cast<int>((p.size() < watches_.size() ? std::min(most, retry_interval) : most).count()));
    for (std::size_t k = 0; k < p.size(); ++k)
      if (p[k].revents != 0) read(watches_[whose[k]]);
    for (const auto* n : cluster_.reap())
      if (victim_ == none || n != &cluster_.nodes()[victim_])
        throw command_error(
            failed, fmt::format("{}: the agent {} has ended{}", agents_.system, n->name, cluster_.last_log(*n)));
  }

  void subscribe(std::size_t i) {
    const auto& n = cluster_.nodes()[i];
    if (watches_[i] || n.pid <= 0 || n.gone || i == victim_) return;
    try {
      watches_[i] = agents_.watch(n);
    } catch (const command_error&) {  // not yet
    }
  }
  static void read(std::unique_ptr<agent_watch>& w) {
    try {
      w->read();
    } catch (const command_error& e) {
      if (e.exit_status() != no_node) throw;
      w.reset();
    }
  }

  const agents& agents_;
  const unsigned seeds_;
  local_cluster cluster_;
  std::vector<std::unique_ptr<agent_watch>> watches_;  // in the order of the nodes
  std::size_t victim_ = none;
  clock::time_point begun_ = clock::now();
  std::minstd_rand random_{std::random_device{}()};
};

/// What the agents cost while nothing happens.
void add_costs(field& f, const std::string& system, ms lasts, bool own_network, std::vector<row>& rows) {
  const auto& nodes = f.cluster().nodes();
  const auto count = static_cast<double>(nodes.size());
  const auto processor = [&] {
    double sum = 0;
    for (const auto& n : nodes) sum += cpu_seconds(n.pid);
    return sum;
  };
  f.rest(lasts / 2);  // what the start has caused is over then
  const auto begun = clock::now();
  const auto cpu = processor(), bytes = loopback_bytes();
  f.rest(lasts);
  const auto seconds = us_since(begun) / 1e6;
  rows.push_back({"idle_cpu", system, {(processor() - cpu) * 1e3 / seconds / count}, "ms/s"});
  row memory{"memory", system, {}, "MiB"};
  for (const auto& n : nodes) memory.samples.push_back(proportional_mib(n.pid));
  rows.push_back(std::move(memory));
  if (own_network) rows.push_back({"traffic", system, {(loopback_bytes() - bytes) / seconds / count}, "B/s"});
}

void measure(const agents& a, const bench_membership_options& o, bool own_network, std::vector<row>& rows) {
  row start{"full_membership", a.system, {}, "ms"}, killed{"killed_known", a.system, {}, "ms"},
      stopped{"stopped_known", a.system, {}, "ms"};
  const auto add = [&](row& r, unsigned round, double took) {
    r.samples.push_back(took);
    progress(fmt::format("{}: {} {} of {}: {:.0f} ms", a.system, r.what, round + 1, o.rounds, took));
  };
  for (unsigned i = 0; i + 1 < o.rounds; ++i) add(start, i, field(a, o.nodes).start());
  field f(a, o.nodes);
  add(start, o.rounds - 1, f.start());
  progress(fmt::format("{}: nothing happens for {}", a.system, human(o.lasts + o.lasts / 2)));
  std::vector<row> costs;
  add_costs(f, a.system, o.lasts, own_network, costs);
  for (unsigned i = 0; i < o.rounds; ++i) add(killed, i, f.lose(SIGKILL));
  for (unsigned i = 0; i < o.rounds; ++i) add(stopped, i, f.lose(SIGSTOP));
  for (auto* r : {&start, &killed, &stopped}) rows.push_back(std::move(*r));
  std::ranges::move(costs, std::back_inserter(rows));
}

}  // namespace

int bench_membership(const common& c, const bench_membership_options& o) {
  std::vector<agents> systems{coterie_agents()};
  if (o.peer == "serf") systems.push_back(serf_agents());
  const bool own_network = enter_own_network();
  if (!own_network) progress("no network namespace can be made here, so traffic is not counted");
  const double rtt = loopback_round_trip(200);
  std::vector<row> rows;
  for (const auto& s : systems) measure(s, o, own_network, rows);
  if (c.as_json) {
    json all = json::array(), about = json::array();
    for (const auto& r : rows)
      all.push_back({{"what", r.what},
                     {"system", r.system},
                     {"nodes", o.nodes},
                     {"value", r.value()},
                     {"unit", r.unit},
                     {"samples", r.samples}});
    for (const auto& s : systems) about.push_back(s.about);
    print(json{{"floor", {{"rtt_us", rtt}, {"fdatasync_us", nullptr}}},
               {"machine", {{"cores", std::thread::hardware_concurrency()}, {"nodes", o.nodes}}},
               {"systems", about},
               {"rows", all}});
    return ok;
  }
  for (const auto& s : systems) print_text(s.about + "\n");
  print_text(fmt::format("{} agents at a time on this machine ({} cores), a round trip over loopback {:.0f} us\n",
                         o.nodes, std::thread::hardware_concurrency(), rtt));
  table t({"WHAT", "SYSTEM", "NODES", "VALUE", "UNIT", "SAMPLES"});
  for (const auto& r : rows)
    t.add({r.what, r.system, fmt::format("{}", o.nodes), fmt::format("{:.{}f}", r.value(), r.value() < 100 ? 2 : 0),
           r.unit, fmt::format("{}", r.samples.size())});
  print_text(t.text());
  return ok;
}

}  // namespace coterie::command
