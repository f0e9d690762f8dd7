// Names to addresses without blocking the loop: numeric ones at once, others by Asio's resolver thread, with a short
// cache so that a name is asked for once a TTL, however many datagrams and dials want it. A name may lead elsewhere
// later: the newest answer counts. While it does not resolve, what was known goes on: the nodes may still be there, and
// who answers is known by its identity, not by its address. Used on the loop thread only.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <asio/io_context.hpp>
#include <asio/ip/address.hpp>
#include <asio/ip/tcp.hpp>

namespace coterie::net {

class resolver : public std::enable_shared_from_this<resolver> {
 public:
  using addresses = std::vector<asio::ip::address>;
  /// Empty when the name does not resolve, and never did.
  using handler = std::function<void(const addresses&)>;
  /// Asks for the addresses of a name that is not numeric, and calls back once from the loop, later; with none when it
  /// does not resolve.
  using look_up = std::function<void(const std::string& host, handler)>;

  struct options {
    std::chrono::milliseconds ttl{5'000};  ///< an answer, also a negative one, is not asked for again so long
    look_up ask{};                         ///< empty: the system's resolver
    std::size_t max_names = 1'024;         ///< kept; a new one beyond that drops one that nobody waits for
    std::size_t max_waiting = 1'024;       ///< handlers of one name; beyond it they are called with nothing
  };

  explicit resolver(asio::io_context& io, options o) : opt_(std::move(o)), resolver_(io) {}
  explicit resolver(asio::io_context& io) : resolver(io, options()) {}

  /// Calls the handler, at once (before it returns) when the answer is known.
  void resolve(const std::string& host, handler);
  /// What is known of the name now, perhaps old, perhaps nothing; asks in the background when that is needed.
  addresses known(const std::string& host);
  /// No handler is called any more.
  void stop();

 private:
  using clock = std::chrono::steady_clock;
  struct entry {
    addresses found;
    clock::time_point asked = clock::time_point::min();
    bool asking = false;
    std::vector<handler> waiting;
  };
  bool fresh(const entry& e) const { return e.asked != clock::time_point::min() && clock::now() - e.asked < opt_.ttl; }
  entry& at(const std::string& host);
  void ask(const std::string& host, entry&);
  void ask_system(const std::string& host, handler);
  void on_answer(const std::string& host, const addresses&);

  const options opt_;
  asio::ip::tcp::resolver resolver_;
  std::map<std::string, entry> names_;
  bool stopped_ = false;
};

}  // namespace coterie::net
