// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "larder/internal/remote_entry.h"
#include "larder/tiered_cache.h"
#include "tests/support/model_tier.h"
#include "tests/support/scripted_store.h"
#include "tests/support/tiered_remote_fixture.h"

namespace larder {
namespace {

using test::ModelCall;
using test::ModelTier;
using test::ScriptedStore;
using Tiered = TieredCache<std::string, std::string>;
using Strings = std::vector<std::string>;

using TieredRemoteTest = test::TieredRemoteFixture;

TEST_F(TieredRemoteTest, OptionsAreChecked) {
  const auto refused = [this] { return std::string(Tiered::Create(options_).status().message()); };
  options_.remote.ttl = absl::ZeroDuration();
  EXPECT_NE(refused().find("ttl"), std::string::npos) << refused();
  options_.remote.ttl = absl::Minutes(1);
  options_.snapshot_path = "/nowhere";
  EXPECT_NE(refused().find("snapshot_path is /nowhere"), std::string::npos) << refused();
  struct NoCodec {
    std::vector<int*> parts;
  };
  using Uncoded = TieredCache<std::string, NoCodec>;
  class NoStore : public Store<std::string, NoCodec> {
    absl::StatusOr<NoCodec> Load(const std::string&) override { return NoCodec(); }
    absl::Status Write(const std::string&, const NoCodec&, const WriteId&) override { return {}; }
    absl::Status Erase(const std::string&, const WriteId&) override { return {}; }
  } store;
  Uncoded::Options options;
  options.cache.capacity = 1;
  options.store = &store;
  options.remote.tier = &tier_;
  EXPECT_EQ(Uncoded::Create(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TieredRemoteTest, AMissFillsBothAndLivesAsLongInMemoryAsIsLeftOfIt) {
  store_.SetRow("k", "v");
  OpenBoth();
  EXPECT_EQ(Get("k"), "v");
  AwaitTold();
  redis_.Advance(absl::Minutes(9) + absl::Seconds(30));
  for (const LoadSource source : {LoadSource::kRemote, LoadSource::kMemory}) {
    const auto result = other_->GetResult("k");
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->value, "v");
    EXPECT_EQ(result->source, source);
  }
  EXPECT_EQ(store_.loads(), 1);
  // Memory's ttl is a minute; half of one is left.
  clock_.Advance(absl::Seconds(30));
  EXPECT_FALSE(other_->memory().Contains("k"));
  EXPECT_TRUE(tiered_->memory().Contains("k"));
}

TEST_F(TieredRemoteTest, EachPolicyMakesTheOthersForgetAndKeepsItsOwn) {
  for (const WritePolicy policy :
       {WritePolicy::kAround, WritePolicy::kThrough, WritePolicy::kBehind}) {
    SCOPED_TRACE(static_cast<int>(policy));
    store_.SetRow("k", "old");
    redis_.Flush();
    options_.write_policy = policy;
    options_.remote.tier = &tier_;
    OpenBoth();
    EXPECT_EQ(GetFromOther("k"), "old");
    AwaitTold();  // of the fill
    ASSERT_TRUE(tiered_->Put("k", "new", {.tags = {"t"}}).ok());
    ASSERT_TRUE(tiered_->Flush(absl::Seconds(20)).ok());
    AwaitTold();
    EXPECT_EQ(tiered_->memory().Contains("k"), policy != WritePolicy::kAround);
    EXPECT_FALSE(other_->memory().Contains("k"));
    const int loads = store_.loads();
    EXPECT_EQ(GetFromOther("k"), "new");
    EXPECT_EQ(store_.loads(), loads + (policy == WritePolicy::kAround ? 1 : 0));
    AwaitTold();
    // The tags came along.
    ASSERT_TRUE(tiered_->InvalidateTag("t").ok());
    AwaitTold();
    if (policy != WritePolicy::kAround) {
      EXPECT_FALSE(other_->memory().Contains("k"));
    }
    ASSERT_TRUE(other_->Erase("k").ok());
    ASSERT_TRUE(other_->Flush(absl::Seconds(20)).ok());
    AwaitTold();
    EXPECT_TRUE(absl::IsNotFound(tiered_->Get("k").status()));
    other_.reset();
    End();
  }
}

TEST_F(TieredRemoteTest, AFailedWriteLeavesTheOldValueToBeReadAgain) {
  store_.SetRow("k", "old");
  OpenBoth();
  EXPECT_EQ(Get("k"), "old");
  FailWrites(absl::AbortedError("no"));
  EXPECT_EQ(tiered_->Put("k", "new").code(), absl::StatusCode::kAborted);
  AwaitTold();
  EXPECT_EQ(Get("k"), "old");
  EXPECT_EQ(GetFromOther("k"), "old");
}

TEST_F(TieredRemoteTest, ManyKeysComeFromAllTiers) {
  for (const char* key : {"1", "2", "3"}) store_.SetRow(key, std::string("v") + key);
  OpenBoth();
  EXPECT_EQ(Get("1"), "v1");
  AwaitTold();
  EXPECT_EQ(GetFromOther("2"), "v2");
  AwaitTold();
  Strings shown;
  for (const auto& value : other_->GetAll(Strings{"1", "2", "3", "4"})) {
    shown.push_back(value.ok() ? *value : "none");
  }
  EXPECT_EQ(shown, (Strings{"v1", "v2", "v3", "none"}));
  EXPECT_EQ(store_.loads(), 4);
  AwaitTold();
  EXPECT_EQ(Get("3"), "v3");
  EXPECT_EQ(store_.loads(), 4);
}

TEST_F(TieredRemoteTest, WhatIsInvalidatedGoesEverywhere) {
  const auto invalidations = std::vector<std::function<absl::Status(Tiered&)>>{
      [](Tiered& tiered) { return tiered.Invalidate("a:k"); },
      [](Tiered& tiered) { return tiered.InvalidatePrefix("a:"); },
      [](Tiered& tiered) { return tiered.Clear(); }};
  OpenBoth();
  for (size_t i = 0; i < invalidations.size(); ++i) {
    store_.SetRow("a:k", "old");
    ASSERT_TRUE(tiered_->Clear().ok());
    AwaitTold();
    EXPECT_EQ(Get("a:k"), "old");
    EXPECT_EQ(GetFromOther("a:k"), "old");
    store_.SetRow("a:k", "new");
    ASSERT_TRUE(invalidations[i](*tiered_).ok());
    EXPECT_EQ(Get("a:k"), "new") << i;
    AwaitTold();
    EXPECT_EQ(GetFromOther("a:k"), "new") << i;
  }
}

TEST_F(TieredRemoteTest, AnExpiredValueIsReturnedWhereTheStoreFails) {
  options_.remote.stale_if_error = absl::Hours(1);
  options_.remote.retry_after = absl::Seconds(2);
  for (const char* key : {"k", "1", "2"}) store_.SetRow(key, "v");
  OpenBoth();
  for (const char* key : {"k", "1", "2"}) EXPECT_EQ(Get(key), "v");
  AwaitTold();
  redis_.Advance(absl::Minutes(11));
  store_.set_script([](Call, const std::string&) { return absl::AbortedError("down"); });
  const auto stale = other_->GetResult("k");
  ASSERT_TRUE(stale.ok()) << stale.status();
  EXPECT_EQ(stale->value, "v");
  EXPECT_EQ(stale->source, LoadSource::kStale);
  EXPECT_EQ(other_->Stats().remote.stale_hits, 1u);
  for (const auto& value : other_->GetAll(Strings{"1", "2"})) EXPECT_EQ(Shown(value), "v");
  EXPECT_EQ(other_->Stats().remote.stale_hits, 3u);
  clock_.Advance(absl::Seconds(2));
  EXPECT_FALSE(other_->memory().Contains("k"));
}

TEST_F(TieredRemoteTest, WhatTheStoreCallsStaleIsNotPassedOnAsFresh) {
  class StaleStore : public ScriptedStore {
    absl::StatusOr<Loaded<std::string>> LoadEntry(const std::string&,
                                                  LoadContext<std::string>&) override {
      return Loaded<std::string>{.value = "v", .from = LoadedFrom::kStale};
    }
  } store;
  options_.store = &store;
  OpenBoth();
  for (Tiered* tiered : {tiered_.get(), other_.get()}) {
    const auto result = tiered->GetResult("k");
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->source, LoadSource::kStale);
  }
  EXPECT_EQ(redis_.Peek("k"), std::nullopt);
  other_.reset();
  End();
}

TEST_F(TieredRemoteTest, AListenerThatThrowsStopsNothing) {
  options_.cache.on_removal = [](const std::string&, const std::string&, RemovalCause cause) {
    if (cause == RemovalCause::kErased) throw std::runtime_error("listener");
  };
  store_.SetRow("k", "old");
  OpenBoth();
  EXPECT_EQ(Get("k"), "old");
  AwaitTold();
  redis_.Remove("k");
  AwaitTold();
  EXPECT_FALSE(tiered_->memory().Contains("k"));
}

TEST_F(TieredRemoteTest, AStoreThatMixesUpItsResultsFillsNothing) {
  class ShortStore : public ScriptedStore {
    std::vector<absl::StatusOr<Loaded<std::string>>> LoadEntries(
        std::span<const std::string>) override {
      return {Loaded<std::string>{.value = "whose?"}};
    }
  } store;
  options_.store = &store;
  OpenBoth();
  for (const auto& value : tiered_->GetAll(Strings{"1", "2"})) {
    EXPECT_EQ(value.status().code(), absl::StatusCode::kInternal);
  }
  EXPECT_EQ(redis_.Peek("1"), std::nullopt);
  other_.reset();
  End();
}

TEST_F(TieredRemoteTest, KeysLikeLardersOwnAreEntriesLikeOthers) {
  OpenBoth();
  ASSERT_TRUE(tiered_->Put("larder.control", "mine").ok());
  AwaitTold();
  EXPECT_EQ(GetFromOther("larder.control"), "mine");
  EXPECT_EQ(other_->Stats().remote.hits, 1u);
  ASSERT_TRUE(tiered_->Invalidate("larder.control").ok());
  store_.SetRow("larder.control", "new");
  ASSERT_TRUE(tiered_->InvalidatePrefix("larder.c").ok());
  AwaitTold();
  EXPECT_EQ(GetFromOther("larder.control"), "new");
  EXPECT_EQ(other_->Stats().remote.generations + tiered_->Stats().remote.generations, 1u);
}

TEST_F(TieredRemoteTest, NothingIsLongerInMemoryThanInTheTier) {
  options_.cache.ttl = absl::Hours(1);
  for (const char* key : {"read", "1", "2"}) store_.SetRow(key, "v");
  OpenBoth();
  EXPECT_EQ(Get("read"), "v");
  (void)tiered_->GetAll(Strings{"1", "2"});
  ASSERT_TRUE(tiered_->Put("put", "v", {.ttl = absl::Hours(2)}).ok());
  AwaitTold();
  clock_.Advance(absl::Minutes(10) - absl::Nanoseconds(1));
  EXPECT_TRUE(tiered_->memory().Contains("read"));
  EXPECT_TRUE(tiered_->memory().Contains("put"));
  EXPECT_TRUE(tiered_->memory().Contains("1"));
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_FALSE(tiered_->memory().Contains("read"));
  EXPECT_FALSE(tiered_->memory().Contains("put"));
  EXPECT_FALSE(tiered_->memory().Contains("1"));
}

TEST_F(TieredRemoteTest, AWriteStaysInTheTierForNoLongerThanItSays) {
  OpenBoth();
  ASSERT_TRUE(tiered_->Put("k", "v", {.ttl = absl::Seconds(5)}).ok());
  EXPECT_NE(redis_.Peek("k"), std::nullopt);
  redis_.Advance(absl::Seconds(5));
  EXPECT_EQ(redis_.Peek("k"), std::nullopt);
}

TEST_F(TieredRemoteTest, WhatIsReadFromTheQueueDoesNotStayForLong) {
  options_.write_policy = WritePolicy::kBehind;
  options_.remote.unverified_ttl = absl::Seconds(5);
  OpenBoth();
  FailWrites(absl::UnavailableError("down"));
  ASSERT_TRUE(tiered_->Put("k", "v").ok());
  ASSERT_TRUE(tiered_->Invalidate("k").ok());
  AwaitTold();
  EXPECT_EQ(Get("k"), "v");
  EXPECT_TRUE(tiered_->memory().Contains("k"));
  clock_.Advance(absl::Seconds(5));
  EXPECT_FALSE(tiered_->memory().Contains("k"));
  store_.set_script({});
  EXPECT_TRUE(tiered_->Flush(absl::Seconds(20)).ok());
}

TEST_F(TieredRemoteTest, AWriteThatAnotherOvertookIsNotKept) {
  OpenBoth();
  tier_.SetGate([&](ModelCall call, std::string_view key) {
    if (call == ModelCall::kSetIfHead && key == "k") {
      EXPECT_TRUE(other_->Put("k", "theirs").ok());
      while (!tier_.Idle()) absl::SleepFor(absl::Microseconds(50));
      tier_.HoldChanges();
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(tiered_->Put("k", "ours").ok());
  EXPECT_FALSE(tiered_->memory().Contains("k"));
  EXPECT_EQ(Get("k"), "theirs");
  tier_.ReleaseChanges();
}

TEST_F(TieredRemoteTest, ALoadThatBeganUnheardIsNotKeptOnceItIsHeard) {
  class HookedStore : public ScriptedStore {
   public:
    std::function<void()> after_load = [] {};

   private:
    absl::StatusOr<std::string> Load(const std::string& key) override {
      auto loaded = ScriptedStore::Load(key);
      std::exchange(after_load, [] {})();
      return loaded;
    }
  } store;
  options_.store = &store;
  options_.cache.stale_if_error = absl::Hours(1);
  store.SetRow("k", "old");
  OpenBoth();
  tier_.CutOff();
  while (tiered_->Stats().remote.health != RemoteHealth::kDown) {
    absl::SleepFor(absl::Microseconds(50));
  }
  store.after_load = [&] {
    EXPECT_TRUE(other_->Put("k", "new").ok());
    tier_.SetReach(ModelTier::Reach::kWhole);
    AwaitTold();
  };
  EXPECT_EQ(Get("k"), "old");  // it was asked for before
  EXPECT_EQ(Get("k"), "new");
  other_.reset();
  End();
}

TEST_F(TieredRemoteTest, AThrowingStoreLeavesNoLease) {
  OpenBoth();
  store_.set_script(
      [](Call, const std::string&) -> absl::Status { throw std::runtime_error("x"); });
  EXPECT_THROW((void)tiered_->Get("k"), std::runtime_error);
  EXPECT_THROW((void)tiered_->GetAll(Strings{"k", "l"}), std::runtime_error);
  EXPECT_EQ(redis_.Peek("k"), std::nullopt);
  EXPECT_EQ(redis_.Peek("l"), std::nullopt);
  EXPECT_THROW((void)tiered_->Put("k", "v"), std::runtime_error);
  EXPECT_EQ(redis_.Peek("k"), std::nullopt);
}

TEST_F(TieredRemoteTest, WithoutTierAndStoreWhatMayBeStaleIsThere) {
  options_.cache.stale_if_error = absl::Hours(1);
  options_.remote.when_cut_off = WhenCutOff::kFlush;
  store_.SetRow("k", "v");
  OpenBoth();
  EXPECT_EQ(Get("k"), "v");
  AwaitTold();
  tier_.CutOff();
  while (tiered_->memory().Contains("k")) absl::SleepFor(absl::Microseconds(50));
  store_.set_script([](Call, const std::string&) { return absl::AbortedError("down"); });
  EXPECT_EQ(Get("k"), "v");
  // That it goes everywhere, goes before that.
  tier_.SetReach(ModelTier::Reach::kWhole);
  AwaitTold();
  ASSERT_TRUE(other_->Clear().ok());
  AwaitTold();
  EXPECT_EQ(tiered_->Get("k").status().code(), absl::StatusCode::kAborted);
}

TEST_F(TieredRemoteTest, WithoutTheTierAllGoesOn) {
  OpenBoth();
  tier_.CutOff();
  ASSERT_TRUE(tiered_->Put("k", "v").ok());
  EXPECT_EQ(Get("k"), "v");
  store_.SetRow("l", "w");
  EXPECT_EQ(Get("l"), "w");
  EXPECT_FALSE(tiered_->InvalidateTag("t").ok());
  EXPECT_EQ(tiered_->Stats().remote.missed_writes, 1u);
  tier_.SetReach(ModelTier::Reach::kWhole);
  AwaitTold();
  EXPECT_EQ(tiered_->Stats().remote.missed_waiting, 0u);
  EXPECT_EQ(GetFromOther("k"), "v");
}

}  // namespace
}  // namespace larder
