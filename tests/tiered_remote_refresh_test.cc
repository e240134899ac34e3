// SPDX-License-Identifier: Apache-2.0
//
// Loads of what memory has already, where servers share a tier.
#include <atomic>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/load_context.h"
#include "larder/loaded.h"
#include "tests/support/scripted_store.h"
#include "tests/support/threads.h"
#include "tests/support/tiered_remote_fixture.h"

namespace larder {
namespace {

// One whose loads a test can take over.
class LoadingStore : public test::ScriptedStore {
 public:
  using Load = std::function<absl::StatusOr<Loaded<std::string>>(LoadContext<std::string>&)>;

  Load load = nullptr;  // set while no load is under way

  absl::StatusOr<Loaded<std::string>> LoadEntry(const std::string& key,
                                                LoadContext<std::string>& context) override {
    return load ? load(context) : ScriptedStore::LoadEntry(key, context);
  }
};

class TieredRemoteRefreshTest : public test::TieredRemoteFixture {
 protected:
  TieredRemoteRefreshTest() { options_.store = &store_; }
  ~TieredRemoteRefreshTest() override {
    other_.reset();
    End();
  }

  LoadingStore store_;
};

TEST_F(TieredRemoteRefreshTest, WhatTheStoreConfirmsKeepsItsTagsInTheTier) {
  options_.cache.stale_if_error = absl::Hours(1);
  options_.remote.stale_if_error = absl::Hours(1);
  store_.load = [](LoadContext<std::string>&) {
    return Loaded<std::string>{.value = "v", .tags = {"t"}};
  };
  OpenBoth();
  EXPECT_EQ(Get("k"), "v");
  AwaitTold();
  redis_.Advance(options_.remote.ttl);
  clock_.Advance(options_.remote.ttl);
  store_.load = [](LoadContext<std::string>& context) { return context.NotModified(); };
  EXPECT_EQ(Get("k"), "v");
  AwaitTold();
  store_.load = nullptr;
  EXPECT_EQ(GetFromOther("k"), "v");  // which only the tier has

  store_.SetRow("k", "new");
  ASSERT_TRUE(tiered_->InvalidateTag("t").ok());
  AwaitTold();
  EXPECT_EQ(Get("k"), "new");
  EXPECT_EQ(GetFromOther("k"), "new");
}

// What it brings is in the tier then, and not in memory, which would take word of it for its own.
TEST_F(TieredRemoteRefreshTest, ARefreshThatTookTooLongLeavesNothingOlderInMemory) {
  options_.cache.refresh_after = absl::Seconds(5);
  options_.cache.background_timeout = absl::Seconds(1);
  store_.SetRow("k", "old");
  OpenBoth();
  EXPECT_EQ(Get("k"), "old");
  AwaitTold();
  tier_.HoldChanges();
  ASSERT_TRUE(other_->Put("k", "new").ok());
  redis_.Advance(options_.remote.ttl * 0.6);  // so old that the store is asked
  std::atomic<bool> loading{false};
  store_.load = [&](LoadContext<std::string>& context) {
    loading = true;
    EXPECT_TRUE(test::Eventually([&] { return context.stop_token().stop_requested(); }));
    return absl::StatusOr<Loaded<std::string>>(Loaded<std::string>{.value = "new"});
  };
  clock_.Advance(absl::Seconds(5));
  EXPECT_EQ(Get("k"), "old");
  ASSERT_TRUE(test::Eventually([&] { return loading.load(); }));
  clock_.Advance(options_.cache.background_timeout);
  tiered_->memory().RunMaintenance(10);
  EXPECT_TRUE(test::Eventually([&] { return !tiered_->memory().Contains("k"); }));
  tier_.ReleaseChanges();
  AwaitTold();
  EXPECT_EQ(Get("k"), "new");
}

}  // namespace
}  // namespace larder
