# What nodes say to each other on streams: the body of a peer frame.
@0xf30edf838bf9ddb7;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");
using import "common.capnp".Id;
using import "common.capnp".Item;
using import "common.capnp".LockUse;
using import "gossip.capnp".PushPull;
using import "genesis.capnp".Hello;
using import "genesis.capnp".Genesis;
using import "raft.capnp".Entry;
using import "raft.capnp".RaftMessage;
using import "raft.capnp".SnapshotMeta;

struct RefusedRequest {
  session @0 :UInt64;
  seq @1 :UInt64;
}

# key null (not the same as empty) = the whole cache.
struct Invalidation {
  cache @0 :Text;
  seq @1 :UInt64;
  key @2 :Data;
  wantAck @3 :Bool;
}

struct Keepalive {
  epoch @0 :UInt64;
  id @1 :UInt64;
  unanswered @2 :List(Id);
}

struct KeepaliveAck {
  epoch @0 :UInt64;
  id @1 :UInt64;
  ended @2 :Bool;
  commit @3 :UInt64;  # of the leader, when it confirmed that it leads; 0 = unknown
}

struct HeldGrant {
  name @0 :Text;
  grant @1 :UInt64;
}

# Of one turn of a node that leads several groups, or follows in them: see raftMessages.
struct GroupMessage {
  group @0 :UInt32;
  message @1 :RaftMessage;
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
      asOf @75 :UInt64;
    }
    forward :group {
      commands @21 :List(Data);  # each a Command
    }
    forwardRefused :group {
      requests @22 :List(RefusedRequest);
      code @23 :UInt16;
    }
    keepalives :group {
      list @24 :List(Keepalive);
      forLeader @69 :Bool;
    }
    keepaliveAcks @25 :List(KeepaliveAck);
    snapshotChunk :group {
      transfer @26 :UInt64;
      number @27 :UInt64;
      term @28 :UInt64;
      meta @29 :SnapshotMeta;
      chain :group {  # running hash of the log at meta.index
        hi @30 :UInt64;
        lo @31 :UInt64;
      }
      items @32 :List(Item);
      last @33 :Bool;
    }
    snapshotAck :group {
      transfer @34 :UInt64;
      number @35 :UInt64;
      ok @36 :Bool;
      installed @37 :Bool;
    }
    invalidations :group {
      boot @38 :UInt64;
      list @39 :List(Invalidation);
    }
    invalidationAck :group {
      boot @40 :UInt64;
      cache @41 :Text;
      seq @42 :UInt64;
    }
    invalidationPull :group {
      cache @43 :Text;
      boot @44 :UInt64;
      after @45 :UInt64;
    }
    invalidationGone :group {
      cache @46 :Text;
      boot @47 :UInt64;
      last @48 :UInt64;
    }
    userMessage :group {
      channel @49 :Text;
      body @50 :Data;
      boot @51 :UInt64;
      seq @52 :UInt64;
    }
    handOver :group {
      to :group {
        hi @53 :UInt64;
        lo @54 :UInt64;
      }
    }
    fetch :group {
      id @55 :UInt64;
      next @56 :UInt64;
      chain :group {  # running hash of the log before next
        hi @57 :UInt64;
        lo @58 :UInt64;
      }
      depth @59 :UInt32;
    }
    fetched :group {
      id @60 :UInt64;
      verdict @61 :UInt8;
      entries @62 :List(Entry);
      commit @63 :UInt64;
      leader :group {
        hi @64 :UInt64;
        lo @65 :UInt64;
      }
      term @66 :UInt64;
      depth @67 :UInt32;
      age @68 :Int64;
    }
    lockQuestion :group {
      id @70 :UInt64;
      grants @71 :List(HeldGrant);
    }
    lockReply :group {
      id @72 :UInt64;
      uses @73 :List(LockUse);
    }
    raftMessages @74 :List(GroupMessage);
  }
}
