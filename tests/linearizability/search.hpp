// The search for a linearization of one key's operations, for any model (models.hpp).
//
// Wing & Gong 1993 ("Testing and verifying concurrent objects"): take, as long as there is one, an operation that no
// other operation precedes, and back up when none is legal. Lowe 2017 ("Testing for linearizability"): never look twice
// at the same pair of operations taken and state; and take them just in time, the one that must return first before
// others. What this search adds:
//
//  - A configuration is (the next return, which of the operations open at it are taken, the state). Everything that
//    returned before is taken and nothing called later can be, so this is exact, and small however long the history.
//  - An operation that never changes the state (a read) is taken as soon as it is legal, and nothing else is tried: in
//    any linearization of the rest it can be moved to the front, for the others meet the states they met before.
//  - Operations of unknown outcome stay open for ever but are no part of the mask. They are taken only right before an
//    operation of known outcome that follows them (trailing ones can be left out); equal ones are interchangeable, so a
//    configuration counts how many of each it used up; and one that used fewer covers one that used more, all else
//    being equal, because nothing ever obliges it to take the difference.
//  - What returned but may be left out (explain.hpp needs that) is skipped when its return comes, or taken before.
//  - A value that some operation must still read, and that no operation is left to write, is not overwritten.
//  - A write that nobody saw is taken right before another write: what followed it elsewhere did not depend on it.
//  - First they are thought to be usable any number of times. That is a smaller search, without counts. When it finds
//    nothing, there is nothing; and what it found to lead nowhere is left out of the exact search afterwards.
//
// The table of configurations met is a cache: when it is full it is emptied, which costs time and never the verdict.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "linearizability/search_problem.hpp"
#include "linearizability/search_table.hpp"

namespace coterie::linearizability {

/// What a search may spend.
struct limits {
  std::uint64_t steps = 0;  ///< legality tests and visits
  std::size_t bytes = 0;    ///< of the table; reaching it is not an outcome
  std::optional<std::chrono::steady_clock::time_point> until;
};

enum class outcome { found, none, exhausted };

struct search_result {
  outcome what = outcome::exhausted;
  std::uint64_t steps = 0;
  std::int64_t furthest = 0;      ///< not found: the return that the search did not get past
  std::vector<std::size_t> path;  ///< places in order: a linearization, or the longest beginning of one if asked for
  std::vector<std::size_t> open;  ///< places of the required operations that could have come next there
};

/// How to search.
enum class search_mode {
  verdict,  ///< as fast as possible
  explain,  ///< the longest beginning of a linearization; goes on where the future is known to be hopeless
};

namespace detail {

template <class M, std::size_t Words>
class search {
 public:
  search(const M& model, const problem<M>& p, const limits& l, search_mode mode)
      : model_(model),
        problem_(p),
        limits_(l),
        mode_(mode),
        guard_(p),
        demand_(model, p),
        end_(static_cast<std::uint32_t>(p.required.size())),
        table_(skippable(p)),
        leads_nowhere_(skippable(p)) {}

  search_result run() {
    if (mode_ == search_mode::verdict && !problem_.optional.empty()) {
      steps_limit_ = limits_.steps / 2;
      boundless_ = true;
      const auto what = pass();
      if (what == outcome::none || (what == outcome::found && affordable())) return finish(what);
      boundless_ = false;
      std::swap(leads_nowhere_, table_);
    }
    steps_limit_ = limits_.steps;
    return finish(pass());
  }

 private:
  using state = typename M::state;
  using table_type = table<M, Words>;
  using configuration = typename table_type::configuration;
  static constexpr bool has_unread = requires(state s) { M::unread(s); };

  // Required operation `what`, or optional class `what - end_`, taken (or skipped) before return `at`.
  struct taken {
    std::uint32_t what, at;
    bool skipped = false;
  };
  // A state that optional operations lead to: `via` is the class of the last, `from` the node before.
  struct node {
    state at;
    multisets::id used;
    std::uint32_t from, via;
  };
  // From there to a required operation.
  struct jump {
    std::uint32_t node, what;
    state next;
  };
  enum class phase : std::uint8_t { direct, unread, skip, skippable, jumps };
  struct frame {
    configuration c;
    std::size_t path;
    std::uint32_t entry, generation;
    std::uint32_t next = 0;
    phase now = phase::direct;
    bool prepared = false;
    std::vector<node> nodes;
    std::vector<jump> jumps;
  };

