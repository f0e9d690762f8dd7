// What does not change during a search: which operations are open at which return.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "linearizability/models.hpp"

namespace coterie::linearizability {

/// An operation as the search sees it.
template <class Op>
struct item {
  static constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();
  Op op;
  std::int64_t call = 0;
  std::int64_t returned = never;  ///< never: it may take effect at any time from `call` on
  bool required = false;          ///< it did take effect, before it returned; otherwise perhaps
  std::size_t place = 0;          ///< the caller's name for it
};

namespace detail {

// The operations that return by their return, the others by kind. "Required" are here all that return; those that may
// be skipped are marked.
template <class M>
struct problem {
  using op = typename M::op;
  struct required_op {
    op what;
    std::uint32_t rank;  // of its call: it is open once this many returns are past
    std::uint32_t slot;  // its bit in a mask
    std::size_t place;
    std::int64_t returned;
    bool skippable;
    bool idle;  // surely took effect, overwrites, and nobody saw what it wrote
  };
  // Operations of unknown outcome that are equal.
  struct optional_class {
    op what;
    std::vector<std::uint32_t> ranks;  // rising
    std::vector<std::size_t> places;
    bool overwrites;
    std::uint32_t opened(std::uint32_t at) const {
      return static_cast<std::uint32_t>(std::upper_bound(ranks.begin(), ranks.end(), at) - ranks.begin());
    }
  };

  std::vector<required_op> required;   // by return
  std::vector<std::uint32_t> by_rank;  // indices of required
  std::vector<std::uint32_t> rank_begin;
  std::vector<optional_class> optional;  // by their first call
  std::size_t slots = 0;
  std::vector<std::uint32_t> skippable_slots;  // used by nothing else

  std::span<const std::uint32_t> opened_at(std::uint32_t rank) const {
    return std::span(by_rank).subspan(rank_begin[rank], rank_begin[rank + 1] - rank_begin[rank]);
  }

  problem(const M& model, std::span<const item<op>> items) {
    std::vector<const item<op>*> order, others;
    for (const auto& x : items) {
      if (!x.required && model.idle(x.op)) continue;
      (x.returned == item<op>::never ? others : order).push_back(&x);
    }
    const auto by_return = [](const item<op>* a, const item<op>* b) {
      return std::pair(a->returned, a->call) < std::pair(b->returned, b->call);
    };
    std::stable_sort(order.begin(), order.end(), by_return);
    const auto rank_of = [&](std::int64_t call) {
      return static_cast<std::uint32_t>(
          std::partition_point(order.begin(), order.end(), [&](const item<op>* x) { return x->returned < call; }) -
          order.begin());
    };
    for (const auto* x : order)
      required.push_back({x->op, rank_of(x->call), 0, x->place, x->returned, !x->required,
                          x->required && M::overwrites(x->op) && model.idle(x->op)});
    index();
    classify(others, rank_of);
  }

 private:
  void index() {
    const auto n = static_cast<std::uint32_t>(required.size());
    rank_begin.assign(n + 2, 0);
    for (const auto& r : required) ++rank_begin[r.rank + 1];
    for (std::uint32_t i = 0; i <= n; ++i) rank_begin[i + 1] += rank_begin[i];
    by_rank.resize(n);
    auto next = rank_begin;
    for (std::uint32_t i = 0; i < n; ++i) by_rank[next[required[i].rank]++] = i;
    std::vector<std::uint32_t> free[2];
    for (std::uint32_t at = 0; at < n; ++at) {
      for (const auto i : opened_at(at)) {
        auto& mine = free[required[i].skippable];
        if (mine.empty()) {
          if (required[i].skippable) skippable_slots.push_back(static_cast<std::uint32_t>(slots));
          mine.push_back(static_cast<std::uint32_t>(slots++));
        }
        required[i].slot = mine.back();
        mine.pop_back();
      }
      free[required[at].skippable].push_back(required[at].slot);
    }
  }

