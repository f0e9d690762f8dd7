#include "linearizability/generate.hpp"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace coterie::linearizability {

namespace {

struct plan {
  std::uint64_t client = 0;
  std::string key;
  std::int64_t call = 0, effect = 0, returned = 0;
  bool unknown = false, happens = true;
};

// What an operation on an object turns out to be.
struct deed {
  std::string name;
  value input, output;
};

// One object of each kind; it decides what is called when it takes effect, for then it knows what would make sense.
class object {
 public:
  object(const recipe& r, rng& random, std::uint64_t& unique) : recipe_(r), random_(random), unique_(unique) {}

  deed act(const plan& p) {
    switch (recipe_.meaning) {
      case model::key_value:
        return map(p);
      case model::lock:
        return lock(p);
      case model::journal:
        return journal(p);
      default:
        return read_or_write(p);
    }
  }

 private:
  static constexpr std::uint64_t nobody = ~std::uint64_t{0}, ghost = nobody - 1;

  std::uint64_t fresh() { return recipe_.values == 0 ? ++unique_ : random_.below(recipe_.values); }

  deed read_or_write(const plan& p) {
    const auto kind = random_.below(5);
    if (kind < 2) return {"read", value(), number_ ? value(*number_) : value()};
    const auto next = fresh();
    if (kind < 4) {
      if (p.happens) number_ = next;
      return {"write", next, "ok"};
    }
    const auto old = random_.chance(0.5) && number_ ? *number_ : fresh();
    const bool matched = number_ == old;
    if (matched && p.happens) number_ = next;
    return {"cas", value::array({old, next}), matched};
  }

  deed map(const plan& p) {
    const auto kind = random_.below(8);
    if (kind < 4) return {"get", value(), text_};
    const auto piece =
        recipe_.values == 0 ? std::to_string(fresh()) + ' ' : std::string(1, static_cast<char>('a' + fresh()));
    if (p.happens) text_ = kind == 4 ? piece : text_ + piece;
    return {kind == 4 ? "put" : "append", piece, "ok"};
  }

  deed lock(const plan& p) {
    if (holder_ != nobody && random_.chance(holder_ == p.client ? 0.7 : 0.2)) {
      const bool lost = random_.chance(0.3);
      if (p.happens) holder_ = nobody;
      return {lost ? "lost" : "release", fence_, "done"};
    }
    if (random_.chance(0.15)) return {"release", fence_ + holder_free(), "not_held"};
    if (holder_ != nobody && holder_ != ghost) return {"acquire", value(), value{{"error", "busy"}}};
    if (!p.happens) return {"acquire", value(), value()};
    fence_ += 1 + random_.below(2);
    holder_ = p.unknown ? ghost : p.client;
    return {"acquire", value(), fence_};
  }
  std::uint64_t holder_free() const { return holder_ == nobody ? 0 : 3; }

  deed journal(const plan& p) {
    if (random_.chance(0.5)) {
      value messages = value::array(), ids = value::array();
      const auto count = 1 + random_.below(2);
      if (p.happens) fence_ += random_.below(2);
      for (std::uint64_t i = 0; i < count; ++i) {
        messages.push_back("m" + std::to_string(++unique_));
        if (!p.happens) continue;
        ids.push_back(++fence_);
        entries_.emplace_back(fence_, messages.back().get<std::string>());
      }
      return {"append", std::move(messages), std::move(ids)};
    }
    const auto behind = random_.below(std::min<std::uint64_t>(entries_.size(), 8) + 1);
    const auto start = entries_.size() - behind;
    const std::uint64_t after = start == 0 ? 0 : entries_[start - 1].first, max = 1 + random_.below(6);
    value entries = value::array();
    for (auto i = start; i < entries_.size() && entries.size() < max; ++i)
      entries.push_back(value::array({entries_[i].first, entries_[i].second}));
    const bool end = entries.size() == behind;
    return {"read", {{"after", after}, {"max", max}}, {{"entries", std::move(entries)}, {"end", end}}};
  }

  const recipe& recipe_;
  rng& random_;
  std::uint64_t& unique_;
  std::optional<std::uint64_t> number_;
  std::string text_;
  std::uint64_t fence_ = 0, holder_ = nobody;
  std::vector<std::pair<std::uint64_t, std::string>> entries_;
};

std::vector<plan> plans(const recipe& r, rng& random) {
  std::vector<plan> result;
  std::vector<std::int64_t> free(r.clients);
  std::vector<std::uint64_t> process(r.clients);
  for (std::size_t c = 0; c < r.clients; ++c) process[c] = c;
  std::uint64_t last = r.clients;
  const auto some = [&] { return static_cast<std::int64_t>(random.below(r.duration + 1)); };
  for (std::size_t i = 0; i < r.operations; ++i) {
    const auto c = static_cast<std::size_t>(std::min_element(free.begin(), free.end()) - free.begin());
    plan p;
    p.client = process[c];
    p.key = "k" + std::to_string(random.below(r.keys));
    p.call = free[c] + some();
    p.effect = p.call + some();
    p.returned = p.effect + some();
    free[c] = p.returned + 1;
    if (random.chance(r.unknown)) {
      p.unknown = true;
      p.happens = random.chance(0.5);
      p.effect += static_cast<std::int64_t>(random.below(r.duration * 10 + 1));
      process[c] = last++;  // this client is gone, another takes its place
    }
    result.push_back(std::move(p));
  }
  random.shuffle(result);
  std::stable_sort(result.begin(), result.end(), [](const plan& a, const plan& b) { return a.effect < b.effect; });
  return result;
}

}  // namespace

history generate(const recipe& r, rng& random) {
  std::uint64_t unique = 100;
  std::map<std::string, object> objects;
  history h;
  for (const auto& p : plans(r, random)) {
    deed d = objects.try_emplace(p.key, r, random, unique).first->second.act(p);
    operation o{p.client, std::move(d.name), p.key, std::move(d.input), std::nullopt, p.call, std::nullopt};
    if (!p.unknown) {
      o.output = std::move(d.output);
      o.returned = p.returned;
    }
    h.push_back(std::move(o));
  }
  return h;
}

void damage(history& h, rng& random) {
  if (h.empty()) return;
  operation& o = h[random.below(h.size())];
  if (random.chance(0.4)) {
    const auto by = static_cast<std::int64_t>(random.below(13)) - 6;
    o.call += by;
    if (o.returned) *o.returned += by;
    return;
  }
  if (o.output && o.output->is_number() && random.chance(0.5)) {
    o.output = natural(*o.output).value_or(0) + 1 - (natural(*o.output).value_or(0) > 1 ? 2 * random.below(2) : 0);
    return;
  }
  if (o.name == "release" && o.output) {
    o.output = *o.output == "done" ? "not_held" : "done";
    return;
  }
  for (std::size_t tries = 0; tries < 2 * h.size(); ++tries) {
    operation& other = h[random.below(h.size())];
    if (&other == &o || other.name != o.name || other.key != o.key || !o.output || !other.output) continue;
    if (o.name == "append" && o.output->size() != other.output->size()) continue;
    if (*o.output == *other.output) continue;
    std::swap(o.output, other.output);
    return;
  }
}

}  // namespace coterie::linearizability
