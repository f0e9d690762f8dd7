// A node: one member of the cluster inside this process, and the way to all services.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "coterie/caches.hpp"
#include "coterie/common.hpp"
#include "coterie/jobs.hpp"
#include "coterie/journal.hpp"
#include "coterie/locks.hpp"
#include "coterie/messages.hpp"

namespace coterie {

/// How a node starts. Addresses are HOST or HOST:PORT; the port is 7400 unless given, and 0 is any free one.
struct node_options {
  std::string name{};                         ///< shown to people; the machine's name when empty
  std::string cluster = "default";            ///< nodes of another cluster name are strangers
  std::vector<std::string> seeds{};           ///< the first members, the same list on every node; names are resolved
  std::string bind{};                         ///< where to listen; loopback when empty
  std::string advertise{};                    ///< where others reach it; the bind address when empty
  std::filesystem::path local_home{};         ///< the directory of this node's data; required unless gossip_only
  std::filesystem::path key_file{};           ///< the cluster's key; not built yet: bad_argument unless empty
  std::map<std::string, std::string> tags{};  ///< shown to all members; up to 512 bytes
  executor callbacks{};                       ///< where callbacks run; one thread of the node when empty
  std::function<void(const std::string& line)> log{};  ///< one call at a time, from the node's threads; must not block
  ms session_ttl{5'000};                               ///< how long locks outlive a node that is gone, 1 to 120 s
  /// May be a cluster by itself when there is none. It is then the only voter: nodes that join later follow its log,
  /// and wait while it is away. For more, give all founders the same seeds.
  bool bootstrap_single = false;
  bool gossip_only = false;  ///< membership, caches and messages, without the log and what needs it
  bool rejoin = false;       ///< come back with a new identity after leaving, being removed, or losing data
  bool insecure = false;     ///< needed to listen beyond loopback, without encryption
  // How the log is spread; the same on all nodes. The defaults suit clusters of all sizes.
  unsigned max_voters = 5;     ///< 1, 3, 5 or 7 vote, when so many are there
  unsigned standbys = 2;       ///< 0 to 8 more are kept ready to vote
  unsigned relay_fan_out = 8;  ///< 1 to 64 of the others are fed by one node
};

/// Where a node is in its life. stopped, left and failed are final.
enum class node_state {
  starting,  ///< nothing is known yet
  forming,   ///< the founders have not agreed on a cluster yet
  joining,   ///< it has the log but no place in the cluster, or no valid session (also after losing contact)
  active,    ///< a member with a valid session: all services work as far as a majority is in contact
  stopping,  ///< stop() was called: ends what it holds, keeps its place
  leaving,   ///< leave() was called: gives its place up
  stopped,   ///< it was stopped; start a new node object to come back
  left,      ///< it gave its place up; only a new identity (rejoin) comes back
  failed,    ///< its disk failed, or the cluster refused it; the log says why
};

/// The name of a state.
[[gnu::visibility("default")]] const char* to_string(node_state) noexcept;

/// A member, as this node sees it.
struct member {
  std::string name;
  std::string id;       ///< 32 hexadecimal digits, for the life of its data
  std::string address;  ///< host:port
  std::string state;    ///< alive, suspect, stopping, unreachable, failed or left
  std::string role;     ///< voter, standby, observer, or empty while there is no log
  std::string version;
  wall_time since;               ///< of the state
  std::optional<double> rtt_ms;  ///< round trip
  std::map<std::string, std::string> tags;
  bool leader = false, self = false;
};

/// A node. Move-only; all functions are thread-safe. It owns a few threads (network and protocol, disk, callbacks,
/// leases, running jobs). Services and handles may outlive it and then fail with errc::closed. It must not be destroyed
/// inside one of its own callbacks or runs.
class [[gnu::visibility("default")]] node {
 public:
  /// Opens the home, listens, and returns; forming or joining the cluster goes on in the background (wait_ready).
  /// Throws with what to do: address in use, home in use or damaged, bad_argument.
  static node start(node_options);
  /// The same; on an error the node is of no use but to be destroyed.
  static node start(node_options, std::error_code&);

  node(node &&) noexcept;
  node& operator=(node&&) noexcept;
  /// stop() with 5 s, unless it was stopped before.
  ~node();

  /// Ends this process's part, and keeps the node's place in the cluster: asks running jobs to stop, releases locks,
  /// closes the session, hands over leadership. Whatever has not ended by `timeout` is cut off; runs that ignore their
  /// stop token get as long again, and are then left to themselves. Pending calls fail with closed, callbacks end.
  /// Afterwards everything fails with closed. Repeating it does nothing. Throws in_callback.
  void stop(ms timeout = ms(5'000));
  void stop(ms timeout, std::error_code&);
  /// Gives up the node's place for good, then stops. On an error (no_quorum, timeout, unavailable for the last member)
  /// the node goes on.
  void leave(ms timeout = ms(10'000));
  void leave(ms timeout, std::error_code&);

  /// The services, for the life of the node object.
  lock_service& locks() noexcept;
  job_service& jobs() noexcept;
  cache_manager& caches() noexcept;
  messenger& messages() noexcept;
  /// 1 to 255 of `a-z 0-9 _ .`, else bad_name. With `retention` entries are kept so long, on all nodes (48 h until it
  /// is set); setting it waits for a majority.
  journal open_journal(std::string_view name, std::optional<ms> retention = {});
  journal open_journal(std::string_view name, std::optional<ms> retention, std::error_code&);

  /// As last heard from the node's loop; never waits.
  node_state state() const noexcept;
  /// Why the node is over and what to do, for people; empty while it runs. Never waits.
  std::string end_reason() const;
  /// Every state from now on, in order, and the present one first.
  [[nodiscard]] subscription on_state(std::function<void(node_state)>, executor = {});
  /// Active, with a majority in contact and the log caught up. Asks the loop; false once it is over. Throws
  /// in_callback.
  bool ready() const;
  /// Waits until it is ready; false after `timeout`, or when the node is over. Throws in_callback.
  bool wait_ready(ms timeout) const;

  /// All members that are known, by name. Needs no majority.
  std::vector<member> members() const;
  std::vector<member> members(std::error_code&) const;
  /// Sets tags of this node and removes others (those that are not there are no error); all members see it as an
  /// update. Lasts until the node ends: the next start begins with node_options::tags again. Throws limit when all tags
  /// together take more than 512 bytes, bad_argument for an empty key.
  void set_tags(const std::map<std::string, std::string>& set, const std::vector<std::string>& remove = {});
  void set_tags(const std::map<std::string, std::string>& set, const std::vector<std::string>& remove,
                std::error_code&);
  /// The name of the node that a key belongs to (rendezvous hashing over the members that are alive): the same on all
  /// nodes that see the same members, and when one goes only its keys move. For sticky sessions. Never waits; empty
  /// before the node knows any member.
  std::string owner_of(std::string_view key) const;

  /// As given or found out.
  const std::string& name() const noexcept;
  /// host:port where it listens, with the real port.
  std::string address() const;
  std::filesystem::path local_home() const;

 private:
  struct impl;
  explicit node(std::unique_ptr<impl>) noexcept;
  std::unique_ptr<impl> impl_;
};

}  // namespace coterie
