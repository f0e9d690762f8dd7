// What a node starts with follows from its disk alone; whatever is damaged there is refused with what is broken.
#include <algorithm>

#include "base/big_endian.hpp"
#include "catch.hpp"
#include "engine/recovery.hpp"
#include "machine/types.hpp"
#include "unit/engine/nodes.hpp"
#include "wire/codec.hpp"

namespace {

using namespace coterie;
using namespace coterie::engine;
using Catch::Matchers::Contains;

constexpr std::uint64_t hi = 7, lo = 8;

/// Of a node that has appended to a journal and processed one entry of it.
disk::image used() {
  test::nodes w(1);
  REQUIRE(w.run_until_active());
  for (const auto* text : {"1", "2", "3"}) REQUIRE(w.ask(0, wire::append_journal{"orders", "", {{"t", text}}}));
  const auto batch = std::get<wire::entries>(*w.ask(0, wire::begin_process{"orders", 10}));
  REQUIRE(
      std::holds_alternative<wire::done>(*w.ask(0, wire::end_process{"orders", batch.token, batch.list.front().id})));
  return w.image(0);
}

std::vector<disk::item>::iterator find(std::vector<disk::item>& items, std::string_view key) {
  return std::ranges::find(items, key, [](const disk::item& i) { return as_text(i.first); });
}
void set(std::vector<disk::item>& items, std::string_view key, bytes value) {
  if (const auto it = find(items, key); it != items.end())
    it->second = std::move(value);
  else
    items.emplace_back(to_bytes(key), std::move(value));
}
void drop(std::vector<disk::item>& items, std::string_view key) { items.erase(find(items, key)); }

std::string refusal(const disk::image& image, bool rejoin = false) {
  const auto r = recover(image, hi, lo, rejoin);
  if (r) return "";
  CHECK(r.error().code == errc::closed);
  return r.error().message;
}
void require_damaged(const disk::image& image, const std::string& what) {
  const auto text = refusal(image);
  INFO(text);
  REQUIRE_THAT(text, Contains("the data directory is damaged: " + what));
  REQUIRE_THAT(text, Contains("move it away and start with an empty one"));
}

}  // namespace

TEST_CASE("an empty disk gets an identity, and each start its own boot epoch") {
  const auto first = recover({}, hi, lo, false);
  REQUIRE(first);
  REQUIRE(first->state.self == node_id{hi, lo | 1});
  REQUIRE(first->state.boot == boot_epoch(1));
  test::memory_disk d;
  d.write(first->first_write, true);
  const auto second = recover(d.load({}, {}), 1, 2, false);
  REQUIRE(second);
  REQUIRE(second->state.self == first->state.self);
  REQUIRE(second->state.boot == boot_epoch(2));
  // Nothing has ended, so --rejoin changes nothing.
  REQUIRE(recover(d.load({}, {}), 1, 2, true)->state.self == first->state.self);
}

TEST_CASE("a node finds everything again that it had") {
  const auto image = used();
  const auto r = recover(image, hi, lo, false);
  REQUIRE(r);
  REQUIRE(r->state.self == *node_id::parse(as_text(find(const_cast<disk::image&>(image).meta, "identity")->second)));
  REQUIRE(r->state.boot == boot_epoch(2));
  REQUIRE(r->state.log.entries.size() == image.log.size());
  REQUIRE(r->state.log.entries.back().index >= r->state.log.applied);
  REQUIRE(r->state.state.size() == image.state.size());
  REQUIRE(r->state.cursors.at("orders").ordinal == 1);
}

TEST_CASE("each value of meta that does not decode is refused by its name") {
  const std::vector<std::pair<std::string, std::string>> all = {
      {"identity", "the node's identity does not"},  {"boot_epoch", "the node's identity does not"},
      {"acceptor", "the genesis record does not"},   {"0/hard_state", "term and vote do not"},
      {"0/log_base", "the log's start does not"},    {"0/applied", "the applied index does not"},
      {"ended", "the end of the identity does not"},
  };
  for (const auto& [key, what] : all) {
    auto image = used();
    set(image.meta, key, to_bytes("rot"));
    require_damaged(image, what + " decode");
  }
  auto image = used();
  drop(image.meta, "boot_epoch");
  require_damaged(image, "the node's identity does not decode");
}

