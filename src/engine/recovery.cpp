#include "engine/recovery.hpp"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/big_endian.hpp"
#include "wire/codec.hpp"

namespace coterie::engine {

namespace {

const bytes* find(const std::vector<disk::item>& items, std::string_view key) {
  for (const auto& [k, v] : items)
    if (as_text(k) == key) return &v;
  return nullptr;
}

auto broken(std::string what) {
  return fail(errc::closed,
              "the data directory is damaged: " + std::move(what) +
                  ": move it away and start with an empty one; the node joins again and gets the state from its peers");
}

/// The log as found: entries as far as they are whole, and where they are not.
struct found_log {
  std::vector<raft::entry> entries;  ///< behind the last place that is damaged, without a gap
  hash128_value first, last;         ///< running hashes: after the first of them, and after the last
  std::optional<log_index> damaged;
  std::string what;
};

result<found_log> read_log(const disk::image& image, group_id group, log_index base, hash128_value base_chain,
                           term base_term) {
  found_log r;
  r.last = base_chain;
  auto next = base.next();
  auto last_term = base_term;
  std::optional<hash128_value> chain = base_chain;
  const auto damaged_at = [&](log_index i, const char* how) {
    if (r.what.empty()) r.what = fmt::format("log entry {} {}", i, how);
    r.damaged = i;
    r.entries.clear();
    chain.reset();
  };
  const auto before = [](const disk::item& i, const bytes& key) { return i.first < key; };
  auto item = std::lower_bound(image.log.begin(), image.log.end(), log_key(group, log_index(0)), before);
  const auto end = std::lower_bound(item, image.log.end(), log_key(group.next(), log_index(0)), before);
  for (; item != end; ++item) {
    const auto& [key, value] = *item;
    const auto at = parse_log_key(key);
    if (!at || at->second < next) return broken(fmt::format("log entry {} is missing", next));
    if (at->second > next) {
      damaged_at(next, "is missing");
      next = at->second;
      r.damaged = next.prev();
    }
    auto e = wire::decode_log_entry(value, chain);
    if (!e || e->what.index != next) {
      damaged_at(next, "fails its checksum");
    } else {
      if (e->what.when < last_term || (e->what.kind == raft::entry_kind::configuration && !e->what.conf.well_formed()))
        return broken(fmt::format("log entry {} does not follow from the one before", next));
      last_term = e->what.when;
      chain = r.last = e->chain;
      if (r.entries.empty()) r.first = e->chain;
      r.entries.push_back(std::move(e->what));
    }
    ++next;
  }
  return r;
}

/// Whether anybody else could have the state, as far as that can still be known.
bool has_peers(const recovered_state& r) {
  const auto other = [&](node_id id) { return id && id != r.self; };
  if (std::ranges::any_of(r.log.snapshot.conf.members(), other)) return true;
  for (const auto& e : r.log.entries)
    if (std::ranges::any_of(e.conf.members(), other)) return true;
  const auto& founded = r.acceptor.committed;
  return founded && std::ranges::any_of(founded->seeds, [&](const auto& s) { return other(s.id); });
}

result<std::uint32_t> data_groups_of(const disk::image& image) {
  const auto* v = find(image.meta, "data_groups");
  const auto n = v ? from_big_endian(*v) : std::optional<std::uint64_t>(0);
  if (!n || *n > max_data_groups) return broken("the number of data groups does not decode");
  return static_cast<std::uint32_t>(*n);
}

result<void> check_groups(const disk::image& image, std::uint32_t wanted) {
  const auto there = data_groups_of(image);
  if (!there) return tl::unexpected(there.error());
  if (*there != wanted)
    return fail(
        errc::bad_argument,
        fmt::format("this node has {} data groups and is started with {}: the number is fixed when a cluster is "
                    "made; start it with {}",
                    *there, wanted, *there));
  return {};
}

constexpr std::array<std::string_view, 3> end_names = {"left", "removed", "outdated"};

// meta keys: identity, boot_epoch, ended, acceptor, data_groups; of each group hard_state, log_base, applied.
result<std::optional<damage>> load_log(const disk::image& image, group_id group, recovered_group& r) {
  const auto in_meta = [&](std::string_view what) { return find(image.meta, as_text(group_key(group, what))); };
  if (const auto* v = in_meta("hard_state")) {
    auto h = wire::decode_hard_state(*v);
    if (!h) return broken("term and vote do not decode");
    r.log.hard = *h;
  }
  if (const auto* v = in_meta("log_base")) {
    auto m = wire::decode_snapshot_meta(*v);
    if (!m || !m->meta.conf.well_formed()) return broken("the log's start does not decode");
    r.log.snapshot = m->meta;
    r.base_chain = m->chain;
  }
  r.log.hard.current = std::max(r.log.hard.current, r.log.snapshot.when);
  r.log.applied = r.log.snapshot.index;
  if (const auto* v = in_meta("applied")) {
    const auto n = from_big_endian(*v);
    if (!n) return broken("the applied index does not decode");
    r.log.applied = std::max(log_index(*n), r.log.snapshot.index);
  }
  auto found = read_log(image, group, r.log.snapshot.index, r.base_chain, r.log.snapshot.when);
  if (!found) return tl::unexpected(found.error());
  r.log.entries = std::move(found->entries);
  r.log_chain = found->last;
  // What it acknowledged last has to be whole: nobody else can say what that was.
  if (found->damaged && r.log.entries.empty()) return broken(std::move(found->what));
  if (r.log.applied > r.log.last())
    return broken(fmt::format("state is at {} but the log ends at {}", r.log.applied, r.log.last()));
  if (!r.log.entries.empty() && r.log.entries.back().when > r.log.hard.current)
    return broken("the log has a later term than the vote record");
  if (!found->damaged) return std::nullopt;
  return damage{std::move(found->what), std::max(*found->damaged, r.log.applied), found->first};
}

/// `base`: where the logs begin that were never cut.
result<void> load_groups(const disk::image& image, std::uint32_t data_groups, const raft::snapshot_meta& base,
                         recovered_state& r) {
  for (const auto& [key, value] : image.log) {
    const auto at = parse_log_key(key);
    if (!at || at->first.value > data_groups) return broken("a log entry is of no group");
  }
  r.log.snapshot = base;
  auto damaged = load_log(image, meta_group, r);
  if (!damaged) return tl::unexpected(damaged.error());
  r.damaged = std::move(*damaged);
  for (std::uint32_t g = 1; g <= data_groups; ++g) {
    recovered_group one;
    one.log.snapshot = base;
    damaged = load_log(image, group_id(g), one);
    if (!damaged) return tl::unexpected(damaged.error());
    if (*damaged) return broken(fmt::format("group {}: {}", g, (*damaged)->what));
    if (const auto state = image.data.find(group_id(g)); state != image.data.end())
      for (const auto& [key, value] : state->second) {
        auto record = wire::decode_record(key, value);
        if (!record) return broken(fmt::format("group {}: a state record does not decode", g));
        one.state.push_back(std::move(*record));
      }
    r.data.push_back(std::move(one));
  }
  return {};
}

result<void> load_state(const disk::image& image, recovered_state& r) {
  auto what = image.state_damage;
  for (const auto& [key, value] : image.state) {
    auto record = wire::decode_record(key, value);
    if (!record && what.empty()) what = "a state record does not decode";
    if (record) r.state.push_back(std::move(*record));
  }
  if (!what.empty() && !r.damaged) {
    r.damaged = damage{std::move(what), r.log.applied, {}};
    if (!r.log.entries.empty()) wire::encode_log_entry(r.log.entries.front(), r.base_chain, r.damaged->chain);
  }
  // Of what data groups have nothing is healed yet, and their states are damaged with the meta group's.
  if (r.damaged && (!has_peers(r) || !r.data.empty())) return broken(r.damaged->what);
  if (r.damaged) r.state.clear();
  for (const auto& [key, value] : image.local) {
    const auto text = as_text(key);
    cursor c;
    if (!text.starts_with("cursor/") || value.size() != 16) return broken("a cursor does not decode");
    c.id = *from_big_endian(byte_view(value).first(8));
    c.ordinal = *from_big_endian(byte_view(value).last(8));
    r.cursors[std::string(text.substr(7))] = c;
  }
  return {};
}

}  // namespace

bytes state_memory_begin() { return machine::memory_begin(); }
bytes state_memory_end() { return machine::memory_end(); }

disk::batch installed_writes(group_id g, const raft::snapshot_meta& meta, hash128_value chain, bool kept) {
  const auto behind = kept ? log_key(g, meta.index.next()) : log_key(g.next(), log_index(0));
  return {disk::erase_range(disk::space::log, log_key(g, log_index(0)), behind),
          disk::put(disk::space::meta, group_key(g, "log_base"), wire::encode(meta, chain)),
          disk::put(disk::space::meta, group_key(g, "applied"), big_endian(meta.index.value))};
}

disk::op mark_ended(end_of_identity why) {
  return disk::put(disk::space::meta, to_bytes("ended"), to_bytes(end_names[static_cast<std::size_t>(why)]));
}

std::string farewell(end_of_identity e) {
  const auto what = [&] {
    switch (e) {
      case end_of_identity::left:
        return "this node has left its cluster";
      case end_of_identity::removed:
        return "this node was removed from its cluster";
      case end_of_identity::outdated:
        break;
    }
    return "this data directory is an older copy of what this node had (a restored backup or a cloned disk) and "
           "does not know what it promised since";
  };
  return fmt::format("{}: run it with --rejoin to come back with a new identity", what());
}

bytes log_key(group_id g, log_index i) {
  bytes key;
  key.reserve(12);
  for (int shift = 24; shift >= 0; shift -= 8) key.push_back(static_cast<std::byte>(g.value >> shift));
  put_big_endian(key, i.value);
  return key;
}

std::optional<std::pair<group_id, log_index>> parse_log_key(const bytes& key) {
  if (key.size() != 12) return std::nullopt;
  std::uint32_t group = 0;
  for (std::size_t i = 0; i < 4; ++i) group = group << 8 | std::to_integer<std::uint32_t>(key[i]);
  return std::pair(group_id(group), log_index(*from_big_endian(byte_view(key).subspan(4))));
}

bytes group_key(group_id g, std::string_view what) { return to_bytes(fmt::format("{}/{}", g, what)); }

disk::op erase_log(group_id g, log_index from) {
  return disk::erase_range(disk::space::log, log_key(g, from), log_key(g.next(), log_index(0)));
}

std::uint64_t length_of(const log_ends& ends) {
  std::uint64_t n = 0;
  for (const auto end : ends) n += end.value;
  return n;
}

log_ends recovered_state::ends() const {
  log_ends r{};
  r[0] = log.last();
  for (std::size_t i = 0; i < data.size(); ++i) r[i + 1] = data[i].log.last();
  return r;
}
bytes cursor_key(std::string_view journal) { return to_bytes("cursor/" + std::string(journal)); }
bytes cursor_value(cursor c) {
  auto b = big_endian(c.id);
  const auto o = big_endian(c.ordinal);
  b.insert(b.end(), o.begin(), o.end());
  return b;
}

void restore(machine::machine& m, const recovered_state& r) {
  const auto& founded = r.acceptor.committed;
  if (r.state.empty() && r.log.applied <= log_index(1) && founded && founded->lists(r.self))
    m.bootstrap(founder_members(*founded));
  else
    m.restore(r.state);
}

disk::batch state_writes(group_id g, machine::machine& m) {
  const auto in = disk::state_of(g);
  disk::batch b;
  for (auto& w : m.take_writes()) {
    if (auto* p = std::get_if<machine::put>(&w))
      b.push_back(disk::put(in, machine::key_of(p->value), wire::encode(p->value)));
    else if (auto* e = std::get_if<machine::erase>(&w))
      b.push_back(disk::erase(in, std::move(e->key)));
    else if (auto* r = std::get_if<machine::erase_range>(&w))
      b.push_back(disk::erase_range(in, std::move(r->from), std::move(r->to)));
  }
  return b;
}

raft::snapshot_meta founder_base(const swim::genesis_record& r) {
  raft::snapshot_meta m{log_index(1), term(1), {}};
  m.conf.voters = r.voters;
  for (const auto& s : r.seeds)
    if (s.id && std::find(r.voters.begin(), r.voters.end(), s.id) == r.voters.end()) m.conf.learners.push_back(s.id);
  std::sort(m.conf.voters.begin(), m.conf.voters.end());
  std::sort(m.conf.learners.begin(), m.conf.learners.end());
  return m;
}

std::vector<machine::member_record> founder_members(const swim::genesis_record& r) {
  std::vector<machine::member_record> members;
  for (const auto& s : r.seeds)
    if (s.id) members.push_back({.id = s.id, .name = s.name, .at = s.at, .view_joined = 1});
  return members;
}

result<prepared> recover(const disk::image& image, std::uint64_t random_hi, std::uint64_t random_lo, bool rejoin,
                         std::uint32_t data_groups) {
  if (data_groups > max_data_groups || (data_groups & (data_groups - 1)) != 0)
    return fail(errc::bad_argument, fmt::format("{} data groups: there can be none, or a power of two up to {}",
                                                data_groups, max_data_groups));
  prepared p;
  auto& r = p.state;
  const auto* identity = find(image.meta, "identity");
  if (const auto* ended = find(image.meta, "ended")) {
    const auto name = std::find(end_names.begin(), end_names.end(), as_text(*ended));
    if (name == end_names.end()) return broken("the end of the identity does not decode");
    if (!rejoin) return fail(errc::closed, farewell(static_cast<end_of_identity>(name - end_names.begin())));
    p.first_write = disk::erase_everything();
    identity = nullptr;
  } else if (identity) {
    const auto id = node_id::parse(as_text(*identity));
    const auto* epoch = find(image.meta, "boot_epoch");
    const auto last = epoch ? from_big_endian(*epoch) : std::nullopt;
    if (!id || !last) return broken("the node's identity does not decode");
    r.self = *id;
    r.boot = boot_epoch(*last + 1);
    if (const auto* v = find(image.meta, "acceptor")) {
      auto a = wire::decode_acceptor(*v);
      if (!a) return broken("the genesis record does not decode");
      r.acceptor = std::move(*a);
    }
    // What a founder starts from is not written: it follows from the genesis record.
    raft::snapshot_meta base;
    if (r.acceptor.committed && r.acceptor.committed->lists(r.self)) base = founder_base(*r.acceptor.committed);
    if (auto ok = check_groups(image, data_groups); !ok) return tl::unexpected(ok.error());
    if (auto ok = load_groups(image, data_groups, base, r); !ok) return tl::unexpected(ok.error());
    if (auto ok = load_state(image, r); !ok) return tl::unexpected(ok.error());
  } else if (!image.meta.empty() || !image.log.empty() || !image.state.empty()) {
    return broken("there is state but no identity");
  }
  if (!identity) {
    r.self = node_id{random_hi, random_lo | 1};
    r.boot = boot_epoch(1);
    r.data.resize(data_groups);
    p.first_write.push_back(disk::put(disk::space::meta, to_bytes("identity"), to_bytes(r.self.str())));
    p.first_write.push_back(disk::put(disk::space::meta, to_bytes("data_groups"), big_endian(data_groups)));
  }
  p.first_write.push_back(disk::put(disk::space::meta, to_bytes("boot_epoch"), big_endian(r.boot.value)));
  return p;
}

}  // namespace coterie::engine
