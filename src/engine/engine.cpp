#include "engine/engine.hpp"

#include <algorithm>

#include "base/overloaded.hpp"
#include "engine/state.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {

constexpr duration chore_period = 250ms;
constexpr duration request_period = 100ms;
constexpr int max_rounds = 1'000;  // of one turn; everything left over goes on at the next wake

options completed(options o) {
  o.genesis.cluster = o.swim.cluster = o.cluster;
  o.genesis.name = o.name;
  o.genesis.seeds = o.seeds;
  o.genesis.advertise = o.advertise;
  o.genesis.bootstrap_single = o.bootstrap_single;
  if (!o.gossip_only)
    if (const auto list = swim::genesis::validate(o.genesis)) o.swim.seeds = swim::genesis::digest_of(*list);
  o.raft.bug = o.swim.bug = o.limits.bug = o.bug;
  o.raft.clock_rate_error = o.clock_rate_error;
  o.raft.align_heartbeats = o.data_groups > 0;
  return o;
}

/// Whether it is worth a line in the log: twice or half of what was told, or the usual again.
bool tells_apart(duration now, duration told, duration usual) {
  return now >= 2 * told || 2 * now <= told || (now == usual && told != usual);
}

context make_context(const options& o, const recovered_state& r, const times& now, std::uint64_t seed) {
  context c;
  c.opt = &o;
  c.self = r.self;
  c.boot = r.boot;
  c.cluster = r.acceptor.id;
  c.now = now;
  c.random = rng(seed);
  c.start = c.random.next();
  c.recovered_ends = r.ends();
  return c;
}

swim::member_info self_info(const options& o, node_id id) {
  return {.id = id, .name = o.name, .at = o.advertise, .version = o.version, .tags = o.tags};
}

std::size_t statement_size(const swim::statement& s) { return wire::encoded_size(s); }
std::size_t user_size(const swim::user_datum& d) { return wire::encoded_size(d); }

}  // namespace

engine::state::state(const options& o, recovered_state r, const times& now, std::uint64_t seed)
    : opt(completed(o)),
      initial(std::move(r)),
      ctx(make_context(opt, initial, now, seed)),
      links(ctx),
      disk(ctx),
      members(self_info(opt, initial.self), initial.boot, opt.swim, statement_size, user_size, now, ctx.random.next()),
      session(ctx),
      keeper(ctx),
      outbox(ctx, links),
      relay(ctx, links),
      relay_up(ctx, links),
      inquiries(ctx, links),
      locks(ctx, outbox, session, inquiries, replica),
      jobs(ctx, outbox, session),
      journals(ctx, disk, initial.cursors),
      snapshots(ctx),
      bus(ctx, links, members),
      news(ctx),
      cut(opt.views),
      own_age(opt.clock_rate_error) {
  if (!opt.gossip_only)
    genesis.emplace(initial.self, initial.boot, opt.genesis, initial.acceptor, now.steady, ctx.random.next());
}

void engine::state::halt(bool ok, std::string reason) {
  if (std::exchange(halted_, true)) return;
  ctx.emit(halted{ok, std::move(reason)});
}

void engine::state::step(std::span<const event> turn) {
  each_group([&](group_parts g) { g.replica.core().read_clocks(ctx.now); });
  for (const auto& e : turn) handle(e);
  if (!halted_ && !failed) settle();
  links.flush();
}

void engine::state::handle(const event& e) {
  if (halted_) return;
  if (failed) {
    // Nothing is promised any more; only that this is durable, or never will be, is waited for.
    if (const auto* w = std::get_if<written>(&e)) on_written(w->sequence);
    if (const auto* f = std::get_if<disk_failed>(&e)) on_disk_failed(*f);
    return;
  }
  std::visit(overloaded{
                 [&](const datagram_in& x) { on_datagram(x); },
                 [&](const stream_up& x) { on_stream_up(x); },
                 [&](const stream_down& x) { on_stream_down(x); },
                 [&](const frame_in& x) { on_frame(x); },
                 [&](const unreachable_in& x) { on_refused(x.to); },
                 [&](const datagrams_dropped& x) { members.on_dropped(x.count, ctx.now); },
                 [&](const wake&) {},
                 [&](const written& x) { on_written(x.sequence); },
                 [&](const read_done& x) { on_read(x); },
                 [&](const disk_failed& x) { on_disk_failed(x); },
                 [&](const disk_space& x) { on_disk_space(x.low); },
                 [&](const call& x) { on_call(x); },
                 [&](const cancel_call& x) { on_cancel(x.id); },
             },
             e);
}

