// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/remote_cache.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "larder/internal/remote_control.h"
#include "larder/internal/remote_entry.h"
#include "larder/remote_options.h"
#include "tests/support/model_tier.h"
#include "tests/support/remote_cache_fixture.h"
#include "tests/support/remote_server.h"

namespace larder::internal {
namespace {

using test::kNoRow;
using test::ModelCall;
using test::ModelStore;
using test::RemoteServer;
using RemoteCacheTest = test::RemoteCacheFixture;

// --- Reads

TEST_F(RemoteCacheTest, WhatOneServerLoadsAnotherFinds) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"v"});
  EXPECT_EQ(a.Get("k"), "v");
  store_.Write("k", kNoRow);  // behind everybody's back: it isn't asked again
  EXPECT_EQ(b.Get("k"), "v");
  EXPECT_EQ(b.cache().Stats().hits, 1u);
  EXPECT_EQ(a.cache().Stats().fills, 1u);
}

TEST_F(RemoteCacheTest, OwnLoadsAndWritesStayInMemory) {
  RemoteServer& a = Start();
  store_.Write("read", ModelStore::Row{"1"});
  EXPECT_EQ(a.Get("read"), "1");
  a.Put("written", ModelStore::Row{"2"});
  AwaitTold();
  EXPECT_EQ(a.InMemory("read"), "1");
  EXPECT_EQ(a.InMemory("written"), "2");
  EXPECT_GT(a.cache().Stats().own_changes, 0u);
}

TEST_F(RemoteCacheTest, AValueLeavesMemoryNoLaterThanTheTier) {
  RemoteServer& a = Start();
  store_.Write("k", ModelStore::Row{"v"});
  (void)a.Get("k");
  redis_.Advance(absl::Minutes(4));
  RemoteServer& b = Start();
  EXPECT_EQ(b.cache().Read("k", false).remaining(), absl::Minutes(6));
  // A refresh wants a newer one where more than half of its life is over.
  EXPECT_EQ(b.cache().Read("k", true).found(), RemoteRead::Found::kValue);
  redis_.Advance(absl::Minutes(2));
  RemoteRead read = b.cache().Read("k", true);
  EXPECT_EQ(read.found(), RemoteRead::Found::kExpired);
  b.cache().Fill(read, {.payload = "newer"});
  EXPECT_EQ(b.cache().Read("k", true).payload(), "newer");
}

TEST_F(RemoteCacheTest, ThatThereIsNoneTravels) {
  RemoteOptions options = RemoteServer::DefaultOptions();
  options.negative_ttl = absl::Minutes(1);
  RemoteServer& a = Start(options);
  RemoteServer& b = Start(options);
  EXPECT_EQ(a.Get("k"), std::nullopt);
  EXPECT_EQ(b.Get("k"), std::nullopt);
  EXPECT_EQ(b.cache().Stats().negative_hits, 1u);
  b.Put("k", ModelStore::Row{"v"});
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheTest, NothingStaysLongerThanItMay) {
  RemoteOptions options = RemoteServer::DefaultOptions();
  options.negative_ttl = absl::Seconds(5);
  RemoteServer& a = Start(options);
  EXPECT_EQ(a.Get("none"), std::nullopt);
  RemoteRead read = a.cache().Read("short", false);
  a.cache().Fill(read, {.payload = "v", .ttl = absl::Seconds(5)});
  EXPECT_EQ(KindOf("none"), RemoteEntryKind::kNegative);
  EXPECT_EQ(KindOf("short"), RemoteEntryKind::kValue);
  redis_.Advance(absl::Seconds(5));
  EXPECT_EQ(KindOf("none"), std::nullopt);
  EXPECT_EQ(KindOf("short"), std::nullopt);
}

TEST_F(RemoteCacheTest, AnExpiredValueIsThereForAFailingStore) {
  RemoteOptions options = RemoteServer::DefaultOptions();
  options.stale_if_error = absl::Minutes(5);
  options.retry_after = absl::Seconds(3);
  RemoteServer& a = Start(options);
  store_.Write("k", ModelStore::Row{"v", {"t"}});
  (void)a.Get("k");
  redis_.Advance(absl::Minutes(12));
  RemoteRead read = a.cache().Read("k", false);
  EXPECT_EQ(read.found(), RemoteRead::Found::kExpired);
  EXPECT_EQ(read.payload(), "v");
  EXPECT_EQ(read.tags(), std::vector<std::string>{"t"});
  EXPECT_EQ(read.remaining(), options.retry_after);
  a.cache().Abandon(read);
  redis_.Advance(absl::Minutes(3));
  RemoteRead later = a.cache().Read("k", false);
  EXPECT_EQ(later.found(), RemoteRead::Found::kNothing);
  a.cache().Abandon(later);
}

