// SPDX-License-Identifier: Apache-2.0
// Reads, the policies that write to the store at once, and warm restarts.

#include "larder/tiered_cache.h"

#include <future>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/thread_pool.h"
#include "tests/support/detached.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/tiered_fixture.h"

namespace larder::test {
namespace {

using std::string_literals::operator""s;

class TieredCacheTest : public TieredFixture {
 protected:
  std::string CreateError() { return Tiered::Create(options_).status().ToString(); }
};

// What both policies have in common.
class WriteFirst : public TieredFixture, public ::testing::WithParamInterface<WritePolicy> {
 protected:
  WriteFirst() { options_.write_policy = GetParam(); }
};

INSTANTIATE_TEST_SUITE_P(Policies, WriteFirst,
                         ::testing::Values(WritePolicy::kThrough, WritePolicy::kAround),
                         [](const auto& info) {
                           return info.param == WritePolicy::kThrough ? "Through" : "Around";
                         });

TEST_F(TieredCacheTest, OptionsThatAreWrongAreNamed) {
  options_.store = nullptr;
  EXPECT_EQ(CreateError(), "INVALID_ARGUMENT: store must be set, is nullptr");
  options_.store = &store_;
  options_.cache.capacity = 0;
  EXPECT_EQ(CreateError(), "INVALID_ARGUMENT: capacity must be positive, is 0");
}

TEST_F(TieredCacheTest, AGetLoadsOnceAndThenReadsMemory) {
  store_.SetRow("a", "1");
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(Shown(tiered().Get("a"s)), "1");
  EXPECT_EQ(store_.loads(), 1);
  const auto result = tiered().GetResult("a");
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->source, LoadSource::kMemory);
}

TEST_F(TieredCacheTest, AKeyThatTheStoreHasNotIsNotFoundAndRememberedIfOptionsSaySo) {
  options_.cache.negative_ttl = absl::Seconds(1);
  EXPECT_TRUE(absl::IsNotFound(tiered().Get("a").status()));
  EXPECT_TRUE(absl::IsNotFound(tiered().Get("a").status()));
  EXPECT_EQ(store_.loads(), 1);
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(TieredCacheTest, TheStoresErrorsReachTheReaderOrItsStaleValueDoes) {
  options_.cache.ttl = absl::Seconds(10);
  options_.cache.stale_if_error = absl::Seconds(10);
  store_.SetRow("a", "1");
  EXPECT_EQ(Get("a"), "1");
  store_.set_script([](Call, const std::string&) { return absl::UnavailableError("down"); });
  EXPECT_EQ(tiered().Get("b").status(), absl::UnavailableError("down"));
  clock_.Advance(absl::Seconds(11));
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(TieredCacheTest, WhatGetAllHasNotInMemoryComesWithOneCall) {
  class BulkStore : public ScriptedStore {
   public:
    std::vector<absl::StatusOr<std::string>> LoadMany(std::span<const std::string> keys) override {
      calls.emplace_back(keys.begin(), keys.end());
      return ScriptedStore::LoadMany(keys);
    }
    std::vector<std::vector<std::string>> calls;
  } store;
  options_.store = &store;
  store.SetRow("a", "1");
  store.SetRow("c", "3");
  EXPECT_EQ(Get("a"), "1");
  const auto values = tiered().GetAll(std::vector<std::string>{"a", "b", "c"});
  ASSERT_EQ(values.size(), 3u);
  EXPECT_EQ(Shown(values[0]), "1");
  EXPECT_TRUE(absl::IsNotFound(values[1].status()));
  EXPECT_EQ(Shown(values[2]), "3");
  EXPECT_EQ(store.calls, (std::vector<std::vector<std::string>>{{"b", "c"}}));
}

TEST_F(TieredCacheTest, AStoreThatReturnsTooFewResultsFailsTheirLoads) {
  class ShortStore : public ScriptedStore {
   public:
    std::vector<absl::StatusOr<std::string>> LoadMany(std::span<const std::string>) override {
      return {};
    }
  } store;
  options_.store = &store;
  const auto values = tiered().GetAll(std::vector<std::string>{"a"});
  EXPECT_EQ(values[0].status(), absl::InternalError("the store returned 0 results for 1 keys"));
}

TEST_P(WriteFirst, APutReachesTheStoreAndIsReadBack) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), "1"s);
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(store_.loads(), GetParam() == WritePolicy::kThrough ? 0 : 1);
}