// The others hear of it: who has room should lead.
void engine::state::on_disk_space(bool low) {
  if (low == low_disk) return;
  low_disk = low;
  next_relief = ctx.now.steady + relief_patience;
  std::ignore = members.set_user(std::string(low_disk_key), low ? to_bytes("low") : bytes(), ctx.now);
  ctx.log(low ? log_level::error : log_level::info,
          low ? "the disk is nearly full: data is refused until there is room again" : "there is disk space again");
}

void engine::state::on_disk_failed(const disk_failed& f) {
  failed = true;
  ctx.log(log_level::error, "the disk failed: " + f.reason);
  halt(false, "the disk failed: " + f.reason);
}

void engine::state::on_read(const read_done& r) {
  if (!replica) return;
  bool owned = false;
  each_group([&](group_parts g) {
    if (!owned && g.replica.owns(r.id)) owned = true, g.replica.on_read(r);
  });
  if (owned || snapshots.on_read(r)) return;
  if (const auto* journal = journals.read_by(r.id)) return journals.on_read(r, journal_log(*journal));
  on_history(r);
}

void engine::state::on_written(std::uint64_t sequence) {
  for (const auto& w : disk.on_written(sequence)) {
    // An identity that is over promises nothing any more: a vote or an acknowledgement that waited for its write stays.
    if (failed && !std::holds_alternative<end_saved>(w)) continue;
    std::visit(
        overloaded{
            [](const nobody&) {},
            [&](const raft_persist& x) { parts_of(x.group)->replica.on_written(x); },
            [&](const genesis_persist& x) {
              genesis->on_persisted(x.sequence, ctx.now.steady);
              if (const auto d = discards.extract(x.sequence)) ctx.reply(d.mapped(), wire::done{});
            },
            [&](const cursor_saved& x) { journals.on_saved(x, journal_log(x.journal)); },
            [&](const chunk_saved& x) {
              healer ? healer->on_chunk_saved(x) : parts_of(x.group)->replica.on_chunk_saved(x);
            },
            [&](const snapshot_installed& x) { healer ? on_healed() : parts_of(x.group)->replica.on_installed(); },
            [&](const end_saved& x) {
              if (x.why == end_of_identity::left) return halt(true, "left");
              halt(false, farewell(x.why));
            },
        },
        w);
  }
}

void engine::state::run_timers() {
  const auto now = ctx.now.steady;
  if (now >= members.next_wake()) members.tick(ctx.now);
  if (genesis && now >= genesis->next_wake()) genesis->tick(now);
  each_group([&](group_parts g) {
    if (now >= g.replica.next_wake()) g.replica.tick();
  });
  if (healer && now >= healer->next_wake()) healer->tick();
  bus.tick();
  if (now >= next_request_tick) {
    next_request_tick = now + request_period;
    outbox.tick(replica ? &*replica : nullptr);
    for (auto& g : data) g.outbox.tick(&g.replica);
    locks.tick(outbox::quorum_contact(replica ? &*replica : nullptr, now));
    inquiries.tick();
    check_barriers();
    check_waiting_members();
    check_handovers();
  }
  if (now >= next_chores) {
    next_chores = now + chore_period;
    chores();
  }
}

void engine::state::settle() {
  run_timers();
  for (int i = 0; i < max_rounds && !halted_; ++i)
    if (!settle_once()) break;
  watch_state();
}

