// Journals as the callers of one node see them: reading, processing in turns, cursors, gaps, watching.
#include <algorithm>

#include "catch.hpp"
#include "machine/types.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

struct journal_world : active_nodes {
  explicit journal_world(std::size_t entries = 0) : active_nodes(1) {
    for (std::size_t i = 0; i < entries; ++i) append();
  }
  std::uint64_t append(const std::string& journal = "orders") {
    return expect<wire::appended>(ask(0, wire::append_journal{journal, "", {{"t", "m"}}})).ids.front();
  }
  wire::entries process(std::uint32_t max = 100) {
    return expect<wire::entries>(ask(0, wire::begin_process{"orders", max}));
  }
  std::optional<wire::response> finish(std::uint64_t token, std::uint64_t cursor) {
    return ask(0, wire::end_process{"orders", token, cursor});
  }
  wire::journal_counts count() { return expect<wire::journal_counts>(ask(0, wire::count_journal{"orders"})); }
  std::size_t ready(engine::call_id id) {
    return static_cast<std::size_t>(std::ranges::count_if(
        answers(id).list, [](const auto& r) { return std::holds_alternative<wire::journal_ready>(r); }));
  }
};

}  // namespace

TEST_CASE("no journal call takes a name that no journal can have") {
  journal_world w;
  for (const wire::request& r :
       {wire::request(wire::peek_journal{"Bad"}), wire::request(wire::count_journal{"Bad"}),
        wire::request(wire::reset_journal{"Bad"}), wire::request(wire::begin_process{"Bad"}),
        wire::request(wire::watch_journal{"Bad"}), wire::request(wire::append_journal{"Bad", "", {{"t", "m"}}}),
        wire::request(wire::keep_journal{"Bad", 1h})}) {
    INFO(r.index());
    REQUIRE(refusal(w.ask(0, r)) == errc::bad_name);
  }
}

TEST_CASE("a journal that nobody wrote to is empty, to be read, processed and reset alike") {
  journal_world w;
  REQUIRE(expect<wire::entries>(w.ask(0, wire::peek_journal{"orders"})).list.empty());
  REQUIRE(w.count().count == 0);
  REQUIRE(w.count().retained == 0);
  REQUIRE(is<wire::done>(w.ask(0, wire::reset_journal{"orders"})));
  const auto id = w.call(0, wire::begin_process{"orders"});
  REQUIRE(w.answers(id).over);
  REQUIRE(expect<wire::entries>(w.answers(id).list.front()).list.empty());
  // Nothing was begun, so there is nothing to end.
  REQUIRE(refusal(w.finish(1, 0)) == errc::bad_argument);
}

