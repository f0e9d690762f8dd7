// One member of a cluster so large that it fits no memory as a network. Knows the inputs and outputs of
// swim::membership, nothing of its inside.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "unit/swim/membership_network.hpp"

namespace coterie::swim::test {

/// One member among others that only answer. They probe it as often as it probes them; now and then one of them
/// restarts, and of that it hears as often as each member passes it on.
class lone_member {
 public:
  struct cost {
    std::size_t datagrams = 0, bytes = 0, removed = 0;
  };

  explicit lone_member(std::size_t nodes, duration restarts = 10s)
      : lives_(nodes, 1),
        restarts_(restarts),
        m_(info(0), boot_epoch(1), {}, size_of_statement, size_of_user, at({}), 1) {
    push_pull all{true, info(1).id, 0, {}, {}, {}};
    for (std::size_t i = 1; i < nodes; ++i) {
      number_[info(i).id] = i;
      all.statements.push_back(statement_of(i));
    }
    m_.on_push_pull(all, at({}));
    m_.take();
    for (std::size_t n = nodes; n > 0; n /= 2) copies_ += 4;  // λ = 4
  }

  cost run(duration length) {
    duration now{}, probed{}, restarted{};
    while (now < length) {
      perform(m_.take(), now);
      const duration wake = m_.next_wake().time_since_epoch() - start;
      now = std::max(
          now, std::min({wake, probed + 1s, restarted + restarts_, later_.empty() ? length : later_.begin()->first}));
      if (now >= wake) {
        m_.tick(at(now));
      } else if (now == probed + 1s) {
        probed = now;
        tell(any(), ping{++probe_, info(0).id}, {}, now);
      } else if (now == restarted + restarts_) {
        restarted = now;
        const auto who = any();
        ++lives_[who];
        for (int i = 0; i < copies_; ++i)
          later_.emplace(now + random_.between({}, 2s),
                         [this, who](duration t) { tell(any(), gossip_only{}, {statement_of(who)}, t); });
      } else if (!later_.empty()) {
        const auto what = later_.extract(later_.begin());
        what.mapped()(now);
      }
    }
    cost_.removed = lives_.size() - m_.alive_count();
    return cost_;
  }

 private:
  static constexpr duration start = 1s;

  static times at(duration d) {
    return {instant(start + d), boot_instant(start + d),
            wall_time(std::chrono::duration_cast<std::chrono::milliseconds>(d))};
  }
  static member_info info(std::size_t i) {
    member_info m;
    m.id = id_of(i);
    m.name = fmt::format("n{}", i);
    m.at = {fmt::format("10.0.{}.{}", i / 256, i % 256), 7400};
    m.version = "1.2.3";
    return m;
  }
  statement statement_of(std::size_t i) const { return {info(i), {boot_epoch(lives_[i]), 1}, member_state::alive, {}}; }
  std::size_t any() { return 1 + random_.below(lives_.size() - 1); }

  void tell(std::size_t from, decltype(datagram::body) body, std::vector<statement> news, duration now) {
    m_.on_datagram(info(from).at,
                   {{"default", {}, 0},
                    info(from).id,
                    boot_epoch(lives_[from]),
                    m_.view_digest(),
                    std::move(body),
                    std::move(news),
                    {}},
                   at(now));
  }
  void perform(const output& out, duration now) {
    for (const auto& a : out.actions) {
      if (const auto* s = std::get_if<send_datagram>(&a)) {
        ++cost_.datagrams;
        cost_.bytes += size_of(s->what);
        const auto* p = std::get_if<ping>(&s->what.body);
        if (p)
          later_.emplace(now + 300us, [this, p = *p](duration t) { tell(number_.at(p.target), ack{p.probe}, {}, t); });
      } else if (const auto* q = std::get_if<send_push_pull>(&a); q && !q->what.answer) {
        later_.emplace(now + 300us, [this, to = q->to, digest = q->what.view_digest](duration t) {
          m_.on_push_pull({true, to, digest, {}, {}, {}}, at(t));
        });
      }
    }
  }

  std::vector<std::uint64_t> lives_;  ///< of each node: its epoch
  duration restarts_;
  std::map<node_id, std::size_t> number_;
  membership m_;
  rng random_{1};
  int copies_ = 0;
  std::uint64_t probe_ = 0;
  std::multimap<duration, std::function<void(duration)>> later_;
  cost cost_;
};

}  // namespace coterie::swim::test
