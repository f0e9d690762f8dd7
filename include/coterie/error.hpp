// What can go wrong, as a caller sees it. Every blocking call of coterie has a throwing form (coterie::error) and a
// form with a std::error_code&. This header needs std only and is the one vocabulary of errors in the whole code base.
#pragma once

#include <cstdint>
#include <string>
#include <system_error>
#include <type_traits>

namespace coterie {

/// Error conditions of the cluster services. Zero is success and not listed.
enum class errc {
  no_quorum = 1,   ///< no contact with a majority of the voters: nothing was done
  timeout,         ///< a quorum was there, but the answer did not come in time: nothing was done
  lock_lost,       ///< the lease ended before the lock was released
  not_owner,       ///< the caller does not hold the lock it wants to release
  limit,           ///< an argument or a queue is over its limit; the message names the limit
  bad_name,        ///< a name has forbidden characters or a wrong length
  bad_cron,        ///< a cron expression does not parse; see cron_error::position()
  no_runner,       ///< reserved: nothing fails with it yet
  passive,         ///< the node is stopping and takes no such work
  retention_gap,   ///< entries after the cursor were removed by age; see retention_gap_error
  closed,          ///< the node has stopped, or has failed
  indeterminate,   ///< the request was sent and its outcome is unknown; repeating it with the same key is safe
  in_callback,     ///< a blocking call from inside one of the node's own callbacks
  exists,          ///< something of that name exists already
  no_shared_home,  ///< reserved: nothing fails with it yet
  not_found,       ///< no such job, lock, cache or node
  held,            ///< the lock is held by another owner
  bad_argument,    ///< an argument makes no sense; the message says which and why
  unavailable,     ///< this node can't serve the call in its present state (starting, forming)
};

/// The category of errc; its name is "coterie". Thread-safe, never throws.
[[gnu::visibility("default")]] const std::error_category& coterie_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept { return {static_cast<int>(e), coterie_category()}; }

/// The thrown form of every failure; code() is an errc, what() says what happened and what to do.
class [[gnu::visibility("default")]] error : public std::system_error {
 public:
  using std::system_error::system_error;
};

/// Thrown once by journal::process when entries after the cursor were already removed by age.
class [[gnu::visibility("default")]] retention_gap_error : public error {
 public:
  retention_gap_error(std::uint64_t first_lost, std::uint64_t first_available)
      : error(make_error_code(errc::retention_gap), "entries " + std::to_string(first_lost) + " up to " +
                                                        std::to_string(first_available) + " were removed by age"),
        first_lost_(first_lost),
        first_available_(first_available) {}
  /// The smallest id that may have been lost.
  std::uint64_t first_lost() const noexcept { return first_lost_; }
  /// The smallest id that can still be read; the cursor now stands just before it.
  std::uint64_t first_available() const noexcept { return first_available_; }

 private:
  std::uint64_t first_lost_;
  std::uint64_t first_available_;
};

/// Thrown for a cron expression that does not parse.
class [[gnu::visibility("default")]] cron_error : public error {
 public:
  cron_error(std::size_t position, const std::string& what)
      : error(make_error_code(errc::bad_cron), what), position_(position) {}
  /// Byte offset of the offending part in the expression.
  std::size_t position() const noexcept { return position_; }

 private:
  std::size_t position_;
};

}  // namespace coterie

template <>
struct std::is_error_code_enum<coterie::errc> : std::true_type {};
