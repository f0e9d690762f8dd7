#include "engine/reception.hpp"

#include "wire/codec.hpp"

namespace coterie::engine {

chunk_verdict receive(std::optional<reception>& r, group_id group, node_id from, const wire::snapshot_chunk& c,
                      context& ctx, disk_queue& disk) {
  if (c.number == 0) {
    r = reception{.from = from, .id = c.transfer, .next = 0, .meta = c.meta, .chain = c.chain, .records = {}};
    ctx.emit(install_begin{disk::state_of(group)});
  }
  if (!r || r->id != c.transfer || r->from != from || r->next != c.number)
    return r && r->id == c.transfer && c.number < r->next ? chunk_verdict::repeated : chunk_verdict::refused;
  for (const auto& [key, value] : c.items) {
    if (!machine::in_memory(key)) continue;
    auto record = wire::decode_record(key, value);
    if (!record) {
      ctx.log(log_level::error, "a received snapshot has a record that does not decode: it is dropped");
      r.reset();
      return chunk_verdict::refused;
    }
    r->records.push_back(std::move(*record));
  }
  ++r->next;
  if (!c.last) {
    disk.install_chunk(group, c.items, chunk_saved{group, from, c.transfer, c.number});
    return chunk_verdict::taken;
  }
  disk.install_chunk(group, c.items, nobody{});
  return chunk_verdict::last;
}

}  // namespace coterie::engine
