// How much of everything the replicated state may hold, and what it costs to be late. Part of the replicated
// configuration: equal on all nodes (fixed by the format version today), because apply decides by it.
#pragma once

#include <chrono>
#include <cstddef>

#include "base/planted_bug.hpp"

namespace coterie::machine {

struct limits {
  using milliseconds = std::chrono::milliseconds;

  planted_bug bug = planted_bug::none;

  std::size_t members = 4'096;  ///< living ones; as many removed ones are remembered, the oldest are forgotten first
  std::size_t sessions = 16'384;
  /// Window of a client: a seq above ack + used_per_session is not executed and answered `indeterminate`. Clients keep
  /// below.
  std::size_t used_per_session = 4'096;
  std::size_t runners_per_session = 10'000;
  milliseconds session_ttl_min{1'000}, session_ttl_max{120'000};
  /// It adds to each failover, which sessions of the smallest TTL should outlive.
  milliseconds read_lease_min{50}, read_lease_max{1'000};

  std::size_t locks = 1'000'000, waiters_per_lock = 10'000;

  std::size_t jobs = 100'000, history_per_job = 1'000, params_bytes = 65'536, message_bytes = 255;
  std::size_t fire_all = 1'000;         ///< runs for missed times at once; the newest ones, oldest first
  std::size_t running_per_job = 1'000;  ///< claimed and not finished; a fire above it is recorded as skipped
  std::size_t attempts = 100;           ///< of one scheduled time with rerun_if_lost
  milliseconds catch_up_max{366LL * 24 * 3'600'000};

  std::size_t journals = 100'000, items_per_append = 10'000, journal_type_points = 255, journal_message_points = 2'047;
  std::size_t keys_per_journal = 4'096;  ///< of entries still retained; the oldest are forgotten first
  milliseconds journal_keep{48 * 3'600'000};
  milliseconds journal_keep_max{10LL * 366 * 24 * 3'600'000};
  /// Age classes of a journal are min(keep / retention_buckets, 30 s) wide, or keep / retention_buckets_max where that
  /// is more (a keep of more than 22 days): an entry is removed at most so much late.
  std::size_t retention_buckets = 256, retention_buckets_max = 65'536;
  /// Of all journals together. Above it the newest class of a journal takes what comes, which is then removed later
  /// than due.
  std::size_t buckets = 1'000'000;
};

}  // namespace coterie::machine
