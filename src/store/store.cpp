#include "store/store.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>
#include <rocksdb/write_batch.h>

#include "base/assert.hpp"
#include "store/directory.hpp"
#include "store/incoming.hpp"
#include "store/rocks.hpp"
#include "store/synced_mark.hpp"
#include "store/wal.hpp"

namespace coterie {
namespace {

auto cannot_open(const std::string& name, const std::string& what) {
  return fail(
      errc::unavailable,
      fmt::format("opening {} failed ({}): make sure that the disk is sound, has space, and belongs to this user", name,
                  what));
}

constexpr std::size_t keep_batch = 1 << 20;
constexpr std::uint64_t format_version = 3;
// Keys of the store's own family; the values are u64, big endian.
constexpr const char* format_key = "format";
constexpr const char* generation_key = "generation";
constexpr const char* position_key = "position";      // the newest record of the write-ahead log in the tables
constexpr const char* state_lost_key = "state_lost";  // what there was of `state` is gone, and none came in its place

std::string encode(std::uint64_t v) {
  std::string r(8, '\0');
  for (std::size_t i = 8; i-- > 0; v >>= 8) r[i] = static_cast<char>(v & 0xff);
  return r;
}

std::uint64_t decode(const std::string& s) {
  std::uint64_t v = 0;
  for (const char c : s) v = v << 8 | static_cast<unsigned char>(c);
  return v;
}

rocksdb::Slice slice(byte_view b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }

/// The generation of each group's state, which an installed snapshot replaces. The upper 16 bits are the group's
/// number, so no two groups have the same one.
using generations = std::array<std::uint64_t, 1 + max_data_groups>;

constexpr std::uint64_t lowest_generation(std::size_t group) { return std::uint64_t{group} << 48; }

std::string name_of_generation(std::size_t group) {
  return group == 0 ? generation_key : fmt::format("{}/{}", generation_key, group);
}

std::size_t group_at(disk::space in) {
  const auto group = disk::group_of(in);
  COTERIE_ASSERT(group && group->value <= max_data_groups);
  return group->value;
}

/// The part of a column family that a space occupies: every key in it begins with `prefix`, and `end` is above them
/// all. Those of a state begin with its generation.
struct region {
  std::string prefix{'\0'}, end{'\1'};
  region(disk::space in, const generations& all) {
    if (!disk::group_of(in)) return;
    const auto generation = all[group_at(in)];
    prefix = encode(generation);
    end = encode(generation + 1);
  }
};

/// The note that is kept across restarts; empty text = none.
std::string read_note(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::string r;
  std::getline(in, r);
  return r;
}

bool write_note(const std::filesystem::path& file, const std::string& text) {
  const file_descriptor fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  const auto line = text + "\n";
  return fd && ::write(fd.get(), line.data(), line.size()) == std::ssize(line) && ::fsync(fd.get()) == 0 &&
         sync_directory(file.parent_path());
}

}  // namespace

struct store::impl {
  struct view {
    std::shared_ptr<const rocksdb::Snapshot> snapshot;  ///< shared with the scans of it
    generations states;
  };

  impl(data_directory d, const options& opts)
      : directory(std::move(d)), o(opts), latch(std::make_shared<failure_latch>(directory.path().string())) {
    for (std::size_t g = 0; g < states.size(); ++g) states[g] = lowest_generation(g) + 1;
  }

  std::filesystem::path damage_file() const { return directory.path() / "damaged"; }
  std::filesystem::path incoming() const { return directory.path() / "db" / "incoming"; }

  result<void> open_all();
  result<void> open_database(const std::string& path);
  result<void> open_contents(bool existed);
  result<void> note_damage(const std::string& what);
  result<void> clear_damage();
  result<void> mark_value(std::uint64_t);

  result<void> ready() const {
    if (latch->closed()) return tl::unexpected(latch->why());
    return {};
  }
  /// Before a call looks at the tables.
  result<void> up_to_date() {
    if (auto r = ready(); !r || !logged) return r;
    return settle();
  }
  /// Turns a status into a result; an error closes the latch.
  result<void> checked(const rocksdb::Status& s) {
    if (!s.ok()) latch->close(s);
    return ready();
  }

