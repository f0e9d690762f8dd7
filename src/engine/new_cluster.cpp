#include "engine/new_cluster.hpp"

#include "base/big_endian.hpp"
#include "engine/recovery.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

disk::batch first_node(const new_cluster& c, const machine::machine& state) {
  using disk::put;
  using disk::space;
  swim::genesis_record founded;
  founded.cluster = c.cluster;
  founded.digest = swim::genesis::digest_of({c.at});
  founded.nonce = c.nonce;
  founded.seeds = {{c.self, c.name, c.at, {}}};
  founded.voters = {c.self};
  swim::acceptor_state acceptor;
  acceptor.id = founded.id();
  acceptor.committed = founded;
  raft::snapshot_meta base{c.index, c.when, {}};
  base.conf.voters = {c.self};

  disk::batch b{put(space::meta, to_bytes("identity"), to_bytes(c.self.str())),
                put(space::meta, to_bytes("boot_epoch"), big_endian(1)),
                put(space::meta, to_bytes("acceptor"), wire::encode(acceptor)),
                put(space::meta, group_key(meta_group, "hard_state"), wire::encode(raft::hard_state{c.when, {}})),
                put(space::meta, group_key(meta_group, "log_base"), wire::encode(base, hash128_value{})),
                put(space::meta, group_key(meta_group, "applied"), big_endian(c.index.value))};
  const auto keep = [&](const machine::record& r) {
    b.push_back(put(space::state, machine::key_of(r), wire::encode(r)));
  };
  auto globals = state.globals();
  ++globals.view;
  keep(globals);
  for (auto [id, m] : state.members()) {
    m.removed = true;
    keep(m);
  }
  keep(machine::member_record{.id = c.self, .name = c.name, .at = c.at, .view_joined = globals.view});
  return b;
}

}  // namespace coterie::engine
