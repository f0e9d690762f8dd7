// See cluster.hpp.
#include "cluster.hpp"

#include <algorithm>

namespace coterie::raft::test {

std::vector<entry> entries_of_terms(std::initializer_list<std::uint64_t> terms) {
  std::vector<entry> out;
  for (const auto t : terms) out.push_back(command(t, out.size() + 1, fmt::format("t{}", t)));
  return out;
}

// ---- disk -----------------------------------------------------------------------------------------------------------

void disk::write(const persist_request& p) {
  if (p.hard) hard = *p.hard;
  if (p.truncate_from) {
    std::erase_if(entries, [&](const entry& e) { return e.index >= *p.truncate_from; });
  }
  for (const auto& e : p.entries) {
    if (e.index > snapshot.index) entries.push_back(e);
  }
}

void disk::compact(const snapshot_meta& meta) {
  std::erase_if(entries, [&](const entry& e) { return e.index <= meta.index; });
  snapshot = meta;
}

void disk::install(const snapshot_meta& meta) {
  const auto same = [&](const entry& e) { return e.index == meta.index && e.when == meta.when; };
  if (std::none_of(entries.begin(), entries.end(), same)) entries.clear();
  compact(meta);
  applied = std::max(applied, meta.index);
}

// ---- nodes ----------------------------------------------------------------------------------------------------------

void cluster::add(std::uint64_t n, configuration conf) {
  disk d;
  d.snapshot.conf = std::move(conf);
  add(n, std::move(d));
}

void cluster::add(std::uint64_t n, disk d) {
  hosts_[id(n)].on_disk = std::move(d);
  start(id(n));
}

times cluster::clocks(node_id n) const {
  const auto& h = hosts_.at(n);
  const auto gone = h.rate == 1 ? now_ - begin_ : scaled(now_ - begin_, h.rate);
  return {begin_ + gone - h.suspended, boot_instant(1h) + gone, {}};
}

instant cluster::tell(node_id n) {
  const auto now = clocks(n);
  if (auto& core = hosts_.at(n).core) core->read_clocks(now);
  return now.steady;
}

void cluster::start(node_id n) {
  auto& h = hosts_.at(n);
  auto& d = h.on_disk;
  // A snapshot may have been installed before the term that came with it was written; a driver puts that right.
  d.hard.current = std::max(d.hard.current, d.snapshot.when);
  h.core.emplace(n, options_, recovered{d.hard, d.snapshot, d.entries, d.applied}, clocks(n).steady,
                 ++seed_ * 7919 + n.lo);
  tell(n);
  h.seen_commit = h.core->commit();
}

void cluster::crash(std::uint64_t n) {
  auto& h = at(n);
  h.core.reset();
  h.writes.clear();
  h.reads.clear();
}

void cluster::restart(std::uint64_t n) { start(id(n)); }

// ---- actions --------------------------------------------------------------------------------------------------------

void cluster::perform(node_id n, ready r) {
  auto& h = hosts_.at(n);
  transmit(std::move(r.send_now));
  if (!r.persist.empty()) {
    h.writes.push_back({std::move(r.persist), std::move(r.send_after_persist)});
  } else if (!h.writes.empty()) {
    auto& after = h.writes.back().after;
    after.insert(after.end(), r.send_after_persist.begin(), r.send_after_persist.end());
  } else {
    transmit(std::move(r.send_after_persist));
  }
  for (const auto& e : r.committed) {
    const auto [known, fresh] = truth_.emplace(e.index, e);
    if (!fresh && known->second != e) violations.push_back("state machine safety");
    if (e.index != h.on_disk.applied.next()) violations.push_back("applied out of order");
    h.on_disk.applied = e.index;
  }
  if (!r.committed.empty() && applied) applied(n.lo, r.committed);
  if (!r.committed.empty()) h.core->on_applied(r.committed.back().index);
  for (const auto& s : r.reads) {
    const auto floor = read_floor_.find({n, s.id});
    if (s.ok && floor != read_floor_.end() && s.index < floor->second) violations.push_back("stale read");
    h.reads.push_back(s);
  }
}

void cluster::transmit(std::vector<message> messages) {
  for (auto& m : messages) {
    if (cuts_.contains({m.from, m.to}) || (drop && drop(m))) {
      lose(m);
      dropped.push_back(std::move(m));
    } else {
      network.push_back(std::move(m));
    }
  }
}

void cluster::pump(std::uint64_t n) {
  auto& h = at(n);
  if (!h.core) return;
  tell(id(n));
  for (int turn = 0; turn < 1000; ++turn) {
    auto r = h.core->take();
    const bool idle = r.empty();
    perform(id(n), std::move(r));
    if (!h.hold_writes && !h.writes.empty()) {
      complete_write(n);
    } else if (idle) {
      break;
    }
  }
  check();
}

void cluster::complete_write(std::uint64_t n) {
  auto& h = at(n);
  auto w = std::move(h.writes.front());
  h.writes.pop_front();
  h.on_disk.write(w.request);
  h.core->on_persisted(w.request.sequence, tell(id(n)));
  transmit(std::move(w.after));
}

void cluster::lose(const message& m) {
  const auto from = hosts_.find(m.from);
  if (!std::holds_alternative<snapshot_request>(m.body) || from == hosts_.end() || !from->second.core) return;
  from->second.core->on_snapshot_sent(m.to, false, tell(m.from));
}

void cluster::on_snapshot(host& to, const message& m) {
  const auto& meta = std::get<snapshot_request>(m.body).meta;
  if (meta.index <= to.core->commit() || to.core->current_role() == role::leader) return lose(m);
  while (!to.writes.empty()) complete_write(to.core->self().lo);
  to.on_disk.install(meta);
  if (installed) installed(m.from.lo, m.to.lo, meta.index);
  to.core->on_snapshot_installed(meta, tell(m.to));
  auto& from = hosts_.at(m.from);
  if (from.core) from.core->on_snapshot_sent(m.to, true, tell(m.from));
}

void cluster::deliver(std::size_t position, bool keep) {
  const auto m = network[position];
  if (!keep) network.erase(network.begin() + static_cast<std::ptrdiff_t>(position));
  const auto it = hosts_.find(m.to);
  if (it == hosts_.end() || !it->second.core || cuts_.contains({m.from, m.to})) return lose(m);
  it->second.core->step(m, tell(m.to));
  if (install_snapshots && std::holds_alternative<snapshot_request>(m.body)) on_snapshot(it->second, m);
  pump(m.to.lo);
}

void cluster::settle() {
  for (auto& [n, h] : hosts_) pump(n.lo);
  for (int i = 0; i < 1'000'000 && !network.empty(); ++i) deliver(0);
}

void cluster::tick(std::uint64_t n) {
  if (up(n)) (*this)[n].tick(time(n));
  pump(n);
}

void cluster::advance(duration d) {
  const auto end = now_ + d;
  while (now_ < end) {
    now_ = std::min(end, now_ + 5ms);
    for (auto& [n, h] : hosts_) {
      if (h.core && h.core->next_wake() <= clocks(n).steady) h.core->tick(tell(n));
    }
    settle();
  }
}

// ---- faults and shortcuts -------------------------------------------------------------------------------------------

void cluster::cut(std::uint64_t a, std::uint64_t b) {
  cuts_.insert({id(a), id(b)});
  cuts_.insert({id(b), id(a)});
}

void cluster::isolate(std::uint64_t n) {
  for (const auto& [other, h] : hosts_) {
    if (other != id(n)) cut(n, other.lo);
  }
}

bool cluster::elect(std::uint64_t n) {
  now_ += options_.election_timeout_max;
  tick(n);
  settle();
  return (*this)[n].current_role() == role::leader;
}

std::uint64_t cluster::leader() const {
  std::uint64_t best = 0;
  term newest;
  for (const auto& [n, h] : hosts_) {
    if (h.core && h.core->current_role() == role::leader && h.core->current_term() > newest) {
      newest = h.core->current_term();
      best = n.lo;
    }
  }
  return best;
}

std::vector<std::string> cluster::committed() const {
  std::vector<std::string> out;
  for (const auto& [index, e] : truth_) {
    if (e.kind == entry_kind::command) out.push_back(to_text(e.payload.view()));
  }
  return out;
}

std::optional<read_state> cluster::read_result(std::uint64_t n, std::uint64_t read) const {
  for (const auto& s : hosts_.at(id(n)).reads) {
    if (s.id == read) return s;
  }
  return std::nullopt;
}

void cluster::read(std::uint64_t n, std::uint64_t read) {
  if (!truth_.empty()) read_floor_[{id(n), read}] = truth_.rbegin()->first;
  (*this)[n].read_index(read, time(n));
}

void cluster::compact(std::uint64_t n, std::uint64_t upto) {
  const auto meta = (*this)[n].compact(log_index(upto));
  at(n).on_disk.compact(meta);
}

// ---- figure 3 -------------------------------------------------------------------------------------------------------

void cluster::note_commit(host& h) {
  for (auto i = h.seen_commit.next(); i <= h.core->commit(); ++i) {
    const auto* e = h.core->entry_at(i);
    if (!e) continue;
    const auto [known, fresh] = truth_.emplace(i, *e);
    if (!fresh && known->second != *e) violations.push_back("two entries committed at one index");
  }
  if (h.core->commit() < h.seen_commit) violations.push_back("commit index fell");
  h.seen_commit = h.core->commit();
}

void cluster::check() {
  for (auto& [n, h] : hosts_) {
    if (!h.core) continue;
    auto& c = *h.core;
    note_commit(h);
    if (c.current_role() != role::leader) continue;
    const auto [known, fresh] = leaders_.emplace(c.current_term(), n);
    if (known->second != n) violations.push_back("election safety: two leaders in one term");
    if (!fresh) continue;
    for (const auto& [index, e] : truth_) {
      if (index < c.first_index() || e.when >= c.current_term()) continue;
      const auto* mine = c.entry_at(index);
      if (!mine || *mine != e) violations.push_back("leader completeness");
    }
  }
}

void cluster::check_logs() {
  for (const auto& [a, x] : hosts_) {
    for (const auto& [b, y] : hosts_) {
      if (!(a < b) || !x.core || !y.core) continue;
      bool below_must_match = false;
      for (auto i = std::min(x.core->last_index(), y.core->last_index());
           i >= x.core->first_index() && i >= y.core->first_index(); i = i.prev()) {
        const bool same = *x.core->entry_at(i) == *y.core->entry_at(i);
        const bool same_term = x.core->term_at(i) == y.core->term_at(i);
        if (!same && (same_term || below_must_match)) violations.push_back("log matching");
        below_must_match = below_must_match || same_term;
      }
    }
  }
}

}  // namespace coterie::raft::test
