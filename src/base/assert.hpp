// Assertions stay on in every build and check programmer errors only, never input.
#pragma once

namespace coterie {
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line) noexcept;
}

#define COTERIE_ASSERT(expression) \
  (static_cast<bool>(expression) ? void() : ::coterie::assertion_failed(#expression, __FILE__, __LINE__))
