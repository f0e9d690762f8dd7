// A few engines in one thread, on a perfect network and disk that answer at once (datagrams may take longer), and on
// one clock that moves when it is told. A test may hold, lose or forge what passes between them. For tests of single
// rules; clusters under faults are the simulator's.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/overloaded.hpp"
#include "engine/engine.hpp"
#include "engine/recovery.hpp"
#include "support/memory_disk.hpp"
#include "wire/codec.hpp"

namespace coterie::test {

class nodes {
 public:
  struct answered {
    std::vector<wire::response> list;
    bool over = false;
  };
  /// A stream to a node from outside of this set: whatever the test says on it.
  struct outsider {
    std::size_t at = 0;
    std::vector<wire::peer_message> heard{};
    bool closed = false;
  };

  explicit nodes(std::size_t n, engine::options o = {}) : common_(std::move(o)) {
    common_.bootstrap_single = n == 1;
    for (std::size_t i = 0; i < n; ++i) {
      list_.push_back({.at = address_of(i)});
      if (n > 1) common_.seeds.push_back(address_of(i));
    }
    for (std::size_t i = 0; i < n; ++i) start(i);
    settle();
  }
  /// One more, with an empty disk; its seeds are the first ones.
  std::size_t add(std::string name, std::optional<address> at = {}) {
    auto seeds = common_.seeds;
    if (seeds.empty()) seeds.push_back(address_of(0));
    list_.push_back({.at = at.value_or(address_of(list_.size())), .name = std::move(name), .seeds = std::move(seeds)});
    start(list_.size() - 1);
    settle();
    return list_.size() - 1;
  }

  std::size_t size() const { return list_.size(); }
  /// Of the n-th of those that were there from the start.
  static std::string name(std::size_t i) { return std::string(1, static_cast<char>('a' + i)); }

  // ---- looking -----------------------------------------------------------------------------------------------------
  const engine::engine& operator[](std::size_t i) const { return *list_[i].engine; }
  node_id id(std::size_t i) const { return list_[i].engine->look().members->self().id; }
  bool active(std::size_t i) const {
    const auto v = list_[i].engine->look();
    return v.raft != nullptr && v.session && v.validity.steady > now_.steady;
  }
  /// The leader that everybody follows; nullopt = there is none.
  std::optional<std::size_t> leader() const {
    for (std::size_t i = 0; i < list_.size(); ++i) {
      const auto* r = list_[i].engine->look().raft;
      if (!list_[i].over && r != nullptr && r->current_role() == raft::role::leader && r->leader_ready()) return i;
    }
    return std::nullopt;
  }
  std::uint64_t counted(std::size_t i, std::string_view what) const { return list_[i].engine->look().stats->get(what); }
  /// Log lines with this in them.
  std::size_t logged(std::size_t i, std::string_view part) const {
    return static_cast<std::size_t>(
        std::ranges::count_if(list_[i].log, [&](const auto& l) { return l.text.find(part) != std::string::npos; }));
  }
  const std::optional<engine::halted>& end_of(std::size_t i) const { return list_[i].end; }
  disk::image image(std::size_t i) const {
    return list_[i].disk.load(engine::state_memory_begin(), engine::state_memory_end());
  }
  const times& now() const { return now_; }

  // ---- time --------------------------------------------------------------------------------------------------------
  void run(duration d) {
    for (const auto end = now_.steady + d; now_.steady < end;) {
      pass(10ms);
      while (!under_way_.empty() && under_way_.begin()->first <= now_.steady)
        events_.push_back(std::move(under_way_.extract(under_way_.begin()).mapped()));
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
        if (!list_[i].over && !active(i)) return false;
      return leader().has_value();
    });
  }
  /// Time goes by and nobody is woken.
  void pass(duration d) {
    now_.steady += d;
    now_.boot += d;
    now_.wall += std::chrono::duration_cast<std::chrono::milliseconds>(d);
  }

