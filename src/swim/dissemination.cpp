#include "swim/dissemination.hpp"

#include <algorithm>
#include <utility>

namespace coterie::swim {

namespace {
constexpr std::array<std::size_t, 3> share_percent{40, 35, 25};
constexpr std::size_t max_misfits = 32;  // entries looked at that do not fit, so that one datagram is bounded work
}  // namespace

dissemination::dissemination(statement_size s, user_size u, std::size_t max_entries)
    : size_of_statement_(s), size_of_user_(u), max_entries_(std::max<std::size_t>(max_entries, 1)) {}

void dissemination::put(const statement& s, lane in) {
  drop(s.info.id, false);
  entry e;
  e.said = s;
  e.in = in;
  e.size = size_of_statement_(s);
  insert({s.info.id, s.state == member_state::suspect ? s.accuser : node_id{}, false, {}}, std::move(e));
}

void dissemination::add_accusation(const statement& s) {
  entry e;
  e.said = s;
  e.in = lane::membership;
  e.size = size_of_statement_(s);
  insert({s.info.id, s.accuser, false, {}}, std::move(e));
}

void dissemination::put(const user_datum& u) {
  entry e;
  e.datum = u;
  e.in = lane::user;
  e.size = size_of_user_(u);
  insert({u.origin, {}, true, u.key}, std::move(e));
}

void dissemination::drop(node_id id, bool user_data_too) {
  for (auto it = entries_.lower_bound({id, {}, false, {}}); it != entries_.end() && it->first.id == id;) {
    const auto at = it++;
    if (user_data_too || !at->first.is_user) erase(at);
  }
}

void dissemination::insert(key k, entry e) {
  if (const auto old = entries_.find(k); old != entries_.end()) erase(old);
  auto& q = queues_[static_cast<std::size_t>(e.in)];
  if (entries_.size() >= max_entries_) {
    ++overflows_;
    if (q.empty()) return;
    erase(*std::prev(q.end()));
  }
  e.age = next_age_--;
  q.insert(entries_.emplace(std::move(k), std::move(e)).first);
}

void dissemination::erase(table::iterator it) {
  queues_[static_cast<std::size_t>(it->second.in)].erase(it);
  entries_.erase(it);
}

bool dissemination::unsent() const {
  return std::any_of(queues_.begin(), queues_.end(),
                     [](const queue& q) { return !q.empty() && (*q.begin())->second.sent == 0; });
}

std::size_t dissemination::take(queue& q, std::size_t budget, std::vector<statement>& out,
                                std::vector<user_datum>& user, std::vector<table::iterator>& taken) {
  std::size_t used = 0, misfits = 0;
  for (auto it = q.begin(); it != q.end() && misfits < max_misfits;) {
    const auto at = *it;
    const entry& e = at->second;
    const bool told = !at->first.is_user && std::any_of(out.begin(), out.end(), [&](const statement& s) {
      return s.info.id == e.said.info.id && s.accuser == e.said.accuser;
    });
    if (told || e.size > budget - used) {
      ++misfits;
      ++it;
      continue;
    }
    used += e.size;
    if (at->first.is_user) {
      user.push_back(e.datum);
    } else {
      out.push_back(e.said);
    }
    taken.push_back(at);
    it = q.erase(it);
  }
  return used;
}

std::size_t dissemination::fill(std::size_t budget, unsigned limit, std::vector<statement>& out,
                                std::vector<user_datum>& user) {
  if (entries_.empty()) return 0;
  std::vector<table::iterator> taken;
  std::size_t left = budget;
  std::array<std::size_t, lanes> order{0, 1, 2};
  for (const auto i : order) {
    credit_[i] = queues_[i].empty() ? 0 : std::min(credit_[i] + budget * share_percent[i] / 100, budget);
  }
  // First what each lane is entitled to. Who saved most, because its next piece is larger than a share, goes first.
  std::stable_sort(order.begin(), order.end(), [&](std::size_t x, std::size_t y) { return credit_[x] > credit_[y]; });
  for (const auto i : order) {
    const auto used = take(queues_[i], std::min(credit_[i], left), out, user, taken);
    credit_[i] -= used;
    left -= used;
  }
  for (auto& q : queues_) left -= take(q, left, out, user, taken);
  for (const auto at : taken) {
    if (++at->second.sent >= limit) {
      entries_.erase(at);
    } else {
      queues_[static_cast<std::size_t>(at->second.in)].insert(at);
    }
  }
  return budget - left;
}

}  // namespace coterie::swim
