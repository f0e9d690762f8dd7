// Committed entries that come from another node than the leader (docs/consensus.md 1.3). Safe for every node: what is
// committed is in the log of all later leaders (paper 5.4.3), so a tail that contradicts it was never committed and
// would be taken off by the leader too; and nothing is acknowledged for it. Knows nothing of who passes entries to
// whom.
#include <algorithm>
#include <iterator>

#include "raft/core.hpp"

namespace coterie::raft {

bool core::on_relayed(const relayed& r, instant now) {
  observe(now);
  const auto prev_term = log_.term_at(r.prev).value_or(term{});
  const auto newest = r.entries.empty() ? term{} : r.entries.back().when;
  // A leader has all that is committed, but for one that was replaced and does not know it yet.
  const bool leads = role_ == role::leader && newest <= hard_.current;
  if (leads || r.prev > commit_ || newest.value > largest_term || !well_formed(r.prev, prev_term, r.entries, newest)) {
    drop("raft_bad_relay");
    return true;
  }
  auto e = r.entries.begin();
  while (e != r.entries.end() && (e->index < log_.base().index || log_.term_at(e->index) == e->when)) ++e;
  if (e != r.entries.end()) {
    if (e->index <= commit_) {
      stats_.add("raft_conflict_below_commit");
      return false;
    }
    extend(e, r.entries.end());
  }
  advance_commit(std::max(commit_, r.prev + r.entries.size()));
  heed(r);
  return true;
}

void core::extend(std::vector<entry>::const_iterator from, std::vector<entry>::const_iterator end) {
  const auto newest = std::prev(end)->when;
  // Who asks for votes spoke of the tail that goes now.
  if (newest > hard_.current || role_ != role::follower) become_follower(std::max(newest, hard_.current), {});
  log_.truncate(from->index);
  for (; from != end; ++from) log_.append(*from);
  lease_.received();
}

/// Only as a hint, where to send what: nobody who may vote lets it hold up an election (docs/consensus.md 1.5).
void core::heed(const relayed& r) {
  const auto patience = 2 * longest_election_timeout();
  const auto contact = now_ - std::clamp<duration>(r.age, duration::zero(), patience);
  if (!r.leader || r.leader == self_ || promotable()) return;
  if (leader_ && r.when < leader_term_) return;
  // What the leader itself said is better, and what is too old is none.
  if (now_ - last_fed_ < options_.election_timeout_max || now_ - contact >= patience) return;
  set_leader(r.leader);
  leader_term_ = r.when;
  last_leader_contact_ = std::max(last_leader_contact_, contact);
  election_deadline_ = last_leader_contact_ + patience;
}

}  // namespace coterie::raft
