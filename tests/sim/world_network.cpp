// The simulated network: datagrams that are lost, doubled and overtaken; streams that keep their order, stall while
// their path is cut, break with what is on its way, and outlive a machine that died without a word.
#include "base/assert.hpp"
#include "sim/world.hpp"
#include "wire/codec.hpp"

namespace coterie::sim {

namespace {
constexpr duration dial_timeout = 2s;
}

virtual_time world::arrival(std::size_t a, std::size_t b, rng& r, int trips) const {
  const auto& l = links_[a][b];
  return std::max(l.clogged, now_) + trips * (r.between(delay_min_, delay_max_) + l.more);
}

void world::send_datagram(std::size_t from, const engine::send_datagram& d) {
  const auto to = node_of(d.to);
  if (to >= nodes_.size()) return;
  auto r = draw(lane::datagram, from, to);
  if (blocked(from, to) || r.chance(loss_)) return;
  if (!nodes_[to]->engine) {
    // ICMP port unreachable, when the machine is there.
    if (!blocked(to, from))
      at(arrival(from, to, r, 2), [this, from, life = nodes_[from]->life, a = d.to] {
        if (nodes_[from]->life == life) deliver(from, engine::unreachable_in{a});
      });
    return;
  }
  const int copies = r.chance(duplicate_) ? 2 : 1;
  for (int c = 0; c < copies; ++c)
    at(arrival(from, to, r), [this, from, to, life = nodes_[to]->life, data = d.data] {
      if (nodes_[to]->life == life) deliver(to, engine::datagram_in{nodes_[from]->at, data});
    });
}

void world::dial(std::size_t from, const engine::dial& d) {
  const auto to = node_of(d.to);
  const auto life = nodes_[from]->life;
  const auto fail = [&](virtual_time when, bool refused) {
    at(when, [this, from, life, id = d.id, refused] {
      if (nodes_[from]->life == life)
        deliver(from, engine::stream_down{id, refused, refused ? "refused" : "timed out"});
    });
  };
  if (to >= nodes_.size() || blocked(from, to) || blocked(to, from)) return fail(now_ + dial_timeout, false);
  auto r = draw(lane::dial, from, to);
  const auto when = arrival(from, to, r, 2);
  if (!nodes_[to]->engine) return fail(when, true);
  at(when, [this, from, to, life, to_life = nodes_[to]->life, id = d.id, s = ++next_stream_] {
    if (nodes_[from]->life != life) return;
    if (nodes_[to]->life != to_life) return deliver(from, engine::stream_down{id, true, "refused"});
    auto& x = streams_[s];
    x.a = {from, id};
    x.b = {to, engine::stream_id(++next_accept_)};
    x.to_a = x.to_b = now_;
    ends_[{from, id}] = s;
    ends_[{to, x.b.id}] = s;
    deliver(to, engine::stream_up{x.b.id, false, nodes_[from]->at});
    if (nodes_[from]->life == life && streams_.contains(s)) deliver(from, engine::stream_up{id, true, nodes_[to]->at});
  });
}

void world::send_frame(std::size_t from, const engine::send_frame& f) {
  const auto it = ends_.find({from, f.id});
  if (it == ends_.end()) return;
  const auto id = it->second;
  auto& s = streams_.at(id);
  const bool to_b = s.a.node == from && s.a.id == f.id;
  const auto& other = to_b ? s.b : s.a;
  if (watch.sent) watch.sent(from, other.node, f.frame);
  if (other.gone) {
    // The machine that is there now knows nothing of this connection and resets it; one that is down says nothing.
    if (up(other.node) && !blocked(from, other.node) && !blocked(other.node, from)) break_stream(id, to_b, !to_b, true);
    return;
  }
  constexpr std::size_t socket_buffer = 10'000;
  if (blocked(from, other.node) || !s.stalled.empty()) {
    if (s.stalled.size() < socket_buffer) s.stalled.emplace_back(to_b, f.frame);
    return;
  }
  deliver_frame(id, to_b, f.frame);
}

void world::deliver_frame(std::uint64_t id, bool to_b, bytes frame) {
  auto& s = streams_.at(id);
  const auto& [from, to] = to_b ? std::tie(s.a, s.b) : std::tie(s.b, s.a);
  auto r = draw(lane::frame, from.node, to.node);
  auto& last = to_b ? s.to_b : s.to_a;
  last = std::max(last + 1us, arrival(from.node, to.node, r));
  at(last, [this, id, to_b, f = std::move(frame)] {
    const auto it = streams_.find(id);
    if (it == streams_.end()) return;
    const auto e = to_b ? it->second.b : it->second.a;
    if (!e.gone) deliver(e.node, engine::frame_in{e.id, bytes(f.begin() + wire::header_size, f.end())});
  });
}

void world::hang_up(std::size_t from, engine::stream_id id) {
  const auto it = ends_.find({from, id});
  if (it == ends_.end()) return;
  const auto s = it->second;
  const bool by_a = streams_.at(s).a.node == from && streams_.at(s).a.id == id;
  break_stream(s, !by_a, by_a, false);
}

void world::break_stream(std::uint64_t id, bool tell_a, bool tell_b, bool refused) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  const auto s = it->second;
  // The next life of a dead machine may use the number again.
  if (!s.a.gone) ends_.erase({s.a.node, s.a.id});
  if (!s.b.gone) ends_.erase({s.b.node, s.b.id});
  streams_.erase(it);
  const auto tell = [&](const stream_end& e, const stream_end& other) {
    if (e.gone) return;
    auto r = draw(lane::frame, other.node, e.node);
    at(arrival(other.node, e.node, r), [this, e, life = nodes_[e.node]->life, refused] {
      if (nodes_[e.node]->life == life) deliver(e.node, engine::stream_down{e.id, refused, "closed"});
    });
  };
  if (tell_a) tell(s.a, s.b);
  if (tell_b) tell(s.b, s.a);
}

