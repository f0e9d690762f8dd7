// Runners as the processes of one node see them: what they are given to run, when they have to stop, and what becomes
// of runs that nobody ends.
#include <algorithm>

#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;

struct job_world : active_nodes {
  explicit job_world(std::size_t n = 1, engine::options o = {}) : active_nodes(n, std::move(o)) {}
  engine::call_id runner(std::size_t i = 0, const std::string& name = "backup") {
    return call(i, wire::add_runner{name});
  }
  void schedule(const std::string& id = "j", duration every = 1s, const std::string& runner = "backup") {
    wire::add_job r;
    r.job.id = id;
    r.job.config.runner = runner;
    r.job.config.when = calendar::interval_schedule{std::chrono::duration_cast<std::chrono::milliseconds>(every), {}};
    REQUIRE(is<wire::job_added>(ask(0, r)));
  }
  std::vector<wire::run_job> runs(engine::call_id id) {
    std::vector<wire::run_job> r;
    for (const auto& a : answers(id).list)
      if (const auto* x = std::get_if<wire::run_job>(&a)) r.push_back(*x);
    return r;
  }
  std::size_t stops(engine::call_id id) {
    return static_cast<std::size_t>(std::ranges::count_if(
        answers(id).list, [](const auto& a) { return std::holds_alternative<wire::stop_job>(a); }));
  }
  wire::run_job first_run(engine::call_id id) {
    REQUIRE(run_until([&] { return !runs(id).empty(); }));
    return runs(id).front();
  }
  std::optional<wire::response> finish(const wire::run_job& r, machine::outcome what = machine::outcome::success) {
    machine::finish_run f;
    f.id = r.run.job;
    f.fence = r.run.fence;
    f.what = what;
    return ask(0, wire::finish_job{f});
  }
  /// The newest line of the history.
  machine::job_run_record recorded() {
    return expect<wire::run_list>(ask(0, wire::job_history{"j", 1})).runs.front().run;
  }
  const machine::job_record& job() { return (*this)[0].look().machine->jobs().at("j"); }
};

}  // namespace

TEST_CASE("a runner has a name, and one process of a node offers it") {
  job_world w;
  REQUIRE(refusal(w.ask(0, wire::add_runner{""})) == errc::bad_name);
  const auto id = w.runner();
  REQUIRE(is<wire::done>(w.answers(id).list.front()));
  REQUIRE(refusal(w.ask(0, wire::add_runner{"backup"})) == errc::exists);
  w.cancel(0, id);
  REQUIRE(is<wire::done>(w.ask(0, wire::add_runner{"backup"})));
}

TEST_CASE("a run is given to its runner once, and ends when that says so") {
  job_world w;
  const auto other = w.runner(0, "mail"), id = w.runner();
  w.schedule();
  const auto run = w.first_run(id);
  REQUIRE(run.run.job == "j");
  REQUIRE(run.deadline_raw_ns > w.now().steady.time_since_epoch().count());
  w.run(3s);  // its next times are skipped while it runs
  REQUIRE(w.runs(id).size() == 1);
  REQUIRE(w.runs(other).empty());
  REQUIRE(is<wire::done>(w.finish(run, machine::outcome::failed)));
  REQUIRE(w.job().last_outcome == machine::outcome::failed);
  REQUIRE(refusal(w.finish(run)) == errc::lock_lost);
  REQUIRE(w.run_until([&] { return w.runs(id).size() == 2; }));
}

TEST_CASE("an end that makes no sense is refused by the log, and told") {
  job_world w;
  const auto id = w.runner();
  w.schedule();
  REQUIRE(refusal(w.finish(w.first_run(id), machine::outcome::lost)) == errc::bad_argument);
}

TEST_CASE("what a process was running ends with it as aborted") {
  job_world w;
  const auto other = w.runner(0, "mail"), id = w.runner();
  w.schedule();
  w.first_run(id);
  w.cancel(0, other);
  w.run(100ms);
  REQUIRE(w.job().running.size() == 1);
  w.cancel(0, id);
  REQUIRE(w.run_until([&] { return w.job().running.empty(); }, 1s));
  REQUIRE(w.recorded().what == machine::outcome::aborted);
  REQUIRE(w.recorded().message == "the runner went away");
}

