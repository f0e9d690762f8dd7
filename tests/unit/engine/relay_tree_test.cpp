// Who feeds whom (docs/consensus.md 1.3): levels, zones, and what one that is gone changes.
#include <algorithm>
#include <map>
#include <set>

#include "catch.hpp"

#include "engine/relay_tree.hpp"

using namespace coterie;
using namespace coterie::engine;

namespace {

node_id n(std::uint64_t i) { return {1, i}; }

relay_members members_of(std::uint64_t roots, std::uint64_t others, std::uint64_t zones = 1) {
  relay_members m;
  const auto zone = [&](std::uint64_t i) { return std::string(1, static_cast<char>('a' + i % zones)); };
  for (std::uint64_t i = 1; i <= roots; ++i) m.roots.push_back({n(i), zone(i), {}});
  for (std::uint64_t i = roots + 1; i <= roots + others; ++i) m.others.push_back({n(i), zone(i), {}});
  return m;
}

std::uint32_t relay_depth(node_id id, const relay_members& m, std::size_t fan_out) {
  return relay_tree(m, fan_out).depth(id);
}
std::vector<relay_parent> relay_parents(node_id id, const relay_members& m, std::size_t fan_out) {
  return relay_tree(m, fan_out).parents(id);
}

/// So many milliseconds from the middle of the world, known to within a tenth.
swim::coordinate at(float ms) {
  swim::coordinate c;
  c.x = ms / 1'000;
  c.error = 0.1F;
  return c;
}

/// Puts those with odd numbers `apart` from the others; each lies up to 1 ms beside its place.
void put_in_two_places(relay_members& m, float apart) {
  for (auto* part : {&m.roots, &m.others})
    for (auto& x : *part) x.place = at(apart * static_cast<float>(x.id.lo % 2) + static_cast<float>(x.id.lo % 5) / 5);
}

/// The levels of the parents of one, one after the other: what `key` says of each.
template <class Key>
std::map<std::uint32_t, std::vector<std::size_t>> by_level(node_id of, const relay_members& m, Key key) {
  std::map<std::uint32_t, std::vector<std::size_t>> r;
  for (const auto& p : relay_parents(of, m, 4)) r[p.level].push_back(key(p.id));
  return r;
}

}  // namespace

TEST_CASE("relay levels are filled one after another") {
  const auto m = members_of(3, 40);
  std::map<std::uint32_t, std::size_t> levels;
  for (const auto& x : m.roots) ++levels[relay_depth(x.id, m, 2)];
  for (const auto& x : m.others) ++levels[relay_depth(x.id, m, 2)];
  CHECK(levels == std::map<std::uint32_t, std::size_t>{{0, 3}, {1, 6}, {2, 12}, {3, 22}});
  CHECK(relay_depth(n(99), m, 2) == relay_nowhere);
  CHECK(relay_depth(n(5), {{}, m.others}, 2) == relay_nowhere);
}

TEST_CASE("everybody asks the level above first, and may ask everybody") {
  const auto m = members_of(3, 40);
  for (const auto& x : m.others) {
    const auto own = relay_depth(x.id, m, 2);
    const auto list = relay_parents(x.id, m, 2);
    REQUIRE(list.size() == 42);
    std::set<node_id> once;
    bool below = false;
    for (const auto& p : list) {
      once.insert(p.id);
      // The depth it asks with is larger than that of the asked one: two never feed each other.
      const auto at = relay_depth(p.id, m, 2);
      REQUIRE(p.level == at);
      REQUIRE(p.depth > at);
      REQUIRE(p.depth >= own);
      below |= at >= own;
      REQUIRE(below == (at >= own));
    }
    REQUIRE(once.size() == 42);
    REQUIRE(!once.contains(x.id));
    REQUIRE(relay_depth(list[0].id, m, 2) == own - 1);
    REQUIRE(relay_depth(list[1].id, m, 2) == own - 1);
    REQUIRE(relay_tree(m, 2).first_parent(x.id) == list[0].id);
  }
}

TEST_CASE("the own zone is preferred within a level") {
  const auto m = members_of(6, 60, 3);
  for (const auto& x : m.others) {
    const auto list = relay_parents(x.id, m, 4);
    const auto zone_of = [&](node_id id) { return id.lo % 3; };
    const auto above = relay_depth(list[0].id, m, 4);
    const auto same = [&](const auto& p) { return zone_of(p.id) == zone_of(x.id); };
    const auto end = std::ranges::find_if(list, [&](const auto& p) { return relay_depth(p.id, m, 4) != above; });
    REQUIRE(std::is_partitioned(list.begin(), end, same));
    REQUIRE(std::any_of(list.begin(), end, same));
  }
}

TEST_CASE("children spread over their parents, and a dead parent's over those that are left") {
  auto m = members_of(7, 56);
  std::map<node_id, std::size_t> children;
  std::map<node_id, node_id> first;
  for (const auto& x : m.others) {
    first[x.id] = relay_parents(x.id, m, 8).front().id;
    ++children[first[x.id]];
  }
  CHECK(children.size() == 7);
  CHECK(std::ranges::max_element(children, {}, [](const auto& c) { return c.second; })->second <= 20);
  const auto dead = m.roots.front().id;
  m.roots.erase(m.roots.begin());
  std::set<node_id> heirs;
  for (const auto& x : m.others) {
    if (relay_depth(x.id, m, 8) != 1) continue;
    const auto now = relay_parents(x.id, m, 8).front().id;
    if (first[x.id] != dead)
      CHECK(now == first[x.id]);
    else
      heirs.insert(now);
  }
  CHECK(heirs.size() > 1);
}

