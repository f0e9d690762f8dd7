// The load on one node of the rack: concurrent sessions over its control socket that lock, append, read, process, look
// up and invalidate, and write down what they asked and what they were told. Judges nothing: checks.py does.
//
// usage: chaos_client --socket PATH --node NAME --guard PATH --history FILE --notes FILE
//                     [--process N] [--seed N] [--pace FACTOR]
//        chaos_client --start FILE     (as a runner: writes down that it was started, and works for a while)
//
// SIGUSR1: no more new operations; says "stopped" when there are none. SIGUSR2, later: ends when the node's journals
// are drained. SIGTERM: ends.
#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <map>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <vector>

#include <poll.h>
#include <unistd.h>

#include <fmt/format.h>

#include "session.hpp"

namespace coterie::chaos {

using namespace std::chrono_literals;

namespace {

constexpr std::array lock_names{"stock", "index", "mail", "bill", "ship"};
constexpr std::array journal_names{"orders", "audit"};
constexpr std::array cache_keys{"k1", "k2", "k3", "k4"};
constexpr const char* cache_name = "prices";
constexpr const char* runner_name = "rack";

void wait_readable(int fd, milliseconds most) {
  pollfd p{fd, POLLIN, 0};
  ::poll(&p, 1, static_cast<int>(most.count()));
}

// ---- locks
// -----------------------------------------------------------------------------------------------------------

/// Takes a lock, writes to the store of record under it, gives it back; sometimes it just goes away. It believes in its
/// hold as the protocol allows it to: up to the last deadline it was told, or until it is told that the hold is over.
class locking {
 public:
  locking(session& s, guard_client& g) : s_(s), guard_(g) {}

