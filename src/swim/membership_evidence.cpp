// The evidence rule (docs/membership.md 1): which statement overrides which, what it changes, and what is said of it.
// Monotone in (incarnation, state): the outcome does not depend on the order in which statements arrive.
#include <algorithm>
#include <string>
#include <utility>

#include "swim/membership.hpp"

namespace coterie::swim {

namespace {

constexpr std::uint64_t absurd_jump = std::uint64_t{1} << 32;
constexpr std::size_t max_text = 255;  // of a name, host or version
constexpr std::size_t max_rivals = 64;
constexpr duration rival_patience = 3s;  // two holders of a name are told that long before one of them gives way
constexpr duration rival_memory = 30s;
constexpr std::size_t much_news = 64;  // statements waiting at a time
constexpr double verifiers = 8;        // members that probe a suspect at once, on average (Lifeguard's confirmations)

bool is_accusation(member_state s) { return s == member_state::suspect || s == member_state::unreachable; }

double seconds(duration d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

bool membership::usable(const statement& s) const {
  std::size_t tags = 0;
  for (const auto& [k, v] : s.info.tags) tags += k.size() + v.size();
  return s.info.id && !s.info.name.empty() && s.info.name.size() <= max_text && s.info.at &&
         s.info.at.host.size() <= max_text && s.info.version.size() <= max_text && tags <= options_.max_tag_bytes &&
         s.state <= member_state::left;
}

/// True when the statement is about this node and wrong: its teller should hear our own.
bool membership::hear(const statement& said, const heard& h, const times& now) {
  if (!usable(said)) {
    counters_.add("malformed");
    return false;
  }
  if (said.info.id == self_) return hear_of_self(said);
  statement s = said;
  if (!is_accusation(s.state)) {
    s.accuser = {};
  } else if (!s.accuser) {
    s.accuser = h.from;
  }
  record* r = roster_.find(s.info.id);
  if (!r) {
    hear_of_unknown(s, h, now);
  } else if (s.inc < r->m.inc) {
    counters_.add("stale_statements");
    if (options_.bug == planted_bug::missing_incarnation_check) turn(*r, s, now, "an old statement", h.quiet);
  } else if (s.inc == r->m.inc) {
    hear_same_incarnation(*r, s, h, now);
  } else if (s.info.id == h.from && s.info.at != r->m.info.at && is_living(r->m.state)) {
    // A copy of a disk comes with a later start than the one that is alive. What others believe already is believed.
    warn_of_copy(*r, s);
  } else if (s.inc.epoch.value - r->m.inc.epoch.value > absurd_jump ||
             (s.inc.epoch == r->m.inc.epoch && s.inc.counter - r->m.inc.counter > absurd_jump)) {
    counters_.add("absurd_incarnations");
  } else if (r->m.state == member_state::left && s.state != member_state::left &&
             (s.state != member_state::alive || s.inc.epoch == r->m.inc.epoch)) {
    counters_.add("left_stays_out");
  } else if (is_gone(s.state) || name_is_free(s, h, now)) {
    if (s.state == member_state::unreachable && !is_gone(r->m.state) && r->m.state != member_state::stopping) {
      take_verdict(*r, s, h, now);
    } else {
      const auto teller = s.info.id == h.from ? "itself" : name_of(h.from);
      turn(*r, s, now, fmt::format("told by {}, incarnation {}.{}", teller, s.inc.epoch, s.inc.counter), h.quiet);
    }
  }
  return false;
}

bool membership::hear_of_self(const statement& s) {
  const record& own = *roster_.find(self_);
  const incarnation mine = own.m.inc;
  if (s.inc.epoch > epoch_ || (s.inc > mine && s.inc.counter - mine.counter > absurd_jump)) {
    counters_.add("absurd_incarnations");
    if (!std::exchange(absurd_warned_, true)) {
      say(log_level::error, fmt::format("others know this node by incarnation {}.{}, its own is {}.{}: was its disk "
                                        "restored from an old copy, or cloned?",
                                        s.inc.epoch, s.inc.counter, mine.epoch, mine.counter));
    }
    return false;
  }
  if (s.inc < mine) {
    counters_.add("stale_about_self");
    if (s.state != member_state::alive) queue_.put(statement_of(own), lane::urgent);
    return true;
  }
  if (s.inc == mine) {
    if (s.info.at != own.m.info.at) {
      counters_.add("own_id_heard");
      if (!std::exchange(own_warned_, true)) {
        say(log_level::error, fmt::format("this node's id ({}) is told at {} too: is one a copy of the other's disk?",
                                          self_, s.info.at.str()));
      }
      return false;
    }
    if (s.state <= own.m.state || own.m.state >= member_state::stopping) return false;
    health_.raise(1);
  }
  counters_.add("refutations");
  raise_own(s.inc.counter);
  return true;
}

/// Our own statement above everything that was said of us, first in line.
void membership::raise_own(std::uint64_t above) {
  record& own = *roster_.find(self_);
  own.m.inc.counter = std::max(own.m.inc.counter, above) + 1;
  roster_.changed(own);
  queue_.put(statement_of(own), lane::urgent);
  next_gossip_ = last_.steady;
}

void membership::hear_of_unknown(const statement& s, const heard& h, const times& now) {
  const auto f = forgotten_.find(s.info.id);
  const bool stays_out =
      f != forgotten_.end() && (s.state != member_state::alive || (s.inc <= f->second.inc && !f->second.replaced));
  if (stays_out) {
    counters_.add("forgotten");
    return;
  }
  if (!is_gone(s.state) && !name_is_free(s, h, now)) return;
  if (roster_.size() >= options_.max_members && (is_gone(s.state) || !roster_.evict_one())) {
    counters_.add("members_full");
    return;
  }
  if (f != forgotten_.end()) forgotten_.erase(f);
  if (!is_gone(s.state)) forget_place_of(s.info);
  record& r = roster_.add(s.info.id);
  r.m.state = member_state::left;  // until the turn below
  r.m.since = now.wall;
  r.changed = now.steady;
  r.second_hand = s.state == member_state::left;
  if (const auto met = strangers_.extract(s.info.id)) r.m.view_digest = met.mapped();
  const auto teller = s.info.id == h.from ? "itself" : name_of(h.from);
  turn(r, s, now, fmt::format("told by {}", teller), h.quiet);
}

/// Whoever was unreachable at this name and address is replaced: its process is another one now, with another identity.
/// Only its death is forgotten for good: should the newcomer be the past, and the other one the present, it is let in.
void membership::forget_place_of(const member_info& newcomer) {
  if (roster_.unreachable() == 0) return;
  std::vector<node_id> replaced;
  for (const auto& [id, r] : roster_.all())
    if (r.m.state == member_state::unreachable && r.m.info.name == newcomer.name && r.m.info.at == newcomer.at)
      replaced.push_back(id);
  for (const auto id : replaced) {
    counters_.add("replaced");
    take_out(id, true);
  }
}

void membership::warn_of_copy(record& r, const statement& s) {
  counters_.add("same_id_elsewhere");
  if (!std::exchange(r.clone_warned, true))
    say(log_level::warn,
        fmt::format("{} ({}) is alive at {} and told at {} too: the second is ignored; is one a copy of "
                    "the other's disk?",
                    r.m.info.name, s.info.id, r.m.info.at.str(), s.info.at.str()));
}

void membership::hear_same_incarnation(record& r, const statement& s, const heard& h, const times& now) {
  if (s.info.at != r.m.info.at) {
    warn_of_copy(r, s);
    return;
  }
  if (s.state < r.m.state) {
    counters_.add("stale_statements");
  } else if (s.state == r.m.state) {
    if (s.state == member_state::suspect) confirm(r, s.accuser);
  } else if (s.state == member_state::unreachable && r.m.state <= member_state::suspect &&
             (!r.doubt || r.verdict || r.heard > r.doubt->started())) {
    if (!r.verdict) take_verdict(r, s, h, now);
  } else {
    std::string why;
    if (s.state == member_state::unreachable) {
      why = r.m.state == member_state::stopping ? "stopped, as it said; found by " + name_of(s.accuser)
                                                : name_of(s.accuser) + " found it unreachable; " + blame(r, now);
    } else if (s.state == member_state::suspect) {
      why = "accused by " + name_of(s.accuser);
    } else {
      why = "it said so itself";
    }
    turn(r, s, now, why, h.quiet);
  }
}

/// A verdict on somebody who is alive as far as we know: nobody accused it before, or it was heard since. The verdict
/// may be the past of a partition that has healed, or of a process that stood still. The accused has one shortest
/// suspicion to refute; the verdict itself is passed on, also to it.
void membership::take_verdict(record& r, statement s, const heard& h, const times& now) {
  s.state = member_state::suspect;
  turn(r, s, now, name_of(s.accuser) + " found it unreachable", true);
  r.verdict = true;
  r.doubt->hurry(now.steady + shortest_suspicion());
  timers_.arm({chore::suspicion, s.info.id}, r.doubt->deadline());
  if (!h.quiet) queue_.put(statement_of(r), lane::membership);
}

/// A name is held by one living member. A newcomer is refused; when others go on telling of it, two parts of the
/// cluster have each let one in, and everybody keeps the one with the smaller id.
bool membership::name_is_free(const statement& s, const heard& h, const times& now) {
  const auto holder = roster_.holder(s.info.name);
  if (!holder || *holder == s.info.id) return true;
  counters_.add("name_conflicts");
  auto it = rivals_.find(s.info.id);
  if (it == rivals_.end()) {
    if (rivals_.size() >= max_rivals) return false;
    it = rivals_.emplace(s.info.id, rival{now.steady, now.steady, false}).first;
  }
  rival& v = it->second;
  record& y = *roster_.find(*holder);
  if (!std::exchange(v.logged, true)) {
    say(log_level::warn, fmt::format("two nodes are called {}: {} at {} is refused, {} at {} was first", s.info.name,
                                     s.info.id, s.info.at.str(), *holder, y.m.info.at.str()));
  }
  const record* teller = roster_.find(h.from);
  if (h.from == s.info.id || !teller || is_gone(teller->m.state) || s.state != member_state::alive) return false;
  if (now.steady - v.last > rival_memory) v.first = now.steady;
  v.last = now.steady;
  if (now.steady - v.first < rival_patience || *holder == self_ || *holder < s.info.id) return false;
  say(log_level::error, fmt::format("two nodes are called {}: {} at {} keeps the name, {} at {} gives way", s.info.name,
                                    s.info.id, s.info.at.str(), *holder, y.m.info.at.str()));
  statement out = statement_of(y);
  out.state = member_state::unreachable;
  out.accuser = self_;
  turn(y, out, now, fmt::format("its name {} is held by {} too, which has the smaller id", s.info.name, s.info.id),
       true);
  rivals_.erase(s.info.id);
  return true;
}

// ---- what a statement changes --------------------------------------------------------------------------------------

void membership::turn(record& r, statement s, const times& now, const std::string& evidence, bool quiet) {
  const member_state before = r.m.state;
  const bool was_seen = r.seen;
  const bool restarted = s.inc.epoch > r.m.inc.epoch;
  const bool newer = s.inc > r.m.inc;
  const bool changed = s.info != r.m.info;
  if (s.info.at != r.m.info.at) r.rtt = {};
  r.m.info = s.info;
  r.m.inc = s.inc;
  r.accuser = s.accuser;
  r.m.state = s.state;
  if (before != s.state || restarted) {
    r.m.since = now.wall;
    r.changed = now.steady;
  }
  enter(r, before, newer, s.accuser, now);
  roster_.changed(r);
  if (!quiet && !r.second_hand) {
    const bool about_itself = s.state == member_state::left || s.state == member_state::stopping ||
                              (s.state == member_state::alive && is_accusation(before));
    queue_.put(s, about_itself ? lane::urgent : lane::membership);
  }
  tell_turn(r, before, was_seen, restarted, changed, evidence);
}

/// What its new state starts and ends for a member.
void membership::enter(record& r, member_state before, bool newer, node_id accuser, const times& now) {
  const node_id id = r.m.info.id;
  const member_state s = r.m.state;
  const bool doubted = s == member_state::suspect && before == member_state::suspect && !newer;
  if (!doubted) {
    r.doubt.reset();
    r.verdict = false;
    timers_.cancel({chore::suspicion, id});
  }
  if (s != member_state::unreachable) timers_.cancel({chore::retry, id});
  if (s == member_state::alive || is_gone(s)) {
    r.round.reset();
    timers_.cancel({chore::round, id});
    r.failed = {};
    r.refused = false;
  }
  if (s != member_state::alive) r.linked = false;
  if (s <= member_state::suspect) {
    r.seen = true;
    r.second_hand = false;
  }
  if (is_gone(s)) {
    timers_.cancel({chore::probe, id});
  } else if (is_gone(before)) {
    start_probing(r, now);
  }
  if (s == member_state::suspect && !doubted) start_doubt(r, accuser, now);
  if (s == member_state::unreachable) {
    r.retry = options_.period;
    timers_.arm({chore::retry, id}, now.steady + rng_.between(r.retry / 2, r.retry));
  }
  if (s == member_state::left) {
    user_.erase(id);
    queue_.drop(id, true);
  }
}

/// Each event once, by the change that this node saw.
void membership::tell_turn(const record& r, member_state before, bool was_seen, bool restarted, bool changed,
                           const std::string& evidence) {
  const member_state s = r.m.state;
  const bool is_new = !was_seen || before == member_state::left;
  if (s <= member_state::suspect && is_new) emit(event_kind::joined, r, evidence);
  switch (s) {
    case member_state::alive:
      if (is_new) return;
      if (before != member_state::alive) emit(event_kind::alive_again, r, evidence);
      if (changed || (restarted && before == member_state::alive)) {
        emit(event_kind::updated, r, restarted ? "restarted; " + evidence : evidence);
      }
      return;
    case member_state::suspect:
      if (before != s) emit(event_kind::suspect, r, evidence);
      return;
    case member_state::stopping:
    case member_state::unreachable:
    case member_state::left: {
      if (before == s || !was_seen) return;
      const auto kind = s == member_state::stopping      ? event_kind::stopping
                        : s == member_state::unreachable ? event_kind::unreachable
                                                         : event_kind::left;
      emit(kind, r, evidence);
      return;
    }
  }
}

void membership::start_doubt(record& r, node_id accuser, const times& now) {
  const duration min = shortest_suspicion();
  const auto max = duration(
      static_cast<duration::rep>(static_cast<double>(min.count()) * std::max(1.0, options_.suspicion_max_factor)));
  const std::size_t others = roster_.ring_size() > 2 ? roster_.ring_size() - 2 : 0;
  const auto wanted = static_cast<unsigned>(std::min<std::size_t>(others, 3));
  r.doubt.emplace(now.steady, min, max, wanted, accuser);
  timers_.arm({chore::suspicion, r.m.info.id}, r.doubt->deadline());
  // Small clusters probe everybody all the time; in a large one a few look for themselves, and tell the suspect.
  if (accuser != self_ && active() && !r.round && !small() &&
      rng_.chance(verifiers / static_cast<double>(roster_.ring_size()))) {
    begin_round(r, false, now);
  }
}

void membership::confirm(record& r, node_id accuser) {
  if (!r.doubt || !r.doubt->accuse(accuser)) return;
  timers_.arm({chore::suspicion, r.m.info.id}, r.doubt->deadline());
  statement s = statement_of(r);
  s.accuser = accuser;
  if (s.state == member_state::suspect) queue_.add_accusation(s);
}

/// The suspicion timed out unrefuted.
void membership::condemn(record& r, const times& now) {
  if (!r.doubt || !active()) return;
  // Who was just heard was told then, and its answer is on the way. After a large partition everybody refutes at once,
  // and that takes longer to come around.
  instant patience = r.heard + ack_timeout(&r);
  if (r.verdict && queue_.size() > much_news) patience = now.steady + shortest_suspicion() / 2;
  patience = std::min(patience, r.doubt->latest());
  if (now.steady < patience) {
    timers_.arm({chore::suspicion, r.m.info.id}, patience);
    return;
  }
  statement s = statement_of(r);
  s.state = member_state::unreachable;
  s.accuser = self_;
  turn(r, s, now, blame(r, now));
}

/// "no ack to 3 direct, 3 indirect and 1 TCP probes in 1.2 s; its answers took 0.3 ms before; accused by b, c; local
/// health 0".
std::string membership::blame(const record& r, const times& now) const {
  std::string out;
  const auto add = [&](const std::string& part) { out += (out.empty() ? "" : "; ") + part; };
  const auto& f = r.failed;
  if (f.direct > 0) {
    add(fmt::format("no ack to {} direct, {} indirect and {} TCP probes in {:.1f} s", f.direct, f.indirect, f.stream,
                    seconds(now.steady - f.since)));
  }
  if (r.rtt.mean) add(fmt::format("its answers took {:.1f} ms before", 1e3 * seconds(*r.rtt.mean)));
  if (r.refused) add("its address refuses connections");
  if (r.doubt) {
    std::string names;
    for (const auto id : r.doubt->accusers()) names += (names.empty() ? "" : ", ") + name_of(id);
    add("accused by " + names);
  }
  add(fmt::format("local health {}", health_.score()));
  return out;
}

// ---- user data -----------------------------------------------------------------------------------------------------

void membership::hear_user(const user_datum& u, bool quiet) {
  if (u.origin == self_) return;
  const record* origin = roster_.find(u.origin);
  if (u.key.size() + u.value.size() > options_.max_user_bytes || !origin || origin->m.state == member_state::left) {
    counters_.add("user_dropped");
    return;
  }
  switch (user_.put(u)) {
    case user_table::outcome::newer:
      out_.user.push_back(u);
      if (!quiet) queue_.put(u);
      break;
    case user_table::outcome::full:
      counters_.add("user_full");
      break;
    case user_table::outcome::old:
      break;
  }
}

}  // namespace coterie::swim
