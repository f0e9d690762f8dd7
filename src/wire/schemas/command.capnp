# What stands in log entries: the commands of the replicated services.
@0xb55d495b62535bfc;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");
using import "common.capnp".Id;

enum Outcome {
  success @0;
  failed @1;
  aborted @2;
  unavailable @3;
  skipped @4;
  lost @5;
}

enum Misfire {
  fireOnce @0;
  skip @1;
  fireAll @2;
}

enum Overlap {
  skip @0;
  allow @1;
}

enum DstGap {
  shift @0;
  skip @1;
  atTransition @2;
}

enum DstOverlap {
  automatic @0;
  first @1;
  both @2;
}

# Times are milliseconds since 1970 UTC, durations milliseconds.
struct Schedule {
  union {
    cron :group {
      expression @0 :Text;
      zone @1 :Text;
      gap @2 :DstGap;
      overlap @3 :DstOverlap;
    }
    interval :group {
      every @4 :Int64;
      first :union {
        none @5 :Void;
        some @6 :Int64;
      }
    }
    once :group {
      at :union {
        none @7 :Void;
        some @8 :Int64;
      }
    }
  }
}

struct ParamValue {
  union {
    integer @0 :Int64;
    real @1 :Float64;
    flag @2 :Bool;
    text @3 :Text;
  }
}

# An element of a map; keys strictly rise.
struct Param {
  key @0 :Text;
  union {
    one @1 :ParamValue;
    many @2 :List(ParamValue);
  }
}

struct JobConfig {
  runner @0 :Text;
  schedule @1 :Schedule;
  params @2 :List(Param);
  onMisfire @3 :Misfire;
  onOverlap @4 :Overlap;
  rerunIfLost @5 :Bool;
  catchUp @6 :Int64;
}

struct FireJob {
  id @0 :Text;
  version @1 :UInt64;
  scheduled @2 :Int64;
  attempt @3 :UInt32;
  coalesced @4 :UInt32;
  owner @5 :UInt64;
  outcome :union {
    none @6 :Void;
    some @7 :Outcome;
  }
  next :union {
    none @8 :Void;
    some @9 :Int64;
  }
}

struct ScheduleJob {
  id @0 :Text;
  config @1 :JobConfig;
  replace @2 :Bool;
  next :union {
    none @3 :Void;
    some @4 :Int64;
  }
  due @5 :List(FireJob);  # of the version that is replaced
}

struct FinishRun {
  id @0 :Text;
  fence @1 :UInt64;
  outcome @2 :Outcome;
  message @3 :Text;
  started @4 :Int64;
  took @5 :Int64;
}

struct JournalItem {
  type @0 :Text;
  message @1 :Text;
}

struct Command {
  session @0 :UInt64;
  seq @1 :UInt64;
  ack @2 :UInt64;
  stamp @3 :Int64;
  union {
    addMember :group {
      id :group {
        hi @4 :UInt64;
        lo @5 :UInt64;
      }
      name @6 :Text;
      at :group {
        host @7 :Text;
        port @8 :UInt16;
      }
    }
    removeMember :group {
      id :group {
        hi @9 :UInt64;
        lo @10 :UInt64;
      }
      byItself @11 :Bool;
    }
    openSession :group {
      node :group {
        hi @12 :UInt64;
        lo @13 :UInt64;
      }
      boot @14 :UInt64;
      nonce @15 :UInt64;
      ttl @16 :Int64;
      active @17 :Bool;
    }
    expireSession :group {
      epoch @18 :UInt64;
      proposer @19 :UInt64;
    }
    closeSession :group {
      epoch @20 :UInt64;
    }
    setActivity :group {
      active @21 :Bool;
      stopping @22 :Bool;
    }
    registerRunner :group {
      runner @23 :Text;
    }
    unregisterRunner :group {
      runner @24 :Text;
    }
    lockAcquire :group {
      name @25 :Text;
      tryOnly @26 :Bool;
      label @27 :Text;
    }
    lockRelease :group {
      name @28 :Text;
      grant @29 :UInt64;
    }
    lockCancel :group {
      name @30 :Text;
      request @31 :UInt64;
    }
    scheduleJob @32 :ScheduleJob;
    unscheduleJob :group {
      id @33 :Text;
    }
    assignJob :group {
      id @34 :Text;
      version @35 :UInt64;
      owner @36 :UInt64;
    }
    fireJob @37 :FireJob;
    finishRun @38 :FinishRun;
    journalAppend :group {
      journal @39 :Text;
      key @40 :Text;
      items @41 :List(JournalItem);
    }
    journalTrim :group {
      journal @42 :Text;
      upto @43 :UInt64;
    }
    journalRetention :group {
      journal @44 :Text;
      keep @45 :Int64;
    }
    changeView :group {
      failed @46 :List(Id);
      back @47 :List(Id);
    }
    setReadLease :group {
      lease @48 :Int64;
    }
    admitSession :group {
      epoch @49 :UInt64;
      node :group {
        hi @50 :UInt64;
        lo @51 :UInt64;
      }
    }
    fenceSession :group {
      epoch @52 :UInt64;
      node :group {
        hi @53 :UInt64;
        lo @54 :UInt64;
      }
    }
  }
}
