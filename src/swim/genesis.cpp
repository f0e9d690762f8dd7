// Genesis between its inputs and its outputs (docs/membership.md 2, steps 1 to 3, 6 and 7): hellos, the slots they
// answer for, time, and outputs held back until what they depend on is durable. Knows nothing of how ballots decide.
#include "swim/genesis.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "base/overloaded.hpp"

namespace coterie::swim {
namespace {

constexpr std::uint16_t protocol_min = 1, protocol_max = 1;
constexpr duration hint_period = 200ms;    // unknown nodes that knock make us dial the missing seeds this often at most
constexpr std::size_t max_log = 256;       // lines not fetched yet
constexpr std::size_t max_strangers = 16;  // foreign cluster ids warned of

}  // namespace

genesis::genesis(node_id self, boot_epoch epoch, const genesis_options& options, acceptor_state state, instant now,
                 std::uint64_t seed)
    : self_(self),
      epoch_(epoch),
      opt_(options),
      list_(validate(options).value_or(std::vector<address>{})),
      digest_(digest_of(list_)),
      rng_(seed),
      state_(std::move(state)) {
  COTERIE_ASSERT(validate(options).has_value() && self && epoch);
  slots_.resize(list_.size());
  for (std::size_t i = 0; i < list_.size(); ++i) {
    slots_[i].at = list_[i];
    slots_[i].next_dial = now;
  }
  for (const std::size_t i : opt_.without) slots_[i].dropped = true;
  jitter_ = rng_.between(0s, opt_.rank_delay / 10);
  if (state_.id || state_.committed) {
    if (!state_.committed || state_.committed->id() != state_.id) {
      stop("the cluster id on disk and its genesis record do not belong together: restore the directory");
      return;
    }
    when_formed(now);
  }
  advance(now);
}

hello genesis::own_hello() const {
  hello h;
  h.cluster = opt_.cluster;
  h.name = opt_.name;
  h.protocol_min = protocol_min;
  h.protocol_max = protocol_max;
  h.seeds = list_;
  h.digest = digest_;
  h.id = self_;
  h.epoch = epoch_;
  h.advertise = opt_.advertise;
  if (formed_) {
    h.cluster_known = state_.id;
    h.record = state_.committed;
  }
  return h;
}

// ---- hellos ---------------------------------------------------------------------------------------------------------

genesis::slot* genesis::slot_at(const address& a) {
  const auto it = std::lower_bound(list_.begin(), list_.end(), a);
  return it != list_.end() && *it == a ? &slots_[static_cast<std::size_t>(it - list_.begin())] : nullptr;
}

const genesis::slot* genesis::slot_of(node_id id) const {
  const auto it =
      std::find_if(slots_.begin(), slots_.end(), [&](const slot& s) { return s.answer && s.answer->id == id; });
  return it == slots_.end() ? nullptr : &*it;
}

result<void> genesis::check_kind(const hello& h, std::string_view cluster) {
  if (h.cluster != cluster) {
    return fail(errc::bad_argument, fmt::format("belongs to cluster '{}', this node to '{}'", h.cluster, cluster));
  }
  if (std::max(h.protocol_min, protocol_min) > std::min(h.protocol_max, protocol_max)) {
    return fail(errc::bad_argument, fmt::format("speaks protocol {} to {}, this node {} to {}: upgrade one of them",
                                                h.protocol_min, h.protocol_max, protocol_min, protocol_max));
  }
  return {};
}

/// What makes a hello unusable whatever we know.
result<void> genesis::check(const hello& h) const {
  if (auto ok = check_kind(h, opt_.cluster); !ok) return ok;
  if (!h.id || !h.epoch || h.seeds.size() > max_seeds || (h.digest != digest_ && h.digest != digest_of(h.seeds)) ||
      (h.digest == digest_ && h.seeds != list_) || h.record.has_value() != static_cast<bool>(h.cluster_known)) {
    return fail(errc::bad_argument, "sent a malformed hello");
  }
  if (h.id == self_ && (h.epoch != epoch_ || h.name != opt_.name || h.advertise != opt_.advertise)) {
    return fail(errc::exists, fmt::format("uses this node's id {}: a cloned directory?", self_.str()));
  }
  return {};
}

/// Step 2: whose cluster ids count. A node that has an id ignores all others.
result<void> genesis::check_cluster(const hello& h, bool own_seed) {
  if (!h.cluster_known || h.cluster_known == state_.id) return {};
  if (state_.id) {
    if ((own_seed || h.digest == digest_) && strangers_.size() < max_strangers &&
        strangers_.insert(h.cluster_known).second) {
      say(log_level::warn, fmt::format("two clusters are named '{}': this node is in {}, node {} in {}", opt_.cluster,
                                       state_.id.str(), h.id.short_str(), h.cluster_known.str()));
    }
    stats_.add("other cluster ids");
    return fail(errc::exists, fmt::format("is in cluster {}, this node in {}", h.cluster_known.str(), state_.id.str()));
  }
  if (!own_seed && h.digest != digest_) {
    stats_.add("other cluster ids");
    return fail(errc::bad_argument, "is in a cluster with another seed list");
  }
  if (h.record->seeds.size() > max_seeds || h.record->voters.empty() || h.record->cluster != h.cluster ||
      h.record->id() != h.cluster_known) {
    return fail(errc::bad_argument, "sent a malformed genesis record");
  }
  return {};
}

result<void> genesis::on_hello(const hello& h, const std::optional<address>& dialled, instant now) {
  if (!fatal_.empty()) return fail(errc::closed, fatal_);
  slot* const at = dialled ? slot_at(*dialled) : nullptr;
  const bool own_seed = at || slot_of(h.id);
  auto ok = check(h);
  if (ok) ok = check_cluster(h, own_seed);
  if (ok) ok = bind(h, at, now);
  if (!ok) {
    stats_.add("hellos refused");
    if (at) {
      at->own = false;
      at->answer.reset();
      at->refusal = ok.error().message;
    }
  } else if (h.cluster_known && !state_.id) {
    found(h, at ? at->at.str() : h.advertise.str(), now);
  }
  advance(now);
  return ok;
}

/// Notes whom a slot's address leads to. An answer is good while its stream is up, and for one life of the node.
result<void> genesis::bind(const hello& h, slot* at, instant now) {
  if (h.id == self_) {
    if (at) {
      at->own = true;
      at->answer.reset();
      at->refusal.clear();
    }
    return {};
  }
  if (const slot* known = slot_of(h.id); known && h.epoch < known->answer->epoch) {
    return fail(errc::bad_argument, "sent a hello of an earlier start");
  }
  for (slot& s : slots_) {
    if (!s.answer || s.answer->id != h.id) continue;
    if (s.answer->epoch == h.epoch) {
      s.answer = h;
    } else {
      s.answer.reset();  // it has restarted, perhaps elsewhere
    }
  }
  if (at) {
    at->own = false;
    at->answer = h;
    at->refusal.clear();
  } else if (!slot_of(h.id) && h.digest == digest_) {
    hint(now);
  }
  for (slot& s : slots_) {
    if (!formed_ || !s.answer || s.answer->id != h.id) continue;
    if (h.cluster_known == state_.id) s.acknowledged = true;
    if (!s.acknowledged) s.next_dial = now;
  }
  return {};
}

/// Somebody with our list is there, perhaps a missing seed: dial without waiting for the period, but not in a storm.
void genesis::hint(instant now) {
  const instant when = std::max(now, next_hint_);
  bool sooner = false;
  for (slot& s : slots_) {
    if (s.answers() || s.acknowledged || s.next_dial <= when) continue;
    s.next_dial = when;
    sooner = true;
  }
  if (sooner) next_hint_ = when + hint_period;
}

/// Step 2, join wins: genesis is dropped. A moment is left to notice a second id.
void genesis::found(const hello& h, const std::string& where, instant now) {
  if (found_ && found_->id != h.cluster_known) {
    return stop(fmt::format("two clusters are named '{}': {} (shown by {}) and {} (shown by {})", opt_.cluster,
                            found_->id.str(), found_->where, h.cluster_known.str(), where));
  }
  if (found_) return;
  attempt_.reset();
  found_ = found_cluster{h.cluster_known, *h.record, where, now + opt_.settle};
}

void genesis::on_stream_down(node_id id, instant now) {
  if (!fatal_.empty()) return;
  for (slot& s : slots_) {
    if (s.answer && s.answer->id == id) s.answer.reset();
  }
  advance(now);
}

void genesis::on_message(const genesis_message& m, instant now) {
  if (!fatal_.empty()) return;
  std::visit(overloaded{[&](const genesis_accepted& x) { receive(x); }, [&](const genesis_commit& x) { receive(x); },
                        [&](const genesis_commit_ack& x) { receive(x); }, [&](const auto& x) { receive(x, now); }},
             m);
  advance(now);
}

// ---- time -----------------------------------------------------------------------------------------------------------

void genesis::tick(instant now) {
  if (fatal_.empty()) advance(now);
}

void genesis::advance(instant now) {
  if (!fatal_.empty()) return;
  if (found_ && (now >= found_->decide_at || whole_list_answers())) commit(genesis_record(found_->record));
  if (state_.committed) {
    if (formed_ && state_.committed->lists(self_)) announce(now);
  } else {
    review(now);
    if (opt_.bootstrap_single && !found_) start_single();
    if (attempt_ && now >= attempt_->deadline) give_up(now, "no answer from all in time");
    if (!attempt_ && now >= start_at()) start_ballot();
    dial_seeds(now);
  }
  report(now);
}

/// Step 3. A change of any answer, or of the life it comes from, starts stable_margin again.
void genesis::review(instant now) {
  auto list = whole_list();
  if (list == standing_) return;
  standing_ = std::move(list);
  standing_since_ = now;
  failures_ = 0;
}

bool genesis::whole_list_answers() const {
  return std::all_of(slots_.begin(), slots_.end(), [](const slot& s) { return s.dropped || s.answers(); });
}

/// Empty unless eligible but for the margin: a seed, everybody answers, distinct ids, equal digests, no cluster id.
std::vector<std::pair<node_id, boot_epoch>> genesis::whole_list() const {
  if (state_.id || found_ || slots_.size() < 2 || !whole_list_answers()) return {};
  std::vector<std::pair<node_id, boot_epoch>> list;
  std::vector<node_id> ids;
  bool seed = false;
  for (const slot& s : slots_) {
    if (s.dropped) {
      list.emplace_back();
      continue;
    }
    if (s.answer && s.answer->digest != digest_) return {};
    seed = seed || s.own;
    list.emplace_back(s.own ? self_ : s.answer->id, s.own ? epoch_ : s.answer->epoch);
    ids.push_back(list.back().first);
  }
  std::sort(ids.begin(), ids.end());
  if (!seed || std::adjacent_find(ids.begin(), ids.end()) != ids.end()) return {};
  return list;
}

/// `--bootstrap single`: nobody to agree with, so all is one write. An accepted record is from a longer list and may
/// have been committed there.
void genesis::start_single() {
  if (state_.committed || state_.accepted ||
      !std::all_of(slots_.begin(), slots_.end(), [](auto& s) { return s.own; })) {
    return;
  }
  attempt a;
  const address at = opt_.advertise || list_.empty() ? opt_.advertise : list_.front();
  a.slots.push_back({self_, opt_.name, at, {}});
  a.ids.push_back(self_);
  genesis_record r = fresh_record(a);
  state_.promised = state_.accepted_ballot = {std::max(state_.promised.round, round_seen_) + 1, self_};
  state_.accepted = r;
  commit(r);
}

/// Step 1.
void genesis::dial_seeds(instant now) {
  for (slot& s : slots_) {
    if (s.answers() || now < s.next_dial) continue;
    s.next_dial = now + opt_.redial - rng_.between(0s, opt_.redial / 10);
    emit(gen_dial{s.at});
  }
}

/// Step 6: Commit(R) to every slot until answered.
void genesis::announce(instant now) {
  const genesis_record& r = *state_.committed;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slot& s = slots_[i];
    if (s.own || s.acknowledged || now < s.next_dial) continue;
    s.pause = std::clamp(2 * s.pause, opt_.redial, std::max(opt_.redial, opt_.redial_max));
    s.next_dial = now + s.pause;
    if (!s.answer) emit(gen_dial{s.at});
    const node_id to = s.answer ? s.answer->id : same_list(r) ? r.seeds[i].id : node_id{};
    if (to && to != self_) send(to, genesis_commit{self_, r});
  }
}

