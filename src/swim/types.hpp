// Membership as plain data: members, statements about them, datagrams. Knows nothing of Raft, services, sockets or
// disks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/address.hpp"
#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "base/ids.hpp"
#include "base/time.hpp"
#include "swim/coordinate.hpp"

namespace coterie::swim {

/// Gossip's verdict; ordered by strength at equal incarnation: a later one overrides an earlier one (docs/membership.md
/// 1). stopping and left are said only by the node itself; a stopping node becomes unreachable once it has stopped.
enum class member_state : std::uint8_t { alive, suspect, stopping, unreachable, left };
const char* to_string(member_state);
constexpr bool is_living(member_state s) { return s == member_state::alive || s == member_state::suspect; }
constexpr bool is_gone(member_state s) { return s == member_state::unreachable || s == member_state::left; }

using tag_map = std::map<std::string, std::string>;

/// What a node says about itself; changed only by raising its own incarnation.
struct member_info {
  node_id id;
  std::string name;
  address at;           ///< advertised, UDP and TCP
  std::string version;  ///< of the software
  std::uint16_t protocol_min = 1, protocol_max = 1;
  tag_map tags;
  friend bool operator==(const member_info&, const member_info&) = default;
};

/// A statement that travels by gossip. `accuser` is set for suspect and unreachable.
struct statement {
  member_info info;
  incarnation inc;
  member_state state = member_state::alive;
  node_id accuser;
  friend bool operator==(const statement&, const statement&) = default;
};

/// User data that rides on gossip: one small value per (origin, key), the newest version wins. Cache digests use it.
struct user_datum {
  node_id origin;
  boot_epoch epoch;
  std::string key;
  std::uint64_t version = 0;
  shared_bytes value;
  friend bool operator==(const user_datum&, const user_datum&) = default;
};

/// Whose gossip may meet (docs/membership.md, Isolation): nodes with one cluster name and one id, or, as long as one of
/// them has none, one seed list.
struct scope {
  std::string cluster;      ///< name
  cluster_id id;            ///< zero = not known yet
  std::uint64_t seeds = 0;  ///< digest of the seed list; zero = none: gossip alone, which has no genesis
  bool meets(const scope& o) const { return cluster == o.cluster && (id && o.id ? id == o.id : seeds == o.seeds); }
  friend bool operator==(const scope&, const scope&) = default;
};

struct ping {
  std::uint64_t probe = 0;
  node_id target;  ///< a ping for somebody else (a reused address) is not answered
};
struct ack {
  std::uint64_t probe = 0;
};
/// Please probe `target` at `at` and tell me (SWIM 3.1, ping-req). Answered by indirect_ack or, early, by indirect_nack
/// (Lifeguard 3).
struct ping_request {
  std::uint64_t probe = 0;
  node_id target;
  address at;
};
struct indirect_ack {
  std::uint64_t probe = 0;
  node_id target;
};
struct indirect_nack {
  std::uint64_t probe = 0;
  node_id target;
};
struct gossip_only {};

/// One UDP datagram, at most options.max_datagram bytes when encoded. One of another scope is counted and dropped.
struct datagram {
  scope of;
  node_id from;
  boot_epoch epoch;
  std::uint64_t view_digest = 0;  ///< of the ids that the sender believes alive or suspect, itself included
  std::variant<ping, ack, ping_request, indirect_ack, indirect_nack, gossip_only> body;
  std::vector<statement> statements;
  std::vector<user_datum> user;
  coordinate place{};                 ///< of the sender
  std::uint64_t exchange_digest = 0;  ///< of all that views are compared by, as in push_pull; zero = not told
};

/// Push-pull over a stream (SWIM/memberlist anti-entropy), a question and its answer. A bare question is answered by
/// the digest, and when views differ by the digests of ranges of ids. The next question then carries those of its
/// sender with its part of the ranges that differ, the answer what the other side has there beyond that. A question
/// with statements and without ranges carries the whole view, and asks for everything.
struct push_pull {
  bool answer = false;
  node_id from;
  std::uint64_t view_digest = 0;      ///< of (id, incarnation, state) and user data: the exchange_digest of datagrams
  std::vector<std::uint64_t> ranges;  ///< of the same, by range_of(): none, or view_ranges of them
  std::vector<statement> statements;
  std::vector<user_datum> user;
};

inline constexpr std::size_t view_ranges = 64;
/// In which of them a member is, and what it says.
constexpr std::size_t range_of(node_id id) { return ((id.hi ^ id.lo) * 0x9e3779b97f4a7c15ull) >> 58; }

/// A TCP probe and its echo, sent on a peer stream beside the indirect probes.
struct stream_ping {
  std::uint64_t probe = 0;
  node_id target;
};
struct stream_ack {
  std::uint64_t probe = 0;
  node_id from;
};

}  // namespace coterie::swim
