// The commands of the replicated services, as they stand in log entries.
#include "wire/codec.hpp"
#include "wire/structs.hpp"

namespace coterie::wire {

namespace schema {
namespace {

void put_schedule(Schedule::Builder b, const calendar::schedule& v) {
  if (const auto* c = std::get_if<calendar::cron_schedule>(&v)) {
    auto s = b.initCron();
    s.setExpression(text(c->expression));
    s.setZone(text(c->zone));
    s.setGap(as_enum<DstGap>(c->dst.gap));
    s.setOverlap(as_enum<DstOverlap>(c->dst.overlap));
  } else if (const auto* i = std::get_if<calendar::interval_schedule>(&v)) {
    auto s = b.initInterval();
    s.setEvery(i->every.count());
    put_optional(s.initFirst(), i->first);
  } else {
    put_optional(b.initOnce().initAt(), std::get<calendar::once_schedule>(v).at);
  }
}

calendar::schedule get_schedule(Schedule::Reader r) {
  switch (r.which()) {
    case Schedule::CRON: {
      const auto s = r.getCron();
      return calendar::cron_schedule{get_text(s.getExpression()),
                                     get_name(s.getZone()),
                                     {get_enum(s.getGap(), calendar::dst_gap::at_transition),
                                      get_enum(s.getOverlap(), calendar::dst_overlap::both)}};
    }
    case Schedule::INTERVAL: {
      const auto s = r.getInterval();
      return calendar::interval_schedule{get_duration(s.getEvery()), get_optional_time(s.getFirst())};
    }
    case Schedule::ONCE:
      return calendar::once_schedule{get_optional_time(r.getOnce().getAt())};
  }
  refuse("unknown schedule");
}

void put_value(ParamValue::Builder b, const machine::job_param& v) {
  if (const auto* i = std::get_if<std::int64_t>(&v)) {
    b.setInteger(*i);
  } else if (const auto* d = std::get_if<double>(&v)) {
    b.setReal(*d);
  } else if (const auto* f = std::get_if<bool>(&v)) {
    b.setFlag(*f);
  } else {
    b.setText(text(std::get<std::string>(v)));
  }
}

machine::job_param get_value(ParamValue::Reader r) {
  switch (r.which()) {
    case ParamValue::INTEGER:
      return r.getInteger();
    case ParamValue::REAL:
      return r.getReal();
    case ParamValue::FLAG:
      return r.getFlag();
    case ParamValue::TEXT:
      return get_text(r.getText());
  }
  refuse("unknown parameter type");
}

machine::job_params::value_type get_param(Param::Reader r) {
  switch (r.which()) {
    case Param::ONE:
      return {get_text(r.getKey()), get_value(r.getOne())};
    case Param::MANY:
      return {get_text(r.getKey()), get_list(r.getMany(), get_value)};
  }
  refuse("unknown parameter type");
}

struct put_command {
  Command::Builder b;
  void operator()(const machine::add_member& v) {
    auto c = b.initAddMember();
    put_id(c.initId(), v.id);
    c.setName(text(v.name));
    put_address(c.initAt(), v.at);
  }
  void operator()(const machine::remove_member& v) {
    auto c = b.initRemoveMember();
    put_id(c.initId(), v.id);
    c.setByItself(v.by_itself);
  }
  void operator()(const machine::change_view& v) {
    auto c = b.initChangeView();
    put_ids(c.initFailed(count(v.failed)), v.failed);
    put_ids(c.initBack(count(v.back)), v.back);
  }
  void operator()(const machine::set_read_lease& v) { b.initSetReadLease().setLease(v.lease.count()); }
  void operator()(const machine::open_session& v) {
    auto c = b.initOpenSession();
    put_id(c.initNode(), v.node);
    c.setBoot(v.boot.value);
    c.setNonce(v.nonce);
    c.setTtl(v.ttl.count());
    c.setActive(v.active);
  }
  void operator()(const machine::expire_session& v) {
    auto c = b.initExpireSession();
    c.setEpoch(v.epoch.value);
    c.setProposer(v.proposer.value);
  }
  void operator()(const machine::close_session& v) { b.initCloseSession().setEpoch(v.epoch.value); }
  void operator()(const machine::admit_session& v) {
    auto c = b.initAdmitSession();
    c.setEpoch(v.epoch.value);
    put_id(c.initNode(), v.node);
  }
  void operator()(const machine::fence_session& v) {
    auto c = b.initFenceSession();
    c.setEpoch(v.epoch.value);
    put_id(c.initNode(), v.node);
  }
  void operator()(const machine::set_activity& v) {
    auto c = b.initSetActivity();
    c.setActive(v.active);
    c.setStopping(v.stopping);
  }
  void operator()(const machine::register_runner& v) { b.initRegisterRunner().setRunner(text(v.runner)); }
  void operator()(const machine::unregister_runner& v) { b.initUnregisterRunner().setRunner(text(v.runner)); }
  void operator()(const machine::lock_acquire& v) {
    auto c = b.initLockAcquire();
    c.setName(text(v.name));
    c.setTryOnly(v.try_only);
    c.setLabel(text(v.label));
  }
  void operator()(const machine::lock_release& v) {
    auto c = b.initLockRelease();
    c.setName(text(v.name));
    c.setGrant(v.grant.value);
  }
  void operator()(const machine::lock_cancel& v) {
    auto c = b.initLockCancel();
    c.setName(text(v.name));
    c.setRequest(v.request.value);
  }
  void operator()(const machine::schedule_job& v) { put(b.initScheduleJob(), v); }
  void operator()(const machine::unschedule_job& v) { b.initUnscheduleJob().setId(text(v.id)); }
  void operator()(const machine::assign_job& v) {
    auto c = b.initAssignJob();
    c.setId(text(v.id));
    c.setVersion(v.version);
    c.setOwner(v.owner.value);
  }
  void operator()(const machine::fire_job& v) { put(b.initFireJob(), v); }
  void operator()(const machine::finish_run& v) { put(b.initFinishRun(), v); }
  void operator()(const machine::journal_append& v) {
    auto c = b.initJournalAppend();
    c.setJournal(text(v.journal));
    c.setKey(text(v.key));
    put_list(c.initItems(count(v.items)), v.items);
  }
  void operator()(const machine::journal_trim& v) {
    auto c = b.initJournalTrim();
    c.setJournal(text(v.journal));
    c.setUpto(v.upto);
  }
  void operator()(const machine::journal_retention& v) {
    auto c = b.initJournalRetention();
    c.setJournal(text(v.journal));
    c.setKeep(v.keep.count());
  }
};

machine::command_body get_command_body(Command::Reader r) {
  switch (r.which()) {
    case Command::ADD_MEMBER: {
      const auto c = r.getAddMember();
      return machine::add_member{get_id<node_id>(c.getId()), get_name(c.getName()), get_address(c.getAt())};
    }
    case Command::REMOVE_MEMBER: {
      const auto c = r.getRemoveMember();
      return machine::remove_member{get_id<node_id>(c.getId()), c.getByItself()};
    }
    case Command::CHANGE_VIEW:
      return machine::change_view{get_ids(r.getChangeView().getFailed()), get_ids(r.getChangeView().getBack())};
    case Command::SET_READ_LEASE:
      return machine::set_read_lease{get_duration(r.getSetReadLease().getLease())};
    case Command::OPEN_SESSION: {
      const auto c = r.getOpenSession();
      return machine::open_session{get_id<node_id>(c.getNode()), boot_epoch(c.getBoot()), c.getNonce(),
                                   get_duration(c.getTtl()), c.getActive()};
    }
    case Command::EXPIRE_SESSION: {
      const auto c = r.getExpireSession();
      return machine::expire_session{session_epoch(c.getEpoch()), term(c.getProposer())};
    }
    case Command::CLOSE_SESSION:
      return machine::close_session{session_epoch(r.getCloseSession().getEpoch())};
    case Command::ADMIT_SESSION: {
      const auto c = r.getAdmitSession();
      return machine::admit_session{session_epoch(c.getEpoch()), get_id<node_id>(c.getNode())};
    }
    case Command::FENCE_SESSION: {
      const auto c = r.getFenceSession();
      return machine::fence_session{session_epoch(c.getEpoch()), get_id<node_id>(c.getNode())};
    }
    case Command::SET_ACTIVITY: {
      const auto c = r.getSetActivity();
      return machine::set_activity{c.getActive(), c.getStopping()};
    }
    case Command::REGISTER_RUNNER:
      return machine::register_runner{get_name(r.getRegisterRunner().getRunner())};
    case Command::UNREGISTER_RUNNER:
      return machine::unregister_runner{get_name(r.getUnregisterRunner().getRunner())};
    case Command::LOCK_ACQUIRE: {
      const auto c = r.getLockAcquire();
      return machine::lock_acquire{get_name(c.getName()), c.getTryOnly(), get_text(c.getLabel())};
    }
    case Command::LOCK_RELEASE: {
      const auto c = r.getLockRelease();
      return machine::lock_release{get_name(c.getName()), grant_id(c.getGrant())};
    }
    case Command::LOCK_CANCEL: {
      const auto c = r.getLockCancel();
      return machine::lock_cancel{get_name(c.getName()), request_seq(c.getRequest())};
    }
    case Command::SCHEDULE_JOB:
      return get(r.getScheduleJob());
    case Command::UNSCHEDULE_JOB:
      return machine::unschedule_job{get_name(r.getUnscheduleJob().getId())};
    case Command::ASSIGN_JOB: {
      const auto c = r.getAssignJob();
      return machine::assign_job{get_name(c.getId()), c.getVersion(), session_epoch(c.getOwner())};
    }
    case Command::FIRE_JOB:
      return get(r.getFireJob());
    case Command::FINISH_RUN:
      return get(r.getFinishRun());
    case Command::JOURNAL_APPEND: {
      const auto c = r.getJournalAppend();
      return machine::journal_append{get_name(c.getJournal()), get_text(c.getKey()), get_list(c.getItems())};
    }
    case Command::JOURNAL_TRIM: {
      const auto c = r.getJournalTrim();
      return machine::journal_trim{get_name(c.getJournal()), c.getUpto()};
    }
    case Command::JOURNAL_RETENTION: {
      const auto c = r.getJournalRetention();
      return machine::journal_retention{get_name(c.getJournal()), get_duration(c.getKeep())};
    }
  }
  refuse("unknown command");
}

/// About how many bytes it takes.
std::size_t hint_of(const machine::command_body& v) {
  std::size_t n = 512;
  if (const auto* append = std::get_if<machine::journal_append>(&v)) {
    for (const auto& item : append->items) n += 32 + item.type.size() + item.message.size();
  }
  return n;
}

}  // namespace

machine::outcome get_outcome(Outcome o) { return get_enum(o, machine::outcome::lost); }

void put(capnp::List<Param>::Builder list, const machine::job_params& params) {
  put_list(list, params, [](Param::Builder b, const machine::job_params::value_type& v) {
    b.setKey(text(v.first));
    if (const auto* one = std::get_if<machine::job_param>(&v.second)) {
      put_value(b.initOne(), *one);
    } else {
      const auto& many = std::get<std::vector<machine::job_param>>(v.second);
      put_list(b.initMany(count(many)), many, put_value);
    }
  });
}

machine::job_params get(capnp::List<Param>::Reader list) { return get_map<machine::job_params>(list, get_param); }

void put(JobConfig::Builder b, const machine::job_config& v) {
  b.setRunner(text(v.runner));
  put_schedule(b.initSchedule(), v.when);
  put(b.initParams(count(v.params)), v.params);
  b.setOnMisfire(as_enum<Misfire>(v.on_misfire));
  b.setOnOverlap(as_enum<Overlap>(v.on_overlap));
  b.setRerunIfLost(v.rerun_if_lost);
  b.setCatchUp(v.catch_up.count());
}

machine::job_config get(JobConfig::Reader r) {
  machine::job_config v;
  v.runner = get_name(r.getRunner());
  v.when = get_schedule(r.getSchedule());
  v.params = get(r.getParams());
  v.on_misfire = get_enum(r.getOnMisfire(), machine::misfire_policy::fire_all);
  v.catch_up = get_duration(r.getCatchUp());
  v.on_overlap = get_enum(r.getOnOverlap(), machine::overlap_policy::allow);
  v.rerun_if_lost = r.getRerunIfLost();
  return v;
}

void put(FireJob::Builder b, const machine::fire_job& v) {
  b.setId(text(v.id));
  b.setVersion(v.version);
  b.setScheduled(put_time(v.scheduled));
  b.setAttempt(v.attempt);
  b.setCoalesced(v.coalesced);
  b.setOwner(v.owner.value);
  put_optional(b.initOutcome(), v.what, as_enum<Outcome, machine::outcome>);
  put_optional(b.initNext(), v.next);
}

machine::fire_job get(FireJob::Reader r) {
  machine::fire_job v;
  v.id = get_name(r.getId());
  v.version = r.getVersion();
  v.scheduled = get_time(r.getScheduled());
  v.attempt = r.getAttempt();
  v.coalesced = r.getCoalesced();
  v.owner = session_epoch(r.getOwner());
  v.what = get_optional(r.getOutcome(), get_outcome);
  v.next = get_optional_time(r.getNext());
  return v;
}

void put(ScheduleJob::Builder b, const machine::schedule_job& v) {
  b.setId(text(v.id));
  put(b.initConfig(), v.config);
  b.setReplace(v.replace);
  put_optional(b.initNext(), v.next);
  put_list(b.initDue(count(v.due)), v.due);
}

machine::schedule_job get(ScheduleJob::Reader r) {
  return {get_name(r.getId()), get(r.getConfig()), r.getReplace(), get_optional_time(r.getNext()),
          get_list(r.getDue())};
}

void put(FinishRun::Builder b, const machine::finish_run& v) {
  b.setId(text(v.id));
  b.setFence(v.fence);
  b.setOutcome(as_enum<Outcome>(v.what));
  b.setMessage(text(v.message));
  b.setStarted(put_time(v.started));
  b.setTook(v.took.count());
}

machine::finish_run get(FinishRun::Reader r) {
  return {get_name(r.getId()),         r.getFence(),
          get_outcome(r.getOutcome()), get_text(r.getMessage()),
          get_time(r.getStarted()),    get_duration(r.getTook())};
}

void put(JournalItem::Builder b, const machine::journal_item& v) {
  b.setType(text(v.type));
  b.setMessage(text(v.message));
}

machine::journal_item get(JournalItem::Reader r) { return {get_text(r.getType()), get_text(r.getMessage())}; }

}  // namespace schema

shared_bytes encode(const machine::command& v) {
  return build<schema::Command>(0, schema::hint_of(v.body), [&](schema::Command::Builder b) {
    b.setSession(v.session.value);
    b.setSeq(v.seq.value);
    b.setAck(v.ack.value);
    b.setStamp(put_time(v.stamp));
    std::visit(schema::put_command{b}, v.body);
  });
}

result<machine::command> decode_command(byte_view b) {
  return decode<schema::Command>(b, [](schema::Command::Reader r) {
    return machine::command{session_epoch(r.getSession()), request_seq(r.getSeq()), request_seq(r.getAck()),
                            get_time(r.getStamp()), schema::get_command_body(r)};
  });
}

}  // namespace coterie::wire
