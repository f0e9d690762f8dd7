// What a caller is told when the leader's disk is nearly full.
#include "catch.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::engine;

std::optional<errc> refusal(const std::optional<wire::response>& r) {
  const auto* f = r ? std::get_if<failure>(&*r) : nullptr;
  return f != nullptr ? std::optional(f->code) : std::nullopt;
}

wire::append_journal append(std::string text) { return {"orders", "", {{"created", std::move(text)}}}; }

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
