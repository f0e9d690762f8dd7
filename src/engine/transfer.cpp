// Snapshots on their way: a leader, or a parent in the relay tree, streams a frozen view of its state in key ranges,
// the other node collects the chunks beside its present state and switches atomically (docs/consensus.md 1.7). It
// acknowledges a chunk when it is written. All chunks of a node keep to one rate; after a cut a leader goes on with the
// chunk that was not acknowledged.
#include <algorithm>

#include "engine/recovery.hpp"
#include "engine/replica.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr std::size_t max_transfers = 4;
constexpr duration burst = 20ms;
}  // namespace

bool replica::offer_state(node_id to) { return transfers_.contains(to) || start_transfer(to, false); }

bool replica::start_transfer(node_id to, bool as_leader) {
  if (transfers_.size() >= max_transfers || core_.applied() == log_index(0) || installing()) return false;
  transfer t;
  t.as_leader = as_leader;
  t.id = ctx_.random.next() | 1;
  // The view holds every write handed out so far, hence exactly the applied state.
  t.meta.index = core_.applied();
  t.meta.when = core_.term_at(t.meta.index).value_or(core_.current_term());
  t.meta.conf = applied_conf_;
  t.chain = *chain_at(t.meta.index);
  t.progress = ctx_.now.steady;
  freeze(t.id);
  ctx_.stats.add(as_leader ? "snapshot.sent_started" : "snapshot.relayed");
  go_on(to, transfers_[to] = std::move(t));
  return true;
}

read_id replica::read_state(bytes from, std::uint64_t view) {
  const auto id = ctx_.fresh_read();
  ctx_.emit(read{.id = id,
                 .in = disk::state_of(group_),
                 .from = std::move(from),
                 .to = {},
                 .max_items = 10'000,
                 .max_bytes = ctx_.opt->snapshot_chunk_bytes,
                 .reverse = false,
                 .view = view});
  return id;
}

void replica::freeze(std::uint64_t view) {
  flush_state();  // a state that was only derived from the genesis record is not on disk yet
  ctx_.emit(open_view{view});
}

/// With the chunk that begins at t.begin, as soon as the rate allows it; up to a burst, so that it does not depend on
/// timers.
void replica::go_on(node_id to, transfer& t) {
  t.paused = ctx_.now.steady + burst < next_chunk_;
  if (!t.paused) read_chunk(to, t);
}

void replica::read_chunk(node_id to, transfer& t) {
  reads_[read_state(t.begin, t.id)] = to;
  t.reading = true;
}

void replica::on_read(const read_done& r) {
  const auto it = reads_.find(r.id);
  if (it == reads_.end()) return;
  const auto to = it->second;
  reads_.erase(it);
  const auto t = transfers_.find(to);
  if (t == transfers_.end() || !t->second.reading) return;
  auto& x = t->second;
  x.reading = false;
  x.last = !r.more;
  if (!r.items.empty()) {
    x.after = r.items.back().first;
    x.after.push_back(std::byte{0});
  }
  std::size_t size = 0;
  for (const auto& [key, value] : r.items) size += key.size() + value.size();
  const auto takes = duration(std::chrono::seconds(1)) * size / std::max<std::size_t>(ctx_.opt->snapshot_rate, 1);
  next_chunk_ = std::max(next_chunk_, ctx_.now.steady) + takes;
  wire::snapshot_chunk c{x.id, x.number, x.as_leader ? core_.current_term() : term(), x.meta, x.chain, r.items, x.last};
  if (!links_.send(to, std::move(c), group_)) cut_transfer(to);
}

void replica::on_chunk_ack(node_id from, const wire::snapshot_ack& a) {
  const auto t = transfers_.find(from);
  if (t == transfers_.end() || t->second.id != a.transfer || t->second.number != a.number || t->second.reading ||
      t->second.paused)
    return;
  if (!a.ok) return end_transfer(from, false);
  t->second.progress = ctx_.now.steady;
  if (t->second.last) {
    if (a.installed) end_transfer(from, true);
    return;
  }
  ++t->second.number;
  t->second.begin = t->second.after;
  go_on(from, t->second);
}

