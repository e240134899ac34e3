// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_YIELDING_H_
#define LARDER_TESTS_SUPPORT_YIELDING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>
#include <thread>

#include "absl/hash/hash.h"
#include "absl/time/time.h"
#include "larder/clock.h"
#include "tests/support/throwing.h"

namespace larder::test {

// On few cores, threads meet inside an operation only if they give way there. So user code that the
// cache calls in the middle of things does: hash, equality, copies, the clock.
inline void GiveWay() {
  thread_local std::minstd_rand random(std::random_device{}());
  if (random() % 32 == 0) std::this_thread::yield();
}

struct YieldingHash {
  size_t operator()(uint64_t key) const {
    GiveWay();
    return absl::Hash<uint64_t>()(key);
  }
};

struct YieldingEqual {
  bool operator()(uint64_t a, uint64_t b) const {
    GiveWay();
    return a == b;
  }
};

// A Counted whose copies give way before and after.
class YieldingValue : public Counted {
 public:
  explicit YieldingValue(uint64_t number) : Counted(number) {}
  YieldingValue(const YieldingValue& other) : Counted((GiveWay(), other)) { GiveWay(); }
  YieldingValue(YieldingValue&&) noexcept = default;
  YieldingValue& operator=(const YieldingValue&) = default;
  YieldingValue& operator=(YieldingValue&&) noexcept = default;
};

// A manual clock.
class YieldingClock : public Clock {
 public:
  int64_t NowNanos() const override {
    const int64_t now = nanos_.load();
    GiveWay();
    return now;
  }
  void Advance(absl::Duration step) { nanos_.fetch_add(absl::ToInt64Nanoseconds(step)); }

 private:
  std::atomic<int64_t> nanos_{0};
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_YIELDING_H_
