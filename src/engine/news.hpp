// The news of this node (what `coterie events` shows): a bounded ring that streams follow. Knows nothing of where they
// come from. Not the events of the seam, which are what the engine is told.
#pragma once

#include <deque>
#include <map>
#include <string>

#include "engine/context.hpp"

namespace coterie::engine {

class news {
 public:
  explicit news(context& c) : ctx_(c) {}

  void say(std::string kind, std::map<std::string, std::string> fields) {
    ring_.push_back({++last_, ctx_.now.wall, std::move(kind), std::move(fields)});
    bytes_ += size_of(ring_.back());
    while (ring_.size() > ctx_.opt->max_events || (bytes_ > max_bytes && ring_.size() > 1)) {
      bytes_ -= size_of(ring_.front());
      ring_.pop_front();
    }
    for (const auto& [id, since] : followers_)
      if (last_ > since) ctx_.reply(id, ring_.back(), false);
  }
  void follow(call_id id, const wire::follow_events& f) {
    for (const auto& e : ring_)
      if (e.index > f.since) ctx_.reply(id, e, false);
    if (f.follow)
      followers_[id] = f.since;
    else
      ctx_.reply(id, wire::done{});
  }
  void cancel(call_id id) { followers_.erase(id); }

 private:
  static constexpr std::size_t max_bytes = 4u << 20;  // some events have a key of a user's in them
  static std::size_t size_of(const wire::event_out& e) {
    std::size_t n = sizeof e + e.kind.size();
    for (const auto& [key, value] : e.fields) n += key.size() + value.size();
    return n;
  }

  context& ctx_;
  std::uint64_t last_ = 0;
  std::size_t bytes_ = 0;
  std::deque<wire::event_out> ring_;
  std::map<call_id, std::uint64_t> followers_;
};

}  // namespace coterie::engine