  // ---- events and calls --------------------------------------------------------------------------------------------
  void tell(std::size_t i, engine::event e) { events_.emplace_back(i, std::move(e)); }
  void settle() {
    while (!events_.empty()) {
      auto [i, e] = std::move(events_.front());
      events_.pop_front();
      if (list_[i].over) continue;
      turn(i, {&e, 1});
    }
  }
  engine::call_id call(std::size_t i, wire::request r, std::optional<std::chrono::milliseconds> timeout = {}) {
    const engine::call_id id(++last_call_);
    answers_[id];
    tell(i, engine::call{id, std::move(r), timeout});
    settle();
    return id;
  }
  /// All of them in one turn.
  std::vector<engine::call_id> calls(std::size_t i, std::vector<wire::request> all) {
    std::vector<engine::call_id> ids;
    std::vector<engine::event> events;
    for (auto& r : all) {
      ids.emplace_back(++last_call_);
      events.emplace_back(engine::call{ids.back(), std::move(r), {}});
    }
    settle();
    turn(i, events);
    settle();
    return ids;
  }
  void cancel(std::size_t i, engine::call_id id) {
    tell(i, engine::cancel_call{id});
    settle();
  }
  const answered& answers(engine::call_id id) { return answers_[id]; }
  /// The first answer, which is there; nothing is kept of the call.
  wire::response take_answer(engine::call_id id) { return std::move(answers_.extract(id).mapped().list.front()); }
  /// The first answer, if it comes.
  std::optional<wire::response> ask(std::size_t i, wire::request r, duration limit = 30s) {
    const auto id = call(i, std::move(r));
    run_until([&] { return !answers_[id].list.empty(); }, limit);
    if (answers_[id].list.empty()) return std::nullopt;
    return answers_[id].list.front();
  }

  // ---- faults ------------------------------------------------------------------------------------------------------
  /// Told of every dial.
  std::function<void(std::size_t from, const address& to)> dialled;
  /// What this is true of is lost on its way.
  std::function<bool(std::size_t from, std::size_t to, const wire::peer_message&)> lose;
  /// How long a datagram is on its way, while time runs; to the next full 10 ms.
  std::function<duration(std::size_t from, std::size_t to)> way;
  /// Nothing goes to or from this node any more, or again; its streams end.
  void cut(std::size_t i, bool off = true) {
    list_[i].cut = off;
    if (off) end_streams(i, false);
    settle();
  }
  void end_streams(std::size_t i, bool refused) {
    for (const auto& [mine, s] : std::exchange(list_[i].streams, {})) {
      list_[s.to].streams.erase(s.there);
      tell(i, engine::stream_down{mine, false, "closed"});
      tell(s.to, engine::stream_down{s.there, refused, "closed"});
    }
  }
  void kill(std::size_t i) {
    list_[i].over = true;
    list_[i].disk.kill();
    end_streams(i, true);
    settle();
  }
  /// It is down, and its disk is another, empty one.
  void wipe(std::size_t i) {
    kill(i);
    list_[i].disk = {};
  }
  /// It is down, and starts at another address next time; with other seeds when some are given.
  void move(std::size_t i, address to, std::vector<address> seeds = {}) {
    if (!list_[i].over) kill(i);
    list_[i].at = std::move(to);
    list_[i].seeds = std::move(seeds);
  }
  void restart(std::size_t i, bool rejoin = false) {
    if (!list_[i].over) kill(i);
    start(i, rejoin);
    settle();
  }
  /// Its disk does what it is told, but says so only when it is released.
  void hold_disk(std::size_t i) { list_[i].held = true; }
  void release_disk(std::size_t i) {
    list_[i].held = false;
    for (auto& e : std::exchange(list_[i].done, {})) tell(i, std::move(e));
    settle();
  }
  memory_disk& disk(std::size_t i) { return list_[i].disk; }

