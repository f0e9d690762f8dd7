#include "swim/suspicion.hpp"

#include <algorithm>
#include <cmath>

namespace coterie::swim {

suspicion::suspicion(instant now, duration min, duration max, unsigned wanted, node_id accuser)
    : started_(now), min_(min), max_(std::max(min, max)), wanted_(wanted), accusers_{accuser} {}

bool suspicion::accuse(node_id who) {
  if (accusers_.size() >= max_accusers || accusers_.size() > wanted_) return false;
  if (std::find(accusers_.begin(), accusers_.end(), who) != accusers_.end()) return false;
  accusers_.push_back(who);
  return true;
}

void suspicion::hurry(instant at) { latest_ = std::min(latest_, at); }

void suspicion::restart(instant now) {
  started_ = now;
  latest_ = never;
}

instant suspicion::deadline() const {
  const auto confirmations = accusers_.size() - 1;
  duration timeout = min_;
  if (confirmations < wanted_) {
    const double share = std::log(static_cast<double>(confirmations) + 1) / std::log(static_cast<double>(wanted_) + 1);
    timeout = max_ - duration(static_cast<duration::rep>(static_cast<double>((max_ - min_).count()) * share));
  }
  return std::min(started_ + timeout, latest_);
}

void health_multiplier::ease(instant now, duration pace) {
  if (score_ == 0 || (ever_eased_ && now - eased_ < pace)) return;
  --score_;
  eased_ = now;
  ever_eased_ = true;
}

}  // namespace coterie::swim
