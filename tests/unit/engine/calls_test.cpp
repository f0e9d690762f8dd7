// What a caller is told: which requests a node takes in which state, what the answer to a command says, and what it
// says when the leader's disk is nearly full.
#include "engine/admission.hpp"
#include "engine/answers.hpp"

#include "catch.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::engine;
using test::refusal;

/// Calls f with a default value of every request there is.
template <std::size_t I = 0, class F>
void for_each_request(F f) {
  if constexpr (I < std::variant_size_v<wire::request>) {
    f(wire::request(std::in_place_index<I>));
    for_each_request<I + 1>(f);
  }
}

wire::append_journal append(std::string text) { return {"orders", "", {{"created", std::move(text)}}}; }

TEST_CASE("an answer is read by the command it belongs to, not by its numbers") {
  const machine::machine m;
  const machine::answer a{errc{}, 7, 9, {}};
  const auto to = [&](const machine::command_body& c) { return response_to(expected_of(c), a, m); };
  REQUIRE(std::get<wire::appended>(to(machine::journal_append{"orders", "", {}})).ids ==
          std::vector<std::uint64_t>{7, 8, 9});
  machine::schedule_job job;
  job.id = "nightly";
  const auto added = std::get<wire::job_added>(to(job));
  REQUIRE(added.id == "nightly");
  REQUIRE(added.version == 7);
  REQUIRE(added.changed);
  // Numbers of other commands are nobody's entries.
  REQUIRE(std::holds_alternative<wire::done>(to(machine::unschedule_job{"nightly"})));
  REQUIRE(std::holds_alternative<wire::done>(to(machine::journal_retention{"orders", {}})));
}

TEST_CASE("callers get the answers of their own commands") {
  test::nodes w(1);
  REQUIRE(w.run_until_active());
  const auto first = std::get<wire::appended>(*w.ask(0, append("1"))).ids;
  REQUIRE(first.size() == 1);
  REQUIRE(std::get<wire::appended>(*w.ask(0, append("2"))).ids.front() == first.front() + 1);
  wire::add_job job;
  job.job.id = "nightly";
  job.job.config.runner = "backup";
  job.job.config.when = calendar::interval_schedule{std::chrono::hours(1), {}};
  const auto added = std::get<wire::job_added>(*w.ask(0, job));
  REQUIRE(added.changed);
  REQUIRE(added.next);
  REQUIRE(std::holds_alternative<wire::done>(*w.ask(0, wire::remove_job{"nightly"})));
  REQUIRE(std::holds_alternative<wire::done>(*w.ask(0, wire::keep_journal{"orders", std::chrono::hours(1)})));
}

TEST_CASE("a node without a log refuses exactly what needs one") {
  engine::options o;
  o.gossip_only = true;
  for_each_request([&](const wire::request& r) {
    test::nodes w(1, o);
    INFO(r.index());
    const auto code = refusal(w.ask(0, r, 20ms));
    if (admission_of(r).needs_log)
      REQUIRE(code == errc::unavailable);
    else
      REQUIRE(code != errc::unavailable);
  });
}

TEST_CASE("before the cluster is formed what reads the log here is refused at once, the rest waits") {
  for_each_request([&](const wire::request& r) {
    if (std::holds_alternative<wire::leave_cluster>(r)) return;  // has a reason of its own
    test::nodes w(3);
    REQUIRE(w[0].look().raft == nullptr);
    INFO(r.index());
    REQUIRE((refusal(w.ask(0, r, 20ms)) == errc::unavailable) == admission_of(r).needs_formed);
  });
}

TEST_CASE("a node that stops takes only what ends or looks") {
  for_each_request([&](const wire::request& r) {
    test::nodes w(1);
    REQUIRE(w.run_until_active());
    w.call(0, wire::acquire_lock{"l", "", {}});
    REQUIRE(w.run_until([&] { return !w[0].look().machine->locks().empty(); }));
    w.run(100ms);
    w.call(0, wire::stop_node{});  // goes on while the lock is held
    INFO(r.index());
    const auto code = refusal(w.ask(0, r, 10ms));
    if (admission_of(r).while_stopping)
      REQUIRE(code != errc::closed);
    else
      REQUIRE(code == errc::closed);
  });
}

TEST_CASE("a full disk of the leader is told as a limit, wherever the caller is") {
  test::nodes w(3);
  REQUIRE(w.run_until_active());
  const auto leader = *w.leader();
  const auto other = (leader + 1) % 3;
  w.tell(leader, disk_space{true});
  w.run(10ms);
  REQUIRE(refusal(w.ask(leader, append("here"), 1s)) == errc::limit);
  REQUIRE(refusal(w.ask(other, append("there"), 1s)) == errc::limit);
  // What is no data goes on, and so does data once there is space.
  REQUIRE(std::holds_alternative<wire::lock_granted>(*w.ask(other, wire::acquire_lock{"l", "", {}}, 1s)));
  w.tell(leader, disk_space{false});
  w.run(10ms);
  REQUIRE(std::holds_alternative<wire::appended>(*w.ask(other, append("again"), 1s)));
  REQUIRE(w[other].look().machine->journals().at("orders").total == 1);
}

}  // namespace
