#include "swim/types.hpp"

namespace coterie::swim {

const char* to_string(member_state s) {
  switch (s) {
    case member_state::alive:
      return "alive";
    case member_state::suspect:
      return "suspect";
    case member_state::stopping:
      return "stopping";
    case member_state::unreachable:
      return "unreachable";
    case member_state::left:
      return "left";
  }
  return "?";
}

}  // namespace coterie::swim