  outcome pass() {
    table_.clear();
    frames_.clear();
    path_.clear();
    open_.clear();
    jump_bytes_ = 0;
    demand_.reset();
    obliged_ = common_ = 0;
    best_path_.clear();
    best_known_ = best_is_here_ = false;
    c_ = {{}, model_.init(), 0, 0};
    for (const auto i : problem_.opened_at(0)) open(i);
    settle();
    if (c_.at == end_) return outcome::found;
    enter();
    while (!frames_.empty()) {
      if (spent()) return outcome::exhausted;
      go_back_to(frames_.back());
      if (!take_next(frames_.back())) {
        leave();
        continue;
      }
      if (mode_ == search_mode::verdict && demand_.doomed(frames_.back().c.state, c_.state)) continue;
      settle();
      if (c_.at == end_) return outcome::found;
      enter();
    }
    return outcome::none;
  }

  static bits<Words> skippable(const problem<M>& p) {
    bits<Words> mask;
    for (const auto slot : p.skippable_slots) mask.set(slot);
    return mask;
  }

  // Position ---

  bool untaken(std::uint32_t i) const { return !c_.mask.test(problem_.required[i].slot); }

  void open(std::uint32_t i) { open_.insert(std::lower_bound(open_.begin(), open_.end(), i, std::greater<>()), i); }

  void take(std::uint32_t i, bool skipped = false) {
    c_.mask.set(problem_.required[i].slot);
    path_.push_back({i, c_.at, skipped});
    demand_.taken(i);
    obliged_ += !problem_.required[i].skippable;
  }

  // Those that do no harm right before a write.
  void take_idle(std::uint32_t but) {
    for (const auto i : open_)
      if (i != but && problem_.required[i].idle && untaken(i)) take(i);
  }

  // Past the next return, whose operation is taken.
  void forward() {
    c_.mask.reset(problem_.required[c_.at].slot);
    open_.pop_back();
    ++c_.at;
    for (const auto i : problem_.opened_at(c_.at)) open(i);
  }

  void go_back_to(const frame& f) {
    while (c_.at > f.c.at) {
      for (const auto i : problem_.opened_at(c_.at))
        open_.erase(std::lower_bound(open_.begin(), open_.end(), i, std::greater<>()));
      open_.push_back(--c_.at);
    }
    c_ = f.c;
    if (path_.size() > f.path) keep_best();
    for (; path_.size() > f.path; path_.pop_back())
      if (const auto i = path_.back().what; i < end_) {
        demand_.untaken(i);
        obliged_ -= !problem_.required[i].skippable;
      }
    common_ = std::min(common_, path_.size());
  }

  // Takes the observations that are legal here, and passes the returns of what is taken.
  void settle() {
    for (const auto i : open_) absorb(i);
    while (c_.at < end_ && !untaken(c_.at)) {
      forward();
      for (const auto i : problem_.opened_at(c_.at)) absorb(i);
    }
  }

  void absorb(std::uint32_t i) {
    if (!M::observes(problem_.required[i].what) || !untaken(i)) return;
    ++steps_;
    if (model_.step(c_.state, problem_.required[i].what)) take(i);
  }

  // Frames ---

  // A frame for this configuration, unless nothing new can come of it.
  void enter() {
    ++steps_;
    note();
    if constexpr (has_unread) {
      if (mode_ == search_mode::verdict && M::unread(c_.state) &&
          guard_.stuck(c_.at, open_, [this](std::uint32_t i) { return untaken(i); }))
        return;
    }
    if (!boundless_)
      for (auto e = leads_nowhere_.find(c_); e != table_type::none; e = leads_nowhere_.next(e))
        if (leads_nowhere_.dead(e) && leads_nowhere_.covers(e, c_, multisets_)) return;
    auto first = table_.find(c_);
    for (auto e = first; e != table_type::none; e = table_.next(e))
      if (table_.covers(e, c_, multisets_)) return;
    if (table_.bytes() * 2 > limits_.bytes) {  // it doubles while it grows
      table_.clear();
      first = table_type::none;
    }
    const auto entry = table_.insert(c_, first);
    frames_.push_back({c_, path_.size(), entry, table_.generation(), 0, phase::direct, false, {}, {}});
  }

