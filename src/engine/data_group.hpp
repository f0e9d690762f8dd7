// A group that holds what is sharded by name (docs/consensus.md 1.10), as one node has it: its log, what this node
// wants in it, and how it comes to nodes outside the configuration. Who is a member and which sessions live the meta
// group says, whose state stands beside it.
#pragma once

#include "engine/outbox.hpp"
#include "engine/relay.hpp"
#include "engine/relay_up.hpp"
#include "engine/replica.hpp"

namespace coterie::engine {

struct data_group {
  data_group(context& c, links& l, disk_queue& d, group_id g, const recovered_group& r, machine::machine m)
      : replica(c, l, d, g, r, std::move(m)), outbox(c, l, g), relay(c, l, g), relay_up(c, l, g) {}

  coterie::engine::replica replica;
  coterie::engine::outbox outbox;
  coterie::engine::relay relay;
  coterie::engine::relay_up relay_up;
  bool parents_due = true;  ///< members or the configuration changed since the relay was told its parents

  // As its leader.
  term led_term;
  log_index last_duty;  ///< wait until it is applied
  instant next_lead = instant::min(), next_spread = never;
  node_id shown_leader;
};

/// What is the same in all groups, the meta group included.
struct group_parts {
  coterie::engine::replica& replica;
  coterie::engine::outbox& outbox;
  coterie::engine::relay& relay;
  coterie::engine::relay_up& relay_up;
  bool& parents_due;
};

}  // namespace coterie::engine
