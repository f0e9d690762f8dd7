// Where other threads leave what they want from the loop, and where the answers of their calls are kept until the last
// one. Knows nothing of what is asked. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "engine/seam.hpp"

namespace coterie::runtime {

class inbox {
 public:
  using on_answer = std::function<void(const wire::response&, bool last)>;
  using item = std::variant<engine::call, engine::cancel_call, std::function<void()>>;
  struct added {
    engine::call_id id;
    bool wake = false;    ///< the loop does not know yet that there is something
    bool closed = false;  ///< not taken: the node is over
  };

  /// Takes the answer's handler unless closed.
  added add(wire::request what, on_answer& answer, std::optional<std::chrono::milliseconds> timeout) {
    const std::scoped_lock lock(mutex_);
    const engine::call_id id(++last_);
    if (closed_) return {id, false, true};
    calls_.emplace(id.value, std::make_shared<const on_answer>(std::move(answer)));
    return {id, push(engine::call{id, std::move(what), timeout}), false};
  }
  /// No answer of this call is delivered from now on (one may be under way on the loop). True: wake the loop.
  bool cancel(engine::call_id id) {
    const std::scoped_lock lock(mutex_);
    return calls_.erase(id.value) != 0 && push(engine::cancel_call{id});
  }
  bool post(std::function<void()> f) {
    const std::scoped_lock lock(mutex_);
    return push(std::move(f));
  }

  /// Everything in order of arrival.
  std::vector<item> take() {
    const std::scoped_lock lock(mutex_);
    return std::exchange(items_, {});
  }
  /// Whom to tell; null when nobody is interested any more.
  std::shared_ptr<const on_answer> find(engine::call_id id, bool last) {
    const std::scoped_lock lock(mutex_);
    const auto it = calls_.find(id.value);
    if (it == calls_.end()) return nullptr;
    auto f = it->second;
    if (last) calls_.erase(it);
    return f;
  }
  /// No call is taken from now on; gives those that were waiting.
  std::vector<std::shared_ptr<const on_answer>> close(failure why) {
    const std::scoped_lock lock(mutex_);
    if (!closed_) closed_ = std::move(why);
    std::vector<std::shared_ptr<const on_answer>> waiting;
    for (auto& [id, f] : calls_) waiting.push_back(std::move(f));
    calls_.clear();
    return waiting;
  }
  /// Why no call is taken; only after close().
  failure why() const {
    const std::scoped_lock lock(mutex_);
    return closed_.value_or(failure{errc::closed, "the node has stopped"});
  }

 private:
  bool push(item i) {
    items_.push_back(std::move(i));
    return items_.size() == 1;
  }

  mutable std::mutex mutex_;
  std::vector<item> items_;
  std::unordered_map<std::uint64_t, std::shared_ptr<const on_answer>> calls_;
  std::uint64_t last_ = 0;
  std::optional<failure> closed_;
};

}  // namespace coterie::runtime
