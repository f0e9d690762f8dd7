#include "engine/relay_tree.hpp"

#include <algorithm>
#include <tuple>

#include "base/hash.hpp"

namespace coterie::engine {

namespace {

constexpr duration one_place = 4ms;       // round trips up to here don't matter, and vary more by load than by distance
constexpr std::uint32_t unknown_way = 1;  // not known to be near, nor far
constexpr std::uint32_t farthest = 6;

/// The estimated round trip in steps of four times as much: what an estimate varies by changes no order, as a rule.
std::uint32_t remoteness(const swim::coordinate& a, const swim::coordinate& b) {
  const auto apart = swim::estimate(a, b);
  if (!apart) return unknown_way;
  if (*apart < one_place) return 0;
  std::uint32_t step = unknown_way + 1;
  for (duration reach = 4 * one_place; *apart >= reach && step < farthest; reach *= 4) ++step;
  return step;
}

}  // namespace

struct relay_tree::candidate {
  bool below;          // at the own level, or further from the voters
  std::uint32_t away;  // levels
  bool elsewhere;      // in another zone
  std::uint32_t far;
  std::uint64_t weight;
  relay_parent what;
  bool operator<(const candidate& o) const {
    return std::tie(below, away, elsewhere, far, weight, what.id) <
           std::tie(o.below, o.away, o.elsewhere, o.far, o.weight, o.what.id);
  }
};

relay_tree::relay_tree(const relay_members& members, std::size_t fan_out) {
  for (const auto& m : members.roots) places_[m.id] = {0, m.zone, m.place};
  std::vector<std::pair<std::uint64_t, const relay_member*>> rank;
  for (const auto& m : members.others)
    if (!places_.contains(m.id)) rank.emplace_back(rendezvous_weight("relay", m.id), &m);
  std::sort(rank.begin(), rank.end(), [](const auto& a, const auto& b) {
    return std::tie(a.first, a.second->id) < std::tie(b.first, b.second->id);
  });
  std::size_t room = members.roots.size() * fan_out, left = room;
  std::uint32_t depth = members.roots.empty() ? relay_nowhere : 1;
  for (const auto& [weight, m] : rank) {
    // Of a very long chain the last level takes the rest.
    if (left == 0 && depth + 1 < relay_nowhere) {
      ++depth;
      left = room = std::min(room * fan_out, rank.size());
    }
    places_[m->id] = {depth, m->zone, m->place};
    left -= left > 0 ? 1 : 0;
  }
  for (const auto& [id, p] : places_) levels_[p.depth].push_back(id);
}

std::uint32_t relay_tree::depth(node_id id) const {
  const auto it = places_.find(id);
  return it == places_.end() ? relay_nowhere : it->second.depth;
}

relay_tree::candidate relay_tree::weigh(node_id self, const place& own, node_id id, const place& at) const {
  const bool below = at.depth >= own.depth;
  return {below,
          below ? at.depth - own.depth : own.depth - at.depth,
          at.zone != own.zone,
          remoteness(own.at, at.at),
          ~rendezvous_weight(self.str(), id),
          {id, at.depth, below ? std::min(at.depth + 1, relay_nowhere) : own.depth}};
}

std::vector<relay_parent> relay_tree::parents(node_id self) const {
  const auto it = places_.find(self);
  auto own = it == places_.end() ? place{} : it->second;
  own.depth = std::max<std::uint32_t>(own.depth, 1);  // one that only thinks it has a vote is a child like others
  std::vector<candidate> list;
  list.reserve(places_.size());
  for (const auto& [id, at] : places_)
    if (id != self) list.push_back(weigh(self, own, id, at));
  std::sort(list.begin(), list.end());
  std::vector<relay_parent> r;
  r.reserve(list.size());
  for (const auto& c : list) r.push_back(c.what);
  return r;
}

node_id relay_tree::first_parent(node_id self) const {
  const auto it = places_.find(self);
  if (it == places_.end() || it->second.depth == 0) return {};
  const auto above = levels_.find(it->second.depth - 1);
  if (above == levels_.end()) return {};
  std::vector<candidate> list;
  for (const auto id : above->second) list.push_back(weigh(self, it->second, id, places_.at(id)));
  return std::min_element(list.begin(), list.end())->what.id;
}

}  // namespace coterie::engine
