// What measuring commands have in common: quantiles, the floor that the machine sets, and what the kernel counts of
// processes and of a network. Knows no node.
#pragma once

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <vector>

#include <sys/types.h>

namespace coterie::command {

double us_since(std::chrono::steady_clock::time_point);

/// Of sorted values; 0 when there are none.
double quantile(const std::vector<double>& sorted, double q);

/// Median of a round trip of so many bytes over a blocking loopback connection, in microseconds.
double loopback_round_trip(std::size_t size);

/// Median of an append to a preallocated file with fdatasync, while `processes` do the same, in microseconds.
double shared_fdatasync(const std::filesystem::path& where, unsigned processes, std::size_t size);

/// How fast a file of so many MiB is written to and synced, in MiB a second.
double sequential_write(const std::filesystem::path& where, std::size_t mib);

/// Processor time of the process so far, user and kernel, of all its threads; 0 when it is gone.
double cpu_seconds(pid_t);

/// Its memory, with its share of what it has in common with others (PSS), in MiB; 0 when it is gone.
double proportional_mib(pid_t);

/// From now on this process, and those that it starts, have a network of their own with nothing but loopback. False
/// when this user may not do that: then nothing has changed. Called before there are threads.
bool enter_own_network();

/// Received on this network's loopback so far, with all headers.
double loopback_bytes();

}  // namespace coterie::command