instant genesis::next_wake() const {
  if (!fatal_.empty() || (state_.committed && !(formed_ && state_.committed->lists(self_)))) return never;
  instant next = never;
  for (const slot& s : slots_) {
    if (state_.committed ? !s.own && !s.acknowledged : !s.answers()) next = std::min(next, s.next_dial);
  }
  if (state_.committed) return next;
  if (found_) return std::min(next, found_->decide_at);
  return std::min(next, attempt_ ? attempt_->deadline : start_at());
}

void genesis::report(instant now) {
  if (now < next_report_ || (formed_ && waiting_for().empty())) return;
  next_report_ = now + 1s;
  std::string text = situation();
  if (text == reported_) return;
  say(log_level::info, (state_.committed ? "" : "forming: ") + text);
  reported_ = std::move(text);
}

// ---- outputs --------------------------------------------------------------------------------------------------------

std::uint64_t genesis::persist() {
  emit(gen_persist{++issued_, state_});
  return issued_;
}

/// Everything that follows a write waits for it; nothing overtakes.
void genesis::hold(std::variant<gen_send, own_promise, own_accept, own_commit> what) {
  if (held_.size() >= opt_.max_held && std::holds_alternative<gen_send>(what)) return stats_.add("messages over limit");
  held_.push_back({issued_, std::move(what)});
}