TEST_CASE("a log with a gap, a changed entry or one in another's place is refused (etcd#6378)", "[lesson]") {
  const auto good = used();
  REQUIRE(good.log.size() > 4);
  const auto index = [&](std::size_t at) { return std::to_string(parse_log_key(good.log[at].first)->second.value); };

  auto image = good;
  image.log.erase(image.log.begin() + 2);
  require_damaged(image, "log entry " + index(2) + " is missing");
  image = good;
  image.log.erase(image.log.begin());
  require_damaged(image, "log entry " + index(0) + " is missing");

  image = good;
  image.log[1].second.back() ^= std::byte{1};
  require_damaged(image, "log entry " + index(1) + " fails its checksum");
  image = good;
  image.log[1].second.clear();
  require_damaged(image, "log entry " + index(1) + " fails its checksum");
  // A whole entry, but not the one that followed.
  image = good;
  std::swap(image.log[2].second, image.log[3].second);
  require_damaged(image, "log entry " + index(2) + " fails its checksum");
  image = good;
  raft::entry other{term(2), log_index(99), raft::entry_kind::noop, {}, {}};
  hash128_value chain;
  image.log[0].second = copy(wire::encode_log_entry(other, {}, chain).view());
  require_damaged(image, "log entry " + index(0) + " fails its checksum");
}

TEST_CASE("an entry that can't follow the one before is refused, though its checksum fits") {
  const auto log_of = [](const std::vector<raft::entry>& entries) {
    disk::image image;
    image.meta = {{to_bytes("boot_epoch"), big_endian(1)}, {to_bytes("identity"), to_bytes(node_id{0, 1}.str())}};
    set(image.meta, "0/hard_state", copy(wire::encode(raft::hard_state{term(9), {}}).view()));
    hash128_value chain;
    for (const auto& e : entries) {
      const auto before = chain;
      image.log.emplace_back(log_key(meta_group, e.index), copy(wire::encode_log_entry(e, before, chain).view()));
    }
    return image;
  };
  const raft::entry first{term(3), log_index(1), raft::entry_kind::noop, {}, {}};
  raft::entry second{term(3), log_index(2), raft::entry_kind::configuration, {}, {{node_id{0, 1}}, {}, {}}};
  REQUIRE(refusal(log_of({first, second})).empty());
  second.when = term(2);
  require_damaged(log_of({first, second}), "log entry 2 does not follow from the one before");
  second.when = term(3);
  second.conf.voters = {};
  require_damaged(log_of({first, second}), "log entry 2 does not follow from the one before");
}

TEST_CASE("a log that ends before the applied state, or is ahead of the vote, is refused (ch#113654)", "[lesson]") {
  auto image = used();
  const auto last = parse_log_key(image.log.back().first)->second.value;
  set(image.meta, "0/applied", big_endian(last + 1));
  require_damaged(image, "state is at " + std::to_string(last + 1) + " but the log ends at " + std::to_string(last));
  image = used();
  drop(image.meta, "0/hard_state");
  require_damaged(image, "the log has a later term than the vote record");
}

TEST_CASE("the applied index and what it did are one batch: no crash parts them (etcd#13766, etcd#14143)", "[lesson]") {
  options o;
  o.raft.max_committed_bytes = 1;  // one entry is applied at a time
  test::nodes w(1, o);
  REQUIRE(w.run_until_active());
  w.hold_disk(0);
  for (int i = 0; i < 20; ++i) w.call(0, wire::append_journal{"orders", "", {{"t", std::to_string(i)}}});
  w.release_disk(0);
  const auto unsynced = w.disk(0).unsynced();
  REQUIRE(unsynced >= 20);
  for (std::size_t lost = 0; lost <= unsynced; ++lost) {
    auto d = w.disk(0);
    d.lose(lost);
    const auto r = recover(d.load(state_memory_begin(), state_memory_end()), hi, lo, false);
    REQUIRE(r);
    machine::machine found, replayed;
    found.restore(r->state.state);
    replayed.bootstrap(founder_members(*r->state.acceptor.committed));
    for (const auto& e : r->state.log.entries)
      if (e.kind == raft::entry_kind::command && e.index <= r->state.log.applied)
        replayed.apply(e.index, e.when, *wire::decode_command(e.payload.view()));
    REQUIRE(found.digest() == replayed.digest());
    // Payloads lie on the disk alone.
    const auto in_memory = r->state.state.size();
    const auto journal = found.journals().find("orders");
    REQUIRE(d.size(disk::space::state) - in_memory == (journal == found.journals().end() ? 0 : journal->second.total));
  }
}

