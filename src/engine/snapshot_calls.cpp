#include "engine/snapshot_calls.hpp"

#include <algorithm>
#include <utility>

namespace coterie::engine {

namespace {
constexpr std::size_t max_views = 4;
constexpr duration view_patience = 30s;
}  // namespace

void snapshot_calls::begin(call_id id, replica& rep) {
  if (views_.size() >= max_views)
    return ctx_.refuse(id, errc::limit,
                       "several snapshots are being read from this node: try again later, or another node");
  if (rep.installing())
    return ctx_.refuse(id, errc::unavailable,
                       "this node is receiving a newer state now: try again in a moment, or another node");
  const auto& core = rep.core();
  wire::snapshot_page head;
  head.view = ctx_.random.next() | 1;
  head.cluster = ctx_.opt->cluster;
  head.id = ctx_.cluster;
  head.index = core.applied();
  head.when = core.term_at(core.applied()).value_or(core.current_term());
  head.taken = ctx_.now.wall;
  rep.freeze(head.view);
  const auto view = head.view;
  views_[view] = {std::move(head), {}};
  read_page(id, view, {}, rep);
}

void snapshot_calls::next(call_id id, const wire::read_snapshot& r, replica& rep) {
  if (!views_.contains(r.view))
    return ctx_.refuse(id, errc::not_found, "this snapshot is not open any more: begin again");
  read_page(id, r.view, r.from, rep);
}

void snapshot_calls::read_page(call_id id, std::uint64_t view, bytes from, replica& rep) {
  views_[view].until = ctx_.now.steady + view_patience;
  reads_[rep.read_state(std::move(from), view)] = {id, view};
}

bool snapshot_calls::on_read(const read_done& r) {
  const auto it = reads_.find(r.id);
  if (it == reads_.end()) return false;
  const auto [call, view] = it->second;
  reads_.erase(it);
  auto page = views_.at(view).head;
  page.items = r.items;
  page.more = r.more;
  ctx_.reply(call, std::move(page));
  if (!r.more) {
    ctx_.emit(close_view{view});
    views_.erase(view);
  }
  return true;
}

void snapshot_calls::tick() {
  std::erase_if(views_, [&](const auto& v) {
    const bool read = std::ranges::any_of(reads_, [&](const auto& r) { return r.second.view == v.first; });
    if (read || ctx_.now.steady < v.second.until) return false;
    ctx_.emit(close_view{v.first});
    return true;
  });
}

}  // namespace coterie::engine
