#include "engine/session.hpp"

#include <algorithm>

namespace coterie::engine {

namespace {
constexpr duration retry = 500ms;
constexpr std::size_t max_unconfirmed = 65'536;
}  // namespace

// ---- the node's side -----------------------------------------------------------------------------------------------

bool session::valid() const { return epoch_ && ctx_.now.steady < until_steady_ && ctx_.now.boot < until_boot_; }

duration session::left() const {
  return valid() ? std::min<duration>(until_steady_ - ctx_.now.steady, until_boot_ - ctx_.now.boot) : duration::zero();
}

void session::lapse(bool close) {
  if (!epoch_) return;
  lapsed_ = true;
  old_ = epoch_;
  if (close) closing_.push_back(epoch_);
  epoch_ = {};
  sent_.clear();
  until_steady_ = instant::min();
  until_boot_ = boot_instant::min();
  ctx_.emit(lease{old_});
  next_open_ = ctx_.now.steady;
}

void session::abandon(bool close) { lapse(close); }

session::wants session::tick(bool member, bool stopping) {
  wants w;
  const auto now = ctx_.now.steady;
  if (epoch_) {
    // Without a first ack there is no validity yet; a session that gets none for a TTL is given up like one that
    // lapsed.
    const bool had = until_steady_ != instant::min();
    if (had ? !valid() : now - opened_at_ > ttl()) {
      ctx_.log(log_level::warn, "the session lapsed: no renewal was confirmed in time; locks held here are lost");
      lapse();
    }
  }
  if (std::exchange(lapsed_, false)) {
    w.lapsed = true;
    w.old = old_;
  }
  if (epoch_ && now >= next_renewal_) {
    next_renewal_ = now + std::min<duration>(ttl() / 3, 2s);
    if (sent_.size() > 64) sent_.erase(sent_.begin());
    sent_[++next_id_] = ctx_.now;
    w.renew = next_id_;
    // Until the first ack, and when one is missing, ask more often than each third.
    if (left() < ttl() / 2) next_renewal_ = now + std::min<duration>(ttl() / 10, retry);
  }
  may_open_ = member && !stopping;
  if (!epoch_ && may_open_ && now >= next_open_) {
    if (!nonce_) nonce_ = ctx_.random.next() | 1;
    next_open_ = now + retry;
    w.open = machine::open_session{ctx_.self, ctx_.boot, nonce_, ctx_.opt->session_ttl, true};
  }
  if (!closing_.empty() && now >= next_close_) {
    next_close_ = now + retry;
    for (const auto e : closing_) w.close.push_back({e});
  }
  return w;
}

instant session::next_wake() const {
  auto t = never;
  if (lapsed_) return ctx_.now.steady;
  if (epoch_) {
    t = std::min(t, next_renewal_);
    t = std::min(t, until_steady_ != instant::min() ? until_steady_ : opened_at_ + ttl());
    if (until_steady_ != instant::min()) t = std::min(t, ctx_.now.steady + (until_boot_ - ctx_.now.boot));
  } else if (may_open_) {
    t = std::min(t, next_open_);
  }
  if (!closing_.empty()) t = std::min(t, next_close_);
  return t;
}

void session::on_opened(const machine::session_record& s) {
  if (s.node != ctx_.self || epoch_ == s.epoch) return;
  if (s.boot != ctx_.boot || s.nonce != nonce_ || !nonce_) {
    // An Open that was given up: nobody ever used that epoch. A session of an earlier life is left to expire, because
    // clients that outlived that life may still keep the deadline they were told (docs/consensus.md 1.9: opening a new
    // epoch never ends an older one).
    if (s.boot == ctx_.boot && std::find(closing_.begin(), closing_.end(), s.epoch) == closing_.end())
      closing_.push_back(s.epoch);
    return;
  }
  epoch_ = s.epoch;
  nonce_ = 0;  // a repeated Open that is executed when this epoch has expired opens another one, which is not ours
  opened_at_ = ctx_.now.steady;
  next_renewal_ = ctx_.now.steady;
  sent_.clear();
}

void session::on_ended(session_epoch e) {
  std::erase(closing_, e);
  if (e != epoch_) return;
  lapse();
  std::erase(closing_, e);
}

void session::on_installed(const std::map<session_epoch, machine::session_record>& open) {
  std::erase_if(closing_, [&](session_epoch e) { return !open.contains(e); });
  if (epoch_ && !open.contains(epoch_)) on_ended(epoch_);
  for (const auto& [epoch, s] : open) on_opened(s);
}

std::optional<times> session::sent_at(session_epoch e, std::uint64_t id) const {
  const auto it = sent_.find(id);
  return e != epoch_ || it == sent_.end() ? std::nullopt : std::optional(it->second);
}

bool session::on_ack(session_epoch e, std::uint64_t id, bool ended) {
  if (e != epoch_ || !epoch_) return false;
  if (ended) {
    lapse();
    return false;
  }
  // An ack that waited with a stopped process is no news of what ended meanwhile.
  if (until_steady_ != instant::min() && !valid()) {
    lapse();
    return false;
  }
  const auto it = sent_.find(id);
  if (it == sent_.end()) return false;
  const auto sent = ctx_.opt->bug == planted_bug::stale_lease ? ctx_.now : it->second;
  sent_.erase(sent_.begin(), std::next(it));
  const auto span = scaled(ttl(), 1.0 - ctx_.opt->clock_rate_error) - ctx_.opt->lease_margin;
  if (sent.steady + span <= until_steady_) return false;
  until_steady_ = sent.steady + span;
  until_boot_ = sent.boot + span;
  // An ack that comes when its validity is over already revives nothing.
  if (!valid()) {
    lapse();
    return false;
  }
  next_renewal_ = std::max(ctx_.now.steady, sent.steady + ttl() / 3);
  ctx_.emit(validity());
  return true;
}

// ---- the leader's side ---------------------------------------------------------------------------------------------

void session_keeper::on_lead() {
  leading_ = true;
  since_ = ctx_.now;
  last_.clear();
  expiring_.clear();
  unconfirmed_.clear();
  next_ = ctx_.now.steady;
}

void session_keeper::on_follow() {
  leading_ = false;
  last_.clear();
  expiring_.clear();
  unconfirmed_.clear();
  next_ = never;
}

void session_keeper::on_keepalive(const waiting& w) {
  if (!leading_) return ctx_.stats.add("keepalive.not_leader");
  if (unconfirmed_.size() >= max_unconfirmed) return ctx_.stats.add("keepalive.dropped");
  last_[w.epoch] = ctx_.now;
  unconfirmed_.push_back(w);
}

std::vector<session_epoch> session_keeper::due(const std::map<session_epoch, machine::session_record>& open) {
  std::vector<session_epoch> r;
  next_ = never;
  if (!leading_) return r;
  std::erase_if(last_, [&](const auto& x) { return !open.contains(x.first); });
  for (const auto& [epoch, s] : open) {
    // A leader that never heard of it counts from when it saw the session applied, and never from before it led.
    const auto from = last_.try_emplace(epoch, ctx_.now).first->second;
    const auto patience = scaled(s.ttl, 1.0 + ctx_.opt->clock_rate_error);
    const auto gone = std::min(elapsed_for_granter(from, ctx_.now), elapsed_for_granter(since_, ctx_.now));
    if (expiring_.contains(epoch)) continue;
    if (gone >= patience)
      r.push_back(epoch);
    else
      next_ = std::min(next_, ctx_.now.steady + (patience - gone));
  }
  return r;
}

void session_keeper::on_ended(session_epoch e) {
  last_.erase(e);
  expiring_.erase(e);
}

}  // namespace coterie::engine
