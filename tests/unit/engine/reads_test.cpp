// Reads that show everything committed before them, waits for members, and requests that end without an answer: what a
// caller is told, and when.
#include <algorithm>

#include "catch.hpp"
#include "engine/freshness.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;
using Catch::Matchers::Contains;

wire::add_job job(std::string id, std::string runner, duration every = 1h) {
  wire::add_job r;
  r.job.id = std::move(id);
  r.job.config.runner = std::move(runner);
  r.job.config.when = calendar::interval_schedule{std::chrono::duration_cast<std::chrono::milliseconds>(every), {}};
  return r;
}

std::vector<wire::request> all_reads() {
  return {wire::list_locks{}, wire::list_jobs{}, wire::job_history{"j"}, wire::reset_journal{"orders"},
          wire::wait_visible{}};
}

}  // namespace

TEST_CASE("locks are listed with owner, fence, label and waiters, all or by name") {
  nodes w(2);
  REQUIRE(w.run_until_active());
  const auto fence = expect<wire::lock_granted>(w.ask(0, wire::acquire_lock{"l", "mine", {}})).fence;
  expect<wire::lock_granted>(w.ask(1, wire::acquire_lock{"m", "", {}}));
  w.call(1, wire::acquire_lock{"l", "", {}});
  w.run(100ms);
  for (std::size_t i = 0; i < 2; ++i) {
    REQUIRE(expect<wire::lock_list>(w.ask(i, wire::list_locks{})).locks.size() == 2);
    const auto one = expect<wire::lock_list>(w.ask(i, wire::list_locks{"l"})).locks;
    REQUIRE(one.size() == 1);
    REQUIRE(one.front().owner == "a");
    REQUIRE(one.front().fence == fence);
    REQUIRE(one.front().label == "mine");
    REQUIRE(one.front().waiters == 1);
    REQUIRE(expect<wire::lock_list>(w.ask(i, wire::list_locks{"none"})).locks.empty());
  }
}

TEST_CASE("jobs are listed all, by id or by runner, with whether anybody can run them") {
  nodes w(1);
  REQUIRE(w.run_until_active());
  w.call(0, wire::add_runner{"backup"});
  for (const auto& j : {job("one", "backup"), job("two", "mail")}) REQUIRE(is<wire::job_added>(w.ask(0, j)));
  w.run(500ms);
  REQUIRE(expect<wire::job_list>(w.ask(0, wire::list_jobs{})).jobs.size() == 2);
  const auto mine = expect<wire::job_list>(w.ask(0, wire::list_jobs{"", "backup"})).jobs;
  REQUIRE(mine.size() == 1);
  REQUIRE(mine.front().runnable);
  REQUIRE(mine.front().owner == "a");
  const auto other = expect<wire::job_list>(w.ask(0, wire::list_jobs{"two", ""})).jobs;
  REQUIRE(!other.front().runnable);
  REQUIRE(other.front().owner.empty());
  REQUIRE(expect<wire::job_list>(w.ask(0, wire::list_jobs{"", "none"})).jobs.empty());
  for (const wire::request& r : {wire::request(wire::list_jobs{"none", ""}), wire::request(wire::job_history{"none"}),
                                 wire::request(wire::list_jobs{"one", "mail"})}) {
    REQUIRE(refusal(w.ask(0, r)) == errc::not_found);
    REQUIRE_THAT(reason(w.ask(0, r)), Contains("see coterie job list"));
  }
}

TEST_CASE("a job without an id is given one") {
  nodes w(1);
  REQUIRE(w.run_until_active());
  const auto a = expect<wire::job_added>(w.ask(0, job("", "backup"))).id;
  const auto b = expect<wire::job_added>(w.ask(0, job("", "backup"))).id;
  REQUIRE(a.size() == 4 + 32);
  REQUIRE(a.starts_with("job-"));
  REQUIRE(a != b);
}

