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
  for (std::uint64_t i = 1; i <= roots; ++i) m.roots.push_back({n(i), zone(i)});
  for (std::uint64_t i = roots + 1; i <= roots + others; ++i) m.others.push_back({n(i), zone(i)});
  return m;
}

std::uint32_t relay_depth(node_id id, const relay_members& m, std::size_t fan_out) {
  return relay_tree(m, fan_out).depth(id);
}
std::vector<relay_parent> relay_parents(node_id id, const relay_members& m, std::size_t fan_out) {
  return relay_tree(m, fan_out).parents(id);
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
