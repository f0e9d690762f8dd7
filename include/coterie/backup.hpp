// A new cluster from the state of an old one: from a snapshot (`coterie cluster snapshot`), or from the data directory
// of a member when the majority is lost for good. Both make the data directory of the new cluster's first node; nothing
// that runs is touched.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <system_error>

namespace coterie {

/// The first node of the new cluster. It is the only voter until others join it (seeds = its address).
struct new_home {
  std::filesystem::path local_home{};  ///< its data directory: new, or empty
  std::string name{};                  ///< shown to people
  std::string advertise{};             ///< HOST or HOST:PORT, where others reach it; the port is 7400 unless given
  std::string cluster{};               ///< name of the new cluster; that of the old one when empty
};

/// What was made. The new cluster has an id of its own: nodes of the old one never merge with it.
struct restored {
  std::string cluster;      ///< its name
  std::string cluster_id;   ///< 32 hexadecimal digits
  std::uint64_t index = 0;  ///< its state is the old one's after this log entry; fences and journal ids go on rising
  std::string warning{};    ///< what may be missing; empty = nothing
};

/// Reads a snapshot file to its end and checks all of it before the new home becomes one. Throws coterie::error:
/// bad_argument when the file is damaged, cut off or none, exists when the home holds a node, unavailable when it can't
/// be written. Blocks for as long as the disk takes.
[[gnu::visibility("default")]] restored restore_snapshot(const std::filesystem::path& snapshot, const new_home&);
[[gnu::visibility("default")]] restored restore_snapshot(const std::filesystem::path& snapshot, const new_home&,
                                                         std::error_code&);

/// The same from the data directory of a node that is stopped, when no majority of the old cluster will ever come back.
/// Everything in its log is taken as committed. What others had acknowledged and this node had not received is lost, so
/// take the member with the longest log (`applied` in its status). The directory is only read, but must not be in use:
/// exists otherwise.
[[gnu::visibility("default")]] restored recover_from_home(const std::filesystem::path& home, const new_home&);
[[gnu::visibility("default")]] restored recover_from_home(const std::filesystem::path& home, const new_home&,
                                                          std::error_code&);

}  // namespace coterie