void genesis::send(node_id to, genesis_message m) {
  if (to == self_) return;
  if (durable_ == issued_) {
    emit(gen_send{to, std::move(m)});
  } else {
    hold(gen_send{to, std::move(m)});
  }
}

void genesis::on_persisted(std::uint64_t sequence, instant now) {
  if (!fatal_.empty()) return;
  COTERIE_ASSERT(sequence <= issued_);
  durable_ = std::max(durable_, sequence);
  while (fatal_.empty() && !held_.empty() && held_.front().sequence <= durable_) {
    held h = std::move(held_.front());
    held_.pop_front();
    release(std::move(h), now);
  }
  advance(now);
}

void genesis::release(held h, instant now) {
  std::visit(overloaded{
                 [&](gen_send& x) { emit(std::move(x)); },
                 [&](const own_promise& x) {
                   if (!attempt_ || attempt_->b != x.b) return;
                   attempt_->deadline = now + opt_.ballot_timeout;
                   add_promise(self_, {state_.accepted_ballot, state_.accepted}, now);
                 },
                 [&](const own_accept& x) {
                   if (attempt_ && attempt_->b == x.b) attempt_->deadline = now + opt_.ballot_timeout;
                   count(x.b, self_, x.record.id(), x.record);
                 },
                 [&](const own_commit&) { when_formed(now); },
             },
             h.what);
}

