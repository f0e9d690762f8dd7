// Jobs: schedules, owners, fires, outcomes (docs/jobs.md).
#include "base/hash.hpp"
#include "catch.hpp"
#include "world.hpp"

using namespace coterie;
using namespace coterie::machine;

namespace {

job_config every(milliseconds d, std::string runner = "r") {
  return {.runner = std::move(runner), .when = calendar::interval_schedule{d, {}}, .params = {}};
}
job_config cron_job(std::string expression, std::string zone = "UTC") {
  return {.runner = "r", .when = calendar::cron_schedule{std::move(expression), std::move(zone), {}}, .params = {}};
}
schedule_job add(std::string id, job_config c, bool replace = false) {
  return {std::move(id), std::move(c), replace, {}, {}};
}
finish_run success(const job_run_record& run) { return {run.job, run.fence, outcome::success, "ok", run.claimed, 5ms}; }

}  // namespace

TEST_CASE("schedule: identical config is a no-op, from several nodes at once, and keep is the default") {
  world w;
  const auto first = w.duty(add("j", every(10s)));
  CHECK(first.value == 1);
  CHECK(first.value2 == 1);
  const auto next = w.job("j").next;
  w.pass(3s);
  CHECK(w.duty(add("j", every(10s), true)).value2 == 0);
  CHECK(w.duty(add("j", every(20s))).value2 == 0);
  CHECK(w.happened.empty());
  CHECK(w.job("j").version == 1);
  CHECK(w.job("j").next == next);
  CHECK(w.m.jobs().size() == 1);
}

TEST_CASE("schedule: replace raises the version and computes the next time anew") {
  world w;
  w.duty(add("j", every(10s)));
  w.pass(3s);
  const auto a = w.duty(add("j", every(20s), true));
  CHECK(a.value == 2);
  CHECK(a.value2 == 1);
  CHECK(w.job("j").next == w.now + 20s);
}

TEST_CASE("schedule: interval times lie on a grid without drift, whatever the leader's delays") {
  world w;
  w.open_with_runner(1);
  const auto start = w.now;
  auto config = every(10s);
  config.on_overlap = overlap_policy::allow;
  w.duty(add("j", config));
  for (int i = 0; i < 20; ++i) {
    w.now = *w.m.next_duty(w.now) + 370ms;
    w.do_duties();
  }
  for (const auto& run : w.history()) CHECK((run.scheduled - start) % 10s == 0ms);
  CHECK(w.history().size() == 20);
}