  /// As if node `from` said this to node `to`, on the stream between them; all of it comes in one turn.
  void say(std::size_t from, std::size_t to, std::vector<wire::peer_message> all, group_id group = meta_group) {
    for (const auto& [mine, s] : list_[from].streams) {
      if (s.to != to) continue;
      std::vector<engine::event> events;
      for (auto& what : all)
        events.push_back(frame(s.there, {list_[from].engine->look().genesis->state().id, group, std::move(what)}));
      settle();
      turn(to, events);
      return settle();
    }
  }
  void say(std::size_t from, std::size_t to, wire::peer_message what, group_id group = meta_group) {
    say(from, to, std::vector<wire::peer_message>{std::move(what)}, group);
  }

  engine::stream_id connect(std::size_t i, address from = {"10.9.9.9", 7400}) {
    const engine::stream_id id(++last_accepted_);
    outside_[id] = {.at = i};
    tell(i, engine::stream_up{id, false, std::move(from)});
    settle();
    return id;
  }
  const outsider& at(engine::stream_id id) { return outside_[id]; }
  void hear(engine::stream_id id, wire::envelope e) {
    tell(outside_[id].at, frame(id, e));
    settle();
  }
  /// The first of this kind that was said to an outsider.
  template <class Message>
  std::optional<Message> heard(engine::stream_id id) {
    for (const auto& m : outside_[id].heard)
      if (const auto* x = std::get_if<Message>(&m)) return *x;
    return std::nullopt;
  }

 private:
  struct stream {
    std::size_t to = 0;
    engine::stream_id there;
  };
  struct node {
    address at;
    std::string name{};
    std::vector<address> seeds{};
    std::unique_ptr<engine::engine> engine{};
    std::map<engine::stream_id, stream> streams{};
    memory_disk disk{};
    std::vector<log_line> log{};
    std::optional<engine::halted> end{};
    std::deque<engine::event> done{};  // of the disk, while that is held
    bool over = false, cut = false, held = false;
  };

  static address address_of(std::size_t i) { return {"10.0.0." + std::to_string(i + 1), 7400}; }
  void start(std::size_t i, bool rejoin = false) {
    auto& n = list_[i];
    auto mine = common_;
    mine.name = n.name.empty() ? name(i) : n.name;
    mine.advertise = n.at;
    if (!n.seeds.empty()) mine.seeds = n.seeds, mine.bootstrap_single = false;
    ++starts_;
    auto prepared =
        engine::recover(image(i), starts_ > list_.size() ? starts_ : 1, 2 * i + 1, rejoin, common_.data_groups);
    if (!prepared) {
      n.end = engine::halted{false, prepared.error().message};
      return;
    }
    n.disk.write(prepared->first_write, true);
    n.engine = std::make_unique<engine::engine>(mine, std::move(prepared->state), now_, starts_);
    n.over = false;
    n.end.reset();
    n.done.clear();
    tell(i, engine::wake{});
  }

