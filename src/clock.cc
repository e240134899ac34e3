// SPDX-License-Identifier: Apache-2.0

#include "larder/clock.h"

#include "larder/internal/process_clock.h"

namespace larder {
namespace {

class MonotonicClock final : public Clock {
 public:
  int64_t NowNanos() const override { return internal::ProcessClock::NowNanos(); }
};

}  // namespace

const Clock& Clock::Monotonic() {
  static const MonotonicClock clock;
  return clock;
}

}  // namespace larder
