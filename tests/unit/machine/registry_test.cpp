// The registry of members and its views.
#include "catch.hpp"
#include "world.hpp"

using namespace coterie;
using namespace coterie::machine;

TEST_CASE("bootstrap is the same on every founder, whatever the order of the seeds") {
  coterie::machine::machine a, b;
  const member_record one{.id = node(1), .name = "a", .at = {"h", 1}}, two{.id = node(2), .name = "b", .at = {"h", 2}};
  a.bootstrap({one, two});
  b.bootstrap({two, one});
  CHECK(a.digest() == b.digest());
  CHECK(a.globals().view == 1);
  CHECK(a.members().size() == 2);
}

TEST_CASE("the view counts the entries that change the registry") {
  world w;
  CHECK(w.duty(add_member{node(4), "n4", {"h", 4}}).value == 2);
  CHECK(w.seen<member_changed>().size() == 1);
  CHECK(w.duty(add_member{node(4), "n4", {"h", 4}}).value == 2);
  CHECK(w.seen<member_changed>().empty());
  CHECK(w.duty(add_member{node(4), "n4", {"h", 5}}).value == 3);
  CHECK(w.duty(remove_member{node(4), true}).value == 4);
  CHECK(w.m.member(node(4))->left);
  CHECK(w.m.globals().view == 4);
}

TEST_CASE("what failed and what came back together is one view") {
  world w;
  w.open(1), w.open(2);
  CHECK(w.duty(change_view{{node(1), node(2), node(77)}, {}}).value == 2);
  CHECK(w.seen<member_changed>().size() == 2);
  for (const auto& c : w.seen<member_changed>()) CHECK(c.what == member_change::failed);
  CHECK(w.m.member(node(1))->failed);
  CHECK(w.m.member(node(2))->failed);
  CHECK(w.duty(change_view{{node(2)}, {node(3)}}).value == 2);  // nothing new
  CHECK(w.seen<member_changed>().empty());
  CHECK(w.duty(change_view{{node(3)}, {node(1)}}).value == 3);
  CHECK(!w.m.member(node(1))->failed);
  CHECK(w.m.member(node(3))->failed);
  w.duty(remove_member{node(3)});
  CHECK(!w.m.member(node(3))->failed);
  CHECK(w.duty(change_view{{node(3)}, {}}).value == 4);
  CHECK(w.duty(add_member{node(2), "n2", {"moved", 2}}).value == 5);
  CHECK(w.seen<member_changed>().front().what == member_change::moved);
  CHECK(w.m.member(node(2))->failed);
  limits l;
  world small(l);
  CHECK(small.duty(change_view{std::vector<node_id>(l.members + 1), {}}).code == errc::bad_argument);
}

TEST_CASE("a node that closed its last session has stopped, one whose session expired has not") {
  world w;
  auto one = w.open(1);
  const auto two = w.open(2);
  CHECK(!w.m.member(node(1))->stopped);
  w.duty(close_session{one.epoch});
  CHECK(w.m.member(node(1))->stopped);
  w.expire(two);
  CHECK(!w.m.member(node(2))->stopped);
  w.duty(change_view{{node(1), node(2)}, {}});
  CHECK(!w.m.member(node(1))->failed);
  CHECK(w.m.member(node(2))->failed);
  one = w.open(1);
  CHECK(!w.m.member(node(1))->stopped);
  const auto again = w.open(1);  // an older session that ends says nothing of the node
  w.duty(close_session{one.epoch});
  CHECK(!w.m.member(node(1))->stopped);
  w.duty(close_session{again.epoch});
  CHECK(w.m.member(node(1))->stopped);
}

TEST_CASE("the read lease of the leaders is a setting of the cluster, within its limits or none") {
  world w;
  CHECK(w.m.globals().read_lease == 0ms);
  for (const auto good : {1'000ms, 50ms, 0ms, 500ms}) {
    CHECK(w.duty(set_read_lease{good}).ok());
    CHECK(w.m.globals().read_lease == good);
  }
  for (const auto bad : {-1ms, 1ms, 49ms, 1'001ms}) {
    CHECK(w.duty(set_read_lease{bad}).code == errc::bad_argument);
    CHECK(w.m.globals().read_lease == 500ms);
  }
}

TEST_CASE("a removed id never returns (ch#118740)", "[lesson]") {
  world w;
  CHECK(w.duty(remove_member{node(3)}).ok());
  CHECK(w.duty(add_member{node(3), "n3", {"h", 3}}).code == errc::closed);
  CHECK(w.duty(opening(node(3), 1)).code == errc::closed);
  CHECK(w.duty(remove_member{node(3)}).ok());
  CHECK(w.m.globals().view == 2);
}

TEST_CASE("a name is unique among the living") {
  world w;
  CHECK(w.duty(add_member{node(9), "n1", {"h", 9}}).code == errc::exists);
  w.duty(remove_member{node(1)});
  CHECK(w.duty(add_member{node(9), "n1", {"h", 9}}).ok());
}

TEST_CASE("members are limited, and so are removed ones, oldest first") {
  limits l;
  l.members = 3;
  world w(l);
  CHECK(w.duty(add_member{node(4), "n4", {"h", 4}}).code == errc::limit);
  for (std::uint64_t n = 4; n < 10; ++n) {
    w.pass(1s);
    w.duty(remove_member{node(n - 1)});
    CHECK(w.duty(add_member{node(n), fmt::format("x{}", n), {"h", 4}}).ok());
  }
  CHECK(w.m.members().size() <= 6);
  CHECK(w.m.member(node(8)) != nullptr);
}
