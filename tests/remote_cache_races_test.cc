// SPDX-License-Identifier: Apache-2.0
//
// RemoteCache where others change a key at the same time, and where the tier is away, or not what
// it was.

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "larder/internal/remote_cache.h"
#include "larder/internal/remote_control.h"
#include "larder/internal/remote_entry.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "tests/support/model_tier.h"
#include "tests/support/remote_cache_fixture.h"
#include "tests/support/remote_server.h"

namespace larder::internal {
namespace {

using test::kNoRow;
using test::ModelCall;
using test::ModelServer;
using test::ModelStore;
using test::ModelTier;
using test::RemoteServer;
using RemoteCacheRacesTest = test::RemoteCacheFixture;

// --- Races

TEST_F(RemoteCacheRacesTest, AForeignWriteIsDroppedEverywhere) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old"});
  (void)a.Get("k");
  (void)b.Get("k");
  a.Put("k", ModelStore::Row{"new"});
  AwaitTold();
  EXPECT_EQ(a.InMemory("k"), "new");
  EXPECT_EQ(b.InMemory("k"), std::nullopt);
  EXPECT_EQ(b.Get("k"), "new");
  EXPECT_EQ(b.cache().Stats().hits, 2u);
  a.Put("k", kNoRow);
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, AnotherProgramsChangeIsNoticed) {
  RemoteServer& a = Start();
  store_.Write("k", ModelStore::Row{"v"});
  (void)a.Get("k");
  redis_.Remove("k");
  AwaitTold();
  EXPECT_EQ(a.InMemory("k"), std::nullopt);
}

TEST_F(RemoteCacheRacesTest, AFillThatAWriteOvertookIsRefusedAndNotKept) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old"});
  a.tier().HoldChanges();  // that it is refused says enough
  const auto got = a.Get("k", {.after_store = [&] { b.Put("k", ModelStore::Row{"new"}); }});
  EXPECT_EQ(got, "old");  // it was asked for before
  EXPECT_EQ(a.InMemory("k"), std::nullopt);
  a.tier().ReleaseChanges();
  EXPECT_EQ(a.cache().Stats().fills_refused, 1u);
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, AWriteBetweenAFillAndMemoryIsNoticed) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old"});
  (void)a.Get("k", {.before_memory = [&] {
                b.Put("k", ModelStore::Row{"new"});
                a.AwaitTold();
              }});
  EXPECT_EQ(a.InMemory("k"), std::nullopt);
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, AForeignWriteAfterAnOwnOneIsNoticedWhereverItComes) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  const auto foreign = [&] { b.Put("k", ModelStore::Row{"theirs"}); };
  const auto foreign_told = [&] {
    foreign();
    a.AwaitTold();
  };
  a.Put("k", ModelStore::Row{"1"}, {.before_store = foreign});
  ExpectAgreement({"k"});
  a.Put("k", ModelStore::Row{"2"}, {.after_store = foreign});
  ExpectAgreement({"k"});
  a.Put("k", ModelStore::Row{"3"}, {.before_memory = foreign});
  ExpectAgreement({"k"});
  a.Put("k", ModelStore::Row{"4"}, {.before_memory = foreign_told});
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, WordThatIsHeldBackIsHeededWhenItComes) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old"});
  a.tier().HoldChanges();
  b.Put("k", ModelStore::Row{"1"});
  a.Put("k", ModelStore::Row{"2"});
  b.Put("k", ModelStore::Row{"3"});
  a.tier().ReleaseChanges();
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, AWriterThatDiesLeavesNoOldValueBehind) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old"});
  (void)b.Get("k");
  auto writes = a.cache().BeginWrites({"k"}, /*is_in_memory=*/false);
  store_.Write("k", ModelStore::Row{"new"});  // and it dies
  AwaitTold();
  EXPECT_EQ(b.InMemory("k"), std::nullopt);
  EXPECT_EQ(b.Get("k"), "new");
  EXPECT_EQ(KindOf("k"), RemoteEntryKind::kIntent);
  redis_.Advance(RemoteServer::DefaultOptions().write_lease);
  ExpectAgreement({"k"});
  EXPECT_EQ(KindOf("k"), RemoteEntryKind::kValue);
}

TEST_F(RemoteCacheRacesTest, AWriterThatDiesLeavesNoValueOfAnotherThatWroteMeanwhile) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  auto writes = a.cache().BeginWrites({"k"}, /*is_in_memory=*/false);
  b.Put("k", ModelStore::Row{"older"});
  store_.Write("k", ModelStore::Row{"newer"});  // and it dies
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, ALoaderThatDiesHoldsUpNobodyForLong) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"v"});
  RemoteRead read = a.cache().Read("k", false);  // and it dies
  EXPECT_EQ(b.Load("k", false), "v");
  EXPECT_EQ(KindOf("k"), RemoteEntryKind::kLease);
  redis_.Advance(RemoteServer::DefaultOptions().load_lease);
  EXPECT_EQ(b.Load("k", false), "v");
  EXPECT_EQ(KindOf("k"), RemoteEntryKind::kValue);
}

