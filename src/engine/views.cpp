#include "engine/views.hpp"

#include <algorithm>
#include <set>

namespace coterie::engine {

namespace {
constexpr std::size_t max_kept = 16;
}

void view_cut::on_event(const swim::event& e, instant now) {
  const auto who = e.who.info.id;
  if (!swim::is_living(e.who.state) || e.kind == swim::event_kind::joined) suspicions_.erase(who);
  if (e.kind != swim::event_kind::suspect) return;
  auto& all = suspicions_[who];
  all.emplace_back(now, e.accuser);
  if (all.size() > max_kept) all.pop_front();
}

view_cut::doubts view_cut::doubts_of(node_id who, instant now) {
  const auto it = suspicions_.find(who);
  if (it == suspicions_.end()) return {};
  auto& all = it->second;
  while (!all.empty() && now - all.front().first >= rules_.memory) all.pop_front();
  if (all.empty()) {
    suspicions_.erase(it);
    return {};
  }
  std::set<node_id> accusers;
  for (const auto& [when, by] : all) accusers.insert(by);
  return {true, all.size() >= rules_.unsteady_after && accusers.size() >= rules_.accusers};
}

void view_cut::start_over() {
  begun_.reset();
  failed_.clear();
  back_.clear();
}

std::optional<machine::change_view> view_cut::next(const std::vector<sighting>& members, instant now) {
  std::vector<node_id> failed, back;
  bool doubt = false;
  for (const auto& m : members) {
    if (!m.seen) continue;
    const auto past = doubts_of(m.id, now);
    if (m.failed && swim::is_living(*m.seen) && !past.any) back.push_back(m.id);
    if (m.failed || m.stopped) continue;
    if (*m.seen == swim::member_state::unreachable || past.unsteady) failed.push_back(m.id);
    doubt |= *m.seen == swim::member_state::suspect && !past.unsteady;
  }
  if (failed.empty() && back.empty()) {
    start_over();
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
