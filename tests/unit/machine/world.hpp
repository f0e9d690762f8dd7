// A machine, the log in front of it and a clock, for tests. Knows nothing of Raft: every command commits at once.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "machine/machine.hpp"

namespace coterie::machine {

inline lock_acquire acquire(std::string name) { return {std::move(name), false, {}}; }
inline lock_acquire try_acquire(std::string name) { return {std::move(name), true, {}}; }
inline node_id node(std::uint64_t n) { return node_id{n, n}; }
inline open_session opening(node_id n, std::uint64_t nonce, milliseconds ttl = 5s) {
  return {.node = n, .boot = boot_epoch(1), .nonce = nonce, .ttl = ttl, .active = true};
}
inline wall_time at(std::int64_t ms) { return wall_time(milliseconds(ms)); }

/// Stored records, as a disk would keep them.
struct disk_image {
  std::map<std::string, record> records;  ///< by key
  void carry_out(const std::vector<write>& writes) {
    for (const auto& w : writes) {
      if (const auto* p = std::get_if<put>(&w)) records.insert_or_assign(to_text(key_of(p->value)), p->value);
      if (const auto* e = std::get_if<erase>(&w)) records.erase(to_text(e->key));
      if (const auto* r = std::get_if<erase_range>(&w))
        records.erase(records.lower_bound(to_text(r->from)), records.lower_bound(to_text(r->to)));
    }
  }
  std::vector<record> in_memory_part() const {
    std::vector<record> out;
    for (const auto& [key, value] : records)
      if (in_memory(as_bytes(key))) out.push_back(value);
    return out;
  }
  template <class R>
  std::vector<R> all() const {
    std::vector<R> out;
    for (const auto& [key, value] : records)
      if (const auto* r = std::get_if<R>(&value)) out.push_back(*r);
    return out;
  }
};

struct client {
  session_epoch epoch;
  request_seq seq, acked;
};

struct world {
  machine m;
  disk_image disk;
  log_index index{10};
  term when{1};
  wall_time now = at(1'700'000'000'000);
  std::vector<happening> happened;  ///< of the last command

  explicit world(limits l = {}, std::uint64_t members = 3) : m(l) {
    std::vector<member_record> founders;
    for (std::uint64_t n = 1; n <= members; ++n)
      founders.push_back({.id = node(n),
                          .name = fmt::format("n{}", n),
                          .at = {"10.0.0.1", static_cast<std::uint16_t>(n)},
                          .view_joined = 1});
    m.bootstrap(founders);
  }

  applied apply(command c) {
    ++index;
    m.prepare(c, now);
    auto out = m.apply(index, when, c);
    happened = out.happened;
    disk.carry_out(m.take_writes());
    return out;
  }
  /// Without a session, as a leader's duty.
  answer duty(command_body b) { return apply({{}, {}, {}, {}, std::move(b)}).result; }
  /// With a session; the answer counts as received, so it is acknowledged by the next request.
  answer ask(client& c, command_body b) {
    ++c.seq;
    const auto out = apply({c.epoch, c.seq, c.acked, {}, std::move(b)});
    c.acked = c.seq;
    return out.result;
  }
  client open(std::uint64_t n, bool active = true) {
    const auto a =
        duty(open_session{.node = node(n), .boot = boot_epoch(1), .nonce = index.value + 1'000'000, .active = active});
    return {session_epoch(a.value), {}, {}};
  }
  client open_with_runner(std::uint64_t n, const std::string& runner = "r") {
    auto c = open(n);
    ask(c, register_runner{runner});
    return c;
  }
  /// Proposes duties until there are none at this time.
  void do_duties(std::size_t max = 64) {
    for (int rounds = 0; rounds < 1'000; ++rounds) {
      const auto due = m.duties(now, max);
      if (due.empty()) return;
      for (const auto& b : due) duty(b);
    }
  }
  answer expire(const client& c) { return duty(expire_session{c.epoch, when}); }
  void pass(milliseconds d) { now += d; }

  template <class H>
  std::vector<H> seen() const {
    std::vector<H> out;
    for (const auto& h : happened)
      if (const auto* x = std::get_if<H>(&h)) out.push_back(*x);
    return out;
  }
  const lock_record* lock(const std::string& name) const {
    const auto it = m.locks().find(name);
    return it == m.locks().end() ? nullptr : &it->second;
  }
  const job_record& job(const std::string& id) const { return m.jobs().at(id); }
  const journal_record& journal(const std::string& name) const { return m.journals().at(name); }
  std::vector<job_run_record> history() const { return disk.all<job_run_record>(); }
};

}  // namespace coterie::machine
