// One client that keeps so many requests under way, each answered by itself: what the drivers of all peers share, so
// that they are measured as `coterie bench` measures coterie.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <string>
#include <vector>

#include <fmt/format.h>

namespace coterie::peers {

using clock = std::chrono::steady_clock;

struct arguments {
  std::string what;                    ///< append, or what else the driver can
  std::vector<std::string> endpoints;  ///< host:port, of all servers
  unsigned in_flight = 1;
  std::chrono::milliseconds lasts{5'000};
  std::size_t size = 200;
};

inline std::vector<std::string> parse_endpoints(const std::string& all) {
  std::vector<std::string> each;
  for (std::size_t at = 0; at <= all.size();) {
    const auto end = std::min(all.find(',', at), all.size());
    each.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  return each;
}

inline arguments parse(int argc, char** argv, const std::vector<std::string>& whats) {
  if (argc != 6 || std::ranges::find(whats, argv[1]) == whats.end()) {
    fmt::print(stderr, "usage: {} {} ENDPOINT,ENDPOINT,... IN_FLIGHT SECONDS BYTES\n", argv[0], fmt::join(whats, "|"));
    std::exit(2);
  }
  arguments a;
  a.what = argv[1];
  a.endpoints = parse_endpoints(argv[2]);
  a.in_flight = static_cast<unsigned>(std::max(1, std::atoi(argv[3])));
  a.lasts = std::chrono::milliseconds(static_cast<int>(std::atof(argv[4]) * 1'000));
  a.size = static_cast<std::size_t>(std::max(1, std::atoi(argv[5])));
  return a;
}

/// Latencies of the requests that ended after a fifth of the time, which warms up; or of all, for as long as it takes.
class measured {
 public:
  explicit measured(const arguments& a)
      : what_(a.what), in_flight_(a.in_flight), counted_(clock::now() + a.lasts / 5), end_(counted_ + a.lasts) {}
  measured(std::string what, unsigned in_flight)
      : what_(std::move(what)), in_flight_(in_flight), counted_(clock::now()), end_(clock::time_point::max()) {}
  bool over() const { return clock::now() >= end_; }
  clock::time_point end() const { return end_; }
  void done(clock::time_point begun) {
    const auto now = clock::now();
    if (now >= counted_ && now < end_) us_.push_back(std::chrono::duration<double, std::micro>(now - begun).count());
  }
  /// One line of JSON with the fields of `coterie bench --json`.
  void print(const std::string& system) { print(system, what_, in_flight_); }
  void print(const std::string& system, const std::string& what, unsigned in_flight) {
    std::sort(us_.begin(), us_.end());
    const auto quantile = [&](double q) {
      const auto at = static_cast<std::size_t>(q * static_cast<double>(us_.size()));
      return us_.empty() ? 0.0 : us_[std::min(us_.size() - 1, at)];
    };
    const auto seconds = std::chrono::duration<double>(std::min(end_, clock::now()) - counted_).count();
    fmt::print(R"({{"what":"{}","system":"{}","in_flight":{},"ops_per_s":{:.1f},"p50_us":{:.1f},"p99_us":{:.1f},)"
               R"("p999_us":{:.1f},"samples":{}}})"
               "\n",
               what, system, in_flight, static_cast<double>(us_.size()) / seconds, quantile(0.5), quantile(0.99),
               quantile(0.999), us_.size());
  }

 private:
  std::string what_;
  unsigned in_flight_;
  clock::time_point counted_, end_;
  std::vector<double> us_;
};

[[noreturn]] inline void fail(const std::string& why) {
  fmt::print(stderr, "{}\n", why);
  std::exit(1);
}

}  // namespace coterie::peers
