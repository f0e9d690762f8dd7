// Random command sequences with delays, reordering, repetition and clock steps under tiny limits, against what must
// hold whatever comes.
#include <deque>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "base/random.hpp"
#include "catch.hpp"
#include "world.hpp"

using namespace coterie;
using namespace coterie::machine;

namespace {

limits tiny() {
  limits l;
  l.members = 4;
  l.sessions = 6;
  l.used_per_session = 12;
  l.runners_per_session = 2;
  l.locks = 4;
  l.waiters_per_lock = 4;
  l.jobs = 4;
  l.history_per_job = 3;
  l.running_per_job = 2;
  l.fire_all = 5;
  l.attempts = 3;
  l.journals = 3;
  l.keys_per_journal = 2;
  l.journal_keep = 60s;
  l.buckets = 12;
  return l;
}

std::string text(const command_body& b) {
  const auto time = [](std::optional<wall_time> t) { return t ? t->time_since_epoch().count() : -1; };
  if (const auto* c = std::get_if<assign_job>(&b)) return fmt::format("assign {} {} {}", c->id, c->version, c->owner);
  if (const auto* c = std::get_if<journal_trim>(&b)) return fmt::format("trim {} {}", c->journal, c->upto);
  if (const auto* c = std::get_if<fire_job>(&b))
    return fmt::format("fire {} {} {} {} {} {} {} {}", c->id, c->version, time(c->scheduled), c->attempt, c->coalesced,
                       c->owner, c->what ? to_string(*c->what) : "run", time(c->next));
  return fmt::format("other {}", b.index());
}

struct running_client {
  node_id at;
  session_epoch epoch;
  request_seq seq;
  std::set<request_seq> answered;
  std::map<request_seq, command_body> sent;  ///< not answered
  request_seq ack() const {
    request_seq a;
    while (answered.contains(a.next())) ++a;
    return a;
  }
};

using owner = std::pair<session_epoch, request_seq>;
using tuple_of_run = std::tuple<std::string, std::uint64_t, wall_time, std::uint32_t>;

class story {
 public:
  explicit story(std::uint64_t seed) : random_(seed), a_(tiny()), b_(tiny()) {
    std::vector<member_record> founders;
    for (std::uint64_t n = 1; n <= 3; ++n)
      founders.push_back({.id = node(n), .name = fmt::format("n{}", n), .at = {"h", 1}, .view_joined = 1});
    a_.bootstrap(founders);
    b_.bootstrap(founders);
    save();
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      advance_clock();
      if (random_.chance(0.5) || pending_.empty()) propose();
      if (random_.chance(0.15)) propose_duties();
      while (!pending_.empty() && random_.chance(pending_.size() > 20 ? 0.9 : 0.55)) commit();
      if (random_.chance(0.05)) restore_b();
    }
    restore_b();
  }

  const std::map<std::string, std::size_t>& reached() const { return reached_; }

 private:
  std::uint64_t below(std::uint64_t n) { return random_.below(n); }
  std::string name(const char* kind, std::uint64_t n = 5) { return fmt::format("{}{}", kind, below(n)); }