TEST_CASE("a history is told newest first, with where each run was, and no more than asked for") {
  nodes w(1);
  REQUIRE(w.run_until_active());
  REQUIRE(is<wire::job_added>(w.ask(0, job("j", "backup", 1s))));
  w.run(4s);  // without a runner each is recorded as unavailable
  const auto runner = w.call(0, wire::add_runner{"backup"});
  REQUIRE(w.run_until([&] { return is<wire::run_job>(w.answers(runner).list.back()); }));
  machine::finish_run f;
  f.id = "j";
  f.fence = std::get<wire::run_job>(w.answers(runner).list.back()).run.fence;
  REQUIRE(is<wire::done>(w.ask(0, wire::finish_job{f})));
  const auto all = expect<wire::run_list>(w.ask(0, wire::job_history{"j", 100})).runs;
  REQUIRE(all.size() > 3);
  REQUIRE(all.front().node == "a");
  REQUIRE(all.front().run.what == machine::outcome::success);
  REQUIRE(all.back().node.empty());
  REQUIRE(all.back().run.what == machine::outcome::unavailable);
  REQUIRE(std::ranges::is_sorted(all, std::greater{}, [](const auto& r) { return r.run.number; }));
  REQUIRE(expect<wire::run_list>(w.ask(0, wire::job_history{"j", 2})).runs.size() == 2);
  REQUIRE(expect<wire::run_list>(w.ask(0, wire::job_history{"j", 0})).runs.size() == 1);
  // A line that does not decode is left out.
  w.disk(0).write({disk::put(disk::space::state, machine::history_key("j", all.front().run.number), to_bytes("rot"))},
                  true);
  REQUIRE(expect<wire::run_list>(w.ask(0, wire::job_history{"j", 1})).runs.empty());
}

