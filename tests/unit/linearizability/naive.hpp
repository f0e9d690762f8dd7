// Linearizability by its definition: every order of the operations, with and without each of those that may not have
// taken effect. Shares nothing with the checker but the history; for a handful of operations.
#pragma once

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "linearizability/checker.hpp"
#include "linearizability/history.hpp"

namespace coterie::linearizability::naive {

/// All states that the operation can lead to from this one, its output being what it is, or unknown.
using machine = std::vector<value> (*)(const value& state, const operation&);

inline value first_state(model m) {
  switch (m) {
    case model::key_value:
      return "";
    case model::lock:
      return {{"last", 0}, {"holder", 0}, {"silent", false}};
    case model::journal:
      return value::array();
    default:
      return {};
  }
}

inline std::vector<value> registers(const value& state, const operation& o) {
  if (o.name == "read") return !o.output || *o.output == state ? std::vector{state} : std::vector<value>{};
  if (o.name == "write") return {o.input};
  const bool matches = o.input[0] == state;
  if (o.output && o.output->get<bool>() != matches) return {};
  return {matches ? o.input[1] : state};
}

inline std::vector<value> key_values(const value& state, const operation& o) {
  if (o.name == "get") return !o.output || *o.output == state ? std::vector{state} : std::vector<value>{};
  if (o.name == "put") return {o.input};
  return {state.get<std::string>() + o.input.get<std::string>()};
}

// A hold whose fence nobody was told may end at any time.
inline std::vector<value> locks(const value& state, const operation& o) {
  constexpr std::uint64_t max_fence = 18;
  const auto last = state["last"].get<std::uint64_t>();
  std::vector<value> result;
  for (const bool ended : {false, true}) {
    value s = state;
    if (ended) {
      if (s["holder"] == 0 || s["silent"] == false) continue;
      s["holder"] = 0;
    }
    if (o.name == "acquire") {
      if (s["holder"] != 0) continue;
      for (auto fence = last + 1; fence <= max_fence; ++fence)
        if (!o.output || *o.output == fence)
          result.push_back({{"last", fence}, {"holder", fence}, {"silent", !o.output}});
      continue;
    }
    const bool holds = s["holder"] == o.input && o.input != 0;
    if (o.name == "release" && o.output && (*o.output == "done") != holds) continue;
    if (holds) s["holder"] = 0;
    result.push_back(s);
  }
  return result;
}

inline std::vector<value> journals(const value& state, const operation& o) {
  constexpr std::uint64_t max_id = 24;
  if (o.name == "append") {
    const std::uint64_t last = state.empty() ? 0 : state.back()[0].get<std::uint64_t>();
    std::vector<value> result;
    for (auto first = last + 1; first <= max_id; ++first) {
      value next = state;
      bool fits = true;
      for (std::size_t i = 0; i < o.input.size(); ++i) {
        fits = fits && (!o.output || (*o.output)[i] == first + i);
        next.push_back(value::array({first + i, o.input[i]}));
      }
      if (fits) result.push_back(std::move(next));
    }
    return result;
  }
  if (!o.output) return {state};
  value expected = value::array();
  bool end = true;
  for (const auto& entry : state) {
    if (entry[0] <= o.input["after"]) continue;
    if (expected.size() == (*o.output)["entries"].size()) {
      end = false;
      break;
    }
    expected.push_back(entry);
  }
  const bool fits = expected == (*o.output)["entries"] && expected.size() <= o.input["max"].get<std::size_t>() &&
                    (end || !(*o.output)["end"].get<bool>());
  return fits ? std::vector{state} : std::vector<value>{};
}

inline machine machine_of(model m) {
  switch (m) {
    case model::key_value:
      return key_values;
    case model::lock:
      return locks;
    case model::journal:
      return journals;
    default:
      return registers;
  }
}

class search {
 public:
  // Those of `skippable` took effect before they returned, or not at all.
  search(model m, history operations, std::vector<bool> skippable)
      : step_(machine_of(m)), operations_(std::move(operations)), skippable_(std::move(skippable)) {
    for (const auto& o : operations_)
      taken_.push_back(o.output && o.output->is_object() && o.output->contains("error"));
    ignored_ = taken_;
  }
  bool linearizable(const value& state) {
    bool all = true;
    std::int64_t first_return = std::numeric_limits<std::int64_t>::max();
    std::int64_t last_call = std::numeric_limits<std::int64_t>::min();
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      if (taken_[i]) {
        if (!ignored_[i]) last_call = std::max(last_call, operations_[i].call);
      } else if (ends(i) && !skippable_[i]) {
        all = false;
        first_return = std::min(first_return, *operations_[i].returned);
      }
    }
    if (all) return true;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      if (taken_[i] || operations_[i].call > first_return || (ends(i) && *operations_[i].returned < last_call))
        continue;
      taken_[i] = true;
      for (const auto& next : step_(state, operations_[i]))
        if (linearizable(next)) return true;
      taken_[i] = false;
    }
    return false;
  }

 private:
  bool ends(std::size_t i) const {
    const operation& o = operations_[i];
    return o.returned && (o.output || o.name == "lost");
  }
  machine step_;
  history operations_;
  std::vector<bool> skippable_, taken_, ignored_;
};

/// Whether the operations, all of one key, are linearizable. Those of `skippable` took effect before they returned, or
/// not at all.
inline bool linearizable(model m, const history& operations, std::vector<bool> skippable = {}) {
  skippable.resize(operations.size());
  return search(m, operations, std::move(skippable)).linearizable(first_state(m));
}

}  // namespace coterie::linearizability::naive