  result<void> check_tables();
  result<void> give_up_state();
  void forget_lost_state();
  result<void> trust_tables();
  result<void> open_log();
  result<std::optional<std::uint64_t>> own_value(const std::string& key, rocksdb::ReadTier = rocksdb::kReadAllTier);

  void add(const disk::batch&, const generations&);
  /// Writes what `pending` has collected to the log; the tables get it by settle().
  result<void> commit(bool sync);
  /// The same, and the tables at once.
  result<void> commit_through(bool sync);
  /// Brings what was written last into the tables, and drops the part of the log that they have kept since.
  result<void> settle();
  result<void> fill_tables();
  result<void> flush_tables(bool wait);
  result<void> drop_log();
  result<void> drop_generations(std::uint64_t from, std::uint64_t to);
  /// Of this group, all but the present one.
  result<void> drop_other_generations(std::size_t group);
  /// Whether any key of a state is in these generations; `to` not included.
  result<bool> any_generation(std::uint64_t from, std::uint64_t to);
  view freeze() const;
  result<page> read(const query&, const view&);

  data_directory directory;
  options o;
  std::shared_ptr<failure_latch> latch;
  rocks database;
  std::optional<write_ahead_log> log;
  bool flushing = false;  ///< the tables were told to, because of the log's size
  bool logged = false;    ///< `pending` is in the log, and not yet in the tables
  std::optional<synced_mark> mark;
  std::string damage;        ///< empty = none
  std::string state_damage;  ///< of `state`, which a snapshot has to replace; empty = none
  bool state_lost = false;   ///< then nothing of the damaged one is left

