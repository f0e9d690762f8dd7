// The machine of a data group (docs/consensus.md 1.10): what it executes, and for which sessions.
#include "catch.hpp"
#include "world.hpp"

using namespace coterie;
using namespace coterie::machine;

namespace {

constexpr group_id data_group{1};

/// A data group's machine; `index` is of its own log.
struct data_world {
  coterie::machine::machine m{limits{}, data_group};
  log_index index;

  applied apply(const command& c) {
    ++index;
    return m.apply(index, term(1), c);
  }
  answer duty(command_body b) { return apply({{}, {}, {}, {}, std::move(b)}).result; }
  applied append(std::uint64_t session, std::uint64_t seq, const std::string& journal = "j") {
    return apply({session_epoch(session), request_seq(seq), {}, {}, journal_append{journal, "", {{"t", "m"}}}});
  }
  std::uint64_t entries() const {
    const auto j = m.journals().find("j");
    return j == m.journals().end() ? 0 : j->second.total;
  }
};

}  // namespace

TEST_CASE("a data group executes for a session from its Admit to its Fence, and never again") {
  data_world w;
  CHECK(w.append(7, 1).result.code == errc::indeterminate);
  CHECK_FALSE(w.m.admitted(session_epoch(7)));

  REQUIRE(w.duty(admit_session{session_epoch(7), node(1)}).ok());
  CHECK(w.m.admitted(session_epoch(7)));
  CHECK(w.append(7, 1).result.ok());
  CHECK(w.append(7, 1).duplicate);
  CHECK(w.append(7, 2).result.ok());
  CHECK(w.entries() == 2);

  REQUIRE(w.duty(fence_session{session_epoch(7), node(1)}).ok());
  CHECK(w.append(7, 3).result.code == errc::indeterminate);
  CHECK(w.append(7, 2).result.code == errc::indeterminate);
  CHECK(w.entries() == 2);
  CHECK(w.duty(fence_session{session_epoch(7), node(1)}).code == errc::not_found);

  // A leader whose meta group lags proposes it again.
  CHECK(w.duty(admit_session{session_epoch(7), node(1)}).code == errc::not_found);
  CHECK(w.duty(admit_session{session_epoch(6), node(2)}).code == errc::not_found);
  CHECK(w.append(7, 4).result.code == errc::indeterminate);
  REQUIRE(w.duty(admit_session{session_epoch(9), node(1)}).ok());
  CHECK(w.append(9, 1).result.ok());
}

TEST_CASE("which sessions were admitted stays with the stored state") {
  data_world w;
  REQUIRE(w.duty(admit_session{session_epoch(7), node(1)}).ok());
  REQUIRE(w.append(7, 1).result.ok());
  REQUIRE(w.duty(admit_session{session_epoch(9), node(2)}).ok());
  REQUIRE(w.duty(fence_session{session_epoch(9), node(2)}).ok());
  std::vector<record> records;
  for (const auto& change : w.m.take_writes())
    if (const auto* p = std::get_if<put>(&change); p != nullptr && class_of(p->value) >= 'a')
      records.push_back(p->value);
  coterie::machine::machine again{limits{}, data_group};
  again.restore(records);
  CHECK(again.digest() == w.m.digest());
  CHECK(again.admitted(session_epoch(9)));
  CHECK(again.session(session_epoch(9)) == nullptr);
  CHECK(again
            .apply(log_index(50), term(1),
                   {session_epoch(7), request_seq(1), {}, {}, journal_append{"j", "", {{"t", "m"}}}})
            .duplicate);
}

TEST_CASE("each group refuses what belongs to the other") {
  data_world w;
  CHECK(w.duty(open_session{.node = node(1), .boot = boot_epoch(1), .nonce = 1}).code == errc::bad_argument);
  CHECK(w.duty(add_member{node(1), "a", {}}).code == errc::bad_argument);
  CHECK(w.duty(expire_session{session_epoch(1), term(1)}).code == errc::bad_argument);
  CHECK(w.m.sessions().empty());
  world meta;
  CHECK(meta.duty(admit_session{session_epoch(7), node(1)}).code == errc::bad_argument);
  CHECK(meta.duty(fence_session{session_epoch(7), node(1)}).code == errc::bad_argument);
  CHECK(meta.m.admitted(session_epoch(7)));
}

TEST_CASE("a leader fences what the meta group has ended, and admits what it has opened, in order") {
  world meta;
  data_world w;
  const auto a = meta.open(1), b = meta.open(2), c = meta.open(3);
  auto duties = w.m.session_duties(meta.m, meta.index, 100);
  REQUIRE(duties.size() == 3);
  CHECK(std::get<admit_session>(duties[0]).epoch == a.epoch);
  CHECK(std::get<admit_session>(duties[0]).node == node(1));
  CHECK(std::get<admit_session>(duties[2]).epoch == c.epoch);
  CHECK(w.m.session_duties(meta.m, meta.index, 2).size() == 2);
  for (const auto& d : duties) REQUIRE(w.duty(d).ok());
  CHECK(w.m.session_duties(meta.m, meta.index, 100).empty());

  meta.expire(b);
  const auto d = meta.open(2);
  duties = w.m.session_duties(meta.m, meta.index, 100);
  REQUIRE(duties.size() == 2);
  CHECK(std::get<fence_session>(duties[0]).epoch == b.epoch);
  CHECK(std::get<admit_session>(duties[1]).epoch == d.epoch);
  for (const auto& x : duties) REQUIRE(w.duty(x).ok());

  // The next leader's meta group has not come so far: what it does not know yet is not over.
  world behind;
  const auto same = behind.open(1);
  REQUIRE(same.epoch == a.epoch);
  CHECK(w.m.session_duties(behind.m, behind.index, 100).empty());
}

TEST_CASE("planted: a data group that executes behind the Fence") {
  limits l;
  l.bug = planted_bug::open_fence;
  coterie::machine::machine m(l, data_group);
  const auto duty = [&](std::uint64_t i, command_body b) {
    m.apply(log_index(i), term(1), {{}, {}, {}, {}, std::move(b)});
  };
  duty(1, admit_session{session_epoch(7), node(1)});
  duty(2, fence_session{session_epoch(7), node(1)});
  CHECK(
      m.apply(log_index(3), term(1), {session_epoch(7), request_seq(1), {}, {}, journal_append{"j", "", {{"t", "m"}}}})
          .result.ok());
}
