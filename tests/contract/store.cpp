// What every disk does, be it RocksDB or the simulated one: order, atomicity, ranges, views, installs, restarts.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "base/random.hpp"
#include "contract/store_disks.hpp"

namespace coterie::test {

#define ON_BOTH_DISKS(name) TEMPLATE_TEST_CASE(name, "[store]", real_disk, simulated_disk)

ON_BOTH_DISKS("spaces are apart and keep their keys in byte order") {
  TestType d;
  write(d, {put(space::meta, "b", "1"), put(space::meta, "a", "2"), put(space::meta, "\xff", "3"),
            put(space::log, "a", "4"), put(space::state, "a", "5"), put(space::local, "", "6"),
            put(space::meta, "ab", "")});
  CHECK(text(d, space::meta) == "a=2 ab= b=1 \xff=3");
  CHECK(text(d, space::log) == "a=4");
  CHECK(text(d, space::state) == "a=5");
  CHECK(text(d, space::local) == "=6");
}

ON_BOTH_DISKS("the operations of a write happen in their order") {
  TestType d;
  write(d, {put(space::log, "a", "1"), put(space::log, "b", "1"), put(space::log, "c", "1")});
  const disk::batch first{erase_range(space::log, "a", "c"), put(space::log, "b", "2"), put(space::log, "d", "2")};
  const disk::batch second{erase(space::log, "d"), put(space::log, "e", "1"), put(space::log, "e", "2"),
                           erase(space::log, "no such key")};
  const disk::batch* both[] = {&first, &second};
  d.write(both, true);
  CHECK(text(d, space::log) == "b=2 c=1 e=2");
}

ON_BOTH_DISKS("erase_range ends before its end, or with the space") {
  TestType d;
  for (const auto in : {space::meta, space::log, space::state, space::local}) {
    write(d, {put(in, "a", "1"), put(in, "b", "1"), put(in, "c", "1"), put(in, "\xff\xff\xff\xff", "1")});
    write(d, {erase_range(in, "c", "a"), erase_range(in, "b", "b")});
    CHECK(text(d, in) == "a=1 b=1 c=1 \xff\xff\xff\xff=1");
    write(d, {erase_range(in, "a", "b")});
    CHECK(text(d, in) == "b=1 c=1 \xff\xff\xff\xff=1");
    write(d, {erase_range(in, "c", "")});
    CHECK(text(d, in) == "b=1");
  }
  write(d, {erase_range(space::log, "", "")});
  CHECK(text(d, space::log).empty());
  CHECK(text(d, space::state) == "b=1");
}

ON_BOTH_DISKS("a range is cut by its limits and goes on after its last key") {
  TestType d;
  write(d, {put(space::state, "a", "11"), put(space::state, "b", "22"), put(space::state, "c", "33"),
            put(space::state, "d", "44")});
  query q;
  q.from = to_bytes("b");
  const auto read = [&] {
    const auto p = d.range(q);
    return text(p.items) + (p.more ? " +" : "");
  };
  CHECK(read() == "b=22 c=33 d=44");
  q.max_items = 3;
  CHECK(read() == "b=22 c=33 d=44");
  q.max_items = 2;
  CHECK(read() == "b=22 c=33 +");
  q.max_items = 0;
  CHECK(read() == "b=22 +");
  q.max_items = 10;
  q.max_bytes = 6;  // of keys and values
  CHECK(read() == "b=22 c=33 +");
  q.max_bytes = 5;
  CHECK(read() == "b=22 +");
  q.max_bytes = 1;
  CHECK(read() == "b=22 +");
  q.max_bytes = 100;
  q.to = to_bytes("d");
  CHECK(read() == "b=22 c=33");
  q.to = to_bytes("b");
  CHECK(read().empty());
  q.to = to_bytes("a");
  CHECK(read().empty());
}

ON_BOTH_DISKS("a reverse range begins at its end") {
  TestType d;
  for (const auto in : {space::state, space::log}) {
    write(d, {put(in, "a", "1"), put(in, "b", "2"), put(in, "c", "3"), put(in, "d", "4")});
    query q;
    q.in = in;
    q.reverse = true;
    const auto read = [&] {
      const auto p = d.range(q);
      return text(p.items) + (p.more ? " +" : "");
    };
    CHECK(read() == "d=4 c=3 b=2 a=1");
    q.from = to_bytes("b");
    q.to = to_bytes("d");
    CHECK(read() == "c=3 b=2");
    q.max_items = 1;
    CHECK(read() == "c=3 +");
    q.to = to_bytes("c");
    CHECK(read() == "b=2");
    q.to = to_bytes("b");
    CHECK(read().empty());
  }
}

ON_BOTH_DISKS("a view stays as it was") {
  TestType d;
  write(d, {put(space::state, "a", "1"), put(space::log, "a", "1")});
  d.open_view(7);
  write(d, {put(space::state, "a", "2"), put(space::state, "b", "2"), erase(space::log, "a")}, true);
  d.open_view(8);
  write(d, {erase_range(space::state, "", "")});
  CHECK(text(d, space::state, 7) == "a=1");
  CHECK(text(d, space::log, 7) == "a=1");
  CHECK(text(d, space::state, 8) == "a=2 b=2");
  CHECK(text(d, space::log, 8).empty());
  CHECK(text(d, space::state).empty());
  d.close_view(7);
  d.close_view(7);
  CHECK(text(d, space::state, 8) == "a=2 b=2");
}

ON_BOTH_DISKS("an install replaces the state in one step") {
  TestType d;
  write(d, {put(space::state, "old", "1"), put(space::log, "old", "1"), put(space::meta, "m", "1")});
  d.install_begin();
  d.install_chunk(std::vector{item("a", "1"), item("c", "1")});
  write(d, {put(space::state, "older", "1")});
  d.install_chunk(std::vector{item("b", "1"), item("c", "2")});
  CHECK(text(d, space::state) == "old=1 older=1");
  d.open_view(1);
  d.install_commit({put(space::meta, "m", "2"), erase_range(space::log, "", ""), put(space::state, "d", "1"),
                    erase(space::state, "b")});
  CHECK(text(d, space::state) == "a=1 c=2 d=1");
  CHECK(text(d, space::log).empty());
  CHECK(text(d, space::meta) == "m=2");
  CHECK(text(d, space::state, 1) == "old=1 older=1");
  CHECK(text(d, space::log, 1) == "old=1");

  write(d, {put(space::state, "e", "1")});
  d.restart();
  CHECK(text(d, space::state) == "a=1 c=2 d=1 e=1");
  CHECK(text(d, space::meta) == "m=2");

  SECTION("which may be larger than a table, in any order") {
    std::map<std::string, std::string> expected;
    d.install_begin();
    for (const int first : {100, 300, 0, 200, 50}) {
      std::vector<disk::item> items;
      for (int i = first; i < first + 150; ++i) {
        const auto key = fmt::format("{:04}", i);
        expected[key] = std::to_string(first) + std::string(1'000, 'x');
        items.push_back(item(key, expected[key]));
      }
      d.install_chunk(items);
    }
    d.install_commit({});
    for (int i = 0; i < 2; ++i) {
      std::map<std::string, std::string> found;
      for (const auto& [k, v] : d.range(whole(space::state)).items) found[to_text(k)] = to_text(v);
      CHECK(found == expected);
      d.restart();
    }
  }
  SECTION("and can be followed by another, with views across both") {
    d.open_view(2);
    d.install_begin();
    d.install_chunk(std::vector{item("z", "1")});
    d.install_commit({});
    d.open_view(3);
    d.install_begin();
    d.install_commit({});
    CHECK(text(d, space::state, 2) == "a=1 c=2 d=1 e=1");
    CHECK(text(d, space::state, 3) == "z=1");
    CHECK(text(d, space::state).empty());
    d.restart();
    CHECK(text(d, space::state).empty());
  }
}

ON_BOTH_DISKS("each group has a state of its own, which an install of another leaves alone") {
  TestType d;
  const auto one = disk::state_of(group_id(1)), last = disk::state_of(group_id(max_data_groups));
  write(d, {put(space::state, "a", "0"), put(one, "a", "1"), put(one, "b", "1"), put(last, "a", "16")});
  write(d, {erase(one, "b"), put(one, "c", "1")}, true);
  CHECK(text(d, space::state) == "a=0");
  CHECK(text(d, one) == "a=1 c=1");
  CHECK(text(d, last) == "a=16");
  d.open_view(1);
  // Two at once, one of which is never finished.
  d.install_begin(one);
  d.install_begin(last);
  d.install_chunk(std::vector{item("x", "1")}, one);
  d.install_chunk(std::vector{item("y", "16")}, last);
  d.install_commit({put(space::meta, "applied", "9"), put(one, "z", "1")}, one);
  CHECK(text(d, one) == "x=1 z=1");
  CHECK(text(d, one, 1) == "a=1 c=1");
  CHECK(text(d, last) == "a=16");
  d.restart();
  CHECK(text(d, space::state) == "a=0");
  CHECK(text(d, one) == "x=1 z=1");
  CHECK(text(d, last) == "a=16");
  const auto image = d.load(to_bytes("a"), to_bytes("y"));
  CHECK(text(image.state) == "a=0");
  REQUIRE(image.data.size() == 2);
  CHECK(text(image.data.at(group_id(1))) == "x=1");
  CHECK(text(image.data.at(group_id(max_data_groups))) == "a=16");
  write(d, disk::erase_everything());
  CHECK(text(d, one).empty());
  CHECK(text(d, last).empty());
}

TEMPLATE_TEST_CASE("an unfinished install is dropped by a restart and by the next one (nuraft#562)", "[store][lesson]",
                   real_disk, simulated_disk) {
  TestType d;
  write(d, {put(space::state, "a", "1")});
  d.install_begin();
  d.install_chunk(std::vector{item("x", "1")});
  SECTION("restart") {
    d.restart();
    CHECK(text(d, space::state) == "a=1");
    d.install_begin();
    d.install_chunk(std::vector{item("y", "1")});
    d.install_commit({});
    CHECK(text(d, space::state) == "y=1");
  }
  SECTION("begun again") {
    d.install_begin();
    d.install_chunk(std::vector{item("y", "1")});
    d.install_commit({});
    CHECK(text(d, space::state) == "y=1");
    d.restart();
    CHECK(text(d, space::state) == "y=1");
  }
}

ON_BOTH_DISKS("a start reads three spaces and part of the state") {
  TestType d;
  write(d, {put(space::meta, "m", "1"), put(space::log, "l", "1"), put(space::local, "o", "1"),
            put(space::state, "a", "1"), put(space::state, "b", "1"), put(space::state, "c", "1")});
  d.restart();
  const auto i = d.load(to_bytes("a"), to_bytes("c"));
  CHECK(text(i.meta) == "m=1");
  CHECK(text(i.log) == "l=1");
  CHECK(text(i.local) == "o=1");
  CHECK(text(i.state) == "a=1 b=1");
  CHECK(text(d.load(to_bytes("b"), {}).state) == "b=1 c=1");
}

ON_BOTH_DISKS("an empty disk is empty, and empty writes are harmless") {
  TestType d;
  d.write({}, true);
  d.write({}, false);
  write(d, {}, true);
  const auto i = d.load({}, {});
  CHECK(i.meta.size() + i.log.size() + i.local.size() + i.state.size() == 0);
  CHECK_FALSE(d.range({}).more);
}

// ---- the two against each other ------------------------------------------------------------------------------------

namespace {

constexpr space all_spaces[] = {space::meta, space::log, space::state, space::local};

bytes random_key(rng& random) {
  static constexpr std::string_view letters("\x00\x01 ab\xfe\xff", 7);
  bytes r(random.below(5));
  for (auto& b : r) b = static_cast<std::byte>(letters[random.below(letters.size())]);
  return r;
}

bytes random_value(rng& random) {
  return bytes(random.chance(0.05) ? 4'000 : random.below(20), static_cast<std::byte>(random.below(256)));
}

disk::batch random_batch(rng& random) {
  disk::batch b;
  for (auto n = random.below(6); n > 0; --n) {
    const auto in = all_spaces[random.below(4)];
    const auto kind = random.below(10);
    if (kind < 7) b.push_back(disk::put(in, random_key(random), random_value(random)));
    if (kind == 7) b.push_back(disk::erase(in, random_key(random)));
    if (kind == 8) b.push_back(disk::erase_range(in, random_key(random), random_key(random)));
    if (kind == 9 && random.chance(0.2)) b.push_back(disk::erase_range(in, random_key(random), {}));
  }
  return b;
}

query random_query(rng& random, const std::vector<std::uint64_t>& views) {
  query q;
  q.in = all_spaces[random.below(4)];
  if (random.chance(0.5)) q.from = random_key(random);
  if (random.chance(0.5)) q.to = random_key(random);
  if (random.chance(0.5)) q.max_items = random.below(10);
  if (random.chance(0.3)) q.max_bytes = random.below(200);
  q.reverse = random.chance(0.4);
  if (!views.empty() && random.chance(0.5)) q.view = views[random.below(views.size())];
  return q;
}

/// One run of random operations on both disks; every answer must be the same.
struct twins {
  rng random;
  real_disk real;
  simulated_disk simulated;
  std::vector<std::uint64_t> views;
  std::uint64_t next_view = 1;
  bool installing = false;

  explicit twins(std::uint64_t seed) : random(seed) {}

  template <class F>
  void both(F f) {
    f(real);
    f(simulated);
  }

  void compare(const query& q) {
    const auto a = real.range(q);
    const auto b = simulated.range(q);
    REQUIRE(a.items == b.items);
    REQUIRE(a.more == b.more);
  }

  void write_some() {
    std::vector<disk::batch> batches(1 + random.below(3));
    std::vector<const disk::batch*> pointers;
    for (auto& b : batches) pointers.push_back(&(b = random_batch(random)));
    const bool sync = random.chance(0.1);
    both([&](auto& d) { d.write(pointers, sync); });
  }

  void install_some() {
    if (!installing || random.chance(0.1)) {
      both([](auto& d) { d.install_begin(); });
      installing = true;
    } else if (random.chance(0.6)) {
      std::vector<disk::item> items;
      for (auto n = random.below(8); n > 0; --n) items.emplace_back(random_key(random), random_value(random));
      both([&](auto& d) { d.install_chunk(items); });
    } else {
      const auto what = random_batch(random);
      both([&](auto& d) { d.install_commit(what); });
      installing = false;
    }
  }

  void view_some() {
    if (views.size() < 4) {
      both([&](auto& d) { d.open_view(next_view); });
      views.push_back(next_view++);
    } else {
      const auto i = static_cast<std::ptrdiff_t>(random.below(views.size()));
      both([&](auto& d) { d.close_view(views[static_cast<std::size_t>(i)]); });
      views.erase(views.begin() + i);
    }
  }

  void restart() {
    both([](auto& d) { d.restart(); });
    views.clear();
    installing = false;
    const auto a = real.load({}, {}), b = simulated.load({}, {});
    REQUIRE(a.meta == b.meta);
    REQUIRE(a.log == b.log);
    REQUIRE(a.local == b.local);
    REQUIRE(a.state == b.state);
  }

  void step() {
    const auto what = random.below(1'000);
    if (what < 600) write_some();
    if (what >= 600 && what < 700) install_some();
    if (what >= 700 && what < 760) view_some();
    if (what >= 760 && what < 998) compare(random_query(random, views));
    if (what >= 998) restart();
  }
};

}  // namespace

TEST_CASE("the simulated disk and RocksDB answer alike", "[store]") {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    INFO("seed " << seed);
    twins t(seed);
    for (int i = 0; i < 1'500; ++i) t.step();
    t.restart();
  }
}

// ---- what only the simulated disk can lose -------------------------------------------------------------------------

TEST_CASE("a power loss takes some of the newest un-synced batches, whole (etcd#14143)", "[store][lesson]") {
  std::map<std::size_t, int> seen;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    rng random(seed);
    memory_disk d;
    std::vector<std::string> after;  // the state after each batch
    const auto note = [&] { after.push_back(text(d, space::log) + "|" + text(d, space::state)); };
    const std::size_t synced = random.below(5), all = synced + 4;
    for (std::size_t i = 0; i < all; ++i) {
      if (i == synced) {
        d.sync();
        note();
      }
      const auto key = std::string(1, static_cast<char>('a' + random.below(4)));
      if (random.chance(0.2)) {
        d.install_begin();
        d.install_chunk(std::vector{item(key, "i"), item("q", "i")});
        d.install_commit({put(space::log, key, std::to_string(i))}, space::state, false);
      } else if (random.chance(0.2)) {
        d.write({erase_range(space::log, "b", "d"), erase_range(space::state, key, "")}, false);
      } else {
        d.write({put(space::log, key, std::to_string(i)), put(space::state, key, std::to_string(i))}, false);
      }
      if (i >= synced) note();
    }
    REQUIRE(d.unsynced() == 4);
    const auto lost = d.crash(random);
    ++seen[lost];
    CHECK(text(d, space::log) + "|" + text(d, space::state) == after[4 - lost]);
    CHECK(d.unsynced() == 0);
  }
  CHECK(seen.size() == 5);  // from nothing to everything
}

TEST_CASE("a simulated sync that fails makes nothing durable, and is the last", "[store]") {
  memory_disk d;
  d.fail_sync_after(1);
  CHECK(d.write({put(space::log, "a", "1")}, true));
  CHECK_FALSE(d.write({put(space::log, "b", "1")}, true));
  CHECK(d.failed());
  CHECK_FALSE(d.write({put(space::log, "c", "1")}, true));
  CHECK_FALSE(d.sync());
  d.lose(d.unsynced());
  CHECK(text(d, space::log) == "a=1");
  CHECK(d.write({put(space::log, "d", "1")}, true));
}

TEST_CASE("a copied disk is another disk", "[store]") {
  memory_disk a;
  a.write({put(space::log, "a", "1")}, true);
  a.write({put(space::log, "b", "1")}, false);
  memory_disk b = a;
  b.write({put(space::log, "a", "2")}, true);
  a.lose(1);
  CHECK(text(a, space::log) == "a=1");
  CHECK(text(b, space::log) == "a=2 b=1");
  rng random(1);
  CHECK(a.corrupt(random, space::log));
  CHECK(text(a, space::log) != "a=1");
  CHECK(text(b, space::log) == "a=2 b=1");
}

}  // namespace coterie::test
