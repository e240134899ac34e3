// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_CACHE_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_CACHE_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/manual_clock.h"
#include "tests/support/threads.h"
#include "tests/support/throwing.h"

namespace larder::test {

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
