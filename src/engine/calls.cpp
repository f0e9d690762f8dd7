// What clients ask of this node, one handler a request. Reads that must be linearizable go through a read index round
// first.
#include <algorithm>

#include <fmt/format.h>

#include "base/overloaded.hpp"
#include "engine/admission.hpp"
#include "engine/state.hpp"
#include "machine/check.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr std::size_t history_limit = 1'000;
}  // namespace

void engine::state::on_call(const call& c) {
  const duration timeout = c.timeout ? duration(*c.timeout) : opt.call_timeout;
  const auto deadline = ctx.now.steady + timeout;
  const auto id = c.id;
  const auto rule = admission_of(c.what);
  if (opt.gossip_only && rule.needs_log)
    return ctx.refuse(id, errc::unavailable,
                      "this node runs with --gossip-only: it has membership and messages, no log");
  if (end && !rule.while_stopping) return ctx.refuse(id, errc::closed, "the node is stopping: ask another one");
  if (rule.needs_formed && healer) return ctx.refuse(id, errc::unavailable, healer->situation());
  if (rule.needs_formed && !replica)
    return ctx.refuse(id, errc::unavailable,
                      fmt::format("the cluster is not formed yet ({}): wait, or see coterie status",
                                  genesis ? genesis->situation() : ""));
  const auto answer_with = [&](auto&& what) {
    if (what)
      ctx.reply(id, std::move(*what));
    else
      ctx.reply(id, what.error());
  };
  const auto answer_done = [&](const result<void>& r) {
    if (r)
      ctx.reply(id, wire::done{});
    else
      ctx.reply(id, r.error());
  };
  std::visit(overloaded{
                 [&](const wire::get_status&) { ctx.reply(id, status()); },
                 [&](const wire::get_members&) { ctx.reply(id, member_list()); },
                 [&](const wire::wait_members& x) {
                   member_waits[id] = {x.count, deadline};
                   check_waiting_members();
                 },
                 [&](const wire::follow_events& x) { news.follow(id, x); },
                 [&](const wire::explain_member& x) { answer_with(explain(x.node)); },
                 [&](const wire::get_round_trip& x) { answer_with(round_trip(x)); },
                 [&](const wire::init_without& x) { answer_done(genesis->init_without(x.seeds, ctx.now.steady)); },
                 [&](const wire::discard_record& x) { discard(id, x.record); },
                 [&](const wire::set_tags& x) { answer_done(set_tags(x)); },
                 [&](const wire::remove_node& x) { remove(id, x.node, timeout); },
                 [&](const wire::leave_cluster&) { begin_end(id, true, timeout); },
                 [&](const wire::transfer_leadership& x) { begin_handover(id, x.node, deadline); },
                 [&](const wire::set_read_lease& x) { submit(id, machine::set_read_lease{x.lease}, timeout); },
                 [&](const wire::read_snapshot& x) {
                   if (!data.empty())
                     return ctx.refuse(id, errc::unavailable, "a cluster with data groups can't be backed up yet");
                   if (x.view != 0) return snapshots.next(id, x, *replica);
                   if (x.stale) return snapshots.begin(id, *replica);
                   barrier(id, x, deadline);
                 },
                 [&](const wire::stop_node&) { begin_end(id, false, timeout); },
                 [&](const wire::acquire_lock& x) { locks.acquire(id, x, timeout); },
                 [&](const wire::release_lock& x) { locks.release(id, x); },
                 [&](const wire::tell_lock& x) { locks.on_told(id, x); },
                 [&](const wire::add_job& x) {
                   auto job = x.job;
                   if (job.id.empty()) job.id = fmt::format("job-{:016x}{:016x}", ctx.random.next(), ctx.random.next());
                   submit(id, std::move(job), timeout);
                 },
                 [&](const wire::remove_job& x) { submit(id, machine::unschedule_job{x.id}, timeout); },
                 [&](const wire::add_runner& x) { jobs.add_runner(id, x); },
                 [&](const wire::finish_job& x) { jobs.finish(id, x); },
                 [&](const wire::append_journal& x) {
                   submit(id, machine::journal_append{x.journal, x.key, x.items}, timeout);
                 },
                 [&](const wire::keep_journal& x) {
                   submit(id, machine::journal_retention{x.journal, x.keep}, timeout);
                 },
                 [&](const wire::peek_journal& x) {
                   const auto now = own_state(id, x.stale, group_of(x.journal, opt.data_groups));
                   if (now) journals.peek(id, x, *now, journal_log(x.journal));
                 },
                 [&](const wire::count_journal& x) {
                   const auto now = own_state(id, x.stale, group_of(x.journal, opt.data_groups));
                   if (now) journals.count(id, x, *now, journal_log(x.journal));
                 },
                 [&](const wire::begin_process& x) { journals.begin(id, x, journal_log(x.journal)); },
                 [&](const wire::end_process& x) { journals.end(id, x, journal_log(x.journal)); },
                 [&](const wire::watch_journal& x) { journals.watch(id, x, journal_log(x.journal)); },
                 [&](const wire::register_cache& x) { bus.register_cache(id, x); },
                 [&](const wire::invalidate_cache& x) { bus.invalidate(id, x, deadline); },
                 [&](const wire::list_caches&) { bus.list(id); },
                 [&](const wire::publish& x) { bus.publish(id, x); },
                 [&](const wire::listen& x) { bus.listen(id, x); },
                 [&](const wire::list_locks& x) { read_own(id, x, deadline); },
                 [&](const wire::list_jobs& x) { read_own(id, x, deadline); },
                 [&](const wire::job_history& x) { read_own(id, x, deadline); },
                 [&](const wire::reset_journal& x) { barrier(id, x, deadline, group_of(x.journal, opt.data_groups)); },
                 [&](const wire::wait_visible& x) { barrier(id, x, deadline); },
             },
             c.what);
}

