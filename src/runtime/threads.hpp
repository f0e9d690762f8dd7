// Threads as this library starts them: named, and deaf to signals, which belong to the host's own threads.
#pragma once

#include <csignal>
#include <thread>
#include <utility>

#include <pthread.h>

namespace coterie::runtime {

/// `name` has at most 15 characters. Throws std::system_error when there are no more threads.
template <class F>
std::thread start_thread(const char* name, F body) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  struct restore {
    const sigset_t& mask;
    ~restore() { ::pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  } at_end{before};
  std::thread t(std::move(body));
  ::pthread_setname_np(t.native_handle(), name);
  return t;
}

}  // namespace coterie::runtime
