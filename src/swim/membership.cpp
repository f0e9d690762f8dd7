// The inputs of a node's membership that are not messages, and what its owner reads. The evidence rule, the failure
// detector and the exchange of views are in membership_evidence.cpp, membership_probe.cpp and membership_exchange.cpp.
#include "swim/membership.hpp"

#include <algorithm>
#include <utility>

#include "base/assert.hpp"

namespace coterie::swim {

namespace {
constexpr std::size_t urgent_fanout = 8;    // at once: by who leaves and may end right after, who is back and given up
constexpr std::size_t announce_up_to = 64;  // members
constexpr duration announce_after = 200ms;
constexpr std::size_t max_burst = 5;  // gossip rounds grow by up to this while there is much news
constexpr std::size_t max_forgotten = 4'096;
constexpr duration rival_memory = 60s, ask_memory = 30s;

std::size_t tag_bytes(const tag_map& tags) {
  std::size_t n = 0;
  for (const auto& [k, v] : tags) n += k.size() + v.size();
  return n;
}
}  // namespace

const char* to_string(event_kind k) {
  switch (k) {
    case event_kind::joined:
      return "joined";
    case event_kind::suspect:
      return "suspect";
    case event_kind::alive_again:
      return "alive_again";
    case event_kind::unreachable:
      return "unreachable";
    case event_kind::stopping:
      return "stopping";
    case event_kind::left:
      return "left";
    case event_kind::updated:
      return "updated";
  }
  return "?";
}

membership::membership(member_info self, boot_epoch epoch, const options& o, statement_size ss, user_size us,
                       const times& now, std::uint64_t seed)
    : options_(o),
      size_of_statement_(ss),
      self_(self.id),
      epoch_(epoch),
      scope_{o.cluster, {}, o.seeds},
      rng_(seed),
      place_random_(~seed),
      last_(now),
      roster_(self.id),
      user_(o.max_user_data),
      queue_(ss, us, o.max_queued),
      health_(o.max_health) {
  COTERIE_ASSERT(self.id && ss && us);
  options_.probe_timeout_min = std::max<duration>(o.probe_timeout_min, 1ms);
  options_.small_period = std::max<duration>(o.small_period, 1ms);
  options_.period = std::max<duration>({o.period, 1ms, 2 * options_.probe_timeout_min});
  options_.gossip_period = std::max<duration>(o.gossip_period, 1ms);
  options_.push_pull_period = std::max<duration>(o.push_pull_period, 1ms);
  record& own = roster_.add(self_);
  own.m.info = std::move(self);
  own.m.inc = {epoch, 1};
  own.m.since = now.wall;
  own.seen = true;
  own.changed = now.steady;
  roster_.changed(own);
  queue_.put(statement_of(own), lane::urgent);
  next_gossip_ = next_exchange_ = digest_changed_ = now.steady;
  next_push_pull_ = now.steady + rng_.between(options_.push_pull_period / 2, options_.push_pull_period);
  digest_seen_ = roster_.view_digest();
}

// ---- time ----------------------------------------------------------------------------------------------------------

/// Head of every input: did this process stand still? Then the silence of others proves nothing (Lifeguard: doubt
/// yourself).
void membership::observe(const times& now) {
  const duration slept = (now.boot - last_.boot) - (now.steady - last_.steady);
  const instant expected = std::max(next_wake(), last_.steady);  // inputs after a missed wake show that it runs again
  const duration late = std::max(now.steady > expected ? now.steady - expected : duration{}, slept);
  last_ = now;
  if (roster_.ring_size() < 2) return;
  if (late > options_.pause_threshold) {
    recover_from_pause(late, now);
  } else if (late > std::min(options_.pause_threshold / 4, expected_ack(nullptr))) {  // an ack may have waited here
    counters_.add("late_wakes");
    doubt_self(now);
  }
}

/// Signs of poor health that come from this process itself. They count as often as a probe that succeeds does, else a
/// busy machine would be sick for ever.
void membership::doubt_self(const times& now) {
  if (now.steady < doubt_again_) return;
  doubt_again_ = now.steady + (small() ? options_.small_period : options_.period) * health_.multiplier();
  health_.raise(1);
}

void membership::on_dropped(std::uint64_t datagrams, const times& now) {
  observe(now);
  counters_.add("socket_drops", datagrams);
  doubt_self(now);
  settle(now);
}

void membership::recover_from_pause(duration late, const times& now) {
  counters_.add("pauses");
  say(log_level::warn, fmt::format("this process stood still for {:.1f} s: it accuses nobody until it has asked again",
                                   std::chrono::duration<double>(late).count()));
  health_.raise(std::max(1u, options_.max_health / 2));
  relays_.clear();
  relay_timers_.clear();
  for (auto& [id, r] : roster_.all()) {
    r.refused = false;
    if (r.round) begin_round(r, false, now);
    if (r.doubt) {
      r.doubt->restart(now.steady);
      timers_.arm({chore::suspicion, id}, r.doubt->deadline());
    }
    if (timers_.armed({chore::probe, id})) start_probing(r, now);
  }
  slot_at_ = never;
  if (!active()) return;
  // Others are about to give it up: it refutes before it is told.
  raise_own(self_incarnation().counter);
  gossip(urgent_fanout, now);
}

/// Foot of every input: what follows from a changed view.
void membership::settle(const times& now) {
  if (small() && !was_small_) {
    for (auto& [id, r] : roster_.all()) start_probing(r, now);
  }
  was_small_ = small();
  const bool has_news = !queue_.empty() && roster_.ring_size() > 1;
  if (has_news && !has_news_) next_gossip_ = std::max(next_gossip_, now.steady);
  has_news_ = has_news;
  if (small() || !active()) {
    slot_at_ = never;
  } else if (slot_at_ == never) {
    schedule_slot(now);
  }
  if (queue_.overflows() != overflows_seen_) {
    counters_.add("queue_full", queue_.overflows() - overflows_seen_);
    overflows_seen_ = queue_.overflows();
  }
  if (roster_.view_digest() != digest_seen_) {
    digest_seen_ = roster_.view_digest();
    digest_changed_ = now.steady;
    announce_to_.clear();
    announce_at_ = now.steady + announce_after;
  }
}

void membership::tick(const times& now) {
  observe(now);
  while (const auto due = timers_.pop_due(now.steady)) {
    record* r = roster_.find(due->second);
    if (!r) continue;
    switch (due->first) {
      case chore::probe:
        probe_due(*r, now);
        break;
      case chore::round:
        round_due(*r, now);
        break;
      case chore::suspicion:
        condemn(*r, now);
        break;
      case chore::retry:
        retry_due(*r, now);
        break;
    }
  }
  while (const auto due = relay_timers_.pop_due(now.steady)) relay_due(*due, now);
  if (slot_at_ <= now.steady) slot_due(now);
  if (next_push_pull_ <= now.steady) {
    const duration p = options_.push_pull_period;
    next_push_pull_ = now.steady + rng_.between(p - p / 4, p + p / 4);
    sweep(now);
    if (const auto id = exchange_partner(false)) ask(*roster_.find(id), false, now);
  }
  if (catch_up_at_ <= now.steady) catch_up(now);
  if (announce_at_ <= now.steady) announce(now);
  if (has_news_ && next_gossip_ <= now.steady) gossip(options_.gossip_fanout, now);
  settle(now);
}

instant membership::next_wake() const {
  instant at = std::min({timers_.next(), relay_timers_.next(), next_push_pull_, catch_up_at_, slot_at_, announce_at_});
  if (has_news_) at = std::min(at, next_gossip_);
  return at;
}

/// Drops what is kept only for a while.
void membership::sweep(const times& now) {
  std::vector<node_id> old;
  if (roster_.left() > 0) {  // hardly ever: in a large cluster this walk is most of what a calm member costs
    for (const auto& [id, r] : roster_.all()) {
      if (r.m.state != member_state::left || id == self_) continue;
      if (now.steady - r.changed > options_.forget_left_after) old.push_back(id);
    }
  }
  for (const auto id : old) roster_.erase(id);
  std::erase_if(forgotten_, [&](const auto& f) { return now.steady - f.second.since > options_.forget_left_after; });
  strangers_.clear();
  std::erase_if(rivals_, [&](const auto& v) { return now.steady - v.second.last > rival_memory; });
  std::erase_if(asked_, [&](const auto& a) { return now.steady - a.second > ask_memory; });
}

/// While there is news, beside what rides on probes: rounds shorter than the probe period spread it in O(log N) of
/// them. More than fits into the usual datagrams goes to more members, until each piece was said once.
void membership::gossip(std::size_t fanout, const times& now) {
  next_gossip_ = now.steady + options_.gossip_period;
  std::size_t sent = 0;
  for (const auto id : random_members(fanout * max_burst, {})) {
    if (queue_.empty() || (sent >= fanout && !queue_.unsent())) return;
    send(roster_.find(id)->m.info.at, id, gossip_only{});
    ++sent;
  }
}

/// A changed view that has come to rest is told to everybody, so that all soon know that they agree. In a small cluster
/// the probes do that, in a very large one it would cost too much.
void membership::announce(const times& now) {
  const auto& ring = roster_.ring();
  announce_at_ = never;
  if (announce_to_.empty()) {
    if (small() || ring.size() > announce_up_to) return;
    announce_to_ = random_members(ring.size(), {});
  }
  for (std::size_t n = 0; n < urgent_fanout && !announce_to_.empty(); ++n) {
    const record* r = roster_.find(announce_to_.back());
    if (r) send(r->m.info.at, announce_to_.back(), gossip_only{}, {false, false, true});
    announce_to_.pop_back();
  }
  if (!announce_to_.empty()) announce_at_ = now.steady + options_.gossip_period / 5;
}

/// Up to n different members of the ring, neither self nor `not_this`.
std::vector<node_id> membership::random_members(std::size_t n, node_id not_this) {
  const auto& ring = roster_.ring();
  std::vector<node_id> out;
  if (ring.size() <= n + 2) {
    for (const auto id : ring) {
      if (id != self_ && id != not_this && roster_.find(id)) out.push_back(id);
    }
    rng_.shuffle(out);
    if (out.size() > n) out.resize(n);
    return out;
  }
  for (std::size_t tries = 0; out.size() < n && tries < 8 * n + 8; ++tries) {
    const node_id id = ring[rng_.below(ring.size())];
    if (id == self_ || id == not_this || std::find(out.begin(), out.end(), id) != out.end()) continue;
    out.push_back(id);
  }
  return out;
}

// ---- the owner's wishes --------------------------------------------------------------------------------------------

void membership::set_cluster_id(cluster_id id) { scope_.id = id; }

bool membership::meets(const scope& s) const {
  if (options_.bug == planted_bug::unscoped_gossip) return s.cluster == scope_.cluster;
  return scope_.meets(s);
}

/// Its statement has to fit into a datagram, beside what every datagram says.
result<void> membership::check_tags(const member_info& self, const options& o, statement_size size_of) {
  if (self.tags.contains("")) return fail(errc::bad_argument, "a tag needs a key: KEY=VALUE");
  if (const auto size = tag_bytes(self.tags); size > o.max_tag_bytes) {
    return fail(errc::limit,
                fmt::format("the tags take {} bytes: at most {} (max_tag_bytes) are allowed", size, o.max_tag_bytes));
  }
  if (const auto size = size_of({self, {}, member_state::alive, {}}), most = o.max_datagram * 3 / 4; size > most) {
    return fail(errc::limit, fmt::format("with {} tags this node's entry takes {} bytes: at most {} are allowed, use "
                                         "fewer tags or a shorter name",
                                         self.tags.size(), size, most));
  }
  return {};
}

result<void> membership::set_tags(tag_map tags, const times& now) {
  observe(now);
  record& own = *roster_.find(self_);
  auto changed = own.m.info;
  changed.tags = std::move(tags);
  auto ok = check_tags(changed, options_, size_of_statement_);
  if (ok && changed != own.m.info) {
    own.m.info = std::move(changed);
    raise_own(own.m.inc.counter);
    emit(event_kind::updated, own, "its tags were set here");
  }
  settle(now);
  return ok;
}

result<void> membership::set_user(std::string key, shared_bytes value, const times& now) {
  observe(now);
  if (key.size() + value.size() > options_.max_user_bytes) {
    return fail(errc::limit, fmt::format("the datum takes {} bytes: at most {} (max_user_bytes) are allowed",
                                         key.size() + value.size(), options_.max_user_bytes));
  }
  const auto* old = user_.find(self_, key);
  const user_datum u{self_, epoch_, std::move(key), old ? old->version + 1 : 1, std::move(value)};
  if (user_.put(u) == user_table::outcome::full) {
    return fail(errc::limit, fmt::format("{} data are kept already (max_user_data)", options_.max_user_data));
  }
  queue_.put(u);
  settle(now);
  return {};
}

void membership::say_stopping(const times& now) {
  if (active()) withdraw(member_state::stopping, now);
}

void membership::say_left(const times& now) {
  if (self_state_ != member_state::left) withdraw(member_state::left, now);
}

/// Says it at once to several, and stops judging others.
void membership::withdraw(member_state s, const times& now) {
  observe(now);
  self_state_ = s;
  record& own = *roster_.find(self_);
  own.m.state = s;
  own.m.since = now.wall;
  own.changed = now.steady;
  raise_own(own.m.inc.counter);
  timers_.clear();
  for (auto& [id, r] : roster_.all()) r.round.reset();
  gossip(urgent_fanout, now);
  settle(now);
}

void membership::forget(node_id id) {
  take_out(id, false);
  settle(last_);
}

void membership::take_out(node_id id, bool replaced) {
  const record* r = roster_.find(id);
  if (!r || id == self_) return;
  if (forgotten_.size() >= max_forgotten) {
    forgotten_.erase(std::min_element(forgotten_.begin(), forgotten_.end(),
                                      [](const auto& a, const auto& b) { return a.second.since < b.second.since; }));
  }
  forgotten_[id] = {r->m.inc, last_.steady, replaced};
  for (const auto c : {chore::probe, chore::round, chore::suspicion, chore::retry}) timers_.cancel({c, id});
  queue_.drop(id, true);
  user_.erase(id);
  roster_.erase(id);
  out_.forgotten.push_back(id);
}

output membership::take() { return std::exchange(out_, {}); }

// ---- what people read ----------------------------------------------------------------------------------------------

void membership::say(log_level level, std::string text) { out_.log.push_back({level, std::move(text)}); }

std::string membership::name_of(node_id id) const {
  const record* r = roster_.find(id);
  return r ? r->m.info.name : id.short_str();
}

void membership::emit(event_kind kind, const record& r, std::string evidence) {
  out_.events.push_back({kind, r.m, std::move(evidence), r.accuser});
}

const member_info& membership::self() const { return roster_.find(self_)->m.info; }
incarnation membership::self_incarnation() const { return roster_.find(self_)->m.inc; }

std::vector<member> membership::members() const {
  std::vector<member> out;
  out.reserve(roster_.size());
  for (const auto& [id, r] : roster_.all()) out.push_back(r.m);
  std::stable_sort(out.begin(), out.end(), [](const member& a, const member& b) { return a.info.name < b.info.name; });
  return out;
}

const member* membership::find(node_id id) const {
  const record* r = roster_.find(id);
  return r ? &r->m : nullptr;
}

std::optional<node_id> membership::find_name(std::string_view name) const { return roster_.holder(name); }
std::size_t membership::alive_count() const { return roster_.living(); }
std::uint64_t membership::view_digest() const { return roster_.view_digest(); }

bool membership::views_agree() const {
  const auto& all = roster_.all();
  return std::all_of(all.begin(), all.end(), [&](const auto& e) {
    const member& m = e.second.m;
    return m.info.id == self_ || m.state != member_state::alive || m.view_digest == roster_.view_digest();
  });
}

unsigned membership::local_health() const { return health_.score(); }
std::vector<user_datum> membership::user_of(node_id id) const { return user_.of(id); }
const counters& membership::stats() const { return counters_; }

}  // namespace coterie::swim
