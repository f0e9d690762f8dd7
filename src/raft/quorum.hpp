// Majorities: what a quorum of a configuration agrees on. In a joint configuration a quorum is a majority of the
// incoming and one of the outgoing voters (paper section 6). Knows nothing of what the values mean.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <vector>

#include "raft/types.hpp"

namespace coterie::raft {

constexpr std::size_t majority_of(std::size_t n) { return n / 2 + 1; }

/// The largest value that a majority of `group` reaches; `group` is not empty.
template <class F>
auto majority_value(const std::vector<node_id>& group, F&& value_of) {
  std::vector<decltype(value_of(group.front()))> values;
  values.reserve(group.size());
  for (const auto id : group) values.push_back(value_of(id));
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(majority_of(values.size()) - 1);
  std::nth_element(values.begin(), nth, values.end(), std::greater<>{});
  return *nth;
}

/// The largest value that a quorum reaches; the configuration has voters.
template <class F>
auto quorum_value(const configuration& conf, F&& value_of) {
  const auto incoming = majority_value(conf.voters, value_of);
  return conf.joint() ? std::min(incoming, majority_value(conf.outgoing, value_of)) : incoming;
}

/// Whether the nodes that satisfy `p` are a quorum.
template <class P>
bool is_quorum(const configuration& conf, P&& p) {
  return !conf.voters.empty() && quorum_value(conf, [&](node_id id) { return p(id) ? 1 : 0; }) == 1;
}

enum class tally : std::uint8_t { pending, won, lost };

/// Outcome of an election: lost as soon as the missing votes can't make a quorum any more.
inline tally count_votes(const configuration& conf, const std::map<node_id, bool>& votes) {
  const auto vote = [&](node_id id, bool missing_counts) {
    const auto it = votes.find(id);
    return it == votes.end() ? missing_counts : it->second;
  };
  if (is_quorum(conf, [&](node_id id) { return vote(id, false); })) return tally::won;
  return is_quorum(conf, [&](node_id id) { return vote(id, true); }) ? tally::pending : tally::lost;
}

}  // namespace coterie::raft
