// What clients ask a node for.
#include "wire/codec.hpp"
#include "wire/frame_building.hpp"
#include "wire/schemas/client.capnp.h"
#include "wire/structs.hpp"

namespace coterie::wire {
namespace schema {

void put(LockUse::Builder b, const lock_use& v) {
  b.setName(text(v.name));
  b.setFence(v.fence);
  b.setUsed(v.used);
  b.setSince(put_time(v.since));
  b.setLabel(text(v.label));
  b.setWaiters(v.waiters);
}
lock_use get(LockUse::Reader r) {
  return {get_name(r.getName()),  r.getFence(),           r.getUsed(),
          get_time(r.getSince()), get_text(r.getLabel()), r.getWaiters()};
}

namespace {

struct put_request {
  Request::Builder b;
  void put_staleness(const staleness& v) { put_optional(b.initMaxAge(), v.max_age); }
  void put_staleness(const std::optional<staleness>& v) {
    if (!v) return;
    b.setStale(true);
    put_staleness(*v);
  }
  void operator()(const get_status&) { b.setGetStatus(); }
  void operator()(const get_members&) { b.setGetMembers(); }
  void operator()(const wait_members& v) { b.initWaitMembers().setCount(v.count); }
  void operator()(const follow_events& v) {
    auto q = b.initFollowEvents();
    q.setSince(v.since);
    q.setFollow(v.follow);
  }
  void operator()(const explain_member& v) { b.initExplainMember().setNode(text(v.node)); }
  void operator()(const get_round_trip& v) {
    auto q = b.initGetRoundTrip();
    q.setFrom(text(v.from));
    q.setTo(text(v.to));
  }
  void operator()(const init_without& v) {
    put_list(b.initInitWithout().initSeeds(count(v.seeds)), v.seeds,
             [](auto s, const address& seed) { put_address(s, seed); });
  }
  void operator()(const discard_record& v) { put_id(b.initDiscardRecord(), v.record); }
  void operator()(const set_tags& v) {
    auto q = b.initSetTags();
    put_map(q.initSet(count(v.set)), v.set);
    put_texts(q.initRemove(count(v.remove)), v.remove);
  }
  void operator()(const leave_cluster&) { b.setLeaveCluster(); }
  void operator()(const remove_node& v) { b.initRemoveNode().setNode(text(v.node)); }
  void operator()(const transfer_leadership& v) { b.initTransferLeadership().setNode(text(v.node)); }
  void operator()(const set_read_lease& v) { b.initSetReadLease().setLease(v.lease.count()); }
  void operator()(const read_snapshot& v) {
    auto q = b.initReadSnapshot();
    q.setView(v.view);
    q.setFrom(blob(byte_view(v.from)));
    q.setStale(v.stale);
  }
  void operator()(const stop_node&) { b.setStopNode(); }
  void operator()(const acquire_lock& v) {
    auto q = b.initAcquireLock();
    q.setName(text(v.name));
    q.setLabel(text(v.label));
    put_optional(q.initWait(), v.wait);
    q.setKeeps(v.keeps);
  }
  void operator()(const release_lock& v) {
    auto q = b.initReleaseLock();
    q.setName(text(v.name));
    q.setFence(v.fence);
  }
  void operator()(const tell_lock& v) { put(b.initTellLock(), v.use); }
  void operator()(const list_locks& v) {
    b.initListLocks().setName(text(v.name));
    put_staleness(v.stale);
  }
  void operator()(const add_job& v) { put(b.initAddJob(), v.job); }
  void operator()(const remove_job& v) { b.initRemoveJob().setId(text(v.id)); }
  void operator()(const list_jobs& v) {
    auto q = b.initListJobs();
    q.setId(text(v.id));
    q.setRunner(text(v.runner));
    put_staleness(v.stale);
  }
  void operator()(const job_history& v) {
    auto q = b.initJobHistory();
    q.setId(text(v.id));
    q.setMax(v.max);
    put_staleness(v.stale);
  }
  void operator()(const add_runner& v) { b.initAddRunner().setRunner(text(v.runner)); }
  void operator()(const finish_job& v) { put(b.initFinishJob(), v.run); }
  void operator()(const append_journal& v) {
    auto q = b.initAppendJournal();
    q.setJournal(text(v.journal));
    q.setKey(text(v.key));
    put_list(q.initItems(count(v.items)), v.items);
  }
  void operator()(const peek_journal& v) {
    auto q = b.initPeekJournal();
    q.setJournal(text(v.journal));
    q.setMax(v.max);
    put_staleness(v.stale);
  }
  void operator()(const count_journal& v) {
    b.initCountJournal().setJournal(text(v.journal));
    put_staleness(v.stale);
  }
  void operator()(const reset_journal& v) { b.initResetJournal().setJournal(text(v.journal)); }
  void operator()(const begin_process& v) {
    auto q = b.initBeginProcess();
    q.setJournal(text(v.journal));
    q.setMax(v.max);
  }
  void operator()(const end_process& v) {
    auto q = b.initEndProcess();
    q.setJournal(text(v.journal));
    q.setToken(v.token);
    q.setCursor(v.cursor);
  }
  void operator()(const wait_visible&) { b.setWaitVisible(); }
  void operator()(const watch_journal& v) { b.initWatchJournal().setJournal(text(v.journal)); }
  void operator()(const keep_journal& v) {
    auto q = b.initKeepJournal();
    q.setJournal(text(v.journal));
    q.setKeep(v.keep.count());
  }
  void operator()(const register_cache& v) {
    auto q = b.initRegisterCache();
    q.setCache(text(v.cache));
    q.setRemove(v.remove);
  }
  void operator()(const invalidate_cache& v) {
    auto q = b.initInvalidateCache();
    q.setCache(text(v.cache));
    if (v.key) q.setKey(blob(*v.key));
    q.setWait(v.wait);
    q.setExcept(v.except);
  }
  void operator()(const list_caches&) { b.setListCaches(); }
  void operator()(const publish& v) {
    auto q = b.initPublish();
    q.setChannel(text(v.channel));
    q.setBody(blob(v.body));
  }
  void operator()(const listen& v) { b.initListen().setChannel(text(v.channel)); }
};

invalidate_cache get_invalidate(Request::InvalidateCache::Reader r) {
  invalidate_cache v{get_name(r.getCache()), std::nullopt, r.getWait(), r.getExcept()};
  if (r.hasKey()) v.key = get_string(r.getKey());
  return v;
}

staleness get_max_age(Request::Reader r) { return {get_optional_duration(r.getMaxAge())}; }
std::optional<staleness> get_staleness(Request::Reader r) {
  return r.getStale() ? std::optional(get_max_age(r)) : std::nullopt;
}

request get_request(Request::Reader r) {
  switch (r.which()) {
    case Request::GET_STATUS:
      return get_status{};
    case Request::GET_MEMBERS:
      return get_members{};
    case Request::WAIT_MEMBERS:
      return wait_members{r.getWaitMembers().getCount()};
    case Request::FOLLOW_EVENTS: {
      const auto q = r.getFollowEvents();
      return follow_events{q.getSince(), q.getFollow()};
    }
    case Request::EXPLAIN_MEMBER:
      return explain_member{get_name(r.getExplainMember().getNode())};
    case Request::GET_ROUND_TRIP:
      return get_round_trip{get_name(r.getGetRoundTrip().getFrom()), get_name(r.getGetRoundTrip().getTo())};
    case Request::INIT_WITHOUT:
      return init_without{
          get_list(r.getInitWithout().getSeeds(), [](Address::Reader seed) { return get_address(seed); })};
    case Request::DISCARD_RECORD:
      return discard_record{get_id<cluster_id>(r.getDiscardRecord())};
    case Request::SET_TAGS: {
      const auto q = r.getSetTags();
      return set_tags{get_text_map(q.getSet()), get_list(q.getRemove(), get_text)};
    }
    case Request::LEAVE_CLUSTER:
      return leave_cluster{};
    case Request::REMOVE_NODE:
      return remove_node{get_name(r.getRemoveNode().getNode())};
    case Request::TRANSFER_LEADERSHIP:
      return transfer_leadership{get_name(r.getTransferLeadership().getNode())};
    case Request::SET_READ_LEASE:
      return set_read_lease{get_duration(r.getSetReadLease().getLease())};
    case Request::READ_SNAPSHOT: {
      const auto q = r.getReadSnapshot();
      return read_snapshot{q.getView(), get_bytes(q.getFrom()), q.getStale()};
    }
    case Request::STOP_NODE:
      return stop_node{};
    case Request::ACQUIRE_LOCK: {
      const auto q = r.getAcquireLock();
      return acquire_lock{get_name(q.getName()), get_text(q.getLabel()), get_optional_duration(q.getWait()),
                          q.getKeeps()};
    }
    case Request::RELEASE_LOCK: {
      const auto q = r.getReleaseLock();
      return release_lock{get_name(q.getName()), q.getFence()};
    }
    case Request::TELL_LOCK:
      return tell_lock{get(r.getTellLock())};
    case Request::LIST_LOCKS:
      return list_locks{get_name(r.getListLocks().getName()), get_staleness(r)};
    case Request::ADD_JOB:
      return add_job{get(r.getAddJob())};
    case Request::REMOVE_JOB:
      return remove_job{get_name(r.getRemoveJob().getId())};
    case Request::LIST_JOBS: {
      const auto q = r.getListJobs();
      return list_jobs{get_name(q.getId()), get_name(q.getRunner()), get_staleness(r)};
    }
    case Request::JOB_HISTORY: {
      const auto q = r.getJobHistory();
      return job_history{get_name(q.getId()), q.getMax(), get_staleness(r)};
    }
    case Request::ADD_RUNNER:
      return add_runner{get_name(r.getAddRunner().getRunner())};
    case Request::FINISH_JOB:
      return finish_job{get(r.getFinishJob())};
    case Request::APPEND_JOURNAL: {
      const auto q = r.getAppendJournal();
      return append_journal{get_name(q.getJournal()), get_text(q.getKey()), get_list(q.getItems())};
    }
    case Request::PEEK_JOURNAL: {
      const auto q = r.getPeekJournal();
      return peek_journal{get_name(q.getJournal()), q.getMax(), get_max_age(r)};
    }
    case Request::COUNT_JOURNAL:
      return count_journal{get_name(r.getCountJournal().getJournal()), get_max_age(r)};
    case Request::RESET_JOURNAL:
      return reset_journal{get_name(r.getResetJournal().getJournal())};
    case Request::BEGIN_PROCESS: {
      const auto q = r.getBeginProcess();
      return begin_process{get_name(q.getJournal()), q.getMax()};
    }
    case Request::END_PROCESS: {
      const auto q = r.getEndProcess();
      return end_process{get_name(q.getJournal()), q.getToken(), q.getCursor()};
    }
    case Request::WAIT_VISIBLE:
      return wait_visible{};
    case Request::WATCH_JOURNAL:
      return watch_journal{get_name(r.getWatchJournal().getJournal())};
    case Request::KEEP_JOURNAL: {
      const auto q = r.getKeepJournal();
      return keep_journal{get_name(q.getJournal()), get_duration(q.getKeep())};
    }
    case Request::REGISTER_CACHE: {
      const auto q = r.getRegisterCache();
      return register_cache{get_name(q.getCache()), q.getRemove()};
    }
    case Request::INVALIDATE_CACHE:
      return get_invalidate(r.getInvalidateCache());
    case Request::LIST_CACHES:
      return list_caches{};
    case Request::PUBLISH: {
      const auto q = r.getPublish();
      return publish{get_name(q.getChannel()), get_string(q.getBody())};
    }
    case Request::LISTEN:
      return listen{get_name(r.getListen().getChannel())};
  }
  refuse("unknown request");
}

/// About how many bytes it takes.
std::size_t hint_of(const request& v) {
  std::size_t n = 512;
  if (const auto* append = std::get_if<append_journal>(&v)) {
    for (const auto& item : append->items) n += 32 + item.type.size() + item.message.size();
  } else if (const auto* p = std::get_if<publish>(&v)) {
    n += p->body.size();
  }
  return n;
}

}  // namespace
}  // namespace schema

namespace {
constexpr std::int64_t longest_timeout_ms = 365ll * 24 * 3'600'000;
}

bytes encode(std::uint64_t call, const request& v, std::optional<milliseconds> timeout) {
  return build_frame<schema::Request>(frame_kind::request, schema::hint_of(v), [&](schema::Request::Builder b) {
    b.setCall(call);
    if (timeout) b.setTimeoutMs(std::max<std::int64_t>(timeout->count(), 0));
    std::visit(schema::put_request{b}, v);
  });
}

result<decoded_request> decode_request(byte_view body) {
  if (auto fits = check_length(body, frame_kind::request); !fits) return tl::unexpected(std::move(fits.error()));
  return decode<schema::Request>(body, [](schema::Request::Reader r) {
    decoded_request d{r.getCall(), schema::get_request(r), {}};
    if (const auto t = r.getTimeoutMs(); t >= 0)
      d.timeout = milliseconds(std::min<std::int64_t>(t, longest_timeout_ms));
    return d;
  });
}

bytes encode_cancel(std::uint64_t call) {
  return build_frame<schema::Cancel>(frame_kind::cancel, 0, [&](schema::Cancel::Builder b) { b.setCall(call); });
}

result<std::uint64_t> decode_cancel(byte_view body) {
  if (auto fits = check_length(body, frame_kind::cancel); !fits) return tl::unexpected(std::move(fits.error()));
  return decode<schema::Cancel>(body, [](schema::Cancel::Reader r) { return r.getCall(); });
}

}  // namespace coterie::wire
