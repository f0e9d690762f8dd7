// Makes a history that is not linearizable small enough to understand.
//
// Leaving operations out at will would make failures up: without its write, any read is wrong. Only what keeps this
// implication is done: if the history were linearizable, so would be what is left of it.
//
//  - Cut at an instant: what was called later goes; what had not returned by then becomes optional: it took effect,
//  with
//    the output it had, or never did. Linearizability is prefix-closed.
//  - Make an operation optional. That only allows more.
//  - Drop an optional operation that never changes the state: it can be left out of any linearization.
//
// The shortest failing cut is found by bisection. Then as many operations as possible become optional while it still
// fails: all but the last few, and then groups of them, large ones first (Zeller & Hildebrandt 2002, ddmin). Those that
// remain contradict each other whatever came of all others. Those optional ones that the longest beginning of their
// linearization goes through belong to the story: the writes that explain what the others saw.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "linearizability/search.hpp"

namespace coterie::linearizability {

/// Why a history has no linearization. Places are those in the list of operations.
struct contradiction {
  std::vector<std::size_t> core;  ///< these contradict each other, whatever came of the others
  std::vector<std::size_t> used;  ///< and these explain the core, as far as it can be explained
  std::vector<std::size_t>
      path;  ///< the longest beginning of a linearization of the whole, up to the shortest failing cut
  std::vector<std::size_t> open;  ///< the operations that could come next there, and none of them can
};

/// What the search needs to know of the operations of a key that the model `m` has just read.
template <class M>
std::vector<item<typename M::op>> items_of(const std::vector<translated<typename M::op>>& translation,
                                           const operation_list& operations) {
  std::vector<item<typename M::op>> items;
  items.reserve(translation.size());
  for (const auto& t : translation) {
    const operation& o = *operations[t.place];
    items.push_back({t.op, o.call, t.required ? *o.returned : item<typename M::op>::never, t.required, t.place});
  }
  return items;
}

/// Finds a small contradiction in the operations of one key, which M can read and which have no linearization.
template <class M>
class explainer {
 public:
  /// `l.steps` is for everything together; with little of it the contradiction is just larger.
  explainer(const operation_list& operations, const limits& l)
      : operations_(operations), limits_(l), steps_left_(l.steps), observes_(operations.size()) {}

  /// The search got as far as the return `furthest`.
  contradiction explain(std::int64_t furthest) {
    subset rest = everything();
    shorten(rest, furthest);
    contradiction c;
    auto beginning = explained(rest);
    c.path = std::move(beginning.path);
    c.open = std::move(beginning.open);
    keep_last(rest);
    for (std::size_t group = required(rest).size() / 2; group > 0; group /= 2)
      while (loosen(rest, group) && group == 1) {
      }
    for (const auto i : required(rest)) c.core.push_back(rest[i].place);
    for (const auto place : explained(rest).path)
      if (std::find(c.core.begin(), c.core.end(), place) == c.core.end()) c.used.push_back(place);
    return c;
  }

 private:
  struct part {
    std::size_t place;
    bool required;
  };
  using subset = std::vector<part>;

  subset everything() {
    M m;
    subset all;
    const auto translation = m.prepare(operations_);
    for (const auto& t : *translation) {
      observes_[t.place] = M::observes(t.op);
      if (t.required || !observes_[t.place]) all.push_back({t.place, t.required});
    }
    return all;
  }

  // Read anew: what fewer operations can tell apart are fewer states.
  std::vector<item<typename M::op>> items(M& m, const subset& some) const {
    operation_list list;
    for (const auto& p : some) list.push_back(operations_[p.place]);
    auto result = items_of<M>(*m.prepare(list), list);
    for (auto& x : result) {
      x.required = some[x.place].required;
      x.place = some[x.place].place;
    }
    return result;
  }

  // Indices, by return.
  std::vector<std::size_t> required(const subset& some) const {
    std::vector<std::size_t> list;
    for (std::size_t i = 0; i < some.size(); ++i)
      if (some[i].required) list.push_back(i);
    std::stable_sort(list.begin(), list.end(),
                     [&](std::size_t a, std::size_t b) { return returned(some[a]) < returned(some[b]); });
    return list;
  }
  std::int64_t returned(const part& p) const { return *operations_[p.place]->returned; }

  bool fails(const subset& some) {
    if (steps_left_ == 0) return false;
    limits l = limits_;
    l.steps = std::min<std::uint64_t>(steps_left_, limits_.steps / 8 + 1);
    M m;
    const auto r = find_linearization<M>(m, items(m, some), l);
    steps_left_ -= std::min<std::uint64_t>(steps_left_, r.steps + some.size());
    return r.what == outcome::none;
  }

  // A search that keeps the longest beginning.
  search_result explained(const subset& some) const {
    limits l = limits_;
    l.steps = limits_.steps / 4;
    M m;
    return find_linearization<M>(m, items(m, some), l, search_mode::explain);
  }

  void drop_idle(subset& some) const {
    std::erase_if(some, [this](const part& p) { return !p.required && observes_[p.place]; });
  }

  subset cut(const subset& some, std::int64_t at) const {
    subset result;
    for (auto p : some) {
      if (operations_[p.place]->call > at) continue;
      p.required = p.required && returned(p) <= at;
      result.push_back(p);
    }
    drop_idle(result);
    return result;
  }

  void shorten(subset& some, std::int64_t furthest) {
    std::vector<std::int64_t> returns;
    for (const auto i : required(some)) returns.push_back(returned(some[i]));
    returns.erase(std::unique(returns.begin(), returns.end()), returns.end());
    // the search may have turned back because of what was still to come
    const auto first = std::upper_bound(returns.begin(), returns.end(), furthest);
    if (first != returns.begin() && first != returns.end() && fails(cut(some, *(first - 1))))
      returns.erase(first, returns.end());
    if (returns.empty()) return;
    std::size_t low = 0, high = returns.size() - 1;  // the cut at returns[high] fails
    while (low < high) {
      const auto middle = low + (high - low) / 2;
      if (fails(cut(some, returns[middle]))) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    some = cut(some, returns[high]);
  }

  // With the required ones of list[begin, end) optional.
  subset loosened(const subset& some, const std::vector<std::size_t>& list, std::size_t begin, std::size_t end) const {
    subset result = some;
    for (auto i = begin; i < end; ++i) result[list[i]].required = false;
    drop_idle(result);
    return result;
  }

  void keep_last(subset& some) {
    const auto list = required(some);
    for (std::size_t keep = 1; keep < list.size(); keep *= 2) {
      auto trial = loosened(some, list, 0, list.size() - keep);
      if (!fails(trial)) continue;
      some = std::move(trial);
      return;
    }
  }

  // Whether anything came of it.
  bool loosen(subset& some, std::size_t group) {
    bool any = false;
    for (std::size_t begin = 0;;) {
      const auto list = required(some);
      if (begin >= list.size()) return any;
      auto trial = loosened(some, list, begin, std::min(begin + group, list.size()));
      if (fails(trial)) {
        some = std::move(trial);
        any = true;
      } else {
        begin += group;
      }
    }
  }

  const operation_list& operations_;
  const limits limits_;
  std::uint64_t steps_left_;
  std::vector<bool> observes_;  // by place
};

}  // namespace coterie::linearizability
