// Histories that other projects recorded, in the formats they chose. Strict: a line that says anything unexpected is an
// error, for a checker that skips what it does not understand agrees with everything.
#pragma once

#include <filesystem>
#include <iosfwd>

#include "linearizability/history.hpp"

namespace coterie::linearizability {

/// One register, as Jepsen logged it: `INFO jepsen.util - PROCESS :TYPE :OP VALUE`, TYPE one of invoke, ok, fail, info
/// and OP one of read, write, cas (VALUE `[old new]`). A read that timed out is left out, for it observed nothing; a
/// cas that failed otherwise did not match; a write or cas that timed out or has no end has an unknown outcome.
/// Instants are line numbers.
read_result read_register_log(std::istream&);

/// Many keys, one map a line: `{:process 9, :type :invoke, :f :append, :key "0", :value "x"}`, :type one of invoke, ok
/// and :f one of get, put, append. Instants are line numbers.
read_result read_key_value_log(std::istream&);

/// Reads a file in any of the formats; how its first line begins tells which. No operations at all is an error too:
/// what judges nothing must not pass.
read_result read_file(const std::filesystem::path&);

}  // namespace coterie::linearizability
