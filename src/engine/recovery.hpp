// From what the disk holds to what a node starts with, and the keys of `meta`, `log` and `local`. Pure.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.hpp"
#include "base/ids.hpp"
#include "base/result.hpp"
#include "machine/machine.hpp"
#include "raft/core.hpp"
#include "swim/genesis.hpp"

namespace coterie::engine {

/// `state` keys from here on are on disk alone; drivers load those below into disk::image::state.
bytes state_memory_begin();
bytes state_memory_end();

/// How far this node has processed a journal: the last id, and that entry's ordinal.
struct cursor {
  std::uint64_t id = 0, ordinal = 0;
  friend bool operator==(const cursor&, const cursor&) = default;
};

/// Key of an entry, and of what `meta` says of a group's log; each names its group. All entries of a group are from
/// log_key(g, 0) on, and below log_key(g + 1, 0).
bytes log_key(group_id, log_index);
std::optional<std::pair<group_id, log_index>> parse_log_key(const bytes&);
bytes group_key(group_id, std::string_view what);
disk::op erase_log(group_id, log_index from);  ///< and all behind it
bytes cursor_key(std::string_view journal);
bytes cursor_value(cursor);

/// Why nothing can be done with an identity any more but --rejoin, which takes a new one.
enum class end_of_identity : std::uint8_t {
  left,
  removed,
  outdated,  ///< an older copy of the disk: what it promised and acknowledged since is not on it
};
/// Beside an installed state: what `meta` says of it, and which entries go. `kept`: those behind it stay.
disk::batch installed_writes(group_id, const raft::snapshot_meta&, hash128_value chain, bool kept);
disk::op mark_ended(end_of_identity);
std::string farewell(end_of_identity);  ///< for people, with what to do

/// Something is damaged that every peer has: applied state, or entries before the log's end. Identity, genesis record,
/// term, vote and the end of the log are whole.
struct damage {
  std::string what;     ///< for people
  log_index needed;     ///< a state from here on replaces all that is damaged, and takes back nothing
  hash128_value chain;  ///< running hash after the first of recovered_state::log's entries
};

/// Where the logs end, by group; zero for one that is empty, or not there.
using log_ends = std::array<log_index, 1 + max_data_groups>;
/// How many entries were ever in logs that end there: falls when the end of any is lost.
std::uint64_t length_of(const log_ends&);

/// The log and the state of one group.
struct recovered_group {
  raft::recovered log;
  hash128_value log_chain;   ///< running hash at the end of the log
  hash128_value base_chain;  ///< running hash at log.snapshot.index
  std::vector<machine::record> state;
};

/// Of the whole node; what it inherits is the meta group's.
struct recovered_state : recovered_group {
  node_id self;
  boot_epoch boot;  ///< of this start, already durable
  swim::acceptor_state acceptor;
  std::vector<recovered_group> data;  ///< of the data groups, from group 1 on
  std::map<std::string, cursor, std::less<>> cursors;
  /// Then this is no state to start from before it is healed (healer.hpp): `state` is empty, and the entries are those
  /// that are whole up to the end of the log, without a gap.
  std::optional<damage> damaged;

  log_ends ends() const;
};

/// The meta group's machine as of log.applied: from its records, or, of a founder that has applied nothing yet, from
/// the genesis record.
void restore(machine::machine&, const recovered_state&);
/// What applying changed since the last call, for the disk.
disk::batch state_writes(group_id, machine::machine&);

/// What every founder starts from: the genesis record as log entry 1 with a constant term (docs/membership.md 2, step
/// 6).
raft::snapshot_meta founder_base(const swim::genesis_record&);
std::vector<machine::member_record> founder_members(const swim::genesis_record&);

/// What must be written and synced before the engine starts: identity when there is none, boot epoch + 1, and, with
/// `rejoin` after a removal, a fresh start (old identity and state dropped).
struct prepared {
  recovered_state state;
  disk::batch first_write;
};
/// Checks everything (contiguous indexes, checksums, chain, applied within the log). What others can heal is told in
/// recovered_state::damaged; a failure says what else is broken and what to do. `data_groups` is written with the
/// identity; errc::bad_argument when the disk has another number of them, or there can't be so many.
result<prepared> recover(const disk::image&, std::uint64_t fresh_random_hi, std::uint64_t fresh_random_lo, bool rejoin,
                         std::uint32_t data_groups = 0);

}  // namespace coterie::engine