void engine::state::on_cancel(call_id id) {
  locks.cancel(id);
  jobs.cancel(id);
  bus.cancel(id);
  news.cancel(id);
  for (const auto& journal : journals.cancel(id)) journals.next(journal, journal_log(journal));
  member_waits.erase(id);
  handovers.erase(id);
  std::erase_if(discards, [&](const auto& d) { return d.second == id; });
  std::erase_if(barriers, [&](const auto& b) { return b.second.call == id; });
  std::erase_if(lock_lists, [&](const auto& l) { return l.second.call == id; });
  for (auto it = submitted.begin(); it != submitted.end();) {
    if (it->second.call != id) {
      ++it;
      continue;
    }
    outbox_of(it->second.group).abandon(it->first);
    it = submitted.erase(it);
  }
}

// Answered when the record is gone for good.
void engine::state::discard(call_id id, cluster_id record) {
  const auto written = genesis->discard(record, ctx.now.steady);
  if (!written) return ctx.reply(id, written.error());
  discards[*written] = id;
}

result<void> engine::state::set_tags(const wire::set_tags& change) {
  auto tags = members.self().tags;
  for (const auto& k : change.remove) tags.erase(k);
  for (const auto& [k, v] : change.set) tags[k] = v;
  return members.set_tags(std::move(tags), ctx.now);
}

// A member that can't leave by itself. One that is alive can, and would be a stranger with a session.
void engine::state::remove(call_id id, const std::string& node, duration timeout) {
  const auto who = find_member(node);
  if (!who) return ctx.reply(id, who.error());
  if (*who == ctx.self) return ctx.refuse(id, errc::bad_argument, "this is the node itself: use coterie leave");
  const auto* m = replica->machine().member(*who);
  if (!m) return ctx.refuse(id, errc::not_found, fmt::format("{} is no member: see coterie members", node));
  if (const auto* seen = members.find(*who); seen && swim::is_living(seen->state))
    return ctx.refuse(id, errc::bad_argument,
                      fmt::format("{} is {}: run coterie leave on it, or stop it first", node, to_string(seen->state)));
  submit(id, machine::remove_member{*who, false}, timeout);
}

