// SPDX-License-Identifier: Apache-2.0
//
// Loads of what memory has already, where servers share a tier.
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/load_context.h"
#include "larder/loaded.h"
#include "tests/support/scripted_store.h"
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

}  // namespace
}  // namespace larder
