// What operations on a key mean, as small sequential machines (Herlihy & Wing 1990, section 2: sequential
// specifications). Each model reads the operations of one key into compact ones, and maps states that no operation of
// this history can tell apart to one state, so that the search meets few. A journal has a check of its own
// (journal.hpp).
//
// A model has
//   op                        what was called and what came of it; ordered, so that equal ones are found
//   state                     small, comparable; hash(state)
//   prepare(operations)       reads the operations of a key, in any order; to be called once and first
//   init()
//   step(state, op)           the next state when the op, whose outcome is known, is legal there; nullopt when not
//   each_step(state, op, f)   the same for an op that may have taken effect: f(next) for each state it may have led to
//   observes(op)              it never changes the state
//   overwrites(op)            it is legal everywhere and leads to the same state from everywhere
//   idle(op)                  it makes nothing legal that was not legal before it, nor with what follows until the next
//                             op that overwrites; left out when it need not take effect
//   last_change(path)         the operation that led to the state after these; nullptr = it is the first state
//   holds(path)               the state after them, as part of a sentence
// and may have
//   unread(state)             no observation in this history is legal there until an op with overwrites() comes
//   states(), needs(op), provides(op)
//                             when states are numbers below states(): the only one where the op, whose outcome is
//                             known, is legal, and the one that the op leads to when it changes anything
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <tl/expected.hpp>

#include "linearizability/history.hpp"

