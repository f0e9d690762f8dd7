// The parts of membership by themselves: what is piggybacked, how long a suspicion lasts, timers.
#include "unit/swim/membership_catch.hpp"

namespace coterie::swim::test {
namespace {

statement about(std::size_t i, std::size_t tag_bytes = 0) {
  statement s;
  s.info.id = id_of(i);
  s.info.name = "n" + std::to_string(i);
  s.info.at = {"10.0.0.1", 7400};
  if (tag_bytes > 0) s.info.tags = {{"t", std::string(tag_bytes, 'x')}};
  return s;
}

struct filled {
  std::vector<statement> statements;
  std::vector<user_datum> user;
};
filled fill(dissemination& q, std::size_t budget, unsigned limit) {
  filled f;
  const auto used = q.fill(budget, limit, f.statements, f.user);
  std::size_t n = 0;
  for (const auto& s : f.statements) n += size_of_statement(s);
  for (const auto& u : f.user) n += size_of_user(u);
  CHECK(n == used);
  CHECK(n <= budget);
  return f;
}

TEST_CASE("the fewest sent goes first, and each as often as said", "[swim][dissemination]") {
  dissemination q(size_of_statement, size_of_user, 100);
  for (std::size_t i = 0; i < 30; ++i) q.put(about(i), lane::membership);
  std::map<node_id, unsigned> sent;
  while (!q.empty()) {
    for (const auto& s : fill(q, 500, 6).statements) ++sent[s.info.id];
    unsigned least = 6, most = 0;
    for (std::size_t i = 0; i < 30; ++i) {
      least = std::min(least, sent[id_of(i)]);
      most = std::max(most, sent[id_of(i)]);
    }
    REQUIRE(most - least <= 1);
  }
  for (const auto& [id, n] : sent) CHECK(n == 6);
}

TEST_CASE("every lane has its share of a datagram", "[swim][dissemination]") {
  dissemination q(size_of_statement, size_of_user, 1000);
  for (std::size_t i = 0; i < 200; ++i) {
    q.put(about(i), lane::urgent);
    q.put(about(1000 + i, 400), lane::membership);
    q.put(user_datum{id_of(i), boot_epoch(1), "k", 1, bytes(300)});
  }
  std::size_t urgent = 0, membership = 0, user = 0;
  for (int i = 0; i < 40; ++i) {
    const auto f = fill(q, 1000, 1000);
    for (const auto& s : f.statements) (s.info.tags.empty() ? urgent : membership) += size_of_statement(s);
    for (const auto& u : f.user) user += size_of_user(u);
  }
  CHECK(urgent >= 40 * 1000 * 35 / 100);
  CHECK(membership >= 40 * 1000 * 25 / 100);  // its statements are larger than one share
  CHECK(user >= 40 * 1000 * 15 / 100);
}

TEST_CASE("a lane alone has the whole datagram", "[swim][dissemination]") {
  dissemination q(size_of_statement, size_of_user, 100);
  for (std::size_t i = 0; i < 30; ++i) q.put(user_datum{id_of(i), boot_epoch(1), "k", 1, bytes(40)});
  CHECK(fill(q, 1000, 5).user.size() >= 8);
}

TEST_CASE("news of a member replaces its old news, accusers stand beside each other", "[swim][dissemination]") {
  dissemination q(size_of_statement, size_of_user, 100);
  statement s = about(1);
  s.state = member_state::suspect;
  s.accuser = id_of(2);
  q.put(s, lane::membership);
  s.accuser = id_of(3);
  q.add_accusation(s);
  q.add_accusation(s);
  CHECK(q.size() == 2);
  CHECK(fill(q, 1000, 9).statements.size() == 2);
  q.put(about(1), lane::urgent);
  CHECK(q.size() == 1);
  q.put(user_datum{id_of(1), boot_epoch(1), "k", 1, {}});
  q.drop(id_of(1), false);
  CHECK(q.size() == 1);
  q.drop(id_of(1), true);
  CHECK(q.empty());
}

TEST_CASE("what is queued is bounded", "[swim][dissemination]") {
  dissemination q(size_of_statement, size_of_user, 10);
  for (std::size_t i = 0; i < 8; ++i) q.put(about(i), lane::membership);
  fill(q, 300, 9);  // some were sent once
  for (std::size_t i = 10; i < 14; ++i) q.put(about(i), lane::membership);
  CHECK(q.size() == 10);
  CHECK(q.overflows() == 2);
  CHECK(q.unsent());
}

TEST_CASE("a suspicion shrinks with independent confirmations", "[swim][suspicion]") {
  const instant t0(50s);
  suspicion s(t0, 1s, 4s, 3, id_of(1));
  CHECK(s.deadline() == t0 + 4s);
  CHECK_FALSE(s.accuse(id_of(1)));  // the same one confirms nothing
  CHECK(s.accuse(id_of(2)));
  CHECK(s.deadline() - t0 > 2400ms);  // log 2 / log 4: half of the way
  CHECK(s.deadline() - t0 < 2600ms);
  CHECK(s.accuse(id_of(3)));
  CHECK(s.accuse(id_of(4)));
  CHECK(s.deadline() == t0 + 1s);
  CHECK_FALSE(s.accuse(id_of(5)));
  CHECK(s.accusers().size() == 4);
  s.hurry(t0 + 500ms);
  CHECK(s.deadline() == t0 + 500ms);
  s.restart(t0 + 9s);
  CHECK(s.deadline() == t0 + 10s);
  CHECK(suspicion(t0, 1s, 4s, 0, id_of(1)).deadline() == t0 + 1s);  // nobody could confirm
}

TEST_CASE("local health saturates, and heals one step at a time", "[swim][health]") {
  health_multiplier h(8);
  CHECK(h.multiplier() == 1);
  h.raise(100);
  CHECK(h.score() == 8);
  const instant t0(1s);
  for (int i = 0; i < 5; ++i) h.ease(t0, 100ms);
  CHECK(h.score() == 7);
  for (int i = 1; i <= 20; ++i) h.ease(t0 + i * 100ms, 100ms);
  CHECK(h.score() == 0);
}

TEST_CASE("timers fire in order, once", "[swim][timers]") {
  timer_queue<int> t;
  CHECK(t.next() == never);
  t.arm(1, instant(5s));
  t.arm(2, instant(3s));
  t.arm(1, instant(1s));
  t.arm(3, instant(2s));
  t.cancel(3);
  CHECK(t.next() == instant(1s));
  CHECK(t.pop_due(instant(4s)) == 1);
  CHECK(t.pop_due(instant(2s)) == std::nullopt);
  CHECK(t.pop_due(instant(4s)) == 2);
  CHECK(t.next() == never);
}

}  // namespace
}  // namespace coterie::swim::test