  void once() {
    key_ = lock_names[s_.below(lock_names.size())];
    const auto wait = s_.chance(0.25) ? 0ms : milliseconds(200 + s_.below(3'000));
    call_ = now_ns();
    auto* node = s_.connect();
    if (node == nullptr) return;
    try {
      acquire(*node, wait);
    } catch (const command::command_error&) {
      s_.disconnect();
      if (fence_ == 0) s_.record("acquire", key_, nullptr, nullptr, call_, std::nullopt);
    }
    if (fence_ != 0) hold();
  }

 private:
  void acquire(command::client& node, milliseconds wait) {
    fence_ = 0;
    stream_ = node.send(wire::acquire_lock{key_, s_.opt().node, wait}, 4'000ms);
    const auto until = command::in(wait + 9'000ms);
    while (auto a = node.next(until)) {
      if (a->call != stream_) continue;
      if (const auto* g = std::get_if<wire::lock_granted>(&a->what)) {
        from_ = now_ns();
        fence_ = g->fence;
        deadline_ = deadline_ns(g->deadline_raw_ns, g->deadline_boot_ns);
        return s_.record("acquire", key_, nullptr, {{"fence", fence_}}, call_, from_);
      }
      outcome o;
      o.call = call_;
      o.returned = now_ns();
      if (auto* f = std::get_if<failure>(&a->what)) o.what = *f;
      return s_.record_failed("acquire", key_, nullptr, o);
    }
    s_.silent(call_, 0);
    throw command::command_error(command::timed_out, "no answer");
  }

  /// The end of the hold as far as it is known; the earliest that somebody else may have it.
  std::int64_t end() const { return std::min(deadline_, told_lost_.value_or(deadline_)); }

  void hold() {
    told_lost_.reset();
    writes_ = json::array();
    const auto length = s_.chance(0.07) ? milliseconds(300 + s_.below(1'700)) : milliseconds(5 + s_.below(60));
    const auto leave_at = now_ns() + std::chrono::nanoseconds(s_.chance(0.03) ? length + 4'000ms : length).count();
    int turns = 0;
    while (!over() && now_ns() < leave_at && !ending) {
      if (turns++ % 8 == 0) guarded_write();
      hear(10ms);
    }
    if (!over()) guarded_write();
    hear(0ms);
    if (over()) guarded_write();  // careless: it is not the holder's any more, and nobody may be harmed by it
    if (over())
      lost();
    else if (s_.chance(0.06))
      walk_away();
    else
      release();
    s_.note({{"what", "hold"}, {"key", key_}, {"fence", fence_}, {"from", from_}, {"to", to_}, {"writes", writes_}});
    fence_ = 0;
  }

  bool over() const { return now_ns() >= end(); }

  void guarded_write() {
    auto fence = fence_;
    const auto call = now_ns();
    const bool taken = guard_.write(key_, fence);
    writes_.push_back({{"call", call}, {"return", now_ns()}, {"taken", taken}, {"newest", fence}});
  }

  void hear(milliseconds most) {
    if (!s_.connected()) return std::this_thread::sleep_for(most);
    try {
      auto* node = s_.connect();
      wait_readable(node->fd(), most);
      while (auto a = node->poll()) take(*a);
    } catch (const command::command_error&) {
      s_.disconnect();  // the hold may go on, as long as it is known to be valid
    }
  }

  void take(const command::client::answer& a) {
    if (a.call != stream_) return;
    if (const auto* r = std::get_if<wire::lock_renewed>(&a.what))
      deadline_ = deadline_ns(r->deadline_raw_ns, r->deadline_boot_ns);
    else if (!told_lost_ && std::holds_alternative<failure>(a.what))
      told_lost_ = now_ns();
  }

  void lost() {
    to_ = end();
    s_.record("lost", key_, {{"fence", fence_}}, nullptr, to_, std::nullopt);
  }

  void walk_away() {
    to_ = std::min(now_ns(), end());
    s_.disconnect();
    s_.record("lost", key_, {{"fence", fence_}}, nullptr, end(), std::nullopt);
  }

  void release() {
    const auto known_end = end();
    const json input{{"fence", fence_}};
    const auto o = s_.connected() ? s_.ask(wire::release_lock{key_, fence_}, 4'000ms) : gone();
    to_ = std::min(o.call, known_end);
    const auto* f = o.refused();
    if (o.get<wire::done>() != nullptr) return s_.record("release", key_, input, "done", o.call, o.returned);
    s_.record("lost", key_, input, nullptr, known_end, std::nullopt);
    if (f != nullptr && f->code == errc::lock_lost) {
      s_.record("release", key_, input, "not_held", o.call, o.returned);
    } else {
      s_.record("release", key_, input, nullptr, o.call, std::nullopt);
      s_.disconnect();
    }
  }
  static outcome gone() {
    outcome o;
    o.call = o.returned = now_ns();
    return o;
  }

  session& s_;
  guard_client& guard_;
  std::string key_;
  std::uint64_t stream_ = 0, fence_ = 0;
  std::int64_t call_ = 0, from_ = 0, to_ = 0, deadline_ = 0;
  std::optional<std::int64_t> told_lost_;
  json writes_;
};

void lock_session(session& s) {
  guard_client guard(s.opt().guard);
  locking l(s, guard);
  while (!draining && !ending) {
    l.once();
    s.pause(40ms);
  }
}

// ---- journals
// ---------------------------------------------------------------------------------------------------------

/// Appends messages that nobody else ever writes; half of them with a key, and those are repeated until the answer is
/// sure.
void append_session(session& s, unsigned number) {
  const auto prefix = fmt::format("{}{}-{:x}-", s.opt().node, number, now_ns());
  for (std::uint64_t n = 0; !draining && !ending; s.pause(40ms)) {
    wire::append_journal a{journal_names[s.below(journal_names.size())], "", {}};
    for (std::uint64_t i = s.chance(0.2) ? 2 + s.below(3) : 1; i > 0; --i)
      a.items.push_back({"t", fmt::format("{}{}", prefix, n++)});
    if (s.chance(0.5)) a.key = a.items.front().message;
    json messages = json::array();
    for (const auto& i : a.items) messages.push_back(i.message);
    if (!s.connected() && s.connect() == nullptr) continue;
    const auto call = now_ns();
    bool sent = false;  // some try may have done it
    for (int tries = 0;; ++tries) {
      auto o = s.ask(a, 3'000ms);
      o.call = call;
      if (const auto* r = o.get<wire::appended>()) {
        s.record("append", a.journal, messages, r->ids, call, o.returned);
        break;
      }
      sent |= o.unknown() || !without_effect(o.refused()->code);
      if (sent && !a.key.empty() && tries < 20 && !ending) {
        s.pause(100ms);
        continue;
      }
      if (sent) o.what = std::monostate();
      s.record_failed("append", a.journal, messages, o);
      break;
    }
  }
}

json to_json(const wire::entries& e) {
  json r = json::array();
  for (const auto& x : e.list) r.push_back({x.id, x.message});
  return r;
}

/// The only one on its node that moves these cursors; hence it knows where they stand.
class consuming {
 public:
  explicit consuming(session& s) : s_(s) {}

  /// False when nothing could be done.
  bool once(const std::string& journal) {
    if (!s_.connected()) identity_ = nullptr;
    if (identity_.is_null() && !learn_identity()) return false;
    const auto count = s_.ask(wire::count_journal{journal}, 2'000ms);
    const auto* c = count.get<wire::journal_counts>();
    if (c == nullptr) return false;
    if (s_.chance(0.3)) read(journal, c->cursor);
    if (!s_.connected()) return false;
    return process(journal, c->cursor);
  }

  bool drained(const std::string& journal) {
    const auto seen = s_.ask(wire::wait_visible{}, 2'000ms);
    if (seen.get<wire::done>() == nullptr) return false;
    const auto count = s_.ask(wire::count_journal{journal}, 2'000ms);
    const auto* c = count.get<wire::journal_counts>();
    if (c == nullptr || c->count != 0) return false;
    s_.note({{"what", "drained"}, {"journal", journal}, {"id", identity_}, {"cursor", c->cursor}, {"at", now_ns()}});
    return true;
  }

 private:
  bool learn_identity() {
    const auto status = s_.ask(wire::get_status{}, 2'000ms);
    const auto* i = status.get<wire::status_info>();
    if (i == nullptr) return false;
    identity_ = i->self.str();
    return true;
  }

  /// A linearizable read: a barrier, then what is here.
  void read(const std::string& journal, std::uint64_t after) {
    constexpr std::uint32_t most = 50;
    const auto seen = s_.ask(wire::wait_visible{}, 2'000ms);
    if (seen.get<wire::done>() == nullptr) return;
    const auto got = s_.ask(wire::peek_journal{journal, most}, 2'000ms);
    if (const auto* e = got.get<wire::entries>())
      s_.record("read", journal, {{"after", after}, {"max", most}},
                {{"entries", to_json(*e)}, {"end", e->list.size() < most}}, seen.call, got.returned);
  }

  bool process(const std::string& journal, std::uint64_t cursor) {
    const auto got = s_.ask(wire::begin_process{journal, 100}, 4'000ms);
    if (const auto* f = got.refused(); f != nullptr && f->code == errc::retention_gap)
      s_.note({{"what", "gap"}, {"journal", journal}, {"id", identity_}, {"text", f->message}, {"at", now_ns()}});
    const auto* e = got.get<wire::entries>();
    if (e == nullptr) return false;
    if (e->list.empty()) return true;
    // Most often all of it, sometimes a part, sometimes nothing.
    const auto& list = e->list;
    const auto upto = s_.chance(0.9) ? list.back().id : s_.chance(0.5) ? list[s_.below(list.size())].id : 0;
    const auto ended = s_.ask(wire::end_process{journal, e->token, upto}, 4'000ms);
    s_.note({{"what", "batch"},
             {"journal", journal},
             {"id", identity_},
             {"cursor", cursor},
             {"entries", to_json(*e)},
             {"moved", ended.get<wire::done>() == nullptr ? json(nullptr) : json(upto == 0 ? cursor : upto)},
             {"at", got.returned}});
    if (ended.get<wire::done>() == nullptr) s_.disconnect();
    return true;
  }

  session& s_;
  json identity_;
};

void consume_session(session& s) {
  consuming c(s);
  while (!ending) {
    bool all = finishing;
    for (const auto* name : journal_names) {
      if (!c.once(name)) std::this_thread::sleep_for(50ms);
      all = all && c.drained(name);
    }
    if (all) return;
    if (!finishing) s.pause(150ms);
  }
}

// ---- caches
// ----------------------------------------------------------------------------------------------------------

/// A cache of version numbers that the store of record holds: loads what it misses, forgets what it is told to.
class caching {
 public:
  explicit caching(session& s) : s_(s), guard_(s.opt().guard) {}

  void once() {
    if (!registered()) return;
    const std::string key = cache_keys[s_.below(cache_keys.size())];
    if (s_.chance(0.15))
      change(key);
    else
      look_up(key, "lookup");
  }

  /// Nobody changes anything any more: what was lost is found, and this sees what is.
  void settle() {
    const auto until = now_ns() + std::chrono::nanoseconds(8s).count();
    while (now_ns() < until && !ending) {
      if (registered()) hear(50ms);
    }
    if (!registered()) return;
    for (const auto* key : cache_keys) look_up(key, "last_lookup");
  }

 private:
  bool registered() {
    if (s_.connected() && stream_ != 0) return true;
    values_.clear();
    stream_ = 0;
    auto* node = s_.connect();
    if (node == nullptr) return false;
    try {
      stream_ = node->send(wire::register_cache{cache_name});
      const auto until = command::in(5'000ms);
      while (auto a = node->next(until)) {
        if (a->call == stream_ && std::holds_alternative<wire::done>(a->what)) return true;
        if (a->call == stream_ && std::holds_alternative<failure>(a->what)) break;
        take(*a);
      }
    } catch (const command::command_error&) {
    }
    drop();
    return false;
  }

  void drop() {
    s_.disconnect();
    stream_ = 0;
    values_.clear();
  }

  void take(const command::client::answer& a) {
    const auto* i = std::get_if<wire::invalidation_out>(&a.what);
    if (i == nullptr) return;
    if (i->key)
      values_.erase(*i->key);
    else
      values_.clear();
  }

  void hear(milliseconds most) {
    try {
      auto* node = s_.connect();
      if (node == nullptr) return drop();
      wait_readable(node->fd(), most);
      while (auto a = node->poll()) take(*a);
    } catch (const command::command_error&) {
      drop();
    }
  }

  void look_up(const std::string& key, const char* what) {
    hear(0ms);
    if (stream_ == 0) return;
    const auto call = now_ns();
    const auto it = values_.find(key);
    const bool hit = it != values_.end();
    // One thread: no invalidation is taken between the load and its installation, so none is overtaken.
    const auto version = hit ? it->second : guard_.read(key);
    values_[key] = version;
    s_.note({{"what", what}, {"key", key}, {"version", version}, {"hit", hit}, {"call", call}, {"return", now_ns()}});
  }

  void change(const std::string& key) {
    const bool wait = s_.chance(0.5);
    const auto call = now_ns();
    const auto version = guard_.raise(key);
    bool sure = false;
    try {
      auto* node = s_.connect();
      const auto asked = node == nullptr ? 0 : node->send(wire::invalidate_cache{cache_name, key, wait, 0}, 3'000ms);
      const auto until = command::in(6'000ms);
      for (bool open = asked != 0; open;) {
        const auto a = node->next(until);
        if (a && a->call != asked) {
          take(*a);
          continue;
        }
        sure = a && std::holds_alternative<wire::done>(a->what);
        open = false;
        if (!a) drop();
      }
    } catch (const command::command_error&) {
      drop();
    }
    values_.erase(key);
    s_.note({{"what", "change"},
             {"key", key},
             {"version", version},
             {"everywhere", wait && sure},
             {"here", sure},
             {"call", call},
             {"return", now_ns()}});
  }

  session& s_;
  guard_client guard_;
  std::uint64_t stream_ = 0;
  std::map<std::string, std::uint64_t> values_;
};

void cache_session(session& s) {
  caching c(s);
  while (!draining && !ending) {
    c.once();
    s.pause(60ms);
  }
  c.settle();
}

// ---- jobs
// -------------------------------------------------------------------------------------------------------------

wire::add_job job(std::string id, milliseconds every, std::int64_t work_ms, std::int64_t generation) {
  wire::add_job a;
  a.job.id = std::move(id);
  a.job.config.runner = runner_name;
  a.job.config.when.emplace<1>().every = every;
  a.job.config.params["work"] = machine::job_param(work_ms);
  a.job.config.params["generation"] = machine::job_param(generation);
  return a;
}

/// The same jobs from every node, and one that all of them keep replacing.
void job_session(session& s) {
  auto tick = job("tick", 1s, 0, 0);
  auto all = job("all", 1s, 0, 0);
  all.job.config.on_misfire = machine::misfire_policy::fire_all;
  auto slow = job("slow", 1'300ms, 700, 0);
  slow.job.config.rerun_if_lost = true;
  slow.job.config.on_overlap = machine::overlap_policy::allow;
  std::vector<wire::add_job> kept{tick, all, slow};
  while (!draining && !ending) {
    auto a =
        kept.empty() || s.chance(0.2) ? job("churn", milliseconds(400 + 100 * s.below(12)), 0, now_ns()) : kept.back();
    a.job.replace = a.job.id == "churn";
    const auto o = s.ask(a, 3'000ms);
    const auto* added = o.get<wire::job_added>();
    if (added != nullptr && a.job.id != "churn") kept.pop_back();
    const auto generation = std::get<std::int64_t>(std::get<machine::job_param>(a.job.config.params["generation"]));
    s.note({{"what", "schedule"},
            {"job", a.job.id},
            {"generation", generation},
            {"version", added == nullptr ? json(nullptr) : json(added->version)},
            {"call", o.call},
            {"return", o.returned}});
    s.pause(kept.empty() ? 2'500ms : 300ms);
  }
}

/// What a runner runs: says so in one line, then works.
int start_mode(const std::string& file) {
  const auto text = [](const char* name) {
    const char* v = std::getenv(name);
    return std::string(v == nullptr ? "" : v);
  };
  line_file(file).write({{"job", text("COTERIE_JOB")},
                         {"generation", text("COTERIE_PARAM_generation")},
                         {"scheduled", text("COTERIE_SCHEDULED")},
                         {"attempt", std::atoi(text("COTERIE_ATTEMPT").c_str())},
                         {"fence", std::strtoull(text("COTERIE_FENCE").c_str(), nullptr, 10)},
                         {"node", text("RACK_NODE")},
                         {"at", now_ns()}});
  std::this_thread::sleep_for(milliseconds(std::atoi(text("COTERIE_PARAM_work").c_str())));
  return 0;
}

// ---- all of them
// ------------------------------------------------------------------------------------------------------

int load(const options& o, const std::string& history_file, const std::string& notes_file) {
  const line_file history(history_file), notes(notes_file);
  using body = std::function<void(session&, unsigned)>;
  const auto plain = [](void (*f)(session&)) -> body { return [f](session& s, unsigned) { f(s); }; };
  const std::vector<body> bodies{plain(lock_session),  plain(lock_session), append_session,        append_session,
                                 plain(cache_session), plain(job_session),  plain(consume_session)};
  std::atomic<bool> broken = false;
  std::vector<std::thread> threads;
  for (unsigned n = 0; n < bodies.size(); ++n)
    threads.emplace_back([&, n] {
      try {
        session s(o, n, history, notes);
        bodies[n](s, n);
      } catch (const std::exception& e) {
        fmt::print(stderr, "session {} of {}: {}\n", n, o.node, e.what());
        broken = true;
        draining = finishing = ending = true;
      }
    });
  const auto consumer = std::prev(threads.end());
  std::for_each(threads.begin(), consumer, [](auto& t) { t.join(); });
  fmt::print("stopped\n");
  std::fflush(stdout);
  consumer->join();
  return broken ? 1 : 0;
}

int run(const std::vector<std::string_view>& words) {
  std::map<std::string, std::string, std::less<>> given;
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) given[std::string(words[i])] = words[i + 1];
  if (given.contains("--start")) return start_mode(given["--start"]);
  options o;
  o.socket = given["--socket"];
  o.guard = given["--guard"];
  o.node = given["--node"];
  o.first_process = std::strtoull(given["--process"].c_str(), nullptr, 10);
  if (given.contains("--seed")) o.seed = std::strtoull(given["--seed"].c_str(), nullptr, 10);
  if (given.contains("--pace")) o.pace = std::strtod(given["--pace"].c_str(), nullptr);
  if (o.socket.empty() || o.guard.empty() || !given.contains("--history") || !given.contains("--notes")) {
    fmt::print(stderr, "chaos_client: --socket, --guard, --history and --notes are needed\n");
    return 2;
  }
  ::signal(SIGUSR1, [](int) { draining = true; });
  ::signal(SIGUSR2, [](int) { finishing = true; });
  ::signal(SIGTERM, [](int) { draining = finishing = ending = true; });
  ::signal(SIGPIPE, SIG_IGN);
  return load(o, given["--history"], given["--notes"]);
}

}  // namespace
}  // namespace coterie::chaos

int main(int argc, char** argv) {
  try {
    return coterie::chaos::run({argv + 1, argv + argc});
  } catch (const std::exception& e) {
    fmt::print(stderr, "chaos_client: {}\n", e.what());
    return 1;
  }
}