  void leave() {
    const frame& f = frames_.back();
    if (f.generation == table_.generation()) table_.bury(f.entry);
    jump_bytes_ -= f.nodes.capacity() * sizeof(node) + f.jumps.capacity() * sizeof(jump);
    frames_.pop_back();
  }

  // The next thing to try from the frame, which is where we are.
  bool take_next(frame& f) {
    for (; f.now != phase::jumps; f.now = static_cast<phase>(static_cast<int>(f.now) + 1), f.next = 0) {
      if (f.now == phase::skip) {
        if (!problem_.required[c_.at].skippable || f.next++ > 0) continue;
        take(c_.at, true);
        return true;
      }
      while (f.next < open_.size()) {
        const auto i = open_[open_.size() - ++f.next];
        const auto& x = problem_.required[i];
        if (!untaken(i) || x.skippable != (f.now == phase::skippable)) continue;
        ++steps_;
        const auto next = model_.step(c_.state, x.what);
        if (!next || (x.skippable ? *next == c_.state || unread(*next) : unread(*next) != (f.now == phase::unread)))
          continue;
        if (M::overwrites(x.what)) take_idle(i);
        take(i);
        c_.state = *next;
        return true;
      }
    }
    if (!f.prepared) prepare_jumps(f);
    if (f.next == f.jumps.size()) return false;
    const jump& j = f.jumps[f.next++];
    std::vector<std::uint32_t> classes;
    for (auto n = j.node; n != 0; n = f.nodes[n].from) classes.push_back(f.nodes[n].via);
    if (problem_.optional[classes.back()].overwrites) take_idle(j.what);
    for (auto c = classes.rbegin(); c != classes.rend(); ++c) path_.push_back({end_ + *c, c_.at});
    take(j.what);
    c_.state = j.next;
    c_.used = f.nodes[j.node].used;
    return true;
  }

  static bool unread([[maybe_unused]] const state& s) {
    if constexpr (has_unread) return M::unread(s);
    return false;
  }

  // All ways over optional operations to an untaken one, those over few of them first.
  void prepare_jumps(frame& f) {
    f.prepared = true;
    if (problem_.optional.empty() || problem_.optional.front().ranks.front() > c_.at) return;
    const auto hash = [](const state& s) { return static_cast<std::size_t>(M::hash(s)); };
    std::unordered_map<state, std::vector<std::uint32_t>, decltype(hash)> met(16, hash);
    f.nodes.push_back({c_.state, c_.used, 0, 0});
    met[c_.state].push_back(0);
    for (std::uint32_t n = 0; n < f.nodes.size() && !over(); ++n) {
      for (std::uint32_t k = 0; k < problem_.optional.size(); ++k) {
        const auto& x = problem_.optional[k];
        if (x.ranks.front() > c_.at) break;
        if (n > 0 && x.overwrites) continue;  // what came before it was of no use
        if (!boundless_ && used_up(f.nodes[n].used, k)) continue;
        ++steps_;
        const state from = f.nodes[n].at;
        model_.each_step(from, x.what, [&](const state& next) {
          if (next == from || unread(next)) return;
          auto& there = met[next];
          if (boundless_) {
            if (!there.empty()) return;
            f.nodes.push_back({next, 0, n, k});
          } else {
            auto list = multisets::with(multisets_[f.nodes[n].used], k);
            for (const auto other : there)
              if (multisets::contains(list, multisets_[f.nodes[other].used])) return;
            f.nodes.push_back({next, multisets_.intern(std::move(list)), n, k});
          }
          there.push_back(static_cast<std::uint32_t>(f.nodes.size() - 1));
        });
      }
    }
    for (std::uint32_t n = 1; n < f.nodes.size(); ++n) {
      for (auto i = open_.rbegin(); i != open_.rend(); ++i) {
        if (!untaken(*i)) continue;
        ++steps_;
        if (const auto next = model_.step(f.nodes[n].at, problem_.required[*i].what)) f.jumps.push_back({n, *i, *next});
      }
    }
    jump_bytes_ += f.nodes.capacity() * sizeof(node) + f.jumps.capacity() * sizeof(jump);
  }

  bool used_up(multisets::id used, std::uint32_t k) const {
    const auto& list = multisets_[used];
    const auto [begin, end] = std::equal_range(list.begin(), list.end(), k);
    return static_cast<std::uint32_t>(end - begin) >= problem_.optional[k].opened(c_.at);
  }

