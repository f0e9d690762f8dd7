// The state read page by page, and the first home of a new cluster made of it.
#include "catch.hpp"
#include "engine/new_cluster.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"
#include "wire/codec.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct snapshot_world : active_nodes {
  using active_nodes::active_nodes;

  std::vector<disk::item> read_all(std::size_t i, bool stale, wire::snapshot_page& head) {
    std::vector<disk::item> all;
    wire::read_snapshot next{0, {}, stale};
    for (;;) {
      const auto r = ask(i, next);
      REQUIRE(r);
      const auto* page = std::get_if<wire::snapshot_page>(&*r);
      REQUIRE(page);
      if (next.view == 0) head = *page;
      REQUIRE(page->index == head.index);
      all.insert(all.end(), page->items.begin(), page->items.end());
      if (!page->more) return all;
      next.view = page->view;
      next.from = all.back().first;
      next.from.push_back(std::byte{0});
    }
  }
  void append(std::size_t i, int count) {
    for (int k = 0; k < count; ++k)
      REQUIRE(is<wire::appended>(ask(i, wire::append_journal{"orders", "", {{"t", std::string(500, 'x')}}})));
  }
};

engine::options small_pages() {
  engine::options o;
  o.snapshot_chunk_bytes = 2'000;
  return o;
}

}  // namespace

TEST_CASE("a snapshot is one state, whatever is written while it is read") {
  snapshot_world w(3, small_pages());
  const auto at = (*w.leader() + 1) % 3;
  w.append(at, 20);
  auto r = w.ask(at, wire::read_snapshot{});
  const auto first = std::get<wire::snapshot_page>(*r);
  REQUIRE(first.more);
  w.append(at, 5);
  std::size_t entries = 0;
  auto page = first;
  const auto count = [&] {
    for (const auto& [key, value] : page.items) entries += as_text(key).starts_with("E");
  };
  count();
  while (page.more) {
    auto from = page.items.back().first;
    from.push_back(std::byte{0});
    page = std::get<wire::snapshot_page>(*w.ask(at, wire::read_snapshot{first.view, from}));
    REQUIRE(page.index == first.index);
    count();
  }
  REQUIRE(entries == 20);
  // It is closed now, and one that nobody reads on is closed after a while.
  REQUIRE(refusal(w.ask(at, wire::read_snapshot{first.view, {}})) == errc::not_found);
  const auto left = std::get<wire::snapshot_page>(*w.ask(at, wire::read_snapshot{}));
  w.run(31s);
  REQUIRE(refusal(w.ask(at, wire::read_snapshot{left.view, {}})) == errc::not_found);
}

TEST_CASE("only a few snapshots are read at a time") {
  snapshot_world w(1, small_pages());
  w.append(0, 20);
  for (int i = 0; i < 4; ++i) REQUIRE(std::get<wire::snapshot_page>(*w.ask(0, wire::read_snapshot{})).more);
  REQUIRE(refusal(w.ask(0, wire::read_snapshot{})) == errc::limit);
}

TEST_CASE("without a majority a snapshot has to be asked for as stale") {
  snapshot_world w(3);
  w.append(0, 1);
  w.cut(0);
  w.run(3s);
  REQUIRE(refusal(w.ask(0, wire::read_snapshot{})) == errc::no_quorum);
  wire::snapshot_page head;
  REQUIRE(!w.read_all(0, true, head).empty());
}

TEST_CASE("a new cluster begins with the state of the old one, and nobody of it") {
  snapshot_world w(3);
  w.append(0, 3);
  REQUIRE(is<wire::lock_granted>(w.ask(0, wire::acquire_lock{"index", "", {}})));
  wire::snapshot_page head;
  const auto items = w.read_all(1, false, head);

  std::vector<machine::record> memory;
  memory_disk disk;
  disk.install_begin();
  disk.install_chunk(items);
  for (const auto& [key, value] : items)
    if (key < engine::state_memory_end()) memory.push_back(*wire::decode_record(key, value));
  machine::machine m;
  m.restore(memory);
  const engine::new_cluster c{"default", 7, node_id{1, 2}, "z", {"10.0.9.9", 7400}, head.index, head.when};
  disk.install_commit(engine::first_node(c, m));

  auto prepared = engine::recover(disk.load(engine::state_memory_begin(), engine::state_memory_end()), 1, 1, false);
  REQUIRE(prepared);
  const auto& s = prepared->state;
  REQUIRE(s.self == c.self);
  REQUIRE(s.acceptor.id);
  REQUIRE(s.acceptor.id != head.id);
  REQUIRE(s.log.last() == head.index);
  REQUIRE(s.log.snapshot.conf.voters == std::vector{c.self});

  disk.write(prepared->first_write, true);
  engine::options o;
  o.name = "z";
  o.advertise = c.at;
  o.seeds = {c.at};
  auto now = w.now();
  engine::engine e(o, std::move(prepared->state), now, 1);
  std::vector<engine::event> events{engine::wake{}};
  // Its own disk answers at once; there is nobody else.
  for (int i = 0; i < 4'000; ++i) {
    std::vector<engine::action> actions;
    e.step(events, now, actions);
    events = {engine::wake{}};
    for (const auto& a : actions)
      if (const auto* x = std::get_if<engine::write>(&a)) {
        disk.write(x->what, x->sync);
        events.emplace_back(engine::written{x->sequence});
      }
    now.steady += 10ms;
    now.boot += 10ms;
    now.wall += 10ms;
  }
  const auto v = e.look();
  REQUIRE(v.raft->leader_ready());
  REQUIRE(v.machine->journals().at("orders").count == 3);
  // The holder of the old cluster expired, and a new fence will be larger.
  REQUIRE(!v.machine->locks().contains("index"));
  REQUIRE(v.raft->commit() > head.index);
  std::size_t living = 0;
  for (const auto& [id, member] : v.machine->members()) living += !member.removed;
  REQUIRE(living == 1);
  REQUIRE(v.machine->member(c.self)->name == "z");
}