TEST_F(RemoteCacheTest, ManyKeysAreReadInOneCallAndLeasedInAnother) {
  RemoteServer& a = Start();
  store_.Write("1", ModelStore::Row{"one"});
  (void)a.Get("1");
  RemoteServer& b = Start();
  std::vector<RemoteRead> reads = b.cache().ReadMany({"1", "2", "larder.control", "1"});
  EXPECT_EQ(reads[0].found(), RemoteRead::Found::kValue);
  EXPECT_EQ(reads[3].payload(), "one");
  EXPECT_EQ(reads[1].found(), RemoteRead::Found::kNothing);
  EXPECT_EQ(reads[2].found(), RemoteRead::Found::kNothing);
  std::vector<RemoteCache::Filling> fillings = {
      {.read = &reads[1], .as = RemoteCache::LoadedAs::kValue, .value = {.payload = "two"}},
      {.read = &reads[2], .as = RemoteCache::LoadedAs::kValue, .value = {.payload = "no"}}};
  b.cache().FillMany(fillings);
  EXPECT_EQ(a.cache().Read("2", false).payload(), "two");
  EXPECT_EQ(ControlBlock::Decode(*redis_.Peek("larder.control")).status(), absl::OkStatus());
}

TEST_F(RemoteCacheTest, RubbishIsReplacedAndPlainValuesAreTakenWhereAskedFor) {
  redis_.Put("k", "plain", absl::Minutes(2));
  store_.Write("k", ModelStore::Row{"stored"});
  RemoteOptions options = RemoteServer::DefaultOptions();
  options.accept_plain = true;
  RemoteServer& plain = Start(options);
  RemoteRead read = plain.cache().Read("k", false);
  EXPECT_EQ(read.payload(), "plain");
  EXPECT_EQ(read.remaining(), absl::Minutes(2));
  RemoteServer& strict = Start();
  EXPECT_EQ(strict.Get("k"), "stored");
  EXPECT_EQ(strict.cache().Stats().damaged, 1u);
  EXPECT_EQ(plain.Get("k"), "stored");
}

TEST_F(RemoteCacheTest, AFlippedBitIsNoValue) {
  RemoteServer& a = Start();
  store_.Write("k", ModelStore::Row{"value"});
  (void)a.Get("k");
  const std::string good = *redis_.Peek("k");
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] ^= 0x10;
    redis_.Put("k", bad);
    RemoteRead read = a.cache().Read("k", false);
    EXPECT_NE(read.found(), RemoteRead::Found::kValue) << i;
    a.cache().Abandon(read);
  }
}

TEST_F(RemoteCacheTest, ARefreshFillsNothingWhereNothingIs) {
  RemoteServer& a = Start();
  store_.Write("k", ModelStore::Row{"v"});
  EXPECT_EQ(a.Load("k", /*is_refresh=*/true), "v");
  EXPECT_EQ(KindOf("k"), std::nullopt);
}

TEST_F(RemoteCacheTest, ReservedKeysAreLeftAlone) {
  RemoteServer& a = Start();
  const std::string before = *redis_.Peek("larder.control");
  a.Put("larder.control", ModelStore::Row{"mine"});
  EXPECT_EQ(a.Load("larder.control", false), "mine");
  EXPECT_EQ(redis_.Peek("larder.control"), before);
}

TEST_F(RemoteCacheTest, AnAbandonedLoadLeavesNothing) {
  RemoteServer& a = Start();
  RemoteRead read = a.cache().Read("k", false);
  EXPECT_EQ(KindOf("k"), RemoteEntryKind::kLease);
  a.cache().Abandon(read);
  EXPECT_EQ(KindOf("k"), std::nullopt);
}

// --- Invalidation

TEST_F(RemoteCacheTest, ATagGoesFromTheTierAndFromAllServers) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("in", ModelStore::Row{"1", {"t", "u"}});
  store_.Write("out", ModelStore::Row{"1", {"u"}});
  for (const char* key : {"in", "out"}) {
    (void)a.Get(key);
    AwaitTold();
    (void)b.Get(key);
  }
  store_.Write("in", ModelStore::Row{"2", {"t", "u"}});
  ASSERT_TRUE(a.cache().InvalidateTagged("t").ok());
  AwaitTold();
  EXPECT_EQ(b.InMemory("in"), std::nullopt);
  EXPECT_EQ(b.InMemory("out"), "1");
  EXPECT_EQ(b.Get("in"), "2");
  RemoteServer& c = Start();
  EXPECT_EQ(c.Get("in"), "2");
  EXPECT_EQ(c.Get("out"), "1");
  EXPECT_EQ(c.cache().Stats().hits, 2u);
}

