// Structs that several messages carry: put() writes one into its schema's builder, get() reads it and throws
// `malformed`. They live beside the generated types, where put_list() and get_list() find them. Private to src/wire.
#pragma once

#include "machine/types.hpp"
#include "raft/types.hpp"
#include "swim/genesis.hpp"
#include "swim/types.hpp"
#include "wire/coding.hpp"
#include "wire/request.hpp"
#include "wire/schemas/command.capnp.h"
#include "wire/schemas/common.capnp.h"
#include "wire/schemas/genesis.capnp.h"
#include "wire/schemas/gossip.capnp.h"
#include "wire/schemas/raft.capnp.h"
#include "wire/schemas/record.capnp.h"

namespace coterie::wire::schema {

void put(Statement::Builder, const swim::statement&);
swim::statement get(Statement::Reader);
void put(UserDatum::Builder, const swim::user_datum&);
swim::user_datum get(UserDatum::Reader);
void put(PushPull::Builder, const swim::push_pull&);
swim::push_pull get(PushPull::Reader);

void put(Hello::Builder, const swim::hello&);
swim::hello get(Hello::Reader);
void put(Genesis::Builder, const swim::genesis_message&);
swim::genesis_message get(Genesis::Reader);
void put(Acceptor::Builder, const swim::acceptor_state&);
swim::acceptor_state get(Acceptor::Reader);

void put(Configuration::Builder, const raft::configuration&);
raft::configuration get(Configuration::Reader, std::uint32_t read_lease);
std::uint32_t put_read_lease(const raft::configuration&);
void put(Entry::Builder, const raft::entry&);
raft::entry get(Entry::Reader);
void put(SnapshotMeta::Builder, const raft::snapshot_meta&);
raft::snapshot_meta get(SnapshotMeta::Reader);
void put(RaftMessage::Builder, const raft::message&);
raft::message get(RaftMessage::Reader);

machine::outcome get_outcome(Outcome);
void put(JobConfig::Builder, const machine::job_config&);
machine::job_config get(JobConfig::Reader);
void put(capnp::List<Param>::Builder, const machine::job_params&);
machine::job_params get(capnp::List<Param>::Reader);
void put(FireJob::Builder, const machine::fire_job&);
machine::fire_job get(FireJob::Reader);
void put(ScheduleJob::Builder, const machine::schedule_job&);
machine::schedule_job get(ScheduleJob::Reader);
void put(FinishRun::Builder, const machine::finish_run&);
machine::finish_run get(FinishRun::Reader);
void put(JournalItem::Builder, const machine::journal_item&);
machine::journal_item get(JournalItem::Reader);

void put(LockUse::Builder, const lock_use&);
lock_use get(LockUse::Reader);

void put(JobRun::Builder, const machine::job_run_record&);
machine::job_run_record get(JobRun::Reader);
void put(JobRecord::Builder, const machine::job_record&);
machine::job_record get(JobRecord::Reader);
void put(JournalEntry::Builder, const machine::journal_entry&);
machine::journal_entry get(JournalEntry::Reader);

}  // namespace coterie::wire::schema
