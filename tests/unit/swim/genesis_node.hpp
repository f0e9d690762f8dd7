// Genesis, one node: the test plays everybody else.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "catch.hpp"
#include "swim/genesis.hpp"

namespace coterie::swim::test::single {

inline address at(int i) { return {"10.0.0." + std::to_string(i), default_port}; }
inline node_id id(int i) { return {1, static_cast<std::uint64_t>(i)}; }

inline genesis_options options(int self, int seeds = 3) {
  genesis_options o;
  o.name = "n" + std::to_string(self);
  o.advertise = at(self);
  for (int i = 1; i <= seeds; ++i) o.seeds.push_back(at(i));
  return o;
}

inline genesis_record record_of(std::vector<node_id> ids, std::uint64_t nonce = 7) {
  genesis_record r;
  r.cluster = "default";
  r.nonce = nonce;
  std::vector<address> list;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const int k = static_cast<int>(i) + 1;
    list.push_back(at(k));
    r.seeds.push_back({ids[i], "n" + std::to_string(k), at(k), {}});
  }
  r.voters = std::move(ids);
  r.digest = genesis::digest_of(list);
  return r;
}

/// One node under test; the test plays everybody else. Its seed is slot `self`, its id id(self).
struct node {
  explicit node(int self_slot, genesis_options o, acceptor_state s = {})
      : self(self_slot), opt(o), g(id(self_slot), boot_epoch(1), o, std::move(s), now, 42) {}
  explicit node(int self_slot) : node(self_slot, options(self_slot)) {}

  hello from(int i, std::uint64_t epoch = 1) const {
    hello h = g.own_hello();
    h.name = "n" + std::to_string(i);
    h.id = id(i);
    h.epoch = boot_epoch(epoch);
    h.advertise = at(i);
    h.cluster_known = {};
    h.record.reset();
    return h;
  }
  hello in_cluster(int i, const genesis_record& r) const {
    hello h = from(i);
    h.cluster_known = r.id();
    h.record = r;
    return h;
  }
  /// The hello of node i, on a stream dialled to slot i.
  bool greet(int i) { return g.on_hello(i == self ? g.own_hello() : from(i), at(i), now).has_value(); }
  void greet_all() {
    for (std::size_t i = 1; i <= opt.seeds.size(); ++i) greet(static_cast<int>(i));
  }
  void pass(duration d) {
    const instant end = now + d;
    while (g.next_wake() <= end) {
      now = std::max(now, g.next_wake());
      g.tick(now);
      collect();
    }
    now = end;
    collect();
  }
  void collect() {
    for (gen_action& a : g.take()) {
      if (const auto* p = std::get_if<gen_persist>(&a)) sequence = p->sequence;
      actions.push_back(std::move(a));
    }
  }
  template <class T>
  std::vector<T> all() {
    collect();
    std::vector<T> out;
    for (const gen_action& a : actions) {
      if (const auto* x = std::get_if<T>(&a)) out.push_back(*x);
    }
    return out;
  }
  template <class M>
  std::vector<std::pair<node_id, M>> sent() {
    std::vector<std::pair<node_id, M>> out;
    for (const gen_send& s : all<gen_send>()) {
      if (const auto* x = std::get_if<M>(&s.what)) out.emplace_back(s.to, *x);
    }
    return out;
  }
  void clear() {
    collect();
    actions.clear();
  }
  void synced() {
    collect();
    g.on_persisted(sequence, now);
    collect();
  }
  void receive(genesis_message m) {
    g.on_message(m, now);
    collect();
  }
  /// Up to the point where Prepare has left.
  ballot prepare() {
    greet_all();
    pass(7s);
    synced();
    const auto p = sent<genesis_prepare>();
    REQUIRE(!p.empty());
    return p.back().second.b;
  }
  void promise(const ballot& b, int i, ballot accepted = {}, std::optional<genesis_record> r = {}) {
    receive(genesis_promise{b, id(i), accepted, std::move(r)});
  }

  int self;
  genesis_options opt;
  instant now{};
  std::uint64_t sequence = 0;
  std::vector<gen_action> actions;
  genesis g;
};

inline const std::vector<node_id> three = {id(1), id(2), id(3)};

}  // namespace coterie::swim::test::single