TEST_P(WriteFirst, AnEraseReachesTheStoreAndTheCache) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(tiered().Erase(std::string_view("a")), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), std::nullopt);
  EXPECT_TRUE(absl::IsNotFound(tiered().Get("a").status()));
  // There is nothing to erase: the store's NotFound is no failure.
  EXPECT_EQ(tiered().Erase("a"s), absl::OkStatus());
}

TEST_P(WriteFirst, AFailedWriteLeavesTheCacheAsItWas) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(Get("a"), "1");
  FailWrites(absl::UnavailableError("down"));
  EXPECT_EQ(tiered().Put("a", "2"), absl::UnavailableError("down"));
  EXPECT_EQ(tiered().memory().Get("a"), "1"s);
  EXPECT_EQ(tiered().Erase("a"), absl::UnavailableError("down"));
  EXPECT_EQ(tiered().memory().Get("a"), "1"s);
  EXPECT_EQ(tiered().Put("b", "1"), absl::UnavailableError("down"));
  EXPECT_FALSE(tiered().memory().Contains("b"));
}

TEST_P(WriteFirst, WhatTheStoreThrowsReachesTheWriterAndLeavesTheCacheAsItWas) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(Get("a"), "1");
  store_.set_script(
      [](Call, const std::string&) -> absl::Status { throw std::runtime_error("bug"); });
  EXPECT_THROW(tiered().Put("a", "2").IgnoreError(), std::runtime_error);
  EXPECT_EQ(tiered().memory().Get("a"), "1"s);
  // The key isn't locked for ever.
  store_.set_script(nullptr);
  EXPECT_EQ(tiered().Put("a", "3"), absl::OkStatus());
  EXPECT_EQ(Get("a"), "3");
}

TEST_P(WriteFirst, WithWrongOptionsNothingIsWritten) {
  const absl::Status status = tiered().Put("a", "1", {.ttl = absl::ZeroDuration()});
  EXPECT_EQ(status, absl::InvalidArgumentError("ttl must be positive, is 0"));
  EXPECT_EQ(store_.Row("a"), std::nullopt);
}

TEST_P(WriteFirst, ALoadThatBeganBeforeAWriteIsNotStoredAfterIt) {
  store_.SetRow("a", "old");
  bool first = true;
  store_.set_script([&](Call call, const std::string&) {
    if (call != Call::kLoad || !first) return absl::OkStatus();
    first = false;
    EXPECT_EQ(tiered().Put("a", "new"), absl::OkStatus());
    store_.SetRow("a", "old");  // as a load would read it that was quicker than the write
    return absl::OkStatus();
  });
  EXPECT_EQ(Get("a"), "old");
  store_.SetRow("a", "new");
  EXPECT_EQ(Get("a"), "new");
}

TEST_P(WriteFirst, AValueTooHeavyForTheCacheIsWrittenAndReadFromTheStore) {
  options_.cache.weigher = [](const std::string&, const std::string& value) {
    return value.size();
  };
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  const std::string heavy(1000, 'x');
  EXPECT_EQ(tiered().Put("a", heavy), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), heavy);
  // Above all, not the value before it.
  EXPECT_EQ(Get("a"), heavy);
}

TEST_P(WriteFirst, AStoreThatWritesTheKeyItIsWritingIsToldSo) {
  absl::Status nested;
  bool first = true;
  store_.set_script([&](Call, const std::string&) {
    if (!first) return absl::OkStatus();
    first = false;
    nested = tiered().Put("a", "2");
    return absl::OkStatus();
  });
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(nested)) << nested;
  EXPECT_EQ(Get("a"), "1");
}

TEST_P(WriteFirst, WritesAreNumberedInTheirOrder) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Erase("a"), absl::OkStatus());
  EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
  const auto writes = store_.writes();
  ASSERT_EQ(writes.size(), 3u);
  for (size_t i = 0; i < writes.size(); ++i) {
    EXPECT_EQ(writes[i].id.writer, writes[0].id.writer);
    EXPECT_EQ(writes[i].id.sequence, i + 1);
  }
}