void engine::state::submit(call_id id, machine::command_body body, duration timeout) {
  if (low_disk && grows_data(body))
    return ctx.refuse(id, errc::limit, "the disk of this node is nearly full: free space, then try again");
  if (auto ok = machine::check(body, opt.limits); !ok) return ctx.reply(id, ok.error());
  auto expected = expected_of(body);
  const auto group = group_for(body);
  if (group && data.empty())
    return ctx.refuse(id, errc::unavailable, "the cluster is not formed yet: wait, or see coterie status");
  auto t = outbox_of(group).submit(std::move(body), ctx.now.steady + timeout);
  if (!t) return ctx.reply(id, t.error());
  submitted[*t] = {id, std::move(expected), group};
  next_request_tick = std::min(next_request_tick, ctx.now.steady + 100ms);
}

void engine::state::on_answer(const outbox::answered& a) {
  if (locks.on_answer(a) || jobs.on_answer(a)) return;
  const auto it = submitted.find(a.id);
  if (it == submitted.end()) return;
  const auto [id, expected, group] = std::move(it->second);
  submitted.erase(it);
  if (!a.what.ok()) return ctx.refuse(id, a.what.code, a.what.text.empty() ? describe(a.what.code) : a.what.text);
  ctx.reply(id, response_to(expected, a.what, replica->machine()));
}

// ---- reads of the own state ----------------------------------------------------------------------------------------

/// Without a quorum when the caller said so.
template <class Read>
void engine::state::read_own(call_id id, const Read& what, instant deadline) {
  if (!what.stale) return barrier(id, what, deadline);
  if (const auto now = own_state(id, *what.stale)) serve(id, what, now);
}

/// The state as this node has it now; how old it may be is known of the meta group's. nullopt: the call was refused,
/// for it is not what the caller wants.
std::optional<wire::as_of> engine::state::own_state(call_id id, const wire::staleness& wanted, group_id group) {
  if (!replica) {
    ctx.refuse(id, errc::unavailable, healer ? healer->situation() : "this node has no state yet: see coterie status");
    return std::nullopt;
  }
  const auto applied = parts_of(group)->replica.core().applied();
  wire::as_of now{applied, {}};
  if (const auto age = group ? std::nullopt : own_age.age(applied, ctx.now))
    now.age = std::chrono::ceil<std::chrono::milliseconds>(*age);
  const bool fit = !wanted.max_age || (now.age && *now.age <= *wanted.max_age);
  ctx.stats.add(fit ? "stale.reads" : "stale.refused");
  if (fit) return now;
  const auto how_old =
      now.age ? fmt::format("may be {} ms old", now.age->count())
              : std::string("may be of any age, for it has heard of no quorum since its start, or can't tell");
  ctx.refuse(id, errc::unavailable,
             fmt::format("the state of this node, as of entry {}, {}; {} ms were asked for: ask another node, or for a "
                         "linearizable read",
                         applied, how_old, wanted.max_age->count()));
  return std::nullopt;
}

// ---- linearizable reads --------------------------------------------------------------------------------------------

void engine::state::barrier(call_id id, linearizable_read what, instant deadline, group_id group) {
  if (const auto* r = std::get_if<wire::reset_journal>(&what))
    if (auto ok = machine::check_journal(r->journal); !ok) return ctx.reply(id, ok.error());
  if (barriers.size() >= opt.max_calls) return ctx.refuse(id, errc::limit, "too many reads wait on this node");
  barriers[++next_round] = {
      .call = id, .what = std::move(what), .deadline = deadline, .retry = ctx.now.steady, .group = group, .index = {}};
  check_barriers();
}