TEST_F(RemoteCacheRacesTest, OfTwoWritesAtOnceNeitherIsKeptInTheTier) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  a.Put("k", ModelStore::Row{"1"}, {.before_store = [&] { b.Put("k", ModelStore::Row{"2"}); }});
  AwaitTold();
  EXPECT_EQ(KindOf("k"), std::nullopt);
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, AForeignWriteUnderAnOwnOneIsNotHiddenByIt) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"1"});
  (void)a.Get("k");
  AwaitTold();
  a.tier().HoldChanges();
  b.Put("k", ModelStore::Row{"2"});
  a.Put("k", ModelStore::Row{"3"}, {.before_store = [&] { EXPECT_NE(a.InMemory("k"), "1"); }});
  a.tier().ReleaseChanges();
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, OneLoadsWhileAnotherWaitsWhereAskedFor) {
  RemoteServer& a = Start();
  RemoteOptions options = RemoteServer::DefaultOptions();
  options.wait_for_other_loads = absl::Seconds(20);
  RemoteServer& b = Start(options);
  RemoteRead loading = a.cache().Read("k", false);
  // Released by the second look.
  b.tier().SetGate([&](ModelCall call, std::string_view) {
    if (call == ModelCall::kGet && b.cache().Stats().waits_for_loads == 1) {
      a.cache().Fill(loading, {.payload = "loaded"});
    }
    return absl::OkStatus();
  });
  RemoteRead waited = b.cache().Read("k", false);
  EXPECT_EQ(waited.payload(), "loaded");
  b.tier().SetGate([](ModelCall, std::string_view) { return absl::OkStatus(); });
}

// --- Trouble

TEST_F(RemoteCacheRacesTest, WhatWasWrittenWhileTheTierWasAwayIsNeverServedOld) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old"});
  (void)a.Get("k");
  (void)b.Get("k");
  a.tier().CutOff();
  b.tier().CutOff();
  a.Put("k", ModelStore::Row{"new"});
  EXPECT_EQ(a.cache().Stats().missed_waiting, 1u);
  EXPECT_EQ(a.Get("k"), "new");
  a.tier().SetReach(ModelTier::Reach::kWhole);
  a.AwaitUp();
  b.tier().SetReach(ModelTier::Reach::kWhole);
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, AForeignWriteThatNobodyHeardOfOutdatesAnOwnOneUnderWay) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  a.Put("k", ModelStore::Row{"1"}, {.before_memory = [&] {
          a.tier().CutOff();
          b.Put("k", ModelStore::Row{"2"});
          a.tier().SetReach(ModelTier::Reach::kWhole);
          a.AwaitConnects(2);
        }});
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, ATagThatWasInvalidatedUnheardIsReadAgain) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old", {"t"}});
  (void)a.Get("k");
  AwaitTold();
  (void)a.Load("k", false);  // now it knows the tag's record
  a.tier().CutOff();
  store_.Write("k", ModelStore::Row{"new", {"t"}});
  ASSERT_TRUE(b.cache().InvalidateTagged("t").ok());
  a.tier().SetReach(ModelTier::Reach::kWhole);
  a.AwaitConnects(2);
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, WhatIsReadWhileTrustIsLostIsNotUsed) {
  RemoteServer& a = Start();
  for (const bool many : {false, true}) {
    RemoteOptions options = RemoteServer::DefaultOptions();
    options.settle_time = absl::Hours(1);
    RemoteServer b(&redis_, &store_, options);
    b.AwaitUp();
    a.Put("k", ModelStore::Row{"v"});
    b.tier().SetGate([&](ModelCall call, std::string_view key) {
      if (call != ModelCall::kGet || key != "k") return absl::OkStatus();
      b.tier().LoseSubscriptions();
      while (b.cache().health() == RemoteHealth::kUp) absl::SleepFor(absl::Microseconds(50));
      return absl::OkStatus();
    });
    RemoteRead read = many ? std::move(b.cache().ReadMany({"k"})[0]) : b.cache().Read("k", false);
    EXPECT_EQ(read.found(), RemoteRead::Found::kNothing);
    EXPECT_EQ(b.cache().Stats().bypassed, 1u);
  }
}

TEST_F(RemoteCacheRacesTest, WhatIsChangedWhileTheSubscriptionIsLostCountsAsMissed) {
  RemoteServer& a = Start();
  uint64_t connects = 1;
  std::atomic<bool> loses = false;
  a.tier().SetGate([&](ModelCall call, std::string_view key) {
    const bool is_last = key == "k"
                             ? call == ModelCall::kSetIfHead || call == ModelCall::kInvalidate
                             : key == TagKey("t") && call == ModelCall::kSetIfAbsent;
    if (is_last && loses.exchange(false)) {
      a.tier().LoseSubscriptions();
      a.AwaitConnects(++connects);
    }
    return absl::OkStatus();
  });
  loses = true;
  a.Put("k", ModelStore::Row{"v"});
  EXPECT_EQ(a.cache().Stats().missed_writes, 1u);
  AwaitTold();
  loses = true;
  EXPECT_FALSE(a.cache().InvalidateKeys(std::vector<std::string>{"k"}).ok());
  EXPECT_EQ(a.cache().Stats().missed_writes, 2u);
  AwaitTold();
  loses = true;
  EXPECT_FALSE(a.cache().InvalidateTagged("t").ok());
  AwaitTold();
  EXPECT_EQ(connects, 4u);
}

