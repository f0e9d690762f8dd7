#include "engine/replica.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "base/big_endian.hpp"
#include "engine/recovery.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr std::size_t kept_for_others = 4;  // times the bytes at which a log is compacted
}

replica::replica(context& c, links& l, disk_queue& d, group_id g, const recovered_group& r, machine::machine m)
    : ctx_(c),
      links_(l),
      disk_(d),
      group_(g),
      core_(c.self, c.opt->raft, r.log, c.now.steady, c.random.next()),
      machine_(std::move(m)) {
  core_.read_clocks(c.now);
  // Configuration as of the applied index: the newest one in the log up to there.
  applied_conf_ = r.log.snapshot.conf;
  chain_base_ = r.log.snapshot.index;
  chains_.push_back(r.base_chain);
  for (const auto& e : r.log.entries) {
    if (e.kind == raft::entry_kind::configuration && e.index <= r.log.applied) applied_conf_ = e.conf;
    hash128_value chain;
    wire::encode_log_entry(e, chains_.back(), chain);
    chains_.push_back(chain);
  }
}

void replica::on_message(const raft::message& m) {
  // While a received state replaces ours nothing else may move the log; Raft repeats what it lost.
  if (installing()) return ctx_.stats.add("raft.dropped_while_installing");
  core_.step(m, ctx_.now.steady);
}

bool replica::on_relayed(const raft::relayed& r) {
  if (!installing()) return core_.on_relayed(r, ctx_.now.steady);
  ctx_.stats.add("raft.dropped_while_installing");
  return true;
}

std::optional<hash128_value> replica::chain_at(log_index i) const {
  if (i < chain_base_ || i.value - chain_base_.value >= chains_.size()) return std::nullopt;
  return chains_[static_cast<std::size_t>(i.value - chain_base_.value)];
}

void replica::on_written(const raft_persist& p) {
  core_.on_persisted(p.sequence, ctx_.now.steady);
  for (const auto& m : p.then_send) send(m);
}

void replica::on_unreachable(node_id id, bool crashed) {
  // What was on its way is lost, even if a stream comes back at once. A new process knows nothing of a transfer.
  if (crashed)
    end_transfer(id, false);
  else
    cut_transfer(id);
  core_.on_unreachable(id, crashed, ctx_.now.steady);
}

void replica::tick() {
  core_.tick(ctx_.now.steady);
  check_transfers();
}

instant replica::next_wake() const {
  auto t = core_.next_wake();
  for (const auto& [id, x] : transfers_) t = std::min(t, x.paused ? next_chunk_ : x.progress + transfer_patience);
  return t;
}

result<log_index> replica::propose(std::vector<machine::command> commands) {
  std::vector<shared_bytes> payloads;
  payloads.reserve(commands.size());
  for (auto& c : commands) {
    machine_.prepare(c, ctx_.now.wall);
    payloads.push_back(wire::encode(c));
  }
  return core_.propose(std::move(payloads), ctx_.now.steady);
}

bool replica::settle() {
  auto r = core_.take();
  if (r.empty()) return false;
  role_changed_ |= r.role_changed;
  for (const auto& m : r.send_now) send(m);
  perform(std::move(r.persist), std::move(r.send_after_persist));
  if (!r.committed.empty()) apply(std::move(r.committed));
  for (const auto& s : r.reads) read_states_.push_back(s);
  return true;
}

void replica::send(const raft::message& m) {
  if (!std::holds_alternative<raft::snapshot_request>(m.body)) {
    links_.send_raft(m, group_);
  } else if (!transfers_.contains(m.to) && !start_transfer(m.to, true)) {
    core_.on_snapshot_sent(m.to, false, ctx_.now.steady);
  }
}