void engine::state::check_barriers() {
  const auto now = ctx.now.steady;
  std::vector<std::uint64_t> ids;
  for (const auto& [id, b] : barriers) ids.push_back(id);
  for (const auto id : ids) {
    const auto it = barriers.find(id);
    if (it == barriers.end()) continue;
    auto& b = it->second;
    const auto g = parts_of(b.group);
    const bool contact = outbox::quorum_contact(g ? &g->replica : nullptr, now);
    b.saw_quorum |= contact;
    if (b.index && g->replica.core().applied() >= *b.index) {
      const auto done = std::move(b);
      barriers.erase(it);
      // Of all groups, one after the other: each is asked after the call came.
      if (std::holds_alternative<wire::wait_visible>(done.what) && done.group.value < data.size())
        barrier(done.call, done.what, done.deadline, done.group.next());
      else
        serve(done.call, done.what);
    } else if (now >= b.deadline) {
      if (contact)
        ctx.refuse(b.call, errc::timeout, "a quorum is there, but the read was not confirmed in time: try again");
      else
        ctx.refuse(b.call, errc::no_quorum, "no contact with a majority of the voters: see coterie status");
      barriers.erase(it);
    } else if (!b.index && now >= b.retry && contact) {
      // A fresh id for each attempt (etcd#20418).
      auto again = std::move(b);
      barriers.erase(it);
      again.retry = now + 1s;
      again.asked = ctx.now;
      const auto fresh = ++next_round;
      barriers[fresh] = std::move(again);
      if (g->relay.parent())
        g->relay_up.read(ctx.self, fresh);
      else
        g->replica.core().read_index(fresh, now);
    }
  }
}

void engine::state::serve(call_id id, const linearizable_read& what, const std::optional<wire::as_of>& as_of) {
  const auto& m = replica->machine();
  std::visit(
      overloaded{
          [&](const wire::wait_visible&) { ctx.reply(id, wire::done{}); },
          [&](const wire::read_snapshot&) { snapshots.begin(id, *replica); },
          [&](const wire::reset_journal& x) { journals.reset(id, x.journal, journal_log(x.journal)); },
          [&](const wire::list_locks& x) { begin_lock_list(id, x.name, as_of); },
          [&](const wire::list_jobs& x) {
            wire::job_list out{{}, as_of};
            for (const auto& [name, j] : m.jobs()) {
              if ((!x.id.empty() && x.id != name) || (!x.runner.empty() && x.runner != j.config.runner)) continue;
              bool runnable = false;
              for (const auto& [e, s] : m.sessions())
                runnable |=
                    s.active && !s.stopping && std::binary_search(s.runners.begin(), s.runners.end(), j.config.runner);
              out.jobs.push_back({j, j.owner ? name_of(j.owner) : "", runnable});
            }
            if (!x.id.empty() && out.jobs.empty())
              return ctx.refuse(id, errc::not_found, fmt::format("there is no job '{}': see coterie job list", x.id));
            ctx.reply(id, std::move(out));
          },
          [&](const wire::job_history& x) {
            if (!m.jobs().contains(x.id))
              return ctx.refuse(id, errc::not_found, fmt::format("there is no job '{}': see coterie job list", x.id));
            const auto r = ctx.fresh_read();
            history_reads[r] = {id, as_of};
            ctx.emit(read{.id = r,
                          .in = disk::space::state,
                          .from = machine::history_key(x.id, 0),
                          .to = machine::history_key(x.id, ~0ull),
                          .max_items = std::clamp<std::size_t>(x.max, 1, history_limit),
                          .max_bytes = 8u << 20,
                          .reverse = true});
          },
      },
      what);
}