TEST_F(RemoteCacheRacesTest, ATagThatCannotBeWrittenTakesAllWithIt) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old", {"t"}});
  (void)b.Get("k");
  AwaitTold();
  a.tier().SetGate([](ModelCall call, std::string_view key) {
    const bool fails = call == ModelCall::kSetIfHead && key == TagKey("t");
    return fails ? absl::ResourceExhaustedError("full") : absl::OkStatus();
  });
  store_.Write("k", ModelStore::Row{"new", {"t"}});
  EXPECT_FALSE(a.cache().InvalidateTagged("t").ok());
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, AKeyThatCouldNotBeRemovedIsNotRead) {
  RemoteServer& a = Start();
  store_.Write("k", ModelStore::Row{"old"});
  (void)a.Get("k");
  AwaitTold();
  a.tier().SetGate([](ModelCall call, std::string_view) {
    const bool fails = call == ModelCall::kInvalidate;
    return fails ? absl::FailedPreconditionError("read-only") : absl::OkStatus();
  });
  store_.Write("k", ModelStore::Row{"new"});
  EXPECT_FALSE(a.cache().InvalidateKeys(std::vector<std::string>{"k"}).ok());
  EXPECT_EQ(a.cache().health(), RemoteHealth::kUp);
  EXPECT_EQ(a.Load("k", false), "new");
  a.tier().SetGate([](ModelCall, std::string_view) { return absl::OkStatus(); });
}

TEST_F(RemoteCacheRacesTest, WhereCallsWereGivenUpNoOperationTriesOne) {
  RemoteOptions options = RemoteServer::DefaultOptions();
  options.failures_to_open = 1;
  options.first_probe = options.last_probe = absl::Hours(1);
  RemoteServer& a = Start(options);
  store_.Write("k", ModelStore::Row{"v"});
  (void)a.Get("k");
  RemoteRead read = a.cache().Read("other", false);
  AwaitTold();
  a.tier().SetReach(ModelTier::Reach::kUnreachable);
  EXPECT_FALSE(a.cache().InvalidateKeys(std::vector<std::string>{"x"}).ok());
  const size_t returns = a.tier().calls(ModelCall::kEraseIfHead);
  const size_t checks = a.tier().calls(ModelCall::kGetHeads);
  a.cache().Abandon(read);
  redis_.Put("k", "foreign");
  while (a.InMemory("k").has_value()) absl::SleepFor(absl::Microseconds(50));
  EXPECT_EQ(a.tier().calls(ModelCall::kEraseIfHead), returns);
  EXPECT_EQ(a.tier().calls(ModelCall::kGetHeads), checks);
  a.tier().SetReach(ModelTier::Reach::kWhole);
}

TEST_F(RemoteCacheRacesTest, AnOlderStateOfTheTierIsNotTrusted) {
  RemoteServer& a = Start();
  store_.Write("k", ModelStore::Row{"old"});
  (void)a.Get("k");
  const ModelServer::Data dump = redis_.Save();
  a.Put("k", ModelStore::Row{"new"});
  redis_.Restart(dump);
  ExpectAgreement({"k"});
  redis_.Flush();
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheRacesTest, AnOperationWaitsForAtMostOneCall) {
  RemoteServer& a = Start();
  store_.Write("k", ModelStore::Row{"v", {"t"}});
  size_t failed = 0;  // of the operation's calls, not of those that make up for it
  const auto fail_from = [&](size_t nth) {
    const auto operation = std::this_thread::get_id();
    a.tier().SetGate([&, nth, operation, first = a.tier().calls()](ModelCall, std::string_view) {
      if (a.tier().calls() - first < nth) return absl::OkStatus();
      if (std::this_thread::get_id() == operation) ++failed;
      return absl::UnavailableError("gone");
    });
  };
  for (size_t nth = 0; nth < 6; ++nth) {
    SCOPED_TRACE(nth);
    AwaitTold();
    redis_.Remove("k");
    redis_.Remove(TagKey("t"));
    AwaitTold();
    failed = 0;
    a.tier().HoldChanges();  // they would be checked
    fail_from(nth);
    EXPECT_EQ(a.Load("k", false), "v");
    EXPECT_LE(failed, 1u);
    a.Put("other", ModelStore::Row{"v", {"t"}});
    EXPECT_LE(failed, 2u);
    a.tier().SetGate([](ModelCall, std::string_view) { return absl::OkStatus(); });
    a.tier().ReleaseChanges();
  }
}

}  // namespace
}  // namespace larder::internal