void replica::perform(raft::persist_request p, std::vector<raft::message> then_send) {
  if (p.empty()) {
    if (then_send.empty()) return;
    if (disk_.after_pending(group_, then_send)) return;
    for (const auto& m : then_send) send(m);
    return;
  }
  disk::batch b;
  if (p.hard) b.push_back(disk::put(disk::space::meta, group_key(group_, "hard_state"), wire::encode(*p.hard)));
  if (p.truncate_from) {
    b.push_back(erase_log(group_, *p.truncate_from));
    COTERIE_ASSERT(*p.truncate_from > chain_base_);
    chains_.resize(static_cast<std::size_t>(p.truncate_from->value - chain_base_.value));
  }
  for (const auto& e : p.entries) {
    COTERIE_ASSERT(e.index.value == chain_base_.value + chains_.size());
    hash128_value chain;
    b.push_back(
        disk::put(disk::space::log, log_key(group_, e.index), wire::encode_log_entry(e, chains_.back(), chain)));
    chains_.push_back(chain);
  }
  disk_.write(std::move(b), p.sync, raft_persist{group_, p.sequence, std::move(then_send)});
}

void replica::apply(std::vector<raft::entry> entries) {
  const auto last = entries.back().index;
  if (ctx_.opt->bug == planted_bug::unordered_apply) std::reverse(entries.begin(), entries.end());
  for (const auto& e : entries) {
    applied_entry a{e.index, e.when, {}, {}, false};
    if (e.kind == raft::entry_kind::configuration) {
      applied_conf_ = e.conf;
      a.configuration = true;
      applied_.push_back(std::move(a));
    } else if (e.kind == raft::entry_kind::command) {
      auto command = wire::decode_command(e.payload.view());
      if (!command) {
        // The same on every node: the entry does nothing.
        ctx_.stats.add("apply.undecodable");
        continue;
      }
      a.outcome = machine_.apply(e.index, e.when, *command);
      a.command = std::move(*command);
      applied_.push_back(std::move(a));
    }
  }
  core_.on_applied(last);
  flush_state();
  compact_if_long();
}

// Unsynced, but behind the log's entries in the same journal of the disk: applied never exceeds the log, whatever a
// loss of power leaves of it (docs/consensus.md 1.6).
void replica::flush_state() {
  auto b = state_writes(group_, machine_);
  b.push_back(disk::put(disk::space::meta, group_key(group_, "applied"), big_endian(core_.applied().value)));
  disk_.write(std::move(b), false, nobody{});
}

// The oldest entry that is wanted by whoever gets the state or has just got it. Without it they would need the state
// again, perhaps for ever (docs/consensus.md 1.7).
log_index replica::wanted_from() const {
  auto from = core_.applied();
  for (const auto& [id, t] : transfers_) from = std::min(from, t.meta.index);
  for (const auto& x : delivered_)
    if (ctx_.now.steady - x.when < transfer_patience) from = std::min(from, x.index);
  return from;
}

void replica::compact_if_long() {
  const auto first = core_.first_index();
  const auto applied = core_.applied();
  const auto length = distance(first, applied);
  const auto& o = *ctx_.opt;
  if (length < o.compact_after_entries && (core_.log_bytes() < o.compact_after_bytes || length < 2)) return;
  const auto keep = length > o.keep_entries * 2 ? o.keep_entries : length / 2;
  auto upto = log_index(applied.value - keep);
  if (core_.log_bytes() < kept_for_others * o.compact_after_bytes) upto = std::min(upto, wanted_from());
  if (upto < first || distance(first, upto) < keep / 2) return;
  const auto meta = core_.compact(upto);
  while (chain_base_ < meta.index) {
    chains_.pop_front();
    ++chain_base_;
  }
  disk::batch b;
  b.push_back(disk::put(disk::space::meta, group_key(group_, "log_base"), wire::encode(meta, chains_.front())));
  b.push_back(disk::erase_range(disk::space::log, log_key(group_, log_index(0)), log_key(group_, meta.index.next())));
  disk_.write(std::move(b), false, nobody{});
  ctx_.stats.add("log.compactions");
}

std::vector<applied_entry> replica::take_applied() { return std::exchange(applied_, {}); }
std::vector<raft::read_state> replica::take_reads() { return std::exchange(read_states_, {}); }

}  // namespace coterie::engine
