#include "swim/coordinate.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace coterie::swim {

namespace {

constexpr double tuning = 0.25;  // cc and ce of the paper: how far one measurement moves a point, and its error
constexpr double min_height = 1e-5, max_error = 1.5, farthest = 1'000, shortest = 1e-6;  // seconds, but for the error

using vector = std::array<double, 3>;

vector between(const coordinate& a, const coordinate& b) {
  return {double{a.x} - double{b.x}, double{a.y} - double{b.y}, double{a.z} - double{b.z}};
}
double norm(const vector& v) { return std::sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]); }
double seconds_between(const coordinate& a, const coordinate& b) {
  return norm(between(a, b)) + double{a.height} + double{b.height};
}

}  // namespace

duration distance(const coordinate& a, const coordinate& b) {
  return std::chrono::duration_cast<duration>(std::chrono::duration<double>(seconds_between(a, b)));
}

std::optional<duration> estimate(const coordinate& a, const coordinate& b) {
  if (a.error >= 1 || b.error >= 1) return std::nullopt;
  return distance(a, b);
}

bool plausible(const coordinate& c) {
  const auto within = [](double v, double low, double high) { return v >= low && v <= high; };  // false of a NaN
  return within(c.x, -farthest, farthest) && within(c.y, -farthest, farthest) && within(c.z, -farthest, farthest) &&
         within(c.height, 0, farthest) && within(c.error, 0, max_error);
}

coordinate moved(const coordinate& self, const coordinate& peer, duration took, rng& random) {
  const double rtt = std::clamp(std::chrono::duration<double>(took).count(), shortest, farthest / 10);
  const double expected = seconds_between(self, peer);
  const double both = std::max<double>(double{self.error} + double{peer.error}, 1e-6);
  const double weight = double{self.error} / both;
  const double off = std::abs(expected - rtt) / rtt;
  const double error = off * tuning * weight + double{self.error} * (1 - tuning * weight);
  const double push = tuning * weight * (rtt - expected);

  auto towards = between(self, peer);
  double length = norm(towards);
  double height = double{self.height};
  if (length > shortest) {
    height = (double{self.height} + double{peer.height}) * push / length + height;
  } else {  // on the same spot: apart in any direction
    const auto draw = [&] { return static_cast<double>(random.below(2'001)) / 1'000 - 1; };
    towards = {draw(), draw(), draw()};
    length = std::max(norm(towards), shortest);
  }
  coordinate next = self;
  next.x = static_cast<float>(double{self.x} + towards[0] / length * push);
  next.y = static_cast<float>(double{self.y} + towards[1] / length * push);
  next.z = static_cast<float>(double{self.z} + towards[2] / length * push);
  next.height = static_cast<float>(std::max(height, min_height));
  next.error = static_cast<float>(std::clamp(error, 0.0, max_error));
  return plausible(next) ? next : coordinate{};
}

}  // namespace coterie::swim