void replica::end_transfer(node_id to, bool ok) {
  const auto t = transfers_.find(to);
  if (t == transfers_.end()) return;
  ctx_.emit(close_view{t->second.id});
  if (ok) delivered_.push_back({t->second.meta.index, ctx_.now.steady});
  if (delivered_.size() > max_transfers) delivered_.pop_front();
  std::erase_if(reads_, [&](const auto& r) { return r.second == to; });
  transfers_.erase(t);
  core_.on_snapshot_sent(to, ok, ctx_.now.steady);
}

void replica::cut_transfer(node_id to) {
  const auto t = transfers_.find(to);
  if (t == transfers_.end()) return;
  if (t->second.number == 0) return end_transfer(to, false);  // nothing to be kept for
  t->second.cut = true;
  t->second.reading = t->second.paused = false;
  std::erase_if(reads_, [&](const auto& r) { return r.second == to; });
}

void replica::check_transfers() {
  const auto now = ctx_.now.steady;
  std::vector<node_id> over;
  for (auto& [id, t] : transfers_) {
    // Whoever asked a parent asks another one when the stream is gone.
    const bool wanted = t.as_leader ? core_.current_role() == raft::role::leader : !t.cut;
    if (!wanted || now - t.progress >= transfer_patience) {
      over.push_back(id);
    } else if (t.cut && links_.up(id)) {
      t.cut = false;
      ctx_.stats.add("snapshot.resumed");
      go_on(id, t);
    } else if (t.paused) {
      go_on(id, t);
    }
  }
  for (const auto id : over) end_transfer(id, false);
}

void replica::on_chunk(node_id from, const wire::snapshot_chunk& c, bool expected) {
  const auto answer = [&](bool ok, bool installed = false) {
    links_.send(from, wire::snapshot_ack{c.transfer, c.number, ok, installed}, group_);
  };
  if (installing() || (c.when ? c.when < core_.current_term() : !expected)) return answer(false);
  // The sender leads: let the core see it (term, contact) before anything is taken from it.
  if (c.when) core_.step(raft::message{from, ctx_.self, c.when, raft::snapshot_request{c.meta}}, ctx_.now.steady);
  if (c.meta.index <= core_.commit())
    return answer(true, true);  // nothing new; the core's own answer reconnects the log
  switch (receive(receiving_, group_, from, c, ctx_, disk_)) {
    case chunk_verdict::refused:
      return answer(false);
    case chunk_verdict::repeated:
      return answer(true);
    case chunk_verdict::taken:
      return;
    case chunk_verdict::last:
      break;
  }
  // What this turn has brought into the old log reaches the disk before that log goes.
  while (settle()) {
  }
  // What is being sent from here is of a state that goes.
  while (!transfers_.empty()) end_transfer(transfers_.begin()->first, false);
  // The log keeps what follows the snapshot if it really continues it (paper section 7), else it starts over.
  auto& r = *receiving_;
  r.committing = true;
  receiving_continues_ = core_.term_at(r.meta.index) == r.meta.when;
  disk_.install_commit(group_, installed_writes(group_, r.meta, r.chain, receiving_continues_));
  core_.on_snapshot_taken();
}

void replica::on_chunk_saved(const chunk_saved& c) {
  links_.send(c.from, wire::snapshot_ack{c.transfer, c.number, true, false}, group_);
}

void replica::on_installed() {
  if (!receiving_ || !receiving_->committing) return;
  auto r = std::move(*receiving_);
  receiving_.reset();
  if (receiving_continues_) {
    while (chain_base_ < r.meta.index) {
      chains_.pop_front();
      ++chain_base_;
    }
  } else {
    chains_.assign(1, r.chain);
    chain_base_ = r.meta.index;
  }
  machine_.restore(r.records);
  applied_conf_ = r.meta.conf;
  core_.on_snapshot_installed(r.meta, ctx_.now.steady);
  installed_ = true;
  ctx_.stats.add("snapshot.installed");
  links_.send(r.from, wire::snapshot_ack{r.id, r.next - 1, true, true}, group_);
}

}  // namespace coterie::engine
