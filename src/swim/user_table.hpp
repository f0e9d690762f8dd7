// User data that rides on gossip: the newest value per (origin, key). Knows nothing of members or datagrams.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "swim/types.hpp"

namespace coterie::swim {

/// Newest (epoch, version) wins. Bounded: when full, new keys are refused and known keys are still renewed.
class user_table {
 public:
  explicit user_table(std::size_t max) : max_(max) {}

  enum class outcome { newer, old, full };
  outcome put(const user_datum&);
  const user_datum* find(node_id origin, const std::string& key) const;
  void erase(node_id origin);
  std::vector<user_datum> of(node_id origin) const;
  const std::map<std::pair<node_id, std::string>, user_datum>& all() const { return data_; }
  static std::uint64_t digest_of(const user_datum&);
  /// Order-independent, of everything kept: the sum of digest_of().
  std::uint64_t digest() const { return digest_; }

 private:
  std::size_t max_;
  std::map<std::pair<node_id, std::string>, user_datum> data_;
  std::uint64_t digest_ = 0;
};

}  // namespace coterie::swim