TEST_CASE("schedule: bad arguments are refused before anything changes") {
  world w;
  CHECK(w.duty(add("", every(1s))).code == errc::bad_name);
  CHECK(w.duty(add("j", every(1s, ""))).code == errc::bad_name);
  CHECK(w.duty(add("j", every(99ms))).code == errc::bad_argument);
  CHECK(w.duty(add("j", cron_job("0 60 * * * ?"))).code == errc::bad_cron);
  const auto zone = w.duty(add("j", cron_job("0 0 * * * ?", "Europe/Berlin")));
  CHECK(zone.code == errc::bad_argument);
  CHECK(zone.text == "only UTC is built yet");
  auto big = every(1s);
  big.params["p"] = job_param(std::string(65'536, 'x'));
  CHECK(w.duty(add("j", big)).code == errc::limit);
  CHECK(w.m.jobs().empty());
}

TEST_CASE("schedule: jobs are limited") {
  limits l;
  l.jobs = 1;
  world w(l);
  CHECK(w.duty(add("a", every(1s))).ok());
  CHECK(w.duty(add("b", every(1s))).code == errc::limit);
  CHECK(w.duty(add("a", every(2s), true)).ok());
}

TEST_CASE("schedule: once fires once, also when it says now") {
  world w;
  w.open_with_runner(1);
  w.duty(add("now", {.runner = "r", .when = calendar::once_schedule{}, .params = {}}));
  w.duty(add("then", {.runner = "r", .when = calendar::once_schedule{w.now + 5s}, .params = {}}));
  w.duty(add("past", {.runner = "r", .when = calendar::once_schedule{w.now - 5s}, .params = {}}));
  w.pass(1ms);
  w.do_duties();
  CHECK(w.job("now").running.size() == 1);
  CHECK_FALSE(w.job("now").next);
  CHECK_FALSE(w.job("past").next);
  w.pass(5s);
  w.do_duties();
  CHECK(w.job("then").running.size() == 1);
  w.pass(24h);
  w.do_duties();
  CHECK(w.history().size() == 2);
}

TEST_CASE("unschedule removes the job and its history everywhere") {
  world w;
  auto c = w.open_with_runner(1);
  w.duty(add("j", every(10s)));
  w.duty(add("k", every(10s)));
  w.pass(10s);
  w.do_duties();
  CHECK(w.history().size() == 2);
  CHECK(w.duty(unschedule_job{"j"}).ok());
  CHECK(w.seen<job_changed>()[0].removed);
  CHECK(w.duty(unschedule_job{"j"}).code == errc::not_found);
  CHECK(w.history().size() == 1);
  CHECK(w.history()[0].job == "k");
  CHECK(w.disk.all<job_record>().size() == 1);
  CHECK(w.expire(c).ok());
}

TEST_CASE("owner: the rendezvous-first active session that has the runner") {
  world w;
  auto a = w.open_with_runner(1), b = w.open_with_runner(2);
  w.open(3);  // has no runner
  for (int i = 0; i < 50; ++i) w.duty(add(fmt::format("j{}", i), every(1h)));
  w.do_duties(7);
  int on_a = 0;
  for (const auto& [id, job] : w.m.jobs()) {
    const bool a_first = rendezvous_weight(id, node(1)) > rendezvous_weight(id, node(2));
    CHECK(job.owner == (a_first ? a.epoch : b.epoch));
    on_a += job.owner == a.epoch;
  }
  CHECK(on_a > 10);
  CHECK(on_a < 40);
  CHECK(w.m.duties(w.now, 10).empty());
}

TEST_CASE("owner: moves on expiry, close, stop, passivation, loss of the runner, removal, and a newer session") {
  const auto moves = [](auto how) {
    world w;
    auto a = w.open_with_runner(1);
    w.duty(add("j", every(1h)));
    w.do_duties();
    REQUIRE(w.job("j").owner == a.epoch);
    auto b = w.open_with_runner(2);
    how(w, a);
    CHECK(w.job("j").owner == session_epoch{});
    w.do_duties();
    CHECK(w.job("j").owner == b.epoch);
  };
  moves([](world& w, client& a) { w.expire(a); });
  moves([](world& w, client& a) { w.ask(a, close_session{a.epoch}); });
  moves([](world& w, client& a) { w.ask(a, set_activity{true, true}); });
  moves([](world& w, client& a) { w.ask(a, set_activity{false, false}); });
  moves([](world& w, client& a) { w.ask(a, unregister_runner{"r"}); });
  moves([](world& w, client&) { w.duty(remove_member{node(1)}); });
  moves([](world& w, client&) { w.open(1); });
}

TEST_CASE("owner: an assignment to a session that may not own the job is void") {
  world w;
  auto a = w.open_with_runner(1), b = w.open_with_runner(2), c = w.open(3);
  w.duty(add("j", every(1h)));
  CHECK(w.duty(assign_job{"j", 1, c.epoch}).code == errc::not_owner);
  CHECK(w.duty(assign_job{"j", 2, a.epoch}).code == errc::not_owner);
  CHECK(w.duty(assign_job{"j", 1, a.epoch}).ok());
  CHECK(w.duty(assign_job{"j", 1, b.epoch}).code == errc::not_owner);  // it has one
  CHECK(w.job("j").owner == a.epoch);
}

TEST_CASE("claim: each tuple is claimed at most once, whatever is proposed twice") {
  world w;
  w.open_with_runner(1);
  auto config = every(10s);
  config.on_overlap = overlap_policy::allow;
  w.duty(add("j", config));
  w.pass(10s);
  const auto due = w.m.duties(w.now, 10);
  REQUIRE(due.size() == 2);  // assign, fire
  for (int i = 0; i < 3; ++i)
    for (const auto& b : due) w.duty(b);
  CHECK(w.job("j").running.size() == 1);
  CHECK(w.history().size() == 1);
  CHECK(w.job("j").next == w.now + 10s);
  auto fire = std::get<fire_job>(due[1]);
  fire.scheduled += 5s;  // in the future
  CHECK_FALSE(w.duty(fire).ok());
  w.pass(20s);
  fire.version = 2;
  CHECK_FALSE(w.duty(fire).ok());
  fire.version = 1;
  fire.owner = session_epoch(1);
  CHECK_FALSE(w.duty(fire).ok());
  CHECK(w.history().size() == 1);
}

TEST_CASE("claim: it carries what the runner needs, and its fence is the entry's") {
  world w;
  auto a = w.open_with_runner(1);
  auto config = every(10s);
  config.params["n"] = job_param(std::int64_t{7});
  config.params["list"] = std::vector<job_param>{true, 1.5, std::string("x")};
  w.duty(add("j", config));
  w.pass(10s);
  w.do_duties();
  const auto claimed = w.seen<run_claimed>();
  REQUIRE(claimed.size() == 1);
  CHECK(claimed[0].params == config.params);
  CHECK(claimed[0].runner == "r");
  CHECK(claimed[0].run.session == a.epoch);
  CHECK(claimed[0].run.node == node(1));
  CHECK(claimed[0].run.fence == fence_of(w.index));
  CHECK(claimed[0].run.attempt == 1);
  CHECK(claimed[0].run.scheduled == w.now);
  CHECK(claimed[0].run.coalesced == 0);
}

TEST_CASE("a passive owner's claim is void: no run starts on a passive node") {
  world w;
  auto a = w.open_with_runner(1);
  w.duty(add("j", every(10s)));
  w.do_duties();
  w.pass(10s);
  const auto due = w.m.duties(w.now, 10);
  w.ask(a, set_activity{false, false});
  for (const auto& b : due) CHECK_FALSE(w.duty(b).ok());
  CHECK(w.job("j").running.empty());
  w.do_duties();
  REQUIRE(w.history().size() == 1);
  CHECK(w.history()[0].what == outcome::unavailable);
}

TEST_CASE("finish: once, by the session that was claimed, message cut at 255 bytes") {
  world w;
  auto a = w.open_with_runner(1), b = w.open(2);
  w.duty(add("j", every(10s)));
  w.pass(10s);
  w.do_duties();
  auto done = success(w.job("j").running.at(0));
  CHECK(w.history().at(0).what == std::nullopt);  // in the history while it runs
  done.message = std::string(254, 'x') + "€";
  CHECK(w.ask(b, done).code == errc::not_owner);
  auto lost = done;
  lost.what = outcome::lost;
  CHECK(w.ask(a, lost).code == errc::bad_argument);
  CHECK(w.ask(a, done).ok());
  CHECK(w.ask(a, done).code == errc::not_found);
  REQUIRE(w.history().size() == 1);
  CHECK(w.history()[0].what == outcome::success);
  CHECK(w.history()[0].message == std::string(254, 'x'));
  CHECK(w.history()[0].took == 5ms);
  CHECK(w.job("j").last_outcome == outcome::success);
  CHECK(w.job("j").running.empty());
}

TEST_CASE("no runner: unavailable is recorded once a fire, nothing is replayed when one appears") {
  world w;
  w.duty(add("j", every(10s)));
  for (int i = 0; i < 3; ++i) {
    w.pass(10s);
    w.do_duties();
  }
  REQUIRE(w.history().size() == 3);
  for (const auto& run : w.history()) CHECK(run.what == outcome::unavailable);
  CHECK(w.job("j").last_outcome == outcome::unavailable);
  w.open_with_runner(1);
  w.do_duties();
  CHECK(w.history().size() == 3);
  w.pass(10s);
  w.do_duties();
  CHECK(w.job("j").running.size() == 1);
}

TEST_CASE("overlap: skip records the fire in the entry that would have claimed it") {
  world w;
  auto a = w.open_with_runner(1);
  w.duty(add("j", every(10s)));
  w.pass(10s);
  w.do_duties();
  const auto run = w.job("j").running.at(0);
  w.pass(10s);
  w.do_duties();
  CHECK(w.job("j").running.size() == 1);
  CHECK(w.history().at(1).what == outcome::skipped);
  CHECK(w.history().at(1).fence == 0);
  w.ask(a, success(run));
  w.pass(10s);
  w.do_duties();
  CHECK(w.job("j").running.size() == 1);
}

TEST_CASE("overlap: allow starts the next run before the last one finished, up to a limit") {
  limits l;
  l.running_per_job = 2;
  world w(l);
  w.open_with_runner(1);
  auto config = every(10s);
  config.on_overlap = overlap_policy::allow;
  w.duty(add("j", config));
  for (int i = 0; i < 3; ++i) {
    w.pass(10s);
    w.do_duties();
  }
  CHECK(w.job("j").running.size() == 2);
  CHECK(w.history().at(2).what == outcome::skipped);
}

TEST_CASE("owner crash: the claim is lost by expiry alone, aborted by a clean close") {
  for (const bool clean : {false, true}) {
    world w;
    auto a = w.open_with_runner(1);
    w.duty(add("j", every(10s)));
    w.pass(10s);
    w.do_duties();
    const auto run = w.job("j").running.at(0);
    w.pass(9s);
    w.do_duties();
    CHECK_FALSE(w.history().at(0).what);
    if (clean)
      w.ask(a, close_session{a.epoch});
    else
      w.expire(a);
    CHECK(w.seen<run_finished>().size() == 1);
    CHECK(w.history().at(0).what == (clean ? outcome::aborted : outcome::lost));
    CHECK(w.job("j").running.empty());
    CHECK(w.job("j").lost.empty());
    CHECK(w.ask(a, success(run)).code == errc::indeterminate);
  }
}

TEST_CASE("rerun_if_lost: next attempt, same scheduled time, larger fence, only after the expiry") {
  world w;
  auto a = w.open_with_runner(1);
  auto config = every(1h);
  config.rerun_if_lost = true;
  w.duty(add("j", config));
  w.pass(1h);
  w.do_duties();
  const auto first = w.job("j").running.at(0);
  auto b = w.open_with_runner(2);
  const fire_job early{
      .id = "j", .version = 1, .scheduled = first.scheduled, .attempt = 2, .owner = a.epoch, .what = {}, .next = {}};
  CHECK_FALSE(w.duty(early).ok());
  w.expire(a);
  const auto next = w.job("j").next;
  const auto due = w.m.duties(w.now, 10);
  for (int i = 0; i < 2; ++i)
    for (const auto& d : due) w.duty(d);
  REQUIRE(w.job("j").running.size() == 1);
  const auto second = w.job("j").running[0];
  CHECK(second.attempt == 2);
  CHECK(second.scheduled == first.scheduled);
  CHECK(second.fence > first.fence);
  CHECK(second.session == b.epoch);
  CHECK(w.job("j").next == next);
  CHECK(w.job("j").lost.empty());
  CHECK(w.history().size() == 2);
}

TEST_CASE("rerun_if_lost: waits for a node that has the runner; attempts are limited") {
  limits l;
  l.attempts = 3;
  world w(l);
  auto config = every(1h);
  config.rerun_if_lost = true;
  auto a = w.open_with_runner(1);
  w.duty(add("j", config));
  w.pass(1h);
  for (int attempt = 1; attempt <= 3; ++attempt) {
    w.do_duties();
    REQUIRE(w.job("j").running.size() == 1);
    CHECK(w.job("j").running[0].attempt == static_cast<std::uint32_t>(attempt));
    w.expire(a);
    w.do_duties();
    CHECK(w.job("j").lost.size() == (attempt < 3 ? 1 : 0));
    a = w.open_with_runner(1);
  }
  w.do_duties();
  CHECK(w.job("j").running.empty());
}

TEST_CASE("replace: a running old version finishes, and overlap still sees it") {
  world w;
  auto a = w.open_with_runner(1);
  w.duty(add("j", every(10s)));
  w.pass(10s);
  w.do_duties();
  const auto run = w.job("j").running.at(0);
  w.duty(add("j", every(5s), true));
  w.pass(5s);
  w.do_duties();
  CHECK(w.history().at(1).what == outcome::skipped);
  CHECK(w.history().at(1).version == 2);
  CHECK(w.ask(a, success(run)).ok());
  CHECK(w.history().at(0).what == outcome::success);
}

TEST_CASE("replace: fires of the old version up to the stamp are claimed in the same entry, once") {
  for (const bool assigned : {true, false}) {
    world w;
    auto a = w.open_with_runner(1);
    auto config = every(100ms);
    config.on_overlap = overlap_policy::allow;
    w.duty(add("j", config));
    if (assigned) w.do_duties();
    w.pass(350ms);
    const auto raced = w.m.duties(w.now, 10);
    CHECK(w.duty(add("j", every(1h), true)).value == 2);
    CHECK(w.seen<run_claimed>().size() == 3);
    CHECK(w.job("j").running.size() == 3);
    CHECK(w.job("j").next == w.now + 1h);
    CHECK(w.job("j").owner == a.epoch);
    std::set<std::uint64_t> fences;
    for (const auto& run : w.job("j").running) {
      CHECK(run.version == 1);
      fences.insert(run.fence);
    }
    CHECK(fences.size() == 3);
    for (const auto& d : raced) w.duty(d);  // the leader's own fires, proposed before: void now
    CHECK(w.history().size() == 3);
  }
}

TEST_CASE("replace: what the leader did not see moving is not lost: nothing changes, the caller repeats") {
  world w;
  w.open_with_runner(1);
  w.duty(add("j", every(10s)));
  w.do_duties();
  command replace{{}, {}, {}, {}, add("j", every(1h), true)};
  w.m.prepare(replace, w.now);  // nothing due yet
  w.pass(10s);
  w.duty(journal_append{"x", "", {{"t", "m"}}});  // the stamp moves past the old version's next time
  const auto before = w.m.digest();
  CHECK(w.m.apply(++w.index, w.when, replace).result.code == errc::unavailable);
  CHECK(w.m.digest() == before);
  CHECK(w.duty(add("j", every(1h), true)).ok());
  CHECK(w.job("j").running.size() == 1);
}

TEST_CASE("replace: missed fires of the old version go by its misfire policy") {
  world w;
  w.open_with_runner(1);
  w.duty(add("j", every(10s)));
  w.do_duties();
  w.pass(65s);
  w.duty(add("j", every(1h), true));
  REQUIRE(w.history().size() == 1);
  CHECK(w.history()[0].coalesced == 6);
  CHECK(w.history()[0].scheduled == w.now - 5s);
}

TEST_CASE("replace: another runner moves the job to who has it") {
  world w;
  auto a = w.open_with_runner(1, "r");
  auto b = w.open_with_runner(2, "s");
  w.duty(add("j", every(10s, "r")));
  w.do_duties();
  CHECK(w.job("j").owner == a.epoch);
  w.duty(add("j", every(10s, "s"), true));
  w.do_duties();
  CHECK(w.job("j").owner == b.epoch);
}

TEST_CASE("history keeps the newest lines, also when an old run outlives its own") {
  limits l;
  l.history_per_job = 3;
  world w(l);
  auto a = w.open_with_runner(1);
  w.duty(add("j", every(10s)));
  w.pass(10s);
  w.do_duties();
  const auto old = w.job("j").running.at(0);
  for (int i = 0; i < 5; ++i) {
    w.pass(10s);
    w.do_duties();
  }
  CHECK(w.history().size() == 3);
  CHECK(w.ask(a, success(old)).ok());
  REQUIRE(w.history().size() == 3);
  CHECK(w.history()[0].number == 4);
  CHECK(w.history()[2].number == 6);
  CHECK(w.job("j").history_first == 4);
  CHECK(w.job("j").history_count == 3);
}

TEST_CASE("clock: a backward step never un-claims and repeats nothing") {
  world w;
  w.open_with_runner(1);
  auto config = every(10s);
  config.on_overlap = overlap_policy::allow;
  w.duty(add("j", config));
  w.pass(10s);
  w.do_duties();
  w.pass(-1h);
  w.do_duties();
  CHECK(w.history().size() == 1);
  w.duty(unschedule_job{"j"});
  w.duty(add("j", config));
  CHECK(*w.job("j").next > w.m.globals().last_stamp);  // a new job of that name does not take old times again
}
