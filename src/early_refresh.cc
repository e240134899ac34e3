// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/early_refresh.h"

#include <cmath>
#include <limits>

#include "larder/internal/node.h"

namespace larder::internal {
namespace {

// A little more than 53 * ln 2, the most that -ln of a random number can be. The difference is far
// more than what rounding does to either.
constexpr double kMostLog = 36.7369;

// a - b, however far apart. Requires: a >= b.
uint64_t Distance(int64_t a, int64_t b) {
  return static_cast<uint64_t>(a) - static_cast<uint64_t>(b);
}

// In (0, 1], all multiples of 2^-53 equally likely.
double UnitInterval(uint64_t random) { return static_cast<double>((random >> 11) + 1) * 0x1p-53; }

// Written so that it is false for NaN, too.
bool MayRefreshEarly(int64_t expiry, int64_t load_time, double beta) {
  return expiry != kNever && load_time > 0 && beta > 0;
}

}  // namespace

bool RefreshesEarly(int64_t now, int64_t expiry, int64_t load_time, double beta, uint64_t random) {
  if (expiry == kNever) return false;
  if (now >= expiry) return true;
  if (!MayRefreshEarly(expiry, load_time, beta)) return false;
  const double left = static_cast<double>(Distance(expiry, now));
  const double scale = static_cast<double>(load_time) * beta;
  if (left > scale * kMostLog) return false;
  // An infinite beta times ln 1 is NaN, and compares as false.
  return left <= scale * -std::log(UnitInterval(random));
}

int64_t EarliestRefresh(int64_t expiry, int64_t load_time, double beta) {
  if (!MayRefreshEarly(expiry, load_time, beta)) return expiry;
  constexpr int64_t kBeginning = std::numeric_limits<int64_t>::min();
  const double lead = std::ceil(static_cast<double>(load_time) * beta * kMostLog);
  if (lead >= 0x1p64) return kBeginning;
  const uint64_t nanos = static_cast<uint64_t>(lead);
  if (nanos >= Distance(expiry, kBeginning)) return kBeginning;
  return static_cast<int64_t>(static_cast<uint64_t>(expiry) - nanos);
}

}  // namespace larder::internal
