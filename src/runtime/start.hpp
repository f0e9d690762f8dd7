// What happens before a node's loop runs: options checked, home opened, state recovered. Private to src/runtime.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "engine/recovery.hpp"
#include "runtime/driver.hpp"
#include "store/store.hpp"

namespace coterie::runtime {

/// Fills defaults (name, bind host) and refuses what can't work: no home, an address open to the network without
/// encryption, a wildcard address without one to advertise.
result<void> check(driver_options&);

/// The soft limit of open files becomes the hard one. Best effort.
void raise_descriptor_limit() noexcept;

/// From the kernel's generator; blocks only right after the machine has booted.
std::uint64_t random_word();

/// What is known to be gone of writes that were durable, of logs that end there: such a node must not vote under its
/// old identity (docs/consensus.md 1.6).
std::optional<std::string> lost_writes(const coterie::store&, const engine::log_ends&);

/// A home that is open, with its identity and boot epoch of this start durable.
struct opened_home {
  std::unique_ptr<coterie::store> disk;  ///< null without a home (gossip only)
  engine::recovered_state state;
  engine::log_ends log_ends{};
  std::string warning;  ///< for the log; empty = none
};
result<opened_home> open_home(const driver_options&);

}  // namespace coterie::runtime
