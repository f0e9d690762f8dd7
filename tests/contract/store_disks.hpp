// The two disks behind one face: RocksDB in a directory, and the simulated one. A test written against it runs on both.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/disk.hpp"
#include "catch.hpp"
#include "store/store.hpp"
#include "support/memory_disk.hpp"
#include "support/temporary_directory.hpp"

namespace coterie::test {

using query = store::query;
using disk::space;

/// No reserve and small buffers, so that flushes and compactions take part.
inline store::options small_options() {
  store::options o;
  o.reserve = 0;
  o.write_buffer = 64 << 10;
  o.block_cache = 1 << 20;
  o.max_log = 256 << 10;
  o.log_segment = 64 << 10;
  return o;
}

template <class T>
T must(result<T> r) {
  if (!r) FAIL(r.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

struct real_disk {
  using page = store::page;
  temporary_directory directory;
  std::unique_ptr<store> s = must(store::open(directory.path(), small_options()));

  void write(std::span<const disk::batch* const> b, bool sync) { must(s->write(b, sync)); }
  page range(const query& q) { return must(s->range(q)); }
  void open_view(std::uint64_t id) { must(s->open_view(id)); }
  void close_view(std::uint64_t id) { must(s->close_view(id)); }
  void install_begin(space in = space::state) { must(s->install_begin(in)); }
  void install_chunk(std::span<const disk::item> items, space in = space::state) { must(s->install_chunk(items, in)); }
  void install_commit(const disk::batch& what, space in = space::state) { must(s->install_commit(what, in)); }
  disk::image load(const bytes& a, const bytes& b) { return must(s->load(a, b)); }
  void restart() {
    s.reset();
    s = must(store::open(directory.path(), small_options()));
  }
};

struct simulated_disk {
  using page = memory_disk::page;
  memory_disk d;

  void write(std::span<const disk::batch* const> b, bool sync) { REQUIRE(d.write(b, sync)); }
  page range(const query& q) { return d.range(q); }
  void open_view(std::uint64_t id) { d.open_view(id); }
  void close_view(std::uint64_t id) { d.close_view(id); }
  void install_begin(space in = space::state) { d.install_begin(in); }
  void install_chunk(std::span<const disk::item> items, space in = space::state) {
    REQUIRE(d.install_chunk(items, in));
  }
  void install_commit(const disk::batch& what, space in = space::state) { REQUIRE(d.install_commit(what, in)); }
  disk::image load(const bytes& a, const bytes& b) { return d.load(a, b); }
  void restart() { d.kill(); }
};

inline disk::op put(space in, std::string_view key, std::string_view value) {
  return disk::put(in, to_bytes(key), to_bytes(value));
}
inline disk::op erase(space in, std::string_view key) { return disk::erase(in, to_bytes(key)); }
inline disk::op erase_range(space in, std::string_view from, std::string_view to) {
  return disk::erase_range(in, to_bytes(from), to_bytes(to));
}
inline disk::item item(std::string_view key, std::string_view value) { return {to_bytes(key), to_bytes(value)}; }

template <class Disk>
void write(Disk& d, const disk::batch& b, bool sync = false) {
  const disk::batch* one[] = {&b};
  d.write(one, sync);
}

/// "a=1 b=2": for reading in a failed test.
inline std::string text(const std::vector<disk::item>& items) {
  std::string r;
  for (const auto& [k, v] : items) r += (r.empty() ? "" : " ") + to_text(k) + "=" + to_text(v);
  return r;
}

inline query whole(space in, std::uint64_t view = 0) {
  query q;
  q.in = in;
  q.max_items = q.max_bytes = SIZE_MAX;
  q.view = view;
  return q;
}

template <class Disk>
std::string text(Disk& d, space in, std::uint64_t view = 0) {
  return text(d.range(whole(in, view)).items);
}

}  // namespace coterie::test
