// A few engines in one thread, on a perfect network and disk that answer at once, and on one clock that moves when it
// is told. For tests of single rules; clusters under faults are the simulator's.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/overloaded.hpp"
#include "engine/engine.hpp"
#include "engine/recovery.hpp"
#include "wire/frame.hpp"

namespace coterie::test {

class nodes {
 public:
  struct answered {
    std::vector<wire::response> list;
    bool over = false;
  };

  explicit nodes(std::size_t n, engine::options o = {}) {
    for (std::size_t i = 0; i < n; ++i) list_.push_back({.at = {"10.0.0." + std::to_string(i + 1), 7400}});
    for (std::size_t i = 0; i < n; ++i) {
      auto mine = o;
      mine.name = std::string(1, static_cast<char>('a' + i));
      mine.advertise = list_[i].at;
      mine.bootstrap_single = n == 1;
      if (n > 1)
        for (const auto& x : list_) mine.seeds.push_back(x.at);
      auto start = engine::recover({}, 1, 2 * i + 1, false);
      list_[i].engine = std::make_unique<engine::engine>(mine, std::move(start->state), now_, i + 1);
    }
    for (std::size_t i = 0; i < n; ++i) tell(i, engine::wake{});
    settle();
  }

  const engine::engine& operator[](std::size_t i) const { return *list_[i].engine; }
  bool active(std::size_t i) const {
    const auto v = list_[i].engine->look();
    return v.raft != nullptr && v.session && v.validity.steady > now_.steady;
  }
  /// The leader that everybody follows; nullopt = there is none.
  std::optional<std::size_t> leader() const {
    for (std::size_t i = 0; i < list_.size(); ++i) {
      const auto* r = list_[i].engine->look().raft;
      if (r != nullptr && r->current_role() == raft::role::leader && r->leader_ready()) return i;
    }
    return std::nullopt;
  }

  void run(duration d) {
    for (const auto end = now_.steady + d; now_.steady < end;) {
      now_.steady += 10ms;
      now_.boot += 10ms;
      now_.wall += std::chrono::milliseconds(10);
      for (std::size_t i = 0; i < list_.size(); ++i)
        if (!list_[i].over && list_[i].engine->next_wake() <= now_.steady) tell(i, engine::wake{});
      settle();
    }
  }
  template <class Condition>
  bool run_until(Condition c, duration limit = 30s) {
    for (const auto end = now_.steady + limit; now_.steady < end && !c();) run(10ms);
    return c();
  }
  bool run_until_active() {
    return run_until([&] {
      for (std::size_t i = 0; i < list_.size(); ++i)
        if (!active(i)) return false;
      return leader().has_value();
    });
  }

  void tell(std::size_t i, engine::event e) { events_.emplace_back(i, std::move(e)); }
  engine::call_id call(std::size_t i, wire::request r) {
    const engine::call_id id(++last_call_);
    answers_[id];
    tell(i, engine::call{id, std::move(r)});
    settle();
    return id;
  }
  const answered& answers(engine::call_id id) { return answers_[id]; }
  /// The first answer, if it comes.
  std::optional<wire::response> ask(std::size_t i, wire::request r, duration limit = 30s) {
    const auto id = call(i, std::move(r));
    run_until([&] { return !answers_[id].list.empty(); }, limit);
    if (answers_[id].list.empty()) return std::nullopt;
    return answers_[id].list.front();
  }

 private:
  struct stream {
    std::size_t to = 0;
    engine::stream_id there;
  };
  struct node {
    address at;
    std::unique_ptr<engine::engine> engine{};
    std::map<engine::stream_id, stream> streams{};
    bool over = false;
  };

  void settle() {
    while (!events_.empty()) {
      auto [i, e] = std::move(events_.front());
      events_.pop_front();
      if (list_[i].over) continue;
      std::vector<engine::action> actions;
      list_[i].engine->step(e, now_, actions);
      for (auto& a : actions) perform(i, a);
    }
  }
  std::optional<std::size_t> at(const address& a) const {
    for (std::size_t i = 0; i < list_.size(); ++i)
      if (list_[i].at == a) return i;
    return std::nullopt;
  }
  void perform(std::size_t i, engine::action& action) {
    std::visit(overloaded{
                   [&](engine::send_datagram& x) {
                     if (const auto to = at(x.to)) tell(*to, engine::datagram_in{list_[i].at, std::move(x.data)});
                   },
                   [&](const engine::dial& x) { dial(i, x); },
                   [&](const engine::send_frame& x) {
                     const auto s = list_[i].streams.find(x.id);
                     if (s == list_[i].streams.end()) return;
                     tell(s->second.to,
                          engine::frame_in{s->second.there, {x.frame.begin() + wire::header_size, x.frame.end()}});
                   },
                   [&](const engine::hang_up& x) {
                     const auto s = list_[i].streams.extract(x.id);
                     if (s.empty()) return;
                     list_[s.mapped().to].streams.erase(s.mapped().there);
                     tell(s.mapped().to, engine::stream_down{s.mapped().there, false, "closed"});
                   },
                   [&](const engine::write& x) { tell(i, engine::written{x.sequence}); },
                   [&](const engine::install_chunk& x) { tell(i, engine::written{x.sequence}); },
                   [&](const engine::install_commit& x) { tell(i, engine::written{x.sequence}); },
                   [&](const engine::read& x) {
                     tell(i, engine::read_done{x.id, {}, false});
                   },
                   [&](engine::answer& x) {
                     answers_[x.id].list.push_back(std::move(x.what));
                     answers_[x.id].over |= x.last;
                   },
                   [&](const engine::halted&) { list_[i].over = true; },
                   [](const auto&) {},
               },
               action);
  }
  void dial(std::size_t i, const engine::dial& d) {
    const auto to = at(d.to);
    if (!to) return tell(i, engine::stream_down{d.id, true, "refused"});
    const engine::stream_id there(++last_accepted_);
    list_[i].streams[d.id] = {*to, there};
    list_[*to].streams[there] = {i, d.id};
    tell(*to, engine::stream_up{there, false, list_[i].at});
    tell(i, engine::stream_up{d.id, true, d.to});
  }

  std::vector<node> list_;
  std::deque<std::pair<std::size_t, engine::event>> events_;
  std::map<engine::call_id, answered> answers_;
  std::uint64_t last_call_ = 0, last_accepted_ = 0;
  times now_{instant(1h), boot_instant(1h), wall_time(std::chrono::milliseconds(1'790'000'000'000))};
};

}  // namespace coterie::test
