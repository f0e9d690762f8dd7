#include "sim/checkers.hpp"

#include <algorithm>

#include <fmt/format.h>

#include "base/hash.hpp"
#include "wire/codec.hpp"

namespace coterie::sim {

namespace {
std::uint64_t content(const raft::entry& e) {
  auto h = hash64(e.payload.view(), static_cast<std::uint64_t>(e.kind) + 1);
  for (const auto* list : {&e.conf.voters, &e.conf.outgoing, &e.conf.learners})
    for (const auto id : *list) h = hash64(id.str(), h);
  return h;
}
}  // namespace

namespace {
/// A group as a node has it; null before the cluster is formed.
engine::engine::view::group group_at(const engine::engine::view& v, group_id g) {
  if (!g) return {v.raft, v.machine};
  if (g.value > v.data.size()) return {nullptr, nullptr};
  return v.data[g.value - 1];
}
}  // namespace

void consensus_checker::fail(std::size_t node, const std::string& what) {
  world_.watch.violation(group_ ? fmt::format("{}: group {}: {}", world_.name(node), group_, what)
                                : fmt::format("{}: {}", world_.name(node), what));
}

void consensus_checker::after_step(std::size_t i) {
  const auto v = world_.node(i).look();
  const auto [core, machine] = group_at(v, group_);
  if (v.genesis && v.genesis->formed()) {
    const auto id = v.genesis->state().id;
    if (!id_) id_ = id;
    if (id != id_) fail(i, fmt::format("two cluster ids: {} and {}", id.str(), id_.str()));
  }
  if (!core) return;
  const auto& r = *core;
  auto& m = seen_[i];
  const auto term = r.current_term().value;
  if (term < m.term) fail(i, fmt::format("the term fell from {} to {}", m.term, term));
  if (r.commit().value < m.commit) fail(i, fmt::format("commit fell from {} to {}", m.commit, r.commit()));
  if (r.applied().value < m.applied) fail(i, fmt::format("applied fell from {} to {}", m.applied, r.applied()));
  check_leader(i, r, m);
  check_log(i, r, m);
  check_committed(i, r, m);
  if (r.applied().value != m.applied && machine && r.applied().value % 8 == 0) {
    const auto d = machine->digest();
    const auto [it, fresh] = digests_.try_emplace(r.applied().value, d);
    if (it->second != d) fail(i, fmt::format("the state at {} differs from another node's", r.applied()));
  }
  m.term = term;
  m.commit = r.commit().value;
  m.applied = r.applied().value;
  m.role = r.current_role();
}

void consensus_checker::read_served(std::size_t i, std::uint64_t before) {
  const auto* r = group_at(world_.node(i).look(), group_).raft;
  if (r && r->applied().value < before)
    fail(i, fmt::format("serves a read at {} while {} was committed before it began", r->applied(), before));
}

void consensus_checker::own_state_told(std::size_t i, const wire::as_of& told) {
  const auto* r = world_.node(i).look().raft;
  if (r && r->applied() < told.index)
    fail(i, fmt::format("says that its state is as of {} and has applied {}", told.index, r->applied()));
  if (!ages_ || !told.age) return;
  const auto then = world_.now() - *told.age;
  const auto later = std::ranges::lower_bound(grew_, then, {}, &std::pair<virtual_time, std::uint64_t>::first);
  if (later != grew_.begin() && std::prev(later)->second > told.index.value)
    fail(i, fmt::format("says that its state, as of {}, is at most {} ms old, but {} was committed before", told.index,
                        told.age->count(), std::prev(later)->second));
}

void consensus_checker::check_leader(std::size_t i, const raft::core& r, const node_memory& m) {
  if (r.current_role() != raft::role::leader) return;
  const auto term = r.current_term().value;
  const auto [it, fresh] = leaders_.try_emplace(term, r.self());
  if (it->second != r.self()) fail(i, fmt::format("two leaders in term {}", term));
  if (!fresh && m.role == raft::role::leader && m.term == term) {
    if (r.last_index().value < m.last)
      fail(i, fmt::format("leads term {} and its log shrinks from {} to {}", term, m.last, r.last_index()));
    return;
  }
  // Leader completeness: what was committed in an earlier term is in its log. (One that was stopped may find out late
  // that it won, when later terms have committed more.)
  for (auto c = committed_.rbegin(); c != committed_.rend() && c->first >= r.first_index().value; ++c) {
    if (c->second.in_term >= term) continue;
    const auto* e = r.entry_at(log_index(c->first));
    if (!e || e->when.value != c->second.term)
      return fail(i, fmt::format("leads term {} without the entry {} that was committed in term {}", term, c->first,
                                 c->second.in_term));
  }
}

// Only what is new since the last look, or everything uncommitted when the end was taken off.
void consensus_checker::check_log(std::size_t i, const raft::core& r, node_memory& m) {
  const auto last = r.last_index().value;
  const auto last_term = r.term_at(r.last_index()).value_or(term{}).value;
  if (last == m.last && last_term == m.last_term) return;
  const auto still = r.term_at(log_index(m.last));
  auto from = still && still->value == m.last_term ? m.last : m.commit;
  for (auto k = std::max(from, r.first_index().value - 1) + 1; k <= last; ++k) {
    const auto* e = r.entry_at(log_index(k));
    const auto before = r.term_at(log_index(k - 1));
    if (!e || !before) continue;
    auto& same = entries_[k];
    const auto known = std::find_if(same.begin(), same.end(), [&](const auto& x) { return x.term == e->when.value; });
    if (known == same.end()) {
      same.push_back({e->when.value, content(*e), before->value});
    } else if (known->content != content(*e) || known->previous_term != before->value) {
      fail(i, fmt::format("entry {} of term {} differs from another log's", k, e->when));
    }
  }
  m.last = last;
  m.last_term = last_term;
}

void consensus_checker::check_committed(std::size_t i, const raft::core& r, const node_memory& m) {
  const auto base = r.first_index().prev();
  // Committed, applied and compacted in one step: of what nobody saw the last configuration stands in the log's base.
  if (base.value > m.commit)
    if (const auto meta = r.meta_at(base)) configurations_.try_emplace(base.value, meta->conf);
  for (auto k = std::max(m.commit, base.value) + 1; k <= r.commit().value; ++k) {
    const auto* e = r.entry_at(log_index(k));
    if (!e) continue;
    const auto [it, fresh] =
        committed_.try_emplace(k, committed_entry{e->when.value, content(*e), r.current_term().value});
    if (it->second.term != e->when.value || it->second.content != content(*e))
      fail(i,
           fmt::format("entry {} was committed with another content (terms {} and {})", k, it->second.term, e->when));
    if (!fresh || e->kind != raft::entry_kind::configuration) continue;
    const auto [now, added] = configurations_.try_emplace(k, e->conf);
    if (!added || now == configurations_.begin()) continue;
    const auto& before = std::prev(now)->second;
    const auto& c = now->second;
    const bool fits = c.voters == before.voters || (c.joint() && c.outgoing == before.voters);
    if (!fits) fail(i, fmt::format("the configuration at {} need not overlap with the one before", k));
  }
  if (committed() > (grew_.empty() ? 0 : grew_.back().second)) grew_.emplace_back(world_.now(), committed());
}

namespace {
/// An entry is on the disk, or a state that it went into.
bool is_durable(const test::memory_disk& disk, group_id group, log_index i) {
  if (disk.durable(disk::space::log, engine::log_key(group, i))) return true;
  const auto base = disk.durable(disk::space::meta, engine::group_key(group, "log_base"));
  const auto meta = base ? wire::decode_snapshot_meta(base->view()) : result<wire::decoded_snapshot_meta>();
  return meta && meta->meta.index >= i;
}
}  // namespace

void durability_checker::sent(std::size_t from, byte_view frame) {
  constexpr std::size_t answers = 512;  // no answer of consensus is longer; what is longer is not looked into
  if (frame.size() > answers || !world_.up(from)) return;
  const auto e = wire::decode_peer(frame.subspan(wire::header_size));
  if (!e) return;
  const auto& disk = world_.disk(from);
  const auto fail = [&](const std::string& what) { world_.watch.violation(world_.name(from) + ": " + what); };
  if (const auto* m = std::get_if<raft::message>(&e->body)) look(from, e->group, *m);
  if (const auto* all = std::get_if<wire::raft_messages>(&e->body))
    for (const auto& m : all->list) look(from, m.group, m.what);
  if (const auto* f = std::get_if<wire::fetched>(&e->body); f && !f->entries.empty()) {
    const auto* r = group_at(world_.node(from).look(), e->group).raft;
    const auto last = f->entries.back().index;
    const bool written =
        disk.contains(disk::space::log, engine::log_key(e->group, last)) || is_durable(disk, e->group, last);
    if (r && last >= r->first_index() && (last > r->commit() || !written))
      fail(fmt::format("it passes entry {} on before that is committed and written", last));
  }
}

void durability_checker::look(std::size_t from, group_id g, const raft::message& m) {
  const auto& disk = world_.disk(from);
  const auto fail = [&](const std::string& what) { world_.watch.violation(world_.name(from) + ": " + what); };
  if (const auto* v = std::get_if<raft::vote_response>(&m.body); v && v->granted && !v->pre) {
    const auto stored = disk.durable(disk::space::meta, engine::group_key(g, "hard_state"));
    const auto hard = stored ? wire::decode_hard_state(stored->view()) : result<raft::hard_state>(raft::hard_state{});
    if (!hard || hard->current < m.when || (hard->current == m.when && hard->vote != m.to))
      fail(fmt::format("its vote in term {} leaves before it is durable", m.when));
  } else if (const auto* a = std::get_if<raft::append_response>(&m.body); a && a->ok) {
    // One of an older term may leave when what it is about was durable and is overwritten already: that it is late is
    // no different from a slow network.
    const auto* r = group_at(world_.node(from).look(), g).raft;
    if (r && m.when == r->current_term() && a->match >= r->first_index() && !is_durable(disk, g, a->match))
      fail(fmt::format("it acknowledges entry {} to {} in term {} before it is durable", a->match, m.to.short_str(),
                       m.when));
  }
}

void heal_checker::after_step(std::size_t i) {
  if (!had_[i]) return;
  const auto* r = world_.node(i).look().raft;
  if (!r) return;
  const auto had = std::move(*had_[i]);
  had_[i].reset();
  const auto fail = [&](const std::string& what) { world_.watch.violation(world_.name(i) + " is healed " + what); };
  if (r->current_term() < had.hard.current) fail(fmt::format("and was in term {} before", had.hard.current));
  if (r->applied() < had.applied) fail(fmt::format("to {} and had applied {}", r->applied(), had.applied));
  const auto base = r->first_index().prev();
  if (base >= had.last()) return;
  const auto term_had = [&](log_index k) {
    return k == had.snapshot.index ? had.snapshot.when
                                   : had.entries[static_cast<std::size_t>(distance(had.snapshot.index, k)) - 1].when;
  };
  if (base < had.snapshot.index || r->term_at(base) != term_had(base)) return;
  // Another entry in its place came in the same turn, from a leader.
  for (auto k = base.next(); k <= had.last() && r->term_at(k) != std::nullopt; ++k)
    if (r->term_at(k) != term_had(k)) return;
  if (r->last_index() < had.last())
    fail(fmt::format("with a log that ends at {}, not at {}", r->last_index(), had.last()));
}

void membership_checker::after_step(std::size_t i) {
  constexpr std::uint64_t now_and_then = 64;
  if (++looked_[i] % now_and_then != 0) return;
  auto& known = believed_[i];
  std::map<node_id, std::pair<incarnation, swim::member_state>> present;
  for (const auto& m : world_.node(i).look().members->members()) {
    const std::pair belief(m.inc, m.state);
    present.emplace(m.info.id, belief);
    const auto before = known.find(m.info.id);
    if (before != known.end() && belief < before->second)
      world_.watch.violation(fmt::format("{}: what it believes of {} goes back from {}.{} {} to {}.{} {}",
                                         world_.name(i), m.info.name, before->second.first.epoch,
                                         before->second.first.counter, swim::to_string(before->second.second),
                                         m.inc.epoch, m.inc.counter, swim::to_string(m.state)));
  }
  known = std::move(present);
  check_scope(i);
}

// Nobody knows of its present start before it has found the cluster, and it knows of nobody.
void membership_checker::check_scope(std::size_t i) {
  const auto apart = [&](std::size_t j) {
    return world_.up(j) && world_.has_other_list(j) && !world_.node(j).look().genesis->formed();
  };
  const auto& mine = *world_.node(i).look().members;
  for (std::size_t j = 0; j < world_.size(); ++j) {
    if (i == j || !apart(j)) continue;
    const auto& theirs = *world_.node(j).look().members;
    const auto* m = mine.find(theirs.self().id);
    if (m && m->inc.epoch == theirs.self_incarnation().epoch)
      world_.watch.violation(fmt::format("{}: knows of {}, which has another seed list and no cluster yet",
                                         world_.name(i), world_.name(j)));
  }
  if (apart(i) && mine.members().size() > 1)
    world_.watch.violation(fmt::format("{}: has another seed list and no cluster yet, and knows of {} others",
                                       world_.name(i), mine.members().size() - 1));
}

void lock_checker::granted(std::size_t node, std::uint64_t id, const std::string& lock, std::uint64_t fence,
                           virtual_time until) {
  ++grants_;
  for (const auto& [other, h] : holds_)
    if (exclusion_ && h.lock == lock && h.until > world_.now())
      world_.watch.violation(fmt::format("{} is granted to {} (fence {}) while {} holds it (fence {}) for {} ms more",
                                         lock, world_.name(node), fence, world_.name(h.node), h.fence,
                                         (h.until - world_.now()).count() / 1'000'000));
  auto& last = last_fence_[lock];
  if (exclusion_ && fence <= last) world_.watch.violation(fmt::format("{}: fence {} after {}", lock, fence, last));
  last = std::max(last, fence);
  for (const auto& [other, h] : holds_)
    if (h.lock == lock && h.fence == fence) world_.watch.violation(fmt::format("{}: fence {} twice", lock, fence));
  holds_[id] = {node, lock, fence, until};
}

void lock_checker::extended(std::uint64_t id, virtual_time until) {
  const auto it = holds_.find(id);
  if (it == holds_.end()) return;
  // A hold that was over must not come back to life.
  if (exclusion_ && it->second.until <= world_.now() && until > world_.now())
    world_.watch.violation(
        fmt::format("{}: a hold of {} that had ended was extended", it->second.lock, world_.name(it->second.node)));
  it->second.until = std::max(it->second.until, until);
}

void lock_checker::ended(std::uint64_t id) { holds_.erase(id); }

void lock_checker::writes(std::uint64_t id) {
  const auto it = holds_.find(id);
  if (it == holds_.end() || it->second.until <= world_.now()) return;
  auto& newest = written_[it->second.lock];
  if (exclusion_ && it->second.fence < newest)
    world_.watch.violation(fmt::format("{}: {} holds it by fence {} and the resource has seen {}", it->second.lock,
                                       world_.name(it->second.node), it->second.fence, newest));
  newest = std::max(newest, it->second.fence);
}

void job_checker::started(std::size_t node, const machine::job_run_record& r) {
  const auto [it, fresh] =
      starts_.try_emplace({r.job, r.version, r.scheduled.time_since_epoch().count(), r.attempt}, world_.name(node));
  if (!fresh)
    world_.watch.violation(fmt::format("{} at {} attempt {} started on {} and again on {}", r.job,
                                       r.scheduled.time_since_epoch().count(), r.attempt, it->second,
                                       world_.name(node)));
}

void journal_checker::learn(const std::string& journal, std::uint64_t id, const std::string& message) {
  const auto k = known_[journal].try_emplace(id, message).first;
  if (k->second != message) world_.watch.violation(fmt::format("{}: id {} differs between nodes", journal, id));
  const auto once = ids_[journal].try_emplace(message, id).first;
  if (once->second != id)
    world_.watch.violation(fmt::format("{}: {} was appended as {} and as {}", journal, message, once->second, id));
  if (forbidden_.contains(message))
    world_.watch.violation(fmt::format("{}: {} was appended behind its session's Fence", journal, message));
}

void fence_checker::after_step(std::size_t i) {
  const auto* r = group_at(world_.node(i).look(), group_).raft;
  if (!r) return;
  for (auto k = std::max(looked_.next(), r->first_index()); k <= r->commit(); ++k)
    if (const auto* e = r->entry_at(k)) look(*e);
  looked_ = std::max(looked_, r->commit());
}

void fence_checker::look(const raft::entry& e) {
  if (e.kind != raft::entry_kind::command) return;
  const auto c = wire::decode_command(e.payload.view());
  if (!c) return;
  if (const auto* f = std::get_if<machine::fence_session>(&c->body)) fenced_.insert(f->epoch);
  if (!c->session || !known_.emplace(c->session, c->seq).second || !fenced_.contains(c->session)) return;
  ++late_;
  if (const auto* a = std::get_if<machine::journal_append>(&c->body))
    for (const auto& item : a->items) journals_.forbid(item.message);
}

void journal_checker::acknowledged(const std::string& journal, std::uint64_t id, const std::string& message) {
  const auto [it, fresh] = acked_[journal].try_emplace(id, message);
  if (!fresh) world_.watch.violation(fmt::format("{}: id {} was acknowledged twice", journal, id));
  learn(journal, id, message);
}

void journal_checker::processing(std::size_t node, const std::string& journal,
                                 const std::vector<machine::journal_entry>& batch) {
  auto& p = seen_[{node, journal}];
  auto last = p.cursor;
  for (const auto& e : batch) {
    if (e.id <= last)
      world_.watch.violation(fmt::format("{} on {}: id {} after {}", journal, world_.name(node), e.id, last));
    last = e.id;
    learn(journal, e.id, e.message);
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

void cache_checker::acknowledged(const std::string& key, std::uint64_t version) {
  auto& a = acked_[key];
  a = std::max(a, version);
}

void cache_checker::invalidated(std::size_t node, const std::optional<std::string>& key) {
  if (key)
    held_[node].erase(*key);
  else
    held_[node].clear();
}

std::string cache_checker::stale() const {
  for (std::size_t n = 0; n < held_.size(); ++n)
    for (const auto& [key, version] : held_[n])
      if (const auto a = acked_.find(key); a != acked_.end() && version < a->second)
        return fmt::format("{} on {} is version {}, {} was acknowledged", key, world_.name(n), version, a->second);
  return {};
}

void message_checker::heard(std::size_t node, const wire::message_out& m) {
  ++count_;
  if (m.sender == world_.name(node))
    world_.watch.violation(fmt::format("{} hears its own message on {}", m.sender, m.channel));
  auto& [last, begun] = heard_[node][{m.sender, m.boot, m.channel}];
  if (m.seq <= last && ++begun > others_[m.sender])
    world_.watch.violation(
        fmt::format("{} on {}: message {} of {} after {}", m.channel, world_.name(node), m.seq, m.sender, last));
  last = m.seq;
}

}  // namespace coterie::sim
