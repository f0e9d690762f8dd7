// What this node saw happen to each member, with the evidence: what `coterie why` shows. Bounded, and gone with the
// process.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <string>
#include <utility>

#include "base/ids.hpp"
#include "wire/request.hpp"

namespace coterie::engine {

class chronicle {
 public:
  static constexpr std::size_t per_member = 16, members = 4'096;

  void note(node_id who, wall_time when, std::string what, std::string evidence) {
    if (!seen_.contains(who) && seen_.size() >= members)
      seen_.erase(std::ranges::min_element(seen_, {}, [](const auto& m) { return m.second.back().when; }));
    auto& all = seen_[who];
    all.push_back({when, std::move(what), std::move(evidence)});
    if (all.size() > per_member) all.pop_front();
  }
  /// Oldest first.
  std::vector<wire::transition> of(node_id who) const {
    const auto it = seen_.find(who);
    return it == seen_.end() ? std::vector<wire::transition>()
                             : std::vector<wire::transition>(it->second.begin(), it->second.end());
  }
  /// What was last said of this kind; empty when that was never, or long ago.
  std::string last(node_id who, std::string_view what) const {
    const auto it = seen_.find(who);
    if (it == seen_.end()) return {};
    const auto t = std::find_if(it->second.rbegin(), it->second.rend(), [&](const auto& x) { return x.what == what; });
    return t == it->second.rend() ? std::string() : t->evidence;
  }

 private:
  std::map<node_id, std::deque<wire::transition>> seen_;
};

}  // namespace coterie::engine
