// The table of members and what follows from it: names, digests, the probing ring. Knows nothing of the rules by which
// a member changes its state, nor of datagrams.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "swim/member.hpp"
#include "swim/rtt.hpp"
#include "swim/suspicion.hpp"

namespace coterie::swim {

/// One attempt to hear of a member: direct pings, then helpers and a stream beside them (SWIM 3.1).
struct probe_round {
  static constexpr std::uint64_t ids = 4;  ///< numbers used by one round: three direct pings, one for all other ways
  static constexpr unsigned max_direct = 3;

  std::uint64_t base = 0;  ///< first of its numbers, a multiple of `ids`
  instant started, deadline;
  unsigned direct = 0;
  std::array<instant, max_direct> sent{};
  std::vector<node_id> helpers;
  unsigned nacks = 0;
  bool widened = false;  ///< helpers and the stream were asked
  bool stream_acked = false;
  bool evidence = false;  ///< begun by crash evidence: everything at once, and less time
};

/// Probes without an answer since the last one that had one: evidence for people.
struct failed_probes {
  unsigned direct = 0, indirect = 0, stream = 0;
  instant since;
};

struct record {
  member m;
  node_id accuser;                    ///< of the present suspect or unreachable state
  bool seen = false;                  ///< was alive here: its end is an event
  std::uint64_t exchange_digest = 0;  ///< last heard from it
  bool second_hand = false;           ///< a tombstone of somebody never seen; it is not passed on
  instant changed;                    ///< when it took its present state
  instant heard;                      ///< when a datagram of its present life came last
  std::optional<suspicion> doubt;
  bool verdict = false;  ///< the doubt began with somebody else's verdict
  std::optional<probe_round> round;
  failed_probes failed;
  rtt_estimate rtt;
  duration retry{};             ///< present distance of probes while unreachable
  bool linked = false;          ///< a stream was up since it was last found wanting
  bool refused = false;         ///< crash evidence since the last sign of life
  bool stream_warned = false;   ///< "UDP is lost, TCP is not" was said
  bool clone_warned = false;    ///< "same id at two addresses" was said
  std::optional<instant> told;  ///< when it was last told what is believed of it, out of turn

  // Kept by the roster.
  std::string indexed_name;
  std::uint64_t view_part = 0, full_part = 0;
  bool counted_living = false, counted_gone = false, counted_unreachable = false, in_ring = false;
};

class roster {
 public:
  explicit roster(node_id self) : self_(self) {}

  record* find(node_id);
  const record* find(node_id) const;
  /// The caller fills it and calls changed().
  record& add(node_id);
  /// To be called after id, name, incarnation or state of a record changed.
  void changed(record&);
  void erase(node_id);
  /// Erases the member that left, or else became unreachable, longest ago; false when there is none.
  bool evict_one();

  std::map<node_id, record>& all() { return records_; }
  const std::map<node_id, record>& all() const { return records_; }
  std::size_t size() const { return records_.size(); }

  /// Alive or suspect, self included.
  std::size_t living() const { return living_; }
  std::size_t unreachable() const { return unreachable_; }
  std::size_t left() const { return gone_ - unreachable_; }
  /// The member that holds a name: neither left nor unreachable.
  std::optional<node_id> holder(std::string_view name) const;
  /// Order-independent digest of the ids believed alive or suspect; equal on all nodes that agree.
  std::uint64_t view_digest() const { return view_digest_; }
  /// The same of (id, incarnation, state) of everybody who has not left.
  std::uint64_t full_digest() const { return full_digest_; }
  /// Whom to probe: alive, suspect or stopping, self included, sorted by id.
  const std::vector<node_id>& ring();
  std::size_t ring_size() const { return ring_size_; }
  /// Position of self in ring(); ring() has to be called before.
  std::size_t own_rank() const { return own_rank_; }

 private:
  void take_out(record&);

  node_id self_;
  std::map<node_id, record> records_;
  std::map<std::string, node_id, std::less<>> names_;
  std::vector<node_id> ring_;
  std::size_t own_rank_ = 0, ring_size_ = 0, living_ = 0, gone_ = 0, unreachable_ = 0;
  bool ring_stale_ = true;
  std::uint64_t view_digest_ = 0, full_digest_ = 0;
};

}  // namespace coterie::swim
