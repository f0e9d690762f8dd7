# Membership: datagrams, and views exchanged over streams.
@0xbbe68c4af8527571;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");
using import "common.capnp".Pair;

enum MemberState {
  alive @0;
  suspect @1;
  stopping @2;
  unreachable @3;
  left @4;
}

# What is said of one node. accuser: of suspect and unreachable.
struct Statement {
  id :group {
    hi @0 :UInt64;
    lo @1 :UInt64;
  }
  accuser :group {
    hi @2 :UInt64;
    lo @3 :UInt64;
  }
  epoch @4 :UInt64;
  counter @5 :UInt64;
  at :group {
    host @6 :Text;
    port @7 :UInt16;
  }
  state @8 :MemberState;
  protocolMin @9 :UInt16;
  protocolMax @10 :UInt16;
  name @11 :Text;
  version @12 :Text;
  tags @13 :List(Pair);
}

struct UserDatum {
  origin :group {
    hi @0 :UInt64;
    lo @1 :UInt64;
  }
  epoch @2 :UInt64;
  version @3 :UInt64;
  key @4 :Text;
  value @5 :Data;
}

# The body of a datagram.
struct Datagram {
  id :group {  # of the cluster; zero = not known yet
    hi @0 :UInt64;
    lo @1 :UInt64;
  }
  from :group {
    hi @2 :UInt64;
    lo @3 :UInt64;
  }
  epoch @4 :UInt64;
  viewDigest @5 :UInt64;
  cluster @6 :Text;
  statements @7 :List(Statement);
  user @8 :List(UserDatum);
  probe @9 :UInt64;
  target :group {
    hi @10 :UInt64;
    lo @11 :UInt64;
  }
  at :group {  # of the target of a pingRequest
    host @12 :Text;
    port @13 :UInt16;
  }
  union {  # which of probe, target and at are set
    gossipOnly @14 :Void;
    ping @15 :Void;           # probe, target
    ack @16 :Void;            # probe
    pingRequest @17 :Void;    # probe, target, at
    indirectAck @18 :Void;    # probe, target
    indirectNack @19 :Void;   # probe, target
  }
  place :group {  # of the sender, in the space of round trips, in seconds
    x @20 :Float32;
    y @21 :Float32;
    z @22 :Float32;
    height @23 :Float32;
    error @24 :Float32;  # of the estimate, as a part of it
  }
  seeds @25 :UInt64;  # digest of the sender's seed list; zero = none
  exchangeDigest @26 :UInt64;  # as viewDigest of a PushPull
}

struct PushPull {
  answer @0 :Bool;
  from :group {
    hi @1 :UInt64;
    lo @2 :UInt64;
  }
  viewDigest @3 :UInt64;
  statements @4 :List(Statement);
  user @5 :List(UserDatum);
  ranges @6 :List(UInt64);  # digests of the ranges of ids, 64 or none
}
