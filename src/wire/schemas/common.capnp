# Values that several schemas share. Rules for changes: docs/protocol.md, Versions.
@0x8949995628a13671;
using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("coterie::wire::schema");

# 128 bits: a node, a cluster, or a hash. Zero = none. Where it stands alone it is a group of the same two fields.
struct Id {
  hi @0 :UInt64;
  lo @1 :UInt64;
}

# host: numeric, without brackets, or a name.
struct Address {
  host @0 :Text;
  port @1 :UInt16;
}

# An element of a map; keys strictly rise, compared as bytes.
struct Pair {
  key @0 :Text;
  value @1 :Text;
}

# An element of a map from names to counts; names strictly rise.
struct Count {
  name @0 :Text;
  value @1 :UInt64;
}

# coterie::failure; code is the number of an errc.
struct Failure {
  code @0 :UInt16;
  message @1 :Text;
  first @2 :UInt64;
  second @3 :UInt64;
}

# Who uses a lock's grant, where it is kept.
struct LockUse {
  name @0 :Text;
  fence @1 :UInt64;
  used @2 :Bool;
  since @3 :Int64;
  label @4 :Text;
  waiters @5 :UInt32;
}

# A key and its value in the state.
struct Item {
  key @0 :Data;
  value @1 :Data;
}
