// The node's side of the control socket: requests of local clients become calls, answers go back under the client's own
// numbers. Knows frames and calls, not what they ask. On the loop thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "base/counters.hpp"
#include "engine/seam.hpp"
#include "wire/request.hpp"

namespace asio {
class io_context;
}

namespace coterie::runtime {

struct control_options {
  std::size_t max_clients = 1'024;     ///< connections; more are closed at once
  std::size_t max_calls = 4'096;       ///< of one connection without their last answer; more are answered errc::limit
  std::size_t max_queued = 64u << 20;  ///< bytes that a client leaves unread; more ends its connection
};

class control_server {
 public:
  struct handlers {
    /// As driver::submit: answers may come at once.
    std::function<engine::call_id(wire::request, std::function<void(const wire::response&, bool last)>,
                                  std::optional<std::chrono::milliseconds> timeout)>
        submit;
    std::function<void(engine::call_id)> cancel;
  };
  /// `listening`: a Unix stream socket that listens; owned from now on.
  control_server(asio::io_context&, int listening, handlers, control_options = {});
  /// Closes all connections. No handler is called from then on.
  ~control_server();

  void start();
  /// Writes what was answered since the last time.
  void flush();
  std::size_t clients() const;
  /// control.*: what was refused.
  const counters& stats() const;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace coterie::runtime
