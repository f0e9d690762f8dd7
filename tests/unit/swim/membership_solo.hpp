// One member that is told things, for tests of its rules.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "unit/swim/membership_catch.hpp"

namespace coterie::swim::test {

using enum member_state;

inline member_info info_of(std::size_t i) {
  member_info m;
  m.id = id_of(i);
  m.name = "n" + std::to_string(i);
  m.at = {"10.0.0." + std::to_string(i), 7400};
  return m;
}

inline incarnation inc(std::uint64_t epoch, std::uint64_t counter) { return {boot_epoch(epoch), counter}; }

inline statement said(std::size_t i, incarnation n, member_state s = alive, std::size_t accuser = 9) {
  return {info_of(i), n, s, s == suspect || s == unreachable ? id_of(accuser) : node_id{}};
}

/// One node (number 0, epoch 5) that is told things.
struct solo {
  explicit solo(options o = {})
      : opts(o), m(info_of(0), boot_epoch(5), o, size_of_statement, size_of_user, clock(), 7) {}

  times clock() const {
    return {instant(100s + now), boot_instant(100s + now),
            wall_time(1'700'000'000s + duration_cast<std::chrono::milliseconds>(now))};
  }
  datagram from(std::size_t i, std::vector<statement> statements, std::uint64_t epoch = 1) const {
    datagram d;
    d.of = {opts.cluster, {}, opts.seeds};
    d.from = id_of(i);
    d.epoch = boot_epoch(epoch);
    d.body = gossip_only{};
    d.statements = std::move(statements);
    return d;
  }
  /// Node 8 tells it by datagram.
  void hear(statement s) { hear(from(8, {std::move(s)})); }
  void hear(const datagram& d) {
    m.on_datagram({"10.0.0.8", 7400}, d, clock());
    collect();
  }
  void pass(duration d) {
    const duration end = now + d;
    while (m.next_wake() <= instant(100s + end)) {
      now = std::max(now, m.next_wake().time_since_epoch() - 100s);
      m.tick(clock());
      collect();
    }
    now = end;
  }
  void collect() {
    output o = m.take();
    for (auto& e : o.events) events.push_back(std::move(e));
    for (auto& a : o.actions) actions.push_back(std::move(a));
    for (auto& l : o.log) log.push_back(std::move(l.text));
    for (auto& u : o.user) user.push_back(std::move(u));
  }
  std::vector<event_kind> kinds() const {
    std::vector<event_kind> k;
    for (const auto& e : events) k.push_back(e.kind);
    return k;
  }
  member_state state(std::size_t i) const {
    const member* x = m.find(id_of(i));
    REQUIRE(x);
    return x->state;
  }
  bool sent_about_self(incarnation at_least, member_state s) const {
    for (const auto& a : actions) {
      const auto* d = std::get_if<send_datagram>(&a);
      if (!d) continue;
      for (const auto& x : d->what.statements) {
        if (x.info.id == id_of(0) && x.inc >= at_least && x.state == s) return true;
      }
    }
    return false;
  }
  std::vector<datagram> sent_to(std::size_t i) const {
    std::vector<datagram> out;
    for (const auto& a : actions) {
      const auto* d = std::get_if<send_datagram>(&a);
      if (d && d->to == info_of(i).at) out.push_back(d->what);
    }
    return out;
  }

  options opts;
  duration now{};
  membership m;
  std::vector<event> events;
  std::vector<action> actions;
  std::vector<std::string> log;
  std::vector<user_datum> user;
};

}  // namespace coterie::swim::test
