// What a command's arguments may be. Asked before a request is sent, so that a wrong argument costs no log entry; apply
// asks again. Names of caches and labels follow the same rule although the machine has no caches.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "machine/limits.hpp"
#include "machine/types.hpp"

namespace coterie::machine {

result<void> check_name(std::string_view what, std::string_view name);  ///< 1-255 bytes of printable UTF-8
result<void> check_journal(std::string_view name);                      ///< 1-255 of [a-z0-9_.]
result<void> check(const command_body&, const limits&);

}  // namespace coterie::machine
