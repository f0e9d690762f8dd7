# From a seed list to one cluster: hello, the genesis record, the messages that agree on it, and what an acceptor stores.
@0x903d7f7af64fe6c2;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");
using import "common.capnp".Id;
using import "common.capnp".Address;

struct Ballot {
  round @0 :UInt64;
  proposer :group {
    hi @1 :UInt64;
    lo @2 :UInt64;
  }
}

struct Seed {
  id :group {
    hi @0 :UInt64;
    lo @1 :UInt64;
  }
  name @2 :Text;
  at :group {
    host @3 :Text;
    port @4 :UInt16;
  }
  publicKey @5 :Data;
}

struct GenesisRecord {
  cluster @0 :Text;
  digest @1 :UInt64;
  nonce @2 :UInt64;
  seeds @3 :List(Seed);
  voters @4 :List(Id);
  standbys @5 :List(Id);
}

# The first frame of every stream, in both directions.
struct Hello {
  cluster @0 :Text;
  name @1 :Text;
  protocolMin @2 :UInt16;
  protocolMax @3 :UInt16;
  version @4 :Text;
  seeds @5 :List(Address);
  digest @6 :UInt64;
  id :group {
    hi @7 :UInt64;
    lo @8 :UInt64;
  }
  epoch @9 :UInt64;
  advertise :group {
    host @10 :Text;
    port @11 :UInt16;
  }
  clusterKnown :group {
    hi @12 :UInt64;
    lo @13 :UInt64;
  }
  record @14 :GenesisRecord;  # null = not known
  start @15 :UInt64;
  logEnd @16 :UInt64;
  dataLogEnds @17 :List(UInt64);
}

struct Genesis {
  ballot @0 :Ballot;  # of all but commit and commitAck
  from :group {       # of the answers and of commit
    hi @1 :UInt64;
    lo @2 :UInt64;
  }
  union {
    prepare :group {
      ids @3 :List(Id);
    }
    promise :group {
      acceptedBallot @4 :Ballot;
      accepted @5 :GenesisRecord;  # null = nothing accepted
    }
    reject :group {
      promised @6 :Ballot;
    }
    accept :group {
      ids @7 :List(Id);
      record @8 :GenesisRecord;
    }
    accepted :group {
      recordId :group {
        hi @9 :UInt64;
        lo @10 :UInt64;
      }
      record @11 :GenesisRecord;
    }
    commit :group {
      record @12 :GenesisRecord;
    }
    commitAck @13 :Void;
  }
}

# Stored.
struct Acceptor {
  promised @0 :Ballot;
  acceptedBallot @1 :Ballot;
  accepted @2 :GenesisRecord;   # null = nothing accepted
  id :group {
    hi @3 :UInt64;
    lo @4 :UInt64;
  }
  committed @5 :GenesisRecord;  # null = not known
}
