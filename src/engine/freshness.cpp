#include "engine/freshness.hpp"

#include <algorithm>

namespace coterie::engine {

namespace {
constexpr std::size_t max_waiting = 16;

/// By the faster of both clocks: a suspended machine ages, too.
duration elapsed(const times& from, const times& to) {
  return std::max<duration>(to.steady - from.steady, to.boot - from.boot);
}
}  // namespace

void freshness::confirmed(log_index upto, const times& asked) {
  if (!waiting_.empty() && asked.steady <= waiting_.back().asked.steady) return;  // an answer that was overtaken
  // The first to come true are kept, and the newest.
  if (waiting_.size() == max_waiting) waiting_.pop_back();
  waiting_.push_back({upto, asked});
}

std::optional<duration> freshness::age(log_index applied, const times& now) {
  while (!waiting_.empty() && waiting_.front().upto <= applied) {
    const auto& asked = waiting_.front().asked;
    if (!known_ || asked.steady > known_->steady) known_ = asked;
    waiting_.pop_front();
  }
  if (!known_) return std::nullopt;
  return scaled(elapsed(*known_, now), 1 / (1 - rate_error_));
}

}  // namespace coterie::engine
