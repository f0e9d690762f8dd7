#include "runtime/store_thread.hpp"

#include <algorithm>
#include <exception>
#include <utility>

#include "base/assert.hpp"
#include "runtime/threads.hpp"

namespace coterie::runtime {

namespace {
constexpr std::uint64_t idle_steps = 20;  // from one look around to the next: nobody will notice one more

std::size_t size_of(const disk::batch& b) {
  std::size_t n = 0;
  for (const auto& o : b) n += o.key.size() + o.value.size();
  return n;
}

/// Takes off the entries from `from` to `to`, an empty one being the end of the space. Only a range with a log's last
/// entry in it moves its end.
void cut(engine::log_ends& ends, const bytes& from, const bytes& to) {
  for (std::uint32_t g = 0; g < ends.size(); ++g) {
    const auto last = engine::log_key(group_id(g), ends[g]);
    if (!ends[g] || from > last || (!to.empty() && to <= last)) continue;
    const auto first = engine::parse_log_key(from);
    const bool inside = first && first->first == group_id(g) && first->second;
    ends[g] = inside ? first->second.prev() : log_index(0);
  }
}
}  // namespace

store_thread::store_thread(std::unique_ptr<store> s, sink to, options o)
    : store_(std::move(s)),
      sink_(std::move(to)),
      opt_(o),
      log_ends_(o.log_ends),
      length_(engine::length_of(o.log_ends)),
      durable_(length_),
      marked_(store_->synced()),
      reads_([this](engine::read_id id, result<store::page> p) { on_page(id, std::move(p)); }),
      thread_(start_thread("coterie-store", [this] { run(); })) {}

store_thread::~store_thread() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  more_.notify_one();
  thread_.join();
}

void store_thread::submit(std::vector<task> tasks) {
  if (tasks.empty()) return;
  bool wake = false;
  {
    const std::scoped_lock lock(mutex_);
    const bool idle = !urgent_;
    for (auto& t : tasks) {
      const auto* w = std::get_if<engine::write>(&t);
      if (w != nullptr && w->quiet) quiet_bytes_ += size_of(w->what);
      urgent_ |= w == nullptr || !w->quiet || quiet_bytes_ > opt_.max_quiet_bytes;
      queue_.push_back(std::move(t));
    }
    wake = idle && urgent_;
  }
  if (wake) more_.notify_one();
}

void store_thread::run() {
  auto next_watch = std::chrono::steady_clock::now();
  for (;;) {
    std::vector<task> todo;
    {
      std::unique_lock lock(mutex_);
      more_.wait_until(lock, next_watch, [this] { return stop_ || urgent_; });
      if (stop_) return;
      todo.swap(queue_);
      urgent_ = false;
      quiet_bytes_ = 0;
    }
    try {
      work(todo);
      if (const auto now = std::chrono::steady_clock::now(); now >= next_watch) {
        watch();
        next_watch = now + opt_.watch_period;
      }
    } catch (const std::exception& e) {
      fail_disk(e.what());
    }
  }
}

void store_thread::work(std::vector<task>& todo) {
  for (std::size_t i = 0; i < todo.size();) {
    if (failed_) return;  // nothing reaches the disk after its first error
    {
      const std::scoped_lock lock(mutex_);
      if (stop_) return;
    }
    if (std::holds_alternative<engine::write>(todo[i])) {
      i = write_some(todo, i);
    } else {
      std::visit([this](const auto& t) { do_one(t); }, todo[i]);
      ++i;
    }
  }
}

// ---- writing ------------------------------------------------------------------------------------------------------

/// Joins the writes from `first` on into one step; gives the place of the first task that is not in it.
std::size_t store_thread::write_some(std::vector<task>& todo, std::size_t first) {
  std::vector<const disk::batch*> batches;
  std::size_t size = 0, i = first;
  std::uint64_t last = 0;
  bool sync = false, awaited = false;
  auto lowest = length_;
  for (; i < todo.size() && size <= opt_.max_joined_bytes; ++i) {
    const auto* w = std::get_if<engine::write>(&todo[i]);
    if (w == nullptr) break;
    batches.push_back(&w->what);
    size += size_of(w->what);
    sync = sync || w->sync;
    awaited = awaited || !w->quiet;
    last = w->sequence;
    follow_log(w->what, lowest);
  }
  ++steps_;
  if (!lower_mark(lowest) || !check(store_->write(batches, sync))) return i;
  durable_ = sync ? length_ : std::min(durable_, length_);
  if (awaited) sink_({engine::written{last}});
  check(store_->settle());  // while others do something with the news
  return i;
}