TEST_CASE("how old a state may be follows from what was confirmed, when it is applied, by both clocks") {
  engine::freshness f(0.01);
  const auto at = [](duration steady, duration boot) { return times{instant(steady), boot_instant(boot), {}}; };
  CHECK_FALSE(f.age(log_index(9), at(1s, 1s)));
  f.confirmed(log_index(5), at(1s, 1s));
  f.confirmed(log_index(7), at(3s, 3s));
  f.confirmed(log_index(9), at(2s, 2s));  // overtaken
  CHECK_FALSE(f.age(log_index(4), at(4s, 4s)));
  CHECK(*f.age(log_index(5), at(4s, 4s)) >= 3s);
  CHECK(*f.age(log_index(6), at(4s, 4s)) < 3'100ms);
  CHECK(*f.age(log_index(7), at(4s, 4s)) < 1'100ms);
  CHECK(*f.age(log_index(7), at(4s, 9s)) >= 6s);  // it was suspended
  // Many that wait: the first counts as soon as it is applied, and so does the last.
  for (int i = 0; i < 100; ++i) f.confirmed(log_index(10 + i), at(10s + i * 1s, 10s + i * 1s));
  CHECK(*f.age(log_index(10), at(110s, 110s)) < 102s);
  CHECK(*f.age(log_index(109), at(110s, 110s)) < 1'100ms);
}

TEST_CASE("a stale read needs no quorum and says how old it may be") {
  nodes w(3);
  REQUIRE(w.run_until_active());
  expect<wire::lock_granted>(w.ask(0, wire::acquire_lock{"l", "mine", {}}));
  REQUIRE(is<wire::job_added>(w.ask(0, job("j", "backup", 1s))));
  w.run(4s);
  const auto leader = *w.leader(), cut = (leader + 1) % 3;
  const auto stale = [&](std::size_t i, wire::staleness s = {}) { return w.ask(i, wire::list_locks{"", s}, 1s); };
  const auto fresh = expect<wire::lock_list>(stale(cut));
  REQUIRE(fresh.as_of);
  CHECK(fresh.locks.size() == 1);
  CHECK(fresh.as_of->index == w[cut].look().raft->applied());
  REQUIRE(fresh.as_of->age);
  CHECK(*fresh.as_of->age <= 2'500ms);  // from one renewal of the session to the next
  SECTION("a linearizable one makes it younger, and has no age itself") {
    const auto linearizable = expect<wire::lock_list>(w.ask(cut, wire::list_locks{}));
    CHECK_FALSE(linearizable.as_of);
    CHECK(*expect<wire::lock_list>(stale(cut)).as_of->age <= 20ms);
  }
  SECTION("it grows while the node is alone, and may be bounded") {
    w.cut(cut);
    w.run(10s);
    const auto old = expect<wire::lock_list>(stale(cut));
    CHECK(old.locks.size() == 1);
    CHECK(*old.as_of->age >= 10s);
    CHECK(*old.as_of->age <= 13s);
    const auto no = stale(cut, {500ms});
    CHECK(refusal(no) == errc::unavailable);
    CHECK_THAT(reason(no), Contains("500 ms were asked for"));
    CHECK(is<wire::lock_list>(stale(cut, {1h})));
    CHECK(refusal(w.ask(cut, wire::count_journal{"orders", {500ms}})) == errc::unavailable);
    w.cut(cut, false);
    REQUIRE(w.run_until([&] { return is<wire::lock_list>(stale(cut, {2'500ms})); }));
  }
  SECTION("the other reads say it, too") {
    CHECK(expect<wire::job_list>(w.ask(cut, wire::list_jobs{"", "", wire::staleness{}})).as_of->age);
    const auto runs = expect<wire::run_list>(w.ask(cut, wire::job_history{"j", 10, wire::staleness{}}));
    CHECK(runs.as_of->age);
    CHECK_FALSE(runs.runs.empty());
    CHECK(expect<wire::entries>(w.ask(cut, wire::peek_journal{"orders"})).as_of->age);
    CHECK(expect<wire::journal_counts>(w.ask(cut, wire::count_journal{"orders"})).as_of->age);
    CHECK(refusal(w.ask(cut, wire::job_history{"none", 10, wire::staleness{}})) == errc::not_found);
  }
  SECTION("after a start nobody knows, until a majority was heard") {
    for (std::size_t i = 0; i < 3; ++i)
      if (i != cut) w.kill(i);
    w.restart(cut);
    const auto unknown = expect<wire::lock_list>(stale(cut));
    CHECK(unknown.locks.size() == 1);
    CHECK_FALSE(unknown.as_of->age);
    CHECK_THAT(reason(stale(cut, {1h})), Contains("has heard of no quorum"));
  }
}

TEST_CASE("before there is a state a stale read is refused at once") {
  engine::options o;
  o.seeds = {{"10.0.0.1", 7400}, {"10.0.0.2", 7400}};
  nodes w(0, o);
  const auto lone = w.add("lone", address{"10.0.0.1", 7400});
  CHECK(refusal(w.ask(lone, wire::list_locks{"", wire::staleness{}}, 1s)) == errc::unavailable);
}

TEST_CASE("a read lease is set on any node, is in force everywhere, and lets the leader read without a quorum") {
  engine::options o;
  o.session_ttl = 1'000ms;
  nodes w(3, o);
  REQUIRE(w.run_until_active());
  const auto leader = *w.leader(), other = (leader + 1) % 3;
  const auto raft = [&](std::string_view what) { return w[leader].look().raft->stats().get(what); };
  REQUIRE(refusal(w.ask(other, wire::set_read_lease{1ms})) == errc::bad_argument);
  REQUIRE(is<wire::done>(w.ask(other, wire::set_read_lease{1'000ms})));
  w.run(300ms);
  for (std::size_t i = 0; i < 3; ++i)
    REQUIRE(expect<wire::status_info>(w.ask(i, wire::get_status{})).read_lease_ms == 1'000);
  REQUIRE(is<wire::done>(w.ask(leader, wire::wait_visible{})));
  REQUIRE(raft("raft_lease_reads") == 1);

  // Cut off it goes on for a while, but nobody's session is renewed by that: the next leader may be elected already
  // (docs/consensus.md 1.9, c).
  REQUIRE(is<wire::appended>(w.ask(leader, wire::append_journal{"orders", "", {{"t", "m"}}})));
  const auto valid = w[leader].look().validity.steady;
  w.cut(leader);
  const auto id = w.call(leader, wire::wait_visible{});
  REQUIRE(w.answers(id).over);
  REQUIRE(is<wire::done>(w.answers(id).list.front()));
  w.run(500ms);  // it asks each third of a second
  REQUIRE(w[leader].look().validity.steady == valid);
  w.cut(leader, false);
  REQUIRE(w.run_until_active());

  REQUIRE(is<wire::done>(w.ask(other, wire::set_read_lease{0ms})));
  w.run(300ms);
  const auto now = *w.leader();
  const auto reads = w[now].look().raft->stats().get("raft_lease_reads");
  REQUIRE(is<wire::done>(w.ask(now, wire::wait_visible{})));
  REQUIRE(w[now].look().raft->stats().get("raft_lease_reads") == reads);
}

TEST_CASE("a read without a majority is refused when its time is up") {
  nodes w(3);
  REQUIRE(w.run_until_active());
  w.cut(0);
  w.run(3s);
  for (const auto& r : all_reads()) {
    const auto id = w.call(0, r, 1'000ms);
    w.run(900ms);
    REQUIRE(w.answers(id).list.empty());
    w.run(300ms);
    REQUIRE(refusal(w.answers(id).list.front()) == errc::no_quorum);
  }
}

TEST_CASE("a read that is not confirmed although there is a majority runs into its time") {
  nodes w(3);
  REQUIRE(w.run_until_active());
  const auto other = (*w.leader() + 1) % 3;
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    return from == other && r && std::holds_alternative<raft::read_request>(r->body);
  };
  const auto r = w.ask(other, wire::wait_visible{});
  REQUIRE(refusal(r) == errc::timeout);
  REQUIRE_THAT(reason(r), Contains("was not confirmed in time"));
  // Repeated until it gets through.
  const auto id = w.call(other, wire::wait_visible{});
  w.run(1s);
  w.lose = nullptr;
  REQUIRE(w.run_until([&] { return w.answers(id).over; }, 4s));
  REQUIRE(is<wire::done>(w.answers(id).list.front()));
}

TEST_CASE("a read goes on under the next leader") {
  nodes w(3);
  REQUIRE(w.run_until_active());
  const auto leader = *w.leader();
  const auto id = w.call((leader + 1) % 3, wire::wait_visible{});
  w.kill(leader);
  const auto after = w.call((leader + 1) % 3, wire::list_locks{});
  REQUIRE(w.run_until([&] { return w.answers(after).over; }, 4s));
  REQUIRE(is<wire::lock_list>(w.answers(after).list.front()));
  REQUIRE(is<wire::done>(w.answers(id).list.front()));
}

TEST_CASE("reads that nobody waits for are forgotten, and only so many wait") {
  engine::options o;
  o.max_calls = 2;
  nodes w(3, o);
  const auto one = w.call(0, wire::list_locks{}), two = w.call(0, wire::list_jobs{});
  const auto r = w.ask(0, wire::wait_visible{});
  REQUIRE(refusal(r) == errc::limit);
  REQUIRE_THAT(reason(r), Contains("too many reads"));
  w.cancel(0, one);
  REQUIRE(w.run_until_active());
  REQUIRE(w.answers(one).list.empty());
  REQUIRE(is<wire::job_list>(w.answers(two).list.front()));
}

TEST_CASE("a request that no majority hears is refused, or unsure once it was sent") {
  nodes w(3);
  REQUIRE(w.run_until_active());
  const auto leader = *w.leader(), other = (leader + 1) % 3;
  const wire::append_journal entry{"orders", "", {{"t", "m"}}};
  w.cut(other);
  w.run(1s);
  REQUIRE(refusal(w.ask(other, entry)) == errc::no_quorum);
  w.cut(other, false);
  REQUIRE(w.run_until_active());
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    return from == other && std::holds_alternative<wire::forward>(m);
  };
  REQUIRE(refusal(w.ask(other, entry)) == errc::indeterminate);
}

TEST_CASE("a command that makes no sense is refused before it is sent") {
  nodes w(1);
  REQUIRE(w.run_until_active());
  REQUIRE(refusal(w.ask(0, wire::append_journal{"orders", "", {}})) == errc::bad_argument);
  REQUIRE(refusal(w.ask(0, wire::keep_journal{"orders", 1ms})) == errc::bad_argument);
  REQUIRE(refusal(w.ask(0, wire::remove_job{""})) == errc::bad_name);
  REQUIRE(refusal(w.ask(0, wire::remove_job{"none"})) == errc::not_found);
}

TEST_CASE("only so many requests wait, and one that is withdrawn makes room") {
  engine::options o;
  o.max_calls = 2;
  nodes w(3, o);  // not formed yet: all of them wait
  const wire::append_journal entry{"orders", "", {{"t", "m"}}};
  const auto one = w.call(0, entry), two = w.call(0, entry);
  REQUIRE(refusal(w.ask(0, entry, 1ms)) == errc::limit);
  w.cancel(0, one);
  const auto three = w.call(0, entry);
  REQUIRE(w.run_until([&] { return w.answers(two).over && w.answers(three).over; }));
  REQUIRE(is<wire::appended>(w.answers(two).list.front()));
  REQUIRE(is<wire::appended>(w.answers(three).list.front()));
  REQUIRE(w.answers(one).list.empty());
  w.run(1s);
  REQUIRE(w[0].look().machine->journals().at("orders").total == 2);
}

TEST_CASE("one that was sent already is carried on although nobody waits for it") {
  nodes w(3);
  REQUIRE(w.run_until_active());
  const auto other = (*w.leader() + 1) % 3;
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    return from == other && std::holds_alternative<wire::forward>(m);
  };
  const auto id = w.call(other, wire::append_journal{"orders", "", {{"t", "m"}}});
  w.cancel(other, id);
  w.lose = nullptr;
  REQUIRE(w.run_until([&] { return w[other].look().machine->journals().contains("orders"); }));
  REQUIRE(w.answers(id).list.empty());
}

TEST_CASE("who waits for members is answered when they are there, for everybody") {
  nodes w(2);
  const auto two = w.call(0, wire::wait_members{2}), three = w.call(0, wire::wait_members{3}, 60'000ms),
             gone = w.call(0, wire::wait_members{3}, 60'000ms);
  REQUIRE(w.answers(two).list.empty());
  w.cancel(0, gone);
  REQUIRE(w.run_until([&] { return w.answers(two).over; }));
  REQUIRE(expect<wire::member_list>(w.answers(two).list.front()).members.size() == 2);
  REQUIRE(w.run_until_active());
  w.run(1s);
  REQUIRE(w.answers(three).list.empty());
  w.add("c");
  REQUIRE(w.run_until([&] { return w.answers(three).over; }));
  REQUIRE(expect<wire::member_list>(w.answers(three).list.front()).members.size() == 3);
  REQUIRE(w.answers(gone).list.empty());
}

TEST_CASE("who waits for members in vain is told how far it came") {
  nodes w(3);
  w.cut(0);
  auto r = w.ask(0, wire::wait_members{3});
  REQUIRE(refusal(r) == errc::timeout);
  REQUIRE_THAT(reason(r), Contains("of 3 members are alive, and the cluster is not formed"));
  w.cut(0, false);
  REQUIRE(w.run_until_active());
  r = w.ask(0, wire::wait_members{4});
  REQUIRE_THAT(reason(r), Contains("3 of 4 members are alive: see coterie status"));
  engine::options o;
  o.gossip_only = true;
  nodes g(2, o);
  g.run(2s);
  REQUIRE(is<wire::member_list>(g.ask(0, wire::wait_members{2})));
}