  std::optional<std::size_t> at(const address& a) const {
    for (std::size_t i = 0; i < list_.size(); ++i)
      if (list_[i].at == a && !list_[i].over) return i;
    return std::nullopt;
  }
  static engine::frame_in frame(engine::stream_id there, const wire::envelope& e) {
    const auto whole = wire::encode(e);
    return {there, {whole.begin() + wire::header_size, whole.end()}};
  }
  void turn(std::size_t i, std::span<const engine::event> events) {
    std::vector<engine::action> actions;
    list_[i].engine->step(events, now_, actions);
    for (auto& a : actions) perform(i, a);
  }
  void forward(std::size_t i, const engine::send_frame& x) {
    const byte_view body = byte_view(x.frame).subspan(wire::header_size);
    if (const auto o = outside_.find(x.id); o != outside_.end()) {
      o->second.heard.push_back(wire::decode_peer(body)->body);
      return;
    }
    const auto s = list_[i].streams.find(x.id);
    if (s == list_[i].streams.end()) return;
    if (lose && lose(i, s->second.to, wire::decode_peer(body)->body)) return;
    tell(s->second.to, engine::frame_in{s->second.there, copy(body)});
  }
  void disk_done(std::size_t i, engine::event e) {
    if (list_[i].held)
      list_[i].done.push_back(std::move(e));
    else
      tell(i, std::move(e));
  }
  void perform(std::size_t i, engine::action& action) {
    auto& n = list_[i];
    std::visit(overloaded{
                   [&](engine::send_datagram& x) {
                     const auto to = at(x.to);
                     if (!to || n.cut || list_[*to].cut) return;
                     std::pair event(*to, engine::event(engine::datagram_in{n.at, std::move(x.data)}));
                     if (const auto takes = way ? way(i, *to) : duration{}; takes > duration{})
                       under_way_.emplace(now_.steady + takes, std::move(event));
                     else
                       events_.push_back(std::move(event));
                   },
                   [&](const engine::dial& x) { dial(i, x); },
                   [&](const engine::send_frame& x) { forward(i, x); },
                   [&](const engine::hang_up& x) {
                     if (const auto o = outside_.find(x.id); o != outside_.end()) o->second.closed = true;
                     const auto s = n.streams.extract(x.id);
                     if (s.empty()) return;
                     list_[s.mapped().to].streams.erase(s.mapped().there);
                     tell(s.mapped().to, engine::stream_down{s.mapped().there, false, "closed"});
                   },
                   [&](const engine::write& x) {
                     n.disk.write(x.what, x.sync);
                     disk_done(i, engine::written{x.sequence});
                   },
                   [&](const engine::read& x) {
                     auto page = n.disk.range(x);
                     disk_done(i, engine::read_done{x.id, std::move(page.items), page.more});
                   },
                   [&](const engine::open_view& x) { n.disk.open_view(x.view); },
                   [&](const engine::close_view& x) { n.disk.close_view(x.view); },
                   [&](const engine::install_begin& x) { n.disk.install_begin(x.in); },
                   [&](const engine::install_chunk& x) {
                     n.disk.install_chunk(x.items, x.in);
                     disk_done(i, engine::written{x.sequence});
                   },
                   [&](const engine::install_commit& x) {
                     n.disk.install_commit(x.what, x.in);
                     disk_done(i, engine::written{x.sequence});
                   },
                   [&](engine::answer& x) {
                     answers_[x.id].list.push_back(std::move(x.what));
                     answers_[x.id].over |= x.last;
                   },
                   [&](log_line& x) { n.log.push_back(std::move(x)); },
                   [&](engine::halted& x) {
                     n.over = true;
                     n.end = std::move(x);
                     end_streams(i, true);
                   },
                   [](const engine::lease&) {},
               },
               action);
  }
  void dial(std::size_t i, const engine::dial& d) {
    if (dialled) dialled(i, d.to);
    const auto to = at(d.to);
    if (!to) return tell(i, engine::stream_down{d.id, true, "refused"});
    if (list_[i].cut || list_[*to].cut) return tell(i, engine::stream_down{d.id, false, "no answer"});
    const engine::stream_id there(++last_accepted_);
    list_[i].streams[d.id] = {*to, there};
    list_[*to].streams[there] = {i, d.id};
    tell(*to, engine::stream_up{there, false, list_[i].at});
    tell(i, engine::stream_up{d.id, true, d.to});
  }

  engine::options common_;
  std::deque<node> list_;
  std::deque<std::pair<std::size_t, engine::event>> events_;
  std::multimap<instant, std::pair<std::size_t, engine::event>> under_way_;
  std::map<engine::call_id, answered> answers_;
  std::map<engine::stream_id, outsider> outside_;
  std::uint64_t last_call_ = 0, last_accepted_ = 0, starts_ = 0;
  times now_{instant(1h), boot_instant(1h), wall_time(std::chrono::milliseconds(1'790'000'000'000))};
};

}  // namespace coterie::test
