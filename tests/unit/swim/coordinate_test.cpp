// Coordinates: what they learn of round trips, and what they refuse to believe.
#include <cmath>
#include <limits>
#include <vector>

#include "unit/swim/membership_catch.hpp"

#include "base/random.hpp"
#include "swim/coordinate.hpp"

namespace coterie::swim::test {
namespace {

double ms(duration d) { return std::chrono::duration<double, std::milli>(d).count(); }

/// Three sites of `each` nodes, with access links of their own.
struct sites {
  static constexpr std::size_t each = 5;
  static constexpr double between_ms[3][3] = {{0.5, 20, 80}, {20, 0.5, 65}, {80, 65, 0.5}};
  std::vector<coordinate> at{3 * each};
  rng random{7};

  double rtt(std::size_t a, std::size_t b) const {
    const auto access = [](std::size_t i) { return 0.2 * static_cast<double>(i % each); };
    return between_ms[a / each][b / each] + access(a) + access(b);
  }
  void probe(std::size_t a, std::size_t b, double jitter) {
    const double took = rtt(a, b) * (1 + jitter * static_cast<double>(random.below(1'000)) / 1'000);
    at[a] = moved(at[a], at[b], std::chrono::duration_cast<duration>(std::chrono::duration<double, std::milli>(took)),
                  random);
  }
  /// Median over all pairs of how far the estimate is off, as a part of the truth.
  double median_off() const {
    std::vector<double> off;
    for (std::size_t a = 0; a < at.size(); ++a)
      for (std::size_t b = 0; b < a; ++b) off.push_back(std::abs(ms(distance(at[a], at[b])) - rtt(a, b)) / rtt(a, b));
    std::sort(off.begin(), off.end());
    return off[off.size() / 2];
  }
};

}  // namespace

TEST_CASE("coordinates learn the round trips of pairs that never probed each other") {
  sites s;
  const double before = s.median_off();
  for (int round = 0; round < 200; ++round)
    for (std::size_t a = 0; a < s.at.size(); ++a) {
      const auto b = s.random.below(s.at.size());
      const bool apart = a / sites::each != b / sites::each && (a + b) % 2 == 0;  // such pairs are never measured
      if (a != b && !apart) s.probe(a, b, 0.1);
    }
  CHECK(before > 0.5);
  CHECK(s.median_off() < 0.15);
  for (const auto& c : s.at) CHECK(c.error < 0.5);
  // Near is near, and far is far.
  CHECK(distance(s.at[0], s.at[1]) < distance(s.at[0], s.at[6]));
  CHECK(distance(s.at[0], s.at[6]) < distance(s.at[0], s.at[11]));
}

TEST_CASE("a coordinate follows a path that changes, and stays bounded whatever is measured") {
  rng random(3);
  coordinate a, b;
  for (int i = 0; i < 200; ++i) {
    a = moved(a, b, 10ms, random);
    b = moved(b, a, 10ms, random);
  }
  CHECK(ms(distance(a, b)) > 9);
  CHECK(ms(distance(a, b)) < 11);
  for (int i = 0; i < 200; ++i) a = moved(a, b, 40ms, random);
  CHECK(ms(distance(a, b)) > 36);
  CHECK(ms(distance(a, b)) < 44);
  for (const duration odd : {duration::zero(), duration(-1s), duration::max(), duration::min(), duration(1)}) {
    for (int i = 0; i < 50; ++i) a = moved(a, b, odd, random);
    CHECK(plausible(a));
  }
}

TEST_CASE("what a coordinate can't be is not believed") {
  constexpr float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  CHECK(plausible(coordinate{}));
  CHECK(plausible({1, -2, 3, 0, 0}));
  CHECK_FALSE(plausible({nan, 0, 0, 0, 1}));
  CHECK_FALSE(plausible({0, inf, 0, 0, 1}));
  CHECK_FALSE(plausible({0, 0, -2'000, 0, 1}));
  CHECK_FALSE(plausible({0, 0, 0, -1, 1}));
  CHECK_FALSE(plausible({0, 0, 0, 0, nan}));
  CHECK_FALSE(plausible({0, 0, 0, 0, 2}));
}

}  // namespace coterie::swim::test
