#include "engine/views.hpp"

#include <algorithm>

namespace coterie::engine {

std::optional<machine::change_view> view_cut::next(const std::vector<sighting>& members, instant now) {
  std::vector<node_id> failed, back;
  bool doubt = false;
  for (const auto& m : members) {
    if (!m.seen) continue;
    if (m.failed && swim::is_living(*m.seen)) back.push_back(m.id);
    if (!m.failed && !m.stopped && *m.seen == swim::member_state::unreachable) failed.push_back(m.id);
    doubt |= !m.failed && *m.seen == swim::member_state::suspect;
  }
  if (failed.empty() && back.empty()) {
    begun_.reset();
    failed_.clear();
    back_.clear();
    return std::nullopt;
  }
  if (!begun_) begun_ = now;
  if (failed != failed_ || back != back_) {
    failed_ = std::move(failed);
    back_ = std::move(back);
    last_ = now;
  }
  const bool settled = !doubt && now >= last_ + rules_.settled_after;
  if (!settled && now < *begun_ + rules_.longest) return std::nullopt;
  return machine::change_view{failed_, back_};
}

}  // namespace coterie::engine
