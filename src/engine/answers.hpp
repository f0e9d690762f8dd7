// What a caller is told of its own command: the machine's answer in the words of clients. One rule for each kind of
// command; nothing is guessed from numbers.
#pragma once

#include <string>
#include <variant>

#include "machine/machine.hpp"
#include "wire/request.hpp"

namespace coterie::engine {

/// How the answer to a command is to be read.
struct expects_done {};
struct expects_ids {};  ///< of the entries appended
struct expects_job {
  std::string id;
};
using expectation = std::variant<expects_done, expects_ids, expects_job>;

expectation expected_of(const machine::command_body&);
/// Of an answer that is ok. `m`: the state as of the entry that the command became, or later.
wire::response response_to(const expectation&, const machine::answer&, const machine::machine& m);

}  // namespace coterie::engine
