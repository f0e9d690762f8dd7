#include "engine/outbox.hpp"

#include <algorithm>

#include "base/assert.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {
constexpr duration resend_after = 1s, leader_patience = 200ms;
}  // namespace

result<ticket> outbox::submit(machine::command_body body, instant deadline) {
  if (auto ok = may_submit(); !ok) return tl::unexpected(ok.error());
  const ticket id(++ctx_.last_ticket);
  queue_[id] = {.body = std::move(body), .deadline = deadline};
  return id;
}

result<void> outbox::may_submit() const {
  if (queue_.size() < ctx_.opt->max_calls) return {};
  return fail(errc::limit, fmt::format("{} requests are waiting on this node: try again later", queue_.size()));
}

void outbox::submit_quietly(machine::command_body body) {
  queue_[ticket(++ctx_.last_ticket)] = {.body = std::move(body), .deadline = never, .wanted = false};
}

void outbox::abandon(ticket id) {
  const auto it = queue_.find(id);
  if (it == queue_.end()) return;
  if (!it->second.seq) {
    queue_.erase(it);
  } else {
    it->second.wanted = false;
    it->second.deadline = never;
  }
}

bool outbox::quorum_contact(const replica* r, instant now) {
  return r && r->leader() && r->core().has_quorum_contact(now);
}

machine::command outbox::wrap(const item& i, session_epoch s) const { return {s, i.seq, acked_, {}, i.body}; }

void outbox::pump(session_epoch session, replica* r, relay_up& up, node_id parent) {
  // A data group takes nothing before it has admitted the session: then nothing may be sent, and nothing is unsure.
  if (!session || !r || !r->machine().admitted(session)) return;
  if (session != session_) {
    COTERIE_ASSERT(by_seq_.empty());
    session_ = session;
    last_seq_ = acked_ = {};
    sent_to_ = {};
  }
  const auto now = ctx_.now.steady;
  if (!quorum_contact(r, now)) return;
  const auto leader = r->leader();
  const bool here = leader == ctx_.self;
  const bool passed = !here && parent && links_.up(parent);
  if (std::exchange(known_leader_, leader) != leader) leader_since_ = now;
  // A leader refuses what comes too early, and this node would have to ask again. It hears of the first commit in time,
  // unless it is behind.
  const bool takes = r->core().leader_commits() || now - leader_since_ >= leader_patience;
  if (here ? !r->leading() : !takes) return;
  if (!here && !passed && !links_.up(leader)) return links_.keep({leader});
  const auto through = passed ? parent : node_id{};
  const bool moved = leader != sent_to_ || r->core().current_term() != sent_term_ || (through_ && through != through_);
  through_ = through;
  sent_to_ = leader;
  sent_term_ = r->core().current_term();
  std::vector<item*> batch;
  // What was sent before: again to a new leader, or when it stays without an answer.
  for (auto& [seq, id] : by_seq_) {
    auto& i = queue_.at(id);
    if (i.last_sent == instant::min() || moved || now - i.last_sent >= resend_after) batch.push_back(&i);
  }
  // Number new ones within the window that the machine's table of used numbers allows.
  const auto window = std::min<std::uint64_t>(ctx_.opt->max_inflight_requests, ctx_.opt->limits.used_per_session / 2);
  for (auto it = queue_.begin(); it != queue_.end(); ++it) {
    if (last_seq_.value - acked_.value >= window) break;
    if (it->second.seq) continue;
    it->second.seq = ++last_seq_;
    by_seq_[last_seq_] = it->first;
    batch.push_back(&it->second);
  }
  if (batch.empty()) return;
  if (here) {
    std::vector<machine::command> commands;
    for (auto* i : batch) commands.push_back(wrap(*i, session_));
    const bool ok = r->propose(std::move(commands)).has_value();
    for (auto* i : batch) {
      i->last_sent = now;
      if (ok) ++i->unanswered_sends;
    }
    return;
  }
  std::vector<shared_bytes> to_parent, to_leader;
  for (auto* i : batch) {
    const bool first = passed && i->unanswered_sends == 0;
    if (!first && !links_.up(leader)) {
      links_.keep({leader});
      continue;
    }
    (first ? to_parent : to_leader).push_back(wire::encode(wrap(*i, session_)));
    i->last_sent = now;
    ++i->unanswered_sends;
  }
  up.pass(std::move(to_parent));
  send_commands(links_, group_, leader, std::move(to_leader));
}

