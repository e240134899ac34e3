// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_THREADS_H_
#define LARDER_TESTS_SUPPORT_THREADS_H_

#include <chrono>
#include <latch>
#include <thread>
#include <vector>

namespace larder::test {

// Waits for a condition that others bring about. False after minutes: they never will.
template <class Condition>
bool Eventually(Condition&& condition) {
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    std::this_thread::yield();
  }
  return true;
}

// Runs f(0) to f(n - 1), each in a thread of its own, all set off together. Returns once all have.
template <class F>
void RunThreads(int n, F&& f) {
  std::latch start(n);
  std::vector<std::thread> threads;
  for (int i = 0; i < n; ++i) {
    threads.emplace_back([&start, &f, i] {
      start.arrive_and_wait();
      f(i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_THREADS_H_
