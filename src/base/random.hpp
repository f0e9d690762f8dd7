// Deterministic randomness: the same seed gives the same draws on every platform (std distributions do not).
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/time.hpp"

namespace coterie {

/// SplitMix64 (Steele, Lea, Flood 2014). Small, fast, good enough for jitter and shuffles; not for keys.
class rng {
 public:
  explicit rng(std::uint64_t seed = 0) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /// Uniform in [0, n); n > 0. Multiply-shift, bias below 2^-32 for n < 2^32.
  std::uint64_t below(std::uint64_t n) {
    __extension__ using wide = unsigned __int128;
    return static_cast<std::uint64_t>((static_cast<wide>(next()) * n) >> 64);
  }
  /// True with probability p.
  bool chance(double p) { return static_cast<double>(next() >> 11) * 0x1.0p-53 < p; }
  /// Uniform in [a, b]; a when b <= a.
  duration between(duration a, duration b) {
    return b <= a ? a
                  : a + duration(static_cast<duration::rep>(below(static_cast<std::uint64_t>((b - a).count()) + 1)));
  }
  /// Fisher-Yates.
  template <class T>
  void shuffle(std::vector<T>& v) {
    for (std::size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[below(i)]);
  }
  /// An independent generator for a part.
  rng fork() { return rng(next()); }

 private:
  std::uint64_t state_;
};

}  // namespace coterie
