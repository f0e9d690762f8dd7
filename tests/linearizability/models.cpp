#include "linearizability/models.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>

namespace coterie::linearizability {

namespace {

tl::unexpected<malformed> bad(std::size_t place, std::string what) {
  return tl::unexpected(malformed{place, std::move(what)});
}

// It returned, and said what came of it.
bool answered(const operation& o) { return o.output && o.returned; }

}  // namespace

// register ---

translation<register_model::op> register_model::prepare(const operation_list& operations) {
  std::map<std::string, std::uint32_t> observed;
  const auto observe = [&](const value& v) {
    if (!v.is_null()) observed.emplace(v.dump(), static_cast<std::uint32_t>(observed.size()) + 2);
  };
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const operation& o = *operations[i];
    if (o.name == "read") {
      if (o.output) observe(*o.output);
    } else if (o.name == "cas") {
      if (!o.input.is_array() || o.input.size() != 2) return bad(i, "the input of cas is not [old, new]");
      if (o.output && !o.output->is_boolean()) return bad(i, "the output of cas is neither true nor false");
      observe(o.input[0]);
      mismatched_ = mismatched_ || o.output == value(false);
    } else if (o.name != "write") {
      return bad(i, "a register has no \"" + o.name + '"');
    }
  }
  states_ = static_cast<std::uint32_t>(observed.size()) + 2;
  const auto number = [&](const value& v) {
    if (v.is_null()) return std::uint32_t{0};
    const auto found = observed.find(v.dump());
    return found == observed.end() ? unobserved : found->second;
  };
  std::vector<translated<op>> result;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const operation& o = *operations[i];
    op x;
    x.known = o.output.has_value();
    if (o.name == "read") {
      if (!x.known) continue;
      x.what = op::kind::read;
      x.next = number(*o.output);
    } else if (o.name == "write") {
      x.what = op::kind::write;
      x.known = true;  // of no matter, and so equal ones are equal
      x.next = number(o.input);
    } else {
      x.what = op::kind::cas;
      x.matched = x.known && o.output->get<bool>();
      x.old = number(o.input[0]);
      x.next = number(o.input[1]);
    }
    result.push_back({x, answered(o), i});
  }
  return result;
}

const operation* register_model::last_change(const operation_list& path) {
  const operation* last = nullptr;
  for (const auto* o : path)
    if (o->name == "write" || (o->name == "cas" && o->output.value_or(true) == value(true))) last = o;
  return last;
}

std::string register_model::holds(const operation_list& path) {
  const auto* last = last_change(path);
  const value v = last == nullptr ? value() : last->name == "write" ? last->input : last->input[1];
  return "the register holds " + text_of(v);
}

// key-value ---

translation<key_value_model::op> key_value_model::prepare(const operation_list& operations) {
  const auto result_of = [](const operation& o) {
    return o.output->is_null() ? std::string() : o.output->get<std::string>();
  };
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const operation& o = *operations[i];
    if (o.name == "get") {
      if (!o.output) continue;
      if (!o.output->is_string() && !o.output->is_null()) return bad(i, "the output of get is not a string");
      results_.push_back(result_of(o));
    } else if (o.name != "put" && o.name != "append") {
      return bad(i, "a key-value map has no \"" + o.name + '"');
    } else if (!o.input.is_string()) {
      return bad(i, "the input of " + o.name + " is not a string");
    }
  }
  std::sort(results_.begin(), results_.end());
  results_.erase(std::unique(results_.begin(), results_.end()), results_.end());

  std::map<std::string, std::uint32_t> known;
  std::vector<translated<op>> result;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const operation& o = *operations[i];
    op x;
    if (o.name == "get") {
      if (!o.output) continue;
      x.what = op::kind::get;
      x.text = static_cast<std::uint32_t>(std::lower_bound(results_.begin(), results_.end(), result_of(o)) -
                                          results_.begin());
    } else {
      x.what = o.name == "put" ? op::kind::put : op::kind::append;
      const auto [entry, added] = known.emplace(o.input.get<std::string>(), static_cast<std::uint32_t>(texts_.size()));
      if (added) texts_.push_back(entry->first);
      x.text = entry->second;
    }
    result.push_back({x, answered(o), i});
  }
  return result;
}

