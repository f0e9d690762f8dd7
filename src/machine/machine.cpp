// Dispatch, exactly-once requests, and the ends of sessions: what concerns more than one table.
#include "machine/machine.hpp"

#include <algorithm>
#include <type_traits>

#include <fmt/format.h>

#include "base/overloaded.hpp"
#include "machine/check.hpp"
#include "machine/due.hpp"

namespace coterie::machine {
namespace {

// Stamps outside of these years come from no clock; times near the limits of the type would overflow.
constexpr wall_time first_stamp{milliseconds(0)};
constexpr wall_time last_stamp{std::chrono::sys_days{std::chrono::year(9999) / 1 / 1}};

answer refusal(const failure& f) { return {f.code, f.first, f.second, f.message}; }

answer acknowledged(request_seq seq) {
  return refuse(errc::indeterminate,
                fmt::format("request {} was answered and acknowledged before: its answer is gone", seq.value));
}

// Whether the entry holds for the header's session, which close_session may outlive.
bool closes_itself(const command& c) {
  const auto* body = std::get_if<close_session>(&c.body);
  return body != nullptr && body->epoch == c.session;
}

/// Whether a data group executes it; the meta group has all others, and journals where there are no data groups.
template <class Command>
constexpr bool of_data_groups(const Command&) {
  return std::is_same_v<Command, admit_session> || std::is_same_v<Command, fence_session> ||
         std::is_same_v<Command, journal_append> || std::is_same_v<Command, journal_trim> ||
         std::is_same_v<Command, journal_retention>;
}
template <class Command>
constexpr bool of_meta_group(const Command&) {
  return !std::is_same_v<Command, admit_session> && !std::is_same_v<Command, fence_session>;
}
bool belongs(const command_body& body, group_id group) {
  return std::visit([&](const auto& c) { return group ? of_data_groups(c) : of_meta_group(c); }, body);
}

}  // namespace

machine::machine(limits max, group_id g) : max_(max), group_(g) {}

// ---- propose and apply ---------------------------------------------------------------------------------------------

// On the leader; the entry that it goes into decides again.
void machine::prepare(command& c, wall_time now) const {
  c.stamp = std::max(now, globals_.last_stamp);
  auto* job = std::get_if<schedule_job>(&c.body);
  if (job == nullptr) return;
  job->next = first_time(job->config.when, c.stamp);
  job->due.clear();
  const auto* old = jobs_.find(job->id);
  if (old == nullptr || !job->replace || old->config == job->config) return;
  const auto owner = old->owner ? old->owner : registry_.first_for(old->id, old->config.runner);
  job->due = fires_due(*old, owner, c.stamp, due_limit(max_), max_);
}

void machine::raise_stamp(wall_time stamp) {
  stamp = std::clamp(stamp, first_stamp, last_stamp);
  if (stamp <= globals_.last_stamp) return;
  globals_.last_stamp = stamp;
  globals_changed_ = true;
}

// Exactly once (docs/consensus.md 1.9): seq <= acked or used is never executed. A request beyond the client's window
// can't be remembered, so it is not executed and answered `indeterminate`, which stays true if a delayed duplicate is
// executed later.
applied machine::apply(log_index index, term when, const command& c) {
  applied out;
  raise_stamp(c.stamp);
  if (c.session) {
    const auto* s = registry_.session(c.session);
    if (s == nullptr) {
      out.result = closes_itself(c) ? done() : refuse(errc::indeterminate, "the session has ended: open another one");
      stats_.add("dead_session");
      return out;
    }
    if (!c.seq) {
      out.result = refuse(errc::bad_argument, "the request has no number");
      return out;
    }
    const auto used = s->used.find(c.seq);
    out.duplicate = c.seq <= s->acked || used != s->used.end();
    if (out.duplicate) out.result = used != s->used.end() ? used->second : acknowledged(c.seq);
    const auto ack = std::min(c.ack, c.seq.prev());
    if (ack > s->acked) {
      auto* changed = registry_.change(c.session);
      changed->acked = ack;
      changed->used.erase(changed->used.begin(), changed->used.upper_bound(ack));
    }
    if (out.duplicate) {
      stats_.add("duplicates");
      return out;
    }
    if (c.seq.value - s->acked.value > max_.used_per_session) {
      stats_.add("beyond_window");
      out.result =
          refuse(errc::indeterminate, fmt::format("more than {} requests are not acknowledged", max_.used_per_session));
      return out;
    }
  }
  turn t{index, when, globals_.last_stamp, c.session, c.seq, max_, out.happened, data_};
  if (const auto r = check(c.body, max_); !r)
    out.result = refusal(r.error());
  else if (!belongs(c.body, group_))
    out.result = refuse(errc::bad_argument, "the command is of another group");
  else
    out.result = execute(t, c.body);
  if (!out.result.ok()) stats_.add("refused");
  if (c.session)
    if (auto* s = registry_.change(c.session)) s->used.emplace(c.seq, out.result);
  return out;
}

answer machine::execute(turn& t, const command_body& body) {
  const auto view = globals_.view, journal_id = globals_.last_journal_id;
  const auto result =
      std::visit(overloaded{
                     [&](const add_member& c) { return registry_.add(t, c, globals_.view); },
                     [&](const remove_member& c) { return remove(t, c); },
                     [&](const change_view& c) { return registry_.judge(t, c, globals_.view); },
                     [&](const set_read_lease& c) {
                       globals_changed_ |= std::exchange(globals_.read_lease, c.lease) != c.lease;
                       return done();
                     },
                     [&](const open_session& c) { return open(t, c); },
                     [&](const expire_session& c) { return expire(t, c); },
                     [&](const close_session& c) { return close(t, c); },
                     [&](const admit_session& c) { return admit(c); },
                     [&](const fence_session& c) { return fence(c); },
                     [&](const set_activity& c) { return activity(t, c); },
                     [&](const register_runner& c) { return registry_.register_runner(t, c.runner); },
                     [&](const unregister_runner& c) {
                       const auto gone = registry_.unregister_runner(t, c.runner);
                       if (gone.ok()) jobs_.disown(t, t.session, c.runner);
                       return gone;
                     },
                     [&](const lock_acquire& c) { return locks_.acquire(t, c, registry_); },
                     [&](const lock_release& c) { return locks_.release(t, c, registry_); },
                     [&](const lock_cancel& c) { return cancel(t, c); },
                     [&](const schedule_job& c) { return jobs_.schedule(t, c, registry_); },
                     [&](const unschedule_job& c) { return jobs_.unschedule(t, c); },
                     [&](const assign_job& c) { return jobs_.assign(t, c, registry_); },
                     [&](const fire_job& c) { return jobs_.fire(t, c, registry_); },
                     [&](const finish_run& c) { return jobs_.finish(t, c); },
                     [&](const journal_append& c) { return journals_.append(t, c, globals_.last_journal_id); },
                     [&](const journal_trim& c) { return journals_.trim(t, c); },
                     [&](const journal_retention& c) { return journals_.retain(t, c); },
                 },
                 body);
  if (view != globals_.view || journal_id != globals_.last_journal_id) globals_changed_ = true;
  return result;
}

// ---- sessions ------------------------------------------------------------------------------------------------------

// A node's older sessions live on until they expire, but own no jobs any more: nobody starts what they claim.
answer machine::open(turn& t, const open_session& c) {
  const auto result = registry_.open(t, c);
  for (const auto epoch : registry_.sessions_of(c.node))
    if (epoch.value < result.value) jobs_.disown(t, epoch);
  return result;
}

// Void unless it stands in an entry of the very term whose leader timed the session out (docs/consensus.md 1.9).
answer machine::expire(turn& t, const expire_session& c) {
  if (registry_.session(c.epoch) == nullptr) return refuse(errc::not_found, "the session has ended already");
  if (c.proposer != t.when) return refuse(errc::not_owner, "the leader that timed the session out leads no more");
  end_session(t, c.epoch, true);
  return done();
}

answer machine::close(turn& t, const close_session& c) {
  if (registry_.session(c.epoch) != nullptr) end_session(t, c.epoch, false);
  return done();
}

void machine::end_session(turn& t, session_epoch epoch, bool expired) {
  t.happened.emplace_back(session_ended{epoch, registry_.session(epoch)->node, expired});
  registry_.end(epoch, expired);
  locks_.end_session(t, epoch, registry_);
  jobs_.end_session(t, epoch, expired ? outcome::lost : outcome::aborted);
}

// A leader whose meta group lags may propose a session again that was fenced meanwhile. Those below the newest one were
// admitted before it, or were over when it was: leaders propose them in their order.
answer machine::admit(const admit_session& c) {
  if (admitted(c.epoch)) return refuse(errc::not_found, "a session as new was admitted before");
  registry_.admit(c.epoch, c.node);
  globals_.last_admitted = c.epoch;
  globals_changed_ = true;
  return done();
}

answer machine::fence(const fence_session& c) {
  if (registry_.session(c.epoch) == nullptr) return refuse(errc::not_found, "the session is not here");
  stats_.add("fenced");
  if (max_.bug != planted_bug::open_fence) registry_.end(c.epoch, true);
  return done();
}

answer machine::activity(turn& t, const set_activity& c) {
  auto* s = registry_.change(t.session);
  if (s == nullptr) return refuse(errc::bad_argument, "the command needs a session: open one first");
  s->active = c.active;
  s->stopping = c.stopping;
  if (!registry_.takes_work(t.session)) {
    locks_.drop_waiters(t.session);
    jobs_.disown(t, t.session);
  }
  return done();
}

answer machine::remove(turn& t, const remove_member& c) {
  const auto result = registry_.remove(t, c, globals_.view);
  if (result.ok())
    for (const auto epoch : registry_.sessions_of(c.id)) jobs_.disown(t, epoch);
  return result;
}

// A request that has not come yet is marked as used, so that it is never granted behind the canceller's back.
answer machine::cancel(turn& t, const lock_cancel& c) {
  if (const auto result = locks_.cancel(t, c, registry_)) return *result;
  auto* s = registry_.change(t.session);
  if (s == nullptr) return refuse(errc::bad_argument, "the command needs a session: open one first");
  if (c.request != t.seq && c.request > s->acked && c.request.value - s->acked.value <= max_.used_per_session)
    s->used.emplace(c.request, refuse(errc::timeout, "the request was cancelled before it was executed"));
  return done();
}

// ---- state ---------------------------------------------------------------------------------------------------------

void machine::forget() {
  machine empty(max_, group_);
  empty.stats_ = std::move(stats_);
  *this = std::move(empty);
}

void machine::bootstrap(const std::vector<member_record>& founders) {
  forget();
  registry_.found(founders);
  globals_.view = 1;
  globals_changed_ = true;
}

void machine::restore(const std::vector<record>& records) {
  forget();
  for (const auto& r : records)
    std::visit(overloaded{
                   [&](const global_record& g) { globals_ = g; },
                   [&](const member_record& m) { registry_.restore(m); },
                   [&](const session_record& s) { registry_.restore(s); },
                   [&](const lock_record& l) { locks_.restore(l); },
                   [&](const job_record& j) { jobs_.restore(j); },
                   [&](const journal_record& j) { journals_.restore(j); },
                   [&](const journal_bucket& b) { journals_.restore(b); },
                   [&](const journal_key& k) { journals_.restore(k); },
                   [&](const journal_entry&) {},
                   [&](const job_run_record&) {},
               },
               r);
  journals_.restored();
}

std::vector<write> machine::take_writes() {
  std::vector<write> out;
  out.reserve(data_.size() + 16);
  if (globals_changed_) out.emplace_back(put{globals_});
  globals_changed_ = false;
  registry_.collect(out);
  locks_.collect(out);
  jobs_.collect(out);
  journals_.collect(out);
  // Each table gives its classes one after the other, each in key order: with the classes sorted all are.
  std::stable_sort(out.begin(), out.end(), [](const write& a, const write& b) { return class_of(a) < class_of(b); });
  out.insert(out.end(), std::make_move_iterator(data_.begin()), std::make_move_iterator(data_.end()));
  data_.clear();
  return out;
}

const global_record& machine::globals() const { return globals_; }
const std::map<node_id, member_record>& machine::members() const { return registry_.members(); }
const std::map<session_epoch, session_record>& machine::sessions() const { return registry_.sessions(); }
const std::map<std::string, lock_record, std::less<>>& machine::locks() const { return locks_.all(); }
const std::map<std::string, job_record, std::less<>>& machine::jobs() const { return jobs_.all(); }
const std::map<std::string, journal_record, std::less<>>& machine::journals() const { return journals_.all(); }
const session_record* machine::session(session_epoch epoch) const { return registry_.session(epoch); }
const member_record* machine::member(node_id id) const { return registry_.member(id); }
bool machine::admitted(session_epoch epoch) const { return !group_ || epoch <= globals_.last_admitted; }
const counters& machine::stats() const { return stats_; }

std::uint64_t machine::digest() const {
  digest_builder d;
  d.add(globals_);
  registry_.add_to(d);
  locks_.add_to(d);
  jobs_.add_to(d);
  journals_.add_to(d);
  return d.value();
}

}  // namespace coterie::machine
