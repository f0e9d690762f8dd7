// Journals: durable queues of entries that every node processes in the same order, each at its own pace.
// docs/journals.md.
#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "coterie/common.hpp"

namespace coterie {

namespace detail {
class node_core;
}

/// One entry. Ids rise with the order of the log; a larger id happened after.
struct journal_entry {
  std::uint64_t id = 0;
  std::string journal;
  wall_time created;  ///< by the leader's clock; never falls as ids rise
  std::string type, message;
};

/// What a handler did with its batch.
struct processed {
  /// How far it came.
  enum class kind { all, partial, failure };
  kind how = kind::all;
  std::uint64_t id = 0;
  /// Everything: none of it comes again.
  static processed all() noexcept { return {}; }
  /// Up to this id: what is larger comes again.
  static processed partial(std::uint64_t last_done) noexcept { return {kind::partial, last_done}; }
  /// Up to the entry before this one: it, and what is larger, comes again.
  static processed failure(std::uint64_t failed) noexcept { return {kind::failure, failed}; }
};

/// The journal of one name, and this node's place (cursor) in it. A handle; it comes into being with its first entry.
/// Thread-safe. Calls that wait fail with closed, in_callback, and, those that need a majority, with no_quorum, timeout
/// or indeterminate within 5 s.
class [[gnu::visibility("default")]] journal {
 public:
  /// Made by node::open_journal; not for hosts.
  explicit journal(std::shared_ptr<detail::node_core>, std::string name) noexcept;

  /// Appends an entry and returns its id once it is durable on a majority. `type` has at most 255 characters, `message`
  /// 2 047, of UTF-8, else limit. With a `key` repeating the call is safe after indeterminate: the entry is there once,
  /// as long as it is retained and among the last 4 096 with a key.
  std::uint64_t enqueue(std::string_view type, std::string_view message, std::string_view key = {});
  std::uint64_t enqueue(std::string_view type, std::string_view message, std::string_view key, std::error_code&);
  /// Several at once (type, message), at most 10 000: all or none, with consecutive ids.
  using items = std::span<const std::pair<std::string, std::string>>;
  std::vector<std::uint64_t> enqueue(items, std::string_view key = {});
  std::vector<std::uint64_t> enqueue(items, std::string_view key, std::error_code&);

  using handler = std::function<processed(std::span<const journal_entry>)>;
  /// Calls the handler, on this thread, with the next entries (at most `max`, 1 to 10 000, and 8 MiB), moves this
  /// node's cursor by what it returns, durably, and returns how many were consumed; 0 without a call when there is
  /// nothing. One at a time for each journal and node: others wait without bound. Needs no majority.
  ///
  /// What the handler throws is thrown on, and the cursor stays. An id that is not in the batch is bad_argument, and
  /// the cursor stays. After a crash between the handler and the cursor the same entries come again: handlers are
  /// idempotent. Throws retention_gap_error once when entries were removed before this node came to them.
  std::size_t process(std::size_t max, const handler&);
  std::size_t process(std::size_t max, const handler&, std::error_code&);

  /// The same for a handler that returns a std::pair of its own value and processed; returns that value, or a default
  /// one when there was nothing to process.
  template <class Handler>
  auto process_as(std::size_t max, Handler && h) {
    using value = typename decltype(h(std::span<const journal_entry>{}))::first_type;
    value result{};
    process(max, [&](std::span<const journal_entry> batch) {
      auto [v, how] = h(batch);
      result = std::move(v);
      return how;
    });
    return result;
  }

  /// The next entries, without moving the cursor. Needs no majority, as the three below.
  std::vector<journal_entry> peek(std::size_t max = 100) const;
  std::vector<journal_entry> peek(std::size_t max, std::error_code&) const;
  /// Entries after this node's cursor.
  std::uint64_t count() const;
  std::uint64_t count(std::error_code&) const;
  /// Entries that are retained.
  std::uint64_t size() const;
  std::uint64_t size(std::error_code&) const;
  /// The last id that this node has processed; 0 = none.
  std::uint64_t cursor() const;
  std::uint64_t cursor(std::error_code&) const;

  /// Moves this node's cursor past all entries that there are in the cluster now. Waits for a majority.
  void reset();
  void reset(std::error_code&);
  /// After it, every entry that was acknowledged before the call, anywhere, is readable here; false when that took
  /// longer than `timeout`. Waits for a majority.
  bool wait_visible(ms timeout);
  bool wait_visible(ms timeout, std::error_code&);

  /// Called when there is something to process: now, if so, and whenever entries come; several may be told as one. It
  /// is a callback, so it wakes a thread that processes instead of processing itself.
  [[nodiscard]] subscription on_ready(std::function<void()>, executor = {});

  /// As given to open_journal.
  const std::string& name() const noexcept { return name_; }

 private:
  std::shared_ptr<detail::node_core> core_;
  std::string name_;
};

}  // namespace coterie