// The log says whose the grants are, and those nodes whether they are used; a stale read asks nobody.
void engine::state::begin_lock_list(call_id id, const std::string& only, const std::optional<wire::as_of>& as_of) {
  const auto& m = replica->machine();
  listed_locks list{id, {{}, as_of}};
  std::map<node_id, std::vector<wire::held_grant>> where;
  const auto add = [&](const machine::lock_record& l) {
    const auto& h = *l.holder;
    list.locks.locks.push_back({l.name, name_of(h.session), machine::fence_of(h.grant), h.acquired,
                                static_cast<std::uint32_t>(l.waiters.size()), h.label});
    if (const auto* s = m.session(h.session)) where[s->node].push_back({l.name, h.grant});
  };
  if (only.empty()) {
    for (const auto& [name, l] : m.locks()) add(l);
  } else if (const auto l = m.locks().find(only); l != m.locks().end()) {
    add(l->second);
  }
  if (where.empty() || as_of) return ctx.reply(id, std::move(list.locks));
  lock_lists.emplace(inquiries.begin(std::move(where)), std::move(list));
}

void engine::state::on_lock_list(lock_inquiries::finished f) {
  auto found = lock_lists.extract(f.id);
  if (!found) return;
  auto& [id, out] = found.mapped();
  for (auto& l : out.locks) {
    const auto u = f.uses.find(l.name);
    if (u == f.uses.end() || machine::grant_of(u->second.fence) != machine::grant_of(l.fence)) continue;
    l.fence = u->second.fence;
    l.acquired = u->second.since;
    l.label = u->second.label;
    l.idle = !u->second.used;
    l.waiters += u->second.waiters;
  }
  ctx.reply(id, std::move(out));
}

bool engine::state::settle_locks() {
  bool busy = false;
  for (auto& q : inquiries.take_own()) {
    busy = true;
    locks.on_question(ctx.self, std::move(q));
  }
  for (auto& r : locks.take_replies()) {
    busy = true;
    if (r.to == ctx.self)
      inquiries.on_reply(std::move(r.what));
    else
      links.send(r.to, std::move(r.what));
  }
  for (auto& f : inquiries.take()) {
    busy = true;
    if (!locks.on_inquired(f)) on_lock_list(std::move(f));
  }
  return busy;
}

void engine::state::on_history(const read_done& r) {
  const auto it = history_reads.find(r.id);
  if (it == history_reads.end()) return;
  const auto [id, as_of] = it->second;
  history_reads.erase(it);
  wire::run_list out{{}, as_of};
  for (const auto& [key, value] : r.items) {
    auto record = wire::decode_record(key, value);
    if (auto* run = record ? std::get_if<machine::job_run_record>(&*record) : nullptr) {
      auto node = run->node ? name_of(run->node) : std::string();
      out.runs.push_back({std::move(*run), std::move(node)});
    }
  }
  ctx.reply(id, std::move(out));
}

// ---- waiting for members -------------------------------------------------------------------------------------------

// Gossip meets whoever was removed for as long as it does not know that yet.
std::size_t engine::state::members_alive() const {
  auto n = members.alive_count();
  if (!replica) return n;
  for (const auto& [id, x] : replica->machine().members()) {
    const auto* m = x.removed ? members.find(id) : nullptr;
    if (m && is_living(m->state)) --n;
  }
  return n;
}

void engine::state::check_waiting_members() {
  for (auto it = member_waits.begin(); it != member_waits.end();) {
    const auto alive = members_alive();
    const bool formed =
        opt.gossip_only || (replica && replica->leader() && replica->machine().globals().view > 0 && is_member());
    if (formed && alive >= it->second.count && members.views_agree()) {
      ctx.reply(it->first, member_list());
    } else if (ctx.now.steady >= it->second.deadline) {
      ctx.refuse(it->first, errc::timeout,
                 fmt::format("{} of {} members are alive{}: see coterie status", alive, it->second.count,
                             formed ? (alive >= it->second.count ? ", but not yet in every member's view" : "")
                                    : ", and the cluster is not formed"));
    } else {
      ++it;
      continue;
    }
    it = member_waits.erase(it);
  }
}

}  // namespace coterie::engine
