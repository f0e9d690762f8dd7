// Makes the home of a new cluster's first node out of a snapshot file or of another home. Runs in the caller's thread;
// nothing else of the runtime is involved.
#include <array>
#include <fstream>
#include <functional>

#include <fmt/format.h>

#include "coterie/backup.hpp"
#include "engine/new_cluster.hpp"
#include "engine/recovery.hpp"
#include "runtime/edge.hpp"
#include "runtime/start.hpp"
#include "store/store.hpp"
#include "wire/codec.hpp"

namespace coterie {
namespace {

using items = std::vector<disk::item>;

/// Where the state comes from: gives it in key order, a part at a time.
struct origin {
  std::string cluster;
  log_index index;
  term when;
  std::string warning;
};

/// The home in the making. Until commit() it is an empty one.
class building {
 public:
  static result<building> begin(const new_home& o) {
    auto at = address::parse(o.advertise);
    if (!at) return tl::unexpected(at.error());
    if (o.name.empty() || o.local_home.empty())
      return fail(errc::bad_argument, "the new cluster's first node needs a name and a directory");
    auto s = store::open(o.local_home);
    if (!s) return tl::unexpected(s.error());
    const auto there = (*s)->load(engine::state_memory_begin(), engine::state_memory_end());
    if (!there) return tl::unexpected(there.error());
    if (!there->meta.empty() || !there->log.empty() || !there->state.empty())
      return fail(errc::exists, fmt::format("{} holds a node already: name an empty directory", o.local_home.string()));
    if (auto ok = (*s)->install_begin(); !ok) return tl::unexpected(ok.error());
    return building(o, std::move(*at), std::move(*s));
  }

  result<void> add(const items& part) {
    for (const auto& [key, value] : part) {
      if (key < engine::state_memory_begin() || key >= engine::state_memory_end()) continue;
      auto r = wire::decode_record(key, value);
      if (!r)
        return fail(errc::bad_argument, "a record of the state does not decode: it is of a newer version, or damaged");
      memory_.push_back(std::move(*r));
    }
    return store_->install_chunk(part);
  }

  /// `rest` is what entries behind the stored state changed.
  result<restored> commit(const origin& from, const machine::machine& m, disk::batch rest) {
    engine::new_cluster c;
    c.cluster = options_.cluster.empty() ? from.cluster : options_.cluster;
    c.nonce = runtime::random_word();
    c.self = node_id{runtime::random_word(), runtime::random_word() | 1};
    c.name = options_.name;
    c.at = at_;
    c.index = from.index;
    c.when = from.when;
    auto b = engine::first_node(c, m);
    rest.insert(rest.end(), std::make_move_iterator(b.begin()), std::make_move_iterator(b.end()));
    if (auto ok = store_->install_commit(rest); !ok) return tl::unexpected(ok.error());
    if (auto ok = store_->mark_synced(from.index.value); !ok) return tl::unexpected(ok.error());
    // As a start will read it: what was made must be something that a node can start with.
    const auto image = store_->load(engine::state_memory_begin(), engine::state_memory_end());
    if (!image) return tl::unexpected(image.error());
    const auto found = engine::recover(*image, 1, 1, false);
    if (!found) return tl::unexpected(found.error());
    return restored{c.cluster, found->state.acceptor.id.str(), from.index.value, from.warning};
  }

  machine::machine memory() const {
    machine::machine m;
    m.restore(memory_);
    return m;
  }

 private:
  building(const new_home& o, address at, std::unique_ptr<store> s)
      : options_(o), at_(std::move(at)), store_(std::move(s)) {}

