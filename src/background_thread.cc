// SPDX-License-Identifier: Apache-2.0

#include "src/background_thread.h"

#include <signal.h>

#include <initializer_list>

namespace larder::internal {

bool StartThread(void* (*run)(void*), void* argument, pthread_t* thread) {
  sigset_t blocked;
  sigset_t before;
  sigfillset(&blocked);
  for (const int own : {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP}) {
    sigdelset(&blocked, own);
  }
  // A thread inherits the mask of the one that starts it.
  pthread_sigmask(SIG_SETMASK, &blocked, &before);
  pthread_t started;
  const bool good = pthread_create(&started, nullptr, run, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (good) *thread = started;
  return good;
}

}  // namespace larder::internal
