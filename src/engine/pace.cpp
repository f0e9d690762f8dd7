#include "engine/pace.hpp"

#include <algorithm>
#include <vector>

#include "raft/quorum.hpp"

namespace coterie::engine {

namespace {
constexpr std::size_t kept = 128, ignored = 2;  // a single stall holds up one write, and what came meanwhile
constexpr duration kept_for = std::chrono::minutes(1);
}  // namespace

void sync_times::add(instant done, duration took) {
  samples_.push_back({done, took});
  if (samples_.size() > kept) samples_.pop_front();
}

duration sync_times::usual(instant now) const {
  std::vector<duration> recent;
  for (const auto& s : samples_)
    if (now - s.done <= kept_for) recent.push_back(s.took);
  if (recent.size() <= ignored) return {};
  const auto nth = recent.end() - 1 - static_cast<std::ptrdiff_t>(ignored);
  std::ranges::nth_element(recent, nth);
  return *nth;
}

duration quorum_round_trip(const raft::configuration& conf, const swim::membership& members) {
  constexpr auto unseen = duration::max();
  const auto& self = members.self().id;
  duration farthest{};
  const auto way = [&](node_id id) {
    if (id == self) return duration{};
    const auto* m = members.find(id);
    if (!m || !swim::is_living(m->state)) return -unseen;
    auto took = m->rtt;
    if (const auto* own = members.find(self); !took && own) took = estimate(own->place, m->place);
    farthest = std::max(farthest, took.value_or(duration{}));
    return -took.value_or(duration{});
  };
  if (conf.voters.empty()) return {};
  const auto nearest = -raft::quorum_value(conf, way);
  return std::min(nearest, farthest);
}

}  // namespace coterie::engine