/// The id is durable: step 6 for those R lists, step 7 for the others.
void genesis::when_formed(instant now) {
  formed_ = true;
  const genesis_record& r = *state_.committed;
  const bool founder = r.lists(self_);
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slot& s = slots_[i];
    s.next_dial = now;
    s.pause = 0s;
    if (same_list(r)) {
      s.own = s.own || r.seeds[i].id == self_;
      s.acknowledged = !r.seeds[i].id;
    }
    if (s.answer && s.answer->cluster_known == state_.id) s.acknowledged = true;
  }
  const auto founders = std::ranges::count_if(r.seeds, [](const seed_slot& s) { return static_cast<bool>(s.id); });
  say(log_level::info, fmt::format("cluster {} is {} by {} seeds, {} of them voters", state_.id.short_str(),
                                   founder ? "formed" : "found, formed", founders, r.voters.size()));
  emit(gen_formed{r, founder});
}

void genesis::emit(gen_action a) { actions_.push_back(std::move(a)); }

void genesis::say(log_level level, std::string text) {
  if (log_.size() >= max_log) return stats_.add("log lines dropped");
  log_.push_back({level, std::move(text)});
}

void genesis::stop(std::string why) {
  fatal_ = std::move(why);
  actions_.clear();
  held_.clear();
  attempt_.reset();
  say(log_level::error, fatal_);
  emit(gen_fatal{fatal_});
}

