// Whether a lock is used is known only where its grant is kept (docs/consensus.md 2). This asks there: each node that
// holds a grant, this one too, and gathers what they say. Knows nothing of queues.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/context.hpp"
#include "engine/links.hpp"
#include "wire/peer.hpp"

namespace coterie::engine {

using inquiry_id = strong<struct inquiry_tag>;

class lock_inquiries {
 public:
  lock_inquiries(context& c, links& l) : ctx_(c), links_(l) {}

  struct finished {
    inquiry_id id;
    std::map<std::string, wire::lock_use, std::less<>>
        uses;              ///< by name; what is not held where it was asked for is missing
    bool complete = true;  ///< everybody answered in time
  };
  /// The answer comes once by take(), after 300 ms at the latest.
  inquiry_id begin(std::map<node_id, std::vector<wire::held_grant>>);
  /// Questions to this node's own callers since the last call: their replies come by on_reply() too.
  std::vector<wire::lock_question> take_own() { return std::exchange(own_, {}); }
  void on_reply(wire::lock_reply);
  void tick();
  instant next_wake() const;
  std::vector<finished> take() { return std::exchange(finished_, {}); }

 private:
  struct inquiry {
    std::size_t missing = 0;
    instant until;
    finished answer;
  };
  context& ctx_;
  links& links_;
  std::map<inquiry_id, inquiry> open_;
  std::map<std::uint64_t, inquiry_id> questions_;  // under way
  std::vector<wire::lock_question> own_;
  std::vector<finished> finished_;
  std::uint64_t last_ = 0;
};

}  // namespace coterie::engine
