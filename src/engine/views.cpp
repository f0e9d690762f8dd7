#include "engine/views.hpp"

#include <algorithm>
#include <set>

namespace coterie::engine {

namespace {
constexpr std::size_t max_suspicions = 16, max_missed = 64;
}

void view_cut::on_event(const swim::event& e, instant now) {
  const auto who = e.who.info.id;
  if (!swim::is_living(e.who.state) || e.kind == swim::event_kind::joined) signs_.erase(who);
  if (e.kind != swim::event_kind::suspect) return;
  auto& all = signs_[who].suspicions;
  all.emplace_back(now, e.accuser);
  if (all.size() > max_suspicions) all.pop_front();
}

void view_cut::on_unanswered(node_id by, node_id whom, instant now) {
  auto& missed = signs_[whom].missed;
  if (missed.size() < max_missed || missed.contains(by)) missed[by] = now;
}

view_cut::doubts view_cut::doubts_of(node_id who, instant now) {
  const auto it = signs_.find(who);
  if (it == signs_.end()) return {};
  auto& [suspicions, missed] = it->second;
  while (!suspicions.empty() && now - suspicions.front().first >= rules_.memory) suspicions.pop_front();
  std::erase_if(missed, [&](const auto& m) { return now - m.second >= rules_.missed_within; });
  if (suspicions.empty() && missed.empty()) {
    signs_.erase(it);
    return {};
  }
  std::set<node_id> accusers;
  for (const auto& [when, by] : suspicions) accusers.insert(by);
  const bool flaps = suspicions.size() >= rules_.unsteady_after && accusers.size() >= rules_.accusers;
  const bool lossy = missed.size() >= (suspicions.empty() ? rules_.missed_by : rules_.missed_when_suspected);
  return {lossy || !suspicions.empty(), flaps || lossy};
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
