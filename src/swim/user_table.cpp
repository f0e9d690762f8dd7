#include "swim/user_table.hpp"

#include <utility>

namespace coterie::swim {

std::uint64_t user_table::digest_of(const user_datum& u) {
  std::uint64_t h = hash64(u.key, u.origin.hi);
  for (const std::uint64_t n : {u.origin.lo, u.epoch.value, u.version}) h = hash64(std::string_view{}, h ^ n) + h;
  return h;
}

user_table::outcome user_table::put(const user_datum& u) {
  const std::pair k{u.origin, u.key};
  const auto it = data_.find(k);
  if (it == data_.end()) {
    if (data_.size() >= max_) return outcome::full;
    data_.emplace(k, u);
  } else {
    if (std::pair(u.epoch, u.version) <= std::pair(it->second.epoch, it->second.version)) return outcome::old;
    digest_ -= digest_of(it->second);
    it->second = u;
  }
  digest_ += digest_of(u);
  return outcome::newer;
}

const user_datum* user_table::find(node_id origin, const std::string& key) const {
  const auto it = data_.find({origin, key});
  return it == data_.end() ? nullptr : &it->second;
}

void user_table::erase(node_id origin) {
  for (auto it = data_.lower_bound({origin, {}}); it != data_.end() && it->first.first == origin;) {
    digest_ -= digest_of(it->second);
    it = data_.erase(it);
  }
}

std::vector<user_datum> user_table::of(node_id origin) const {
  std::vector<user_datum> out;
  for (auto it = data_.lower_bound({origin, {}}); it != data_.end() && it->first.first == origin; ++it) {
    out.push_back(it->second);
  }
  return out;
}

}  // namespace coterie::swim