/// Keeps log_ends_ up to date with a batch that is about to be written; `lowest`: how long the logs were at their
/// shortest.
void store_thread::follow_log(const disk::batch& b, std::uint64_t& lowest) {
  for (const auto& o : b) {
    if (o.in != disk::space::log) continue;
    if (o.what == disk::op::kind::put) {
      const auto at = engine::parse_log_key(o.key);
      COTERIE_ASSERT(at && at->first.value < log_ends_.size());
      auto& end = log_ends_[at->first.value];
      if (at->second > end) length_ += distance(std::exchange(end, at->second), at->second);
      continue;
    }
    auto to = o.end;
    if (o.what == disk::op::kind::erase) (to = o.key).push_back(std::byte{0});
    cut(log_ends_, o.key, to);
    length_ = engine::length_of(log_ends_);
    lowest = std::min(lowest, length_);
  }
}

/// The mark must never be above what a crash can leave, so it goes down before the log does.
bool store_thread::lower_mark(std::uint64_t lowest) {
  if (lowest >= marked_) return true;
  if (!check(store_->mark_synced(lowest))) return false;
  marked_ = lowest;
  return true;
}

void store_thread::do_one(const engine::install_chunk& c) {
  if (check(store_->install_chunk(c.items, c.in))) sink_({engine::written{c.sequence}});
}

void store_thread::do_one(const engine::install_begin& b) {
  reads_.drain();
  check(store_->install_begin(b.in));
}

void store_thread::do_one(const engine::install_commit& c) {
  auto lowest = length_;
  follow_log(c.what, lowest);
  if (!lower_mark(lowest) || !check(store_->install_commit(c.what, c.in))) return;
  durable_ = length_;
  sink_({engine::written{c.sequence}});
}

// ---- reading ------------------------------------------------------------------------------------------------------

void store_thread::do_one(const engine::read& r) {
  auto scan = store_->begin_scan({.in = r.in,
                                  .from = r.from,
                                  .to = r.to,
                                  .max_items = r.max_items,
                                  .max_bytes = r.max_bytes,
                                  .reverse = r.reverse,
                                  .view = r.view});
  if (!scan) return fail_disk(scan.error().message);
  reads_.submit(r.id, std::move(*scan));
}

/// On the reading thread.
void store_thread::on_page(engine::read_id id, result<store::page> page) {
  if (!page) return fail_disk(page.error().message);
  std::vector<engine::event> done;
  done.emplace_back(engine::read_done{id, std::move(page->items), page->more});
  sink_(std::move(done));
}

void store_thread::do_one(const engine::open_view& v) { check(store_->open_view(v.view)); }
void store_thread::do_one(const engine::close_view& v) { check(store_->close_view(v.view)); }

// ---- watching -----------------------------------------------------------------------------------------------------

void store_thread::watch() {
  if (failed_) return;
  if (const auto why = store_->failed()) return fail_disk(why->message);
  if (durable_ > marked_) {
    if (!check(store_->mark_synced(durable_))) return;
    marked_ = durable_;
  }
  if (std::exchange(steps_, 0) < idle_steps && !check(store_->prepare())) return;
  if (const bool low = store_->low_space(); low != low_) {
    low_ = low;
    sink_({engine::disk_space{low}});
  }
}

bool store_thread::check(const result<void>& r) {
  if (!r) fail_disk(r.error().message);
  return r.has_value();
}

void store_thread::fail_disk(const std::string& reason) {
  if (failed_.exchange(true)) return;
  sink_({engine::disk_failed{reason}});
}

}  // namespace coterie::runtime