namespace coterie::linearizability {

/// The operations of one key.
using operation_list = std::vector<const operation*>;

/// An operation that a model cannot read: `place` in its list, and why.
struct malformed {
  std::size_t place = 0;
  std::string what;
};

/// An operation as a model reads it.
template <class Op>
struct translated {
  Op op;
  bool required = false;  ///< it surely took effect before it returned; otherwise at any time after its call, or never
  std::size_t place = 0;  ///< in the list it was read from
};
template <class Op>
using translation = tl::expected<std::vector<translated<Op>>, malformed>;

/// Finalizer of SplitMix64 (Steele, Lea, Flood 2014).
inline std::uint64_t mix(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

/// A register: `read` -> value, `write` value, `cas` [old, new] -> true when it matched, false when not. A value is any
/// JSON; the register starts as null. Values that nobody read or compared with are one state.
struct register_model {
  struct op {
    enum class kind : std::uint8_t { read, write, cas } what = kind::read;
    bool known = false, matched = false;
    std::uint32_t old = 0, next = 0;  // next: of a read, what it returned
    friend auto operator<=>(const op&, const op&) = default;
  };
  using state = std::uint32_t;

  translation<op> prepare(const operation_list&);
  state init() const { return 0; }
  static std::uint64_t hash(state s) { return mix(s + 1); }
  std::optional<state> step(state s, const op& o) const {
    switch (o.what) {
      case op::kind::read:
        return o.next == s ? std::optional(s) : std::nullopt;
      case op::kind::write:
        return o.next;
      case op::kind::cas:
        break;
    }
    if (o.matched != (o.old == s)) return std::nullopt;
    return o.matched ? o.next : s;
  }
  template <class F>
  void each_step(state s, const op& o, F f) const {
    if (o.known) {
      if (const auto next = step(s, o)) f(*next);
    } else if (o.what == op::kind::write || (o.what == op::kind::cas && o.old == s)) {
      f(o.next);
    }
  }
  static bool observes(const op& o) {
    return o.what == op::kind::read || (o.what == op::kind::cas && o.known && !o.matched);
  }
  bool idle(const op& o) const { return observes(o) || (o.next == unobserved && !mismatched_); }
  static bool overwrites(const op& o) { return o.what == op::kind::write; }
  std::uint32_t states() const { return states_; }
  static std::optional<state> needs(const op& o) {
    if (o.what == op::kind::read) return o.next;
    return o.what == op::kind::cas && o.matched ? std::optional(o.old) : std::nullopt;
  }
  static std::optional<state> provides(const op& o) { return observes(o) ? std::nullopt : std::optional(o.next); }
  static const operation* last_change(const operation_list&);
  static std::string holds(const operation_list&);

 private:
  static constexpr std::uint32_t unobserved = 1;
  std::uint32_t states_ = 2;
  bool mismatched_ = false;  // some cas did not match
};

/// A map of strings: `get` -> string, `put` string, `append` string. A key that was never written reads as "", or null.
///
/// Its state is what the gets of this history can tell: the sorted distinct results of all gets that begin with the
/// current string, as a range, and the string's length. A string that begins no result is `unread`: no get fits until
/// the next put, whatever is appended.
struct key_value_model {
  struct op {
    enum class kind : std::uint8_t { get, put, append } what = kind::get;
    std::uint32_t text = 0;  // place in texts_; of a get, in results_
    friend auto operator<=>(const op&, const op&) = default;
  };
  struct state {
    std::uint32_t low = 0, high = 0;  // results_[low, high) begin with the string; none = unread
    std::uint64_t length = 0;
    friend bool operator==(const state&, const state&) = default;
  };

  translation<op> prepare(const operation_list&);
  state init() const;
  static std::uint64_t hash(const state& s) {
    return mix(mix(s.length + 1) + (static_cast<std::uint64_t>(s.high) << 32 | s.low));
  }
  std::optional<state> step(const state&, const op&) const;
  // What nobody can have read was of no use: it may as well not have taken effect (the search leaves unread states of
  // such operations out).
  template <class F>
  void each_step(const state& s, const op& o, F f) const {
    if (const auto next = step(s, o)) f(*next);
  }
  static bool observes(const op& o) { return o.what == op::kind::get; }
  bool idle(const op& o) const {
    return observes(o) || (o.what == op::kind::put && unread(extended(init(), texts_[o.text])));
  }
  static bool overwrites(const op& o) { return o.what == op::kind::put; }
  static bool unread(const state& s) { return s.low == s.high; }
  static const operation* last_change(const operation_list&);
  static std::string holds(const operation_list&);

 private:
  state extended(state, std::string_view) const;
  std::vector<std::string> results_;  // sorted, distinct
  std::vector<std::string> texts_;
};

/// A lock with fences: `acquire` -> fence, `release` fence -> "done" or "not_held", `lost` fence.
///
/// An acquire is legal when nobody holds the lock and its fence is greater than every earlier one; a release is "done"
/// when the holder has its fence, "not_held" otherwise. `lost` ends the hold with this fence if there is one (it is
/// always legal; its output means nothing): within its interval, or, when it did not return, at any time after its call
/// or never. A history says `lost` for each hold that the service may end by itself.
///
/// A hold whose fence nobody was told (an acquire of unknown outcome) may end silently: its caller gives up, or its
/// session ends. Such an acquire makes no other operation legal that was not legal before, so it is left out unless a
/// release or a lost names a fence that no acquire returned: then it may have been granted that one.
struct lock_model {
  struct op {
    enum class kind : std::uint8_t { acquire, release, lost } what = kind::acquire;
    bool known = false, done = false;
    std::uint64_t fence = 0;
    friend auto operator<=>(const op&, const op&) = default;
  };
  struct state {
    std::uint64_t fence = 0;  // the last one granted
    bool held = false;
    friend bool operator==(const state&, const state&) = default;
  };

  translation<op> prepare(const operation_list&);
  state init() const { return {}; }
  static std::uint64_t hash(const state& s) { return mix(s.fence * 2 + s.held); }
  std::optional<state> step(const state& s, const op& o) const {
    const bool holds = s.held && s.fence == o.fence;
    switch (o.what) {
      case op::kind::acquire:
        return !s.held && o.fence > s.fence ? std::optional(state{o.fence, true}) : std::nullopt;
      case op::kind::release:
        if (o.done != holds) return std::nullopt;
        break;
      case op::kind::lost:
        break;
    }
    return holds ? state{s.fence, false} : s;
  }
  template <class F>
  void each_step(const state& s, const op& o, F f) const {
    if (o.known) {
      if (const auto next = step(s, o)) f(*next);
    } else if (o.what != op::kind::acquire) {
      if (s.held && s.fence == o.fence) f(state{s.fence, false});
    } else if (!s.held) {
      for (const auto fence : unclaimed_)
        if (fence > s.fence) f(state{fence, true});
    }
  }
  static bool observes(const op& o) { return o.what == op::kind::release && o.known && !o.done; }
  static bool idle(const op& o) { return observes(o); }
  static bool overwrites(const op&) { return false; }
  static const operation* last_change(const operation_list&);
  static std::string holds(const operation_list&);

 private:
  std::vector<std::uint64_t> unclaimed_;  // fences that were given back or lost, and that no acquire returned
};

}  // namespace coterie::linearizability