TEST_CASE("a record or a cursor that does not decode is refused") {
  auto image = used();
  image.state.front().second = to_bytes("rot");
  require_damaged(image, "a state record does not decode");
  image = used();
  set(image.local, "cursor/orders", big_endian(1));
  require_damaged(image, "a cursor does not decode");
  image = used();
  set(image.local, "cursus/orders", cursor_value({1, 1}));
  require_damaged(image, "a cursor does not decode");
}

TEST_CASE("state without an identity is refused, in whatever space it lies") {
  for (const int space : {0, 1, 2}) {
    disk::image image;
    (space == 0 ? image.meta : space == 1 ? image.log : image.state).emplace_back(to_bytes("x"), to_bytes("y"));
    require_damaged(image, "there is state but no identity");
  }
}

TEST_CASE("an identity that has ended says so, and --rejoin takes a new one and drops everything") {
  const std::vector<std::pair<end_of_identity, std::string>> all = {
      {end_of_identity::left, "this node has left its cluster"},
      {end_of_identity::removed, "this node was removed from its cluster"},
      {end_of_identity::outdated, "this data directory is an older copy of what this node had"},
  };
  for (const auto& [why, text] : all) {
    auto image = used();
    const auto mark = mark_ended(why);
    set(image.meta, as_text(mark.key), copy(mark.value.view()));
    REQUIRE_THAT(refusal(image), Contains(text) && Contains("--rejoin"));

    const auto again = recover(image, hi, lo, true);
    REQUIRE(again);
    REQUIRE(again->state.self == node_id{hi, lo | 1});
    REQUIRE(again->state.boot == boot_epoch(1));
    REQUIRE(again->state.log.entries.empty());
    REQUIRE(again->state.state.empty());
    test::memory_disk d;
    d.write({disk::put(disk::space::log, to_bytes("old"), to_bytes("entry")), mark}, true);
    d.write(again->first_write, true);
    REQUIRE(d.size(disk::space::log) == 0);
    REQUIRE(recover(d.load({}, {}), 1, 2, false)->state.self == node_id{hi, lo | 1});
  }
}

TEST_CASE("a founder begins at the genesis record, its other seeds as learners") {
  swim::genesis_record r{"default", 1, 2, {}, {}, {}};
  for (const std::uint64_t i : {4, 3, 2, 1}) r.seeds.push_back({node_id{0, i}, std::string(1, char('a' + i)), {}, {}});
  r.seeds.push_back({});  // a slot that was dropped
  r.voters = {node_id{0, 3}, node_id{0, 1}, node_id{0, 2}};
  const auto base = founder_base(r);
  REQUIRE(base.index == log_index(1));
  REQUIRE(base.conf.voters == std::vector{node_id{0, 1}, node_id{0, 2}, node_id{0, 3}});
  REQUIRE(base.conf.learners == std::vector{node_id{0, 4}});
  REQUIRE(founder_members(r).size() == 4);

  disk::image image;
  swim::acceptor_state a;
  a.committed = r;
  a.id = r.id();
  image.meta = {{to_bytes("acceptor"), copy(wire::encode(a).view())}, {to_bytes("boot_epoch"), big_endian(1)}};
  auto founder = image, joiner = image;
  set(founder.meta, "identity", to_bytes(node_id{0, 4}.str()));
  set(joiner.meta, "identity", to_bytes(node_id{0, 5}.str()));
  REQUIRE(recover(founder, hi, lo, false)->state.log.snapshot == base);
  REQUIRE(recover(founder, hi, lo, false)->state.log.hard.current == term(1));
  REQUIRE(!recover(joiner, hi, lo, false)->state.log.snapshot.index);
}

TEST_CASE("the applied index never lies before the log's start") {
  disk::image image;
  raft::snapshot_meta base{log_index(40), term(3), {{node_id{0, 1}}, {}, {}}};
  image.meta = {{to_bytes("0/applied"), big_endian(12)},
                {to_bytes("boot_epoch"), big_endian(1)},
                {to_bytes("identity"), to_bytes(node_id{0, 1}.str())},
                {to_bytes("0/log_base"), copy(wire::encode(base, hash128_value{1, 2}).view())}};
  const auto r = recover(image, hi, lo, false);
  REQUIRE(r);
  REQUIRE(r->state.log.applied == log_index(40));
  REQUIRE(r->state.log.hard.current == term(3));
  REQUIRE(r->state.log_chain == hash128_value{1, 2});
}
