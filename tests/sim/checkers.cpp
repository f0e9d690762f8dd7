#include "sim/checkers.hpp"

#include <fmt/format.h>

#include "base/hash.hpp"

namespace coterie::sim {

namespace {
std::uint64_t content(const raft::entry& e) {
  auto h = hash64(e.payload.view(), static_cast<std::uint64_t>(e.kind) + 1);
  for (const auto* list : {&e.conf.voters, &e.conf.outgoing, &e.conf.learners})
    for (const auto id : *list) h = hash64(id.str(), h);
  return h;
}
}  // namespace

void consensus_checker::on_start(std::size_t i) {
  if (seen_.size() <= i) seen_.resize(i + 1);
  seen_[i] = {};
}

void consensus_checker::after_step(std::size_t i) {
  if (seen_.size() <= i) seen_.resize(i + 1);
  const auto v = world_.node(i).look();
  if (v.genesis && v.genesis->formed()) {
    const auto id = v.genesis->state().id;
    if (!id_) id_ = id;
    if (id != id_ && !two_ids_) fail(i, fmt::format("two cluster ids: {} and {}", id.str(), id_.str()));
  }
  if (!v.raft) return;
  const auto& r = *v.raft;
  auto& m = seen_[i];
  const auto term = r.current_term().value;
  if (term < m.term) fail(i, fmt::format("the term fell from {} to {}", m.term, term));
  if (r.commit().value < m.commit) fail(i, fmt::format("commit fell from {} to {}", m.commit, r.commit()));
  if (r.applied().value < m.applied) fail(i, fmt::format("applied fell from {} to {}", m.applied, r.applied()));
  if (r.current_role() == raft::role::leader) {
    const auto [it, fresh] = leaders_.try_emplace(term, r.self());
    if (it->second != r.self()) fail(i, fmt::format("two leaders in term {}", term));
    if (fresh || m.role != raft::role::leader || m.term != term) {
      // Leader completeness: every entry ever seen committed is in its log.
      if (!committed_.empty() && r.last_index().value < committed_.rbegin()->first)
        fail(i, fmt::format("leads term {} with a log that ends at {} while {} was committed", term, r.last_index(),
                            committed_.rbegin()->first));
      for (auto it2 = committed_.lower_bound(r.first_index().value); it2 != committed_.end(); ++it2)
        if (const auto* e = r.entry_at(log_index(it2->first));
            e && (e->when.value != it2->second.first || content(*e) != it2->second.second))
          fail(i, fmt::format("leads term {} with another entry {} than the committed one", term, it2->first));
    }
  }
  for (auto k = std::max(m.commit, r.first_index().value - 1) + 1; k <= r.commit().value; ++k) {
    const auto* e = r.entry_at(log_index(k));
    if (!e) continue;
    const std::pair value(e->when.value, content(*e));
    const auto [it, fresh] = committed_.try_emplace(k, value);
    if (it->second != value)
      fail(i, fmt::format("entry {} was committed with another content (terms {} and {})", k, it->second.first,
                          value.first));
  }
  if (r.applied().value != m.applied && v.machine) {
    if (r.applied().value % 8 == 0) {
      const auto d = v.machine->digest();
      const auto [it, fresh] = digests_.try_emplace(r.applied().value, d);
      if (it->second != d) fail(i, fmt::format("the state at {} differs from another node's", r.applied()));
    }
  }
  m.term = term;
  m.commit = r.commit().value;
  m.applied = r.applied().value;
  m.role = r.current_role();
}

void lock_checker::granted(std::size_t node, std::uint64_t id, const std::string& lock, std::uint64_t fence,
                           virtual_time until) {
  ++grants_;
  for (const auto& [other, h] : holds_)
    if (h.lock == lock && h.until > world_.now())
      world_.watch.violation(fmt::format("{} is granted to {} (fence {}) while {} holds it (fence {}) for {} ms more",
                                         lock, world_.name(node), fence, world_.name(h.node), h.fence,
                                         (h.until - world_.now()).count() / 1'000'000));
  auto& last = last_fence_[lock];
  if (fence <= last) world_.watch.violation(fmt::format("{}: fence {} after {}", lock, fence, last));
  last = fence;
  holds_[id] = {node, lock, fence, until};
}

void lock_checker::extended(std::uint64_t id, virtual_time until) {
  const auto it = holds_.find(id);
  if (it == holds_.end()) return;
  // A hold that was over must not come back to life.
  if (it->second.until <= world_.now() && until > world_.now())
    world_.watch.violation(
        fmt::format("{}: a hold of {} that had ended was extended", it->second.lock, world_.name(it->second.node)));
  it->second.until = std::max(it->second.until, until);
}

void lock_checker::ended(std::uint64_t id) { holds_.erase(id); }

void job_checker::started(std::size_t node, const machine::job_run_record& r) {
  const auto [it, fresh] =
      starts_.try_emplace({r.job, r.version, r.scheduled.time_since_epoch().count(), r.attempt}, world_.name(node));
  if (!fresh)
    world_.watch.violation(fmt::format("{} at {} attempt {} started on {} and again on {}", r.job,
                                       r.scheduled.time_since_epoch().count(), r.attempt, it->second,
                                       world_.name(node)));
}

void journal_checker::acknowledged(const std::string& journal, std::uint64_t id, const std::string& message) {
  const auto [it, fresh] = acked_[journal].try_emplace(id, message);
  if (!fresh) world_.watch.violation(fmt::format("{}: id {} was acknowledged twice", journal, id));
  const auto k = known_[journal].try_emplace(id, message);
  if (k.first->second != message)
    world_.watch.violation(fmt::format("{}: id {} has another content than was acknowledged", journal, id));
}

void journal_checker::processing(std::size_t node, const std::string& journal,
                                 const std::vector<machine::journal_entry>& batch) {
  auto& p = seen_[{node, journal}];
  auto last = p.cursor;
  for (const auto& e : batch) {
    if (e.id <= last)
      world_.watch.violation(fmt::format("{} on {}: id {} after {}", journal, world_.name(node), e.id, last));
    last = e.id;
    const auto [it, fresh] = known_[journal].try_emplace(e.id, e.message);
    if (it->second != e.message) world_.watch.violation(fmt::format("{}: id {} differs between nodes", journal, e.id));
    p.ids.insert(e.id);
  }
  // No acknowledged entry between the cursor and the end of this batch may be missing from it.
  for (auto it = acked_[journal].upper_bound(p.cursor); it != acked_[journal].end() && it->first <= last; ++it)
    if (!p.ids.contains(it->first))
      world_.watch.violation(
          fmt::format("{} on {}: acknowledged entry {} was skipped", journal, world_.name(node), it->first));
}

void journal_checker::processed(std::size_t node, const std::string& journal, std::uint64_t cursor) {
  auto& c = seen_[{node, journal}].cursor;
  if (cursor < c)
    world_.watch.violation(
        fmt::format("{} on {}: the cursor moved back from {} to {}", journal, world_.name(node), c, cursor));
  c = cursor;
}

std::string journal_checker::missing(const std::vector<std::size_t>& nodes) const {
  for (const auto& [journal, entries] : acked_)
    for (const auto n : nodes) {
      const auto p = seen_.find({n, journal});
      for (const auto& [id, message] : entries)
        if (p == seen_.end() || !p->second.ids.contains(id))
          return fmt::format("{} {} on {}", journal, id, world_.name(n));
    }
  return {};
}

std::uint64_t journal_checker::entries() const {
  std::uint64_t n = 0;
  for (const auto& [j, e] : acked_) n += e.size();
  return n;
}

}  // namespace coterie::sim
