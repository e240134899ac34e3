// SPDX-License-Identifier: Apache-2.0

#include <cstdint>
#include <functional>

#include "gtest/gtest.h"
#include "larder/cache.h"

namespace larder::test {
namespace {

using IntCache = Cache<uint64_t, uint64_t>;

// A clock that does something when it is read.
class ActingClock final : public Clock {
 public:
  int64_t NowNanos() const override { return now(); }
  std::function<int64_t()> now = [] { return int64_t{0}; };
};

TEST(IdleTtlTest, AHitThatBeatsTheWheelKeepsItsEntry) {
  ActingClock clock;
  IntCache::Options options;
  options.capacity = 10;
  options.stripes = 1;
  options.clock = &clock;
  options.idle_ttl = absl::Seconds(100);
  auto cache = IntCache::Create(options).value();
  const auto seconds = [](int64_t n) { return n * 1'000'000'000; };
  ASSERT_TRUE(cache->Put(1, 10).ok());

  // The hit reads the clock just before the deadline; before it moves the deadline, maintenance
  // comes and finds it passed.
  int reads = 0;
  bool maintaining = false;
  clock.now = [&]() -> int64_t {
    if (maintaining) return seconds(102);
    if (++reads == 2) {
      maintaining = true;
      cache->RunMaintenance(SIZE_MAX);
      maintaining = false;
    }
    return seconds(99);
  };
  const bool hit = cache->Get(1).has_value();
  ASSERT_GE(reads, 2);
  clock.now = [&] { return seconds(103); };
  // Either both saw it, or neither.
  EXPECT_EQ(cache->Contains(1), hit);
  EXPECT_TRUE(cache->CheckInvariants().ok());
}

}  // namespace
}  // namespace larder::test
