// What nodes say to each other on streams.
#include "wire/codec.hpp"
#include "wire/frame_building.hpp"
#include "wire/schemas/peer.capnp.h"
#include "wire/structs.hpp"

namespace coterie::wire {

namespace schema {
namespace {

constexpr int peer_nesting = 10;  // a list of messages, each with a list of entries that have lists of ids

/// About how many bytes it takes.
std::size_t hint_of(const peer_message& v) {
  std::size_t n = 512;
  const auto add = [&](const std::vector<raft::entry>& entries) {
    for (const auto& e : entries) n += 40 + e.payload.size();
  };
  if (const auto* m = std::get_if<raft::message>(&v)) {
    if (const auto* append = std::get_if<raft::append_request>(&m->body)) add(append->entries);
  } else if (const auto* all = std::get_if<raft_messages>(&v)) {
    n += 128 * all->list.size();
  } else if (const auto* r = std::get_if<fetched>(&v)) {
    add(r->entries);
  } else if (const auto* f = std::get_if<forward>(&v)) {
    for (const auto& c : f->commands) n += 16 + c.size();
  } else if (const auto* chunk = std::get_if<snapshot_chunk>(&v)) {
    n += size_of(chunk->items);
  } else if (const auto* p = std::get_if<swim::push_pull>(&v)) {
    for (const auto& s : p->statements) n += encoded_size(s);
    for (const auto& u : p->user) n += encoded_size(u);
  } else if (const auto* u = std::get_if<user_message>(&v)) {
    n += u->body.size();
  } else if (const auto* q = std::get_if<lock_question>(&v)) {
    for (const auto& g : q->grants) n += 32 + g.name.size();
  } else if (const auto* told = std::get_if<lock_reply>(&v)) {
    for (const auto& use : told->uses) n += 64 + use.name.size() + use.label.size();
  }
  return n;
}

void put(Invalidation::Builder b, const invalidation& v) {
  b.setCache(text(v.cache));
  b.setSeq(v.seq);
  if (v.key) b.setKey(blob(*v.key));
  b.setWantAck(v.want_ack);
}
invalidation get(Invalidation::Reader r) {
  invalidation v{get_name(r.getCache()), r.getSeq(), std::nullopt, r.getWantAck()};
  if (r.hasKey()) v.key = get_string(r.getKey());
  return v;
}

struct put_peer {
  Peer::Builder b;
  void operator()(const swim::hello& v) { put(b.initHello(), v); }
  void operator()(const swim::genesis_message& v) { put(b.initGenesis(), v); }
  void operator()(const swim::push_pull& v) { put(b.initPushPull(), v); }
  void operator()(const swim::stream_ping& v) {
    auto m = b.initStreamPing();
    m.setProbe(v.probe);
    put_id(m.initTarget(), v.target);
  }
  void operator()(const swim::stream_ack& v) {
    auto m = b.initStreamAck();
    m.setProbe(v.probe);
    put_id(m.initFrom(), v.from);
  }
  void operator()(const raft::message& v) { put(b.initRaft(), v); }
  void operator()(const raft_messages& v) {
    put_list(b.initRaftMessages(count(v.list)), v.list, [](GroupMessage::Builder m, const group_message& one) {
      m.setGroup(one.group.value);
      put(m.initMessage(), one.what);
    });
  }
  void operator()(const join_request& v) {
    auto m = b.initJoinRequest();
    put_id(m.initId(), v.id);
    m.setName(text(v.name));
    put_address(m.initAt(), v.at);
    m.setBoot(v.boot.value);
  }
  void operator()(const join_answer& v) {
    auto m = b.initJoinAnswer();
    m.setVerdict(static_cast<std::uint8_t>(v.verdict));
    m.setReason(text(v.reason));
    m.setAsOf(v.as_of.value);
  }
  void operator()(const hand_over& v) { put_id(b.initHandOver().initTo(), v.to); }
  void operator()(const forward& v) {
    auto commands = b.initForward().initCommands(count(v.commands));
    for (capnp::uint i = 0; i < count(v.commands); ++i) commands.set(i, blob(v.commands[i].view()));
  }
  void operator()(const forward_refused& v) {
    auto m = b.initForwardRefused();
    put_list(m.initRequests(count(v.requests)), v.requests, [](RefusedRequest::Builder q, const auto& request) {
      q.setSession(request.first.value);
      q.setSeq(request.second.value);
    });
    m.setCode(put_code(v.code));
  }
  void operator()(const keepalives& v) {
    auto m = b.initKeepalives();
    put_list(m.initList(count(v.list)), v.list, [](Keepalive::Builder k, const keepalive& one) {
      k.setEpoch(one.epoch.value);
      k.setId(one.id);
      put_ids(k.initUnanswered(count(one.unanswered)), one.unanswered);
    });
    m.setForLeader(v.for_leader);
  }
  void operator()(const keepalive_acks& v) {
    put_list(b.initKeepaliveAcks(count(v.list)), v.list, [](KeepaliveAck::Builder k, const keepalive_ack& one) {
      k.setEpoch(one.epoch.value);
      k.setId(one.id);
      k.setEnded(one.ended);
      k.setCommit(one.commit.value);
    });
  }
  void operator()(const fetch& v) {
    auto m = b.initFetch();
    m.setId(v.id);
    m.setNext(v.next.value);
    put_id(m.initChain(), v.chain);
    m.setDepth(v.depth);
  }
  void operator()(const fetched& v) {
    auto m = b.initFetched();
    m.setId(v.id);
    m.setVerdict(static_cast<std::uint8_t>(v.verdict));
    put_list(m.initEntries(count(v.entries)), v.entries);
    m.setCommit(v.commit.value);
    put_id(m.initLeader(), v.leader);
    m.setTerm(v.when.value);
    m.setDepth(v.depth);
    m.setAge(v.age.count());
  }
  void operator()(const lock_question& v) {
    auto m = b.initLockQuestion();
    m.setId(v.id);
    put_list(m.initGrants(count(v.grants)), v.grants, [](HeldGrant::Builder g, const held_grant& one) {
      g.setName(text(one.name));
      g.setGrant(one.grant.value);
    });
  }
  void operator()(const lock_reply& v) {
    auto m = b.initLockReply();
    m.setId(v.id);
    put_list(m.initUses(count(v.uses)), v.uses, [](LockUse::Builder u, const lock_use& one) { put(u, one); });
  }
  void operator()(const snapshot_chunk& v) {
    auto m = b.initSnapshotChunk();
    m.setTransfer(v.transfer);
    m.setNumber(v.number);
    m.setTerm(v.when.value);
    put(m.initMeta(), v.meta);
    put_id(m.initChain(), v.chain);
    put_list(m.initItems(count(v.items)), v.items);
    m.setLast(v.last);
  }
  void operator()(const snapshot_ack& v) {
    auto m = b.initSnapshotAck();
    m.setTransfer(v.transfer);
    m.setNumber(v.number);
    m.setOk(v.ok);
    m.setInstalled(v.installed);
  }
  void operator()(const invalidations& v) {
    auto m = b.initInvalidations();
    m.setBoot(v.boot.value);
    put_list(m.initList(count(v.list)), v.list, [](Invalidation::Builder i, const invalidation& one) { put(i, one); });
  }
  void operator()(const invalidation_ack& v) {
    auto m = b.initInvalidationAck();
    m.setBoot(v.boot.value);
    m.setCache(text(v.cache));
    m.setSeq(v.seq);
  }
  void operator()(const invalidation_pull& v) {
    auto m = b.initInvalidationPull();
    m.setCache(text(v.cache));
    m.setBoot(v.boot.value);
    m.setAfter(v.after);
  }
  void operator()(const invalidation_gone& v) {
    auto m = b.initInvalidationGone();
    m.setCache(text(v.cache));
    m.setBoot(v.boot.value);
    m.setLast(v.last);
  }
  void operator()(const user_message& v) {
    auto m = b.initUserMessage();
    m.setChannel(text(v.channel));
    m.setBody(blob(v.body));
    m.setBoot(v.boot.value);
    m.setSeq(v.seq);
  }
};

forward_refused get_refused(Peer::ForwardRefused::Reader r) {
  return {get_list(r.getRequests(),
                   [](RefusedRequest::Reader q) {
                     return std::pair(session_epoch(q.getSession()), request_seq(q.getSeq()));
                   }),
          get_code(r.getCode())};
}

snapshot_chunk get_chunk(Peer::SnapshotChunk::Reader r) {
  snapshot_chunk v;
  v.transfer = r.getTransfer();
  v.number = r.getNumber();
  v.when = term(r.getTerm());
  v.meta = get(r.getMeta());
  v.chain = get_id<hash128_value>(r.getChain());
  v.items = get_list(r.getItems());
  v.last = r.getLast();
  return v;
}

fetched get_fetched(Peer::Fetched::Reader r) {
  fetched v;
  v.id = r.getId();
  v.verdict = get_enum(r.getVerdict(), fetch_verdict::fork);
  v.entries = get_list(r.getEntries());
  v.commit = log_index(r.getCommit());
  v.leader = get_id<node_id>(r.getLeader());
  v.when = term(r.getTerm());
  v.depth = r.getDepth();
  v.age = get_duration(r.getAge());
  return v;
}

peer_message get_message(Peer::Reader r) {
  switch (r.which()) {
    case Peer::HELLO:
      return get(r.getHello());
    case Peer::GENESIS:
      return get(r.getGenesis());
    case Peer::PUSH_PULL:
      return get(r.getPushPull());
    case Peer::STREAM_PING: {
      const auto m = r.getStreamPing();
      return swim::stream_ping{m.getProbe(), get_id<node_id>(m.getTarget())};
    }
    case Peer::STREAM_ACK: {
      const auto m = r.getStreamAck();
      return swim::stream_ack{m.getProbe(), get_id<node_id>(m.getFrom())};
    }
    case Peer::RAFT:
      return get(r.getRaft());
    case Peer::JOIN_REQUEST: {
      const auto m = r.getJoinRequest();
      return join_request{get_id<node_id>(m.getId()), get_name(m.getName()), get_address(m.getAt()),
                          boot_epoch(m.getBoot())};
    }
    case Peer::JOIN_ANSWER: {
      const auto m = r.getJoinAnswer();
      return join_answer{get_enum(m.getVerdict(), join_verdict::elsewhere), get_text(m.getReason()),
                         log_index(m.getAsOf())};
    }
    case Peer::HAND_OVER:
      return hand_over{get_id<node_id>(r.getHandOver().getTo())};
    case Peer::FORWARD:
      return forward{get_list(r.getForward().getCommands(), get_shared)};
    case Peer::FORWARD_REFUSED:
      return get_refused(r.getForwardRefused());
    case Peer::KEEPALIVES: {
      const auto m = r.getKeepalives();
      return keepalives{get_list(m.getList(),
                                 [](Keepalive::Reader k) {
                                   return keepalive{session_epoch(k.getEpoch()), k.getId(), get_ids(k.getUnanswered())};
                                 }),
                        m.getForLeader()};
    }
    case Peer::KEEPALIVE_ACKS:
      return keepalive_acks{get_list(r.getKeepaliveAcks(), [](KeepaliveAck::Reader k) {
        return keepalive_ack{session_epoch(k.getEpoch()), k.getId(), k.getEnded(), log_index(k.getCommit())};
      })};
    case Peer::FETCH: {
      const auto m = r.getFetch();
      return fetch{m.getId(), log_index(m.getNext()), get_id<hash128_value>(m.getChain()), m.getDepth()};
    }
    case Peer::LOCK_QUESTION: {
      const auto m = r.getLockQuestion();
      return lock_question{m.getId(), get_list(m.getGrants(), [](HeldGrant::Reader g) {
                             return held_grant{get_name(g.getName()), grant_id(g.getGrant())};
                           })};
    }
    case Peer::LOCK_REPLY: {
      const auto m = r.getLockReply();
      return lock_reply{m.getId(), get_list(m.getUses(), [](LockUse::Reader u) { return get(u); })};
    }
    case Peer::RAFT_MESSAGES:
      return raft_messages{get_list(r.getRaftMessages(), [](GroupMessage::Reader m) {
        return group_message{group_id(m.getGroup()), get(m.getMessage())};
      })};
    case Peer::FETCHED:
      return get_fetched(r.getFetched());
    case Peer::SNAPSHOT_CHUNK:
      return get_chunk(r.getSnapshotChunk());
    case Peer::SNAPSHOT_ACK: {
      const auto m = r.getSnapshotAck();
      return snapshot_ack{m.getTransfer(), m.getNumber(), m.getOk(), m.getInstalled()};
    }
    case Peer::INVALIDATIONS: {
      const auto m = r.getInvalidations();
      return invalidations{boot_epoch(m.getBoot()),
                           get_list(m.getList(), [](Invalidation::Reader i) { return get(i); })};
    }
    case Peer::INVALIDATION_ACK: {
      const auto m = r.getInvalidationAck();
      return invalidation_ack{boot_epoch(m.getBoot()), get_name(m.getCache()), m.getSeq()};
    }
    case Peer::INVALIDATION_PULL: {
      const auto m = r.getInvalidationPull();
      return invalidation_pull{get_name(m.getCache()), boot_epoch(m.getBoot()), m.getAfter()};
    }
    case Peer::INVALIDATION_GONE: {
      const auto m = r.getInvalidationGone();
      return invalidation_gone{get_name(m.getCache()), boot_epoch(m.getBoot()), m.getLast()};
    }
    case Peer::USER_MESSAGE: {
      const auto m = r.getUserMessage();
      return user_message{get_name(m.getChannel()), get_string(m.getBody()), boot_epoch(m.getBoot()), m.getSeq()};
    }
  }
  refuse("unknown peer message");
}

}  // namespace
}  // namespace schema

bytes encode(const envelope& v) {
  return build_frame<schema::Peer>(frame_kind::peer, schema::hint_of(v.body), [&](schema::Peer::Builder b) {
    put_id(b.initCluster(), v.cluster);
    b.setGroup(v.group.value);
    std::visit(schema::put_peer{b}, v.body);
  });
}

result<envelope> decode_peer(byte_view body) {
  if (auto fits = check_length(body, frame_kind::peer); !fits) return tl::unexpected(std::move(fits.error()));
  return decode<schema::Peer>(
      body,
      [](schema::Peer::Reader r) {
        return envelope{get_id<cluster_id>(r.getCluster()), group_id(r.getGroup()), schema::get_message(r)};
      },
      schema::peer_nesting);
}

}  // namespace coterie::wire
