# What clients of a node ask and are told: the bodies of request, response and cancel frames.
@0xde7cd7fb05f2b09b;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");
using import "common.capnp".Address;
using import "common.capnp".Pair;
using import "common.capnp".Count;
using import "common.capnp".Failure;
using import "common.capnp".Item;
using import "common.capnp".LockUse;
using import "command.capnp".ScheduleJob;
using import "command.capnp".FinishRun;
using import "command.capnp".JournalItem;
using import "command.capnp".Param;
using import "record.capnp".JobRecord;
using import "record.capnp".JobRun;
using import "record.capnp".JournalEntry;

struct Request {
  call @0 :UInt64;  # chosen by the client, unique on its connection while answers may come
  timeoutMs @49 :Int64 = -1;  # how long the node may take; negative = the node's default
  stale @66 :Bool;  # listLocks, listJobs, jobHistory: the node's own state, without a quorum
  maxAge :union {  # of that, and of peekJournal and countJournal
    none @67 :Void;  # however old
    some @68 :Int64;  # milliseconds
  }
  union {
    getStatus @1 :Void;
    getMembers @2 :Void;
    waitMembers :group {
      count @3 :UInt32;
    }
    followEvents :group {
      since @4 :UInt64;
      follow @5 :Bool;
    }
    leaveCluster @6 :Void;
    stopNode @7 :Void;
    acquireLock :group {
      name @8 :Text;
      label @9 :Text;
      wait :union {
        none @10 :Void;  # for ever
        some @11 :Int64;  # milliseconds, 0 = try
      }
      keeps @63 :Bool;  # the client can keep the grant for its next owner
    }
    releaseLock :group {
      name @12 :Text;
      fence @13 :UInt64;
    }
    listLocks :group {
      name @14 :Text;  # empty = all
    }
    addJob @15 :ScheduleJob;  # an empty id = generated; next and due are not read
    removeJob :group {
      id @16 :Text;
    }
    listJobs :group {
      id @17 :Text;  # empty = all
      runner @18 :Text;
    }
    jobHistory :group {
      id @19 :Text;
      max @20 :UInt32;
    }
    addRunner :group {
      runner @21 :Text;
    }
    finishJob @22 :FinishRun;
    appendJournal :group {
      journal @23 :Text;
      key @24 :Text;
      items @25 :List(JournalItem);
    }
    peekJournal :group {
      journal @26 :Text;
      max @27 :UInt32;
    }
    countJournal :group {
      journal @28 :Text;
    }
    resetJournal :group {
      journal @29 :Text;
    }
    beginProcess :group {
      journal @30 :Text;
      max @31 :UInt32;
    }
    endProcess :group {
      journal @32 :Text;
      token @33 :UInt64;
      cursor @34 :UInt64;  # 0 = nothing moves
    }
    waitVisible @35 :Void;
    watchJournal :group {
      journal @36 :Text;
    }
    keepJournal :group {
      journal @37 :Text;
      keep @38 :Int64;
    }
    registerCache :group {
      cache @39 :Text;
      remove @40 :Bool;
    }
    invalidateCache :group {
      cache @41 :Text;
      key @42 :Data;  # null (not the same as empty) = the whole cache
      wait @43 :Bool;
      except @44 :UInt64;  # the registerCache call that need not be told; 0 = none
    }
    listCaches @45 :Void;
    publish :group {
      channel @46 :Text;
      body @47 :Data;
    }
    listen :group {
      channel @48 :Text;
    }
    transferLeadership :group {
      node @50 :Text;
    }
    readSnapshot :group {
      view @51 :UInt64;  # 0 = a new one
      from @52 :Data;
      stale @53 :Bool;
    }
    explainMember :group {
      node @54 :Text;
    }
    getRoundTrip :group {
      from @55 :Text;
      to @56 :Text;
    }
    removeNode :group {
      node @57 :Text;
    }
    initWithout :group {
      seeds @58 :List(Address);
    }
    discardRecord :group {
      hi @59 :UInt64;
      lo @60 :UInt64;
    }
    setTags :group {
      set @61 :List(Pair);
      remove @62 :List(Text);
    }
    tellLock @64 :LockUse;
    setReadLease :group {
      lease @65 :Int64;  # milliseconds, 0 = none
    }
  }
}

struct Cancel {
  call @0 :UInt64;
}

struct Member {
  name @0 :Text;
  state @1 :Text;
  role @2 :Text;
  version @3 :Text;
  id :group {
    hi @4 :UInt64;
    lo @5 :UInt64;
  }
  at :group {
    host @6 :Text;
    port @7 :UInt16;
  }
  since @8 :Int64;
  rttMs :union {
    none @9 :Void;
    some @10 :Float64;
  }
  tags @11 :List(Pair);
  log @12 :UInt64;
  leader @13 :Bool;
  self @14 :Bool;
  parent @15 :Text;
  depth @16 :UInt32;
}