  // Limits and results ---

  bool over() const { return steps_ > steps_limit_; }

  bool spent() {
    if (over() || multisets_.bytes() + jump_bytes_ > limits_.bytes) return true;
    return limits_.until && ++ticks_ % 1024 == 0 && std::chrono::steady_clock::now() > *limits_.until;
  }

  // Whether the path, found as if optional operations could be used again and again, uses each no more than once.
  bool affordable() const {
    std::vector<std::uint32_t> used(problem_.optional.size());
    for (const auto& t : path_)
      if (t.what >= end_ && ++used[t.what - end_] > problem_.optional[t.what - end_].opened(t.at)) return false;
    return true;
  }

  void note() {
    furthest_ = std::max(furthest_, c_.at);
    if (mode_ != search_mode::explain) return;
    if (best_known_ && std::pair(c_.at, obliged_) <= best_) return;
    best_known_ = true;
    best_is_here_ = true;
    best_ = {c_.at, obliged_};
    best_size_ = path_.size();
    best_open_.clear();
    for (auto i = open_.rbegin(); i != open_.rend(); ++i)
      if (untaken(*i) && !problem_.required[*i].skippable) best_open_.push_back(problem_.required[*i].place);
  }

  // The path is about to be cut. What it has in common with the last best one is not copied again.
  void keep_best() {
    if (!best_is_here_) return;
    best_is_here_ = false;
    common_ = std::min(common_, best_size_);
    best_path_.resize(common_);
    best_path_.insert(best_path_.end(), path_.begin() + static_cast<std::ptrdiff_t>(common_),
                      path_.begin() + static_cast<std::ptrdiff_t>(best_size_));
    common_ = best_size_;
  }

  search_result finish(outcome what) {
    keep_best();
    search_result r;
    r.what = what;
    r.steps = steps_;
    if (what != outcome::found && furthest_ < end_) r.furthest = problem_.required[furthest_].returned;
    r.open = best_open_;
    std::vector<std::size_t> used(problem_.optional.size());
    for (const auto& t : what == outcome::found ? path_ : best_path_) {
      if (t.skipped) continue;
      if (t.what < end_) {
        r.path.push_back(problem_.required[t.what].place);
      } else {
        r.path.push_back(problem_.optional[t.what - end_].places[used[t.what - end_]++]);
      }
    }
    return r;
  }

  const M& model_;
  const problem<M>& problem_;
  const limits limits_;
  const search_mode mode_;
  const unread_guard<M> guard_;
  demand<M> demand_;
  const std::uint32_t end_;  // how many returns there are

  configuration c_{};                // where we are: every return before c_.at is past
  std::vector<std::uint32_t> open_;  // required operations that are open here, the next to return last
  std::vector<taken> path_;
  std::vector<frame> frames_;
  bool boundless_ = false;  // optional operations can be used again and again
  multisets multisets_;
  table_type table_;
  table_type leads_nowhere_;  // of the boundless pass: the dead ones

  std::uint64_t steps_ = 0, steps_limit_ = 0, ticks_ = 0;
  std::size_t jump_bytes_ = 0;
  std::uint32_t furthest_ = 0;
  bool best_known_ = false;
  std::pair<std::uint32_t, std::size_t> best_;
  bool best_is_here_ = false;  // the path begins with the best one, which is not kept yet
  std::size_t best_size_ = 0;
  std::size_t obliged_ = 0;  // operations on the path that may not be skipped
  std::size_t common_ = 0;   // the path and the kept one begin with the same so many
  std::vector<taken> best_path_;
  std::vector<std::size_t> best_open_;
};

}  // namespace detail

/// Searches a linearization of the items, in any order, of one key. `exhausted` when the limits were reached, or when
/// more than 8192 operations that returned are open at once.
template <class M>
search_result find_linearization(const M& model, std::span<const item<typename M::op>> items, const limits& l,
                                 search_mode mode = search_mode::verdict) {
  const detail::problem<M> p(model, items);
  if (p.slots <= 64) return detail::search<M, 1>(model, p, l, mode).run();
  if (p.slots <= 1024) return detail::search<M, 16>(model, p, l, mode).run();
  if (p.slots <= 8192) return detail::search<M, 128>(model, p, l, mode).run();
  return {};
}

}  // namespace coterie::linearizability
