// Mutations that the simulator has to find (it is tested too). One place each in the product's code asks for its own;
// nothing outside the tests ever sets one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace coterie {

enum class planted_bug : std::uint8_t {
  none,
  double_vote,                ///< raft: votes again in a term
  commit_old_term,            ///< raft: commits an older term's entry by counting replicas (paper, figure 8)
  early_ack,                  ///< raft: acknowledges entries before they are durable
  skip_read_confirmation,     ///< raft: serves a linearizable read without asking a quorum
  lost_fsync,                 ///< engine: tells the disk that nothing has to be synced
  unordered_apply,            ///< engine: applies what was committed together in another order
  stale_lease,                ///< engine: counts a session's validity from the answer, not from the question
  reused_token,               ///< machine: hands a lock on under the fence of the one before
  missing_incarnation_check,  ///< swim: believes statements of an older incarnation
  trusted_copy,               ///< engine: lets an older copy of a member's disk in
  early_commit,               ///< raft: a new leader commits while its predecessor may hold a read lease
  uncommitted_relay,          ///< engine: passes entries on to observers that may still be replaced
  kept_grant,                 ///< engine: goes on using a lock's grant that it has given back
  careless_heal,              ///< engine: heals damage by any state, without the end of the log
  unscoped_gossip,            ///< swim: takes gossip of any seed list before genesis
  lazy_learner,               ///< raft: a learner acknowledges what is only written
  young_age,                  ///< engine: counts the age of a stale read from the answer, not from the question
  open_fence,                 ///< machine: a data group goes on executing for a session behind its Fence
};

inline constexpr std::array<std::string_view, 19> planted_bug_names{"none",
                                                                    "double_vote",
                                                                    "commit_old_term",
                                                                    "early_ack",
                                                                    "skip_read_confirmation",
                                                                    "lost_fsync",
                                                                    "unordered_apply",
                                                                    "stale_lease",
                                                                    "reused_token",
                                                                    "missing_incarnation_check",
                                                                    "trusted_copy",
                                                                    "early_commit",
                                                                    "uncommitted_relay",
                                                                    "kept_grant",
                                                                    "careless_heal",
                                                                    "unscoped_gossip",
                                                                    "lazy_learner",
                                                                    "young_age",
                                                                    "open_fence"};

}  // namespace coterie