struct Status {
  cluster @0 :Text;
  node @1 :Text;
  state @2 :Text;
  leader @3 :Text;
  version @4 :Text;
  id :group {
    hi @5 :UInt64;
    lo @6 :UInt64;
  }
  self :group {
    hi @7 :UInt64;
    lo @8 :UInt64;
  }
  boot @9 :UInt64;
  ready @10 :Bool;
  quorum @11 :Bool;
  view @12 :UInt64;
  term @13 :UInt64;
  commit @14 :UInt64;
  applied @15 :UInt64;
  quorumAlive @16 :UInt32;
  quorumSize @17 :UInt32;
  warnings @18 :List(Text);
  counters @19 :List(Count);
  role @20 :Text;
  parent @21 :Text;
  depth @22 :UInt32;
  children @23 :UInt32;
  readLease @24 :UInt32;  # milliseconds, 0 = none
}

struct Transition {
  when @0 :Int64;
  what @1 :Text;
  evidence @2 :Text;
}

struct LockInfo {
  name @0 :Text;
  owner @1 :Text;
  fence @2 :UInt64;
  acquired @3 :Int64;
  waiters @4 :UInt32;
  label @5 :Text;
  idle @6 :Bool;
}

struct JobInfo {
  job @0 :JobRecord;
  owner @1 :Text;
  runnable @2 :Bool;
}

struct RunInfo {
  run @0 :JobRun;
  node @1 :Text;
}

struct CacheInfo {
  name @0 :Text;
  invalidationsIn @1 :UInt64;
  invalidationsOut @2 :UInt64;
  gapsRepaired @3 :UInt64;
  unverified @4 :Bool;
}

struct Response {
  call @0 :UInt64;
  last @1 :Bool;
  asOf :union {  # of a read of the node's own state
    none @72 :Void;
    some :group {
      index @73 :UInt64;
      age :union {
        none @74 :Void;  # unknown
        some @75 :Int64;  # milliseconds
      }
    }
  }
  union {
    failure @2 :Failure;
    done @3 :Void;
    status @4 :Status;
    members @5 :List(Member);
    event :group {
      index @6 :UInt64;
      time @7 :Int64;
      kind @8 :Text;
      fields @9 :List(Pair);
    }
    lockGranted :group {
      fence @10 :UInt64;
      epoch @11 :UInt64;
      deadlineRawNs @12 :Int64;   # on CLOCK_MONOTONIC_RAW
      deadlineBootNs @13 :Int64;  # on CLOCK_BOOTTIME
      keep @69 :Bool;
    }
    lockRenewed :group {
      deadlineRawNs @14 :Int64;
      deadlineBootNs @15 :Int64;
    }
    locks @16 :List(LockInfo);
    jobAdded :group {
      id @17 :Text;
      version @18 :UInt64;
      changed @19 :Bool;
      next :union {
        none @20 :Void;
        some @21 :Int64;
      }
      then :union {
        none @22 :Void;
        some @23 :Int64;
      }
    }
    jobs @24 :List(JobInfo);
    runs @25 :List(RunInfo);
    runJob :group {
      run @26 :JobRun;
      params @27 :List(Param);
      deadlineRawNs @28 :Int64;
    }
    stopJob :group {
      job @29 :Text;
      fence @30 :UInt64;
    }
    appended :group {
      ids @31 :List(UInt64);
    }
    entries :group {
      list @32 :List(JournalEntry);
      token @33 :UInt64;
    }
    journalCounts :group {
      count @34 :UInt64;
      retained @35 :UInt64;
      cursor @36 :UInt64;
    }
    journalReady @37 :Void;
    invalidation :group {
      cache @38 :Text;
      key @39 :Data;  # null (not the same as empty) = the whole cache
      origin @40 :Text;
      remote @41 :Bool;
    }
    caches @42 :List(CacheInfo);
    message :group {
      channel @43 :Text;
      body @44 :Data;
      sender @45 :Text;
      boot @46 :UInt64;
      seq @47 :UInt64;
    }
    snapshot :group {
      view @48 :UInt64;
      cluster @49 :Text;
      id :group {
        hi @50 :UInt64;
        lo @51 :UInt64;
      }
      index @52 :UInt64;
      term @53 :UInt64;
      taken @54 :Int64;
      items @55 :List(Item);
      more @56 :Bool;
    }
    explanation :group {
      who @57 :Member;
      epoch @58 :UInt64;
      counter @59 :UInt64;
      localHealth @60 :UInt32;
      transitions @61 :List(Transition);
    }
    roundTrip :group {
      from @62 :Text;
      to @63 :Text;
      estimatedMs :union {
        none @64 :Void;
        some @65 :Float64;
      }
      measuredMs :union {
        none @66 :Void;
        some @67 :Float64;
      }
      error @68 :Float64;
    }
    lockAsked @70 :Void;
    lockWanted @71 :Void;
  }
}