// One round of passing on what the parts have to say; false when all is quiet.
bool engine::state::settle_once() {
  bool busy = settle_genesis();
  busy |= settle_members();
  busy |= settle_replica();
  if (halted_) return false;
  tend_relays();
  tend_session();
  lead();
  lead_data();
  relieve();
  busy |= settle_locks();
  each_group([&](group_parts g) {
    g.outbox.pump(session.epoch(), &g.replica, g.relay_up, g.relay.parent());
    g.relay_up.flush(g.replica, g.relay.parent());
  });
  settle_answers();
  if (end) tend_end();
  busy |= settle_replica();
  return busy;
}

void engine::state::chores() {
  links.close_silent();
  std::erase_if(out_of_scope, [this](const auto& s) { return !links.up(s.first); });
  snapshots.tick();
  dial_members();
  seek_membership();
  keep_pace();
}

// Election time-outs follow what is measured: round trips by gossip, synced writes by this node's own disk.
void engine::state::keep_pace() {
  if (!replica) return;
  const auto sync = disk.recent_syncs().usual(ctx.now.steady);
  duration round_trip{};
  each_group([&](group_parts g) {
    round_trip = quorum_round_trip(g.replica.core().conf(), members);
    g.replica.core().set_pace(round_trip + sync);
  });
  const auto longest = replica->core().longest_election_timeout();
  if (!replica->core().conf().is_voter(ctx.self) || !tells_apart(longest, shown_timeout, opt.raft.election_timeout_max))
    return;
  const auto ms = [](duration d) { return std::chrono::duration<double, std::milli>(d).count(); };
  ctx.log(
      log_level::info,
      fmt::format("an election time-out is up to {:.0f} ms now: a quorum of the voters answers after {:.1f} ms, and "
                  "synced writes take up to {:.1f} ms here",
                  ms(longest), ms(round_trip), ms(sync)));
  shown_timeout = longest;
}

instant engine::state::next_wake() const {
  if (halted_ || failed) return never;
  auto t = std::min({members.next_wake(), session.next_wake(), bus.next_wake(), next_chores});
  if (genesis) t = std::min(t, genesis->next_wake());
  if (healer) t = std::min(t, healer->next_wake());
  if (replica) t = std::min({t, replica->next_wake(), relay.next_wake(), relay_up.next_wake()});
  if (replica && replica->leading()) t = std::min({t, keeper.next_wake(), next_lead});
  bool pending = outbox.pending() > 0;
  for (const auto& g : data) {
    t = std::min({t, g.replica.next_wake(), g.relay.next_wake(), g.relay_up.next_wake()});
    if (g.replica.leading()) t = std::min(t, g.next_lead);
    pending |= g.outbox.pending() > 0;
  }
  if (pending || !barriers.empty() || !member_waits.empty() || !handovers.empty()) t = std::min(t, next_request_tick);
  t = std::min(t, std::max(std::min(locks.next_wake(), inquiries.next_wake()), next_request_tick));
  if (end) t = std::min(t, ctx.now.steady + 50ms);
  return t;
}

result<void> check_tags(const options& o) {
  return swim::membership::check_tags(self_info(o, {}), o.swim, statement_size);
}

engine::engine(const options& o, recovered_state r, const times& now, std::uint64_t seed)
    : state_(std::make_unique<state>(o, std::move(r), now, seed)) {}
engine::~engine() = default;
engine::engine(engine&&) noexcept = default;

void engine::step(std::span<const event> turn, const times& now, std::vector<action>& out) {
  state_->ctx.now = now;
  state_->ctx.out = &out;
  state_->step(turn);
  state_->ctx.out = nullptr;
}

instant engine::next_wake() const { return state_->next_wake(); }

engine::view engine::look() const {
  const auto& s = *state_;
  std::vector<view::group> data;
  for (const auto& g : s.data) data.push_back({&g.replica.core(), &g.replica.machine()});
  return {s.replica ? &s.replica->core() : nullptr,
          s.replica ? &s.replica->machine() : nullptr,
          &s.members,
          s.genesis ? &*s.genesis : nullptr,
          &s.ctx.stats,
          s.session.epoch(),
          s.session.validity(),
          std::move(data)};
}

}  // namespace coterie::engine