TEST_P(WriteFirst, PutOptionsAreThoseOfTheEntry) {
  if (GetParam() == WritePolicy::kAround) return;  // there is none
  EXPECT_EQ(tiered().Put("a", "1", {.ttl = absl::Seconds(1), .tags = {"t"}}), absl::OkStatus());
  EXPECT_EQ(tiered().Put("b", "1", {.tags = {"t"}}), absl::OkStatus());
  clock_.Advance(absl::Seconds(2));
  EXPECT_FALSE(tiered().memory().Contains("a"));
  tiered().memory().InvalidateTag("t");
  EXPECT_FALSE(tiered().memory().Contains("b"));
  EXPECT_EQ(Get("b"), "1");
}

TEST_P(WriteFirst, ThereIsNothingToFlushAndNothingIsWrittenAfterClose) {
  EXPECT_EQ(tiered().Flush(absl::ZeroDuration()), absl::OkStatus());
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Close(absl::ZeroDuration()), absl::OkStatus());
  EXPECT_EQ(tiered().Put("a", "2"), absl::FailedPreconditionError("the cache is closed"));
  EXPECT_EQ(tiered().Erase("a"), absl::FailedPreconditionError("the cache is closed"));
  EXPECT_EQ(Get("a"), "1");
}

TEST_P(WriteFirst, AStoreThatClosesTheCacheIsToldThatItCanNot) {
  absl::Status closed;
  store_.set_script([&](Call, const std::string&) {
    closed = tiered().Close(absl::InfiniteDuration());
    return absl::OkStatus();
  });
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_TRUE(absl::IsFailedPrecondition(closed)) << closed;
  store_.set_script(nullptr);
  EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
}

TEST_F(TieredCacheTest, GetAsyncAnswersFromMemoryAndFromTheStore) {
  const std::unique_ptr<ThreadPool> pool = ThreadPool::Create({}).value();
  options_.cache.executor = pool.get();
  store_.SetRow("a", "1");
  for (int i = 0; i < 2; ++i) {
    std::promise<absl::StatusOr<std::string>> promise;
    tiered().GetAsync("a", [&](absl::StatusOr<std::string> value) { promise.set_value(value); });
    EXPECT_EQ(Shown(promise.get_future().get()), "1");
  }
  EXPECT_EQ(store_.loads(), 1);
  End();
}

TEST_F(TieredCacheTest, ACoroutineAwaitsMemoryOrTheStore) {
  const std::unique_ptr<ThreadPool> pool = ThreadPool::Create({}).value();
  options_.cache.executor = pool.get();
  store_.SetRow("a", "1");
  for (int i = 0; i < 2; ++i) {
    std::promise<std::string> promise;
    [](Tiered& tiered, std::promise<std::string>& promise) -> Detached {
      promise.set_value(Shown(co_await tiered.GetAwait("a")));
    }(tiered(), promise);
    EXPECT_EQ(promise.get_future().get(), "1");
  }
  EXPECT_EQ(store_.loads(), 1);
  End();
}

class TieredSnapshot : public TieredFixture {
 protected:
  TieredSnapshot() {
    options_.snapshot_path = "cache.snapshot";
    options_.snapshot_options.file_system = &files_;
    options_.snapshot_options.now = [this] { return now_; };
    options_.write_behind.file_system = &files_;
    options_.write_behind.close_timeout = absl::ZeroDuration();
  }
  ~TieredSnapshot() override { End(); }

  FaultyFileSystem files_;
  absl::Time now_ = absl::FromUnixSeconds(1'800'000'000);
};

TEST_F(TieredSnapshot, ACacheBeginsWithWhatTheOneBeforeItHad) {
  EXPECT_TRUE(absl::IsNotFound(tiered().LoadedSnapshot().status()));
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  End();
  ASSERT_TRUE(tiered().LoadedSnapshot().ok()) << tiered().LoadedSnapshot().status();
  EXPECT_EQ(tiered().LoadedSnapshot()->entries, 1u);
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(store_.loads(), 0);
}

TEST_F(TieredSnapshot, OneThatWasLoadedIsGoneSoThatACrashBringsNothingOldBack) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  End();
  tiered();
  EXPECT_TRUE(files_.Files().empty());
  ASSERT_TRUE(tiered().SaveSnapshot().ok());
  EXPECT_EQ(files_.Files().size(), 1u);
}