  new_home options_;
  address at_;
  std::unique_ptr<store> store_;
  std::vector<machine::record> memory_;
};

// ---- from a snapshot file: the answers of a node, frame by frame, as they came -------------------------------------

result<wire::snapshot_page> read_page(std::ifstream& in, const std::string& name) {
  const auto where = static_cast<std::int64_t>(in.tellg());
  const auto bad = [&](const std::string& why) {
    return fail(errc::bad_argument,
                fmt::format("{} is no whole snapshot ({} at byte {}): take another copy", name, why, where));
  };
  std::array<std::byte, wire::header_size> head{};
  if (!in.read(reinterpret_cast<char*>(head.data()), head.size())) return bad("it ends");
  const auto h = wire::parse_header(head);
  if (!h) return bad(h.error().message);
  bytes body(h->body_size());
  if (!in.read(reinterpret_cast<char*>(body.data()), static_cast<std::streamsize>(body.size()))) return bad("it ends");
  if (h->kind != wire::frame_kind::response || !wire::verify(*h, head, body)) return bad("a checksum is wrong");
  auto r = wire::decode_response(body);
  if (!r) return bad(r.error().message);
  auto* page = std::get_if<wire::snapshot_page>(&r->what);
  if (page == nullptr) return bad("it holds something else");
  return std::move(*page);
}

result<restored> from_snapshot(const std::filesystem::path& file, const new_home& o) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return fail(errc::bad_argument, fmt::format("{} can't be read: is it there, and yours?", file.string()));
  auto page = read_page(in, file.string());
  if (!page) return tl::unexpected(page.error());
  const auto first = *page;
  auto home = building::begin(o);
  if (!home) return tl::unexpected(home.error());
  for (;;) {
    if (page->id != first.id || page->index != first.index || page->view != first.view)
      return fail(errc::bad_argument, fmt::format("{} is made of parts of different snapshots", file.string()));
    if (auto ok = home->add(page->items); !ok) return tl::unexpected(ok.error());
    if (!page->more) break;
    page = read_page(in, file.string());
    if (!page) return tl::unexpected(page.error());
  }
  if (in.peek() != std::ifstream::traits_type::eof())
    return fail(errc::bad_argument, fmt::format("{} goes on behind its end", file.string()));
  return home->commit({first.cluster, first.index, first.when, {}}, home->memory(), {});
}

// ---- from the home of a node that is stopped -----------------------------------------------------------------------

result<restored> from_home(const std::filesystem::path& old, const new_home& o) {
  if (!std::filesystem::is_directory(old / "db"))
    return fail(errc::bad_argument, fmt::format("{} is no node's data directory", old.string()));
  auto s = store::open(old);
  if (!s) return tl::unexpected(s.error());
  const auto image = (*s)->load(engine::state_memory_begin(), engine::state_memory_end());
  if (!image) return tl::unexpected(image.error());
  auto found = engine::recover(*image, 1, 1, false);
  if (!found) return tl::unexpected(found.error());
  auto& r = found->state;
  if (r.damaged)
    return fail(errc::unavailable,
                fmt::format("the data in {} is damaged ({}): take another node's, or start this one, "
                            "so that it is healed by its peers",
                            old.string(), r.damaged->what));
  if (!r.acceptor.committed)
    return fail(errc::bad_argument, fmt::format("the node of {} was never in a cluster", old.string()));

  auto home = building::begin(o);
  if (!home) return tl::unexpected(home.error());
  store::query q;  // of the state
  for (bool more = true; more;) {
    auto page = (*s)->range(q);
    if (!page) return tl::unexpected(page.error());
    if (auto ok = home->add(page->items); !ok) return tl::unexpected(ok.error());
    more = page->more;
    if (!page->items.empty()) {
      q.from = page->items.back().first;
      q.from.push_back(std::byte{0});
    }
  }
  machine::machine m;
  engine::restore(m, r);
  for (const auto& e : r.log.entries) {
    if (e.index <= r.log.applied || e.kind != raft::entry_kind::command) continue;
    if (const auto c = wire::decode_command(e.payload.view())) m.apply(e.index, e.when, *c);
  }
  const auto last = r.log.last();
  const auto when = r.log.entries.empty() ? r.log.snapshot.when : r.log.entries.back().when;
  std::string warning;
  if (const auto lost = runtime::lost_writes(**s, r.ends()))
    warning = fmt::format("entries that this node had acknowledged may be missing: {}", *lost);
  return home->commit({r.acceptor.committed->cluster, last, when, warning}, m, engine::state_writes(meta_group, m));
}

}  // namespace

restored restore_snapshot(const std::filesystem::path& f, const new_home& o) {
  return runtime::or_throw(from_snapshot(f, o));
}
restored restore_snapshot(const std::filesystem::path& f, const new_home& o, std::error_code& ec) {
  return runtime::or_code(from_snapshot(f, o), ec);
}
restored recover_from_home(const std::filesystem::path& h, const new_home& o) {
  return runtime::or_throw(from_home(h, o));
}
restored recover_from_home(const std::filesystem::path& h, const new_home& o, std::error_code& ec) {
  return runtime::or_code(from_home(h, o), ec);
}

}  // namespace coterie
