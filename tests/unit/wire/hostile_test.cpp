// Bytes that nobody meant: cut, flipped, or crafted. They give a value or a failure, and cost little memory.
#include <new>

#include "catch.hpp"
#include "unit/wire/allocations.hpp"
#include "unit/wire/samples.hpp"

using namespace coterie;
using namespace coterie::wire;

namespace {

/// Decodes and checks the bound on memory; what decodes must also survive being encoded and decoded again.
void check_total(const samples::kind& kind, byte_view b) {
  const auto before = allocated_bytes();
  const auto back = kind.again(b);
  const auto used = allocated_bytes() - before;
  if (used > 32 * b.size() + 16'384) FAIL(kind.name << ": " << used << " bytes for a message of " << b.size());
  if (back && kind.again(*back) != back) FAIL(kind.name << ": does not survive a second round trip");
}

bytes body_with(const request& q) { return samples::body_of(encode(1, q)); }

std::uint64_t word(const bytes& b, std::size_t i) {
  std::uint64_t v = 0;
  std::memcpy(&v, b.data() + 8 * i, 8);
  return v;
}
std::size_t find_word(const bytes& b, std::uint64_t wanted, std::uint64_t mask) {
  for (std::size_t i = 0; i < b.size() / 8; ++i) {
    if ((word(b, i) & mask) == wanted) return i;
  }
  FAIL("no such word");
  return 0;
}
void replace_text(bytes& b, std::string_view from, std::string_view to) {
  const auto at = std::search(b.begin(), b.end(), as_bytes(from).begin(), as_bytes(from).end());
  REQUIRE(at != b.end());
  std::copy_n(as_bytes(to).begin(), to.size(), at);
}

}  // namespace

TEST_CASE("every truncation of every message is harmless") {
  for (const auto& kind : samples::all_kinds()) {
    for (std::size_t which = 0; which < kind.variants; ++which) {
      rng r(which);
      const auto message = kind.make(which, r);
      for (std::size_t size = 0; size < message.size(); ++size) check_total(kind, byte_view(message).first(size));
    }
  }
}

TEST_CASE("random damage to any message is harmless") {
  for (const auto& kind : samples::all_kinds()) {
    for (std::uint64_t round = 0; round < 4'000; ++round) {
      rng r(round);
      auto message = kind.make(r.below(kind.variants), r);
      for (auto flips = 1 + r.below(4); flips > 0; --flips) {
        message[r.below(message.size())] ^= std::byte{1} << r.below(8);
      }
      check_total(kind, message);
    }
  }
}

TEST_CASE("parts that are pointed at twice are refused") {
  forward f;
  for (int i = 0; i < 256; ++i) f.commands.push_back(bytes(1024, std::byte{7}));
  bytes body = samples::body_of(encode(envelope{{}, {}, f}));
  // the list's 256 pointers are followed by its elements: let all point to the first one, and cut the others off
  const std::uint64_t first_pointer = 1 | std::uint64_t{255} << 2 | (std::uint64_t{2} | 1024 << 3) << 32;
  const auto at = find_word(body, first_pointer, ~std::uint64_t{0});
  for (std::size_t i = 0; i < 256; ++i) {
    samples::store(body, 8 * (at + i), 1 | (255 - i) << 2 | (std::uint64_t{2} | 1024 << 3) << 32, 8);
  }
  body.resize(8 * (at + 256) + 1024);
  const auto before = allocated_bytes();
  CHECK_FALSE(decode_peer(body));
  CHECK(allocated_bytes() - before < 32'768);
}

TEST_CASE("elements that take no room are refused") {
  append_journal a{"j", "", std::vector<machine::journal_item>(777)};
  auto body = body_with(a);
  const auto tag = find_word(body, 777 << 2, 0xffffffff);
  REQUIRE(decode_request(body));
  samples::store(body, 8 * tag + 4, 0, 4);  // neither data nor pointers
  CHECK_FALSE(decode_request(body));
  samples::store(body, 8 * tag + 4, 1 << 16, 4);  // one pointer of two
  CHECK_FALSE(decode_request(body));
}

TEST_CASE("unknown messages and enumerators are refused") {
  auto body = body_with(stop_node{});
  REQUIRE(decode_request(body));
  for (const unsigned which : {200u, 0xffffu}) {
    auto unknown = body;
    const auto at = find_word(body, 5, ~std::uint64_t{0});  // stop_node is the sixth message
    samples::store(unknown, 8 * at, which, 2);
    CHECK_FALSE(decode_request(unknown));
  }
  auto answer = samples::body_of(encode(1, failure{errc::held, "held", 0, 0}, true));
  samples::store(answer, 8 * find_word(answer, static_cast<std::uint64_t>(errc::held), 0xffff), 999, 2);
  CHECK_FALSE(decode_response(answer));
}

TEST_CASE("names are at most 255 bytes") {
  CHECK(decode_request(body_with(release_lock{std::string(255, 'x'), 1})));
  CHECK_FALSE(decode_request(body_with(release_lock{std::string(256, 'x'), 1})));
  swim::datagram d;
  d.of.cluster = std::string(256, 'x');
  CHECK_FALSE(decode_datagram(encode(d)));
  join_request j;
  j.at.host = std::string(256, 'x');
  CHECK_FALSE(decode_peer(samples::body_of(encode(envelope{{}, {}, j}))));
}

TEST_CASE("a map's keys and a configuration's ids must rise") {
  status_info s;
  s.counters = {{"aaaa", 1}, {"bbbb", 2}};
  auto body = samples::body_of(encode(1, s, true));
  REQUIRE(decode_response(body));
  auto twice = body, falling = body;
  replace_text(twice, "bbbb", "aaaa");
  CHECK_FALSE(decode_response(twice));
  replace_text(falling, "aaaa", "cccc");
  CHECK_FALSE(decode_response(falling));

  raft::snapshot_meta meta;
  for (const auto& voters : {std::vector<node_id>{{2, 0}, {1, 0}}, std::vector<node_id>{{1, 0}, {1, 0}}}) {
    meta.conf.voters = voters;
    CHECK_FALSE(decode_snapshot_meta(encode(meta, {}).view()));
  }
}

TEST_CASE("a value under a key of an unknown class is refused") {
  const auto value = encode(machine::record(machine::global_record{}));
  CHECK(decode_record(as_bytes("g"), value.view()));
  CHECK_FALSE(decode_record(as_bytes("z"), value.view()));
  CHECK_FALSE(decode_record({}, value.view()));
}