TEST_CASE("a batch has 1 to 10000 entries") {
  journal_world w(2);
  REQUIRE(refusal(w.ask(0, wire::begin_process{"orders", 0})) == errc::limit);
  REQUIRE(refusal(w.ask(0, wire::begin_process{"orders", 10'001})) == errc::limit);
  REQUIRE(w.process(1).list.size() == 1);
}

TEST_CASE("processing moves the cursor to the entry named, and peeking shows what follows") {
  journal_world w(3);
  const auto batch = w.process();
  REQUIRE(batch.list.size() == 3);
  REQUIRE(is<wire::done>(w.finish(batch.token, batch.list[1].id)));
  REQUIRE(w.count().count == 1);
  REQUIRE(w.count().retained == 3);
  REQUIRE(w.count().cursor == batch.list[1].id);
  const auto rest = expect<wire::entries>(w.ask(0, wire::peek_journal{"orders"})).list;
  REQUIRE(rest.size() == 1);
  REQUIRE(rest.front().id == batch.list[2].id);
  REQUIRE(expect<wire::entries>(w.ask(0, wire::peek_journal{"orders", 0})).list.size() == 1);  // at least one
}

TEST_CASE("a batch that ends without a cursor, or where it began, moves nothing") {
  journal_world w(2);
  auto batch = w.process(1);
  const auto first = batch.list.front().id;
  REQUIRE(is<wire::done>(w.finish(batch.token, 0)));
  batch = w.process(1);
  REQUIRE(batch.list.front().id == first);
  REQUIRE(is<wire::done>(w.finish(batch.token, first)));
  batch = w.process(1);
  REQUIRE(batch.list.front().id != first);
  REQUIRE(is<wire::done>(w.finish(batch.token, first)));
  REQUIRE(w.count().cursor == first);
}

TEST_CASE("an id outside the batch moves nothing and ends it") {
  journal_world w(3);
  const auto batch = w.process(1);
  const auto r = w.finish(batch.token, batch.list.front().id + 1);
  REQUIRE(refusal(r) == errc::bad_argument);
  REQUIRE_THAT(reason(r), Contains("is not an id of this batch"));
  REQUIRE(w.count().cursor == 0);
  REQUIRE(refusal(w.finish(batch.token, batch.list.front().id)) == errc::bad_argument);
  REQUIRE(w.process(1).list.front().id == batch.list.front().id);
}

TEST_CASE("one batch at a time: the next caller gets what the one before left") {
  journal_world w(3);
  const auto first = w.process(1);
  const auto second = w.call(0, wire::begin_process{"orders", 1});
  const auto gone = w.call(0, wire::begin_process{"orders", 1});
  const auto third = w.call(0, wire::begin_process{"orders", 1});
  REQUIRE(w.answers(second).list.empty());
  REQUIRE(refusal(w.finish(first.token + 1, 0)) == errc::bad_argument);  // the token of nobody yet
  w.cancel(0, gone);
  REQUIRE(is<wire::done>(w.finish(first.token, first.list.front().id)));
  const auto two = expect<wire::entries>(w.answers(second).list.front());
  REQUIRE(two.list.front().id > first.list.front().id);
  REQUIRE(refusal(w.finish(first.token, 0)) == errc::bad_argument);
  // Who goes away while processing has moved nothing.
  w.cancel(0, second);
  REQUIRE(expect<wire::entries>(w.answers(third).list.front()).list.front().id == two.list.front().id);
  REQUIRE(w.answers(gone).list.empty());
}

TEST_CASE("a thousand may wait for their turn, and no more") {
  journal_world w(1);
  w.process(1);
  for (int i = 0; i < 1'000; ++i) REQUIRE(w.answers(w.call(0, wire::begin_process{"orders", 1})).list.empty());
  REQUIRE(refusal(w.ask(0, wire::begin_process{"orders", 1})) == errc::limit);
}

TEST_CASE("a caller that goes away while its batch is read gets none, and the next one does") {
  journal_world w(1);
  w.hold_disk(0);
  const auto gone = w.call(0, wire::begin_process{"orders"});
  w.cancel(0, gone);
  const auto next = w.call(0, wire::begin_process{"orders"});
  w.release_disk(0);
  REQUIRE(w.answers(gone).list.empty());
  REQUIRE(expect<wire::entries>(w.answers(next).list.front()).list.size() == 1);
}

TEST_CASE("whoever comes next is given the journal only when the cursor is on the disk") {
  journal_world w(2);
  const auto first = w.call(0, wire::begin_process{"orders", 1});
  const auto batch = expect<wire::entries>(w.answers(first).list.front());
  const auto next = w.call(0, wire::begin_process{"orders", 1});
  w.hold_disk(0);
  const auto end = w.call(0, wire::end_process{"orders", batch.token, batch.list.front().id});
  REQUIRE(w.answers(end).list.empty());
  REQUIRE(w.answers(next).list.empty());
  SECTION("which it waits for") {
    w.release_disk(0);
    REQUIRE(w.answers(next).list.size() == 1);
  }
  SECTION("or when the one before goes away meanwhile, and once only") {
    w.cancel(0, first);
    w.release_disk(0);
    REQUIRE(w.answers(next).list.size() == 1);
    REQUIRE(!w.answers(next).over);
  }
  REQUIRE(is<wire::done>(w.answers(end).list.front()));
  REQUIRE(expect<wire::entries>(w.answers(next).list.front()).list.front().id > batch.list.front().id);
}

TEST_CASE("a reset skips what is there, also while a batch is processed") {
  journal_world w(3);
  const auto batch = w.process(1);
  REQUIRE(is<wire::done>(w.ask(0, wire::reset_journal{"orders"})));
  REQUIRE(w.count().count == 0);
  REQUIRE(is<wire::done>(w.finish(batch.token, 0)));
  REQUIRE(w.process().list.empty());
  const auto id = w.append();
  REQUIRE(w.process().list.front().id == id);
}

TEST_CASE("an entry that does not decode ends the call that wanted it, not the node") {
  journal_world w;
  const auto id = w.append();
  w.disk(0).write({disk::put(disk::space::state, machine::entry_key("orders", id), to_bytes("rot"))}, true);
  REQUIRE(refusal(w.ask(0, wire::peek_journal{"orders"})) == errc::closed);
  w.hold_disk(0);
  const auto one = w.call(0, wire::begin_process{"orders"});
  const auto two = w.call(0, wire::begin_process{"orders"});
  w.release_disk(0);
  REQUIRE(refusal(w.answers(one).list.front()) == errc::closed);
  REQUIRE(refusal(w.answers(two).list.front()) == errc::closed);
  REQUIRE(w.logged(0, "an entry of orders does not decode"));
  REQUIRE(!w.end_of(0));
}

TEST_CASE("what was removed by age before it was processed is told once, as a gap") {
  journal_world w(1);
  const auto batch = w.process();
  const auto seen = batch.list.front().id;
  REQUIRE(is<wire::done>(w.finish(batch.token, seen)));
  for (int i = 0; i < 3; ++i) w.append();
  REQUIRE(is<wire::done>(w.ask(0, wire::keep_journal{"orders", 2s})));
  const auto removed = [&] { return w[0].look().machine->journals().at("orders").count == 0; };
  SECTION("with what is left of it") {
    REQUIRE(w.run_until(removed));
    const auto last = w.append();
    const auto r = w.ask(0, wire::begin_process{"orders"});
    REQUIRE(refusal(r) == errc::retention_gap);
    REQUIRE_THAT(reason(r), Contains("3 entries of orders were removed by age"));
    REQUIRE(failure_in(r)->first == seen + 1);
    REQUIRE(failure_in(r)->second == last);
    REQUIRE(w.process().list.front().id == last);
  }
  SECTION("with nothing left") {
    REQUIRE(w.run_until(removed));
    REQUIRE(refusal(w.ask(0, wire::begin_process{"orders"})) == errc::retention_gap);
    REQUIRE(w.process().list.empty());
  }
  SECTION("and the next caller goes on behind it") {
    REQUIRE(w.run_until(removed));
    const auto one = w.call(0, wire::begin_process{"orders"});
    const auto two = w.call(0, wire::begin_process{"orders"});
    REQUIRE(refusal(w.answers(one).list.front()) == errc::retention_gap);
    REQUIRE(is<wire::entries>(w.answers(two).list.front()));
  }
}

TEST_CASE("a node that never processed a journal begins at its oldest entry, and knows of no gap") {
  journal_world w(2);
  REQUIRE(is<wire::done>(w.ask(0, wire::keep_journal{"orders", 2s})));
  REQUIRE(w.run_until([&] { return w[0].look().machine->journals().at("orders").count == 0; }));
  const auto id = w.append();
  REQUIRE(w.process().list.front().id == id);
}

TEST_CASE("a cursor beyond the journal's end says that the cluster was restored, and goes back") {
  journal_world w(2);
  const auto bad = engine::cursor_value({1'000, 900});
  w.disk(0).write({disk::put(disk::space::local, engine::cursor_key("orders"), bad),
                   disk::put(disk::space::local, engine::cursor_key("other"), bad)},
                  true);
  w.restart(0);
  REQUIRE(w.run_until_active());
  for (const std::string name : {"orders", "other"}) {  // one that exists, and one that does not
    const auto r = w.ask(0, wire::begin_process{name});
    REQUIRE(refusal(r) == errc::retention_gap);
    REQUIRE_THAT(reason(r), Contains("restored from an older state"));
    REQUIRE(expect<wire::entries>(w.ask(0, wire::begin_process{name})).list.empty());
  }
  REQUIRE(w.count().count == 0);
  w.append();
  REQUIRE(w.count().count == 1);
}

TEST_CASE("a watcher is told whenever there is something to process, and of no other journal") {
  journal_world w;
  const auto early = w.call(0, wire::watch_journal{"orders"});
  REQUIRE(is<wire::done>(w.answers(early).list.front()));
  REQUIRE(w.ready(early) == 0);
  w.append("other");
  REQUIRE(w.ready(early) == 0);
  w.append();
  REQUIRE(w.ready(early) == 1);
  const auto late = w.call(0, wire::watch_journal{"orders"});
  REQUIRE(w.ready(late) == 1);
  REQUIRE(is<wire::done>(w.ask(0, wire::reset_journal{"orders"})));
  REQUIRE(w.ready(w.call(0, wire::watch_journal{"orders"})) == 0);
  w.cancel(0, early);
  w.append();
  REQUIRE(w.ready(early) == 1);
  REQUIRE(w.ready(late) == 2);
  REQUIRE(!w.answers(late).over);
}

TEST_CASE("a stopping node lets a batch be ended and begins no other") {
  journal_world w(1);
  w.call(0, wire::acquire_lock{"l", "", {}});
  REQUIRE(w.run_until([&] { return !w[0].look().machine->locks().empty(); }));
  const auto batch = w.process();
  w.call(0, wire::stop_node{});
  REQUIRE(refusal(w.ask(0, wire::begin_process{"orders"})) == errc::closed);
  REQUIRE(refusal(w.ask(0, wire::peek_journal{"orders"})) == errc::closed);
  REQUIRE(is<wire::done>(w.finish(batch.token, batch.list.front().id)));
  REQUIRE(w.image(0).local.size() == 1);
}
