// SPDX-License-Identifier: Apache-2.0
//
// StartThread: how larder's own threads are started.

#ifndef LARDER_SRC_BACKGROUND_THREAD_H_
#define LARDER_SRC_BACKGROUND_THREAD_H_

#include <pthread.h>

namespace larder::internal {

// Starts a thread, to be joined or detached, that runs run(argument). Returns whether it did; where
// it didn't, there are too many threads, or there is no memory for one, and *thread is unchanged.
//
// The process's signals aren't for the thread: it blocks all but those that a thread causes itself,
// for which a program may have a handler that says where it crashed.
//
// Not std::thread, as after fork() the child must be able to forget a thread that it doesn't have.
[[nodiscard]] bool StartThread(void* (*run)(void*), void* argument, pthread_t* thread);

}  // namespace larder::internal

#endif  // LARDER_SRC_BACKGROUND_THREAD_H_
