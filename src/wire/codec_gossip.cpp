// Datagrams and views. Sizes are exact, so that the sender can fill a datagram to its last byte.
#include "wire/codec.hpp"
#include "wire/frame_building.hpp"
#include "wire/structs.hpp"

namespace coterie::wire {
namespace schema {

void put(Statement::Builder b, const swim::statement& v) {
  put_id(b.initId(), v.info.id);
  put_id(b.initAccuser(), v.accuser);
  b.setEpoch(v.inc.epoch.value);
  b.setCounter(v.inc.counter);
  put_address(b.initAt(), v.info.at);
  b.setState(as_enum<MemberState>(v.state));
  b.setProtocolMin(v.info.protocol_min);
  b.setProtocolMax(v.info.protocol_max);
  b.setName(text(v.info.name));
  b.setVersion(text(v.info.version));
  if (!v.info.tags.empty()) put_map(b.initTags(count(v.info.tags)), v.info.tags);
}

swim::statement get(Statement::Reader r) {
  swim::statement v;
  v.info.id = get_id<node_id>(r.getId());
  v.info.name = get_name(r.getName());
  v.info.at = get_address(r.getAt());
  v.info.version = get_name(r.getVersion());
  v.info.protocol_min = r.getProtocolMin();
  v.info.protocol_max = r.getProtocolMax();
  v.info.tags = get_text_map(r.getTags());
  v.inc = {boot_epoch(r.getEpoch()), r.getCounter()};
  v.state = get_enum(r.getState(), swim::member_state::left);
  v.accuser = get_id<node_id>(r.getAccuser());
  return v;
}

void put(UserDatum::Builder b, const swim::user_datum& v) {
  put_id(b.initOrigin(), v.origin);
  b.setEpoch(v.epoch.value);
  b.setVersion(v.version);
  b.setKey(text(v.key));
  b.setValue(blob(v.value.view()));
}

swim::user_datum get(UserDatum::Reader r) {
  return {get_id<node_id>(r.getOrigin()), boot_epoch(r.getEpoch()), get_name(r.getKey()), r.getVersion(),
          get_shared(r.getValue())};
}

void put(PushPull::Builder b, const swim::push_pull& v) {
  b.setAnswer(v.answer);
  put_id(b.initFrom(), v.from);
  b.setViewDigest(v.view_digest);
  if (!v.ranges.empty()) {
    auto ranges = b.initRanges(count(v.ranges));
    for (capnp::uint i = 0; i < ranges.size(); ++i) ranges.set(i, v.ranges[i]);
  }
  put_list(b.initStatements(count(v.statements)), v.statements);
  put_list(b.initUser(count(v.user)), v.user);
}

swim::push_pull get(PushPull::Reader r) {
  const auto ranges = r.getRanges();
  require(ranges.size() <= swim::view_ranges, "too many ranges");
  return {r.getAnswer(),
          get_id<node_id>(r.getFrom()),
          r.getViewDigest(),
          get_list(ranges, [](std::uint64_t digest) { return digest; }),
          get_list(r.getStatements()),
          get_list(r.getUser())};
}

}  // namespace schema

namespace {

struct put_datagram_body {
  schema::Datagram::Builder b;
  void operator()(const swim::ping& v) {
    b.setPing();
    b.setProbe(v.probe);
    put_id(b.initTarget(), v.target);
  }
  void operator()(const swim::ack& v) {
    b.setAck();
    b.setProbe(v.probe);
  }
  void operator()(const swim::ping_request& v) {
    b.setPingRequest();
    b.setProbe(v.probe);
    put_id(b.initTarget(), v.target);
    put_address(b.initAt(), v.at);
  }
  void operator()(const swim::indirect_ack& v) {
    b.setIndirectAck();
    b.setProbe(v.probe);
    put_id(b.initTarget(), v.target);
  }
  void operator()(const swim::indirect_nack& v) {
    b.setIndirectNack();
    b.setProbe(v.probe);
    put_id(b.initTarget(), v.target);
  }
  void operator()(const swim::gossip_only&) { b.setGossipOnly(); }
};

decltype(swim::datagram::body) get_datagram_body(schema::Datagram::Reader r) {
  const auto probe = r.getProbe();
  const auto target = get_id<node_id>(r.getTarget());
  switch (r.which()) {
    case schema::Datagram::GOSSIP_ONLY:
      return swim::gossip_only{};
    case schema::Datagram::PING:
      return swim::ping{probe, target};
    case schema::Datagram::ACK:
      return swim::ack{probe};
    case schema::Datagram::PING_REQUEST:
      return swim::ping_request{probe, target, get_address(r.getAt())};
    case schema::Datagram::INDIRECT_ACK:
      return swim::indirect_ack{probe, target};
    case schema::Datagram::INDIRECT_NACK:
      return swim::indirect_nack{probe, target};
  }
  refuse("unknown message");
}

swim::datagram get_datagram(schema::Datagram::Reader r) {
  swim::datagram v;
  v.of = {get_name(r.getCluster()), get_id<cluster_id>(r.getId()), r.getSeeds()};
  v.from = get_id<node_id>(r.getFrom());
  v.epoch = boot_epoch(r.getEpoch());
  v.view_digest = r.getViewDigest();
  v.exchange_digest = r.getExchangeDigest();
  const auto place = r.getPlace();
  v.place = {place.getX(), place.getY(), place.getZ(), place.getHeight(), place.getError()};
  v.body = get_datagram_body(r);
  v.statements = get_list(r.getStatements());
  v.user = get_list(r.getUser());
  return v;
}

template <class T>
constexpr std::size_t struct_size() {
  return 8 * std::size_t{T::_capnpPrivate::dataWordSize + T::_capnpPrivate::pointerCount};
}
constexpr std::size_t whole_words(std::size_t n) { return (n + 7) / 8 * 8; }
std::size_t text_size(const std::string& s) { return whole_words(s.size() + 1); }

}  // namespace

bytes encode(const swim::datagram& v) {
  return build_frame<schema::Datagram>(datagram_kind, usual_size, [&](schema::Datagram::Builder b) {
    b.setCluster(text(v.of.cluster));
    put_id(b.initId(), v.of.id);
    b.setSeeds(v.of.seeds);
    put_id(b.initFrom(), v.from);
    b.setEpoch(v.epoch.value);
    b.setViewDigest(v.view_digest);
    b.setExchangeDigest(v.exchange_digest);
    auto place = b.initPlace();
    place.setX(v.place.x);
    place.setY(v.place.y);
    place.setZ(v.place.z);
    place.setHeight(v.place.height);
    place.setError(v.place.error);
    std::visit(put_datagram_body{b}, v.body);
    if (!v.statements.empty()) put_list(b.initStatements(count(v.statements)), v.statements);
    if (!v.user.empty()) put_list(b.initUser(count(v.user)), v.user);
  });
}

result<swim::datagram> decode_datagram(byte_view whole) {
  if (whole.size() < header_size) return fail(errc::bad_argument, "datagram too short");
  const byte_view header = whole.first(header_size), body = whole.subspan(header_size);
  const auto parsed = parse_header_of(header, datagram_kind, datagram_kind);
  if (!parsed) return tl::unexpected(parsed.error());
  if (!verify(*parsed, header, body)) return fail(errc::bad_argument, "wrong checksum");
  return decode<schema::Datagram>(body, get_datagram);
}

std::size_t encoded_size(const swim::statement& v) {
  std::size_t n =
      struct_size<schema::Statement>() + text_size(v.info.name) + text_size(v.info.at.host) + text_size(v.info.version);
  if (!v.info.tags.empty()) n += 8;  // the list's tag
  for (const auto& [key, value] : v.info.tags) n += struct_size<schema::Pair>() + text_size(key) + text_size(value);
  return n;
}

std::size_t encoded_size(const swim::user_datum& v) {
  return struct_size<schema::UserDatum>() + text_size(v.key) + whole_words(v.value.size());
}

}  // namespace coterie::wire