std::vector<gen_action> genesis::take() { return std::exchange(actions_, {}); }
std::vector<log_line> genesis::take_log() { return std::exchange(log_, {}); }

// ---- operator -------------------------------------------------------------------------------------------------------

result<void> genesis::init_without(const std::vector<address>& seeds, instant now) {
  if (state_.id) {
    return fail(errc::exists, fmt::format("this node is in cluster {} already: seeds are dropped only before that",
                                          state_.id.short_str()));
  }
  if (std::none_of(slots_.begin(), slots_.end(), [](const slot& s) { return s.own; })) {
    return fail(errc::unavailable,
                "this node is no seed, or has not found itself in the list yet: ask one of the seeds");
  }
  genesis_options changed = opt_;
  changed.without.clear();
  for (const address& wanted : seeds) {
    const slot* s = slot_at(normal(wanted));
    if (!s) return fail(errc::not_found, fmt::format("{} is no seed: the list is {}", wanted.str(), show(list_)));
    if (s->answers()) {
      return fail(errc::bad_argument,
                  fmt::format("seed {} answers: only one that never returns can be left out", s->at.str()));
    }
    changed.without.push_back(static_cast<std::size_t>(s - slots_.data()));
  }
  if (auto ok = validate(changed); !ok) return tl::unexpected(ok.error());
  for (slot& s : slots_) s.dropped = false;
  for (const std::size_t i : changed.without) slots_[i].dropped = true;
  say(log_level::warn,
      seeds.empty()
          ? "init --without: all seeds are waited for again"
          : fmt::format("init --without: the operator says that {} will never return with its data", show(seeds)));
  tick(now);
  return {};
}

result<std::uint64_t> genesis::discard(cluster_id record, instant now) {
  if (state_.id) {
    return fail(errc::exists, fmt::format("this node is in cluster {} already: its record can't be discarded",
                                          state_.id.short_str()));
  }
  if (!state_.accepted || state_.accepted->id() != record) {
    return fail(errc::not_found, fmt::format("no accepted record {} is held here: {}", record.str(),
                                             state_.accepted ? "the one held is " + state_.accepted->id().str()
                                                             : std::string("none is held")));
  }
  say(log_level::warn, "init --discard: the accepted record " + record.str() + " is erased by the operator");
  state_.accepted.reset();
  state_.accepted_ballot = {};
  attempt_.reset();
  blocked_.reset();
  tallies_.clear();
  held_.clear();
  const auto sequence = persist();
  tick(now);
  return sequence;
}

}  // namespace coterie::swim
