// The seam between the engine and whoever drives it: everything that can happen to a node (event) and everything it may
// want done (action), as data. src/runtime performs actions on real sockets and disks, tests/sim in a virtual world
// (docs/architecture.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/address.hpp"
#include "base/bytes.hpp"
#include "base/disk.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/time.hpp"
#include "wire/request.hpp"

namespace coterie::engine {

using stream_id = strong<struct stream_tag>;  ///< a connection to a peer, numbered by the driver for accepted and by
                                              ///< the engine for dialled ones; never reused
using call_id = strong<struct call_tag>;      ///< a client's request, numbered by the driver; never reused
using read_id = strong<struct read_tag>;      ///< numbered by the engine

// ---- events --------------------------------------------------------------------------------------------------------
struct datagram_in {
  address from;
  bytes data;
};
/// A stream is open. `dialled`: the engine asked for it by dial{id}; else it was accepted.
struct stream_up {
  stream_id id;
  bool dialled = false;
  address remote;
};
/// A stream ended or could not be opened. `refused`: the other side's host refused or reset it, so no process is there.
struct stream_down {
  stream_id id;
  bool refused = false;
  std::string reason;
};
struct frame_in {
  stream_id id;
  bytes body;
};  ///< the body of one peer frame, checksum verified
/// An ICMP port unreachable for a datagram sent to this address.
struct unreachable_in {
  address to;
};
/// The system threw so many datagrams for this node away since the last time: its buffer was full.
struct datagrams_dropped {
  std::uint64_t count = 0;
};
struct wake {};  ///< next_wake() has come
struct written {
  std::uint64_t sequence = 0;
};  ///< write{sequence} (and all before it) is done, durably when sync was set
struct read_done {
  read_id id;
  std::vector<disk::item> items;
  bool more = false;
};  ///< more: the limit cut the range; continue after the last key
/// The disk has failed: nothing may be written, voted or acknowledged any more.
struct disk_failed {
  std::string reason;
};
struct disk_space {
  bool low = false;
};  ///< admission of data proposals stops while low
struct call {
  call_id id;
  wire::request what;
  std::optional<std::chrono::milliseconds> timeout{};
};  ///< timeout: nullopt = the node's default
struct cancel_call {
  call_id id;
};  ///< the client went away: streams end, a waiting or granted lock is given back

using event = std::variant<datagram_in, stream_up, stream_down, frame_in, unreachable_in, datagrams_dropped, wake,
                           written, read_done, disk_failed, disk_space, call, cancel_call>;

// ---- actions -------------------------------------------------------------------------------------------------------
struct send_datagram {
  address to;
  bytes data;
};
struct dial {
  stream_id id;
  address to;
};  ///< answered by stream_up or stream_down
struct send_frame {
  stream_id id;
  bytes frame;
};  ///< whole frame, header included; dropped when the stream is gone
struct hang_up {
  stream_id id;
};  ///< no stream_down follows
/// Disk work is done in the order given. All writes waiting when the disk is free go out as one synced batch (group
/// commit).
struct write {
  std::uint64_t sequence = 0;
  bool sync = false;
  disk::batch what;
  bool quiet = false;  ///< not synced, and nobody waits: done and told with what comes after it, or within a second
};                     ///< answered by written
struct read {          ///< answered by read_done; sees every write before it
  read_id id;
  disk::space in = disk::space::state;
  bytes from, to;                                      ///< from <= key < to; an empty `to` = to the end of the space
  std::size_t max_items = 1'000, max_bytes = 1 << 20;  ///< at least one item is returned when there is one
  bool reverse = false;                                ///< newest first: from the end of the range
  std::uint64_t view = 0;                              ///< of open_view, 0 = the present state
};
struct open_view {
  std::uint64_t view = 0;
};  ///< a frozen view of the disk as of now, until close_view
struct close_view {
  std::uint64_t view = 0;
};
/// Installing a snapshot: chunks collect beside the present state `in`; commit replaces that by them and does `what` in
/// one atomic, synced step, answered by written. begin drops what an earlier, unfinished install of it left; so does a
/// restart.
struct install_begin {
  disk::space in = disk::space::state;
};
struct install_chunk {
  std::uint64_t sequence = 0;
  std::vector<disk::item> items;
  disk::space in = disk::space::state;
};  ///< answered by written
struct install_commit {
  std::uint64_t sequence = 0;
  disk::batch what;
  disk::space in = disk::space::state;
};
/// An answer to a call. `last` = no more answers follow.
struct answer {
  call_id id;
  wire::response what;
  bool last = true;
};
/// This session's local validity: until when locks may be believed held. steady/boot = never-valid (min) when there is
/// none.
struct lease {
  session_epoch epoch;
  instant steady = instant::min();
  boot_instant boot = boot_instant::min();
};
/// The node is over: stopped, left, refused, or failed; nothing follows. exit_ok = as asked.
struct halted {
  bool exit_ok = false;
  std::string reason;
};

using action = std::variant<send_datagram, dial, send_frame, hang_up, write, read, open_view, close_view, install_begin,
                            install_chunk, install_commit, answer, lease, log_line, halted>;

}  // namespace coterie::engine
