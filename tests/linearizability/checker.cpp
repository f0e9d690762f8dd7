#include "linearizability/checker.hpp"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "linearizability/explain.hpp"
#include "linearizability/journal.hpp"
#include "linearizability/models.hpp"
#include "linearizability/search.hpp"
#include "linearizability/timeline.hpp"

namespace coterie::linearizability {

namespace {

using time_limit = std::optional<std::chrono::steady_clock::time_point>;

// What came of one key.
struct key_result {
  verdict what = verdict::linearizable;
  std::uint64_t steps = 0;
  std::vector<std::size_t> core, context;  // places
  std::string why;
};
using key_outcome = tl::expected<key_result, malformed>;

std::string named(const operation& o) { return fmt::format("{} by process {}", text_of(o), o.process); }

std::string listed(const operation_list& operations, std::size_t max) {
  std::string s = operations.size() > max ? "..., " : "";
  for (std::size_t i = operations.size() - std::min(max, operations.size()); i < operations.size(); ++i)
    s += (s.empty() || i + max == operations.size() ? "" : "; ") + named(*operations[i]);
  return s;
}

operation_list at(const operation_list& operations, const std::vector<std::size_t>& places) {
  operation_list list;
  for (const auto place : places) list.push_back(operations[place]);
  return list;
}

// How far one gets, and why not further.
template <class M>
std::string sentence(const operation_list& operations, const contradiction& c) {
  const auto path = at(operations, c.path), open = at(operations, c.open);
  const auto* last = M::last_change(path);
  std::string s = path.empty()
                      ? "No operation can come first: "
                      : fmt::format("The longest beginning of a linearization has {} operation{}, at last {}. Then ",
                                    path.size(), path.size() == 1 ? "" : "s", listed(path, 3));
  s += M::holds(path) + (last == nullptr ? " from the start" : " since " + named(*last));
  if (open.empty()) return s + '.';
  if (open.size() == 1) return s + ", and " + named(*open[0]) + " can't follow.";
  return s + ", and none of these can follow: " + listed(open, 8) + '.';
}

template <class M>
key_outcome search_key(const operation_list& operations, const options& o, const time_limit& until) {
  M m;
  const auto translated = m.prepare(operations);
  if (!translated) return tl::unexpected(translated.error());
  const limits l{o.spend.steps, o.spend.bytes, until};
  const auto found = find_linearization<M>(m, items_of<M>(*translated, operations), l);
  key_result r;
  r.steps = found.steps;
  if (found.what == outcome::found) return r;
  r.what = found.what == outcome::none ? verdict::not_linearizable : verdict::unknown;
  if (r.what == verdict::unknown || !o.explain) return r;
  const auto c = explainer<M>(operations, l).explain(found.furthest);
  r.core = c.core;
  r.context = c.used;
  if (const auto* last = M::last_change(at(operations, c.path)))
    r.context.push_back(
        static_cast<std::size_t>(std::find(operations.begin(), operations.end(), last) - operations.begin()));
  r.context.insert(r.context.end(), c.open.begin(), c.open.end());
  r.why = sentence<M>(operations, c);
  return r;
}

key_outcome check_key(model meaning, const operation_list& operations, const options& o, const time_limit& until) {
  switch (meaning) {
    case model::register_:
      return search_key<register_model>(operations, o, until);
    case model::key_value:
      return search_key<key_value_model>(operations, o, until);
    case model::lock:
      return search_key<lock_model>(operations, o, until);
    case model::automatic:
    case model::journal:
      break;
  }
  auto v = check_journal(operations);
  if (!v) return tl::unexpected(v.error());
  key_result r;
  r.steps = operations.size();
  if (v->involved.empty()) return r;
  r.what = verdict::not_linearizable;
  if (o.explain) {
    r.core = std::move(v->involved);
    r.why = std::move(v->why);
  }
  return r;
}

std::optional<model> model_of(const operation& o) {
  const auto& n = o.name;
  if (n == "write" || n == "cas") return model::register_;
  if (n == "get" || n == "put") return model::key_value;
  if (n == "acquire" || n == "release" || n == "lost") return model::lock;
  if (n == "append") return o.input.is_array() ? model::journal : model::key_value;
  if (n == "read") return o.input.is_object() ? model::journal : model::register_;
  return std::nullopt;
}

bool refused(const operation& o) { return o.output && o.output->is_object() && o.output->contains("error"); }

// The operations of one key, and where they stand in the history.
struct part {
  operation_list operations;
  std::vector<std::size_t> places;
};

failure explained(const std::string& key, model meaning, const operation_list& operations, key_result& r) {
  failure f{key, meaning, operations.size(), {}, {}, std::move(r.why)};
  auto shown = r.core;
  shown.insert(shown.end(), r.context.begin(), r.context.end());
  std::sort(shown.begin(), shown.end(), [&](std::size_t a, std::size_t b) {
    return std::pair(operations[a]->call, a) < std::pair(operations[b]->call, b);
  });
  shown.erase(std::unique(shown.begin(), shown.end()), shown.end());
  for (const auto place : shown) {
    f.shown.push_back(*operations[place]);
    f.core.push_back(std::find(r.core.begin(), r.core.end(), place) != r.core.end());
  }
  return f;
}

}  // namespace

std::string_view name_of(model m) {
  constexpr std::string_view names[] = {"auto", "register", "kv", "lock", "journal"};
  return names[static_cast<std::size_t>(m)];
}

std::string_view name_of(verdict v) {
  constexpr std::string_view names[] = {"linearizable", "not_linearizable", "unknown"};
  return names[static_cast<std::size_t>(v)];
}

std::string failure::text() const {
  operation_list list;
  for (const auto& o : shown) list.push_back(&o);
  std::string s = fmt::format("{} \"{}\" is not linearizable", name_of(meaning), key);
  if (shown.empty()) return s + ".\n";
  const auto n = static_cast<std::size_t>(std::count(core.begin(), core.end(), true));
  s += fmt::format(": {} of {} operation{} (*) {}", n, total, total == 1 ? "" : "s",
                   n == 1 ? "can't be right" : "contradict each other");
  if (n < total)
    s += fmt::format(", whatever came of the other{}", total - n == 1 ? "" : fmt::format(" {}", total - n));
  s += ".\n";
  return s + timeline(list, core) + "  " + why + '\n';
}

tl::expected<report, check_error> check(const history& h, const options& o) {
  std::map<std::pair<model, std::string>, part> parts;
  report r;
  r.operations = h.size();
  for (std::size_t i = 0; i < h.size(); ++i) {
    const auto meaning = o.meaning == model::automatic ? model_of(h[i]) : o.meaning;
    if (!meaning) return tl::unexpected(check_error{i, "no model has \"" + h[i].name + '"'});
    if (h[i].returned && *h[i].returned < h[i].call)
      return tl::unexpected(check_error{i, "it returns before it is called"});
    part& p = parts[{*meaning, h[i].key}];
    if (refused(h[i])) continue;
    p.operations.push_back(&h[i]);
    p.places.push_back(i);
  }
  r.keys = parts.size();
  time_limit until;
  if (o.spend.time.count() > 0) until = std::chrono::steady_clock::now() + o.spend.time;
  for (const auto& [where, p] : parts) {
    options mine = o;
    mine.explain = o.explain && r.failures.size() < o.max_failures;
    auto k = check_key(where.first, p.operations, mine, until);
    if (!k) return tl::unexpected(check_error{p.places[k.error().place], k.error().what});
    r.steps += k->steps;
    if (k->what == verdict::unknown) {
      r.undecided.push_back(fmt::format("{} ({})", where.second, name_of(where.first)));
      if (r.what == verdict::linearizable) r.what = verdict::unknown;
    } else if (k->what == verdict::not_linearizable) {
      r.what = verdict::not_linearizable;
      ++r.failed;
      if (r.failures.size() < o.max_failures)
        r.failures.push_back(explained(where.second, where.first, p.operations, *k));
    }
  }
  return r;
}

}  // namespace coterie::linearizability
