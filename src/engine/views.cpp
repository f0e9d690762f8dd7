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

void view_cut::forget_old(instant now) {
  for (auto& [who, x] : signs_) {
    while (!x.suspicions.empty() && now - x.suspicions.front().first >= rules_.memory) x.suspicions.pop_front();
    std::erase_if(x.missed, [&](const auto& m) { return now - m.second >= rules_.missed_within; });
  }
  std::erase_if(signs_, [](const auto& x) { return x.second.suspicions.empty() && x.second.missed.empty(); });
}

/// How many had a ping to a member in vain: half of the members come to less, or to that.
std::size_t view_cut::usually_missed(const std::vector<sighting>& members) const {
  std::vector<std::size_t> all;
  for (const auto& m : members) {
    const auto it = signs_.find(m.id);
    all.push_back(it == signs_.end() ? 0 : it->second.missed.size());
  }
  if (all.empty()) return 0;
  const auto half = all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2);
  std::ranges::nth_element(all, half);
  return *half;
}

view_cut::doubts view_cut::doubts_of(node_id who, std::size_t missed_limit) const {
  const auto it = signs_.find(who);
  if (it == signs_.end()) return {};
  const auto& [suspicions, missed] = it->second;
  std::set<node_id> accusers;
  for (const auto& [when, by] : suspicions) accusers.insert(by);
  const bool flaps = suspicions.size() >= rules_.unsteady_after && accusers.size() >= rules_.accusers;
  const bool lossy = missed.size() >= missed_limit;
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
  forget_old(now);
  const auto missed_limit = std::max(rules_.missed_by, rules_.missed_factor * usually_missed(members));
  for (const auto& m : members) {
    if (!m.seen) continue;
    const auto past = doubts_of(m.id, missed_limit);
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
