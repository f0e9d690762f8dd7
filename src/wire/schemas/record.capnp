# The values of the replicated state; which struct a value is follows from its key's first letter (docs/storage.md).
@0xa71b15daa0e18918;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");
using import "command.capnp".JobConfig;
using import "command.capnp".Outcome;

struct GlobalRecord {  # g
  view @0 :UInt64;
  lastJournalId @1 :UInt64;
  lastStamp @2 :Int64;
  readLease @3 :Int64;
  lastAdmitted @4 :UInt64;
}

struct MemberRecord {  # m
  id :group {
    hi @0 :UInt64;
    lo @1 :UInt64;
  }
  name @2 :Text;
  at :group {
    host @3 :Text;
    port @4 :UInt16;
  }
  viewJoined @5 :UInt64;
  removed @6 :Bool;
  left @7 :Bool;
  stopped @8 :Bool;
  failed @9 :Bool;
}

# A request that was executed and not yet acknowledged, with its answer; seq strictly rises.
struct UsedRequest {
  seq @0 :UInt64;
  code @1 :UInt16;
  value @2 :UInt64;
  value2 @3 :UInt64;
  text @4 :Text;
}

struct SessionRecord {  # s
  epoch @0 :UInt64;
  node :group {
    hi @1 :UInt64;
    lo @2 :UInt64;
  }
  boot @3 :UInt64;
  nonce @4 :UInt64;
  ttl @5 :Int64;
  active @6 :Bool;
  stopping @7 :Bool;
  runners @8 :List(Text);
  acked @9 :UInt64;
  used @10 :List(UsedRequest);
}

struct LockWaiter {
  session @0 :UInt64;
  request @1 :UInt64;
  label @2 :Text;
}

struct LockHolder {
  session @0 :UInt64;
  request @1 :UInt64;
  grant @2 :UInt64;
  label @3 :Text;
  acquired @4 :Int64;
}

struct LockRecord {  # l
  name @0 :Text;
  holder @1 :LockHolder;  # null = free
  waiters @2 :List(LockWaiter);
}

struct JobRun {  # H
  job @0 :Text;
  number @1 :UInt64;
  version @2 :UInt64;
  scheduled @3 :Int64;
  attempt @4 :UInt32;
  coalesced @5 :UInt32;
  fence @6 :UInt64;
  session @7 :UInt64;
  node :group {
    hi @8 :UInt64;
    lo @9 :UInt64;
  }
  claimed @10 :Int64;
  started :union {
    none @11 :Void;
    some @12 :Int64;
  }
  took :union {
    none @13 :Void;
    some @14 :Int64;
  }
  outcome :union {
    none @15 :Void;
    some @16 :Outcome;
  }
  message @17 :Text;
}

struct JobRecord {  # j
  id @0 :Text;
  config @1 :JobConfig;
  version @2 :UInt64;
  owner @3 :UInt64;
  next :union {
    none @4 :Void;
    some @5 :Int64;
  }
  last :union {
    none @6 :Void;
    some @7 :Int64;
  }
  lastOutcome :union {
    none @8 :Void;
    some @9 :Outcome;
  }
  running @10 :List(JobRun);
  lost @11 :List(JobRun);
  historyFirst @12 :UInt64;
  historyCount @13 :UInt64;
  created @14 :Int64;
}

struct JournalRecord {  # q
  name @0 :Text;
  first @1 :UInt64;
  last @2 :UInt64;
  count @3 :UInt64;
  trimmed @4 :UInt64;
  total @5 :UInt64;
  keep @6 :Int64;
  lastCreated @7 :Int64;
}

struct JournalBucket {  # b
  journal @0 :Text;
  first @1 :UInt64;
  last @2 :UInt64;
  count @3 :UInt64;
  newest @4 :Int64;
}

struct JournalKey {  # k
  journal @0 :Text;
  key @1 :Text;
  first @2 :UInt64;
  last @3 :UInt64;
}

struct JournalEntry {  # E
  journal @0 :Text;
  id @1 :UInt64;
  ordinal @2 :UInt64;
  created @3 :Int64;
  type @4 :Text;
  message @5 :Text;
}
