// Which members vote (docs/consensus.md 1.4): a pure function of what the leader knows of them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "raft/types.hpp"

namespace coterie::engine {

struct voter_rules {
  std::size_t max_voters = 5;   ///< 1, 3, 5 or 7
  duration stable_after = 10s;  ///< alive for so long before it may vote
  duration dead_grace = 30s;    ///< gone by gossip, and silent for so long to the leader: its place goes to another
  std::size_t standbys = 2;     ///< learners that are kept ready; more only while more votes are missing
};

/// One member of the registry, as the leader sees it.
struct voter_candidate {
  node_id id;
  std::string zone;        ///< its tag `zone`; empty = none
  bool living = false;     ///< by gossip
  duration alive_for{};    ///< by gossip, without a break
  duration silent_for{};   ///< since its last direct message; zero of the leader itself
  bool caught_up = false;  ///< answers, and has nearly the whole log
  bool follows = false;    ///< has an open session: it applies the log, and its first state is not on its way any more
};

/// The configuration that should follow `now`, or nullopt when that is as it should be. Those that are gone from the
/// registry go; of the others a few are standbys, the learners: those that are, unless they are dead or crowd a zone,
/// then who is alive, stable and follows, from the zone with the fewest. Everybody else is no part of it: an observer.
/// Only a standby gets a vote. Of the voters at most one living change is made: added up to the wanted number (5, 3 or
/// 1), one too many taken out, or, with `may_swap`, one that is dead or crowds a zone exchanged for a standby, in one
/// joint change, so that the quorum never grows for it. A minority can't be made the quorum: every change leaves a
/// living majority in the old and in the new voters. `now` is committed and not joint; `members` are those of the
/// registry, each once.
std::optional<raft::configuration> choose_voters(const raft::configuration& now, node_id self,
                                                 const std::vector<voter_candidate>& members, bool may_swap,
                                                 const voter_rules&);

/// Odd, for an even number of voters survives no more failures than one less; of two nodes one.
std::size_t wanted_voters(std::size_t members, const voter_rules&);

}  // namespace coterie::engine
