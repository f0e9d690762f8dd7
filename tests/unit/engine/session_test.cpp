// A node's own session and its requests through bad times: validity that ended is never believed again, and what waited
// goes out once.
#include <algorithm>

#include "catch.hpp"
#include "engine/session.hpp"
#include "unit/engine/expect.hpp"
#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;
using namespace coterie::test;

struct session_world : active_nodes {
  std::size_t leader = 0, other = 0;
  bool acks_lost = false;
  std::vector<wire::keepalive_ack> acks;  ///< to `other`
  std::vector<wire::forward> forwards;    ///< from `other`

  explicit session_world(engine::options o = {}) : active_nodes(3, std::move(o)) {
    leader = *nodes::leader();
    other = (leader + 1) % 3;
    lose = [this](std::size_t from, std::size_t to, const wire::peer_message& m) {
      if (const auto* f = std::get_if<wire::forward>(&m); f && from == other) forwards.push_back(*f);
      const auto* a = std::get_if<wire::keepalive_acks>(&m);
      if (!a || to != other) return false;
      acks.insert(acks.end(), a->list.begin(), a->list.end());
      return acks_lost;
    };
  }
  session_epoch session() const { return (*this)[other].look().session; }
};

}  // namespace

TEST_CASE("an ack that waited with a stopped process revives no hold") {
  session_world w;
  const auto hold = w.call(w.other, wire::acquire_lock{"l", "", {}});
  REQUIRE(w.run_until([&] { return !w.answers(hold).list.empty(); }));
  const auto old = w.session();
  w.acks_lost = true;
  w.acks.clear();
  REQUIRE(w.run_until([&] { return !w.acks.empty(); }));
  w.acks_lost = false;
  w.pass(6s);
  w.say(w.leader, w.other, wire::keepalive_acks{{w.acks.front()}});
  REQUIRE(refusal(w.answers(hold).list.back()) == errc::lock_lost);
  REQUIRE(w.run_until([&] { return w.active(w.other); }));
  REQUIRE(w.session() != old);
}

