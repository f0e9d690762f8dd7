// Journals: what apply must know of them (bounds, counts, ages, idempotency keys). Entries themselves go out as writes
// and are not kept. Ids come from one counter of the whole state (docs/journals.md, "One order"); removal is by
// age alone.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "machine/digest.hpp"
#include "machine/turn.hpp"

namespace coterie::machine {

class journal_table {
 public:
  using map = std::map<std::string, journal_record, std::less<>>;
  const map& all() const { return journals_; }

  /// `last_id` is the counter that ids come from.
  answer append(turn&, const journal_append&, std::uint64_t& last_id);
  /// Removes whole age classes up to the id, and of these only what is older than the journal keeps at the entry's
  /// stamp.
  answer trim(turn&, const journal_trim&);
  answer retain(turn&, const journal_retention&);

  /// The trims due at `now`, longest due first, at most `max`.
  std::vector<journal_trim> trims_due(wall_time now, std::size_t max) const;
  /// The earliest time after `now` at which a trim becomes due.
  std::optional<wall_time> next_trim(wall_time now) const;

  void restore(const journal_record&);
  void restore(const journal_bucket&);
  void restore(const journal_key&);
  /// After the last restore.
  void restored();
  void collect(std::vector<write>&);
  void add_to(digest_builder&) const;

 private:
  struct age_class {
    std::uint64_t last = 0, count = 0;
    wall_time newest;
  };
  struct id_range {
    std::uint64_t first = 0, last = 0;
  };
  struct detail {
    std::map<std::uint64_t, age_class> buckets;  // by first id
    std::map<std::string, id_range, std::less<>> keys;
    std::map<std::uint64_t, std::string_view> keys_by_age;  // first id -> key of `keys`; derived
  };

  journal_record* find_or_create(turn&, const std::string& name);
  void add_to_bucket(turn&, const journal_record&, detail&, std::uint64_t first, std::uint64_t last, wall_time created);
  void remember_key(turn&, const std::string& journal, detail&, const std::string& key, id_range);
  void forget_oldest_key(const std::string& journal, detail&);
  void link(const journal_record&, const detail&);
  void unlink(const journal_record&, const detail&);

  map journals_;
  std::map<std::string, detail, std::less<>> details_;  // the same keys as journals_
  std::size_t buckets_ = 0;                             // of all journals; derived
  std::set<std::pair<wall_time, std::string_view>>
      by_expiry_;  // when the oldest age class becomes removable; derived, keys of journals_
  dirty_keys<std::string> changed_;
  dirty_keys<std::pair<std::string, std::uint64_t>> changed_buckets_;
  dirty_keys<std::pair<std::string, std::string>> changed_keys_;
};

}  // namespace coterie::machine
