// Counts what operator new gives out in this process, so that tests can bound the memory that a message costs.
#pragma once

#include <cstddef>

/// Bytes allocated by this thread since the program began; what was freed is not subtracted.
std::size_t allocated_bytes() noexcept;