TEST_CASE("a run that is claimed for a runner that has gone is aborted") {
  job_world w;
  const auto id = w.runner();
  w.schedule();
  REQUIRE(w.run_until([&] { return bool(w.job().owner); }));
  // The next fire is in the log before the word that the runner has gone.
  w.hold_disk(0);
  REQUIRE(w.runs(id).empty());
  w.run(1500ms);
  w.cancel(0, id);
  w.release_disk(0);
  REQUIRE(w.run_until([&] { return w.job().last_outcome == machine::outcome::aborted; }));
  REQUIRE(w.runs(id).empty());
}

TEST_CASE("a node without its lease stops what it runs, and what it ran is lost") {
  job_world w(3);
  const auto owner = (*w.leader() + 1) % 3;
  const auto id = w.runner(owner);
  w.schedule("j", 1s);
  const auto run = w.first_run(id);
  w.cut(owner);
  REQUIRE(w.run_until([&] { return w.stops(id) == 1; }));
  machine::finish_run f;
  f.id = "j";
  f.fence = run.run.fence;
  REQUIRE(refusal(w.ask(owner, wire::finish_job{f})) == errc::lock_lost);
  const auto leader = *w.leader();
  const auto what = [&] { return w[leader].look().machine->jobs().at("j").last_outcome; };
  REQUIRE(w.run_until([&] { return what() == machine::outcome::lost; }));
  // Its runners are known again under the next session.
  w.cut(owner, false);
  REQUIRE(w.run_until([&] { return w.runs(id).size() == 2; }));
}

TEST_CASE("a stopping node lets its runs end, and takes no other") {
  job_world w;
  const auto id = w.runner();
  w.schedule();
  const auto run = w.first_run(id);
  const auto stop = w.call(0, wire::stop_node{});
  REQUIRE(w.stops(id) == 1);
  REQUIRE(refusal(w.ask(0, wire::add_runner{"mail"})) == errc::closed);
  REQUIRE(w.answers(stop).list.empty());
  machine::finish_run f;
  f.id = "j";
  f.fence = run.run.fence;
  const auto end = w.call(0, wire::finish_job{f});
  w.run(1s);
  REQUIRE(is<wire::done>(w.answers(end).list.front()));
  REQUIRE(w.runs(id).size() == 1);
  REQUIRE(w.end_of(0)->exit_ok);
}

TEST_CASE("a run that is claimed while its node stops is aborted there") {
  job_world w;
  const auto id = w.runner();
  w.schedule();
  REQUIRE(w.run_until([&] { return bool(w.job().owner); }));
  expect<wire::lock_granted>(w.ask(0, wire::acquire_lock{"l", "", {}}));  // the end waits for it
  w.hold_disk(0);
  w.run(1200ms);
  w.call(0, wire::stop_node{});
  w.release_disk(0);
  REQUIRE(w.run_until([&] { return w.job().last_outcome.has_value(); }, 3s));
  REQUIRE(w.job().last_outcome == machine::outcome::aborted);
  REQUIRE(w.runs(id).empty());
}

TEST_CASE("a node that learns of its session from a received state offers its runners") {
  engine::options o;
  o.compact_after_entries = 20;
  o.keep_entries = 4;
  job_world w(3, o);
  const auto leader = *w.leader(), i = (leader + 1) % 3;
  w.runner(i);
  const auto session = w[i].look().session;
  w.cut(i);
  REQUIRE(w.run_until([&] { return !w.active(i); }));
  const auto installed = w.counted(i, "snapshot.installed");
  w.lose = [&](std::size_t, std::size_t to, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    const auto* a = r ? std::get_if<raft::append_request>(&r->body) : nullptr;
    return to == i && a && !a->entries.empty() && w.counted(i, "snapshot.installed") == installed;
  };
  w.cut(i, false);
  const auto& state = *w[leader].look().machine;
  const auto opened = [&] {
    return std::ranges::any_of(state.sessions(),
                               [&](const auto& s) { return s.second.node == w.id(i) && s.first > session; });
  };
  REQUIRE(w.run_until(opened));
  for (int n = 0; n < 60; ++n) w.ask(leader, wire::append_journal{"orders", "", {{"t", "m"}}});
  REQUIRE(w.run_until([&] { return w.counted(i, "snapshot.installed") > installed && w.active(i); }));
  const auto offered = [&] {
    const auto* s = state.session(w[i].look().session);
    return s != nullptr && s->runners == std::vector<std::string>{"backup"};
  };
  REQUIRE(w.run_until(offered, 5s));
}
