// Named event counts of one component: what was dropped, refused, retried. Bounded: names are literals in the code.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>

namespace coterie {

/// Not thread-safe; lives inside one component of one node. Keys must be string literals.
class counters {
 public:
  void add(const char* name, std::uint64_t n = 1) { values_[name] += n; }
  std::uint64_t get(std::string_view name) const {
    const auto it = values_.find(name);
    return it == values_.end() ? 0 : it->second;
  }
  const std::map<std::string_view, std::uint64_t>& all() const { return values_; }

 private:
  std::map<std::string_view, std::uint64_t> values_;
};

}  // namespace coterie
