#include "engine/healer.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "engine/relay_tree.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr duration patience = 5s;  // from one chunk to the next
constexpr duration pause = 200ms;  // from one peer that can't help to the next one
constexpr duration word_period = 30s;
}  // namespace

healer::healer(context& c, links& l, disk_queue& d, recovered_state r)
    : ctx_(c),
      links_(l),
      disk_(d),
      state_(std::move(r)),
      deadline_(c.now.steady),
      next_question_(c.now.steady),
      next_word_(c.now.steady) {}

std::string healer::situation() const {
  return fmt::format(
      "the data here is damaged ({}): a peer is asked for the state at entry {} or later; if none has it, start with "
      "--rejoin",
      state_.damaged->what, state_.damaged->needed);
}

void healer::tick() {
  const auto now = ctx_.now.steady;
  if (now >= next_word_) {
    next_word_ = now + word_period;
    ctx_.log(log_level::error, situation());
  }
  if (receiving_ && receiving_->committing) return void(deadline_ = now + patience);
  if (asked_ && (now >= deadline_ || !links_.up(asked_))) turn_to_next();
  if (asked_ || now < next_question_) return;
  auto peers = links_.connected();
  std::erase(peers, ctx_.self);
  next_question_ = now + pause;
  if (peers.empty()) return;
  asked_ = peers[ctx_.random.below(peers.size())];
  question_ = ctx_.random.next() | 1;
  deadline_ = now + patience;
  // From the beginning, which nobody has: so the answer is the state. Whoever has it will do, wherever it stands.
  links_.send(asked_, wire::fetch{question_, log_index(1), {}, relay_nowhere + 1});
}

void healer::turn_to_next() {
  asked_ = {};
  if (receiving_ && !receiving_->committing) receiving_.reset();
  next_question_ = ctx_.now.steady + pause;
}

void healer::on_fetched(node_id from, const wire::fetched& f) {
  if (from != asked_ || f.id != question_) return ctx_.stats.add("relay.late_answers");
  if (f.verdict != wire::fetch_verdict::snapshot) turn_to_next();
}

void healer::on_chunk(node_id from, const wire::snapshot_chunk& c) {
  const auto answer = [&](bool ok) { links_.send(from, wire::snapshot_ack{c.transfer, c.number, ok, false}); };
  if (receiving_ && receiving_->committing) return answer(false);
  const bool careless = ctx_.opt->bug == planted_bug::careless_heal;
  // An older one would take back what was applied here, or leave a hole.
  if (from != asked_ || !c.meta.conf.well_formed() || (c.meta.index < state_.damaged->needed && !careless)) {
    answer(false);
    if (from == asked_) turn_to_next();
    return;
  }
  switch (receive(receiving_, meta_group, from, c, ctx_, disk_)) {
    case chunk_verdict::refused:
      answer(false);
      return turn_to_next();
    case chunk_verdict::repeated:
      return answer(true);
    case chunk_verdict::taken:
      deadline_ = ctx_.now.steady + patience;
      return;
    case chunk_verdict::last:
      break;
  }
  auto& r = *receiving_;
  r.committing = true;
  deadline_ = ctx_.now.steady + patience;
  kept_ = !careless && continues(r.meta, r.chain);
  disk_.install_commit(meta_group, installed_writes(meta_group, r.meta, r.chain, kept_));
}

/// Whether the entries behind this state were written behind it.
bool healer::continues(const raft::snapshot_meta& meta, hash128_value chain) const {
  const auto& entries = state_.log.entries;
  if (entries.empty() || entries.back().index < meta.index) return false;
  if (entries.front().index > meta.index.next()) return false;
  hash128_value at = state_.damaged->chain;  // after entries.front()
  if (entries.front().index == meta.index.next()) {
    hash128_value linked;
    wire::encode_log_entry(entries.front(), chain, linked);
    return linked == at;
  }
  for (auto e = std::next(entries.begin()); e != entries.end() && e->index <= meta.index; ++e) {
    hash128_value next;
    wire::encode_log_entry(*e, at, next);
    at = next;
  }
  return at == chain;
}

void healer::on_chunk_saved(const chunk_saved& c) {
  links_.send(c.from, wire::snapshot_ack{c.transfer, c.number, true, false});
}

std::optional<recovered_state> healer::on_installed() {
  if (!receiving_ || !receiving_->committing) return std::nullopt;
  auto r = std::move(*receiving_);
  receiving_.reset();
  links_.send(r.from, wire::snapshot_ack{r.id, r.next - 1, true, true});
  auto s = std::move(state_);
  s.damaged.reset();
  s.state = std::move(r.records);
  s.base_chain = r.chain;
  std::erase_if(s.log.entries, [&](const raft::entry& e) { return !kept_ || e.index <= r.meta.index; });
  if (s.log.entries.empty()) s.log_chain = r.chain;
  s.log.snapshot = std::move(r.meta);
  s.log.applied = s.log.snapshot.index;
  s.log.hard.current = std::max(s.log.hard.current, s.log.snapshot.when);
  ctx_.stats.add("heal.done");
  ctx_.log(log_level::info, fmt::format("healed: state received from {} at entry {}, the log goes on to {}",
                                        r.from.short_str(), s.log.applied, s.log.last()));
  return s;
}

}  // namespace coterie::engine
