#include "engine/lock_inquiries.hpp"

#include <algorithm>

namespace coterie::engine {

namespace {
constexpr duration inquiry_patience = 300ms;
constexpr std::size_t grants_a_question = 1'000;
}  // namespace

inquiry_id lock_inquiries::begin(std::map<node_id, std::vector<wire::held_grant>> where) {
  const inquiry_id id(++last_);
  auto& open = open_[id];
  open.until = ctx_.now.steady + inquiry_patience;
  open.answer.id = id;
  for (auto& [node, grants] : where) {
    for (std::size_t i = 0; i < grants.size(); i += grants_a_question) {
      const auto n = std::min(grants_a_question, grants.size() - i);
      wire::lock_question q{++last_, {}};
      q.grants.assign(std::make_move_iterator(grants.begin() + static_cast<std::ptrdiff_t>(i)),
                      std::make_move_iterator(grants.begin() + static_cast<std::ptrdiff_t>(i + n)));
      const auto number = q.id;
      if (node == ctx_.self) {
        own_.push_back(std::move(q));
      } else if (!links_.send(node, std::move(q))) {
        open.answer.complete = false;
        continue;
      }
      questions_[number] = id;
      ++open.missing;
    }
  }
  if (open.missing == 0) open.until = ctx_.now.steady;
  return id;
}

void lock_inquiries::on_reply(wire::lock_reply r) {
  const auto q = questions_.extract(r.id);
  if (!q) return;  // too late
  const auto it = open_.find(q.mapped());
  for (auto& u : r.uses) it->second.answer.uses[u.name] = std::move(u);
  if (--it->second.missing > 0) return;
  finished_.push_back(std::move(it->second.answer));
  open_.erase(it);
}

void lock_inquiries::tick() {
  for (auto it = open_.begin(); it != open_.end();) {
    if (ctx_.now.steady < it->second.until) {
      ++it;
      continue;
    }
    if (it->second.missing > 0) it->second.answer.complete = false;
    std::erase_if(questions_, [&](const auto& q) { return q.second == it->first; });
    finished_.push_back(std::move(it->second.answer));
    it = open_.erase(it);
  }
}

instant lock_inquiries::next_wake() const {
  auto t = never;
  for (const auto& [id, i] : open_) t = std::min(t, i.until);
  return t;
}

}  // namespace coterie::engine
