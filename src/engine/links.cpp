#include "engine/links.hpp"

#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr std::size_t max_dial_states = 8'192;
constexpr std::size_t max_starts = 65'536;
constexpr duration hello_timeout = 5s;
constexpr duration max_backoff = 1s;
// Streams dialled by the engine and accepted by the driver never share a number.
constexpr std::uint64_t dialled_bit = 1ull << 63;
}  // namespace

void links::dial(const address& to, duration again) {
  if (!to) return;
  for (const auto& [id, s] : streams_)
    if (s.dialled && s.to == to) return;
  auto& state = dials_[to];
  if (state.last != instant::min() && ctx_.now.steady - state.last < again) return;
  state.last = ctx_.now.steady;
  if (dials_.size() > max_dial_states) dials_.erase(dials_.begin());
  const stream_id id(dialled_bit | ++next_);
  streams_[id] = {
      .dialled = true, .open = false, .muted = false, .to = to, .who = {}, .boot = {}, .since = ctx_.now.steady};
  ctx_.emit(coterie::engine::dial{id, to});
}

void links::learn(node_id id, const address& at) {
  if (at) book_[id] = at;
}

void links::forget(node_id id) { book_.erase(id); }

bool links::send(node_id to, wire::peer_message what, group_id group) {
  const auto it = by_node_.find(to);
  if (it == by_node_.end() || it->second.empty()) {
    ctx_.stats.add("link.no_stream");
    if (const auto at = book_.find(to); at != book_.end()) dial(at->second, 100ms);
    return false;
  }
  // Dialled streams have the high bit: the last of the set is one of them when there is any.
  send_on(*it->second.rbegin(), std::move(what), group);
  return true;
}

void links::send_raft(raft::message m, group_id group) {
  const auto to = m.to;
  const auto* append = std::get_if<raft::append_request>(&m.body);
  const bool small = (append && append->entries.empty()) || std::holds_alternative<raft::append_response>(m.body);
  if (small && ctx_.opt->data_groups > 0) return held_[to].list.push_back({group, std::move(m)});
  if (auto before = held_.extract(to)) release(std::move(before.mapped()), to);
  send(to, std::move(m), group);
}

void links::flush() {
  for (auto& [to, all] : std::exchange(held_, {})) release(std::move(all), to);
}

void links::release(wire::raft_messages all, node_id to) {
  if (all.list.size() > 1) return void(send(to, std::move(all)));
  send(to, std::move(all.list.front().what), all.list.front().group);
}

void links::send_on(stream_id id, wire::peer_message what, group_id group) {
  ctx_.emit(send_frame{id, wire::encode(wire::envelope{ctx_.cluster, group, std::move(what)})});
}

void links::hang_up(stream_id id) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  if (it->second.who) {
    auto& set = by_node_[*it->second.who];
    set.erase(id);
    if (set.empty()) by_node_.erase(*it->second.who);
  }
  streams_.erase(it);
  ctx_.emit(coterie::engine::hang_up{id});
}

void links::keep(const std::vector<node_id>& wanted) {
  for (const auto id : wanted) {
    if (id == ctx_.self || up(id)) continue;
    const auto at = book_.find(id);
    if (at == book_.end()) continue;
    auto& state = dials_[at->second];
    const auto before = state.last;
    dial(at->second, state.backoff);
    if (state.last != before) state.backoff = std::min(state.backoff * 2, max_backoff);
  }
}

void links::on_up(const stream_up& e) {
  auto& s = streams_[e.id];
  s.dialled = e.dialled;
  s.open = true;
  if (!e.dialled) s.to = e.remote;
  s.since = ctx_.now.steady;
}

links::ended links::on_down(const stream_down& e) {
  ended r;
  r.refused = e.refused;
  const auto it = streams_.find(e.id);
  if (it == streams_.end()) return r;
  if (it->second.who) {
    r.who = *it->second.who;
    auto& set = by_node_[r.who];
    set.erase(e.id);
    r.last = set.empty();
    if (r.last) by_node_.erase(r.who);
  } else if (it->second.dialled) {
    // Nobody said hello: whose address it is tells whose process refused.
    for (const auto& [id, at] : book_)
      if (at == it->second.to) r.who = id, r.last = !up(id);
  }
  streams_.erase(it);
  return r;
}

void links::bind(stream_id id, node_id who, boot_epoch boot) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  it->second.who = who;
  it->second.boot = boot;
  by_node_[who].insert(id);
  if (it->second.dialled) dials_[it->second.to].backoff = 100ms;
  // Streams of an earlier life of that process are dead even if nobody told us yet.
  std::vector<stream_id> stale;
  for (const auto other : by_node_[who])
    if (other != id && streams_[other].boot < boot) stale.push_back(other);
  for (const auto s : stale) hang_up(s);
}

links::judgement links::judge(node_id who, boot_epoch boot, std::uint64_t number) {
  const auto it = starts_.find(who);
  if (it == starts_.end()) {
    if (starts_.size() >= max_starts) starts_.erase(starts_.begin());
    starts_[who] = {boot, number};
    return {false, true};
  }
  auto& known = it->second;
  if (boot < known.boot || (boot == known.boot && number != known.number)) return {true, false};
  const bool first = boot > known.boot;
  known = {boot, number};
  return {false, first};
}

void links::mute(stream_id id) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  it->second.muted = true;
  it->second.since = ctx_.now.steady - hello_timeout + 500ms;
}

bool links::heard(stream_id id) const {
  const auto it = streams_.find(id);
  return it != streams_.end() && !it->second.muted;
}

std::optional<node_id> links::owner(stream_id id) const {
  const auto it = streams_.find(id);
  return it == streams_.end() ? std::nullopt : it->second.who;
}

std::optional<address> links::dialled(stream_id id) const {
  const auto it = streams_.find(id);
  if (it == streams_.end() || !it->second.dialled) return std::nullopt;
  return it->second.to;
}

bool links::up(node_id id) const { return by_node_.contains(id); }

bool links::up(const address& to) const {
  for (const auto& [id, s] : streams_)
    if (s.dialled && s.who && s.to == to) return true;
  return false;
}

std::optional<address> links::where(node_id id) const {
  const auto it = book_.find(id);
  return it == book_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<node_id> links::connected() const {
  std::vector<node_id> r;
  for (const auto& [id, set] : by_node_) r.push_back(id);
  return r;
}

std::vector<stream_id> links::silent() const {
  std::vector<stream_id> r;
  for (const auto& [id, s] : streams_)
    if (s.open && !s.who) r.push_back(id);
  return r;
}

void links::close_silent() {
  for (const auto id : silent()) {
    if (ctx_.now.steady - streams_[id].since <= hello_timeout) continue;
    ctx_.stats.add("link.no_hello");
    hang_up(id);
  }
}

void links::close_to(node_id who) {
  const auto it = by_node_.find(who);
  if (it == by_node_.end()) return;
  const auto ids = it->second;
  for (const auto id : ids) hang_up(id);
}

}  // namespace coterie::engine
