#include "engine/bus.hpp"

#include <fmt/format.h>

#include "base/big_endian.hpp"
#include "machine/check.hpp"

namespace coterie::engine {

namespace {

constexpr duration patience = 5s;          // behind for longer: what is missing is not to be had
constexpr duration gossip_period = 1s;     // behind for longer: pull
constexpr std::size_t max_caches = 1'024;  // with a digest each in gossip
constexpr std::size_t max_progress = 65'536;
constexpr std::size_t max_channels = 65'536;
constexpr std::string_view digest_prefix = "cache/";

}  // namespace

std::vector<node_id> bus::live() const {
  std::vector<node_id> r;
  for (const auto& m : members_.members())
    if (m.info.id != ctx_.self && is_living(m.state)) r.push_back(m.info.id);
  return r;
}

// ---- caches --------------------------------------------------------------------------------------------------------

void bus::register_cache(call_id id, const wire::register_cache& r) {
  if (auto ok = machine::check_name("cache", r.cache); !ok) return ctx_.reply(id, ok.error());
  if (!caches_.contains(r.cache) && caches_.size() >= max_caches)
    return ctx_.refuse(id, errc::limit, fmt::format("{} caches are registered on this node", max_caches));
  caches_[r.cache].streams.insert(id);
  ctx_.reply(id, wire::done{}, false);
}

void bus::deliver(const std::string& cache, const std::optional<std::string>& key, node_id origin,
                  std::uint64_t except) {
  if (seen_.size() < 10'000) seen_.push_back({cache, key, origin});
  const auto it = caches_.find(cache);
  if (it == caches_.end()) return;
  const auto* m = members_.find(origin);
  for (const auto id : it->second.streams)
    if (id.value != except)
      ctx_.reply(id,
                 wire::invalidation_out{cache, key,
                                        origin == ctx_.self ? members_.self().name
                                        : m                 ? m->info.name
                                                            : origin.str(),
                                        origin != ctx_.self},
                 false);
}

void bus::invalidate(call_id id, const wire::invalidate_cache& i, instant deadline) {
  if (auto ok = machine::check_name("cache", i.cache); !ok) return ctx_.reply(id, ok.error());
  if (i.key && i.key->size() > ctx_.opt->max_body)
    return ctx_.refuse(id, errc::limit,
                       fmt::format("the key has {} bytes, the limit is {}", i.key->size(), ctx_.opt->max_body));
  if (!own_.contains(i.cache) && own_.size() >= max_caches)
    return ctx_.refuse(id, errc::limit, fmt::format("{} caches are in use on this node", max_caches));
  auto& mine = own_[i.cache];
  const wire::invalidation v{i.cache, ++mine.last, i.key, i.wait};
  mine.ring.push_back(v);
  if (mine.ring.size() > ctx_.opt->invalidation_ring) mine.ring.pop_front();
  if (const auto c = caches_.find(i.cache); c != caches_.end()) ++c->second.out;
  // The digest makes a lost one visible; too large a name only costs that safety net, so it is refused above by
  // check_name's limit.
  if (!members_.set_user(std::string(digest_prefix) + i.cache, big_endian(mine.last), ctx_.now))
    ctx_.stats.add("cache.digest_refused");
  const auto others = live();
  for (const auto n : others) links_.send(n, wire::invalidations{ctx_.boot, {v}});
  deliver(i.cache, i.key, ctx_.self, i.except);
  if (!i.wait || others.empty()) return ctx_.reply(id, wire::done{});
  waits_[++next_wait_] = {id, i.cache, v.seq, {others.begin(), others.end()}, deadline};
  wake_ = std::min(wake_, deadline);
}

bus::progress& bus::of(node_id origin, boot_epoch boot, const std::string& cache, std::uint64_t first_seen) {
  const auto key = std::pair(origin, cache);
  auto it = progress_.find(key);
  if (it == progress_.end()) {
    if (progress_.size() >= max_progress)
      progress_.erase(progress_.begin());  // meets it again as a stranger: clears once
    it = progress_.emplace(key, progress{boot, first_seen, first_seen}).first;
    // What that origin invalidated before we first heard of it is unknown here.
    if (first_seen > 0) deliver(cache, std::nullopt, origin, 0);
  } else if (it->second.boot < boot) {
    it->second = progress{boot, 0, 0};
    forget(origin, cache);
  }
  return it->second;
}

void bus::apply(node_id from, boot_epoch boot, const wire::invalidation& v) {
  const auto c = caches_.find(v.cache);
  if (c == caches_.end()) {
    if (seen_.size() < 10'000) seen_.push_back({v.cache, v.key, from});
    if (v.want_ack) links_.send(from, wire::invalidation_ack{boot, v.cache, v.seq});
    progress_.erase({from, v.cache});
    return;
  }
  auto& p = of(from, boot, v.cache, v.seq - 1);
  if (p.boot != boot) return ctx_.stats.add("cache.stale_boot");
  p.known = std::max(p.known, v.seq);
  if (v.seq > p.applied) {
    ++c->second.in;
    deliver(v.cache, v.key, from, 0);  // removing once more than needed does no harm
    if (v.seq == p.applied + 1) p.applied = v.seq;
  }
  if (p.applied >= p.known)
    p.behind_since = never;
  else if (p.behind_since == never)
    p.behind_since = ctx_.now.steady, wake_ = std::min(wake_, ctx_.now.steady + gossip_period);
  if (v.want_ack) links_.send(from, wire::invalidation_ack{boot, v.cache, v.seq});
}

void bus::on_invalidations(node_id from, const wire::invalidations& list) {
  for (const auto& v : list.list)
    if (v.seq > 0) apply(from, list.boot, v);
}

void bus::on_digest(const swim::user_datum& d) {
  if (!d.key.starts_with(digest_prefix) || d.origin == ctx_.self) return;
  const auto cache = d.key.substr(digest_prefix.size());
  if (!caches_.contains(cache)) return;
  const auto seq = from_big_endian(d.value.view());
  if (!seq) return ctx_.stats.add("cache.bad_digest");
  auto& p = of(d.origin, d.epoch, cache, *seq);
  if (p.boot != d.epoch) return;
  p.known = std::max(p.known, *seq);
  if (p.applied < p.known && p.behind_since == never) {
    p.behind_since = ctx_.now.steady;
    wake_ = std::min(wake_, ctx_.now.steady + gossip_period);
  }
}

void bus::pull(node_id from, const std::string& cache, progress& p) {
  p.pulled = ctx_.now.steady;
  links_.send(from, wire::invalidation_pull{cache, p.boot, p.applied});
}

void bus::on_pull(node_id from, const wire::invalidation_pull& p) {
  const auto it = own_.find(p.cache);
  const std::uint64_t last = it == own_.end() ? 0 : it->second.last;
  if (p.boot != ctx_.boot || it == own_.end() || p.after + it->second.ring.size() < last) {
    links_.send(from, wire::invalidation_gone{p.cache, ctx_.boot, last});
    return;
  }
  wire::invalidations out{ctx_.boot, {}};
  for (const auto& v : it->second.ring)
    if (v.seq > p.after) out.list.push_back({v.cache, v.seq, v.key, false});
  if (!out.list.empty()) links_.send(from, std::move(out));
}

void bus::on_gone(node_id from, const wire::invalidation_gone& g) {
  const auto c = caches_.find(g.cache);
  if (c == caches_.end()) return;
  auto& p = of(from, g.boot, g.cache, g.last);
  if (p.boot != g.boot || p.applied >= g.last) return;
  p.known = std::max(p.known, g.last);
  give_up(from, g.cache, p);
}

void bus::on_ack(node_id from, const wire::invalidation_ack& a) {
  if (a.boot != ctx_.boot) return;
  for (auto it = waits_.begin(); it != waits_.end();) {
    if (it->second.cache == a.cache && it->second.seq <= a.seq) it->second.missing.erase(from);
    check_wait(it);
  }
}

void bus::on_member(const swim::event& e) {
  const auto who = e.who.info.id;
  if (who == ctx_.self) return;
  const auto boot = e.who.inc.epoch;
  const auto [it, first] = lives_.try_emplace(who, life{boot});
  auto& known = it->second;
  // One that had lives before we met it, or is gone already, may have invalidated what was loaded here meanwhile.
  if (first && (boot.value > 1 || is_gone(e.who.state))) forget_all(who, boot);
  if (known.boot < boot) {
    if (!known.stopped) forget_all(who, boot);
    known = {boot};
  }
  if (e.kind == swim::event_kind::stopping || e.kind == swim::event_kind::left) known.stopped = true;
  if (e.kind != swim::event_kind::unreachable && e.kind != swim::event_kind::left) return;
  // Its last words may have been said while there was no way here, and nobody keeps them.
  if (e.kind == swim::event_kind::left && !links_.up(who)) forget_all(who, boot);
  for (auto& [key, p] : progress_)
    if (key.first == who && p.behind_since != never) give_up(who, key.second, p);
  for (auto w = waits_.begin(); w != waits_.end();) {
    w->second.missing.erase(who);
    check_wait(w);
  }
  if (e.kind == swim::event_kind::left) lives_.erase(who);
}

void bus::on_forgotten(node_id who) {
  if (lives_.erase(who) == 0) return;
  std::erase_if(progress_, [&](const auto& p) { return p.first.first == who; });
  for (const auto& [name, c] : caches_) forget(who, name);
}

void bus::forget_all(node_id who, boot_epoch boot) {
  for (const auto& [name, c] : caches_) {
    progress_.insert_or_assign({who, name}, progress{boot, 0, 0});
    forget(who, name);
  }
}

// What that origin said is not to be had any more.
void bus::give_up(node_id origin, const std::string& cache, progress& p) {
  p.applied = p.known;
  p.behind_since = never;
  forget(origin, cache);
}

void bus::forget(node_id origin, const std::string& cache) {
  if (const auto c = caches_.find(cache); c != caches_.end()) ++c->second.repaired;
  deliver(cache, std::nullopt, origin, 0);
}

void bus::check_wait(std::map<std::uint64_t, waiting>::iterator& it) {
  if (it->second.missing.empty()) {
    ctx_.reply(it->second.call, wire::done{});
    it = waits_.erase(it);
  } else if (ctx_.now.steady >= it->second.deadline) {
    const auto* m = members_.find(*it->second.missing.begin());
    ctx_.refuse(it->second.call, errc::timeout,
                fmt::format("{} live nodes have not confirmed the invalidation yet, among them {}",
                            it->second.missing.size(), m ? m->info.name : "?"));
    it = waits_.erase(it);
  } else {
    ++it;
  }
}

void bus::list(call_id id) const {
  wire::cache_list l;
  for (const auto& [name, c] : caches_) {
    bool behind = false;
    for (const auto& [key, p] : progress_) behind |= key.second == name && p.behind_since != never;
    l.caches.push_back({name, c.in, c.out, c.repaired, behind});
  }
  ctx_.reply(id, std::move(l));
}

void bus::tick() {
  const auto now = ctx_.now.steady;
  if (now < wake_) return;
  wake_ = never;
  for (auto& [key, p] : progress_) {
    if (p.behind_since == never) continue;
    if (now - p.behind_since >= patience) {
      give_up(key.first, key.second, p);
      continue;
    }
    if (now - p.behind_since >= gossip_period && (p.pulled == instant::min() || now - p.pulled >= gossip_period))
      pull(key.first, key.second, p);
    wake_ = std::min(wake_, std::max(p.behind_since, p.pulled) + gossip_period);
  }
  for (auto it = waits_.begin(); it != waits_.end();) {
    auto deadline = it->second.deadline;
    const auto id = it->first;
    check_wait(it);
    if (waits_.contains(id)) wake_ = std::min(wake_, deadline);
  }
}

// ---- messages ------------------------------------------------------------------------------------------------------

void bus::publish(call_id id, const wire::publish& p) {
  const auto& o = *ctx_.opt;
  if (p.channel.empty() || p.channel.size() > o.max_channel)
    return ctx_.refuse(id, errc::limit,
                       fmt::format("a channel has 1 to {} bytes, not {}", o.max_channel, p.channel.size()));
  if (p.body.size() > o.max_body)
    return ctx_.refuse(id, errc::limit,
                       fmt::format("a message has at most {} bytes, not {}", o.max_body, p.body.size()));
  if (!sent_.contains(p.channel) && sent_.size() >= max_channels)
    return ctx_.refuse(id, errc::limit, fmt::format("this node has used {} channels", max_channels));
  const auto seq = ++sent_[p.channel];
  for (const auto n : live()) links_.send(n, wire::user_message{p.channel, p.body, ctx_.boot, seq});
  ctx_.reply(id, wire::done{});
}

void bus::listen(call_id id, const wire::listen& l) {
  if (l.channel.empty() || l.channel.size() > ctx_.opt->max_channel)
    return ctx_.refuse(id, errc::limit, fmt::format("a channel has 1 to {} bytes", ctx_.opt->max_channel));
  listeners_[l.channel].insert(id);
  ctx_.reply(id, wire::done{}, false);
}

void bus::on_message(node_id from, const wire::user_message& m) {
  if (from == ctx_.self) return;
  const auto it = listeners_.find(m.channel);
  if (it == listeners_.end()) return ctx_.stats.add("message.no_listener");
  if (heard_.size() >= max_channels) heard_.erase(heard_.begin());
  auto& h = heard_[{from, m.channel}];
  if (std::pair(m.boot, m.seq) <= h) return ctx_.stats.add("message.duplicate");
  h = {m.boot, m.seq};
  const auto* who = members_.find(from);
  for (const auto id : it->second)
    ctx_.reply(id, wire::message_out{m.channel, m.body, who ? who->info.name : from.str(), m.boot.value, m.seq}, false);
}

void bus::cancel(call_id id) {
  for (auto it = caches_.begin(); it != caches_.end();) {
    it->second.streams.erase(id);
    it = it->second.streams.empty() ? caches_.erase(it) : std::next(it);
  }
  for (auto it = listeners_.begin(); it != listeners_.end();) {
    it->second.erase(id);
    it = it->second.empty() ? listeners_.erase(it) : std::next(it);
  }
  std::erase_if(waits_, [&](const auto& w) { return w.second.call == id; });
}

}  // namespace coterie::engine
