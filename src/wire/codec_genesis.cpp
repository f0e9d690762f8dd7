// Hello, the genesis record and its messages, and the acceptor's stored state.
#include "wire/codec.hpp"
#include "wire/structs.hpp"

namespace coterie::wire {
namespace schema {
namespace {

void put(Ballot::Builder b, const swim::ballot& v) {
  b.setRound(v.round);
  put_id(b.initProposer(), v.proposer);
}
swim::ballot get(Ballot::Reader r) { return {r.getRound(), get_id<node_id>(r.getProposer())}; }

void put(Seed::Builder b, const swim::seed_slot& v) {
  put_id(b.initId(), v.id);
  b.setName(text(v.name));
  put_address(b.initAt(), v.at);
  b.setPublicKey(blob(v.public_key));
}
swim::seed_slot get(Seed::Reader r) {
  return {get_id<node_id>(r.getId()), get_name(r.getName()), get_address(r.getAt()), get_bytes(r.getPublicKey())};
}

void put(GenesisRecord::Builder b, const swim::genesis_record& v) {
  b.setCluster(text(v.cluster));
  b.setDigest(v.digest);
  b.setNonce(v.nonce);
  put_list(b.initSeeds(count(v.seeds)), v.seeds, [](auto s, const auto& seed) { put(s, seed); });
  put_ids(b.initVoters(count(v.voters)), v.voters);
  put_ids(b.initStandbys(count(v.standbys)), v.standbys);
}
swim::genesis_record get(GenesisRecord::Reader r) {
  swim::genesis_record v;
  v.cluster = get_name(r.getCluster());
  v.digest = r.getDigest();
  v.nonce = r.getNonce();
  v.seeds = get_list(r.getSeeds(), [](Seed::Reader s) { return get(s); });
  v.voters = get_ids(r.getVoters());
  v.standbys = get_ids(r.getStandbys());
  return v;
}

struct put_genesis {
  Genesis::Builder b;
  void operator()(const swim::genesis_prepare& v) {
    put(b.initBallot(), v.b);
    put_ids(b.initPrepare().initIds(count(v.ids)), v.ids);
  }
  void operator()(const swim::genesis_promise& v) {
    put(b.initBallot(), v.b);
    put_id(b.initFrom(), v.from);
    auto promise = b.initPromise();
    put(promise.initAcceptedBallot(), v.accepted_ballot);
    if (v.accepted) put(promise.initAccepted(), *v.accepted);
  }
  void operator()(const swim::genesis_reject& v) {
    put(b.initBallot(), v.b);
    put_id(b.initFrom(), v.from);
    put(b.initReject().initPromised(), v.promised);
  }
  void operator()(const swim::genesis_accept& v) {
    put(b.initBallot(), v.b);
    auto accept = b.initAccept();
    put_ids(accept.initIds(count(v.ids)), v.ids);
    put(accept.initRecord(), v.record);
  }
  void operator()(const swim::genesis_accepted& v) {
    put(b.initBallot(), v.b);
    put_id(b.initFrom(), v.from);
    auto accepted = b.initAccepted();
    put_id(accepted.initRecordId(), v.record_id);
    put(accepted.initRecord(), v.record);
  }
  void operator()(const swim::genesis_commit& v) {
    put_id(b.initFrom(), v.from);
    put(b.initCommit().initRecord(), v.record);
  }
  void operator()(const swim::genesis_commit_ack& v) {
    put_id(b.initFrom(), v.from);
    b.setCommitAck();
  }
};

}  // namespace

void put(Genesis::Builder b, const swim::genesis_message& v) { std::visit(put_genesis{b}, v); }

swim::genesis_message get(Genesis::Reader r) {
  const auto from = get_id<node_id>(r.getFrom());
  const swim::ballot ballot = get(r.getBallot());
  switch (r.which()) {
    case Genesis::PREPARE:
      return swim::genesis_prepare{ballot, get_ids(r.getPrepare().getIds())};
    case Genesis::PROMISE: {
      const auto promise = r.getPromise();
      swim::genesis_promise v{ballot, from, get(promise.getAcceptedBallot()), std::nullopt};
      if (promise.hasAccepted()) v.accepted = get(promise.getAccepted());
      return v;
    }
    case Genesis::REJECT:
      return swim::genesis_reject{ballot, from, get(r.getReject().getPromised())};
    case Genesis::ACCEPT: {
      const auto accept = r.getAccept();
      return swim::genesis_accept{ballot, get_ids(accept.getIds()), get(accept.getRecord())};
    }
    case Genesis::ACCEPTED: {
      const auto accepted = r.getAccepted();
      return swim::genesis_accepted{ballot, from, get_id<cluster_id>(accepted.getRecordId()),
                                    get(accepted.getRecord())};
    }
    case Genesis::COMMIT:
      return swim::genesis_commit{from, get(r.getCommit().getRecord())};
    case Genesis::COMMIT_ACK:
      return swim::genesis_commit_ack{from};
  }
  refuse("unknown genesis message");
}

void put(Hello::Builder b, const swim::hello& v) {
  b.setCluster(text(v.cluster));
  b.setName(text(v.name));
  b.setProtocolMin(v.protocol_min);
  b.setProtocolMax(v.protocol_max);
  b.setVersion(text(v.version));
  put_list(b.initSeeds(count(v.seeds)), v.seeds, [](auto s, const address& seed) { put_address(s, seed); });
  b.setDigest(v.digest);
  put_id(b.initId(), v.id);
  b.setEpoch(v.epoch.value);
  put_address(b.initAdvertise(), v.advertise);
  put_id(b.initClusterKnown(), v.cluster_known);
  if (v.record) put(b.initRecord(), *v.record);
  b.setStart(v.start);
  b.setLogEnd(v.log_end.value);
  auto ends = b.initDataLogEnds(count(v.data_log_ends));
  for (capnp::uint i = 0; i < count(v.data_log_ends); ++i) ends.set(i, v.data_log_ends[i].value);
}

swim::hello get(Hello::Reader r) {
  swim::hello v;
  v.cluster = get_name(r.getCluster());
  v.name = get_name(r.getName());
  v.protocol_min = r.getProtocolMin();
  v.protocol_max = r.getProtocolMax();
  v.version = get_name(r.getVersion());
  v.seeds = get_list(r.getSeeds(), [](Address::Reader seed) { return get_address(seed); });
  v.digest = r.getDigest();
  v.id = get_id<node_id>(r.getId());
  v.epoch = boot_epoch(r.getEpoch());
  v.advertise = get_address(r.getAdvertise());
  v.cluster_known = get_id<cluster_id>(r.getClusterKnown());
  if (r.hasRecord()) v.record = get(r.getRecord());
  v.start = r.getStart();
  v.log_end = log_index(r.getLogEnd());
  v.data_log_ends = get_list(r.getDataLogEnds(), [](std::uint64_t end) { return log_index(end); });
  return v;
}

void put(Acceptor::Builder b, const swim::acceptor_state& v) {
  put(b.initPromised(), v.promised);
  put(b.initAcceptedBallot(), v.accepted_ballot);
  if (v.accepted) put(b.initAccepted(), *v.accepted);
  put_id(b.initId(), v.id);
  if (v.committed) put(b.initCommitted(), *v.committed);
}

swim::acceptor_state get(Acceptor::Reader r) {
  swim::acceptor_state v;
  v.promised = get(r.getPromised());
  v.accepted_ballot = get(r.getAcceptedBallot());
  if (r.hasAccepted()) v.accepted = get(r.getAccepted());
  v.id = get_id<cluster_id>(r.getId());
  if (r.hasCommitted()) v.committed = get(r.getCommitted());
  return v;
}

}  // namespace schema

shared_bytes encode(const swim::acceptor_state& v) {
  return build<schema::Acceptor>(0, usual_size, [&](schema::Acceptor::Builder b) { put(b, v); });
}

result<swim::acceptor_state> decode_acceptor(byte_view b) {
  return decode<schema::Acceptor>(b, [](schema::Acceptor::Reader r) { return get(r); });
}

}  // namespace coterie::wire
