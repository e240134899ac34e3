// SPDX-License-Identifier: Apache-2.0

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
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

// A hit that looked at the entry before Expire moves its times after it.
TEST(IdleTtlTest, AHitThatComesTooLateBringsNothingBack) {
  IntCache::Options options;
  options.capacity = 10;
  options.stale_if_error = absl::Hours(1);
  options.retry_after = absl::Hours(1);
  auto cache = IntCache::Create(options).value();
  std::atomic<bool> stop{false};
  std::thread hits([&] {
    while (!stop.load()) cache->Get(1);
  });
  const auto fails = [](uint64_t) -> absl::StatusOr<uint64_t> { return absl::InternalError("no"); };
  int live = 0;
  for (int i = 0; i < 20'000 && live == 0; ++i) {
    EXPECT_TRUE(cache->Put(1, 10, {.idle_ttl = absl::Hours(2)}).ok());
    EXPECT_TRUE(cache->Expire(1));
    EXPECT_TRUE(cache->GetOrLoad(1, fails).ok());
    live += cache->Contains(1) ? 1 : 0;
  }
  stop.store(true);
  hits.join();
  EXPECT_EQ(live, 0);
}

}  // namespace
}  // namespace larder::test
