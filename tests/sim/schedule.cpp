#include "sim/schedule.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <sstream>

#include <fmt/format.h>

#include "base/random.hpp"

namespace coterie::sim {

namespace {

struct setting {
  std::string_view name;
  std::uint64_t settings::*field;
};
constexpr std::array all_settings{
    setting{"nodes", &settings::nodes},
    setting{"joiners", &settings::joiners},
    setting{"loss", &settings::loss},
    setting{"duplicate", &settings::duplicate},
    setting{"delay_min_us", &settings::delay_min_us},
    setting{"delay_max_us", &settings::delay_max_us},
    setting{"disk_min_us", &settings::disk_min_us},
    setting{"disk_max_us", &settings::disk_max_us},
    setting{"clock_error_ppm", &settings::clock_error_ppm},
    setting{"session_ttl_ms", &settings::session_ttl_ms},
    setting{"compact_after", &settings::compact_after},
    setting{"keep_entries", &settings::keep_entries},
    setting{"chunk_bytes", &settings::chunk_bytes},
    setting{"max_requests", &settings::max_requests},
    setting{"max_append_entries", &settings::max_append_entries},
    setting{"max_append_bytes", &settings::max_append_bytes},
    setting{"max_inflight", &settings::max_inflight},
    setting{"stable_after_ms", &settings::stable_after_ms},
    setting{"dead_grace_ms", &settings::dead_grace_ms},
    setting{"turn_us", &settings::turn_us},
    setting{"max_voters", &settings::max_voters},
    setting{"standbys", &settings::standbys},
    setting{"fan_out", &settings::fan_out},
    setting{"data_groups", &settings::data_groups},
    setting{"end_ms", &settings::end_ms},
};
static_assert(sizeof(settings) == all_settings.size() * sizeof(std::uint64_t));

constexpr std::array<std::string_view, 28> fault_names{
    "loss",      "duplicate", "delay",       "clog",       "slow_link",  "partition", "partition_out",
    "bridge",    "isolate",   "cut_streams", "crash",      "crash_all",  "flap",      "pause",
    "pause_all", "suspend",   "leave",       "sync_error", "read_error", "disk_full", "disk_stall",
    "wipe",      "bit_rot",   "old_disk",    "clone",      "step_wall",  "freeze",    "other_list"};
static_assert(static_cast<std::size_t>(fault_kind::other_list) + 1 == fault_names.size());
constexpr std::array<std::string_view, 3> standing_names{"leading", "following", "campaigning"};
constexpr std::array<std::string_view, 11> operation_names{"lock",       "append",     "process",   "peek",
                                                           "add_job",    "remove_job", "read",      "list_locks",
                                                           "invalidate", "send",       "read_lease"};
static_assert(static_cast<std::size_t>(operation_kind::read_lease) + 1 == operation_names.size());

/// What is drawn how often.
template <class Kind>
struct weighted {
  Kind what;
  std::uint64_t weight;
};
template <class Kind, std::size_t N>
Kind draw(rng& r, const std::array<weighted<Kind>, N>& table, std::uint64_t kinds = ~0ull) {
  const auto weight = [&](const weighted<Kind>& w) { return kinds >> static_cast<int>(w.what) & 1 ? w.weight : 0; };
  std::uint64_t sum = 0;
  for (const auto& w : table) sum += weight(w);
  auto x = r.below(sum);
  for (const auto& w : table) {
    if (x < weight(w)) return w.what;
    x -= weight(w);
  }
  return table.back().what;
}

/// Who votes, and how the others are fed: in half of the seeds few vote, and each feeds few, so that those without a
/// vote stand in several levels; in some of them there are many.
void draw_tree(rng& r, settings& s) {
  if (r.chance(0.5)) return;
  s.max_voters = 3;
  s.standbys = r.below(3);
  s.fan_out = 1 + r.below(3);
  if (r.chance(0.4)) s.joiners = std::max<std::uint64_t>(s.joiners, 6 - s.nodes + r.below(4));
}

/// What a seed may have of what takes voters away: one disk, or members that leave, for a majority has to be there to
/// make up for it (docs/membership.md).
enum class loss_of_voters : std::uint8_t { none, wipe, leave };

fault draw_fault(rng& r, const settings& s, std::uint64_t kinds, loss_of_voters& lost) {
  using k = fault_kind;
  static constexpr std::array<weighted<k>, 27> table{
      {{k::loss, 4},       {k::duplicate, 2},     {k::delay, 4},      {k::clog, 4},       {k::slow_link, 3},
       {k::partition, 8},  {k::partition_out, 4}, {k::bridge, 3},     {k::isolate, 6},    {k::cut_streams, 5},
       {k::crash, 24},     {k::crash_all, 3},     {k::flap, 2},       {k::pause, 10},     {k::pause_all, 1},
       {k::suspend, 3},    {k::leave, 2},         {k::sync_error, 2}, {k::read_error, 2}, {k::disk_full, 2},
       {k::disk_stall, 4}, {k::wipe, 1},          {k::bit_rot, 1},    {k::old_disk, 1},   {k::clone, 1},
       {k::step_wall, 3},  {k::freeze, 1}}};
  const auto all = s.nodes + s.joiners;
  const auto some = [&] { return 1 + r.below((1ull << all) - 2); };
  fault f;
  f.what = draw(r, table, kinds);
  f.node = r.chance(0.35) ? whoever_leads : static_cast<std::uint32_t>(r.below(all));
  f.other = static_cast<std::uint32_t>(r.below(all));
  f.lasts = draw_time(r, 100ms, r.chance(0.3) ? 8s : 2s);
  switch (f.what) {
    case k::loss:
    case k::duplicate:
      f.x = r.chance(0.3) ? 900 : 50 + r.below(400);
      break;
    case k::delay:
      f.x = r.chance(0.3) ? 300'000 : 80'000;
      break;
    case k::slow_link:
      f.x = 10'000 + r.below(400'000);
      break;
    case k::partition:
    case k::partition_out:
    case k::bridge:
      f.x = some();
      break;
    case k::crash:
      f.x = r.chance(0.3) ? 0 : r.below(crash_point_names.size());
      if (r.chance(0.5)) f.x += power_goes;
      break;
    case k::crash_all:
      f.x = r.chance(0.5) ? power_goes : 0;
      break;
    case k::flap:
      f.x = 2 + r.below(5);
      break;
    case k::pause:
    case k::suspend:
      f.lasts = draw_time(r, 30ms, r.chance(0.5) ? 7s : 1s);
      break;
    case k::disk_full:
      f.x = r.below(2);
      break;
    case k::disk_stall:
      f.lasts = draw_time(r, 1ms, r.chance(0.1) ? 60s : 4s);
      break;
    case k::wipe:
    case k::bit_rot:
      if (lost != loss_of_voters::none || f.node == whoever_leads)
        f.what = k::crash;
      else
        lost = loss_of_voters::wipe;
      break;
    case k::leave:
      if (lost == loss_of_voters::wipe)
        f.what = k::pause;
      else
        lost = loss_of_voters::leave;
      break;
    case k::step_wall:
      f.x = 4'000'000 + (r.chance(0.5) ? r.below(20'000) - 10'000 : r.below(7'200'000) - 3'600'000);
      break;
    default:
      break;
  }
  return f;
}

// Faults that show something only one after the other.
void draw_pattern(rng& r, const settings& s, virtual_time at, std::vector<fault>& out) {
  const auto n = static_cast<std::uint32_t>(r.below(s.nodes));
  const auto add = [&](virtual_time t, fault_kind what, std::uint32_t node, duration lasts, std::uint64_t x = 0) {
    out.push_back({t, what, node, n, lasts, x});
  };
  switch (r.below(3)) {
    case 0: {  // the leader's word comes late, and it is its last for a while
      const auto late = draw_time(r, 300ms, 1'500ms);
      add(at, fault_kind::clog, whoever_leads, late);
      add(at + late, fault_kind::isolate, n, draw_time(r, 3s, 8s));
      break;
    }
    case 1: {  // two elections within one TTL
      add(at, fault_kind::crash, whoever_leads, draw_time(r, 1s, 6s), r.chance(0.5) ? power_goes : 0);
      add(at + draw_time(r, 600ms, 1'600ms), fault_kind::crash, whoever_leads, draw_time(r, 100ms, 2s));
      break;
    }
    default: {  // a leader that stands still wakes up to another one, cut off
      const auto still = draw_time(r, 700ms, 3s);
      add(at, fault_kind::pause, whoever_leads, still);
      add(at + still - 1ms, fault_kind::isolate, n, draw_time(r, 300ms, 2s));
      break;
    }
  }
}

operation draw_operation(rng& r, const settings& s) {
  using k = operation_kind;
  static constexpr std::array<weighted<k>, 10> table{{{k::lock, 30},
                                                      {k::append, 30},
                                                      {k::process, 14},
                                                      {k::peek, 4},
                                                      {k::add_job, 7},
                                                      {k::remove_job, 1},
                                                      {k::read, 6},
                                                      {k::list_locks, 3},
                                                      {k::invalidate, 5},
                                                      {k::send, 3}}};
  operation o;
  o.what = draw(r, table);
  o.node = static_cast<std::uint32_t>(r.below(s.nodes + s.joiners));
  o.name = static_cast<std::uint32_t>(r.below(3));
  o.x = r.next();
  return o;
}

/// In a third of the seeds whose clocks keep their bound leaders read by leases, mostly long ones, which change;
/// leaders are cut off more often, and everybody reads more.
void draw_leases(rng& r, schedule& s) {
  const auto freezes = [](const fault& f) { return f.what == fault_kind::freeze; };
  if (!r.chance(0.36) || s.set.clock_error_ppm > 10'000 || std::ranges::any_of(s.faults, freezes)) return;
  const auto end = std::chrono::milliseconds(s.set.end_ms);
  const auto any = [&] { return static_cast<std::uint32_t>(r.below(s.set.nodes)); };
  const auto set_lease = [&](virtual_time at, std::uint64_t ms) {
    s.operations.push_back({at, operation_kind::read_lease, any(), 0, ms});
  };
  set_lease(draw_time(r, 4s, 8s), 600 + r.below(401));
  if (r.chance(0.5))
    for (virtual_time t = 10s; t < end; t += draw_time(r, 1s, 10s))
      set_lease(t, r.chance(0.2) ? 0 : r.chance(0.5) ? 1'000 : 50 + r.below(951));
  for (virtual_time t = 9s; t < end; t += draw_time(r, 1s, 12s))
    s.faults.push_back({t, fault_kind::isolate, whoever_leads, 0, draw_time(r, 500ms, 2'500ms), 0});
  for (virtual_time t = 9s; t < end; t += draw_time(r, 20ms, 120ms))
    s.operations.push_back({t, operation_kind::read, any(), 0, 0});
}

std::string seconds(duration d) {
  return fmt::format("{}.{:06}", d.count() / 1'000'000'000, d.count() % 1'000'000'000 / 1'000);
}
std::string node_name(std::uint32_t n) {
  if (n == whoever_leads) return "leader";
  if (n >= whoever_is({})) return std::string(standing_names.at(n - whoever_is({})));
  return std::string(1, static_cast<char>('a' + n));
}

// ---- reading

std::optional<std::uint64_t> number(std::string_view t) {
  std::uint64_t v = 0;
  const auto [p, e] = std::from_chars(t.data(), t.data() + t.size(), v);
  if (e != std::errc{} || p != t.data() + t.size()) return std::nullopt;
  return v;
}
std::optional<duration> time_of(std::string_view t) {
  const auto dot = t.find('.');
  if (dot == t.npos || t.size() - dot != 7) return std::nullopt;
  const auto s = number(t.substr(0, dot)), us = number(t.substr(dot + 1));
  if (!s || !us || *s > 1'000'000) return std::nullopt;
  return std::chrono::seconds(*s) + std::chrono::microseconds(*us);
}
std::optional<std::uint32_t> node_of(std::string_view t) {
  if (t == "leader") return whoever_leads;
  if (const auto it = std::find(standing_names.begin(), standing_names.end(), t); it != standing_names.end())
    return whoever_is(static_cast<standing>(it - standing_names.begin()));
  if (t.size() != 1 || t[0] < 'a' || t[0] > 'i') return std::nullopt;
  return static_cast<std::uint32_t>(t[0] - 'a');
}
template <class Kind, std::size_t N>
bool kind_of(std::string_view t, const std::array<std::string_view, N>& names, Kind& kind) {
  const auto it = std::find(names.begin(), names.end(), t);
  kind = static_cast<Kind>(it - names.begin());
  return it != names.end();
}

struct words {
  std::istringstream in;
  std::string word;
  bool next() { return static_cast<bool>(in >> word); }
  template <class T, class F>
  bool take(T& value, F parser) {
    if (!next()) return false;
    const auto v = parser(word);
    if (v) value = static_cast<T>(*v);
    return v.has_value();
  }
};

bool parse_fault(words& w, fault& f) {
  return w.take(f.at, time_of) && w.next() && kind_of(w.word, fault_names, f.what) && w.take(f.node, node_of) &&
         (f.node < whoever_is({}) || f.what == fault_kind::crash) && w.take(f.other, node_of) &&
         w.take(f.lasts, time_of) && w.take(f.x, number);
}
bool parse_operation(words& w, operation& o) {
  return w.take(o.at, time_of) && w.next() && kind_of(w.word, operation_names, o.what) && w.take(o.node, node_of) &&
         w.take(o.name, number) && w.take(o.x, number);
}
bool parse_setting(words& w, settings& s) {
  if (!w.next()) return false;
  const auto it =
      std::find_if(all_settings.begin(), all_settings.end(), [&](const auto& x) { return x.name == w.word; });
  return it != all_settings.end() && w.take(s.*it->field, number);
}

}  // namespace

duration draw_time(rng& r, duration min, duration max) {
  return std::chrono::floor<std::chrono::microseconds>(r.between(min, max));
}

settings draw_settings(rng& r) {
  settings s;
  s.nodes = r.below(10) < 6 ? 3 : r.below(2) ? 5 : 4;
  if (r.chance(0.15)) s.joiners = 1 + r.below(9 - s.nodes > 4 ? 4 : 9 - s.nodes);
  s.loss = r.chance(0.3) ? 100 : 10;
  if (r.chance(0.2)) s.disk_max_us = 20'000;
  if (r.chance(0.1)) s.clock_error_ppm = 100'000;
  // Tiny limits, so that compaction, snapshots and full windows happen often.
  if (r.chance(0.5)) {
    s.compact_after = 50 + r.below(200);
    s.keep_entries = 10 + r.below(20);
    s.chunk_bytes = 512 + r.below(4'096);
  }
  if (r.chance(0.3)) s.max_requests = 4;
  if (r.chance(0.2)) s.max_append_entries = 3;
  if (r.chance(0.2)) s.max_append_bytes = 200;
  if (r.chance(0.2)) s.max_inflight = 1 + r.below(3);
  if (r.chance(0.4)) s.session_ttl_ms = 2'000;
  if (r.chance(0.6)) s.stable_after_ms = 200 + r.below(3'000);
  if (r.chance(0.6)) s.dead_grace_ms = 700 + r.below(4'000);
  return s;
}

std::vector<operation> draw_operations(rng& r, const settings& s) {
  std::vector<operation> out;
  for (virtual_time t = 2s; t < std::chrono::milliseconds(s.end_ms); t += draw_time(r, 20ms, 80ms)) {
    out.push_back(draw_operation(r, s));
    out.back().at = t;
  }
  return out;
}

namespace {

/// Nodes far from each other, with slow disks: then election time-outs have to be longer. Limits are the usual ones,
/// for with a few entries a round trip nobody keeps up.
void move_apart(rng& r, settings& s) {
  const settings usual;
  s.delay_min_us = 20'000 + r.below(50'000);
  s.delay_max_us = s.delay_min_us + 20'000 + r.below(50'000);
  s.disk_max_us = 20'000 + r.below(60'000);
  for (const auto limit :
       {&settings::compact_after, &settings::keep_entries, &settings::chunk_bytes, &settings::max_append_entries,
        &settings::max_append_bytes, &settings::max_inflight, &settings::session_ttl_ms})
    s.*limit = usual.*limit;
}

}  // namespace

schedule generate(std::uint64_t seed) {
  rng r = rng(seed).fork();  // a stream of its own: multiples of the generator's step would give pieces of one stream
  schedule s;
  s.seed = seed;
  s.set = draw_settings(r);
  draw_tree(r, s.set);
  const auto end = std::chrono::milliseconds(s.set.end_ms);
  // Some kinds are off in some seeds, so that others show by themselves.
  const auto calm = r.chance(0.2) ? 4s : 0s;
  const auto kinds = r.chance(0.5) ? ~0ull : r.next() | 1ull << static_cast<int>(fault_kind::crash);
  auto lost = loss_of_voters::none;
  // Some seeds break the formation itself.
  for (virtual_time t = r.chance(0.3) ? 500ms : 9s; t < end;) {
    t += draw_time(r, 200ms, 3s + calm);
    if (t >= end) break;
    if (r.chance(0.12)) {
      draw_pattern(r, s.set, t, s.faults);
      continue;
    }
    auto f = draw_fault(r, s.set, kinds, lost);
    f.at = t;
    s.faults.push_back(f);
  }
  // Every seed sees a crash and a new leader.
  fault certain;
  certain.at = draw_time(r, 12s, 30s);
  certain.what = fault_kind::crash;
  certain.node = whoever_leads;
  certain.lasts = draw_time(r, 1s, 5s);
  s.faults.push_back(certain);
  s.operations = draw_operations(r, s.set);
  if (r.chance(0.5)) s.set.turn_us = 1 + r.below(r.chance(0.2) ? 5'000 : 500);
  draw_leases(r, s);
  if (s.set.nodes > 1 && r.chance(0.15)) {
    fault mistake;
    mistake.at = draw_time(r, 0ms, 4s);
    mistake.what = fault_kind::other_list;
    mistake.node = static_cast<std::uint32_t>(r.below(s.set.nodes + s.set.joiners));
    mistake.lasts = draw_time(r, 2s, 15s);
    s.faults.push_back(mistake);
  }
  if (r.chance(0.25)) s.set.data_groups = 1 + r.below(2);
  if (r.chance(0.06)) move_apart(r, s.set);
  std::erase_if(s.faults, [&](const fault& f) { return f.at >= end; });
  const auto by_time = [](const auto& a, const auto& b) { return a.at < b.at; };
  std::stable_sort(s.faults.begin(), s.faults.end(), by_time);
  std::stable_sort(s.operations.begin(), s.operations.end(), by_time);
  return s;
}

std::string print(const fault& f) {
  return fmt::format("fault {} {} {} {} {} {}", seconds(f.at), fault_names[static_cast<std::size_t>(f.what)],
                     node_name(f.node), node_name(f.other), seconds(f.lasts), f.x);
}

std::string print(const schedule& s) {
  std::string out = "# fault TIME KIND NODE OTHER LASTS X, op TIME KIND NODE NAME X; see tests/sim/schedule.hpp\n";
  out += fmt::format("seed {}\n", s.seed);
  const settings plain;
  for (const auto& x : all_settings)
    if (s.set.*x.field != plain.*x.field) out += fmt::format("set {} {}\n", x.name, s.set.*x.field);
  for (const auto& f : s.faults) out += print(f) + "\n";
  for (const auto& o : s.operations)
    out += fmt::format("op {} {} {} {} {}\n", seconds(o.at), operation_names[static_cast<std::size_t>(o.what)],
                       node_name(o.node), o.name, o.x);
  return out;
}

result<schedule> parse(std::string_view text) {
  schedule s;
  std::size_t line = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    words w{std::istringstream(std::string(text.substr(0, end))), {}};
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line;
    if (!w.next() || w.word[0] == '#') continue;
    bool good = false;
    if (w.word == "seed") {
      good = w.take(s.seed, number);
    } else if (w.word == "set") {
      good = parse_setting(w, s.set);
    } else if (w.word == "fault") {
      good = parse_fault(w, s.faults.emplace_back());
    } else if (w.word == "op") {
      good = parse_operation(w, s.operations.emplace_back());
    }
    if (!good || w.next())
      return fail(
          errc::bad_argument,
          fmt::format("line {} of the schedule can't be read at '{}': print one to see the form", line, w.word));
  }
  const auto by_time = [](const auto& a, const auto& b) { return a.at < b.at; };
  std::stable_sort(s.faults.begin(), s.faults.end(), by_time);
  std::stable_sort(s.operations.begin(), s.operations.end(), by_time);
  if (s.set.nodes < 1 || s.set.nodes + s.set.joiners > 9)
    return fail(errc::bad_argument, "a schedule has 1 to 9 nodes and joiners: set nodes N, set joiners N");
  return s;
}

}  // namespace coterie::sim
