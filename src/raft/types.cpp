// Membership questions about a configuration. Knows nothing of logs or messages.
#include "raft/types.hpp"

#include <algorithm>
#include <functional>

namespace coterie::raft {
namespace {

bool has(const std::vector<node_id>& sorted, node_id id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

}  // namespace

bool configuration::is_voter(node_id id) const { return has(voters, id) || has(outgoing, id); }

bool configuration::is_learner(node_id id) const { return has(learners, id) && !is_voter(id); }

bool configuration::well_formed() const {
  const auto ok = [](const std::vector<node_id>& ids) {
    return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>{}) == ids.end() &&
           (ids.empty() || ids.front());
  };
  return !voters.empty() && ok(voters) && ok(outgoing) && ok(learners);
}

std::vector<node_id> configuration::members() const {
  std::vector<node_id> all;
  all.reserve(voters.size() + outgoing.size() + learners.size());
  for (const auto* part : {&voters, &outgoing, &learners}) all.insert(all.end(), part->begin(), part->end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

}  // namespace coterie::raft
