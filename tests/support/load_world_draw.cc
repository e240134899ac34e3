// SPDX-License-Identifier: Apache-2.0
//
// What LoadWorld draws from its seed.
#include "absl/time/time.h"
#include "tests/support/load_world.h"

namespace larder::test {
namespace {

constexpr absl::Duration kUnit = absl::Milliseconds(1);

}  // namespace

std::string LoadWorld::DrawKey() { return kKeys[Draw(kKeys.size())]; }
std::string LoadWorld::DrawTag() { return OneIn(2) ? "red" : "blue"; }
absl::Duration LoadWorld::DrawTime() { return static_cast<int64_t>(1 + Draw(12)) * kUnit; }

WorldCache::Inner::Options LoadWorld::DrawOptions() {
  WorldCache::Inner::Options options;
  options.capacity = 100;
  options.clock = clock_.get();
  options.executor = &executor_;
  options.retry_after = OneIn(2) ? DrawTime() : absl::ZeroDuration();
  if (OneIn(2)) options.ttl = 2 * DrawTime();
  if (OneIn(2)) options.refresh_after = absl::Milliseconds(1 + Draw(3));
  if (OneIn(3)) options.stale_while_revalidate = DrawTime();
  if (OneIn(2)) options.stale_if_error = DrawTime();
  if (OneIn(6)) options.soft_timeout = DrawTime();
  if (OneIn(6)) options.hard_timeout = DrawTime();
  if (OneIn(4)) options.background_timeout = DrawTime();
  if (OneIn(3)) options.negative_ttl = DrawTime();
  if (OneIn(8)) options.early_refresh = 1e15;
  if (OneIn(3)) options.max_concurrent_loads = static_cast<int>(1 + Draw(2));
  if (OneIn(2)) options.max_queued_loads = static_cast<int>(1 + Draw(2));
  if (OneIn(4)) {
    options.circuit_breaker.failures = static_cast<int>(1 + Draw(3));
    options.circuit_breaker.open_for = DrawTime();
  }
  if (OneIn(2)) options.prefixes = {"a:"};
  options.loads_at_close = OneIn(2) ? LoadsAtClose::kWait : LoadsAtClose::kAbandon;
  return options;
}

LoadOptions LoadWorld::DrawLoadOptions() {
  LoadOptions options;
  if (OneIn(2)) options.ttl = DrawTime();
  if (OneIn(4)) options.refresh_after = OneIn(2) ? DrawTime() : RefreshAfter::Share(0.5);
  if (OneIn(4)) options.stale_while_revalidate = DrawTime();
  if (OneIn(2)) options.stale_if_error = DrawTime();
  if (OneIn(4)) options.retry_after = DrawTime();
  if (OneIn(3)) options.soft_timeout = DrawTime();
  if (OneIn(4)) options.hard_timeout = DrawTime();
  if (OneIn(2)) options.after_timeout = AfterTimeout::kAbandon;
  if (OneIn(3)) options.background_timeout = DrawTime();
  if (OneIn(4)) options.negative_ttl = DrawTime();
  if (OneIn(3)) options.tags = {DrawTag()};
  return options;
}

PutOptions LoadWorld::DrawPutOptions() {
  PutOptions options;
  if (OneIn(2)) options.ttl = DrawTime();
  if (OneIn(4)) options.refresh_after = DrawTime();
  if (OneIn(3)) options.tags = {DrawTag()};
  return options;
}

LoadEnd LoadWorld::DrawEnd(bool has_old) {
  LoadEnd end;
  const uint64_t kind = Draw(12);
  if (kind == 0) {
    end.kind = LoadEnd::Kind::kNotFound;
  } else if (kind == 1 || (kind <= 3 && has_old)) {
    end.kind = LoadEnd::Kind::kNotModified;
  } else if (kind <= 4) {
    end.kind = LoadEnd::Kind::kFailed;
  } else {
    end.kind = LoadEnd::Kind::kValue;
    end.value = ++last_value_;
    if (OneIn(4)) end.tags = {DrawTag()};
  }
  if (OneIn(4)) end.ttl = DrawTime();
  return end;
}

}  // namespace larder::test
