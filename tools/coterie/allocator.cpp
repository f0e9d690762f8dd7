// How the command allocates when it is linked with jemalloc, which suits threads that hand memory to one another. A
// host that embeds a node chooses for itself.
#include <jemalloc/jemalloc.h>

/// Read by jemalloc before main: what an idle agent does not use goes back to the system within 2 s.
const char* malloc_conf = "dirty_decay_ms:2000,muzzy_decay_ms:0";