void outbox::on_refused(const wire::forward_refused& r) {
  for (const auto& [session, seq] : r.requests) {
    if (session != session_) continue;
    const auto it = by_seq_.find(seq);
    if (it == by_seq_.end()) continue;
    const auto at = queue_.find(it->second);
    auto& i = at->second;
    if (i.unanswered_sends > 0) --i.unanswered_sends;
    if (r.code == errc::limit && i.unanswered_sends == 0)  // no copy of it is under way: certainly not done
      finish(at, {errc::limit, 0, 0, "the leader's disk is nearly full: nothing was done; free space there"});
    else  // not appended there: try the next leader soon
      i.last_sent = ctx_.now.steady - resend_after + 50ms;
  }
}

void outbox::finish(std::map<ticket, item>::iterator it, machine::answer a) {
  if (it->second.wanted) answers_.push_back({it->first, it->second.seq, std::move(a)});
  if (it->second.seq) {
    by_seq_.erase(it->second.seq);
    // Contiguous: everything below the smallest open number is answered.
    acked_ = by_seq_.empty() ? last_seq_ : by_seq_.begin()->first.prev();
  }
  queue_.erase(it);
}

bool outbox::on_applied(const machine::command& c, const machine::answer& a) {
  if (!session_ || c.session != session_) return false;
  const auto it = by_seq_.find(c.seq);
  if (it == by_seq_.end()) return false;
  finish(queue_.find(it->second), a);
  return true;
}

void outbox::on_installed(const machine::session_record* s) {
  if (!s || s->epoch != session_) return;
  std::vector<std::pair<ticket, machine::answer>> found;
  for (const auto& [seq, id] : by_seq_)
    if (const auto u = s->used.find(seq); u != s->used.end()) found.emplace_back(id, u->second);
  for (auto& [id, a] : found) finish(queue_.find(id), std::move(a));
}

void outbox::on_session_over(session_epoch old) {
  // Quiet commands speak of what belonged to that session: its grants, and its requests, whose numbers the next session
  // gives to others.
  std::erase_if(queue_, [](const auto& x) { return !x.second.wanted && !x.second.seq; });
  if (old != session_ || !session_) return;
  for (const auto& [seq, id] : std::exchange(by_seq_, {})) {
    const auto it = queue_.find(id);
    it->second.seq = {};
    if (!it->second.wanted) {
      queue_.erase(it);
    } else if (it->second.unanswered_sends > 0) {
      finish(
          it,
          {errc::indeterminate, 0, 0,
           "the session ended before the answer came: the request may or may not have been done; check, then repeat"});
    } else {
      it->second.last_sent = instant::min();
    }
  }
  session_ = {};
}

void outbox::tick(replica* r) {
  const auto now = ctx_.now.steady;
  const bool contact = quorum_contact(r, now);
  std::vector<ticket> late;
  for (auto& [id, i] : queue_) {
    i.saw_quorum |= contact;
    if (now >= i.deadline) late.push_back(id);
  }
  for (const auto id : late) {
    const auto it = queue_.find(id);
    auto& i = it->second;
    machine::answer a;
    if (i.unanswered_sends > 0)
      a = {errc::indeterminate, 0, 0,
           "sent, but no answer in time: it may or may not be done; repeating it with the same key is safe"};
    else if (i.saw_quorum && contact)
      a = {errc::timeout, 0, 0, "a quorum is there, but it did not answer in time: nothing was done; try again"};
    else
      a = {errc::no_quorum, 0, 0, "no contact with a majority of the voters: nothing was done; see coterie status"};
    if (i.unanswered_sends > 0) {
      answers_.push_back({id, i.seq, std::move(a)});
      i.wanted = false;
      i.deadline = never;
    } else {
      finish(it, std::move(a));
    }
  }
}

request_seq outbox::seq_of(ticket id) const {
  const auto it = queue_.find(id);
  return it == queue_.end() ? request_seq{} : it->second.seq;
}

}  // namespace coterie::engine
