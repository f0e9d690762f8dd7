// Entries of the stored log: each knows the whole log before it.
#include "catch.hpp"
#include "unit/wire/samples.hpp"

using namespace coterie;
using namespace coterie::wire;

namespace {

raft::entry entry_at(std::uint64_t index) {
  return {term(3), log_index(index), raft::entry_kind::command, to_bytes("command " + std::to_string(index)), {}};
}

}  // namespace

TEST_CASE("a log is read back entry by entry") {
  std::vector<raft::entry> log = {entry_at(1), {term(3), log_index(2), raft::entry_kind::noop, {}, {}}, entry_at(3)};
  log.push_back({term(4), log_index(4), raft::entry_kind::configuration, {}, {{{1, 2}, {3, 4}}, {{5, 6}}, {{7, 8}}}});
  std::vector<shared_bytes> stored;
  hash128_value chain{11, 12};
  for (const auto& e : log) stored.push_back(encode_log_entry(e, chain, chain));
  hash128_value at{11, 12};
  for (std::size_t i = 0; i < log.size(); ++i) {
    const auto back = decode_log_entry(stored[i].view(), at);
    REQUIRE(back);
    CHECK(back->what == log[i]);
    at = back->chain;
  }
  CHECK(at == chain);
}

TEST_CASE("a read lease stands beside the configuration, and one without is stored as before there were any") {
  raft::entry e{term(4), log_index(4), raft::entry_kind::configuration, {}, {{{1, 2}}, {}, {}}};
  hash128_value without_chain, with_chain;
  const auto without = copy(encode_log_entry(e, {}, without_chain).view());
  e.conf.read_lease = std::chrono::milliseconds(0x01020304);
  const auto with = copy(encode_log_entry(e, {}, with_chain).view());
  REQUIRE(with.size() == without.size());
  CHECK(without_chain != with_chain);
  for (std::size_t i = 24; i < with.size(); ++i) {
    CAPTURE(i);
    if (i >= 44 && i < 48)
      CHECK((without[i] == std::byte{0} && with[i] == std::byte(48 - i)));
    else
      CHECK(with[i] == without[i]);
  }
  CHECK(decode_log_entry(with, {})->what == e);
}

TEST_CASE("an entry is refused behind another log than its own") {
  hash128_value chain{1, 2};
  const auto stored = encode_log_entry(entry_at(9), chain, chain);
  CHECK(decode_log_entry(stored.view(), hash128_value{1, 2}));
  CHECK_FALSE(decode_log_entry(stored.view(), hash128_value{1, 3}));
  CHECK_FALSE(decode_log_entry(stored.view(), hash128_value{2, 2}));
  CHECK_FALSE(decode_log_entry(stored.view(), hash128_value{}));
  // Behind a gap nobody knows that of the one before: then its own says what it has to follow.
  const auto alone = decode_log_entry(stored.view(), std::nullopt);
  REQUIRE(alone);
  CHECK(alone->chain == decode_log_entry(stored.view(), hash128_value{1, 2})->chain);
}

TEST_CASE("every flipped bit and every cut of an entry is noticed") {
  hash128_value chain;
  const auto stored = copy(encode_log_entry(entry_at(9), {1, 2}, chain).view());
  for (std::size_t bit = 0; bit < stored.size() * 8; ++bit) {
    auto broken = stored;
    broken[bit / 8] ^= std::byte{1} << (bit % 8);
    CHECK_FALSE(decode_log_entry(broken, hash128_value{1, 2}));
    CHECK_FALSE(decode_log_entry(broken, std::nullopt));
  }
  for (std::size_t size = 0; size < stored.size(); ++size) {
    CHECK_FALSE(decode_log_entry(byte_view(stored).first(size), hash128_value{1, 2}));
  }
}

TEST_CASE("the running hash depends on every part of an entry") {
  const auto chain_of = [](raft::entry e, hash128_value before) {
    hash128_value chain;
    encode_log_entry(e, before, chain);
    return chain;
  };
  const auto base = entry_at(5);
  const auto chain = chain_of(base, {1, 2});
  auto other = base;
  other.when = term(4);
  CHECK(chain_of(other, {1, 2}) != chain);
  other = base;
  other.index = log_index(6);
  CHECK(chain_of(other, {1, 2}) != chain);
  other = base;
  other.payload = to_bytes("command 6");
  CHECK(chain_of(other, {1, 2}) != chain);
  CHECK(chain_of(base, {1, 1}) != chain);
  CHECK(chain_of(base, {1, 2}) == chain);
}

TEST_CASE("entries of an unknown layout or kind are refused, though their checksums are right") {
  hash128_value chain;
  const auto stored = copy(encode_log_entry(entry_at(9), {}, chain).view());
  REQUIRE(decode_log_entry(samples::relinked(stored), hash128_value{}));
  for (const auto& [at, value] : {std::pair<std::size_t, int>{41, 2}, {41, 0}, {40, 3}, {40, 255}}) {
    auto other = stored;
    other[at] = static_cast<std::byte>(value);
    CHECK_FALSE(decode_log_entry(samples::relinked(other), hash128_value{}));
  }
}
