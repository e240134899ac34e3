// SPDX-License-Identifier: Apache-2.0
//
// TieredRemoteFixture: two TieredCaches that share a tier.

#ifndef LARDER_TESTS_SUPPORT_TIERED_REMOTE_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_TIERED_REMOTE_FIXTURE_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "larder/remote_stats.h"
#include "larder/tiered_cache.h"
#include "tests/support/model_tier.h"
#include "tests/support/tiered_fixture.h"

namespace larder::test {

// Two servers with one store.
class TieredRemoteFixture : public TieredFixture {
 protected:
  TieredRemoteFixture() {
    options_.cache.ttl = absl::Minutes(1);
    options_.remote = {.tier = &tier_,
                       .ttl = absl::Minutes(10),
                       .timeout = absl::Seconds(5),
                       .unverified_ttl = absl::Hours(1),
                       .first_probe = absl::Milliseconds(1),
                       .last_probe = absl::Milliseconds(1),
                       .settle_time = absl::ZeroDuration()};
  }
  ~TieredRemoteFixture() override {
    other_.reset();
    End();
  }

  void OpenBoth() {
    Open();
    options_.remote.tier = &other_tier_;
    other_ = Tiered::Create(options_).value();
    AwaitTold();
  }

  // Until both have been told of all that happened.
  void AwaitTold() {
    const auto is_told = [](Tiered& tiered, ModelTier& tier) {
      return tiered.Stats().remote.health == RemoteHealth::kUp && tier.Idle();
    };
    while (!is_told(*tiered_, tier_) || (other_ != nullptr && !is_told(*other_, other_tier_))) {
      absl::SleepFor(absl::Microseconds(50));
    }
  }

  std::string GetFromOther(std::string_view key) { return TieredFixture::Shown(other_->Get(key)); }

  ModelServer redis_;
  ModelTier tier_{&redis_};
  ModelTier other_tier_{&redis_};
  std::unique_ptr<Tiered> other_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_TIERED_REMOTE_FIXTURE_H_
