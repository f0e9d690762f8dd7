// News on its way: what is piggybacked on the next datagrams, in which order and how often (SWIM 4.1). Knows nothing of
// who the receivers are, nor of what the statements mean.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "swim/types.hpp"

namespace coterie::swim {

/// Encoded size of a statement in bytes, given by whoever encodes datagrams (an upper bound is fine).
using statement_size = std::size_t (*)(const statement&);
using user_size = std::size_t (*)(const user_datum&);

/// Each lane has a guaranteed share of every datagram; what a lane leaves is used by the others, the first lanes first.
enum class lane : std::uint8_t {
  urgent,      ///< a node about itself: leaves, stops, refutations, changes of the own statement
  membership,  ///< joins, suspicions, verdicts
  user,        ///< user data
};

/// Bounded: at `max_entries` the entry of the same lane that was sent most often makes room.
class dissemination {
 public:
  dissemination(statement_size, user_size, std::size_t max_entries);
  dissemination(dissemination&&) = default;  // its queues point into its table: never copied
  dissemination& operator=(dissemination&&) = default;

  /// Replaces all news of that member.
  void put(const statement&, lane);
  /// Adds one more accuser's suspicion beside those that are on their way (Lifeguard: independent confirmations).
  void add_accusation(const statement&);
  void put(const user_datum&);
  /// Drops what is told about a member, and its user data too if asked for.
  void drop(node_id, bool user_data_too);

  bool empty() const { return entries_.empty(); }
  std::size_t size() const { return entries_.size(); }
  /// There is news that was never sent.
  bool unsent() const;
  std::uint64_t overflows() const { return overflows_; }

  /// Appends what fits into `budget` bytes, fewest sent first, and counts it as sent; after `limit` transmissions an
  /// entry is forgotten. Statements about a member that is already in `out` are left for later. Returns the bytes used.
  std::size_t fill(std::size_t budget, unsigned limit, std::vector<statement>& out, std::vector<user_datum>& user);

 private:
  static constexpr std::size_t lanes = 3;
  struct key {
    node_id id;
    node_id accuser;  // zero unless a suspicion
    bool is_user = false;
    std::string name;  // of user data
    friend auto operator<=>(const key&, const key&) = default;
  };
  struct entry {
    statement said;
    user_datum datum;
    lane in = lane::membership;
    std::size_t size = 0;
    unsigned sent = 0;
    std::uint64_t age = 0;  // counts down: the newest of equally often sent ones goes first
  };
  using table = std::map<key, entry>;
  struct by_rank {
    bool operator()(const table::iterator& a, const table::iterator& b) const {
      return a->second.sent != b->second.sent ? a->second.sent < b->second.sent : a->second.age < b->second.age;
    }
  };
  using queue = std::set<table::iterator, by_rank>;

  void insert(key, entry);
  void erase(table::iterator);
  std::size_t take(queue&, std::size_t budget, std::vector<statement>& out, std::vector<user_datum>& user,
                   std::vector<table::iterator>& taken);

  statement_size size_of_statement_;
  user_size size_of_user_;
  std::size_t max_entries_;
  std::uint64_t next_age_ = ~std::uint64_t{0};
  std::uint64_t overflows_ = 0;
  table entries_;
  std::array<queue, lanes> queues_;
  std::array<std::size_t, lanes> credit_{};  // bytes a lane may take before the others: its saved-up shares
};

}  // namespace coterie::swim
