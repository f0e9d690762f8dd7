#include "base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace coterie {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  std::fprintf(stderr, "coterie: assertion failed: %s (%s:%d)\n", expression, file, line);
  std::abort();
}

}  // namespace coterie
