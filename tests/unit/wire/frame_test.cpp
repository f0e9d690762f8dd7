// Headers, lengths, checksums, and the sizes that gossip counts on.
#include "catch.hpp"
#include "unit/wire/samples.hpp"

using namespace coterie;
using namespace coterie::wire;

namespace {

byte_view header_of(const bytes& frame) { return byte_view(frame).first(header_size); }
byte_view rest_of(const bytes& frame) { return byte_view(frame).subspan(header_size); }

bytes sample_frame() { return encode(17, release_lock{"orders", 42}); }

bytes with(bytes frame, std::size_t at, std::uint64_t v, std::size_t size = 1) {
  samples::store(frame, at, v, size);
  return frame;
}
bytes header_with_words(frame_kind kind, std::uint64_t words) {
  return with(with(sample_frame(), 5, static_cast<std::uint64_t>(kind)), 8, words, 4);
}

swim::statement sample_statement(rng& r) {
  swim::statement s;
  fields::fill(s, r);
  s.info.at.host = "fd00:1234:5678:9abc:def0:1234:5678:" + std::to_string(r.below(9999));
  return s;
}

}  // namespace

TEST_CASE("a frame's header says what follows") {
  const auto check = [](const bytes& frame, frame_kind kind) {
    const auto h = parse_header(header_of(frame));
    REQUIRE(h);
    CHECK(h->kind == kind);
    CHECK(h->body_size() == frame.size() - header_size);
    CHECK(verify(*h, header_of(frame), rest_of(frame)));
  };
  check(encode(envelope{}), frame_kind::peer);
  check(sample_frame(), frame_kind::request);
  check(encode(1, response(done{}), true), frame_kind::response);
  check(encode_cancel(9), frame_kind::cancel);
}

TEST_CASE("the bytes of a frame are as documented") {
  const auto frame = encode_cancel(0x1122334455667788);
  const bytes body = samples::body_of(frame);
  CHECK(to_hex(body) ==
        "0000000001000000"
        "8877665544332211");
  auto expected = with(samples::datagram_around(body), 5, 4);  // as a datagram, but for the kind
  samples::store(expected, 12, 0, 4);
  samples::store(expected, 12, hash64(body, hash64(header_of(expected))) & 0xffffffff, 4);
  CHECK(frame == expected);
}

TEST_CASE("a header that is not ours is refused") {
  const auto frame = sample_frame();
  CHECK_FALSE(parse_header(header_of(with(frame, 0, 'C'))));
  CHECK_FALSE(parse_header(header_of(with(frame, 3, 'f'))));
  CHECK_FALSE(parse_header(header_of(with(frame, 4, 0))));
  CHECK_FALSE(parse_header(header_of(with(frame, 4, 2))));
  CHECK_FALSE(parse_header(header_of(with(frame, 5, 0))));
  CHECK_FALSE(parse_header(header_of(with(frame, 5, 5))));
  CHECK_FALSE(parse_header(header_of(with(frame, 6, 1))));
  CHECK_FALSE(parse_header(header_of(with(frame, 7, 128))));
  CHECK_FALSE(parse_header(header_of(header_with_words(frame_kind::request, 0))));
  CHECK(parse_header(header_of(with(frame, 4, 2))).error().message.find("version 2") != std::string::npos);
}

