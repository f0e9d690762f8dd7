// Messages: short texts to all other nodes that are there right now, at most once. docs/messages.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "coterie/common.hpp"

namespace coterie {

namespace detail {
class node_core;
}

/// A message as a listener gets it.
struct message {
  std::string channel, body;
  std::string sender;  ///< the node's name
  std::uint64_t boot_epoch =
      0;  ///< of the sender: rises with each of its starts, from 1 again after --rejoin or an emptied disk
  std::uint64_t seq = 0;  ///< of the sender's messages on this channel since that start, from 1; a gap is a loss
};

/// Sends to, and hears from, the other nodes. Thread-safe; no function here waits, so all may be called in callbacks.
class [[gnu::visibility("default")]] messenger {
 public:
  /// Made by the node; not for hosts.
  explicit messenger(std::shared_ptr<detail::node_core>) noexcept;

  /// To every other node that is alive now; never to this one. Of one node and channel messages come in order.
  /// `channel` has 1 to 64 bytes, `body` at most 65 536, else limit and nothing is sent. closed when the node has
  /// stopped.
  void publish(std::string_view channel, std::string_view body);
  void publish(std::string_view channel, std::string_view body, std::error_code&);

  /// Each message of the channel, in order. A callback that falls behind by 10 000 loses the oldest of them, which
  /// shows in message::seq. Throws limit for a channel that can't be.
  [[nodiscard]] subscription listen(std::string_view channel, std::function<void(const message&)>, executor = {});

 private:
  std::shared_ptr<detail::node_core> core_;
};

}  // namespace coterie