TEST_F(TieredSnapshot, QueuedWritesGoBeforeIt) {
  options_.write_policy = WritePolicy::kBehind;
  options_.write_behind.durability = Durability::kJournal;
  options_.write_behind.journal_directory = "journal";
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Flush(absl::Minutes(5)), absl::OkStatus());
  ASSERT_TRUE(tiered().SaveSnapshot().ok());
  const std::string older = files_.Files().at("cache.snapshot");
  EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
  FailWrites(absl::UnavailableError("down"));
  End();
  files_.SetFile("cache.snapshot", older);  // as if the process had crashed
  EXPECT_EQ(Get("a"), "2");
  EXPECT_EQ(tiered().LoadedSnapshot()->refused, 1u);
}

TEST_F(TieredSnapshot, WhatTheStoreHasNotYetIsLeftOut) {
  options_.write_policy = WritePolicy::kBehind;
  store_.SetRow("a", "stored");
  EXPECT_EQ(tiered().Put("a", "queued"), absl::OkStatus());
  EXPECT_EQ(tiered().SaveSnapshot()->entries, 0u);
  const std::string snapshot = files_.Files().at("cache.snapshot");
  FailWrites(absl::UnavailableError("down"));
  options_.on_dead_letter = [](const auto&) {};
  End();
  files_.SetFile("cache.snapshot", snapshot);  // as if the process had crashed
  EXPECT_EQ(Get("a"), "stored");
}

TEST_F(TieredSnapshot, OneThatCanNotBeRemovedIsNotUsed) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  End();
  files_.FailAll(FileCall::kRemove, FaultyFileSystem::IoError());
  EXPECT_FALSE(tiered().LoadedSnapshot().ok());
  EXPECT_EQ(tiered().memory().size(), 0u);
  EXPECT_EQ(tiered().Stats().snapshots.saved, 0u);
  files_.Heal();
}

TEST_F(TieredSnapshot, IsSavedAgainAndAgainWithoutBeingAsked) {
  options_.snapshot_interval = absl::Milliseconds(1);
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  while (tiered().Stats().snapshots.saved < 3) std::this_thread::yield();
  EXPECT_EQ(files_.Files().count("cache.snapshot"), 1u);
  files_.FailAll(FileCall::kCreate, FaultyFileSystem::NoSpace());
  while (tiered().Stats().snapshots.failed == 0) std::this_thread::yield();
  EXPECT_TRUE(absl::IsResourceExhausted(tiered().Stats().last_snapshot));
}

TEST_F(TieredSnapshot, ADamagedOrOldOneLeavesTheCacheCold) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  End();
  const std::string intact = files_.Files().at("cache.snapshot");
  std::string damaged = intact;
  damaged[damaged.size() / 2] ^= 1;
  files_.SetFile("cache.snapshot", damaged);
  EXPECT_TRUE(absl::IsDataLoss(tiered().LoadedSnapshot().status()))
      << tiered().LoadedSnapshot().status();
  EXPECT_EQ(tiered().memory().size(), 0u);
  EXPECT_EQ(Get("a"), "1");
  End();

  options_.snapshot_max_age = absl::Minutes(5);
  now_ += absl::Minutes(6);
  EXPECT_TRUE(absl::IsFailedPrecondition(tiered().LoadedSnapshot().status()));
  EXPECT_FALSE(tiered().memory().Contains("a"));
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(TieredSnapshot, OptionsThatAreWrongAreNamed) {
  options_.snapshot_interval = absl::ZeroDuration();
  EXPECT_EQ(Tiered::Create(options_).status(),
            absl::InvalidArgumentError("snapshot_interval must be positive, is 0"));
  options_.snapshot_interval = absl::InfiniteDuration();
  options_.snapshot_max_age = -absl::Seconds(1);
  EXPECT_EQ(Tiered::Create(options_).status(),
            absl::InvalidArgumentError("snapshot_max_age must be positive, is -1s"));
}

}  // namespace
}  // namespace larder::test
