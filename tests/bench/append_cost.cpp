// What a durable append costs the engines of three nodes, without sockets and disks: processor time here, instructions
// under callgrind, which are the same in each run whatever else the machine does:
//   append_cost [IN_FLIGHT] [ROUNDS]
//   valgrind --tool=callgrind --toggle-collect='appends(*' append_cost 64 50
#include <cstdlib>
#include <ctime>
#include <string>

#include <fmt/format.h>

#include "unit/engine/nodes.hpp"

using namespace coterie;

double cpu_us() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

/// So many at once at the leader, again and again; false when one was not acknowledged.
[[gnu::noinline]] bool appends(test::nodes& w, std::size_t leader, std::size_t in_flight, std::size_t rounds) {
  for (std::size_t r = 0; r < rounds; ++r) {
    std::vector<wire::request> all(in_flight, wire::append_journal{"j", "", {{"t", std::string(200, 'x')}}});
    const auto ids = w.calls(leader, std::move(all));
    for (const auto id : ids)
      if (!std::holds_alternative<wire::appended>(w.take_answer(id))) return false;
  }
  return true;
}

int main(int argc, char** argv) {
  const std::size_t in_flight = argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 64;
  const std::size_t rounds = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 500;
  test::nodes w(3);
  if (!w.run_until_active() || !appends(w, *w.leader(), in_flight, 10)) return 1;
  const auto before = cpu_us();
  if (!appends(w, *w.leader(), in_flight, rounds)) return 1;
  fmt::print("{} in flight: {:.2f} us of three engines an append\n", in_flight,
             (cpu_us() - before) / static_cast<double>(in_flight * rounds));
}
