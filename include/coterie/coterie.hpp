// All of coterie's C++ API.
#pragma once

#include "coterie/backup.hpp"    // IWYU pragma: export
#include "coterie/caches.hpp"    // IWYU pragma: export
#include "coterie/common.hpp"    // IWYU pragma: export
#include "coterie/error.hpp"     // IWYU pragma: export
#include "coterie/jobs.hpp"      // IWYU pragma: export
#include "coterie/journal.hpp"   // IWYU pragma: export
#include "coterie/locks.hpp"     // IWYU pragma: export
#include "coterie/messages.hpp"  // IWYU pragma: export
#include "coterie/node.hpp"      // IWYU pragma: export
