// Asking whether a lock is held takes no lock: a holder asks in its inner loop, and must never wait for a node that is
// being stopped. The C library's functions behind std::mutex and std::shared_mutex are replaced by ones that count.
#include <atomic>
#include <thread>

#include <dlfcn.h>
#include <pthread.h>

#include "catch.hpp"
#include "nodes.hpp"

#ifndef __SANITIZE_THREAD__  // which replaces these functions itself

namespace {
thread_local int taken = 0;  // by this thread

template <class Lock>
int real(const char* name, Lock* l) {
  ++taken;
  static const auto f = reinterpret_cast<int (*)(Lock*)>(::dlsym(RTLD_NEXT, name));
  return f(l);
}
}  // namespace

extern "C" int pthread_rwlock_rdlock(pthread_rwlock_t* l) noexcept { return real("pthread_rwlock_rdlock", l); }
extern "C" int pthread_mutex_lock(pthread_mutex_t* l) noexcept { return real("pthread_mutex_lock", l); }

namespace {

using namespace coterie;
using namespace coterie::test;

TEST_CASE("held, lease_left and fence take no lock") {
  one_node w;
  auto m = w.n.locks().get("import");
  m.lock();
  const auto before = taken;
  REQUIRE(before > 0);  // they are counted
  bool held = true;
  for (int i = 0; i < 1'000; ++i) held = held && m.held() && m.lease_left() > 0ms && m.fence() > 0;
  const auto after = taken;
  CHECK(held);
  CHECK(after == before);
  m.unlock();
}

}  // namespace

#endif
