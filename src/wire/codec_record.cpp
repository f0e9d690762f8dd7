// The values of the replicated state; a key's first letter says which struct its value is.
#include "wire/codec.hpp"
#include "wire/structs.hpp"

namespace coterie::wire {
namespace schema {
namespace {

void put(GlobalRecord::Builder b, const machine::global_record& v) {
  b.setView(v.view);
  b.setLastJournalId(v.last_journal_id);
  b.setLastStamp(put_time(v.last_stamp));
  b.setReadLease(v.read_lease.count());
  b.setLastAdmitted(v.last_admitted.value);
}
machine::global_record get(GlobalRecord::Reader r) {
  return {r.getView(), r.getLastJournalId(), get_time(r.getLastStamp()), get_duration(r.getReadLease()),
          session_epoch(r.getLastAdmitted())};
}

void put(MemberRecord::Builder b, const machine::member_record& v) {
  put_id(b.initId(), v.id);
  b.setName(text(v.name));
  put_address(b.initAt(), v.at);
  b.setViewJoined(v.view_joined);
  b.setRemoved(v.removed);
  b.setLeft(v.left);
  b.setStopped(v.stopped);
  b.setFailed(v.failed);
}
machine::member_record get(MemberRecord::Reader r) {
  return {get_id<node_id>(r.getId()),
          get_text(r.getName()),
          get_address(r.getAt()),
          r.getViewJoined(),
          r.getRemoved(),
          r.getLeft(),
          r.getStopped(),
          r.getFailed()};
}

void put(SessionRecord::Builder b, const machine::session_record& v) {
  b.setEpoch(v.epoch.value);
  put_id(b.initNode(), v.node);
  b.setBoot(v.boot.value);
  b.setNonce(v.nonce);
  b.setTtl(v.ttl.count());
  b.setActive(v.active);
  b.setStopping(v.stopping);
  put_texts(b.initRunners(count(v.runners)), v.runners);
  b.setAcked(v.acked.value);
  put_list(b.initUsed(count(v.used)), v.used, [](UsedRequest::Builder u, const auto& used) {
    u.setSeq(used.first.value);
    u.setCode(put_code(used.second.code));
    u.setValue(used.second.value);
    u.setValue2(used.second.value2);
    u.setText(text(used.second.text));
  });
}
machine::session_record get(SessionRecord::Reader r) {
  machine::session_record v;
  v.epoch = session_epoch(r.getEpoch());
  v.node = get_id<node_id>(r.getNode());
  v.boot = boot_epoch(r.getBoot());
  v.nonce = r.getNonce();
  v.ttl = get_duration(r.getTtl());
  v.active = r.getActive();
  v.stopping = r.getStopping();
  v.runners = get_list(r.getRunners(), get_text);
  v.acked = request_seq(r.getAcked());
  v.used = get_map<decltype(v.used)>(r.getUsed(), [](UsedRequest::Reader u) {
    return std::pair(request_seq(u.getSeq()),
                     machine::answer{get_code(u.getCode()), u.getValue(), u.getValue2(), get_text(u.getText())});
  });
  return v;
}

void put(LockWaiter::Builder b, const machine::lock_waiter& v) {
  b.setSession(v.session.value);
  b.setRequest(v.request.value);
  b.setLabel(text(v.label));
}
machine::lock_waiter get(LockWaiter::Reader r) {
  return {session_epoch(r.getSession()), request_seq(r.getRequest()), get_text(r.getLabel())};
}

void put(LockRecord::Builder b, const machine::lock_record& v) {
  b.setName(text(v.name));
  if (v.holder) {
    auto h = b.initHolder();
    h.setSession(v.holder->session.value);
    h.setRequest(v.holder->request.value);
    h.setGrant(v.holder->grant.value);
    h.setLabel(text(v.holder->label));
    h.setAcquired(put_time(v.holder->acquired));
  }
  put_list(b.initWaiters(count(v.waiters)), v.waiters,
           [](LockWaiter::Builder w, const auto& waiter) { put(w, waiter); });
}
machine::lock_record get(LockRecord::Reader r) {
  machine::lock_record v;
  v.name = get_text(r.getName());
  if (r.hasHolder()) {
    const auto h = r.getHolder();
    v.holder = machine::lock_holder{session_epoch(h.getSession()), request_seq(h.getRequest()), grant_id(h.getGrant()),
                                    get_text(h.getLabel()), get_time(h.getAcquired())};
  }
  v.waiters = get_list(r.getWaiters(), [](LockWaiter::Reader w) { return get(w); });
  return v;
}

void put(JournalRecord::Builder b, const machine::journal_record& v) {
  b.setName(text(v.name));
  b.setFirst(v.first);
  b.setLast(v.last);
  b.setCount(v.count);
  b.setTrimmed(v.trimmed);
  b.setTotal(v.total);
  b.setKeep(v.keep.count());
  b.setLastCreated(put_time(v.last_created));
}
machine::journal_record get(JournalRecord::Reader r) {
  return {get_text(r.getName()),
          r.getFirst(),
          r.getLast(),
          r.getCount(),
          r.getTrimmed(),
          r.getTotal(),
          get_duration(r.getKeep()),
          get_time(r.getLastCreated())};
}

void put(JournalBucket::Builder b, const machine::journal_bucket& v) {
  b.setJournal(text(v.journal));
  b.setFirst(v.first);
  b.setLast(v.last);
  b.setCount(v.count);
  b.setNewest(put_time(v.newest));
}
machine::journal_bucket get(JournalBucket::Reader r) {
  return {get_text(r.getJournal()), r.getFirst(), r.getLast(), r.getCount(), get_time(r.getNewest())};
}

void put(JournalKey::Builder b, const machine::journal_key& v) {
  b.setJournal(text(v.journal));
  b.setKey(text(v.key));
  b.setFirst(v.first);
  b.setLast(v.last);
}
machine::journal_key get(JournalKey::Reader r) {
  return {get_text(r.getJournal()), get_text(r.getKey()), r.getFirst(), r.getLast()};
}

}  // namespace

void put(JobRun::Builder b, const machine::job_run_record& v) {
  b.setJob(text(v.job));
  b.setNumber(v.number);
  b.setVersion(v.version);
  b.setScheduled(put_time(v.scheduled));
  b.setAttempt(v.attempt);
  b.setCoalesced(v.coalesced);
  b.setFence(v.fence);
  b.setSession(v.session.value);
  put_id(b.initNode(), v.node);
  b.setClaimed(put_time(v.claimed));
  put_optional(b.initStarted(), v.started);
  put_optional(b.initTook(), v.took);
  put_optional(b.initOutcome(), v.what, as_enum<Outcome, machine::outcome>);
  b.setMessage(text(v.message));
}

machine::job_run_record get(JobRun::Reader r) {
  machine::job_run_record v;
  v.job = get_text(r.getJob());
  v.number = r.getNumber();
  v.version = r.getVersion();
  v.scheduled = get_time(r.getScheduled());
  v.attempt = r.getAttempt();
  v.coalesced = r.getCoalesced();
  v.fence = r.getFence();
  v.session = session_epoch(r.getSession());
  v.node = get_id<node_id>(r.getNode());
  v.claimed = get_time(r.getClaimed());
  v.started = get_optional_time(r.getStarted());
  v.took = get_optional_duration(r.getTook());
  v.what = get_optional(r.getOutcome(), get_outcome);
  v.message = get_text(r.getMessage());
  return v;
}

void put(JobRecord::Builder b, const machine::job_record& v) {
  b.setId(text(v.id));
  put(b.initConfig(), v.config);
  b.setVersion(v.version);
  b.setOwner(v.owner.value);
  put_optional(b.initNext(), v.next);
  put_optional(b.initLast(), v.last);
  put_optional(b.initLastOutcome(), v.last_outcome, as_enum<Outcome, machine::outcome>);
  put_list(b.initRunning(count(v.running)), v.running);
  put_list(b.initLost(count(v.lost)), v.lost);
  b.setHistoryFirst(v.history_first);
  b.setHistoryCount(v.history_count);
  b.setCreated(put_time(v.created));
}

machine::job_record get(JobRecord::Reader r) {
  machine::job_record v;
  v.id = get_text(r.getId());
  v.config = get(r.getConfig());
  v.version = r.getVersion();
  v.owner = session_epoch(r.getOwner());
  v.next = get_optional_time(r.getNext());
  v.last = get_optional_time(r.getLast());
  v.last_outcome = get_optional(r.getLastOutcome(), get_outcome);
  v.running = get_list(r.getRunning());
  v.lost = get_list(r.getLost());
  v.history_first = r.getHistoryFirst();
  v.history_count = r.getHistoryCount();
  v.created = get_time(r.getCreated());
  return v;
}

void put(JournalEntry::Builder b, const machine::journal_entry& v) {
  b.setJournal(text(v.journal));
  b.setId(v.id);
  b.setOrdinal(v.ordinal);
  b.setCreated(put_time(v.created));
  b.setType(text(v.type));
  b.setMessage(text(v.message));
}

machine::journal_entry get(JournalEntry::Reader r) {
  return {get_text(r.getJournal()), r.getId(), r.getOrdinal(), get_time(r.getCreated()), get_text(r.getType()),
          get_text(r.getMessage())};
}

namespace {

template <class Root, class T>
shared_bytes encode_as(const T& v, std::size_t size = usual_size) {
  return build<Root>(0, size, [&](typename Root::Builder b) { put(b, v); });
}
template <class Root>
result<machine::record> decode_as(byte_view value) {
  return decode<Root>(value, [](typename Root::Reader r) -> machine::record { return get(r); });
}

struct encode_record {
  shared_bytes operator()(const machine::global_record& v) const { return encode_as<GlobalRecord>(v); }
  shared_bytes operator()(const machine::member_record& v) const { return encode_as<MemberRecord>(v); }
  shared_bytes operator()(const machine::session_record& v) const {
    return encode_as<SessionRecord>(v, 512 + v.used.size() * 64);
  }
  shared_bytes operator()(const machine::lock_record& v) const { return encode_as<LockRecord>(v); }
  shared_bytes operator()(const machine::job_record& v) const { return encode_as<JobRecord>(v); }
  shared_bytes operator()(const machine::journal_record& v) const { return encode_as<JournalRecord>(v); }
  shared_bytes operator()(const machine::journal_bucket& v) const { return encode_as<JournalBucket>(v); }
  shared_bytes operator()(const machine::journal_key& v) const { return encode_as<JournalKey>(v); }
  shared_bytes operator()(const machine::journal_entry& v) const {
    return encode_as<JournalEntry>(v, 256 + v.message.size());
  }
  shared_bytes operator()(const machine::job_run_record& v) const { return encode_as<JobRun>(v); }
};

}  // namespace
}  // namespace schema

shared_bytes encode(const machine::record& v) { return std::visit(schema::encode_record{}, v); }

result<machine::record> decode_record(byte_view key, byte_view value) {
  switch (key.empty() ? '\0' : static_cast<char>(key[0])) {
    case 'g':
      return schema::decode_as<schema::GlobalRecord>(value);
    case 'm':
      return schema::decode_as<schema::MemberRecord>(value);
    case 's':
      return schema::decode_as<schema::SessionRecord>(value);
    case 'l':
      return schema::decode_as<schema::LockRecord>(value);
    case 'j':
      return schema::decode_as<schema::JobRecord>(value);
    case 'q':
      return schema::decode_as<schema::JournalRecord>(value);
    case 'b':
      return schema::decode_as<schema::JournalBucket>(value);
    case 'k':
      return schema::decode_as<schema::JournalKey>(value);
    case 'E':
      return schema::decode_as<schema::JournalEntry>(value);
    case 'H':
      return schema::decode_as<schema::JobRun>(value);
    default:
      return fail(errc::bad_argument, "a record's key has an unknown class");
  }
}

}  // namespace coterie::wire
