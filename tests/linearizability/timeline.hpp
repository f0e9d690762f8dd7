// Operations drawn over time.
#pragma once

#include <string>
#include <vector>

#include "linearizability/models.hpp"

namespace coterie::linearizability {

/// A line for each operation, in order of call: when, who, what, and a bar from call to return. Instants that nothing
/// happens between are one step apart, however long that took. A bar that ends with ? has an unknown outcome.
/// The operations come in order of call; those that are `marked` get an asterisk.
std::string timeline(const operation_list&, const std::vector<bool>& marked = {});

}  // namespace coterie::linearizability