TEST_CASE("a renewal is valid from when it was asked for, not from when it was confirmed (etcd#6005)", "[lesson]") {
  session_world w;
  w.acks_lost = true;
  w.acks.clear();
  REQUIRE(w.run_until([&] { return !w.acks.empty(); }));
  const auto asked = w.now().steady;  // this network takes no time
  const auto ack = w.acks.front();
  w.run(1s);
  w.say(w.leader, w.other, wire::keepalive_acks{{ack}});
  REQUIRE(w[w.other].look().validity.steady == asked + 4'850ms);
}

TEST_CASE("a first ack that comes when its validity is over opens nothing") {
  session_world w;
  w.acks_lost = true;
  w.restart(w.other);
  REQUIRE(w.run_until([&] { return bool(w.session()); }));
  const auto first = w.session();
  REQUIRE(w.run_until([&] { return std::ranges::count(w.acks, first, &wire::keepalive_ack::epoch) > 0; }));
  const auto ack = *std::ranges::find(w.acks, first, &wire::keepalive_ack::epoch);
  w.run(4'880ms);
  REQUIRE(w.session() == first);
  w.say(w.leader, w.other, wire::keepalive_acks{{ack}});
  REQUIRE(w.session() != first);
  REQUIRE(!w.active(w.other));
}

TEST_CASE("a session that is never confirmed is given up for another one") {
  session_world w;
  w.acks_lost = true;
  w.restart(w.other);
  REQUIRE(w.run_until([&] { return bool(w.session()); }));
  const auto first = w.session();
  w.run(4s);
  REQUIRE(w.session() == first);
  REQUIRE(w.run_until([&] { return w.session() && w.session() != first; }, 3s));
  w.acks_lost = false;
  REQUIRE(w.run_until([&] { return w.active(w.other); }));
  // The one that nobody ever used is closed.
  REQUIRE(w.run_until([&] { return w[w.leader].look().machine->session(first) == nullptr; }));
}

TEST_CASE("an ack that is no answer to what was asked extends nothing") {
  session_world w;
  w.acks_lost = true;
  const auto before = w[w.other].look().validity.steady;
  w.say(w.leader, w.other, wire::keepalive_acks{{{w.session(), 99'999, false}}});
  w.say(w.leader, w.other, wire::keepalive_acks{{{session_epoch(99'999), 1, false}}});
  REQUIRE(w[w.other].look().validity.steady == before);
  REQUIRE(w.session());
}

TEST_CASE("a repeated Open that was executed twice gives a node no second epoch in place of its first") {
  engine::options opt;
  engine::context ctx;
  std::vector<engine::action> out;
  ctx.opt = &opt;
  ctx.self = node_id{0, 1};
  ctx.out = &out;
  ctx.now = {instant(1h), boot_instant(1h), {}};
  engine::session session(ctx);
  const auto opened = session.tick(true, false).open;
  REQUIRE(opened);
  machine::session_record record;
  record.node = ctx.self;
  record.boot = ctx.boot;
  record.nonce = opened->nonce;
  record.epoch = session_epoch(7);
  session.on_opened(record);
  REQUIRE(session.epoch() == session_epoch(7));
  // The first expired while this node was behind: a received state shows the second alone.
  record.epoch = session_epoch(9);
  session.on_installed({{record.epoch, record}});
  REQUIRE(!session.epoch());
  const auto next = session.tick(true, false);
  REQUIRE(next.lapsed);
  REQUIRE(next.open);
  REQUIRE(next.open->nonce != opened->nonce);
  REQUIRE(next.close.size() == 1);
  REQUIRE(next.close.front().epoch == session_epoch(9));
  session.on_installed({});  // it has ended
  ctx.now.steady += 1s;
  REQUIRE(session.tick(true, false).close.empty());
}

TEST_CASE("what waited for a majority goes out in messages of bounded size, and is done once") {
  session_world w;
  std::size_t most = 0, total = 0;
  SECTION("many") { total = 600, most = 512; }
  SECTION("large ones") { total = 60, most = 55; }
  const std::string text(most == 512 ? 1 : 2'000, 'x');
  const std::vector<machine::journal_item> items(most == 512 ? 1 : 40, {"t", text});
  w.cut(w.other);
  w.run(1s);
  std::vector<engine::call_id> all;
  for (std::size_t i = 0; i < total; ++i)
    all.push_back(w.call(w.other, wire::append_journal{"orders", "", items}, 60'000ms));
  w.forwards.clear();
  w.cut(w.other, false);
  REQUIRE(w.run_until([&] { return std::ranges::all_of(all, [&](auto id) { return w.answers(id).over; }); }));
  for (const auto id : all) REQUIRE(is<wire::appended>(w.answers(id).list.front()));
  REQUIRE(w[w.leader].look().machine->journals().at("orders").total == total * items.size());
  std::size_t largest = 0;
  for (const auto& f : w.forwards) largest = std::max(largest, f.commands.size());
  REQUIRE(largest <= most);
  REQUIRE(largest > most / 2);
}

// ---- the leader's side ---------------------------------------------------------------------------------------------

namespace {

/// What a leader knows of two sessions, one with a TTL that is not its own.
struct keeper_world {
  engine::options opt;
  engine::context ctx;
  engine::session_keeper keeper{ctx};
  const session_epoch shorter{7}, longer{8};
  std::map<session_epoch, machine::session_record> open;

  keeper_world() {
    ctx.opt = &opt;
    ctx.now = {instant(1h), boot_instant(1h), {}};
    open[shorter].ttl = 2s;
    open[longer].ttl = 20s;
    keeper.on_lead();
    REQUIRE(due().empty());
  }
  void pass(duration d) {
    ctx.now.steady += d;
    ctx.now.boot += d;
  }
  std::vector<session_epoch> due() { return keeper.due(open); }
};

}  // namespace

TEST_CASE("a session expires by the TTL in its entry, whatever the leader's own is (scylla#30697, scylla#30777)",
          "[lesson]") {
  keeper_world w;
  REQUIRE(w.opt.session_ttl == 5s);
  w.pass(2'019ms);
  REQUIRE(w.due().empty());
  w.pass(1ms);
  REQUIRE(w.due() == std::vector{w.shorter});
  REQUIRE(w.due() == std::vector{w.shorter});  // until its Expire is in the log
  w.keeper.on_expiring(w.shorter);
  REQUIRE(w.due().empty());
  w.pass(18'179ms);
  REQUIRE(w.due().empty());
  w.pass(1ms);
  REQUIRE(w.due() == std::vector{w.longer});
}

TEST_CASE("a new leader expires nobody before a whole TTL of its own, a renewal counts from its receipt (etcd#15247)",
          "[lesson]") {
  keeper_world w;
  w.pass(1'900ms);
  w.keeper.on_lead();  // in a later term
  w.pass(2'000ms);
  REQUIRE(w.due().empty());
  w.keeper.on_keepalive({node_id{0, 1}, w.shorter, 1});
  w.pass(2'019ms);
  REQUIRE(w.due().empty());
  REQUIRE(w.keeper.may_ack(w.shorter));
  w.pass(1ms);
  REQUIRE(w.due() == std::vector{w.shorter});
  w.keeper.on_expiring(w.shorter);
  REQUIRE(!w.keeper.may_ack(w.shorter));
  w.keeper.on_follow();
  w.pass(1h);
  REQUIRE(w.due().empty());
}
