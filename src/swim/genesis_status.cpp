// What genesis is waiting for, as one sentence for people. Decides nothing.
#include <algorithm>

#include "swim/genesis.hpp"

namespace coterie::swim {
namespace {

template <class T, class F>
std::string join(const std::vector<T>& items, F&& text) {
  std::string out;
  for (const T& i : items) out += (out.empty() ? "" : ", ") + text(i);
  return out;
}

}  // namespace

std::string genesis::show(const std::vector<address>& list) {
  return join(list, [](const address& a) { return a.str(); });
}

std::vector<address> genesis::waiting_for() const {
  std::vector<address> out;
  if (state_.committed && !state_.committed->lists(self_)) return out;
  for (const slot& s : slots_) {
    if (state_.committed ? !s.own && !s.acknowledged : !s.dropped && !s.answers()) out.push_back(s.at);
  }
  return out;
}

std::string genesis::situation() const {
  if (!fatal_.empty()) return fatal_;
  if (!state_.committed) return forming_situation();
  if (!formed_) return fmt::format("cluster {} is being written to disk", state_.id.short_str());
  const auto missing = waiting_for();
  if (missing.empty()) return fmt::format("in cluster {}", state_.id.short_str());
  return fmt::format("in cluster {}, not acknowledged yet by {}", state_.id.short_str(), show(missing));
}

std::string genesis::forming_situation() const {
  if (found_) return fmt::format("found cluster {} at {}, joining it", found_->id.short_str(), found_->where);
  if (auto text = conflict(); !text.empty()) return text + held_record();
  const auto missing = waiting_for();
  if (!missing.empty()) {
    const auto wanted = std::count_if(slots_.begin(), slots_.end(), [](const slot& s) { return !s.dropped; });
    std::string text = fmt::format("seeds {} of {} answer, waiting for {}",
                                   wanted - static_cast<std::ptrdiff_t>(missing.size()), wanted, show(missing));
    for (const slot& s : slots_) {
      if (!s.answers() && !s.refusal.empty()) text += fmt::format("; {} {}", s.at.str(), s.refusal);
    }
    return text + held_record();
  }
  if (auto text = dead_record(); !text.empty()) return text;
  if (opt_.bootstrap_single && state_.accepted) {
    return fmt::format("holds the accepted record {} of a longer seed list: `cluster init --discard {}` erases it",
                       state_.accepted->id().short_str(), state_.accepted->id().str());
  }
  const bool seed = std::any_of(slots_.begin(), slots_.end(), [](const slot& s) { return s.own && !s.dropped; });
  if (!seed) return "all seeds answer, this node is none of them: waiting for their cluster to join it";
  if (slots_.size() == 1) return "the only seed is this node itself: a cluster of one needs --bootstrap single";
  if (!attempt_) return fmt::format("all {} seeds answer, about to agree", slots_.size());
  if (attempt_->proposed) return fmt::format("ballot {}: waiting for a majority to accept", attempt_->b.round);
  std::vector<node_id> silent;
  for (const node_id id : attempt_->ids) {
    if (id && !attempt_->promises.count(id)) silent.push_back(id);
  }
  return fmt::format("ballot {}: waiting for the promise of {}", attempt_->b.round,
                     join(silent, [](node_id id) { return id.short_str(); }));
}

/// Answers that exclude each other: two slots one process, lists that differ.
std::string genesis::conflict() const {
  std::map<node_id, address> seen;
  for (const slot& s : slots_) {
    if (!s.answers()) continue;
    const node_id id = s.own ? self_ : s.answer->id;
    const auto [it, fresh] = seen.try_emplace(id, s.at);
    if (!fresh) {
      return fmt::format("refused: seeds {} and {} are one process (node {}): list each node once", it->second.str(),
                         s.at.str(), id.str());
    }
  }
  for (const slot& s : slots_) {
    if (s.dropped || !s.answer || s.answer->digest == digest_) continue;
    return fmt::format("seed lists differ: here [{}], at {} [{}]: make them equal", show(list_), s.at.str(),
                       show(s.answer->seeds));
  }
  return {};
}

/// Beside what is waited for: what has to be finished then.
std::string genesis::held_record() const {
  return state_.accepted ? fmt::format("; the accepted record {} is held here", state_.accepted->id().str()) : "";
}

/// An accepted record must be finished before anything else; say so when those who could are gone.
std::string genesis::dead_record() const {
  const auto& r = state_.accepted ? state_.accepted : blocked_;
  if (!r) return {};
  if (!same_list(*r)) {
    return fmt::format(
        "record {} was accepted for another seed list: restore that list, or erase it with `cluster "
        "init --discard {}`",
        r->id().short_str(), r->id().str());
  }
  std::vector<node_id> dead;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    const node_id id = r->seeds[i].id;
    const node_id now = slots_[i].own ? self_ : slots_[i].answer ? slots_[i].answer->id : node_id{};
    if (id && id != now) dead.push_back(id);
  }
  const auto listed = static_cast<std::size_t>(
      std::count_if(r->seeds.begin(), r->seeds.end(), [](const seed_slot& s) { return static_cast<bool>(s.id); }));
  if (listed >= dead.size() + majority()) return {};
  return fmt::format(
      "record {} was accepted, but too many of the nodes it lists are gone ({}): bring them back, or "
      "erase it with `cluster init --discard {}`",
      r->id().short_str(), join(dead, [](node_id id) { return id.str(); }), r->id().str());
}

}  // namespace coterie::swim
