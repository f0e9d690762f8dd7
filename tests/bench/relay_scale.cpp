// What a leader sends for each committed entry, what it is sent when all observers read at once, and how often an
// observer syncs its disk for an entry, with few observers and with many (docs/consensus.md 1.3): whole engines in one
// process, on a perfect network. It counts frames and syncs, not time.
//   relay_scale [OBSERVERS...]      20 and 200 unless named
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "unit/engine/nodes.hpp"

namespace {

using namespace coterie;

constexpr std::size_t founders = 5, standbys = 2, appends = 100, payload = 200;

struct traffic {
  std::uint64_t frames = 0, bytes = 0;
  void add(const wire::peer_message& m) {
    ++frames;
    bytes += wire::encode(wire::envelope{{}, meta_group, m}).size();
  }
};

/// What only grows with what is written, apart from what is there anyway: gossip, heartbeats, held questions.
bool carries_entries(const wire::peer_message& m) {
  if (const auto* f = std::get_if<wire::fetched>(&m)) return !f->entries.empty();
  const auto* r = std::get_if<raft::message>(&m);
  const auto* a = r ? std::get_if<raft::append_request>(&r->body) : nullptr;
  return a != nullptr && !a->entries.empty();
}

bool measure(std::size_t observers) {
  engine::options o;
  o.voters.stable_after = 1s;
  test::nodes w(founders, o);
  for (std::size_t i = 0; i < observers + standbys; ++i) w.add(fmt::format("o{}", i));
  const auto settled = [&] {
    const auto l = w.leader();
    if (!l || w[*l].look().raft->conf().learners.size() != standbys) return false;
    for (std::size_t i = 0; i < w.size(); ++i) {
      const auto v = w[i].look();
      if (!w.active(i) || v.raft->applied() != w[*l].look().raft->commit()) return false;
    }
    return true;
  };
  if (!w.run_until(settled, 10min)) {
    fmt::print(stderr, "{} observers: the cluster did not settle\n", observers);
    return false;
  }
  const auto leader = *w.leader();
  traffic entries, all;
  w.lose = [&](std::size_t from, std::size_t, const wire::peer_message& m) {
    if (from != leader) return false;
    all.add(m);
    if (carries_entries(m)) entries.add(m);
    return false;
  };
  constexpr auto idle = 10s;
  w.run(idle);
  const auto quiet = std::exchange(all, {});
  entries = {};
  const auto before = w[leader].look().raft->commit();
  const auto syncs = [&] {
    std::uint64_t n = 0;
    for (std::size_t i = 0; i < w.size(); ++i)
      if (!w[leader].look().raft->conf().contains(w.id(i))) n += w.disk(i).syncs();
    return n;
  };
  const auto synced = syncs();
  const auto began = w.now().steady;
  for (std::size_t i = 0; i < appends; ++i)
    if (!w.ask(leader, wire::append_journal{"j", "", {{"t", std::string(payload, 'x')}}})) return false;
  if (!w.run_until(settled, 1min)) return false;
  const auto committed = static_cast<double>(distance(before, w[leader].look().raft->commit()));
  w.run(1s - std::min<duration>(1s, w.now().steady - began));  // a second in which this was all
  const auto observer_syncs = static_cast<double>(syncs() - synced) / static_cast<double>(observers);
  std::uint32_t deepest = 0;
  for (std::size_t i = 0; i < w.size(); ++i)
    if (const auto s = w.ask(i, wire::get_status{}))
      if (const auto* status = std::get_if<wire::status_info>(&*s)) deepest = std::max(deepest, status->place.depth);
  // All of them before anybody has an answer.
  std::uint64_t asked = 0;
  w.lose = [&](std::size_t, std::size_t to, const wire::peer_message& m) {
    const auto* r = std::get_if<raft::message>(&m);
    asked += to == leader && r != nullptr && std::holds_alternative<raft::read_request>(r->body);
    return false;
  };
  constexpr std::uint64_t first_call = 1u << 30;
  for (std::size_t i = 0; i < w.size(); ++i)
    if (!w[leader].look().raft->conf().contains(w.id(i)))
      w.tell(i, engine::call{engine::call_id(first_call + i), wire::wait_visible{}, {}});
  w.settle();
  const auto answered = [&] {
    for (std::size_t i = 0; i < w.size(); ++i) {
      const bool reads = !w[leader].look().raft->conf().contains(w.id(i));
      if (reads && w.answers(engine::call_id(first_call + i)).list.empty()) return false;
    }
    return true;
  };
  if (!w.run_until(answered, 1min)) return false;
  const auto each = [&](std::uint64_t n) { return static_cast<double>(n) / committed; };
  const auto second = [&](std::uint64_t n) {
    return static_cast<double>(n) / std::chrono::duration<double>(idle).count();
  };
  fmt::print("{:9} {:5} {:9} {:12.2f} {:11.0f} {:13.1f} {:12.0f} {:14} {:11.3f}\n", observers, deepest,
             w[leader].look().raft->progress().size(), each(entries.frames), each(entries.bytes), second(quiet.frames),
             second(quiet.bytes), asked, observer_syncs / committed);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::size_t> counts;
  for (int i = 1; i < argc; ++i) counts.push_back(std::strtoull(argv[i], nullptr, 10));
  if (counts.empty()) counts = {20, 200};
  fmt::print("what the leader sends; {} voters, {} standbys, entries of {} bytes\n", founders, standbys, payload);
  fmt::print(
      "observers depth followers frames/entry bytes/entry idle frames/s idle bytes/s reads at once syncs/entry\n");
  for (const auto n : counts)
    if (!measure(n)) return 1;
}
