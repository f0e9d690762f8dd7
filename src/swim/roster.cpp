#include "swim/roster.hpp"

#include "base/assert.hpp"
#include "base/hash.hpp"

namespace coterie::swim {

namespace {

/// Hash of numbers in a byte order of its own: digests are compared between machines.
template <std::size_t N>
std::uint64_t hash_of(const std::array<std::uint64_t, N>& numbers) {
  std::array<std::byte, 8 * N> raw{};
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<std::byte>(numbers[i / 8] >> (8 * (i % 8)) & 0xff);
  return hash64(byte_view(raw));
}

}  // namespace

record* roster::find(node_id id) {
  const auto it = records_.find(id);
  return it == records_.end() ? nullptr : &it->second;
}

const record* roster::find(node_id id) const {
  const auto it = records_.find(id);
  return it == records_.end() ? nullptr : &it->second;
}

record& roster::add(node_id id) {
  const auto [it, fresh] = records_.try_emplace(id);
  COTERIE_ASSERT(fresh);
  it->second.m.info.id = id;
  return it->second;
}

/// What a record contributes to the sums and indexes leaves them; changed() puts the new contribution in.
void roster::take_out(record& r) {
  view_digest_ -= r.view_part;
  full_digest_ -= r.full_part;
  if (r.counted_living) --living_;
  if (r.counted_gone) --gone_;
  if (r.counted_unreachable) --unreachable_;
  const auto name = names_.find(r.indexed_name);
  if (name != names_.end() && name->second == r.m.info.id) names_.erase(name);
  r.indexed_name.clear();
  r.view_part = r.full_part = 0;
  r.counted_living = r.counted_gone = r.counted_unreachable = false;
}

void roster::changed(record& r) {
  take_out(r);
  const node_id id = r.m.info.id;
  const member_state s = r.m.state;
  r.counted_living = is_living(s);
  r.counted_gone = s == member_state::left || s == member_state::unreachable;
  if (r.counted_living) {
    ++living_;
    r.view_part = hash_of<2>({id.hi, id.lo});
  }
  if (r.counted_gone) ++gone_;
  r.counted_unreachable = s == member_state::unreachable;
  if (r.counted_unreachable) ++unreachable_;
  if (s != member_state::left) {  // tombstones end at different times
    r.full_part = hash_of<5>({id.hi, id.lo, r.m.inc.epoch.value, r.m.inc.counter, static_cast<std::uint64_t>(s)});
  }
  view_digest_ += r.view_part;
  full_digest_ += r.full_part;
  if (!r.counted_gone && names_.emplace(r.m.info.name, id).second) r.indexed_name = r.m.info.name;
  if (r.in_ring == r.counted_gone) {
    r.in_ring = !r.in_ring;
    ring_size_ = r.in_ring ? ring_size_ + 1 : ring_size_ - 1;
    ring_stale_ = true;
  }
}

void roster::erase(node_id id) {
  const auto it = records_.find(id);
  if (it == records_.end()) return;
  take_out(it->second);
  if (it->second.in_ring) {
    --ring_size_;
    ring_stale_ = true;
  }
  records_.erase(it);
}

bool roster::evict_one() {
  if (gone_ == 0) return false;
  const record* worst = nullptr;
  for (const auto& [id, r] : records_) {
    if (!r.counted_gone || id == self_) continue;
    if (!worst || r.m.state > worst->m.state || (r.m.state == worst->m.state && r.changed < worst->changed)) worst = &r;
  }
  if (!worst) return false;
  erase(worst->m.info.id);
  return true;
}

std::optional<node_id> roster::holder(std::string_view name) const {
  const auto it = names_.find(name);
  if (it == names_.end()) return std::nullopt;
  return it->second;
}

const std::vector<node_id>& roster::ring() {
  if (!ring_stale_) return ring_;
  ring_.clear();
  own_rank_ = 0;
  for (const auto& [id, r] : records_) {
    if (id == self_) own_rank_ = ring_.size();
    if (r.in_ring || id == self_) ring_.push_back(id);
  }
  ring_stale_ = false;
  return ring_;
}

}  // namespace coterie::swim
