// See log.hpp.
#include "raft/log.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace coterie::raft {

entry_log::entry_log(snapshot_meta base, std::vector<entry> entries) : base_(std::move(base)) {
  for (auto& e : entries) append(std::move(e));
  handed_ = written_ = synced_ = last();
}

std::optional<term> entry_log::term_at(log_index i) const {
  if (i == base_.index) return base_.when;
  const auto* e = at(i);
  return e ? std::optional(e->when) : std::nullopt;
}

const entry* entry_log::at(log_index i) const {
  return i <= base_.index || i > last() ? nullptr : &entries_[offset(i)];
}

log_index entry_log::last_not_newer_than(log_index from, term t) const {
  if (from < base_.index) return from;
  const auto end = entries_.begin() + static_cast<std::ptrdiff_t>(distance(base_.index, std::min(from, last())));
  const auto it = std::partition_point(entries_.begin(), end, [t](const entry& e) { return e.when <= t; });
  if (it == entries_.begin() && base_.when > t) return base_.index.prev();
  return base_.index + static_cast<std::uint64_t>(it - entries_.begin());
}

const configuration& entry_log::conf() const {
  return conf_indexes_.empty() ? base_.conf : entries_[offset(conf_indexes_.back())].conf;
}

const configuration& entry_log::conf_at(log_index i) const {
  const auto it = std::upper_bound(conf_indexes_.begin(), conf_indexes_.end(), i);
  return it == conf_indexes_.begin() ? base_.conf : entries_[offset(*std::prev(it))].conf;
}

std::chrono::milliseconds entry_log::longest_lease(log_index from) const {
  auto longest = conf_at(from).read_lease;
  for (auto i = conf_indexes_.rbegin(); i != conf_indexes_.rend() && *i > from; ++i)
    longest = std::max(longest, entries_[offset(*i)].conf.read_lease);
  return longest;
}

void entry_log::append(entry e) {
  COTERIE_ASSERT(e.index == last().next());
  COTERIE_ASSERT(e.when >= last_term());
  bytes_ += e.payload.size();
  if (e.kind == entry_kind::configuration) conf_indexes_.push_back(e.index);
  entries_.push_back(std::move(e));
}

void entry_log::truncate(log_index from) {
  COTERIE_ASSERT(from > base_.index);
  if (from > last()) return;
  while (last() >= from) {
    bytes_ -= entries_.back().payload.size();
    entries_.pop_back();
  }
  while (!conf_indexes_.empty() && conf_indexes_.back() >= from) conf_indexes_.pop_back();
  forget_marks_from(from);
}

void entry_log::forget_marks_from(log_index from) {
  const auto keep = from.prev();
  if (handed_ > keep) {
    truncate_from_ = truncate_from_ ? std::min(*truncate_from_, from) : from;
    handed_ = keep;
  }
  written_ = std::min(written_, keep);
  synced_ = std::min(synced_, keep);
  for (auto& m : marks_) m.last = std::min(m.last, keep);
}

void entry_log::compact(log_index upto) {
  COTERIE_ASSERT(upto <= written_);
  if (upto <= base_.index) return;
  base_.conf = configuration(conf_at(upto));
  base_.when = *term_at(upto);
  while (base_.index < upto) {
    bytes_ -= entries_.front().payload.size();
    entries_.pop_front();
    ++base_.index;
  }
  conf_indexes_.erase(conf_indexes_.begin(), std::upper_bound(conf_indexes_.begin(), conf_indexes_.end(), upto));
}

void entry_log::install(const snapshot_meta& meta) {
  COTERIE_ASSERT(meta.index >= base_.index);
  if (term_at(meta.index) == meta.when) {
    // The snapshot fills the disk's gap, if there is one; completions on their way may only move the mark further.
    handed_ = std::max(handed_, meta.index);
    written_ = std::max(written_, meta.index);
    synced_ = std::max(synced_, meta.index);
    compact(meta.index);
  } else {
    forget_marks_from(std::min(meta.index, last()).next());
    entries_.clear();
    conf_indexes_.clear();
    bytes_ = 0;
    handed_ = written_ = synced_ = meta.index;
  }
  base_ = meta;
  if (truncate_from_ && *truncate_from_ <= meta.index) truncate_from_ = meta.index.next();
}

void entry_log::hand_out(std::optional<log_index>& truncate_from, std::vector<entry>& entries) {
  truncate_from = std::exchange(truncate_from_, std::nullopt);
  if (handed_ < last()) {
    const auto begin = entries_.begin() + static_cast<std::ptrdiff_t>(offset(handed_.next()));
    entries.assign(begin, entries_.end());
    for (const auto& e : entries) lazy_bytes_ += e.payload.size();
  }
  handed_ = last();
}

void entry_log::mark(std::uint64_t sequence, bool sync, instant now) {
  marks_.push_back({sequence, handed_, sync, now});
  if (!sync) {
    if (!lazy_since_) lazy_since_ = now;
    return;
  }
  lazy_since_.reset();
  lazy_bytes_ = 0;
}

void entry_log::persisted(std::uint64_t sequence) {
  while (!marks_.empty() && marks_.front().sequence <= sequence) {
    written_ = std::max(written_, marks_.front().last);
    if (marks_.front().sync) synced_ = std::max(synced_, marks_.front().last);
    marks_.pop_front();
  }
}

std::optional<instant> entry_log::waiting_since() const {
  return marks_.empty() ? std::nullopt : std::optional(marks_.front().since);
}

}  // namespace coterie::raft
