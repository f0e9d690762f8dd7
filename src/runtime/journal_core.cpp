// Journals behind the public API.
#include <algorithm>
#include <exception>

#include <fmt/format.h>

#include "runtime/node_core.hpp"

namespace coterie {

using runtime::or_code;
using runtime::or_throw;

namespace {

using detail::node_core;

journal_entry from_machine(machine::journal_entry&& e) {
  return {e.id, std::move(e.journal), e.created, std::move(e.type), std::move(e.message)};
}

std::vector<journal_entry> from_machine(std::vector<machine::journal_entry>&& list) {
  std::vector<journal_entry> r;
  r.reserve(list.size());
  for (auto& e : list) r.push_back(from_machine(std::move(e)));
  return r;
}

result<std::vector<std::uint64_t>> append(node_core& n, const std::string& journal, std::string_view key,
                                          std::vector<machine::journal_item> items) {
  auto a = n.ask<wire::appended>(wire::append_journal{journal, std::string(key), std::move(items)});
  return a ? result<std::vector<std::uint64_t>>(std::move(a->ids)) : tl::unexpected(a.error());
}

result<std::uint64_t> append_one(node_core& n, const std::string& journal, std::string_view type,
                                 std::string_view message, std::string_view key) {
  return append(n, journal, key, {{std::string(type), std::string(message)}}).map([](const auto& ids) {
    return ids.at(0);
  });
}

result<std::vector<std::uint64_t>> append_all(node_core& n, const std::string& name, journal::items items,
                                              std::string_view key) {
  std::vector<machine::journal_item> list;
  for (const auto& [type, message] : items) list.push_back({type, message});
  return append(n, name, key, std::move(list));
}

/// Where the cursor goes; 0 = it stays. An id that is not in the batch is the handler's mistake.
result<std::uint64_t> cursor_after(const std::vector<journal_entry>& batch, const processed& p) {
  if (p.how == processed::kind::all) return batch.back().id;
  const auto it = std::find_if(batch.begin(), batch.end(), [&](const auto& e) { return e.id == p.id; });
  if (it == batch.end())
    return fail(errc::bad_argument,
                fmt::format("the handler named id {}, which is not in its batch ({} to {}): nothing was moved", p.id,
                            batch.front().id, batch.back().id));
  if (p.how == processed::kind::partial) return p.id;
  return it == batch.begin() ? 0 : std::prev(it)->id;
}

/// What a handler throws passes through.
result<std::size_t> process(node_core& n, const std::string& name, std::size_t max, const journal::handler& f) {
  const auto* mark = n.mark_of(name);
  if (runtime::callback_scope::inside(mark))
    return fail(errc::in_callback,
                fmt::format("{} is being processed by this thread already: it would wait for itself", name));
  if (max < 1 || max > 10'000) return fail(errc::limit, "a batch has 1 to 10000 entries");
  auto begun = n.open(wire::begin_process{name, static_cast<std::uint32_t>(max)}, [](const wire::response&, bool) {});
  if (!begun) return tl::unexpected(begun.error());
  auto* found = std::get_if<wire::entries>(&begun->first);
  if (found == nullptr || found->list.empty()) return 0;
  const auto token = found->token;
  const auto batch = from_machine(std::move(found->list));
  processed how;
  try {
    const runtime::callback_scope here(mark);
    how = f(batch);
  } catch (...) {
    n.cancel(begun->id);
    throw;
  }
  const auto cursor = cursor_after(batch, how);
  if (!cursor) {
    n.cancel(begun->id);
    return tl::unexpected(cursor.error());
  }
  auto ended = n.ask<wire::done>(wire::end_process{name, token, *cursor});
  if (!ended) {
    n.cancel(begun->id);
    return tl::unexpected(ended.error());
  }
  return static_cast<std::size_t>(
      std::count_if(batch.begin(), batch.end(), [&](const auto& e) { return e.id <= *cursor; }));
}

result<std::vector<journal_entry>> peek_at(node_core& n, const std::string& name, std::size_t max) {
  if (max < 1 || max > 10'000) return fail(errc::limit, "a batch has 1 to 10000 entries");
  auto e = n.ask<wire::entries>(wire::peek_journal{name, static_cast<std::uint32_t>(max)});
  if (!e) return tl::unexpected(e.error());
  return from_machine(std::move(e->list));
}

result<std::uint64_t> counts(node_core& n, const std::string& name, std::uint64_t wire::journal_counts::*which) {
  return n.ask<wire::journal_counts>(wire::count_journal{name}).map([&](const auto& c) { return c.*which; });
}

result<void> reset_cursor(node_core& n, const std::string& name) {
  const auto r = n.ask<wire::done>(wire::reset_journal{name});
  return r ? result<void>() : tl::unexpected(r.error());
}

result<bool> is_visible(node_core& n, ms timeout) {
  const auto r = n.ask<wire::done>(wire::wait_visible{}, timeout);
  if (r) return true;
  if (r.error().code == errc::timeout) return false;
  return tl::unexpected(r.error());
}

/// Tells that a journal has something for this node. Before the cluster is formed nothing can be watched: it asks
/// again.
class watch final : public detail::subscription_state, public std::enable_shared_from_this<watch> {
 public:
  watch(std::shared_ptr<node_core> n, std::string name, std::shared_ptr<runtime::strand> calls, std::function<void()> f)
      : node_(std::move(n)), name_(std::move(name)), calls_(std::move(calls)), f_(std::move(f)) {}

  void begin() {
    const std::scoped_lock lock(mutex_);
    if (closed_) return;
    call_ = node_->submit(wire::watch_journal{name_},
                          [self = shared_from_this()](const wire::response& r, bool) { self->on(r); });
  }
  void close() noexcept override {
    {
      const std::scoped_lock lock(mutex_);
      closed_ = true;
      node_->cancel(call_);
    }
    calls_->close();
  }

 private:
  void on(const wire::response& r) {
    if (std::holds_alternative<wire::journal_ready>(r)) return calls_->post_once(f_);
    if (const auto* f = std::get_if<failure>(&r); f != nullptr && f->code == errc::unavailable)
      node_->at_next_state([self = shared_from_this()] { self->begin(); });
  }

  const std::shared_ptr<node_core> node_;
  const std::string name_;
  const std::shared_ptr<runtime::strand> calls_;
  const std::function<void()> f_;
  std::mutex mutex_;
  engine::call_id call_;
  bool closed_ = false;
};

}  // namespace

journal::journal(std::shared_ptr<detail::node_core> c, std::string name) noexcept
    : core_(std::move(c)), name_(std::move(name)) {}

std::uint64_t journal::enqueue(std::string_view type, std::string_view message, std::string_view key) {
  return or_throw(append_one(*core_, name_, type, message, key));
}
std::uint64_t journal::enqueue(std::string_view type, std::string_view message, std::string_view key,
                               std::error_code& ec) {
  return or_code(append_one(*core_, name_, type, message, key), ec);
}
std::vector<std::uint64_t> journal::enqueue(items list, std::string_view key) {
  return or_throw(append_all(*core_, name_, list, key));
}
std::vector<std::uint64_t> journal::enqueue(items list, std::string_view key, std::error_code& ec) {
  return or_code(append_all(*core_, name_, list, key), ec);
}

std::size_t journal::process(std::size_t max, const handler& f) {
  return or_throw(coterie::process(*core_, name_, max, f));
}
std::size_t journal::process(std::size_t max, const handler& f, std::error_code& ec) {
  return or_code(coterie::process(*core_, name_, max, f), ec);
}

std::vector<journal_entry> journal::peek(std::size_t max) const { return or_throw(peek_at(*core_, name_, max)); }
std::vector<journal_entry> journal::peek(std::size_t max, std::error_code& ec) const {
  return or_code(peek_at(*core_, name_, max), ec);
}
std::uint64_t journal::count() const { return or_throw(counts(*core_, name_, &wire::journal_counts::count)); }
std::uint64_t journal::count(std::error_code& ec) const {
  return or_code(counts(*core_, name_, &wire::journal_counts::count), ec);
}
std::uint64_t journal::size() const { return or_throw(counts(*core_, name_, &wire::journal_counts::retained)); }
std::uint64_t journal::size(std::error_code& ec) const {
  return or_code(counts(*core_, name_, &wire::journal_counts::retained), ec);
}
std::uint64_t journal::cursor() const { return or_throw(counts(*core_, name_, &wire::journal_counts::cursor)); }
std::uint64_t journal::cursor(std::error_code& ec) const {
  return or_code(counts(*core_, name_, &wire::journal_counts::cursor), ec);
}

void journal::reset() { or_throw(reset_cursor(*core_, name_)); }
void journal::reset(std::error_code& ec) { or_code(reset_cursor(*core_, name_), ec); }
bool journal::wait_visible(ms timeout) { return or_throw(is_visible(*core_, timeout)); }
bool journal::wait_visible(ms timeout, std::error_code& ec) { return or_code(is_visible(*core_, timeout), ec); }

subscription journal::on_ready(std::function<void()> f, executor e) {
  auto w = std::make_shared<watch>(core_, name_, core_->make_strand(std::move(e)), std::move(f));
  w->begin();
  return subscription(std::move(w));
}

}  // namespace coterie
