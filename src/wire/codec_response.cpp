// What a node answers its clients.
#include "wire/codec.hpp"
#include "wire/frame_building.hpp"
#include "wire/schemas/client.capnp.h"
#include "wire/structs.hpp"

namespace coterie::wire {
namespace schema {
namespace {

constexpr int response_nesting = 10;  // a list of jobs, each with lists of parameters that are lists

void put_status(Status::Builder b, const status_info& v) {
  b.setCluster(text(v.cluster));
  b.setNode(text(v.node));
  b.setState(text(v.state));
  b.setLeader(text(v.leader));
  b.setVersion(text(v.version));
  put_id(b.initId(), v.id);
  put_id(b.initSelf(), v.self);
  b.setBoot(v.boot.value);
  b.setReady(v.ready);
  b.setQuorum(v.quorum);
  b.setView(v.view);
  b.setTerm(v.term);
  b.setCommit(v.commit);
  b.setApplied(v.applied);
  b.setQuorumAlive(v.quorum_alive);
  b.setQuorumSize(v.quorum_size);
  put_texts(b.initWarnings(count(v.warnings)), v.warnings);
  b.setRole(text(v.place.role));
  b.setParent(text(v.place.parent));
  b.setDepth(v.place.depth);
  b.setChildren(v.place.children);
  b.setReadLease(v.read_lease_ms);
  put_list(b.initCounters(count(v.counters)), v.counters, [](Count::Builder c, const auto& counter) {
    c.setName(text(counter.first));
    c.setValue(counter.second);
  });
}

status_info get_status_info(Status::Reader r) {
  status_info v;
  v.cluster = get_text(r.getCluster());
  v.node = get_text(r.getNode());
  v.state = get_text(r.getState());
  v.leader = get_text(r.getLeader());
  v.version = get_text(r.getVersion());
  v.id = get_id<cluster_id>(r.getId());
  v.self = get_id<node_id>(r.getSelf());
  v.boot = boot_epoch(r.getBoot());
  v.ready = r.getReady();
  v.quorum = r.getQuorum();
  v.view = r.getView();
  v.term = r.getTerm();
  v.commit = r.getCommit();
  v.applied = r.getApplied();
  v.quorum_alive = r.getQuorumAlive();
  v.quorum_size = r.getQuorumSize();
  v.place.role = get_text(r.getRole());
  v.place.parent = get_text(r.getParent());
  v.place.depth = r.getDepth();
  v.place.children = r.getChildren();
  v.read_lease_ms = r.getReadLease();
  v.warnings = get_list(r.getWarnings(), get_text);
  v.counters = get_map<decltype(v.counters)>(
      r.getCounters(), [](Count::Reader c) { return std::pair(get_text(c.getName()), c.getValue()); });
  return v;
}

constexpr auto same = [](double v) { return v; };

void put_member(Member::Builder b, const member_info& v) {
  b.setName(text(v.name));
  b.setState(text(v.state));
  b.setRole(text(v.role));
  b.setVersion(text(v.version));
  put_id(b.initId(), v.id);
  put_address(b.initAt(), v.at);
  b.setSince(put_time(v.since));
  put_optional(b.initRttMs(), v.rtt_ms, same);
  put_map(b.initTags(count(v.tags)), v.tags);
  b.setLog(v.log);
  b.setLeader(v.leader);
  b.setSelf(v.self);
  b.setParent(text(v.parent));
  b.setDepth(v.depth);
}

member_info get_member(Member::Reader r) {
  member_info v;
  v.name = get_text(r.getName());
  v.state = get_text(r.getState());
  v.role = get_text(r.getRole());
  v.version = get_text(r.getVersion());
  v.id = get_id<node_id>(r.getId());
  v.at = get_address(r.getAt());
  v.since = get_time(r.getSince());
  v.rtt_ms = get_optional(r.getRttMs(), same);
  v.tags = get_text_map(r.getTags());
  v.log = r.getLog();
  v.leader = r.getLeader();
  v.self = r.getSelf();
  v.parent = get_text(r.getParent());
  v.depth = r.getDepth();
  return v;
}

void put_transition(Transition::Builder b, const transition& v) {
  b.setWhen(put_time(v.when));
  b.setWhat(text(v.what));
  b.setEvidence(text(v.evidence));
}
transition get_transition(Transition::Reader r) {
  return {get_time(r.getWhen()), get_text(r.getWhat()), get_text(r.getEvidence())};
}

void put_lock(LockInfo::Builder b, const lock_info& v) {
  b.setName(text(v.name));
  b.setOwner(text(v.owner));
  b.setFence(v.fence);
  b.setAcquired(put_time(v.acquired));
  b.setWaiters(v.waiters);
  b.setLabel(text(v.label));
  b.setIdle(v.idle);
}
lock_info get_lock(LockInfo::Reader r) {
  return {get_text(r.getName()), get_text(r.getOwner()), r.getFence(), get_time(r.getAcquired()),
          r.getWaiters(),        get_text(r.getLabel()), r.getIdle()};
}

void put_job(JobInfo::Builder b, const job_info& v) {
  put(b.initJob(), v.job);
  b.setOwner(text(v.owner));
  b.setRunnable(v.runnable);
}
job_info get_job(JobInfo::Reader r) {
  require(r.hasJob(), "a job without its record");
  return {get(r.getJob()), get_text(r.getOwner()), r.getRunnable()};
}

void put_run(RunInfo::Builder b, const run_out& v) {
  put(b.initRun(), v.run);
  b.setNode(text(v.node));
}
run_out get_run(RunInfo::Reader r) {
  require(r.hasRun(), "a run without its record");
  return {get(r.getRun()), get_text(r.getNode())};
}

void put_cache(CacheInfo::Builder b, const cache_info& v) {
  b.setName(text(v.name));
  b.setInvalidationsIn(v.invalidations_in);
  b.setInvalidationsOut(v.invalidations_out);
  b.setGapsRepaired(v.gaps_repaired);
  b.setUnverified(v.unverified);
}
cache_info get_cache(CacheInfo::Reader r) {
  return {get_text(r.getName()), r.getInvalidationsIn(), r.getInvalidationsOut(), r.getGapsRepaired(),
          r.getUnverified()};
}

struct put_response {
  Response::Builder b;
  void put_as_of(const std::optional<as_of>& v) {
    if (!v) return;
    auto s = b.initAsOf().initSome();
    s.setIndex(v->index.value);
    put_optional(s.initAge(), v->age);
  }
  void operator()(const failure& v) {
    auto f = b.initFailure();
    f.setCode(put_code(v.code));
    f.setMessage(text(v.message));
    f.setFirst(v.first);
    f.setSecond(v.second);
  }
  void operator()(const done&) { b.setDone(); }
  void operator()(const status_info& v) { put_status(b.initStatus(), v); }
  void operator()(const member_list& v) { put_list(b.initMembers(count(v.members)), v.members, put_member); }
  void operator()(const event_out& v) {
    auto e = b.initEvent();
    e.setIndex(v.index);
    e.setTime(put_time(v.time));
    e.setKind(text(v.kind));
    put_map(e.initFields(count(v.fields)), v.fields);
  }
  void operator()(const lock_granted& v) {
    auto g = b.initLockGranted();
    g.setFence(v.fence);
    g.setEpoch(v.epoch.value);
    g.setDeadlineRawNs(v.deadline_raw_ns);
    g.setDeadlineBootNs(v.deadline_boot_ns);
    g.setKeep(v.keep);
  }
  void operator()(const lock_renewed& v) {
    auto g = b.initLockRenewed();
    g.setDeadlineRawNs(v.deadline_raw_ns);
    g.setDeadlineBootNs(v.deadline_boot_ns);
  }
  void operator()(const lock_asked&) { b.setLockAsked(); }
  void operator()(const lock_wanted&) { b.setLockWanted(); }
  void operator()(const lock_list& v) {
    put_list(b.initLocks(count(v.locks)), v.locks, put_lock);
    put_as_of(v.as_of);
  }
  void operator()(const job_added& v) {
    auto j = b.initJobAdded();
    j.setId(text(v.id));
    j.setVersion(v.version);
    j.setChanged(v.changed);
    put_optional(j.initNext(), v.next);
    put_optional(j.initThen(), v.then);
  }
  void operator()(const job_list& v) {
    put_list(b.initJobs(count(v.jobs)), v.jobs, put_job);
    put_as_of(v.as_of);
  }
  void operator()(const run_list& v) {
    put_list(b.initRuns(count(v.runs)), v.runs, put_run);
    put_as_of(v.as_of);
  }
  void operator()(const run_job& v) {
    auto j = b.initRunJob();
    put(j.initRun(), v.run);
    put(j.initParams(count(v.params)), v.params);
    j.setDeadlineRawNs(v.deadline_raw_ns);
  }
  void operator()(const stop_job& v) {
    auto j = b.initStopJob();
    j.setJob(text(v.job));
    j.setFence(v.fence);
  }
  void operator()(const appended& v) {
    auto ids = b.initAppended().initIds(count(v.ids));
    for (capnp::uint i = 0; i < count(v.ids); ++i) ids.set(i, v.ids[i]);
  }
  void operator()(const entries& v) {
    auto e = b.initEntries();
    put_list(e.initList(count(v.list)), v.list);
    e.setToken(v.token);
    put_as_of(v.as_of);
  }
  void operator()(const journal_counts& v) {
    auto c = b.initJournalCounts();
    c.setCount(v.count);
    c.setRetained(v.retained);
    c.setCursor(v.cursor);
    put_as_of(v.as_of);
  }
  void operator()(const journal_ready&) { b.setJournalReady(); }
  void operator()(const invalidation_out& v) {
    auto i = b.initInvalidation();
    i.setCache(text(v.cache));
    if (v.key) i.setKey(blob(*v.key));
    i.setOrigin(text(v.origin));
    i.setRemote(v.remote);
  }
  void operator()(const cache_list& v) { put_list(b.initCaches(count(v.caches)), v.caches, put_cache); }
  void operator()(const message_out& v) {
    auto m = b.initMessage();
    m.setChannel(text(v.channel));
    m.setBody(blob(v.body));
    m.setSender(text(v.sender));
    m.setBoot(v.boot);
    m.setSeq(v.seq);
  }
  void operator()(const snapshot_page& v) {
    auto s = b.initSnapshot();
    s.setView(v.view);
    s.setCluster(text(v.cluster));
    put_id(s.initId(), v.id);
    s.setIndex(v.index.value);
    s.setTerm(v.when.value);
    s.setTaken(put_time(v.taken));
    put_list(s.initItems(count(v.items)), v.items);
    s.setMore(v.more);
  }
  void operator()(const explanation& v) {
    auto e = b.initExplanation();
    put_member(e.initWho(), v.who);
    e.setEpoch(v.epoch);
    e.setCounter(v.counter);
    e.setLocalHealth(v.local_health);
    put_list(e.initTransitions(count(v.transitions)), v.transitions, put_transition);
  }
  void operator()(const round_trip& v) {
    auto t = b.initRoundTrip();
    t.setFrom(text(v.from));
    t.setTo(text(v.to));
    put_optional(t.initEstimatedMs(), v.estimated_ms, same);
    put_optional(t.initMeasuredMs(), v.measured_ms, same);
    t.setError(v.error);
  }
};

run_job get_run_job(Response::RunJob::Reader r) { return {get(r.getRun()), get(r.getParams()), r.getDeadlineRawNs()}; }

invalidation_out get_invalidation(Response::Invalidation::Reader r) {
  invalidation_out v{get_text(r.getCache()), std::nullopt, get_text(r.getOrigin()), r.getRemote()};
  if (r.hasKey()) v.key = get_string(r.getKey());
  return v;
}

std::optional<as_of> get_as_of(Response::Reader r) {
  if (!r.getAsOf().isSome()) return std::nullopt;
  const auto s = r.getAsOf().getSome();
  return as_of{log_index(s.getIndex()), get_optional_duration(s.getAge())};
}

response get_response(Response::Reader r) {
  switch (r.which()) {
    case Response::FAILURE: {
      const auto f = r.getFailure();
      return failure{get_code(f.getCode()), get_text(f.getMessage()), f.getFirst(), f.getSecond()};
    }
    case Response::DONE:
      return done{};
    case Response::STATUS:
      return get_status_info(r.getStatus());
    case Response::MEMBERS:
      return member_list{get_list(r.getMembers(), get_member)};
    case Response::EVENT: {
      const auto e = r.getEvent();
      return event_out{e.getIndex(), get_time(e.getTime()), get_text(e.getKind()), get_text_map(e.getFields())};
    }
    case Response::LOCK_GRANTED: {
      const auto g = r.getLockGranted();
      return lock_granted{g.getFence(), session_epoch(g.getEpoch()), g.getDeadlineRawNs(), g.getDeadlineBootNs(),
                          g.getKeep()};
    }
    case Response::LOCK_RENEWED: {
      const auto g = r.getLockRenewed();
      return lock_renewed{g.getDeadlineRawNs(), g.getDeadlineBootNs()};
    }
    case Response::LOCK_ASKED:
      return lock_asked{};
    case Response::LOCK_WANTED:
      return lock_wanted{};
    case Response::LOCKS:
      return lock_list{get_list(r.getLocks(), get_lock), get_as_of(r)};
    case Response::JOB_ADDED: {
      const auto j = r.getJobAdded();
      return job_added{get_text(j.getId()), j.getVersion(), j.getChanged(), get_optional_time(j.getNext()),
                       get_optional_time(j.getThen())};
    }
    case Response::JOBS:
      return job_list{get_list(r.getJobs(), get_job), get_as_of(r)};
    case Response::RUNS:
      return run_list{get_list(r.getRuns(), get_run), get_as_of(r)};
    case Response::RUN_JOB:
      return get_run_job(r.getRunJob());
    case Response::STOP_JOB: {
      const auto j = r.getStopJob();
      return stop_job{get_text(j.getJob()), j.getFence()};
    }
    case Response::APPENDED:
      return appended{get_list(r.getAppended().getIds(), [](std::uint64_t id) { return id; })};
    case Response::ENTRIES: {
      const auto e = r.getEntries();
      return entries{get_list(e.getList()), e.getToken(), get_as_of(r)};
    }
    case Response::JOURNAL_COUNTS: {
      const auto c = r.getJournalCounts();
      return journal_counts{c.getCount(), c.getRetained(), c.getCursor(), get_as_of(r)};
    }
    case Response::JOURNAL_READY:
      return journal_ready{};
    case Response::INVALIDATION:
      return get_invalidation(r.getInvalidation());
    case Response::CACHES:
      return cache_list{get_list(r.getCaches(), get_cache)};
    case Response::MESSAGE: {
      const auto m = r.getMessage();
      return message_out{get_text(m.getChannel()), get_string(m.getBody()), get_text(m.getSender()), m.getBoot(),
                         m.getSeq()};
    }
    case Response::SNAPSHOT: {
      const auto s = r.getSnapshot();
      return snapshot_page{
          s.getView(),       get_name(s.getCluster()), get_id<cluster_id>(s.getId()), log_index(s.getIndex()),
          term(s.getTerm()), get_time(s.getTaken()),   get_list(s.getItems()),        s.getMore()};
    }
    case Response::EXPLANATION: {
      const auto e = r.getExplanation();
      return explanation{get_member(e.getWho()), e.getEpoch(), e.getCounter(), e.getLocalHealth(),
                         get_list(e.getTransitions(), get_transition)};
    }
    case Response::ROUND_TRIP: {
      const auto t = r.getRoundTrip();
      return round_trip{get_text(t.getFrom()), get_text(t.getTo()), get_optional(t.getEstimatedMs(), same),
                        get_optional(t.getMeasuredMs(), same), t.getError()};
    }
  }
  refuse("unknown response");
}

/// About how many bytes it takes.
std::size_t hint_of(const response& v) {
  std::size_t n = 512;
  if (const auto* e = std::get_if<entries>(&v)) {
    for (const auto& entry : e->list) n += 80 + entry.journal.size() + entry.type.size() + entry.message.size();
  } else if (const auto* m = std::get_if<message_out>(&v)) {
    n += m->body.size();
  } else if (const auto* s = std::get_if<snapshot_page>(&v)) {
    n += size_of(s->items);
  }
  return n;
}

}  // namespace
}  // namespace schema

bytes encode(std::uint64_t call, const response& v, bool last) {
  return build_frame<schema::Response>(frame_kind::response, schema::hint_of(v), [&](schema::Response::Builder b) {
    b.setCall(call);
    b.setLast(last);
    std::visit(schema::put_response{b}, v);
  });
}

result<decoded_response> decode_response(byte_view body) {
  if (auto fits = check_length(body, frame_kind::response); !fits) return tl::unexpected(std::move(fits.error()));
  return decode<schema::Response>(
      body,
      [](schema::Response::Reader r) {
        return decoded_response{r.getCall(), r.getLast(), schema::get_response(r)};
      },
      schema::response_nesting);
}

}  // namespace coterie::wire
