// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_CACHE_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_CACHE_FIXTURE_H_

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/manual_clock.h"
#include "tests/support/throwing.h"

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

// Owns a test's caches. At its end each must be sound within, and every Counted must be gone.
class CacheFixture : public ::testing::Test {
 protected:
  // Options for a cache whose time is clock_.
  template <class CacheT>
  typename CacheT::Options OptionsFor(uint64_t capacity) {
    typename CacheT::Options options;
    options.capacity = capacity;
    options.clock = &clock_;
    return options;
  }

  template <class CacheT>
  CacheT& Make(typename CacheT::Options options) {
    // Throws if there is none, which fails the test.
    auto owner = std::make_unique<Owner<CacheT>>(CacheT::Create(std::move(options)).value());
    CacheT& cache = *owner->cache;
    owners_.push_back(std::move(owner));
    return cache;
  }
  template <class CacheT>
  CacheT& Make(uint64_t capacity) {
    return Make<CacheT>(OptionsFor<CacheT>(capacity));
  }

  // Checks and destroys one cache before the test's end.
  template <class CacheT>
  void End(CacheT& cache) {
    const auto owner = std::find_if(owners_.begin(), owners_.end(), [&cache](const auto& other) {
      return other->Address() == &cache;
    });
    ASSERT_NE(owner, owners_.end());
    (*owner)->Check();
    owners_.erase(owner);
  }

  void TearDown() override {
    for (const auto& owner : owners_) owner->Check();
    owners_.clear();
    EXPECT_EQ(Counted::Live(), 0);
    EXPECT_EQ(Counted::Violations(), 0);
  }

  ManualClock clock_;

 private:
  struct AnyOwner {
    virtual ~AnyOwner() = default;
    virtual const void* Address() const = 0;
    virtual void Check() = 0;
  };

  template <class CacheT>
  struct Owner final : AnyOwner {
    explicit Owner(std::unique_ptr<CacheT> owned) : cache(std::move(owned)) {}
    const void* Address() const override { return cache.get(); }
    void Check() override {
      const absl::Status invariants = cache->CheckInvariants();
      EXPECT_TRUE(invariants.ok()) << invariants;
      EXPECT_LE(cache->weight(), cache->capacity());
    }

    std::unique_ptr<CacheT> cache;
  };

  std::vector<std::unique_ptr<AnyOwner>> owners_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_CACHE_FIXTURE_H_
