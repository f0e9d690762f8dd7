#include "sim/matrix.hpp"

#include <algorithm>

#include <fmt/format.h>

namespace coterie::sim {

namespace {

constexpr std::array<std::size_t, 3> sizes{1, 3, 5};
constexpr std::array points{crash_point::before_write, crash_point::after_write, crash_point::after_sync,
                            crash_point::after_send, crash_point::after_apply};
constexpr std::array<std::string_view, 3> roles{"leader", "follower", "candidate"};  // by standing
static_assert(matrix_cells == sizes.size() * roles.size() * points.size() * 2);

std::size_t index_of(std::size_t size, std::size_t role, std::size_t point, bool power_loss) {
  return ((size * roles.size() + role) * points.size() + point) * 2 + power_loss;
}

std::string_view point_name(const cell& c) { return crash_point_names[static_cast<std::size_t>(c.how.where)]; }
std::string_view role_name(const cell& c) { return roles[static_cast<std::size_t>(c.how.as)]; }
std::string name(const cell& c) {
  return fmt::format("{}, {}, {} node{}, {}", point_name(c), role_name(c), c.nodes, c.nodes == 1 ? "" : "s",
                     c.how.power_loss ? "power" : "kill");
}

/// Makes somebody campaign, here at the point that is meant.
void draw_campaign(rng& r, const cell& c, virtual_time at, std::vector<fault>& out) {
  if (c.nodes == 1) return out.push_back({at, fault_kind::crash, whoever_leads, 0, draw_time(r, 100ms, 500ms), 0});
  if (c.how.where != crash_point::after_apply) {
    const auto how = r.chance(0.5) ? fault_kind::pause : fault_kind::isolate;
    return out.push_back({at, how, whoever_leads, 0, draw_time(r, 900ms, 2s), 0});
  }
  // A candidate applies what was committed while it followed and is durable only now: its disk stands still, then it is
  // cut off, then the disk goes on.
  const auto n = static_cast<std::uint32_t>(r.below(c.nodes));
  out.push_back({at, fault_kind::disk_stall, n, 0, draw_time(r, 1'500ms, 2'500ms), 0});
  out.push_back({at + draw_time(r, 150ms, 400ms), fault_kind::isolate, n, 0, 3s, 0});
}

}  // namespace

cell cell_at(std::size_t index) {
  cell c{};
  c.how.power_loss = index % 2 != 0;
  index /= 2;
  c.how.where = points[index % points.size()];
  index /= points.size();
  c.how.as = static_cast<standing>(index % roles.size());
  c.nodes = sizes.at(index / roles.size());
  return c;
}

std::string_view unreachable(const cell& c) {
  if (c.nodes > 1) return {};
  if (c.how.as == standing::following) return "a single node campaigns in the step in which it starts";
  if (c.how.as == standing::leading) return {};
  if (c.how.where == crash_point::after_send) return "a single node leads in the step in which its own vote is durable";
  if (c.how.where == crash_point::after_apply) return "a single node commits nothing before it leads";
  return {};
}

schedule generate_matrix(std::uint64_t seed) {
  const auto c = cell_at(seed % matrix_cells);
  rng r = rng(seed).fork();
  schedule s;
  s.seed = seed;
  const settings plain;
  s.set = draw_settings(r);
  s.set.nodes = c.nodes;
  s.set.joiners = 0;
  s.set.clock_error_ppm = plain.clock_error_ppm;
  s.set.end_ms = 24'000;
  const auto end = std::chrono::milliseconds(s.set.end_ms);
  const auto where = static_cast<std::uint64_t>(c.how.where) + (c.how.power_loss ? power_goes : 0);
  const bool campaigns = c.how.as == standing::campaigning || !unreachable(c).empty();
  for (virtual_time t = 8s; t < end - 3s; t += campaigns ? draw_time(r, 4s, 5s) : draw_time(r, 1s, 3s)) {
    // Up to a majority of them, one after the other: nothing acknowledged may hang on those that are left.
    for (auto deaths = 1 + r.below(c.nodes / 2 + 1); deaths > 0; --deaths)
      s.faults.push_back(
          {t, fault_kind::crash, whoever_is(c.how.as), 0, draw_time(r, 100ms, r.chance(0.3) ? 4s : 1s), where});
    if (campaigns) draw_campaign(r, c, t, s.faults);
  }
  // Configurations change meanwhile: one leaves, and comes back as somebody new.
  if (c.nodes > 1) {
    const auto n = static_cast<std::uint32_t>(r.below(c.nodes));
    s.faults.push_back({draw_time(r, 9s, end - 5s), fault_kind::leave, n, 0, draw_time(r, 500ms, 2s), 0});
  }
  std::stable_sort(s.faults.begin(), s.faults.end(), [](const auto& a, const auto& b) { return a.at < b.at; });
  s.operations = draw_operations(r, s.set);
  if (r.chance(0.5)) s.set.turn_us = 1 + r.below(500);
  return s;
}

void matrix::add(std::uint64_t seed, const report& r) {
  auto& x = results_[seed % matrix_cells];
  ++x.seeds;
  const auto died = r.deaths.find(cell_at(seed % matrix_cells).how);
  if (died != r.deaths.end()) x.deaths += died->second;
  if (!r.violations.empty()) ++x.violations;
}

std::string matrix::table() const {
  std::string out =
      fmt::format("{:<25}{:>18}{:>18}{:>18}\n{:<25}", "deaths/violations", "1 node", "3 nodes", "5 nodes", "");
  for (std::size_t n = 0; n < sizes.size(); ++n) out += fmt::format("{:>9}{:>9}", "kill", "power");
  for (std::size_t point = 0; point < points.size(); ++point)
    for (std::size_t role = 0; role < roles.size(); ++role) {
      const auto head = cell_at(index_of(0, role, point, false));
      out += fmt::format("\n{:<14}{:<11}", point_name(head), role_name(head));
      for (std::size_t size = 0; size < sizes.size(); ++size)
        for (const bool power_loss : {false, true}) {
          const auto i = index_of(size, role, point, power_loss);
          const auto& x = results_[i];
          const auto shown = unreachable(cell_at(i)).empty() ? fmt::format("{}/{}", x.deaths, x.violations) : "-";
          out += fmt::format("{:>9}", x.seeds > 0 ? shown : "");
        }
    }
  out += '\n';
  for (std::size_t i = 0; i < matrix_cells; i += 2)
    if (const auto why = unreachable(cell_at(i)); !why.empty())
      out += fmt::format("- {}, {}: {}\n", point_name(cell_at(i)), role_name(cell_at(i)), why);
  return out;
}

std::string matrix::gaps() const {
  std::string out;
  for (std::size_t i = 0; i < matrix_cells; ++i) {
    const auto c = cell_at(i);
    if (results_[i].seeds > 0 && unreachable(c).empty() && results_[i].deaths == 0)
      out += fmt::format("nobody died here: {}\n", name(c));
    if (results_[i].deaths > 0 && !unreachable(c).empty())
      out += fmt::format("somebody died here ({}), though {}\n", name(c), unreachable(c));
  }
  return out;
}

}  // namespace coterie::sim
