# What nodes say to each other on streams: the body of a peer frame.
@0xf30edf838bf9ddb7;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");
using import "gossip.capnp".PushPull;
using import "genesis.capnp".Hello;
using import "genesis.capnp".Genesis;
using import "raft.capnp".RaftMessage;
using import "raft.capnp".SnapshotMeta;

struct RefusedRequest {
  session @0 :UInt64;
  seq @1 :UInt64;
}

struct Item {
  key @0 :Data;
  value @1 :Data;
}

# key null (not the same as empty) = the whole cache.
struct Invalidation {
  cache @0 :Text;
  seq @1 :UInt64;
  key @2 :Data;
  wantAck @3 :Bool;
}

struct Peer {
  cluster :group {  # zero before genesis
    hi @0 :UInt64;
    lo @1 :UInt64;
  }
  group @2 :UInt32;  # the Raft group
  union {
    hello @3 :Hello;
    genesis @4 :Genesis;
    pushPull @5 :PushPull;
    streamPing :group {
      probe @6 :UInt64;
      target :group {
        hi @7 :UInt64;
        lo @8 :UInt64;
      }
    }
    streamAck :group {
      probe @9 :UInt64;
      from :group {
        hi @10 :UInt64;
        lo @11 :UInt64;
      }
    }
    raft @12 :RaftMessage;
    joinRequest :group {
      id :group {
        hi @13 :UInt64;
        lo @14 :UInt64;
      }
      name @15 :Text;
      at :group {
        host @16 :Text;
        port @17 :UInt16;
      }
      boot @18 :UInt64;
    }
    joinAnswer :group {
      verdict @19 :UInt8;
      reason @20 :Text;
    }
    forward :group {
      commands @21 :List(Data);  # each a Command
    }
    forwardRefused :group {
      requests @22 :List(RefusedRequest);
      code @23 :UInt16;
    }
    keepalive :group {
      epoch @24 :UInt64;
      id @25 :UInt64;
    }
    keepaliveAck :group {
      epoch @26 :UInt64;
      id @27 :UInt64;
      ended @28 :Bool;
    }
    snapshotChunk :group {
      transfer @29 :UInt64;
      number @30 :UInt64;
      term @31 :UInt64;
      meta @32 :SnapshotMeta;
      chain :group {  # running hash of the log at meta.index
        hi @33 :UInt64;
        lo @34 :UInt64;
      }
      items @35 :List(Item);
      last @36 :Bool;
    }
    snapshotAck :group {
      transfer @37 :UInt64;
      number @38 :UInt64;
      ok @39 :Bool;
      installed @40 :Bool;
    }
    invalidations :group {
      boot @41 :UInt64;
      list @42 :List(Invalidation);
    }
    invalidationAck :group {
      boot @43 :UInt64;
      cache @44 :Text;
      seq @45 :UInt64;
    }
    invalidationPull :group {
      cache @46 :Text;
      boot @47 :UInt64;
      after @48 :UInt64;
    }
    invalidationGone :group {
      cache @49 :Text;
      boot @50 :UInt64;
      last @51 :UInt64;
    }
    userMessage :group {
      channel @52 :Text;
      body @53 :Data;
      boot @54 :UInt64;
      seq @55 :UInt64;
    }
    handOver :group {
      to :group {
        hi @56 :UInt64;
        lo @57 :UInt64;
      }
    }
  }
}
