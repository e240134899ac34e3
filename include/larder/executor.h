// SPDX-License-Identifier: Apache-2.0
//
// Executor: where tasks run that nobody waits for.

#ifndef LARDER_EXECUTOR_H_
#define LARDER_EXECUTOR_H_

#include "absl/functional/any_invocable.h"

namespace larder {

// Runs tasks, such as a cache's background loads. Implement it on the threads that a program has
// already, or make a ThreadPool (thread_pool.h).
//
// Thread safety: all methods may be called from any thread, also from inside a task.
class Executor {
 public:
  virtual ~Executor() = default;

  // True: `task` is run once, soon, on some thread. False: it is refused, as there are too many
  // already or the executor is about to end; it was not run, will not be, and is destroyed.
  //
  // An executor may run the task before this returns. Then nothing that is done by it happens in
  // the background: who asks waits for all of it, and no timeout shortens that.
  //
  // A task doesn't throw, and neither does this. Tasks that wait for a database keep their thread
  // meanwhile.
  virtual bool Execute(absl::AnyInvocable<void() &&> task) = 0;

  // The process's own: a ThreadPool with that class's default options. Made when first asked for,
  // never destroyed.
  static Executor& Default();
};

}  // namespace larder

#endif  // LARDER_EXECUTOR_H_