  void advance_clock() {
    if (random_.chance(0.7)) now_ += milliseconds(below(400));
    if (random_.chance(0.02)) now_ += milliseconds(below(30'000));
    if (random_.chance(0.01)) now_ -= milliseconds(below(10'000));
    if (random_.chance(0.01)) ++term_;
  }

  // ---- proposals ----
  void push(command c) {
    a_.prepare(c, now_);
    pending_.push_back(std::move(c));
  }

  void propose() {
    if (random_.chance(0.08))
      return push(
          {{}, {}, {}, {}, open_session{.node = node(1 + below(3)), .boot = boot_epoch(1), .nonce = below(1'000)}});
    if (random_.chance(0.03)) return push({{}, {}, {}, {}, registry_change()});
    if (clients_.empty()) return;
    auto& c = clients_[below(clients_.size())];
    if (random_.chance(0.02)) return push({{}, {}, {}, {}, expire_session{c.epoch, term(term_.value - below(2))}});
    const bool full = c.seq.value - c.ack().value >= tiny().used_per_session;
    if (!c.sent.empty() && (full || random_.chance(0.1))) {  // an answer was lost: again
      auto it = c.sent.begin();
      std::advance(it, static_cast<std::ptrdiff_t>(below(c.sent.size())));
      return push({c.epoch, it->first, c.ack(), {}, it->second});
    }
    if (full) return;
    ++c.seq;
    const auto& body = c.sent.emplace(c.seq, request(c)).first->second;
    push({c.epoch, c.seq, c.ack(), {}, body});
  }

  command_body registry_change() {
    if (random_.chance(0.3)) return change_view{{node(1 + below(6)), node(1 + below(6))}, {node(1 + below(6))}};
    if (random_.chance(0.3)) return remove_member{node(3 + below(3)), random_.chance(0.5)};
    return add_member{node(1 + below(6)), name("n"), {"h", static_cast<std::uint16_t>(below(3))}};
  }

  command_body request(const running_client& c) {
    if (c.seq.value <= 2) return register_runner{name("r", 3)};
    switch (below(16)) {
      case 0:
      case 1:
      case 2:
        return lock_acquire{name("l"), random_.chance(0.2), ""};
      case 3:
      case 4:
      case 5:
        return release(c);
      case 6:
        return lock_cancel{name("l"), request_seq(1 + below(c.seq.value + 1))};
      case 7:
        if (random_.chance(0.1)) return set_read_lease{milliseconds(below(1'200))};
        return set_activity{random_.chance(0.9), random_.chance(0.05)};
      case 8:
        return random_.chance(0.7) ? command_body(register_runner{name("r", 3)})
                                   : command_body(unregister_runner{name("r", 3)});
      case 9:
      case 10:
        return schedule_job{name("j"), config(), random_.chance(0.6), {}, {}};
      case 11:
        return random_.chance(0.2) ? command_body(unschedule_job{name("j")}) : command_body(finish(c));
      case 12:
        return finish(c);
      case 13:
        return random_.chance(0.05) ? command_body(close_session{c.epoch})
                                    : command_body(journal_retention{name("q"), milliseconds(1'000 + below(90'000))});
      default:
        return journal_append{name("q"), random_.chance(0.3) ? name("k") : "",
                              std::vector<journal_item>(1 + below(3), {"t", "m"})};
    }
  }

  lock_release release(const running_client& c) {
    for (const auto& [name, l] : a_.locks())
      if (l.holder->session == c.epoch && random_.chance(0.7)) return {name, l.holder->grant};
    return {name("l"), grant_id(below(index_.value))};
  }

  finish_run finish(const running_client& c) {
    for (const auto& [id, job] : a_.jobs())
      for (const auto& run : job.running)
        if (run.session == c.epoch && random_.chance(0.8)) return {id, run.fence, outcome::success, "", now_, 1ms};
    return {name("j"), below(100), outcome::failed, "", now_, 1ms};
  }

  job_config config() {
    job_config c{.runner = name("r", 3), .when = {}, .params = {}};
    const milliseconds every[] = {100ms, 500ms, 2s};
    if (random_.chance(0.6))
      c.when = calendar::interval_schedule{every[below(3)], {}};
    else if (random_.chance(0.5))
      c.when = calendar::cron_schedule{"*/3 * * * * ?", "UTC", {}};
    else
      c.when = calendar::once_schedule{};
    c.on_misfire = static_cast<misfire_policy>(below(3));
    c.on_overlap = static_cast<overlap_policy>(below(2));
    c.catch_up = milliseconds(below(5'000));
    c.rerun_if_lost = random_.chance(0.7);
    return c;
  }

  void propose_duties() {
    const auto max = 1 + below(12);
    const auto due = a_.duties(now_, max), same = b_.duties(now_, max);
    REQUIRE(due.size() == same.size());
    REQUIRE(due.size() <= max);
    for (std::size_t i = 0; i < due.size(); ++i) REQUIRE(text(due[i]) == text(same[i]));
    REQUIRE(a_.next_duty(now_) == b_.next_duty(now_));
    for (const auto& d : due) push({{}, {}, {}, {}, d});
  }

  // ---- the log ----
  void commit() {
    const auto at = random_.chance(0.6) ? 0 : below(pending_.size());
    const auto c = pending_[at];
    if (!random_.chance(0.1))
      pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(at));  // else it comes again
    ++index_;
    const auto out = a_.apply(index_, term_, c), twin = b_.apply(index_, term_, c);
    REQUIRE(out.result == twin.result);
    REQUIRE(out.duplicate == twin.duplicate);
    REQUIRE(out.happened.size() == twin.happened.size());
    REQUIRE(a_.digest() == b_.digest());
    check_request(c, out);
    for (const auto& h : out.happened) std::visit([&](const auto& x) { note(x); }, h);
    follow_locks(c, out);
    check_state();
    if (random_.chance(0.3)) save();
    learn(c, out);
  }

  // Exactly once: the first execution's answer is every later one's; an executed request never executes again.
  void check_request(const command& c, const applied& out) {
    if (!c.session) return;
    const auto key = std::pair(c.session, c.seq);
    if (out.duplicate) {
      ++reached_["duplicate"];
      REQUIRE(out.happened.empty());
      if (const auto first = answers_.find(key); first != answers_.end() && out.result.code != errc::indeterminate)
        REQUIRE(out.result == first->second);
      return;
    }
    if (out.result.code == errc::indeterminate) {
      ++reached_["dead session"];
      REQUIRE(out.happened.empty());
      return;
    }
    if (std::holds_alternative<close_session>(c.body)) return;
    REQUIRE(answers_.emplace(key, out.result).second);
  }

  void learn(const command& c, const applied& out) {
    for (auto& client : clients_) {
      if (client.epoch != c.session || !random_.chance(0.8)) continue;
      client.answered.insert(c.seq);
      client.sent.erase(c.seq);
    }
    std::erase_if(clients_,
                  [&](const running_client& k) { return a_.session(k.epoch) == nullptr && random_.chance(0.3); });
    for (const auto& h : out.happened)
      if (const auto* s = std::get_if<session_opened>(&h))
        clients_.push_back({s->session.node, s->session.epoch, {}, {}, {}});
  }

  template <class H>
  void note(const H&) {}
  void note(const run_finished& r) { ++reached_[to_string(*r.run.what)]; }
  void note(const journal_trimmed&) { ++reached_["trim"]; }
  void note(const lock_granted& g) {
    ++reached_["grant"];
    REQUIRE(a_.session(g.holder.session) != nullptr);
    REQUIRE(g.holder.grant.value == index_.value);
    REQUIRE(last_grant_[g.name] < g.holder.grant);  // fences of one name strictly rise
    last_grant_[g.name] = g.holder.grant;
  }
  void note(const run_claimed& r) {
    ++reached_[r.run.attempt > 1 ? "rerun" : r.run.coalesced > 0 ? "coalesced" : "run"];
    REQUIRE(claimed_.emplace(r.run.job, r.run.version, r.run.scheduled, r.run.attempt).second);
    REQUIRE(r.run.fence > last_fence_);
    last_fence_ = r.run.fence;
    REQUIRE(a_.session(r.run.session)->active);
    REQUIRE(r.run.scheduled <= a_.globals().last_stamp);
  }
  void note(const journal_grew& j) {
    REQUIRE(j.last > last_id_);
    last_id_ = j.last;
  }

  // A second, naive account of the queues: the first of each list holds the lock.
  void follow_locks(const command& c, const applied& out) {
    const owner who{c.session, c.seq};
    if (const auto* x = std::get_if<lock_acquire>(&c.body); x != nullptr && !out.duplicate && out.result.ok())
      queues_[x->name].push_back(who);
    if (const auto* x = std::get_if<lock_release>(&c.body); x != nullptr && !out.duplicate && out.result.ok())
      queues_[x->name].pop_front();
    if (const auto* x = std::get_if<lock_cancel>(&c.body); x != nullptr && !out.duplicate && out.result.ok())
      std::erase(queues_[x->name], owner{c.session, x->request});
    for (auto& [name, queue] : queues_) {
      const auto gone = [&](const owner& o) { return a_.session(o.first) == nullptr; };
      std::erase_if(queue, gone);
      for (std::size_t i = 1; i < queue.size();) {
        const auto* s = a_.session(queue[i].first);
        const bool held_now = std::holds_alternative<set_activity>(c.body) && (!s->active || s->stopping);
        if (held_now)
          queue.erase(queue.begin() + static_cast<std::ptrdiff_t>(i));
        else
          ++i;
      }
    }
    for (const auto& [name, queue] : queues_) {
      const auto it = a_.locks().find(name);
      REQUIRE((it == a_.locks().end()) == queue.empty());
      if (queue.empty()) continue;
      const auto& l = it->second;
      REQUIRE(owner{l.holder->session, l.holder->request} == queue.front());
      REQUIRE(l.waiters.size() + 1 == queue.size());
      for (std::size_t i = 0; i < l.waiters.size(); ++i)
        REQUIRE(owner{l.waiters[i].session, l.waiters[i].request} == queue[i + 1]);
    }
  }

  void check_state() {
    const auto l = tiny();
    REQUIRE(a_.sessions().size() <= l.sessions);
    REQUIRE(a_.locks().size() <= l.locks);
    REQUIRE(a_.jobs().size() <= l.jobs);
    REQUIRE(a_.journals().size() <= l.journals);
    for (const auto& [epoch, s] : a_.sessions()) REQUIRE(s.used.size() <= l.used_per_session);
    for (const auto& [id, job] : a_.jobs()) {
      REQUIRE(job.running.size() <= l.running_per_job);
      REQUIRE(job.lost.size() <= l.running_per_job);
      REQUIRE(job.history_count <= l.history_per_job);
      if (job.owner) {
        const auto* s = a_.session(job.owner);
        REQUIRE(s != nullptr);
        REQUIRE((s->active && !s->stopping));
        REQUIRE(std::count(s->runners.begin(), s->runners.end(), job.config.runner) == 1);
      }
      for (const auto& run : job.running) REQUIRE(a_.session(run.session) != nullptr);
    }
  }

  // ---- the disk ----
  void save() {
    disk_a_.carry_out(a_.take_writes());
    disk_b_.carry_out(b_.take_writes());
  }

  void restore_b() {
    save();
    REQUIRE(disk_a_.records.size() == disk_b_.records.size());
    for (auto i = disk_a_.records.begin(), j = disk_b_.records.begin(); i != disk_a_.records.end(); ++i, ++j)
      REQUIRE(i->first == j->first);
    b_.restore(disk_b_.in_memory_part());
    REQUIRE(a_.digest() == b_.digest());
    REQUIRE(b_.take_writes().empty());
    check_disk();
  }

  // What is on disk alone agrees with what memory says of it.
  void check_disk() {
    std::map<std::string, std::vector<journal_entry>> entries;
    std::map<std::string, std::vector<std::uint64_t>> lines;
    for (auto& e : disk_a_.all<journal_entry>()) entries[e.journal].push_back(e);
    for (const auto& r : disk_a_.all<job_run_record>()) lines[r.job].push_back(r.number);
    for (const auto& [name, j] : a_.journals()) {
      const auto& list = entries[name];
      REQUIRE(list.size() == j.count);
      REQUIRE((list.empty() ? 0 : list.front().id) == j.first);
      for (std::size_t i = 0; i < list.size(); ++i) {
        REQUIRE(list[i].ordinal == j.total - j.count + i + 1);  // a suffix without gap
        REQUIRE(list[i].id > j.trimmed);
        if (i > 0) REQUIRE(list[i].created >= list[i - 1].created);
      }
    }
    for (const auto& [id, job] : a_.jobs()) {
      std::vector<std::uint64_t> expected;
      for (std::uint64_t n = 0; n < job.history_count; ++n) expected.push_back(job.history_first + n);
      REQUIRE(lines[id] == expected);
    }
    for (const auto& [id, list] : lines) REQUIRE((list.empty() || a_.jobs().contains(id)));
  }

  rng random_;
  coterie::machine::machine a_, b_;
  disk_image disk_a_, disk_b_;
  log_index index_{10};
  term term_{2};
  wall_time now_ = at(1'700'000'000'000);
  std::vector<command> pending_;
  std::vector<running_client> clients_;
  std::map<std::pair<session_epoch, request_seq>, answer> answers_;
  std::map<std::string, std::deque<owner>> queues_;
  std::map<std::string, grant_id> last_grant_;
  std::set<tuple_of_run> claimed_;
  std::map<std::string, std::size_t> reached_;
  std::uint64_t last_id_ = 0, last_fence_ = 0;
};

}  // namespace

TEST_CASE("random histories: exclusion, order, rising fences, each tuple once, determinism, restore") {
  std::map<std::string, std::size_t> reached;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    INFO("seed " << seed);
    story s(seed);
    s.run(1'000);
    for (const auto& [what, n] : s.reached()) reached[what] += n;
  }
  // The histories are worth something: they reach what they are about.
  for (const auto* what : {"grant", "run", "rerun", "coalesced", "success", "aborted", "unavailable", "skipped", "lost",
                           "trim", "duplicate", "dead session"}) {
    INFO(what);
    CHECK(reached[what] >= 40);
  }
}