TEST_CASE("a frame over its kind's limit is refused before its body is read") {
  const std::pair<frame_kind, std::size_t> limits[] = {{frame_kind::peer, 32u << 20},
                                                       {frame_kind::request, 4u << 20},
                                                       {frame_kind::response, 32u << 20},
                                                       {frame_kind::cancel, 64}};
  for (const auto& [kind, limit] : limits) {
    CHECK(max_body(kind) == limit);
    CHECK(parse_header(header_of(header_with_words(kind, limit / 8))));
    CHECK_FALSE(parse_header(header_of(header_with_words(kind, limit / 8 + 1))));
    CHECK_FALSE(parse_header(header_of(header_with_words(kind, 0xffffffff))));
  }
  CHECK_FALSE(decode_peer(bytes((32u << 20) + 8)));
  CHECK_FALSE(decode_request(bytes((4u << 20) + 8)));
  CHECK_FALSE(decode_response(bytes((32u << 20) + 8)));
  CHECK_FALSE(decode_cancel(bytes(72)));
  CHECK_FALSE(decode_datagram(samples::datagram_around(bytes(65'512))));
}

TEST_CASE("every flipped bit of a frame is noticed") {
  const auto frame = sample_frame();
  for (std::size_t bit = 0; bit < frame.size() * 8; ++bit) {
    auto broken = frame;
    broken[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto h = parse_header(header_of(broken));
    INFO("bit " << bit);
    CHECK_FALSE((h && verify(*h, header_of(broken), rest_of(broken))));
  }
}

TEST_CASE("every flipped bit and every cut of a datagram is noticed") {
  rng r(3);
  swim::datagram d;
  fields::fill(d, r);
  const auto whole = encode(d);
  REQUIRE(decode_datagram(whole));
  for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
    auto broken = whole;
    broken[bit / 8] ^= std::byte{1} << (bit % 8);
    CHECK_FALSE(decode_datagram(broken));
  }
  for (std::size_t size = 0; size < whole.size(); ++size) CHECK_FALSE(decode_datagram(byte_view(whole).first(size)));
  auto longer = whole;
  longer.resize(whole.size() + 8);
  CHECK_FALSE(decode_datagram(longer));
}

TEST_CASE("a datagram is not a frame, and a frame is not a datagram") {
  CHECK_FALSE(parse_header(header_of(encode(swim::datagram{}))));
  CHECK_FALSE(decode_datagram(encode(envelope{})));
}

TEST_CASE("sizes of statements and user data are exact") {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    rng r(seed);
    swim::datagram d;
    const auto empty = encode(d).size();
    std::size_t expected = empty;
    for (auto n = r.below(6); n > 0; --n) {
      d.statements.push_back(sample_statement(r));
      expected += encoded_size(d.statements.back());
    }
    for (auto n = r.below(6); n > 0; --n) {
      fields::fill(d.user.emplace_back(), r);
      expected += encoded_size(d.user.back());
    }
    expected += (d.statements.empty() ? 0 : 8) + (d.user.empty() ? 0 : 8);
    CHECK(encode(d).size() == expected);
  }
}

TEST_CASE("a datagram without statements takes at most 192 bytes and its names") {
  for (std::size_t length : {0, 7, 8, 40, 255}) {
    swim::datagram d;
    d.of.cluster = std::string(length, 'c');
    d.statements.resize(1);
    d.user.resize(1);
    const auto overhead = [&] { return encode(d).size() - encoded_size(d.statements[0]) - encoded_size(d.user[0]); };
    CHECK(overhead() <= 192 + length);
    d.body = swim::ping_request{1, {}, {std::string(length, 'h'), 1}};
    CHECK(overhead() <= 192 + length + 8 + length);
  }
}

TEST_CASE("that two views are equal costs 16 bytes of an ack, and over a stream 384") {
  rng r(7);
  swim::datagram d;
  d.of.cluster = "default";
  fields::fill(d.of.id, r);
  d.from = {r.next(), r.next()};
  d.body = swim::ack{r.next()};
  const auto without = encode(d);
  d.view_digest = d.exchange_digest = ~std::uint64_t{0};
  const auto with = encode(d);
  REQUIRE(with.size() == without.size());
  std::size_t told = 0;
  for (std::size_t i = header_size; i < with.size(); ++i) told += with[i] != without[i] ? 1 : 0;
  CHECK(told == 16);
  // A question and its answer, when one does not know the other's digest.
  const swim::push_pull bare{false, d.from, r.next(), {}, {}, {}};
  std::size_t stream = 0;
  for (const bool answer : {false, true}) {
    auto p = bare;
    p.answer = answer;
    stream += encode(envelope{d.of.id, meta_group, p}).size();
  }
  CHECK(stream == 384);
}

TEST_CASE("a datagram filled by these sizes fits, with 216 bytes for the rest") {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    rng r(seed);
    swim::datagram d;
    d.of.cluster = "production";
    fields::fill(d.of.id, r);
    fields::fill(d.from, r);
    d.body = swim::ping_request{r.next(), {r.next(), r.next()}, {"192.168.100.100", 7400}};
    std::size_t room = 1232 - 216;
    for (;;) {
      swim::statement s = sample_statement(r);
      if (encoded_size(s) > room) break;
      room -= encoded_size(s);
      d.statements.push_back(std::move(s));
      swim::user_datum u;
      fields::fill(u, r);
      if (encoded_size(u) > room) break;
      room -= encoded_size(u);
      d.user.push_back(std::move(u));
    }
    CHECK(d.statements.size() > 1);
    CHECK(encode(d).size() <= 1232);
  }
}
