// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_STALLED_READER_H_
#define LARDER_TESTS_SUPPORT_STALLED_READER_H_

#include <cstdint>
#include <latch>
#include <thread>

#include "gtest/gtest.h"

namespace larder::test {

// A thread that looks at an entry, inside a Visit, until it is told to leave, or this ends. Then
// the value's number() must be the expected one still.
template <class CacheT>
class StalledReader {
 public:
  // Returns once the thread is inside.
  StalledReader(CacheT& cache, uint64_t key, uint64_t expected)
      : thread_([this, &cache, key, expected] {
          const bool found = cache.Visit(key, [this, expected](const auto& value) {
            inside_.count_down();
            leave_.wait();
            EXPECT_EQ(value.number(), expected);
          });
          EXPECT_TRUE(found);
          if (!found) inside_.count_down();
        }) {
    inside_.wait();
  }
  ~StalledReader() {
    if (thread_.joinable()) Leave();
  }

  void Leave() {
    leave_.count_down();
    thread_.join();
  }

 private:
  std::latch inside_{1};
  std::latch leave_{1};
  std::thread thread_;
};

// Destroys all that may be.
template <class CacheT>
void Maintain(CacheT& cache) {
  while (cache.RunMaintenance(1000) != 0) {
  }
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_STALLED_READER_H_
