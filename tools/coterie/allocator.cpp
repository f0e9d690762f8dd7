// How the command allocates when it is linked with jemalloc: for a few threads that hand memory to one another, and
// for agents that should stay small. A host that embeds a node chooses for itself.
#include <jemalloc/jemalloc.h>

/// Read by jemalloc before main: one arena for two threads instead of four for each core; freed pages go back after 2 s.
const char* malloc_conf = "narenas:2,dirty_decay_ms:2000,muzzy_decay_ms:0";
