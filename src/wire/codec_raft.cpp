// Raft's messages and what it stores beside its log (log entries: log_entry.cpp).
#include "wire/codec.hpp"
#include "wire/structs.hpp"

namespace coterie::wire {
namespace schema {
namespace {

std::vector<node_id> get_sorted_ids(capnp::List<Id>::Reader list) {
  auto ids = get_ids(list);
  require(std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end(), "ids do not rise");
  return ids;
}

struct put_raft {
  RaftMessage::Builder b;
  void operator()(const raft::vote_request& v) {
    auto m = b.initVoteRequest();
    m.setPre(v.pre);
    m.setTransfer(v.transfer);
    m.setLastIndex(v.last_index.value);
    m.setLastTerm(v.last_term.value);
  }
  void operator()(const raft::vote_response& v) {
    auto m = b.initVoteResponse();
    m.setPre(v.pre);
    m.setGranted(v.granted);
  }
  void operator()(const raft::append_request& v) {
    auto m = b.initAppendRequest();
    m.setPrevIndex(v.prev_index.value);
    m.setPrevTerm(v.prev_term.value);
    m.setCommit(v.commit.value);
    m.setRound(v.round);
    m.setQuiet(v.quiet);
    if (!v.entries.empty()) put_list(m.initEntries(count(v.entries)), v.entries);
  }
  void operator()(const raft::append_response& v) {
    auto m = b.initAppendResponse();
    m.setOk(v.ok);
    m.setMatch(v.match.value);
    m.setHint(v.hint.value);
    m.setHintTerm(v.hint_term.value);
    m.setRound(v.round);
  }
  void operator()(const raft::snapshot_request& v) { put(b.initSnapshotRequest().initMeta(), v.meta); }
  void operator()(const raft::timeout_now& v) {
    if (v.unleased)
      b.initTimeoutNowUnleased().setUpto(v.unleased.value);
    else
      b.setTimeoutNow();
  }
  void operator()(const raft::read_request& v) { b.initReadRequest().setId(v.id); }
  void operator()(const raft::read_response& v) {
    auto m = b.initReadResponse();
    m.setId(v.id);
    m.setIndex(v.index.value);
    m.setOk(v.ok);
  }
};

raft::append_request get_append(RaftMessage::AppendRequest::Reader r) {
  raft::append_request v;
  v.prev_index = log_index(r.getPrevIndex());
  v.prev_term = term(r.getPrevTerm());
  v.commit = log_index(r.getCommit());
  v.entries = get_list(r.getEntries());
  v.round = r.getRound();
  v.quiet = r.getQuiet();
  return v;
}

decltype(raft::message::body) get_raft_body(RaftMessage::Reader r) {
  switch (r.which()) {
    case RaftMessage::TIMEOUT_NOW:
      return raft::timeout_now{};
    case RaftMessage::TIMEOUT_NOW_UNLEASED:
      return raft::timeout_now{log_index(r.getTimeoutNowUnleased().getUpto())};
    case RaftMessage::VOTE_REQUEST: {
      const auto m = r.getVoteRequest();
      return raft::vote_request{m.getPre(), m.getTransfer(), log_index(m.getLastIndex()), term(m.getLastTerm())};
    }
    case RaftMessage::VOTE_RESPONSE: {
      const auto m = r.getVoteResponse();
      return raft::vote_response{m.getPre(), m.getGranted()};
    }
    case RaftMessage::APPEND_REQUEST:
      return get_append(r.getAppendRequest());
    case RaftMessage::APPEND_RESPONSE: {
      const auto m = r.getAppendResponse();
      return raft::append_response{m.getOk(), log_index(m.getMatch()), log_index(m.getHint()), term(m.getHintTerm()),
                                   m.getRound()};
    }
    case RaftMessage::SNAPSHOT_REQUEST:
      return raft::snapshot_request{get(r.getSnapshotRequest().getMeta())};
    case RaftMessage::READ_REQUEST:
      return raft::read_request{r.getReadRequest().getId()};
    case RaftMessage::READ_RESPONSE: {
      const auto m = r.getReadResponse();
      return raft::read_response{m.getId(), log_index(m.getIndex()), m.getOk()};
    }
  }
  refuse("unknown Raft message");
}

}  // namespace

// Without its read lease, for which there is a place beside it.
void put(Configuration::Builder b, const raft::configuration& v) {
  put_ids(b.initVoters(count(v.voters)), v.voters);
  put_ids(b.initOutgoing(count(v.outgoing)), v.outgoing);
  put_ids(b.initLearners(count(v.learners)), v.learners);
}

raft::configuration get(Configuration::Reader r, std::uint32_t read_lease) {
  return {get_sorted_ids(r.getVoters()), get_sorted_ids(r.getOutgoing()), get_sorted_ids(r.getLearners()),
          std::chrono::milliseconds(read_lease)};
}
std::uint32_t put_read_lease(const raft::configuration& v) { return static_cast<std::uint32_t>(v.read_lease.count()); }

void put(Entry::Builder b, const raft::entry& v) {
  b.setTerm(v.when.value);
  b.setIndex(v.index.value);
  switch (v.kind) {
    case raft::entry_kind::noop:
      b.setNoop();
      break;
    case raft::entry_kind::command:
      b.setCommand(blob(v.payload.view()));
      break;
    case raft::entry_kind::configuration:
      put(b.initConfiguration(), v.conf);
      b.setReadLease(put_read_lease(v.conf));
      break;
  }
}

raft::entry get(Entry::Reader r) {
  raft::entry v;
  v.when = term(r.getTerm());
  v.index = log_index(r.getIndex());
  switch (r.which()) {
    case Entry::NOOP:
      return v;
    case Entry::COMMAND:
      v.kind = raft::entry_kind::command;
      v.payload = get_shared(r.getCommand());
      return v;
    case Entry::CONFIGURATION:
      v.kind = raft::entry_kind::configuration;
      v.conf = get(r.getConfiguration(), r.getReadLease());
      return v;
  }
  refuse("unknown entry kind");
}

void put(SnapshotMeta::Builder b, const raft::snapshot_meta& v) {
  b.setIndex(v.index.value);
  b.setTerm(v.when.value);
  put(b.initConf(), v.conf);
  b.setReadLease(put_read_lease(v.conf));
}

raft::snapshot_meta get(SnapshotMeta::Reader r) {
  return {log_index(r.getIndex()), term(r.getTerm()), get(r.getConf(), r.getReadLease())};
}

void put(RaftMessage::Builder b, const raft::message& v) {
  put_id(b.initFrom(), v.from);
  put_id(b.initTo(), v.to);
  b.setTerm(v.when.value);
  std::visit(put_raft{b}, v.body);
}

raft::message get(RaftMessage::Reader r) {
  return {get_id<node_id>(r.getFrom()), get_id<node_id>(r.getTo()), term(r.getTerm()), get_raft_body(r)};
}

}  // namespace schema

shared_bytes encode(const raft::hard_state& v) {
  return build<schema::HardState>(0, usual_size, [&](schema::HardState::Builder b) {
    b.setCurrent(v.current.value);
    put_id(b.initVote(), v.vote);
  });
}

result<raft::hard_state> decode_hard_state(byte_view b) {
  return decode<schema::HardState>(b, [](schema::HardState::Reader r) {
    return raft::hard_state{term(r.getCurrent()), get_id<node_id>(r.getVote())};
  });
}

shared_bytes encode(const raft::snapshot_meta& v, hash128_value chain) {
  return build<schema::StoredSnapshot>(0, usual_size, [&](schema::StoredSnapshot::Builder b) {
    put(b.initMeta(), v);
    put_id(b.initChain(), chain);
  });
}

result<decoded_snapshot_meta> decode_snapshot_meta(byte_view b) {
  return decode<schema::StoredSnapshot>(b, [](schema::StoredSnapshot::Reader r) {
    return decoded_snapshot_meta{get(r.getMeta()), get_id<hash128_value>(r.getChain())};
  });
}

}  // namespace coterie::wire