void world::break_streams_of_dead(std::size_t i, bool silent) {
  std::vector<std::uint64_t> mine;
  for (const auto& [id, s] : streams_)
    if (s.a.node == i || s.b.node == i) mine.push_back(id);
  for (const auto id : mine) {
    auto& s = streams_.at(id);
    auto& dead = s.a.node == i ? s.a : s.b;
    const auto& other = s.a.node == i ? s.b : s.a;
    if (silent && !other.gone) {
      dead.gone = true;
      ends_.erase({dead.node, dead.id});
      s.stalled.clear();
    } else {
      break_stream(id, s.a.node != i, s.b.node != i, false);
    }
  }
}

void world::drop_streams(std::size_t a, std::size_t b) {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, s] : streams_)
    if ((s.a.node == a && s.b.node == b) || (s.a.node == b && s.b.node == a)) ids.push_back(id);
  for (const auto id : ids) break_stream(id, true, true, false);
}

void world::cut(std::size_t a, std::size_t b) { ++links_[a][b].cuts; }

void world::mend(std::size_t a, std::size_t b) {
  links_[a][b].cuts = std::max(0, links_[a][b].cuts - 1);
  flush_stalled();
}

void world::flush_stalled() {
  for (auto& [id, s] : streams_) {
    if (blocked(s.a.node, s.b.node) || blocked(s.b.node, s.a.node)) continue;
    auto stalled = std::exchange(s.stalled, {});
    for (auto& [to_b, frame] : stalled) deliver_frame(id, to_b, std::move(frame));
  }
}

void world::clog(std::size_t a, std::size_t b, virtual_time until) {
  links_[a][b].clogged = std::max(links_[a][b].clogged, until);
}

void world::add_delay(std::size_t a, std::size_t b, duration d) {
  links_[a][b].more = std::max<duration>(0ns, links_[a][b].more + d);
}

void world::add_weather(double loss, double duplicate, duration delay) {
  loss_ = std::max(0.0, loss_ + loss);
  duplicate_ = std::max(0.0, duplicate_ + duplicate);
  delay_max_ = std::max(delay_min_, delay_max_ + delay);
}

void world::calm() {
  links_ = {};
  loss_ = duplicate_ = 0;
  delay_max_ = std::max<duration>(delay_min_, 1ms);
  flush_stalled();
}

}  // namespace coterie::sim
