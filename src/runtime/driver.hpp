// The engine on real sockets, disks and clocks: one loop thread (sockets and engine), one store thread. Whoever sits
// above (the public API in this process, the control socket) talks to it in wire requests and responses.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "engine/engine.hpp"
#include "runtime/lease_page.hpp"
#include "wire/request.hpp"

namespace coterie::runtime {

struct driver_options {
  engine::options engine;      ///< name, cluster, advertise, seeds, tags, ttl, ...
  address bind;                ///< port 0 = any free one
  std::filesystem::path home;  ///< empty only with engine.gossip_only
  bool insecure = false;       ///< allows a bind address that is not loopback
  bool rejoin = false;
  std::function<void(const log_line&)> log;  ///< any thread, one call at a time; may be empty
};

class driver {
 public:
  /// Checks options, opens and recovers the home, binds UDP and TCP, starts the threads and the control socket. Errors
  /// say what to do: port in use, data directory in use, refusing a non-loopback address, unreadable directory, damaged
  /// data.
  static result<std::unique_ptr<driver>> start(driver_options);
  ~driver();  ///< stops at once (like a crash, but files closed); stop() first for a graceful end

  using on_answer = std::function<void(const wire::response&, bool last)>;
  /// From any thread. Answers come on the loop thread, in order, and must not block; after `last` none comes. A driver
  /// that is over answers failure{closed} at once, on the calling thread.
  /// `timeout`: of this call; nullopt = the engine's default.
  engine::call_id submit(wire::request, on_answer, std::optional<std::chrono::milliseconds> timeout = {});
  /// No further answers; a lock that the call held or waited for is given back.
  void cancel(engine::call_id);
  /// The same for callers that may wait. Not from the loop thread.
  wire::response ask(wire::request);

  /// Runs on the loop thread soon.
  void post(std::function<void()>);
  bool on_loop_thread() const noexcept;

  /// Outlives the driver; nothing is valid on it once the driver is gone.
  std::shared_ptr<const lease_page> lease() const noexcept;
  /// Called on the loop thread whenever the lease changed (renewed, over). Set before anything needs it.
  void on_lease(std::function<void(const engine::lease&)>);
  /// Called once when the engine halted (stopped, left, refused, failed), on the loop thread.
  void on_halted(std::function<void(const engine::halted&)>);

  address bound() const;  ///< the real address, with the port
  node_id self() const;
  const driver_options& options() const;
  std::filesystem::path control_socket() const;

 private:
  struct impl;
  explicit driver(std::unique_ptr<impl>);
  std::unique_ptr<impl> impl_;
};

}  // namespace coterie::runtime
