// The commands: what each is given, once the words of the user are understood, and its exit status. main.cpp knows the
// words, each of these one group of commands.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client.hpp"

namespace coterie::command {

/// Options that every command takes.
struct common {
  std::string node;  ///< socket, directory, name or address; empty = the only one
  bool as_json = false;
  ms timeout{5'000};
  std::string self;  ///< this executable
  client connect() const { return client(find_node(node, timeout)); }
  ms patience() const { return timeout; }
};

/// Of reads that can do without a majority.
struct stale_options {
  bool stale = false;         ///< as the node has it
  std::optional<ms> max_age;  ///< if that is no older; means stale
  std::optional<wire::staleness> wanted() const {
    return stale || max_age ? std::optional(wire::staleness{max_age}) : std::nullopt;
  }
};

// ---- nodes: run.cpp, dev.cpp
struct runner_options {
  std::vector<std::string> command;
  std::vector<std::pair<std::string, std::string>> environment;
  std::optional<ms> timeout;
  ms grace{5'000};
};
struct run_options {
  std::string config, name, bind, advertise, data, cluster = "default", log_level = "info";
  std::vector<std::string> seeds;
  std::map<std::string, std::string> tags;
  ms session_ttl{5'000};
  bool bootstrap_single = false, rejoin = false, gossip_only = false, insecure = false;
  unsigned max_voters = 5, standbys = 2, relay_fan_out = 8;
  std::map<std::string, runner_options> runners;
};
/// Fills what the file says and the command line (the names in `given`) does not.
void read_config(run_options&, const std::vector<std::string>& given);
int run(const common&, const run_options&);

struct dev_options {
  unsigned nodes = 3;
  std::string data;
  bool once = false;
};
int dev(const common&, const dev_options&);

// ---- bench.cpp
struct bench_options {
  std::string what;  ///< append, read, failover, catchup, grow, lock
  std::string data;
  std::vector<unsigned> in_flight{1, 64, 256};
  std::size_t size = 200;
  ms lasts{5'000};
  unsigned times = 10;
  std::size_t state_mib = 64;
  unsigned contenders = 8;
  unsigned nodes = 3;            ///< of read
  bool hosted = false;           ///< append, read: by a host that has a node in its process
  std::optional<ms> read_lease;  ///< read again, with leases of that length
};
int bench(const common&, const bench_options&);

// ---- bench_membership.cpp
struct bench_membership_options {
  unsigned nodes = 48, rounds = 3;
  std::string peer;  ///< another system that is measured too: serf, or empty
  ms lasts{20'000};  ///< how long the agents are watched while nothing happens
};
int bench_membership(const common&, const bench_membership_options&);

// ---- cluster.cpp
int members(const common&, bool watch, std::optional<std::uint32_t> wait);
int show_status(const common&);
int events(const common&, std::uint64_t since);
int why(const common&, const std::string& node);
int rtt(const common&, std::vector<std::string> nodes);
int remove_member(const common&, const std::string& node);
int leave(const common&);
int cluster_voters(const common&);
int cluster_transfer(const common&, const std::string& node);
/// Changes the read lease when told to, and shows it.
int cluster_read_lease(const common&, std::optional<ms> lease);
struct cluster_init_options {
  std::vector<std::string> without;  ///< seeds
  std::string discard;               ///< a record
};
int cluster_init(const common&, const cluster_init_options&);
struct tag_options {
  std::vector<std::string> set;  ///< k=v
  std::vector<std::string> remove;
};
int tag(const common&, const tag_options&);
/// "k=v" apart; throws command_error(wrong_usage) that begins with `what`.
std::pair<std::string, std::string> parse_tag(const std::string& what, const std::string& text);

// ---- backup.cpp
struct backup_options {
  std::string file;  ///< of a snapshot
  std::string from;  ///< a data directory to recover from
  std::string data, name, bind = "127.0.0.1:7400", cluster;
  bool stale = false;
};
int cluster_snapshot(const common&, const backup_options&);
int cluster_restore(const common&, const backup_options&);
int cluster_recover(const common&, const backup_options&);
int home(const common&);

// ---- lock.cpp
int lock_list(const common&, const std::string& name, const stale_options&);  ///< with a name: lock show
struct lock_exec_options {
  std::string name;
  std::optional<ms> wait;
  std::vector<std::string> command;
};
int lock_exec(const common&, const lock_exec_options&);

// ---- job.cpp
struct job_add_options {
  std::string id, cron, zone = "UTC", every, at, runner, misfire = "fire_once", overlap = "skip";
  std::vector<std::string> params;
  bool replace = false, rerun_if_lost = false;
};
int job_add(const common&, const job_add_options&);
int job_list(const common&, const std::string& id, const stale_options&);  ///< with an id: job show
int job_remove(const common&, const std::string& id);
int job_history(const common&, const std::string& id, std::uint32_t max, const stale_options&);
int job_next(const common&, const std::string& expression, const std::string& zone, unsigned count);

// ---- journal.cpp
struct journal_process_options {
  std::string name;
  std::uint32_t max = 100;
  bool follow = false;
  std::vector<std::string> command;
};
int journal_append(const common&, const std::string& name, const std::string& type, const std::string& message,
                   const std::string& key);
int journal_peek(const common&, const std::string& name, std::uint32_t max, const stale_options&);
int journal_count(const common&, const std::string& name, const stale_options&);
int journal_reset(const common&, const std::string& name);
int journal_process(const common&, const journal_process_options&);

// ---- talk.cpp
int cache_list(const common&);
int cache_invalidate(const common&, const std::string& name, const std::optional<std::string>& key);
int send_message(const common&, const std::string& channel, const std::string& body);
int listen_to(const common&, const std::string& channel);

}  // namespace coterie::command