key_value_model::state key_value_model::init() const { return {0, static_cast<std::uint32_t>(results_.size()), 0}; }

std::optional<key_value_model::state> key_value_model::step(const state& s, const op& o) const {
  switch (o.what) {
    case op::kind::get:
      // a string sorts before all that begin with it
      return !unread(s) && s.low == o.text && results_[o.text].size() == s.length ? std::optional(s) : std::nullopt;
    case op::kind::put:
      return extended(init(), texts_[o.text]);
    case op::kind::append:
      break;
  }
  return extended(s, texts_[o.text]);
}

key_value_model::state key_value_model::extended(state s, std::string_view piece) const {
  const auto compare = [&](const std::string& result) {
    return std::string_view(result).substr(s.length, piece.size()).compare(piece);
  };
  const auto begin = results_.begin() + s.low, end = results_.begin() + s.high;
  const auto low = std::partition_point(begin, end, [&](const std::string& r) { return compare(r) < 0; });
  const auto high = std::partition_point(low, end, [&](const std::string& r) { return compare(r) == 0; });
  if (low == high) return {};
  return {static_cast<std::uint32_t>(low - results_.begin()), static_cast<std::uint32_t>(high - results_.begin()),
          s.length + piece.size()};
}

const operation* key_value_model::last_change(const operation_list& path) {
  const operation* last = nullptr;
  for (const auto* o : path)
    if (o->name != "get") last = o;
  return last;
}

std::string key_value_model::holds(const operation_list& path) {
  std::string text;
  for (const auto* o : path) {
    if (o->name == "get") continue;
    if (o->name == "put") text.clear();
    text += o->input.get<std::string>();
  }
  return "the value is " + text_of(text);
}

// lock ---

translation<lock_model::op> lock_model::prepare(const operation_list& operations) {
  std::set<std::uint64_t> granted, named;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const operation& o = *operations[i];
    if (o.name == "acquire") {
      if (!o.output) continue;
      if (natural(*o.output).value_or(0) == 0) return bad(i, "the output of acquire is not a fence (a number from 1)");
      if (answered(o)) granted.insert(*natural(*o.output));
    } else if (o.name == "release" || o.name == "lost") {
      if (!natural(o.input)) return bad(i, "the input of " + o.name + " is not a fence (a number)");
      if (o.name == "release" && o.output && *o.output != "done" && *o.output != "not_held")
        return bad(i, "the output of release is neither \"done\" nor \"not_held\"");
      named.insert(*natural(o.input));
    } else {
      return bad(i, "a lock has no \"" + o.name + '"');
    }
  }
  std::set_difference(named.begin(), named.end(), granted.begin(), granted.end(), std::back_inserter(unclaimed_));
  std::vector<translated<op>> result;
  for (std::size_t i = 0; i < operations.size(); ++i) {
    const operation& o = *operations[i];
    op x;
    x.known = o.output.has_value();
    bool required = answered(o);
    if (o.name == "acquire") {
      if (!x.known && unclaimed_.empty()) continue;
      x.what = op::kind::acquire;
      x.fence = x.known ? *natural(*o.output) : 0;
    } else {
      const bool lost = o.name == "lost";
      x.what = lost ? op::kind::lost : op::kind::release;
      x.done = !lost && x.known && *o.output == "done";
      x.fence = *natural(o.input);
      if (lost) x.known = true, required = o.returned.has_value();
    }
    result.push_back({x, required, i});
  }
  return result;
}

const operation* lock_model::last_change(const operation_list& path) {
  const operation *last = nullptr, *holder = nullptr;
  for (const auto* o : path) {
    if (o->name == "acquire") {
      last = holder = o;
    } else if (holder != nullptr && o->output != value("not_held") && holder->output.value_or(o->input) == o->input) {
      last = o;
      holder = nullptr;
    }
  }
  return last;
}

std::string lock_model::holds(const operation_list& path) {
  const auto* last = last_change(path);
  if (last == nullptr) return "nobody holds the lock";
  if (last->name != "acquire") return "nobody holds the lock, whose last fence is " + text_of(last->input);
  return "the lock is held under " + (last->output ? "fence " + text_of(*last->output) : "a fence that nobody told");
}

}  // namespace coterie::linearizability
