#include "engine/voters.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <tuple>

namespace coterie::engine {

namespace {

class selection {
 public:
  selection(const raft::configuration& now, node_id self, const std::vector<voter_candidate>& members,
            const voter_rules& rules)
      : before_(now), self_(self), rules_(rules), voters_(now.voters), learners_(now.learners) {
    for (const auto& m : members) members_.emplace(m.id, &m);
  }

  std::optional<raft::configuration> choose(bool may_swap) {
    follow_registry();
    const auto wanted = wanted_voters(members_.size(), rules_);
    if (voters_.size() < wanted) {
      while (voters_.size() < wanted && add_one()) {
      }
    } else if (voters_.size() > wanted) {
      take_one_out();
    } else if (may_swap && !replace_dead()) {
      spread_zones();
    }
    choose_standbys(wanted);
    // Everybody with a vote is gone from the registry: they keep it until a standby is there to take it.
    if (voters_.empty()) voters_ = before_.voters;
    std::sort(voters_.begin(), voters_.end());
    std::sort(learners_.begin(), learners_.end());
    if (voters_ == before_.voters && learners_ == before_.learners) return std::nullopt;
    return raft::configuration{voters_, {}, learners_};
  }

 private:
  const voter_candidate& of(node_id id) const { return *members_.at(id); }

  void follow_registry() {
    const auto gone = [&](node_id id) { return !members_.contains(id); };
    std::erase_if(voters_, gone);
    std::erase_if(learners_, gone);
  }

  bool dead(node_id id) const { return !of(id).living && of(id).silent_for >= rules_.dead_grace; }

  /// How many voters there are in each zone, but for `except`.
  std::map<std::string, std::size_t> crowds(node_id except = {}) const {
    std::map<std::string, std::size_t> r;
    for (const auto v : voters_)
      if (v != except) ++r[of(v).zone];
    return r;
  }

  /// The best of the learners, given who votes besides; zero = none is fit.
  node_id best_learner(node_id instead_of = {}) const {
    auto crowd = crowds(instead_of);
    node_id best;
    const auto rank = [&](node_id id) { return std::tuple(crowd[of(id).zone], -of(id).alive_for.count(), id); };
    for (const auto id : learners_) {
      const auto& m = of(id);
      if (!m.living || !m.caught_up || m.alive_for < rules_.stable_after) continue;
      if (!best || rank(id) < rank(best)) best = id;
    }
    return best;
  }

  bool majority_lives(const std::vector<node_id>& voters) const {
    const auto living = std::ranges::count_if(voters, [&](node_id id) {
      const auto m = members_.find(id);
      return m != members_.end() && m->second->living;
    });
    return static_cast<std::size_t>(living) > voters.size() / 2;
  }

  bool add_one() {
    const auto id = best_learner();
    if (!id) return false;
    std::erase(learners_, id);
    voters_.push_back(id);
    return true;
  }

  void take_one_out() {
    const auto crowd = crowds();
    const auto rank = [&](node_id id) {
      return std::tuple(of(id).living, id == self_, -static_cast<std::ptrdiff_t>(crowd.at(of(id).zone)),
                        of(id).alive_for, id);
    };
    exchange(*std::ranges::min_element(voters_, {}, rank), {});
  }

  bool exchange(node_id out, node_id in) {
    auto voters = voters_;
    std::erase(voters, out);
    if (in) voters.push_back(in);
    if (!majority_lives(before_.voters) || !majority_lives(voters)) return false;
    voters_ = std::move(voters);
    learners_.push_back(out);
    if (in) std::erase(learners_, in);
    return true;
  }

  bool replace_dead() {
    for (const auto id : voters_) {
      if (id == self_ || !dead(id)) continue;
      if (const auto in = best_learner(id); in && exchange(id, in)) return true;
    }
    return false;
  }

  /// Zones with half of the voters, when there are three zones or more to choose from.
  std::set<std::string> crowded_zones() const {
    std::set<std::string_view> zones;
    for (const auto& [id, m] : members_)
      if (!m->zone.empty()) zones.insert(m->zone);
    std::set<std::string> r;
    if (zones.size() < 3) return r;
    for (const auto& [zone, count] : crowds())
      if (!zone.empty() && count >= 2 && 2 * count >= voters_.size()) r.insert(zone);
    return r;
  }

  void spread_zones() {
    for (const auto& zone : crowded_zones())
      for (const auto id : voters_) {
        if (id == self_ || of(id).zone != zone) continue;
        const auto in = best_learner(id);
        if (in && of(in).zone != zone && exchange(id, in)) return;
      }
  }

  void choose_standbys(std::size_t wanted) {
    const auto voting = static_cast<std::size_t>(std::ranges::count_if(voters_, [&](auto id) { return !dead(id); }));
    const auto count = std::max(rules_.standbys, wanted - std::min(wanted, voting));
    const auto is_now = [&](node_id id) { return std::ranges::find(learners_, id) != learners_.end(); };
    std::vector<node_id> candidates;
    for (const auto& [id, m] : members_) {
      const bool fresh = m->living && m->follows && m->alive_for >= rules_.stable_after;
      if (std::ranges::find(voters_, id) == voters_.end() && (fresh || is_now(id))) candidates.push_back(id);
    }
    const auto crowded = crowded_zones();
    auto crowd = crowds();
    const auto rank = [&](node_id id) {
      const auto& m = of(id);
      return std::tuple(dead(id), crowded.contains(m.zone), !is_now(id), crowd[m.zone], -m.alive_for.count(), id);
    };
    std::vector<node_id> chosen;
    while (chosen.size() < count && !candidates.empty()) {
      const auto best = *std::ranges::min_element(candidates, {}, rank);
      ++crowd[of(best).zone];
      chosen.push_back(best);
      std::erase(candidates, best);
    }
    learners_ = std::move(chosen);
  }

  const raft::configuration& before_;
  const node_id self_;
  const voter_rules& rules_;
  std::map<node_id, const voter_candidate*> members_;
  std::vector<node_id> voters_, learners_;
};

}  // namespace

std::size_t wanted_voters(std::size_t members, const voter_rules& rules) {
  return members < 3 ? 1 : std::min(rules.max_voters, members - (members + 1) % 2);
}

std::optional<raft::configuration> choose_voters(const raft::configuration& now, node_id self,
                                                 const std::vector<voter_candidate>& members, bool may_swap,
                                                 const voter_rules& rules) {
  return selection(now, self, members, rules).choose(may_swap);
}

}  // namespace coterie::engine
