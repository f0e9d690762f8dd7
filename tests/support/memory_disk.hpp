// The simulated disk: what src/store does, in memory, deterministic and fast, and able to lose what was not synced.
// Knows base only; tests/contract holds it to the same behaviour as the real store.
//
// Contents are copy-on-write maps. What was not synced is kept as a stack of ways back: a power loss undoes some of the
// newest batches, never a part of one, never one below the last sync.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/assert.hpp"
#include "base/bytes.hpp"
#include "base/disk.hpp"
#include "base/random.hpp"

namespace coterie::test {

/// Copying one is cheap and gives an independent disk with the same contents (a clone, a backup).
class memory_disk {
 public:
  /// Part of a range, in the asked order; `more`: the limit cut it, go on after the last key.
  struct page {
    std::vector<disk::item> items;
    bool more = false;
  };

  // ---- as the store ------------------------------------------------------------------------------------------------
  /// Batches in order, each atomic; with `sync` they and all before them are durable. False = the disk has failed.
  bool write(std::span<const disk::batch* const> batches, bool sync) {
    if (failed_) return false;
    for (const auto* b : batches) apply(*b);
    return !sync || this->sync();
  }
  bool write(const disk::batch& b, bool sync) {
    const disk::batch* one[] = {&b};
    return write(one, sync);
  }
  /// Makes everything written so far durable. False = the disk has failed, or this sync does; nothing is durable by it.
  bool sync() {
    if (syncs_until_failure_ && (*syncs_until_failure_)-- == 0) failed_ = true;
    if (failed_) return false;
    undo_.clear();
    ++syncs_;
    return true;
  }

  /// Takes anything with the fields of engine::read or store::query. An unknown view is a programmer's error.
  template <class Query>
  page range(const Query& q) const {
    const map& m = q.view == 0 ? *spaces_[at(q.in)] : view_of(q.view, q.in);
    auto first = m.lower_bound(q.from);
    auto last = q.to.empty() ? m.end() : m.lower_bound(q.to);
    page r;
    if (!q.to.empty() && q.to <= q.from) return r;
    std::size_t used = 0;
    const auto take = [&](const map::value_type& kv) {
      used += kv.first.size() + kv.second.size();
      if (!r.items.empty() && (r.items.size() >= q.max_items || used > q.max_bytes)) return !(r.more = true);
      r.items.emplace_back(kv.first, copy(kv.second.view()));
      return true;
    };
    if (q.reverse) {
      while (first != last && take(*--last)) {
      }
    } else {
      while (first != last && take(*first)) ++first;
    }
    return r;
  }

  /// Freezes all spaces as of now under a new number.
  void open_view(std::uint64_t id) {
    const bool fresh = id != 0 && views_.emplace(id, spaces_).second;
    COTERIE_ASSERT(fresh);
  }
  void close_view(std::uint64_t id) { views_.erase(id); }

  /// Drops what an unfinished install left; chunks collect beside the present state.
  void install_begin(disk::space in = disk::space::state) { incoming_[in] = {}; }
  /// False = the disk has failed.
  bool install_chunk(std::span<const disk::item> items, disk::space in = disk::space::state) {
    if (failed_) return false;
    COTERIE_ASSERT(incoming_.contains(in));
    for (const auto& [k, v] : items) incoming_[in][k] = shared_bytes(v);
    return true;
  }
  /// The state becomes the chunks and `what` is applied, as one batch; with `sync` (as the store does) durably.
  bool install_commit(const disk::batch& what, disk::space in = disk::space::state, bool sync = true) {
    if (failed_) return false;
    auto incoming = incoming_.extract(in);
    COTERIE_ASSERT(!incoming.empty());
    step back;
    back.installed = in;
    back.state = std::exchange(spaces_[at(in)], std::make_shared<map>(std::move(incoming.mapped())));
    back.state_rotten = std::exchange(state_rotten_, false);
    for (const auto& o : what) apply(o, back);
    undo_.push_back(std::move(back));
    return !sync || this->sync();
  }

  /// meta, log and local whole, and of each state the keys in [state_begin, state_end); an empty end = all.
  disk::image load(const bytes& state_begin, const bytes& state_end) const {
    disk::image r;
    struct whole {
      disk::space in;
      bytes from, to;
      std::size_t max_items = SIZE_MAX, max_bytes = SIZE_MAX;
      bool reverse = false;
      std::uint64_t view = 0;
    };
    r.meta = range(whole{disk::space::meta, {}, {}}).items;
    r.log = range(whole{disk::space::log, {}, {}}).items;
    r.local = range(whole{disk::space::local, {}, {}}).items;
    if (state_rotten_) {
      r.state_damage = "a block of the state fails its checksum";
      return r;
    }
    r.state = range(whole{disk::space::state, state_begin, state_end}).items;
    for (std::uint32_t g = 1; g <= max_data_groups; ++g)
      if (auto items = range(whole{disk::state_of(group_id(g)), state_begin, state_end}).items; !items.empty())
        r.data.emplace(group_id(g), std::move(items));
    return r;
  }

