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
      ok @19 :Bool;
      retry @20 :Bool;
      reason @21 :Text;
      removed @57 :Bool;
    }
    forward :group {
      commands @22 :List(Data);  # each a Command
    }
    forwardRefused :group {
      requests @23 :List(RefusedRequest);
      code @24 :UInt16;
    }
    keepalive :group {
      epoch @25 :UInt64;
      id @26 :UInt64;
    }
    keepaliveAck :group {
      epoch @27 :UInt64;
      id @28 :UInt64;
      ended @29 :Bool;
    }
    snapshotChunk :group {
      transfer @30 :UInt64;
      number @31 :UInt64;
      term @32 :UInt64;
      meta @33 :SnapshotMeta;
      chain :group {  # running hash of the log at meta.index
        hi @34 :UInt64;
        lo @35 :UInt64;
      }
      items @36 :List(Item);
      last @37 :Bool;
    }
    snapshotAck :group {
      transfer @38 :UInt64;
      number @39 :UInt64;
      ok @40 :Bool;
      installed @41 :Bool;
    }
    invalidations :group {
      boot @42 :UInt64;
      list @43 :List(Invalidation);
    }
    invalidationAck :group {
      boot @44 :UInt64;
      cache @45 :Text;
      seq @46 :UInt64;
    }
    invalidationPull :group {
      cache @47 :Text;
      boot @48 :UInt64;
      after @49 :UInt64;
    }
    invalidationGone :group {
      cache @50 :Text;
      boot @51 :UInt64;
      last @52 :UInt64;
    }
    userMessage :group {
      channel @53 :Text;
      body @54 :Data;
      boot @55 :UInt64;
      seq @56 :UInt64;
    }
  }
}