TEST_F(RemoteCacheTest, AnEvictedTagRecordMakesEntriesInvalidNotValid) {
  RemoteServer& a = Start();
  store_.Write("k", ModelStore::Row{"1", {"t"}});
  (void)a.Get("k");
  ASSERT_TRUE(a.cache().InvalidateTagged("t").ok());
  redis_.Remove(TagKey("t"));
  AwaitTold();
  RemoteRead read = a.cache().Read("k", false);
  EXPECT_EQ(read.found(), RemoteRead::Found::kNothing);
  a.cache().Abandon(read);
}

TEST_F(RemoteCacheTest, ALateInvalidationOfATagUndoesNoneThatCameAfterIt) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  RemoteServer& c = Start();
  store_.Write("k", ModelStore::Row{"old", {"t"}});
  bool is_late = false;
  a.tier().SetGate([&](ModelCall call, std::string_view key) {
    if (key == TagKey("t") && call == ModelCall::kGet && !is_late) {
      is_late = true;
      (void)c.Get("k");
      store_.Write("k", ModelStore::Row{"new", {"t"}});
      EXPECT_TRUE(b.cache().InvalidateTagged("t").ok());
    }
    return absl::OkStatus();
  });
  ASSERT_TRUE(a.cache().InvalidateTagged("t").ok());
  EXPECT_TRUE(is_late);
  a.tier().SetGate([](ModelCall, std::string_view) { return absl::OkStatus(); });
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheTest, ALoadThatATagsInvalidationOvertookIsNotFilled) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old", {"t"}});
  (void)a.Get("k", {.after_store = [&] {
                store_.Write("k", ModelStore::Row{"new", {"t"}});
                ASSERT_TRUE(b.cache().InvalidateTagged("t").ok());
              }});
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheTest, AnotherServersInvalidationOfATagIsHeardAfterAnOwnOne) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old", {"t"}});
  ASSERT_TRUE(a.cache().InvalidateTagged("t").ok());
  (void)a.Get("k");
  AwaitTold();
  store_.Write("k", ModelStore::Row{"new", {"t"}});
  ASSERT_TRUE(b.cache().InvalidateTagged("t").ok());
  ExpectAgreement({"k"});
}

TEST_F(RemoteCacheTest, ATagThatIsInvalidatedWhileItIsReadIsReadAgain) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"old", {"t", "u"}});
  (void)a.Get("k");
  AwaitTold();
  bool is_read = false;
  b.tier().SetGate([&](ModelCall call, std::string_view key) {
    if (call == ModelCall::kGet && key == TagKey("u") && !is_read) {
      is_read = true;  // as was "t", before it
      store_.Write("k", ModelStore::Row{"new", {"t", "u"}});
      EXPECT_TRUE(a.cache().InvalidateTagged("t").ok());
      b.AwaitTold();
    }
    return absl::OkStatus();
  });
  (void)b.Get("k");
  EXPECT_TRUE(is_read);
  EXPECT_EQ(b.Load("k", false), "new");
}

TEST_F(RemoteCacheTest, ALoadThatAPrefixsInvalidationOvertookDoesNotCount) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("user:1", ModelStore::Row{"old"});
  (void)a.Get("user:1", {.after_store = [&] {
                store_.Write("user:1", ModelStore::Row{"new"});
                ASSERT_TRUE(b.cache().InvalidatePrefixed("user:").ok());
                a.AwaitTold();
              }});
  ExpectAgreement({"user:1"});
}

TEST_F(RemoteCacheTest, APrefixGoesFromTheTierAndFromAllServers) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  for (const char* key : {"user:1", "post:1"}) {
    store_.Write(key, ModelStore::Row{"1"});
    (void)a.Get(key);
    AwaitTold();  // of the fill: b would drop what it got before that
    (void)b.Get(key);
  }
  store_.Write("user:1", ModelStore::Row{"2"});
  ASSERT_TRUE(a.cache().InvalidatePrefixed("user:").ok());
  AwaitTold();
  EXPECT_EQ(b.InMemory("user:1"), std::nullopt);
  EXPECT_EQ(b.InMemory("post:1"), "1");
  EXPECT_EQ(b.Get("user:1"), "2");
}

TEST_F(RemoteCacheTest, EverythingGoes) {
  RemoteServer& a = Start();
  RemoteServer& b = Start();
  store_.Write("k", ModelStore::Row{"1"});
  (void)a.Get("k");
  (void)b.Get("k");
  store_.Write("k", ModelStore::Row{"2"});
  ASSERT_TRUE(a.cache().InvalidateAll().ok());
  AwaitTold();
  EXPECT_EQ(b.Get("k"), "2");
}

}  // namespace
}  // namespace larder::internal
