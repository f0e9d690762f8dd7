// One member as this node sees it.
#pragma once

#include <cstdint>
#include <optional>

#include "swim/types.hpp"

namespace coterie::swim {

struct member {
  member_info info;
  incarnation inc;
  member_state state = member_state::alive;
  wall_time since;                ///< when this node learnt of the present state
  std::optional<duration> rtt;    ///< smoothed, of direct probes
  coordinate place;               ///< as it last said
  std::uint64_t view_digest = 0;  ///< last heard from it
};

}  // namespace coterie::swim
