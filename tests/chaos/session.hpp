// What every load session needs: the clock of the histories, lines of JSON in files, a connection to one node that
// comes back after the node does, and the store of record outside of the cluster. Knows nothing of locks, journals or
// caches.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <variant>

#include <nlohmann/json.hpp>

#include "client.hpp"

namespace coterie::chaos {

using json = nlohmann::json;
using std::chrono::milliseconds;

/// CLOCK_MONOTONIC in nanoseconds: one clock for all processes of this machine, in every network namespace.
std::int64_t now_ns();
/// Where the end of a lease, told on CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME, lies on that clock.
std::int64_t deadline_ns(std::int64_t raw, std::int64_t boot);

/// A file that several processes append lines to. Thread-safe: a line is one write.
class line_file {
 public:
  explicit line_file(const std::string& path);
  ~line_file();
  line_file(const line_file&) = delete;
  line_file& operator=(const line_file&) = delete;
  void write(const json&) const;

 private:
  int fd_;
};

/// What an asked node said: an answer, a refusal, or nothing that is certain.
struct outcome {
  std::variant<std::monostate, wire::response, failure> what;
  std::int64_t call = 0, returned = 0;
  const failure* refused() const { return std::get_if<failure>(&what); }
  bool unknown() const { return what.index() == 0; }
  template <class T>
  const T* get() const {
    const auto* r = std::get_if<wire::response>(&what);
    return r != nullptr ? std::get_if<T>(r) : nullptr;
  }
};

/// The code as people write it.
std::string name_of(errc);
/// Whether this refusal says for certain that nothing was changed. The others, `closed` among them, leave it open.
bool without_effect(errc);

struct options {
  std::filesystem::path socket, guard;
  std::string node;
  std::uint64_t first_process = 0, seed = 1;
  double pace = 1;  ///< the pauses between operations, times this
};

/// One session: a thread's connection, its random numbers, its process number in the history.
class session {
 public:
  session(const options&, unsigned number, const line_file& history, const line_file& notes);

  /// Sends and waits for the one answer. No answer in time ends the connection, so that none comes late.
  outcome ask(const wire::request&, milliseconds patience);
  /// The present connection, made when there is none; nothing while the node does not answer.
  command::client* connect();
  void disconnect() { node_.reset(); }
  bool connected() const { return node_.has_value(); }

  /// A line of the history. `output` null: the outcome is unknown, and so is its time.
  void record(const char* op, const std::string& key, json input, json output, std::int64_t call,
              std::optional<std::int64_t> returned);
  /// The same for an answer that was a refusal or none.
  void record_failed(const char* op, const std::string& key, json input, const outcome&);
  void note(json);
  /// A node that is there gave no answer within the time-out that it was told, and 3 s more.
  void silent(std::int64_t call, unsigned request);

  std::uint64_t below(std::uint64_t n) { return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(random_); }
  bool chance(double p) { return std::bernoulli_distribution(p)(random_); }
  /// Sleeps about so long (exponentially distributed), times the pace.
  void pause(milliseconds mean);
  const options& opt() const { return opt_; }

 private:
  const options& opt_;
  std::uint64_t process_;
  std::mt19937_64 random_;
  const line_file& history_;
  const line_file& notes_;
  std::optional<command::client> node_;
};

/// The store of record: one line asked, one line answered, over a unix socket. Throws std::runtime_error when it is
/// gone.
class guard_client {
 public:
  explicit guard_client(const std::filesystem::path&);
  ~guard_client();
  guard_client(const guard_client&) = delete;
  guard_client& operator=(const guard_client&) = delete;
  /// True when the fence was not older than the newest one seen; the newest one comes back in it.
  bool write(const std::string& key, std::uint64_t& fence);
  std::uint64_t read(const std::string& key);
  std::uint64_t raise(const std::string& key);

 private:
  std::string ask(const std::string&);
  int fd_;
};

/// Set once: no new operations, but let everything come to rest.
extern std::atomic<bool> draining;
/// Set once, later: nobody anywhere begins anything.
extern std::atomic<bool> finishing;
/// Set once: end now.
extern std::atomic<bool> ending;

}  // namespace coterie::chaos
