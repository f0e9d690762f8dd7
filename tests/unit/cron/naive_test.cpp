// Random expressions against a matcher that tries every second it could fire at. The matcher shares no code with cron:
// each random item is made as a text together with its own meaning.
#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "catch.hpp"
#include "cron/expression.hpp"
#include "zones.hpp"

namespace coterie::calendar {
namespace {

using std::chrono::days;
using std::chrono::hours;
using std::chrono::seconds;

struct day {
  int year, month, date, length, weekday;  // weekday: 1 = Sunday
};

day day_of(std::chrono::sys_days at) {
  const std::chrono::year_month_day ymd(at);
  const std::chrono::year_month_day_last last(ymd.year() / ymd.month() / std::chrono::last);
  return {static_cast<int>(ymd.year()), static_cast<int>(static_cast<unsigned>(ymd.month())),
          static_cast<int>(static_cast<unsigned>(ymd.day())), static_cast<int>(static_cast<unsigned>(last.day())),
          static_cast<int>(std::chrono::weekday(at).c_encoding()) + 1};
}

struct int_field {
  std::string text;
  std::vector<bool> holds;
};
struct day_field {
  std::string text;
  std::function<bool(const day&)> holds;
};

int pick(rng& r, int low, int high) {
  return low + static_cast<int>(r.below(static_cast<std::uint64_t>(high - low + 1)));
}

std::string spell(rng& r, int value, const char* names) {
  if (names == nullptr || r.chance(0.5)) return std::to_string(value);
  std::string name(names + 3 * (value - 1), 3);
  if (r.chance(0.5))
    std::transform(name.begin(), name.end(), name.begin(), [](char c) { return static_cast<char>(c + 32); });
  return name;
}

/// One plain item: `*`, a, a-b, with or without a step.
int_field item(rng& r, int low, int high, const char* names = nullptr, bool wraps = true) {
  int_field f{"", std::vector<bool>(static_cast<std::size_t>(high) + 1)};
  const int size = high - low + 1;
  int a = pick(r, low, high), b = pick(r, low, high);
  if (!wraps && b < a) std::swap(a, b);
  const int step = r.chance(0.4) ? pick(r, 1, size - 1) : 0;
  const auto kind = r.below(4);
  if (kind == 0) {
    f.text = "*", a = low, b = high;
  } else if (kind == 1) {
    f.text = spell(r, a, names) + "-" + spell(r, b, names);
  } else {
    f.text = spell(r, a, names);
    b = step != 0 ? high : a;
  }
  if (step != 0) f.text += "/" + std::to_string(step);
  int left = 0;  // until the next hit
  for (int v = a;; v = v == high ? low : v + 1) {
    if (left-- == 0) {
      f.holds[static_cast<std::size_t>(v)] = true;
      left = std::max(step, 1) - 1;
    }
    if (v == b) break;
  }
  return f;
}

int_field list(rng& r, int low, int high, const char* names = nullptr, bool wraps = true) {
  int_field f = item(r, low, high, names, wraps);
  while (r.chance(0.3)) {
    const int_field more = item(r, low, high, names, wraps);
    f.text += "," + more.text;
    for (std::size_t i = 0; i < f.holds.size(); ++i) f.holds[i] = f.holds[i] || more.holds[i];
  }
  return f;
}

/// A few values, so that the time of day stays sparse enough to enumerate.
int_field sparse(rng& r, int high) {
  if (r.chance(0.15)) return item(r, 0, high);
  int_field f{"", std::vector<bool>(static_cast<std::size_t>(high) + 1)};
  for (int n = pick(r, 1, 2); n > 0; --n) {
    const int v = pick(r, 0, high);
    f.text += (f.text.empty() ? "" : ",") + std::to_string(v);
    f.holds[static_cast<std::size_t>(v)] = true;
  }
  return f;
}

/// The weekday of the month that is nearest to `target`: the days are tried by distance.
bool is_nearest_weekday(const day& d, int target) {
  if (target < 1 || target > d.length) return false;
  for (int distance = 0; distance <= 2; ++distance) {
    for (const int sign : {-1, 1}) {
      const int date = target + sign * distance;
      if (date < 1 || date > d.length) continue;
      const int weekday = ((d.weekday - 1 + date - d.date) % 7 + 7) % 7 + 1;
      if (weekday != 1 && weekday != 7) return date == d.date;
    }
  }
  return false;
}

day_field by_date(rng& r) {
  const int n = pick(r, 0, 30), d = pick(r, 1, 31);
  switch (r.below(7)) {
    case 0:
      return {"L", [](const day& x) { return x.date == x.length; }};
    case 1:
      return {"L-" + std::to_string(n), [n](const day& x) { return x.date == x.length - n; }};
    case 2:
      return {"LW", [](const day& x) { return is_nearest_weekday(x, x.length); }};
    case 3:
      return {std::to_string(d) + "W", [d](const day& x) { return is_nearest_weekday(x, d); }};
    case 4:
      return {"L-" + std::to_string(n) + "W", [n](const day& x) { return is_nearest_weekday(x, x.length - n); }};
    default: {
      const int_field f = item(r, 1, 31);
      return {f.text, [f](const day& x) { return f.holds[static_cast<std::size_t>(x.date)]; }};
    }
  }
}

day_field by_weekday(rng& r) {
  const char* names = "SUNMONTUEWEDTHUFRISAT";
  const int w = pick(r, 1, 7), k = pick(r, 1, 5);
  const std::string name = spell(r, w, names);
  switch (r.below(5)) {
    case 0:
      return {name + "L", [w](const day& x) { return x.weekday == w && x.date + 7 > x.length; }};
    case 1:
      return {name + "#" + std::to_string(k), [w, k](const day& x) { return x.weekday == w && (x.date + 6) / 7 == k; }};
    case 2:
      return {"L", [](const day& x) { return x.weekday == 7; }};
    default: {
      const int_field f = item(r, 1, 7, names);
      return {f.text, [f](const day& x) { return f.holds[static_cast<std::size_t>(x.weekday)]; }};
    }
  }
}

struct random_cron {
  std::string text;
  std::vector<int> times;  // of day, in seconds
  std::function<bool(const day&)> day_holds;
  bool repeats;
};

random_cron make(rng& r, int first, int last) {
  const int_field s = sparse(r, 59), m = sparse(r, 59), h = r.chance(0.5) ? list(r, 0, 23) : sparse(r, 23);
  const bool any_month = r.chance(0.4), any_year = r.chance(0.6), weekly = r.chance(0.5);
  const int_field month =
      any_month ? int_field{"*", std::vector<bool>(13, true)} : list(r, 1, 12, "JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC");
  int_field year{"", std::vector<bool>(static_cast<std::size_t>(last) + 1, true)};
  if (!any_year) {
    do year = item(r, first, last, nullptr, false);
    while (year.text[0] == '*');  // which would count from 1970, not from `first`
  }
  std::vector<day_field> forms{weekly ? by_weekday(r) : by_date(r)};
  while (r.chance(0.3)) forms.push_back(weekly ? by_weekday(r) : by_date(r));

  random_cron c;
  std::string day_text;
  for (const day_field& f : forms) day_text += (day_text.empty() ? "" : ",") + f.text;
  c.text = s.text + " " + m.text + " " + h.text + " " + (weekly ? "?" : day_text) + " " + month.text + " " +
           (weekly ? day_text : "?");
  // An open step of the year reaches beyond `last`; the comparison ends before.
  if (!any_year) c.text += " " + year.text;
  c.repeats = (s.text + m.text + h.text).find_first_of("*-/") != std::string::npos;
  for (int t = 0; t < 86'400; ++t) {
    const auto at = [](int v) { return static_cast<std::size_t>(v); };
    if (s.holds[at(t % 60)] && m.holds[at(t / 60 % 60)] && h.holds[at(t / 3600)]) c.times.push_back(t);
  }
  c.day_holds = [=](const day& d) {
    return month.holds[static_cast<std::size_t>(d.month)] && year.holds[static_cast<std::size_t>(d.year)] &&
           std::any_of(forms.begin(), forms.end(), [&](const day_field& f) { return f.holds(d); });
  };
  return c;
}

/// All instants that a local time fires at, by trying every offset of the zone.
std::vector<std::int64_t> instants_of(std::int64_t local, const zone_rules& zone, dst_policy policy, bool repeats) {
  std::set<std::int64_t> offsets{zone.initial_offset.count()};
  for (const transition& t : zone.transitions) offsets.insert(t.offset.count());
  const auto offset_at = [&](std::int64_t t) {
    std::int64_t offset = zone.initial_offset.count();
    for (const transition& change : zone.transitions) {
      if (change.at.time_since_epoch().count() <= t) offset = change.offset.count();
    }
    return offset;
  };
  std::vector<std::int64_t> found;
  for (const std::int64_t offset : offsets) {
    if (offset_at(local - offset) == offset) found.push_back(local - offset);
  }
  std::sort(found.begin(), found.end());
  const bool both = policy.overlap == dst_overlap::both || (policy.overlap == dst_overlap::automatic && repeats);
  if (found.size() > 1 && !both) found.erase(found.begin() + 1, found.end());
  if (!found.empty() || policy.gap == dst_gap::skip) return found;
  const std::int64_t before = offset_at(local - 3 * 86'400);  // no other transition within three days
  if (policy.gap == dst_gap::shift) found.push_back(local - before);
  for (const transition& change : zone.transitions) {
    const std::int64_t at = change.at.time_since_epoch().count();
    if (local >= at + before && local < at + change.offset.count() && found.empty()) found.push_back(at);
  }
  return found;
}

std::vector<wall_time> enumerate(const random_cron& c, int from, int to, const zone_rules& zone, dst_policy policy) {
  std::vector<std::int64_t> all;
  const auto end = std::chrono::sys_days(std::chrono::year(to) / 1 / 1);
  for (auto at = std::chrono::sys_days(std::chrono::year(from) / 1 / 1); at < end; at += days(1)) {
    if (!c.day_holds(day_of(at))) continue;
    const std::int64_t midnight = seconds(at.time_since_epoch()).count();
    bool plain = true;  // no transition near this day: one offset
    for (const transition& t : zone.transitions) plain = plain && (t.at < at - days(2) || t.at > at + days(3));
    const std::int64_t offset = zone.offset_at(at).count();
    for (const int time : c.times) {
      if (plain) {
        all.push_back(midnight + time - offset);
      } else {
        const auto some = instants_of(midnight + time, zone, policy, c.repeats);
        all.insert(all.end(), some.begin(), some.end());
      }
    }
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::vector<wall_time> out;
  for (const std::int64_t t : all) out.emplace_back(seconds(t));
  return out;
}

void compare(const random_cron& c, const zone_rules& zone, dst_policy policy, rng& r) {
  INFO(c.text << " in " << zone.name << ", gap " << static_cast<int>(policy.gap) << ", overlap "
              << static_cast<int>(policy.overlap));
  const auto parsed = expression::parse(c.text);
  REQUIRE(parsed);
  const int from = 2023, to = 2028;
  const auto expected = enumerate(c, from, to, zone, policy);
  // Instants within a day of the ends depend on years that were not enumerated.
  const wall_time begin(std::chrono::sys_days(std::chrono::year(from) / 1 / 3));
  const wall_time end(std::chrono::sys_days(std::chrono::year(to - 1) / 12 / 28));
  const auto after = [&](wall_time t) { return std::upper_bound(expected.begin(), expected.end(), t); };

  wall_time at = begin;
  for (int i = 0; i < 300 && at < end; ++i) {  // in sequence
    const auto next = parsed->next(at, zone, policy);
    const auto want = after(at);
    if (want == expected.end() || *want >= end) {
      REQUIRE((!next || *next >= end));
      break;
    }
    REQUIRE(next == *want);
    at = *next;
  }
  const auto span = static_cast<std::uint64_t>((end - begin).count());
  const auto somewhere = [&] {
    if (r.chance(0.5) && !zone.transitions.empty()) {  // near a transition
      const auto& t = zone.transitions[r.below(zone.transitions.size())];
      return std::clamp(wall_time(t.at) + std::chrono::milliseconds(pick(r, -10'000'000, 10'000'000)), begin, end);
    }
    return begin + std::chrono::milliseconds(static_cast<std::int64_t>(r.below(span)));
  };
  for (int i = 0; i < 30; ++i) {  // from anywhere
    wall_time a = somewhere(), b = somewhere();
    if (b < a) std::swap(a, b);
    const auto first = after(a - std::chrono::milliseconds(1)), last = after(b);
    const auto next = parsed->next(a - std::chrono::milliseconds(1), zone, policy);
    if (first != expected.end() && *first < end) REQUIRE(next == *first);
    REQUIRE(parsed->count(a, b, zone, policy) == static_cast<std::uint64_t>(last - first));
    REQUIRE(parsed->last(a, b, zone, policy) == (last == first ? std::nullopt : std::optional(*(last - 1))));
  }
}

TEST_CASE("random expressions against a naive matcher") {
  rng r(20260329);
  const zone_rules zones[] = {zone_rules::utc(), berlin(2020, 2030), lord_howe(2020, 2030),
                              zone_rules{"India", std::chrono::minutes(330), {}}};
  std::size_t checked = 0;
  for (int i = 0; i < 1500; ++i) {
    const random_cron c = make(r, 2023, 2029);
    if (c.times.size() > 400) continue;
    const dst_policy policy{static_cast<dst_gap>(r.below(3)), static_cast<dst_overlap>(r.below(3))};
    compare(c, zones[r.below(4)], policy, r);
    ++checked;
  }
  CHECK(checked > 1000);
}

TEST_CASE("times of day around a transition against a naive matcher") {
  rng r(20261025);
  for (int i = 0; i < 400; ++i) {
    const int_field s = sparse(r, 59), m = list(r, 0, 59), h = list(r, 0, 3);
    random_cron c{s.text + " " + m.text + " " + h.text + " * * ?", {}, [](const day&) { return true; }, false};
    // In the text a `*` or an open step of the hour goes on to 23.
    const auto hours_field = parse_fields(c.text).value().hours;
    c.repeats = (s.text + m.text + h.text).find_first_of("*-/") != std::string::npos;
    for (int t = 0; t < 86'400; ++t) {
      const bool hour = (hours_field >> (t / 3600) & 1) != 0;
      if (hour && s.holds[static_cast<std::size_t>(t % 60)] && m.holds[static_cast<std::size_t>(t / 60 % 60)])
        c.times.push_back(t);
    }
    if (c.times.size() > 300) continue;
    const dst_policy policy{static_cast<dst_gap>(r.below(3)), static_cast<dst_overlap>(r.below(3))};
    compare(c, r.chance(0.5) ? berlin(2020, 2030) : lord_howe(2020, 2030), policy, r);
  }
}

}  // namespace
}  // namespace coterie::calendar
