// Which members the next view calls failed, and which back (docs/membership.md 1): gossip's verdicts, gathered so that
// failures with one cause make one view (Rapid, ATC 2018). Knows nothing of the log.
#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "base/time.hpp"
#include "machine/types.hpp"
#include "swim/membership.hpp"

namespace coterie::engine {

struct view_rules {
  duration settled_after = 500ms;  ///< no verdict for so long, and nobody in doubt: the cut is complete
  duration longest = 3s;           ///< what is known then goes out, however unsettled
  /// A member that loses most of what it sends or receives refutes each suspicion in the end. It is unsteady, and has
  /// failed too, when it was suspected so often within this time, by so many (one alone may have bad links itself); it
  /// is back when it was not suspected for that long.
  std::size_t unsteady_after = 3;
  std::size_t accusers = 2;
  duration memory = 30s;
  /// One that loses most datagrams of one direction is seldom suspected: helpers find it alive. It is unsteady, too,
  /// when so many had their first ping to it unanswered within this time, and so many times as many as half of the
  /// members come to (in a network that loses a tenth of everything one ping of five is).
  std::size_t missed_by = 12, missed_factor = 4;
  duration missed_within = 28s;
};

/// One member of the registry, as the leader sees it.
struct sighting {
  node_id id;
  bool failed = false;                     ///< by the present view
  bool stopped = false;                    ///< it went in order
  std::optional<swim::member_state> seen;  ///< by gossip; nullopt = never met, which says nothing
};

class view_cut {
 public:
  explicit view_cut(view_rules r) : rules_(r) {}
  /// A suspicion is remembered. One that ends in a verdict, or is of a former life, says nothing any more.
  void on_event(const swim::event&, instant now);
  /// A ping to `whom` was not answered in time.
  void on_unanswered(node_id by, node_id whom, instant now);
  /// For a new leader: what was gathered while it led before is gathered anew.
  void start_over();
  /// The change to propose now, if it is time for one; the same again until the sightings say that it was made.
  std::optional<machine::change_view> next(const std::vector<sighting>&, instant now);

 private:
  struct doubts {
    bool any = false, unsteady = false;
  };
  struct signs {
    std::deque<std::pair<instant, node_id>> suspicions;  // with their accusers, oldest first
    std::map<node_id, instant> missed;                   // whose ping was last unanswered when
  };
  void forget_old(instant now);
  std::size_t usually_missed(const std::vector<sighting>&) const;
  doubts doubts_of(node_id, std::size_t missed_limit) const;

  view_rules rules_;
  std::map<node_id, signs> signs_;
  std::vector<node_id> failed_, back_;  // what would change, as of the last call
  std::optional<instant> begun_;        // when something first was to change
  instant last_;                        // when that became more or less
};

}  // namespace coterie::engine
