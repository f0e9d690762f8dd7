// Very many boots of one seed list, as tests/unit/swim/genesis_boot.hpp draws them, on the pure state machines of
// genesis. Fails when one of them makes two clusters that must not be, or does not form although nothing is in its way.
//
//   genesis_bulk [--boots N] [--first SEED]
#include <cstdlib>
#include <string_view>

#include <fmt/format.h>

#include "unit/swim/genesis_boot.hpp"

int main(int argc, char** argv) {
  std::uint64_t boots = 100'000, first = 1, failed = 0;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view a = argv[i];
    if (i + 1 == argc || (a != "--boots" && a != "--first")) {
      fmt::print(stderr, "genesis_bulk [--boots N] [--first SEED]\n");
      return 2;
    }
    (a == "--boots" ? boots : first) = std::strtoull(argv[i + 1], nullptr, 10);
  }
  genesis_test::totals sum;
  for (auto seed = first; seed < first + boots; ++seed) {
    const auto o = genesis_test::boot(seed);
    sum.add(o);
    if (o.violation.empty()) continue;
    ++failed;
    fmt::print("seed {}: {}\n", seed, o.violation);
  }
  fmt::print("{}\n{} boots with a double genesis or another violation\n", sum.str(), failed);
  return failed == 0 && boots > 0 ? 0 : 1;
}
