#include "engine/relay_up.hpp"

#include <algorithm>

namespace coterie::engine {

namespace {
constexpr std::size_t max_batch = 512, max_batch_bytes = 4u << 20;
constexpr std::size_t max_waiting_commands = 16'384;
constexpr duration gather = 2ms;  // from one message with commands to the next
}  // namespace

bool send_commands(links& l, group_id g, node_id to, std::vector<shared_bytes> commands) {
  wire::forward f;
  std::size_t size = 0;
  bool sent = true;
  const auto flush = [&] {
    if (!f.commands.empty()) sent &= l.send(to, std::exchange(f, {}), g);
    size = 0;
  };
  for (auto& c : commands) {
    if (f.commands.size() >= max_batch || size + c.size() > max_batch_bytes) flush();
    size += c.size();
    f.commands.push_back(std::move(c));
  }
  flush();
  return sent;
}

// ---- reads ---------------------------------------------------------------------------------------------------------

void relay_up::read(node_id from, std::uint64_t id) {
  if (waiting_.size() < ctx_.opt->raft.max_pending_reads) waiting_.push_back({from, id});
}

void relay_up::ask(replica& r, node_id to, std::vector<read_of> reads) {
  const auto now = ctx_.now.steady;
  const auto id = ctx_.random.next() | std::uint64_t{1} << 63;  // no other read of the core has such a number
  // The core gives an answer by itself, within one. Whoever waits for a read asks anew after a second.
  const auto patience = (to ? 1 : 2) * r.core().longest_election_timeout();
  questions_.push_back({id, to, now + patience, std::move(reads)});
  if (!to) return r.core().read_index(id, now);
  ctx_.stats.add("relay.reads_passed");
  // In the leader's term: an own one may be larger (raft/read.cpp).
  const auto when = std::max(r.core().leader_term(), term(1));
  links_.send(to, raft::message{ctx_.self, to, when, raft::read_request{id}}, group_);
}

bool relay_up::on_answer(node_id from, const raft::read_response& a) {
  const auto it = std::ranges::find(questions_, a.id, &question::id);
  if (it == questions_.end() || it->to != from) return false;
  const auto q = std::move(*it);
  questions_.erase(it);
  if (a.ok)
    answer(q, true, a.index);
  else
    direct_.insert(direct_.end(), q.reads.begin(), q.reads.end());
  return true;
}

bool relay_up::on_answer(const raft::read_state& a) {
  const auto it = std::ranges::find(questions_, a.id, &question::id);
  if (it == questions_.end() || it->to) return false;
  const auto q = std::move(*it);
  questions_.erase(it);
  answer(q, a.ok, a.index);
  return true;
}

void relay_up::answer(const question& q, bool ok, log_index index) {
  for (const auto& [from, id] : q.reads) {
    if (from == ctx_.self)
      answered_.push_back({id, ok, index});
    else
      links_.send(from, raft::message{ctx_.self, from, term(1), raft::read_response{id, index, ok}}, group_);
  }
}

// ---- commands ------------------------------------------------------------------------------------------------------

void relay_up::pass(std::vector<shared_bytes> commands) {
  if (commands_.size() + commands.size() > max_waiting_commands) return ctx_.stats.add("relay.commands_dropped");
  commands_.insert(commands_.end(), commands.begin(), commands.end());
}

// ---- both ----------------------------------------------------------------------------------------------------------

void relay_up::flush(replica& r, node_id parent) {
  const auto now = ctx_.now.steady;
  for (auto it = questions_.begin(); it != questions_.end();) {
    if (now < it->deadline && (!it->to || links_.up(it->to))) {
      ++it;
      continue;
    }
    // The core answers all that it is asked; a parent may be gone.
    ctx_.stats.add("relay.reads_unanswered");
    if (it->to) direct_.insert(direct_.end(), it->reads.begin(), it->reads.end());
    it = questions_.erase(it);
  }
  if (!direct_.empty()) ask(r, {}, std::exchange(direct_, {}));
  const auto under_way = std::ranges::count_if(questions_, [&](const auto& q) { return q.to == parent; });
  if (!waiting_.empty() && static_cast<std::size_t>(under_way) < ctx_.opt->raft.max_read_rounds)
    ask(r, parent, std::exchange(waiting_, {}));
  if (commands_.empty() || now < next_commands_) return;
  next_commands_ = now + gather;
  const auto to = parent ? parent : r.leader();
  const bool sent = to && to != ctx_.self && send_commands(links_, group_, to, std::exchange(commands_, {}));
  ctx_.stats.add(sent ? "relay.commands_passed" : "relay.commands_dropped");
  commands_.clear();
}

instant relay_up::next_wake() const {
  auto t = commands_.empty() ? never : next_commands_;
  for (const auto& q : questions_) t = std::min(t, q.deadline);
  return std::max(t, ctx_.now.steady);
}

}  // namespace coterie::engine