  template <class F>
  void classify(std::vector<const item<op>*>& others, F rank_of) {
    std::stable_sort(others.begin(), others.end(),
                     [](const auto* a, const auto* b) { return a->op != b->op ? a->op < b->op : a->call < b->call; });
    for (const auto* x : others) {
      const auto rank = rank_of(x->call);
      if (rank == required.size()) continue;  // nothing observes it any more
      if (optional.empty() || optional.back().what != x->op) optional.push_back({x->op, {}, {}, M::overwrites(x->op)});
      optional.back().ranks.push_back(rank);
      optional.back().places.push_back(x->place);
    }
    std::stable_sort(optional.begin(), optional.end(),
                     [](const auto& a, const auto& b) { return a.ranks.front() < b.ranks.front(); });
  }
};

// Tells when a state must not be left: an operation still to be taken needs it, and none is left that leads there. Only
// for models with provides() (models.hpp).
template <class M>
class demand {
 public:
  demand(const M& model, const problem<M>& p) : problem_(p) {
    if constexpr (counts) {
      start_.resize(model.states());
      for (const auto& x : p.required) add(start_, x, 1);
      for (const auto& c : p.optional)  // as many as one likes
        if (const auto s = M::provides(c.what))
          start_[*s].providers += static_cast<std::int64_t>(p.required.size()) + 1;
    }
  }
  void reset() { left_ = start_; }
  void taken(std::uint32_t i) { add(left_, problem_.required[i], -1); }
  void untaken(std::uint32_t i) { add(left_, problem_.required[i], 1); }
  bool doomed([[maybe_unused]] const typename M::state& before, [[maybe_unused]] const typename M::state& now) const {
    if constexpr (counts) return before != now && left_[before].needs > 0 && left_[before].providers == 0;
    return false;
  }

 private:
  static constexpr bool counts = requires(typename M::op o) { M::provides(o); };
  struct count {
    std::int64_t needs = 0, providers = 0;
  };
  static void add([[maybe_unused]] std::vector<count>& counters,
                  [[maybe_unused]] const typename problem<M>::required_op& x, [[maybe_unused]] int by) {
    if constexpr (counts) {
      if (const auto s = M::needs(x.what); s && !x.skippable) counters[*s].needs += by;
      if (const auto s = M::provides(x.what)) counters[*s].providers += by;
    }
  }
  const problem<M>& problem_;
  std::vector<count> start_, left_;  // by state
};

// Tells when an unread state (models.hpp) can't be left before an observation must be made: nothing follows from there.
template <class M>
class unread_guard {
 public:
  explicit unread_guard(const problem<M>& p) : problem_(p) {
    const auto n = static_cast<std::uint32_t>(p.required.size());
    next_observation_.assign(n + 2, n);
    for (std::uint32_t rank = n + 1; rank-- > 0;) {
      next_observation_[rank] = next_observation_[rank + 1];
      if (rank >= n) continue;
      for (const auto i : p.opened_at(rank)) {
        if (M::observes(p.required[i].what)) next_observation_[rank] = std::min(next_observation_[rank], i);
        if (M::overwrites(p.required[i].what)) overwrites_.push_back(rank);
      }
    }
    std::reverse(overwrites_.begin(), overwrites_.end());
    for (const auto& c : p.optional)
      if (c.overwrites) first_optional_ = std::min(first_optional_, c.ranks.front());
  }
  // `untaken(i)`: whether required operation i, open at this return, is still to be taken.
  template <class F>
  bool stuck(std::uint32_t at, const std::vector<std::uint32_t>& open, F untaken) const {
    auto first = next_observation_[at + 1];
    for (const auto i : open) {
      if (!untaken(i)) continue;
      if (M::overwrites(problem_.required[i].what)) return false;
      if (M::observes(problem_.required[i].what)) first = std::min(first, i);
    }
    if (first == problem_.required.size() || first_optional_ <= first) return false;
    const auto next = std::upper_bound(overwrites_.begin(), overwrites_.end(), at);
    return next == overwrites_.end() || *next > first;
  }

 private:
  const problem<M>& problem_;
  std::vector<std::uint32_t>
      next_observation_;                   // by rank: the first to return of the observations called from there on
  std::vector<std::uint32_t> overwrites_;  // ranks, rising
  std::uint32_t first_optional_ = std::numeric_limits<std::uint32_t>::max();
};

}  // namespace detail
}  // namespace coterie::linearizability
