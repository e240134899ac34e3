// SPDX-License-Identifier: Apache-2.0

#include "larder/executor.h"

#include "larder/thread_pool.h"

namespace larder {

Executor& Executor::Default() {
  // Not destroyed: its threads may be at work when the process exits.
  static Executor* const pool = ThreadPool::Create({}).value().release();
  return *pool;
}

}  // namespace larder
