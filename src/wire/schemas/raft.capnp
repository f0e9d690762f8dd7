# The Raft messages, and what Raft stores beside its log.
@0xec093f142d13a051;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");
using import "common.capnp".Id;

# Each list strictly rises. Joint while outgoing is not empty.
struct Configuration {
  voters @0 :List(Id);
  outgoing @1 :List(Id);
  learners @2 :List(Id);
}

# The read lease of a configuration, in milliseconds, stands beside it, so that the stored bytes of one without are what
# they always were.
struct SnapshotMeta {
  index @0 :UInt64;
  term @1 :UInt64;
  conf @2 :Configuration;
  readLease @3 :UInt32;
}

struct Entry {
  term @0 :UInt64;
  index @1 :UInt64;
  union {
    noop @2 :Void;
    command @3 :Data;  # a Command
    configuration @4 :Configuration;
  }
  readLease @5 :UInt32;  # of a configuration
}

struct RaftMessage {
  from :group {
    hi @0 :UInt64;
    lo @1 :UInt64;
  }
  to :group {
    hi @2 :UInt64;
    lo @3 :UInt64;
  }
  term @4 :UInt64;
  union {
    timeoutNow @5 :Void;
    voteRequest :group {
      pre @6 :Bool;
      transfer @7 :Bool;
      lastIndex @8 :UInt64;
      lastTerm @9 :UInt64;
    }
    voteResponse :group {
      pre @10 :Bool;
      granted @11 :Bool;
    }
    appendRequest :group {
      prevIndex @12 :UInt64;
      prevTerm @13 :UInt64;
      commit @14 :UInt64;
      round @15 :UInt64;
      entries @16 :List(Entry);
      quiet @27 :Bool;
    }
    appendResponse :group {
      ok @17 :Bool;
      match @18 :UInt64;
      hint @19 :UInt64;
      hintTerm @20 :UInt64;
      round @21 :UInt64;
    }
    snapshotRequest :group {
      meta @22 :SnapshotMeta;
    }
    readRequest :group {
      id @23 :UInt64;
    }
    readResponse :group {
      id @24 :UInt64;
      index @25 :UInt64;
      ok @26 :Bool;
    }
    timeoutNowUnleased :group {  # timeoutNow, and the sender holds no read lease by an entry up to this one
      upto @28 :UInt64;
    }
  }
}

# Stored.
struct HardState {
  current @0 :UInt64;
  vote :group {
    hi @1 :UInt64;
    lo @2 :UInt64;
  }
}

# Stored: the last entry that the state covers, and the running hash of the log there.
struct StoredSnapshot {
  meta @0 :SnapshotMeta;
  chain :group {
    hi @1 :UInt64;
    lo @2 :UInt64;
  }
}