TEST_CASE("in a cluster of two places without zones the near parents come first, on every level") {
  auto m = members_of(6, 60);
  put_in_two_places(m, 30);
  for (const auto& x : m.others) {
    const auto elsewhere = [&](node_id id) { return (id.lo ^ x.id.lo) % 2; };
    for (const auto& [level, list] : by_level(x.id, m, elsewhere)) {
      CAPTURE(x.id.lo, level);
      REQUIRE(std::is_sorted(list.begin(), list.end()));
      REQUIRE(list.front() == 0);
    }
    // The levels themselves are the same for all, wherever they are.
    REQUIRE(relay_depth(x.id, m, 4) == relay_depth(x.id, members_of(6, 60), 4));
    REQUIRE(relay_tree(m, 4).first_parent(x.id) == relay_parents(x.id, m, 4).front().id);
  }
}

TEST_CASE("a farther place comes after a nearer one, and a zone counts more than the way") {
  auto m = members_of(9, 30, 3);
  for (auto* part : {&m.roots, &m.others})
    for (auto& x : *part) {
      x.place = at(static_cast<float>(x.id.lo % 3) * 70);
      x.zone.clear();
    }
  const auto steps = [](node_id of) {
    return [of](node_id id) { return std::max(of.lo % 3, id.lo % 3) - std::min(of.lo % 3, id.lo % 3); };
  };
  for (const auto& x : m.others)
    for (const auto& [level, list] : by_level(x.id, m, steps(x.id))) {
      CAPTURE(x.id.lo, level);
      // 70 and 140 ms are one step: only near and far differ.
      const auto near = std::is_partitioned(list.begin(), list.end(), [](std::size_t s) { return s == 0; });
      REQUIRE(near);
    }
  const auto zones = members_of(9, 30, 2);
  for (auto& x : m.roots) x.zone = zones.roots[x.id.lo - 1].zone;
  for (std::size_t i = 0; i < m.others.size(); ++i) m.others[i].zone = zones.others[i].zone;
  for (const auto& x : m.others)
    for (const auto& [level, list] : by_level(x.id, m, [&](node_id id) { return (id.lo ^ x.id.lo) % 2; }))
      REQUIRE(std::is_sorted(list.begin(), list.end()));
}

TEST_CASE("equal ways, unknown ones and what varies a little change nothing") {
  const auto m = members_of(7, 56);
  const auto same = [&](const relay_members& o) {
    return std::ranges::all_of(m.others,
                               [&](const auto& x) { return relay_parents(x.id, m, 8) == relay_parents(x.id, o, 8); });
  };
  auto near = m;
  put_in_two_places(near, 0);
  CHECK(same(near));
  auto far = m;
  put_in_two_places(far, 30);
  CHECK(!same(far));
  // Noise of a tenth.
  auto noisy = far;
  for (auto* part : {&noisy.roots, &noisy.others})
    for (auto& x : *part) x.place.x += static_cast<float>(x.id.lo % 7) * 5e-4F;
  CHECK(std::ranges::all_of(
      m.others, [&](const auto& x) { return relay_parents(x.id, far, 8) == relay_parents(x.id, noisy, 8); }));
  // One that does not know where it is asks as if there were no places.
  auto lost = far;
  for (auto& x : lost.others) x.place.error = 1.2F;
  for (const auto& x : lost.others) REQUIRE(relay_parents(x.id, lost, 8) == relay_parents(x.id, m, 8));
}

TEST_CASE("a parent whose way is unknown comes after the near ones and before the far ones") {
  auto m = members_of(6, 6);
  for (auto& x : m.roots) x.place = at(x.id.lo <= 2 ? 0 : 40);
  m.roots[4].place = m.roots[5].place = {};
  for (auto& x : m.others) x.place = at(0);
  for (const auto& x : m.others) {
    std::vector<std::size_t> order;
    for (const auto& p : relay_parents(x.id, m, 8))
      if (p.level == 0) order.push_back(p.id.lo <= 2 ? 0 : p.id.lo >= 5 ? 1 : 2);
    REQUIRE(order == std::vector<std::size_t>{0, 0, 1, 1, 2, 2});
  }
}

TEST_CASE("one without a place asks whom it knows, one that only believes to vote asks the voters") {
  const auto list = relay_parents(n(9), {{}, members_of(0, 3).others}, 8);
  REQUIRE(list.size() == 3);
  CHECK(std::ranges::all_of(list, [](const auto& p) { return p.depth == relay_nowhere; }));
  const auto m = members_of(3, 2);
  const auto forgotten = relay_parents(n(1), m, 8);
  REQUIRE(forgotten.size() == 4);
  CHECK(forgotten[0].depth == 1);
  CHECK(!relay_tree(m, 8).first_parent(n(1)));
  CHECK(!relay_tree(m, 8).first_parent(n(77)));
  CHECK(forgotten[0].id.lo <= 3);
}

TEST_CASE("a chain of one child each does not run out of depths") {
  const auto m = members_of(1, 600);
  for (const auto& x : m.others) {
    REQUIRE(relay_depth(x.id, m, 1) < relay_nowhere);
    REQUIRE(relay_parents(x.id, m, 1).front().depth <= relay_nowhere);
  }
}