  generations states{};  ///< of the present states; an unfinished install writes under the next one
  std::array<std::optional<incoming_tables>, 1 + max_data_groups> installing{};
  std::map<std::uint64_t, view> views;
  rocksdb::WriteBatch pending;  ///< empty between calls; kept for its memory
  std::uint64_t syncs = 0;
};

// ---- opening -------------------------------------------------------------------------------------------------------

result<void> store::impl::open_all() {
  damage = read_note(damage_file());
  const auto path = directory.path() / "db";
  if ((::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) || !sync_directory(directory.path())) {
    return fail(errc::bad_argument,
                fmt::format("{} can't be written ({}): give it to this user, or choose another --data",
                            directory.path().string(), std::strerror(errno)));
  }
  std::error_code ignored;
  std::filesystem::remove_all(incoming(), ignored);  // of an unfinished install
  const bool existed = rocks::exists(path.string());
  if (auto r = open_database(path.string()); !r) return r;
  if (auto r = open_contents(existed); !r) {
    // a refusal is told as it is; an error of the disk closed the latch and is told as a damage that can't be read
    return latch->closed() ? fail(errc::unavailable, latch->why().message) : r;
  }
  directory.hold_reserve(o.reserve);
  return {};
}

result<void> store::impl::open_database(const std::string& path) {
  const auto s = rocks::open(path, o, latch, !read_note(directory.path() / suspect_file).empty(), database);
  if (s.ok()) {
    auto r = open_log();
    return r ? check_tables() : r;
  }
  const auto name = directory.path().string();
  const auto text = s.ToString();
  if (s.IsInvalidArgument() && text.find("olumn famil") != std::string::npos) {
    return fail(errc::unavailable, fmt::format("{} was written by a newer version ({}): run that version", name, text));
  }
  if (s.IsCorruption() || s.IsPathNotFound() || s.IsInvalidArgument() || s.IsNotSupported()) {
    return fail(errc::unavailable,
                fmt::format("the data in {} is damaged ({}): move it away and start again, the node then "
                            "joins under a new id",
                            name, text));
  }
  return cannot_open(name, text);
}

result<std::optional<std::uint64_t>> store::impl::own_value(const std::string& key, rocksdb::ReadTier tier) {
  rocksdb::ReadOptions read;
  read.read_tier = tier;
  std::string value;
  const auto s = database.db->Get(read, database.families[rocks::own], key, &value);
  if (s.IsNotFound()) return std::nullopt;
  if (auto r = checked(s); !r) return tl::unexpected(r.error());
  return decode(value);
}

/// The tables hold everything up to their position, all spaces alike; the log has what came behind.
result<void> store::impl::open_log() {
  const auto format = own_value(format_key);
  if (!format) return tl::unexpected(format.error());
  if (*format && **format != format_version) {
    const bool newer = **format > format_version;
    return fail(errc::unavailable,
                fmt::format("{} was written by {} version (format {}, this one knows {}): run that version{}",
                            directory.path().string(), newer ? "a newer" : "an earlier", **format, format_version,
                            newer ? "" : ", or move it away, and the node joins under a new id"));
  }
  const auto position = own_value(position_key);
  if (!position) return tl::unexpected(position.error());
  write_ahead_log::finder found;
  found.damage = [this](const std::string& what) { return note_damage(what); };
  found.record = [this](std::uint64_t, std::string payload) {
    pending = rocksdb::WriteBatch(std::move(payload));
    return fill_tables();
  };
  auto opened =
      write_ahead_log::open(directory.path() / "db" / "wal", position->value_or(0), {.segment = o.log_segment}, found);
  if (!opened && latch->closed()) return tl::unexpected(latch->why());
  if (!opened) return cannot_open(directory.path().string(), opened.error().message);
  log.emplace(std::move(*opened));
  return {};
}

/// Tables were found damaged. What is in `state` comes again from others; nothing else does.
result<void> store::impl::check_tables() {
  const auto note = read_note(directory.path() / suspect_file);
  const auto lost = own_value(state_lost_key);
  if (!lost) return tl::unexpected(lost.error());
  state_lost = lost->has_value();
  if (state_lost) state_damage = "the state was damaged and is gone";
  if (note.empty()) return {};
  const auto state = static_cast<std::size_t>(disk::space::state);
  std::vector<std::size_t> others;
  for (std::size_t i = 0; i < database.families.size(); ++i)
    if (i != state) others.push_back(i);
  if (const auto what = database.damaged_table(others))
    return fail(errc::unavailable, fmt::format("the data in {} is damaged ({}): move it away and start again, the node "
                                               "then joins under a new id",
                                               directory.path().string(), *what));
  if (const auto what = database.damaged_table({state})) state_damage = *what;
  if (state_damage.empty()) return trust_tables();
  return {};
}

/// The damaged tables of `state` go, without being read again. That it is gone is durable before.
result<void> store::impl::give_up_state() {
  if (state_lost || state_damage.empty()) return {};
  pending.Put(database.families[rocks::own], state_lost_key, encode(1));
  if (auto r = commit_through(true); !r) return r;
  // No record of the log may speak of the old family.
  if (auto r = flush_tables(true); !r) return r;
  if (auto r = checked(database.replace(static_cast<std::size_t>(disk::space::state), o)); !r) return r;
  state_lost = true;
  return trust_tables();
}

/// Goes with the batch that puts another state in its place.
void store::impl::forget_lost_state() {
  if (state_damage.empty()) return;
  pending.Delete(database.families[rocks::own], state_lost_key);
  state_damage.clear();
  state_lost = false;
}

result<void> store::impl::trust_tables() {
  std::error_code ignored;
  std::filesystem::remove(directory.path() / suspect_file, ignored);
  return checked(database.merge_tables(true));
}

result<void> store::impl::open_contents(bool existed) {
  const auto format = own_value(format_key);
  if (!format) return tl::unexpected(format.error());
  const bool known = format->has_value();
  auto m = synced_mark::open(directory.path() / "synced", !known);
  if (!m && known) {
    if (auto r = note_damage(m.error().message); !r) return r;
    std::error_code ignored;
    std::filesystem::remove(directory.path() / "synced", ignored);
    m = synced_mark::open(directory.path() / "synced", true);
  }
  if (!m) {
    return cannot_open(directory.path().string(), m.error().message);
  }
  mark.emplace(std::move(*m));
  if (!known) {
    if (existed && mark->value() > 0) {
      // not a crash while the directory was made: then nothing was ever marked
      if (auto r = note_damage("the database has lost all its contents"); !r) return r;
    }
    if (!existed) {  // the marks of a database that somebody removed say nothing about the new one
      if (auto r = mark_value(0); !r) return r;
      if (auto r = clear_damage(); !r) return r;
    }
    (void)log->prepare();  // the first segment is used for long; without room for it the write tells
    pending.Put(database.families[rocks::own], format_key, encode(format_version));
    pending.Put(database.families[rocks::own], generation_key, encode(states[0]));
    return commit_through(true);
  }
  for (std::size_t g = 0; g < states.size(); ++g) {
    const auto current = own_value(name_of_generation(g));
    if (!current) return tl::unexpected(current.error());
    states[g] = current->value_or(states[g]);
  }
  if (!state_damage.empty()) return {};
  // what an unfinished install or an interrupted clean-up left
  result<void> r;
  for (std::size_t g = 0; g < states.size() && r; ++g) r = drop_other_generations(g);
  return r;
}

result<void> store::impl::note_damage(const std::string& what) {
  if (damage.empty()) {
    damage = what;
    std::replace(damage.begin(), damage.end(), '\n', ' ');
  }
  if (write_note(damage_file(), damage)) return {};
  return fail(errc::unavailable, fmt::format("{} can't be written ({}): make sure that the disk is sound and has space",
                                             damage_file().string(), std::strerror(errno)));
}

result<void> store::impl::clear_damage() {
  if (damage.empty()) return {};
  if ((::unlink(damage_file().c_str()) != 0 && errno != ENOENT) || !sync_directory(directory.path())) {
    return fail(errc::unavailable,
                fmt::format("{} can't be removed: {}", damage_file().string(), std::strerror(errno)));
  }
  damage.clear();
  return {};
}

result<void> store::impl::mark_value(std::uint64_t value) {
  if (value == mark->value()) return {};
  if (auto r = mark->set(value); !r) latch->close(r.error().message);
  return ready();
}

result<std::unique_ptr<store>> store::open(const std::filesystem::path& directory, const options& o) {
  auto d = data_directory::open(directory);
  if (!d) return tl::unexpected(d.error());
  auto i = std::make_unique<impl>(std::move(*d), o);
  if (auto r = i->open_all(); !r) return tl::unexpected(r.error());
  return std::unique_ptr<store>(new store(std::move(i)));
}

store::store(std::unique_ptr<impl> i) : impl_(std::move(i)) {}
store::~store() = default;

// ---- writing -------------------------------------------------------------------------------------------------------

void store::impl::add(const disk::batch& b, const generations& of) {
  for (const auto& op : b) {
    auto* family = database[op.in];
    const region in(op.in, of);
    const rocksdb::Slice key[] = {in.prefix, slice(op.key)};
    switch (op.what) {
      case disk::op::kind::put: {
        const rocksdb::Slice value = slice(op.value.view());
        pending.Put(family, rocksdb::SliceParts(key, 2), rocksdb::SliceParts(&value, 1));
        break;
      }
      case disk::op::kind::erase:
        pending.Delete(family, rocksdb::SliceParts(key, 2));
        break;
      case disk::op::kind::erase_range: {
        if (!op.end.empty() && op.end <= op.key) break;
        const rocksdb::Slice end[] = {op.end.empty() ? in.end : in.prefix, slice(op.end)};
        pending.DeleteRange(family, rocksdb::SliceParts(key, 2), rocksdb::SliceParts(end, 2));
        break;
      }
    }
  }
}

result<void> store::impl::commit(bool sync) {
  if (pending.Count() > 0) {
    pending.Put(database.families[rocks::own], position_key, encode(log->next()));
    if (auto r = log->append(pending.Data()); !r) latch->close(r.error().message);
    logged = true;
  }
  if (sync && !latch->closed()) {
    ++syncs;
    if (auto r = log->sync(); !r) latch->close(r.error().message);
  }
  return ready();
}

result<void> store::impl::commit_through(bool sync) {
  auto r = commit(sync);
  return r ? settle() : r;
}

result<void> store::impl::settle() {
  logged = false;
  if (auto r = fill_tables(); !r) return r;
  if (latch->take_flushed()) return drop_log();
  if (log->size() < o.max_log || flushing) return {};
  flushing = true;
  return flush_tables(false);
}

result<void> store::impl::fill_tables() {
  rocksdb::WriteOptions w;
  w.disableWAL = true;
  const auto s = database.db->Write(w, &pending);
  pending.Clear();
  if (pending.Data().capacity() > keep_batch) pending = rocksdb::WriteBatch();
  return checked(s);
}

result<void> store::impl::flush_tables(bool wait) {
  rocksdb::FlushOptions f;
  f.wait = wait;
  f.allow_write_stall = true;
  return checked(database.db->Flush(f, {database.families.begin(), database.families.end()}));
}

result<void> store::impl::drop_log() {
  flushing = false;
  const auto position = own_value(position_key, rocksdb::kPersistedTier);
  if (!position) return tl::unexpected(position.error());
  if (auto r = log->drop(position->value_or(0)); !r) latch->close(r.error().message);
  return ready();
}

result<void> store::write(std::span<const disk::batch* const> batches, bool sync) {
  if (auto r = impl_->up_to_date(); !r) return r;
  const auto erases_state = [](const disk::op& op) {
    return op.what == disk::op::kind::erase_range && op.in == disk::space::state && op.key.empty() && op.end.empty();
  };
  if (!impl_->state_damage.empty() &&
      std::ranges::any_of(batches, [&](const auto* b) { return std::ranges::any_of(*b, erases_state); })) {
    if (auto r = impl_->give_up_state(); !r) return r;
    impl_->forget_lost_state();
  }
  for (const auto* b : batches) impl_->add(*b, impl_->states);
  return impl_->commit(sync);
}

result<void> store::settle() { return impl_->up_to_date(); }

result<void> store::prepare() {
  if (auto r = impl_->up_to_date(); !r) return r;
  (void)impl_->log->prepare();  // no room now is no harm: whoever needs it will see
  return {};
}

result<void> store::write(const disk::batch& b, bool sync) {
  const disk::batch* one[] = {&b};
  return write(one, sync);
}

// ---- reading -------------------------------------------------------------------------------------------------------

store::impl::view store::impl::freeze() const {
  // After a failure no call may reach RocksDB but its destructor: the few bytes of a snapshot are let go.
  const auto release = [db = database.db.get(), watch = latch](const rocksdb::Snapshot* s) {
    if (!watch->closed()) db->ReleaseSnapshot(s);
  };
  return {std::shared_ptr<const rocksdb::Snapshot>(database.db->GetSnapshot(), release), states};
}

/// On any thread.
result<store::page> store::impl::read(const query& q, const view& v) {
  page r;
  if (auto ok = ready(); !ok) return tl::unexpected(ok.error());
  if (!q.to.empty() && q.to <= q.from) return r;
  const region in(q.in, v.states);
  const auto low = in.prefix + to_text(q.from), high = q.to.empty() ? in.end : in.prefix + to_text(q.to);
  const rocksdb::Slice lower = low, upper = high;
  rocksdb::ReadOptions read;
  read.iterate_lower_bound = &lower;
  read.iterate_upper_bound = &upper;
  read.snapshot = v.snapshot.get();
  read.fill_cache = q.view == 0;  // sending a snapshot reads everything once
  const std::unique_ptr<rocksdb::Iterator> it(database.db->NewIterator(read, database[q.in]));
  std::size_t used = 0;
  for (q.reverse ? it->SeekToLast() : it->SeekToFirst(); it->Valid(); q.reverse ? it->Prev() : it->Next()) {
    const auto key = it->key(), value = it->value();
    used += key.size() - in.prefix.size() + value.size();
    if (!r.items.empty() && (r.items.size() >= q.max_items || used > q.max_bytes)) {
      r.more = true;
      break;
    }
    const auto* k = reinterpret_cast<const std::byte*>(key.data());
    const auto* d = reinterpret_cast<const std::byte*>(value.data());
    r.items.emplace_back(bytes(k + in.prefix.size(), k + key.size()), bytes(d, d + value.size()));
  }
  if (auto ok = checked(it->status()); !ok) return tl::unexpected(ok.error());
  return r;
}

struct store::scan::parts {
  impl& store;
  query what;
  impl::view of;
};

store::scan::scan(std::unique_ptr<parts> p) : parts_(std::move(p)) {}
store::scan::scan(scan&&) noexcept = default;
store::scan::~scan() = default;
result<store::page> store::scan::read() const { return parts_->store.read(parts_->what, parts_->of); }

result<store::scan> store::begin_scan(query q) {
  if (auto r = impl_->up_to_date(); !r) return tl::unexpected(r.error());
  if (q.view == 0) return scan(std::make_unique<scan::parts>(*impl_, std::move(q), impl_->freeze()));
  const auto it = impl_->views.find(q.view);
  if (it == impl_->views.end()) return fail(errc::not_found, fmt::format("view {} is not open", q.view));
  return scan(std::make_unique<scan::parts>(*impl_, std::move(q), it->second));
}

result<store::page> store::range(const query& q) {
  const auto s = begin_scan(q);
  return s ? s->read() : tl::unexpected(s.error());
}

result<void> store::open_view(std::uint64_t id) {
  if (auto r = impl_->up_to_date(); !r) return r;
  if (id == 0 || impl_->views.contains(id)) return fail(errc::bad_argument, fmt::format("view {} is open already", id));
  if (impl_->views.size() >= impl_->o.max_views) {
    return fail(errc::limit, fmt::format("{} views are open: close one first (max_views)", impl_->views.size()));
  }
  impl_->views.emplace(id, impl_->freeze());
  return {};
}

result<void> store::close_view(std::uint64_t id) {
  if (auto r = impl_->ready(); !r) return r;
  impl_->views.erase(id);
  return {};
}

result<disk::image> store::load(const bytes& state_begin, const bytes& state_end) {
  disk::image r;
  const auto read = [&](disk::space in, std::vector<disk::item>& to, bytes from, bytes end) -> result<void> {
    auto p = range({in, std::move(from), std::move(end), SIZE_MAX, SIZE_MAX, false, 0});
    if (!p) return tl::unexpected(p.error());
    to = std::move(p->items);
    return {};
  };
  auto ok = read(disk::space::meta, r.meta, {}, {});
  if (ok) ok = read(disk::space::log, r.log, {}, {});
  if (ok) ok = read(disk::space::local, r.local, {}, {});
  r.state_damage = impl_->state_damage;
  if (ok && r.state_damage.empty()) ok = read(disk::space::state, r.state, state_begin, state_end);
  for (std::uint32_t g = 1; g <= max_data_groups && ok && r.state_damage.empty(); ++g) {
    std::vector<disk::item> state;
    ok = read(disk::state_of(group_id(g)), state, state_begin, state_end);
    if (!state.empty()) r.data.emplace(group_id(g), std::move(state));
  }
  if (!ok) return tl::unexpected(ok.error());
  return r;
}

// ---- installing a snapshot -----------------------------------------------------------------------------------------

result<bool> store::impl::any_generation(std::uint64_t from, std::uint64_t to) {
  const auto low = encode(from), high = encode(to);
  const rocksdb::Slice lower = low, upper = high;
  rocksdb::ReadOptions read;
  read.iterate_lower_bound = &lower;
  read.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(database.db->NewIterator(read, database[disk::space::state]));
  it->SeekToFirst();
  if (auto r = checked(it->status()); !r) return tl::unexpected(r.error());
  return it->Valid();
}

result<void> store::impl::drop_generations(std::uint64_t from, std::uint64_t to) {
  const auto any = any_generation(from, to);
  if (!any) return tl::unexpected(any.error());
  if (!*any) return {};
  pending.DeleteRange(database[disk::space::state], encode(from), encode(to));
  return commit_through(false);
}

result<void> store::impl::drop_other_generations(std::size_t group) {
  auto r = drop_generations(lowest_generation(group), states[group]);
  return r ? drop_generations(states[group] + 1, lowest_generation(group + 1)) : r;
}

result<void> store::install_begin(disk::space in) {
  if (auto r = impl_->up_to_date(); !r) return r;
  if (auto r = impl_->give_up_state(); !r) return r;
  const auto group = group_at(in);
  impl_->installing[group].emplace(impl_->incoming(), std::to_string(group),
                                   impl_->database.db->GetOptions(impl_->database[in]));
  return impl_->drop_other_generations(group);
}

result<void> store::install_chunk(std::span<const disk::item> items, disk::space in) {
  if (auto r = impl_->up_to_date(); !r) return r;
  const auto group = group_at(in);
  auto& to = impl_->installing[group];
  if (!to) return fail(errc::bad_argument, "no snapshot is being installed");
  auto key = encode(impl_->states[group] + 1);
  const auto prefix = key.size();
  for (const auto& [k, v] : items) {
    key.resize(prefix);
    key += as_text(k);
    if (auto r = impl_->checked(to->add(key, slice(v))); !r) return r;
  }
  return {};
}

result<void> store::install_commit(const disk::batch& what, disk::space in) {
  if (auto r = impl_->up_to_date(); !r) return r;
  const auto group = group_at(in);
  auto& tables = impl_->installing[group];
  if (!tables) return fail(errc::bad_argument, "no snapshot is being installed");
  // First, what the log has of an earlier install, which a start would drop again, and the new one with it.
  if (auto r = impl_->flush_tables(true); !r) return r;
  if (auto r = impl_->checked(tables->move_to(*impl_->database.db, impl_->database[in])); !r) return r;
  auto next = impl_->states;
  ++next[group];
  impl_->pending.Put(impl_->database.families[rocks::own], name_of_generation(group), encode(next[group]));
  impl_->forget_lost_state();
  impl_->add(what, next);
  if (auto r = impl_->commit_through(true); !r) return r;
  impl_->states = next;
  tables.reset();
  return impl_->drop_other_generations(group);
}

// ---- watching ------------------------------------------------------------------------------------------------------

std::optional<failure> store::failed() const {
  if (!impl_->latch->closed()) return std::nullopt;
  return impl_->latch->why();
}

std::uint64_t store::synced() const { return impl_->mark->value(); }

result<void> store::mark_synced(std::uint64_t index) {
  if (auto r = impl_->ready(); !r) return r;
  return impl_->mark_value(index);
}

std::optional<std::string> store::damage() const {
  if (impl_->damage.empty()) return std::nullopt;
  return impl_->damage;
}

result<void> store::forget_damage() {
  if (auto r = impl_->ready(); !r) return r;
  return impl_->clear_damage();
}

std::uint64_t store::free_bytes() const { return impl_->directory.free_bytes(); }

bool store::low_space() {
  const auto& d = impl_->directory;
  const auto& o = impl_->o;
  const auto threshold =
      o.low_space_threshold.value_or(std::max(o.reserve, std::min<std::uint64_t>(d.capacity() / 10, 1 << 30)));
  const auto free = d.free_bytes();
  const auto lacking = o.reserve - std::min(o.reserve, d.reserve());  // to be taken back before anything else may grow
  if (free < o.reserve) d.release_reserve();
  if (lacking > 0 && free >= threshold + lacking) d.hold_reserve(o.reserve);
  return free < threshold + lacking;
}

std::uint64_t store::syncs() const { return impl_->syncs; }

}  // namespace coterie
