// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_THREAD_POOLS_H_
#define LARDER_TESTS_SUPPORT_THREAD_POOLS_H_

#include <atomic>
#include <memory>
#include <utility>

#include "gtest/gtest.h"
#include "larder/executor.h"
#include "larder/internal/event.h"
#include "larder/thread_pool.h"
#include "tests/support/threads.h"

namespace larder::test {

inline std::unique_ptr<ThreadPool> MakePool(ThreadPoolOptions options) {
  auto pool = ThreadPool::Create(options);
  EXPECT_TRUE(pool.ok()) << pool.status();
  return *std::move(pool);
}

// Keeps as many threads of a pool busy as it is told, until it is told to let go.
class Blocker {
 public:
  explicit Blocker(Executor& executor, int threads) : executor_(executor) {
    for (int i = 0; i < threads; ++i) EXPECT_TRUE(Block());
    EXPECT_TRUE(Eventually([&] { return blocked_->load() == threads; }));
  }
  ~Blocker() { LetGo(); }

  bool Block() {
    return executor_.Execute([blocked = blocked_, go = go_] {
      blocked->fetch_add(1);
      go->Wait();
    });
  }
  void LetGo() { go_->Set(); }

 private:
  Executor& executor_;
  const std::shared_ptr<std::atomic<int>> blocked_ = std::make_shared<std::atomic<int>>(0);
  const std::shared_ptr<internal::Event> go_ = std::make_shared<internal::Event>();
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_THREAD_POOLS_H_