  // ---- faults ------------------------------------------------------------------------------------------------------
  /// The process dies, the machine goes on: nothing written is lost; views and an unfinished install are.
  void kill() {
    views_.clear();
    incoming_.clear();
    failed_ = false;
    syncs_until_failure_.reset();
  }
  /// The power goes: as kill, and a random number of the newest un-synced batches never happened. Returns how many.
  std::size_t crash(rng& random) {
    const std::size_t lost = random.below(undo_.size() + 1);
    lose(lost);
    return lost;
  }
  /// The power goes and takes just these: at most `unsynced()` batches.
  void lose(std::size_t batches) {
    COTERIE_ASSERT(batches <= undo_.size());
    kill();
    for (; batches > 0; --batches) {
      revert(std::move(undo_.back()));
      undo_.pop_back();
    }
    undo_.clear();  // what is left has reached the medium
  }
  /// Batches that a power loss may take.
  std::size_t unsynced() const { return undo_.size(); }
  /// From now on every write and sync fails, until kill or crash.
  void fail() { failed_ = true; }
  /// `good` more syncs succeed, the next one fails, and everything after it.
  void fail_sync_after(std::size_t good) { syncs_until_failure_ = good; }
  bool failed() const { return failed_; }
  /// Bit rot: flips one bit of one value in this space; false when there is no value to damage. In `state`, which has
  /// no checksums of its own, load notices it, as the store's blocks do.
  bool corrupt(rng& random, disk::space in) {
    map& m = own(in);
    if (m.empty()) return false;
    auto it = std::next(m.begin(), static_cast<std::ptrdiff_t>(random.below(m.size())));
    if (it->second.empty()) return false;
    bytes b = copy(it->second.view());
    b[random.below(b.size())] ^= std::byte{1} << static_cast<int>(random.below(8));
    it->second = shared_bytes(std::move(b));
    state_rotten_ |= in == disk::space::state;
    return true;
  }

  // ---- looking -----------------------------------------------------------------------------------------------------
  /// What a power loss now would leave at most once everything un-synced is gone; none = absent. Not of `state` while
  /// an install is un-synced.
  std::optional<shared_bytes> durable(disk::space in, const bytes& key) const {
    for (const auto& back : undo_)
      for (const auto& c : back.changes)
        if (c.in == in && c.key == key) return c.was;
    const auto& m = *spaces_[at(in)];
    const auto it = m.find(key);
    return it == m.end() ? std::nullopt : std::optional(it->second);
  }
  /// What is there now, durable or not.
  bool contains(disk::space in, const bytes& key) const { return spaces_[at(in)]->contains(key); }
  std::size_t size(disk::space in) const { return spaces_[at(in)]->size(); }
  std::uint64_t syncs() const { return syncs_; }

 private:
  using map = std::map<bytes, shared_bytes>;
  using spaces = std::array<std::shared_ptr<map>, disk::spaces>;
  /// The way back over one batch: what each key was before it (none = absent), newest change last.
  struct step {
    struct change {
      disk::space in;
      bytes key;
      std::optional<shared_bytes> was;
    };
    std::vector<change> changes;
    std::shared_ptr<map> state;  ///< of an install: the whole space as it was
    disk::space installed = disk::space::state;
    bool state_rotten = false;
  };

  static std::size_t at(disk::space in) { return static_cast<std::size_t>(in); }

  /// The space, no longer shared with a view or a copy of this disk.
  map& own(disk::space in) {
    auto& p = spaces_[at(in)];
    if (p.use_count() > 1) p = std::make_shared<map>(*p);
    return *p;
  }

  const map& view_of(std::uint64_t id, disk::space in) const {
    const auto it = views_.find(id);
    COTERIE_ASSERT(it != views_.end());
    return *it->second[at(in)];
  }

  void apply(const disk::batch& b) {
    step back;
    for (const auto& o : b) apply(o, back);
    undo_.push_back(std::move(back));
  }

  void apply(const disk::op& o, step& back) {
    map& m = own(o.in);
    switch (o.what) {
      case disk::op::kind::put: {
        auto [it, fresh] = m.try_emplace(o.key, o.value);
        back.changes.push_back({o.in, o.key, fresh ? std::nullopt : std::optional(it->second)});
        if (!fresh) it->second = o.value;
        break;
      }
      case disk::op::kind::erase:
        if (const auto it = m.find(o.key); it != m.end()) {
          back.changes.push_back({o.in, it->first, std::move(it->second)});
          m.erase(it);
        }
        break;
      case disk::op::kind::erase_range:
        if (o.in == disk::space::state && o.key.empty() && o.end.empty()) state_rotten_ = false;
        for (auto it = m.lower_bound(o.key); it != m.end() && (o.end.empty() || it->first < o.end); it = m.erase(it))
          back.changes.push_back({o.in, it->first, std::move(it->second)});
        break;
    }
  }

  void revert(step&& back) {
    for (auto c = back.changes.rbegin(); c != back.changes.rend(); ++c) {
      if (c->was) {
        own(c->in)[std::move(c->key)] = std::move(*c->was);
      } else {
        own(c->in).erase(c->key);
      }
    }
    if (!back.state) return;
    spaces_[at(back.installed)] = std::move(back.state);
    state_rotten_ = back.state_rotten;
  }

  static spaces empty_spaces() {
    spaces r;
    for (auto& s : r) s = std::make_shared<map>();
    return r;
  }

  spaces spaces_ = empty_spaces();
  std::map<std::uint64_t, spaces> views_;
  std::map<disk::space, map> incoming_;
  std::vector<step> undo_;  ///< one for each batch since the last sync
  bool failed_ = false, state_rotten_ = false;
  std::optional<std::size_t> syncs_until_failure_;
  std::uint64_t syncs_ = 0;
};

}  // namespace coterie::test
