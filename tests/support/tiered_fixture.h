// SPDX-License-Identifier: Apache-2.0
//
// TieredFixture: a TieredCache over a ScriptedStore, on a clock that is moved by hand.

#ifndef LARDER_TESTS_SUPPORT_TIERED_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_TIERED_FIXTURE_H_

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest.h"
#include "larder/manual_clock.h"
#include "larder/tiered_cache.h"
#include "tests/support/scripted_store.h"

namespace larder::test {

class TieredFixture : public ::testing::Test {
 protected:
  using Tiered = TieredCache<std::string, std::string>;
  using Call = ScriptedStore::Call;

  TieredFixture() {
    options_.cache.capacity = 100;
    options_.cache.clock = &clock_;
    options_.store = &store_;
  }

  ~TieredFixture() override { End(); }

  // Checks and destroys the cache; by those who have what it uses.
  void End() {
    if (tiered_ == nullptr) return;
    const absl::Status invariants = tiered_->memory().CheckInvariants();
    EXPECT_TRUE(invariants.ok()) << invariants;
    tiered_.reset();
  }

  // Made with options_ when first asked for. Its clock stands still, so what is queued stays queued
  // until the clock is moved, or Flush.
  Tiered& tiered() {
    if (tiered_ == nullptr) Open();
    return *tiered_;
  }
  void Open() {
    absl::StatusOr<std::unique_ptr<Tiered>> tiered = Tiered::Create(options_);
    if (!tiered.ok()) {
      ADD_FAILURE() << tiered.status();
      std::abort();
    }
    tiered_ = *std::move(tiered);
  }

  // A value, or the error in its place.
  static std::string Shown(const absl::StatusOr<std::string>& value) {
    return value.ok() ? *value : value.status().ToString();
  }
  std::string Get(std::string_view key) { return Shown(tiered().Get(key)); }

  // From now on the store fails all writes.
  void FailWrites(absl::Status error) {
    store_.set_script([error](Call call, const std::string&) {
      return call == Call::kLoad ? absl::OkStatus() : error;
    });
  }

  ManualClock clock_{1'000'000'000};
  ScriptedStore store_;
  Tiered::Options options_;
  std::unique_ptr<Tiered> tiered_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_TIERED_FIXTURE_H_
