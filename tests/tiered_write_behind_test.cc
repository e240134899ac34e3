// SPDX-License-Identifier: Apache-2.0
// WritePolicy::kBehind, as its users see it: on a clock that stands still, so that nothing is
// written until a test says so.

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/dead_letter.h"
#include "larder/tiered_cache.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/tiered_write_behind_fixture.h"

namespace larder::test {
namespace {

using std::string_literals::operator""s;

using TieredWriteBehind = TieredWriteBehindFixture;

TEST_F(TieredWriteBehind, AWriteIsReadBeforeTheStoreHasIt) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(store_.Row("a"), std::nullopt);
  EXPECT_EQ(tiered().Stats().write_behind.queued, 1u);
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), "1"s);
  EXPECT_EQ(tiered().Stats().write_behind.queued, 0u);
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(store_.loads(), 0);
}

TEST_F(TieredWriteBehind, AnErasureIsReadBeforeTheStoreHasIt) {
  store_.SetRow("a", "1");
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(tiered().Erase("a"), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(tiered().Get("a").status()));
  EXPECT_EQ(store_.Row("a"), "1"s);
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), std::nullopt);
  EXPECT_TRUE(absl::IsNotFound(tiered().Get("a").status()));
}

TEST_F(TieredWriteBehind, ErasingWhatTheStoreHasNotIsNoFailure) {
  EXPECT_EQ(tiered().Erase("a"), absl::OkStatus());
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(tiered().Stats().write_behind.stored, 1u);
  EXPECT_TRUE(letters_.empty());
}

TEST_F(TieredWriteBehind, ReadsFindWhatIsQueuedThoughTheEntryIsGone) {
  store_.SetRow("a", "old");
  EXPECT_EQ(tiered().Put("a", "new"), absl::OkStatus());
  tiered().memory().Clear();
  EXPECT_EQ(Get("a"), "new");
  EXPECT_EQ(tiered().Put("b", "1", {.ttl = absl::Seconds(1)}), absl::OkStatus());
  tiered().memory().Clear();
  const auto values = tiered().GetAll(std::vector<std::string>{"b", "a"});
  EXPECT_EQ(Shown(values[0]), "1");
  EXPECT_EQ(Shown(values[1]), "new");
  EXPECT_EQ(store_.loads(), 0);
}

TEST_F(TieredWriteBehind, WhatIsReadFromTheQueueHasTheOptionsOfItsPut) {
  EXPECT_EQ(tiered().Put("a", "1", {.ttl = absl::Seconds(1), .weight = 7, .tags = {"t"}}),
            absl::OkStatus());
  tiered().memory().Clear();
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(tiered().memory().weight(), 7u);
  tiered().memory().InvalidateTag("t");
  EXPECT_FALSE(tiered().memory().Contains("a"));
  EXPECT_EQ(Get("a"), "1");
  // Longer than the entry lives, shorter than the writes wait.
  options_.write_behind.batch_delay = kLong;
  clock_.Advance(absl::Seconds(1));
  EXPECT_FALSE(tiered().memory().Contains("a"));
}

TEST_F(TieredWriteBehind, OfManyWritesOfAKeyTheStoreSeesTheLast) {
  for (const char* value : {"1", "2", "3"}) {
    EXPECT_EQ(tiered().Put("a", value), absl::OkStatus());
  }
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  ASSERT_EQ(store_.writes().size(), 1u);
  EXPECT_EQ(store_.writes()[0].value, "3"s);
  EXPECT_EQ(tiered().Stats().write_behind.coalesced, 2u);
}

TEST_F(TieredWriteBehind, OrTheStoreSeesThemAllInOrder) {
  options_.write_behind.coalescing = Coalescing::kNone;
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Erase("a"), absl::OkStatus());
  EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  const auto writes = store_.writes();
  ASSERT_EQ(writes.size(), 3u);
  EXPECT_EQ(writes[0].value, "1"s);
  EXPECT_EQ(writes[1].value, std::nullopt);
  EXPECT_EQ(writes[2].value, "2"s);
  EXPECT_LT(writes[0].id.sequence, writes[1].id.sequence);
  EXPECT_LT(writes[1].id.sequence, writes[2].id.sequence);
}

TEST_F(TieredWriteBehind, WhatTheStoreRefusesIsADeadLetterAndLeavesTheCache) {
  options_.write_behind.dead_letter_path = "dead";
  store_.SetRow("a", "old");
  FailWrites(absl::InvalidArgumentError("too long"));
  EXPECT_EQ(tiered().Put("a", "new"), absl::OkStatus());
  EXPECT_EQ(Get("a"), "new");
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_FALSE(tiered().memory().Contains("a"));
  EXPECT_EQ(Get("a"), "old");
  ASSERT_EQ(letters_.size(), 1u);
  EXPECT_EQ(letters_[0].key, "a");
  EXPECT_EQ(letters_[0].value, "new"s);
  EXPECT_EQ(letters_[0].reason, absl::InvalidArgumentError("too long"));
  EXPECT_EQ(letters_[0].attempts, 1);

  const auto written = ReadDeadLetters<std::string, std::string>("dead", files_);
  ASSERT_TRUE(written.ok()) << written.status();
  ASSERT_EQ(written->size(), 1u);
  EXPECT_EQ((*written)[0].key, "a");
  EXPECT_EQ((*written)[0].value, "new"s);
  EXPECT_EQ((*written)[0].id, letters_[0].id);
  EXPECT_EQ((*written)[0].reason, letters_[0].reason);
  EXPECT_EQ((*written)[0].attempts, 1);
}

TEST_F(TieredWriteBehind, ANewerWriteOfARefusedKeyIsKept) {
  options_.write_behind.coalescing = Coalescing::kNone;
  store_.set_script([&](Call call, const std::string&) {
    if (call != Call::kWrite) return absl::OkStatus();
    store_.set_script(nullptr);
    EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
    return absl::InvalidArgumentError("not this one");
  });
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(Get("a"), "2");
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), "2"s);
  EXPECT_EQ(letters_.size(), 1u);
}

TEST_F(TieredWriteBehind, AFullQueueSaysWhatItWasToldTo) {
  options_.write_behind.max_entries = 1;
  options_.write_behind.when_full = WhenFull::kReject;
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  // It takes the place of what is queued.
  EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
  // From here on what is queued no longer waits: it's in the way.
  EXPECT_TRUE(absl::IsResourceExhausted(tiered().Put("b", "1")));
  EXPECT_FALSE(tiered().memory().Contains("b"));
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), "2"s);
  EXPECT_EQ(store_.Row("b"), std::nullopt);
}

TEST_F(TieredWriteBehind, AFullQueueMayWriteThrough) {
  options_.write_behind.max_entries = 1;
  options_.write_behind.when_full = WhenFull::kWriteThrough;
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Put("b", "1"), absl::OkStatus());
  EXPECT_EQ(store_.Row("b"), "1"s);
  EXPECT_EQ(Get("b"), "1");
  // What is queued no longer waited, but may still be on its way.
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  FailWrites(absl::UnavailableError("down"));
  EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
  EXPECT_EQ(tiered().Put("b", "2"), absl::UnavailableError("down"));
  EXPECT_EQ(Get("b"), "1");
}

TEST_F(TieredWriteBehind, FlushSaysWhatIsLeftAndWhy) {
  FailWrites(absl::UnavailableError("the database is down"));
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Put("b", "1"), absl::OkStatus());
  const absl::Status status = tiered().Flush(absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
  EXPECT_NE(status.message().find("2 writes"), absl::string_view::npos) << status;
  EXPECT_EQ(Get("a"), "1");
}

TEST_F(TieredWriteBehind, CloseTakesNoMoreWritesAndReadsGoOn) {
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Close(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), "1"s);
  EXPECT_TRUE(absl::IsFailedPrecondition(tiered().Put("b", "1")));
  EXPECT_TRUE(absl::IsFailedPrecondition(tiered().Erase("a")));
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(tiered().Close(), absl::OkStatus());
}

TEST_F(TieredWriteBehind, WhatCloseCanNotWriteBecomesDeadLettersWithoutAJournal) {
  store_.SetRow("a", "old");
  FailWrites(absl::UnavailableError("down"));
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  const absl::Status status = tiered().Close(absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  ASSERT_EQ(letters_.size(), 1u);
  EXPECT_EQ(letters_[0].value, "1"s);
  EXPECT_EQ(Get("a"), "old");
}

TEST_F(TieredWriteBehind, TheDestructorDropsNothingInSilence) {
  FailWrites(absl::UnavailableError("down"));
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  tiered_.reset();
  EXPECT_EQ(letters_.size(), 1u);

  options_.on_dead_letter = nullptr;
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  ::testing::internal::CaptureStderr();
  tiered_.reset();
  EXPECT_NE(::testing::internal::GetCapturedStderr().find("larder: queued write 1, tried"),
            std::string::npos);
}

TEST_F(TieredWriteBehind, WhatThrowsIsTriedAgain) {
  int calls = 0;
  store_.set_script([&](Call, const std::string&) -> absl::Status {
    if (++calls == 1) throw std::runtime_error("bug");
    return absl::OkStatus();
  });
  options_.write_behind.threads = 1;
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  tiered().Flush(absl::ZeroDuration()).IgnoreError();
  while (tiered().Stats().write_behind.failures + tiered().Stats().write_behind.stored == 0) {
    std::this_thread::yield();
  }
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), "1"s);
}

TEST_F(TieredWriteBehind, ADeadLetterFileThatCanNotBeMadeIsToldAtOnce) {
  options_.write_behind.dead_letter_path = "missing/dead";
  EXPECT_TRUE(absl::IsNotFound(Tiered::Create(options_).status()));
}

TEST_F(TieredWriteBehind, ADeadLetterFileThatCanNotBeWrittenKeepsTheWriteQueued) {
  options_.write_behind.dead_letter_path = "dead";
  tiered();
  files_.FailAll(FileCall::kCreate, FaultyFileSystem::NoSpace());
  FailWrites(absl::InvalidArgumentError("no"));
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_TRUE(absl::IsDeadlineExceeded(tiered().Flush(absl::Milliseconds(20))));
  EXPECT_EQ(Get("a"), "1");
  EXPECT_TRUE(letters_.empty());
  files_.Heal();
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(letters_.size(), 1u);
  EXPECT_EQ(files_.Files().size(), 1u);
}

TEST_F(TieredWriteBehind, EachProcessHasADeadLetterFileOfItsOwn) {
  options_.write_behind.dead_letter_path = "dead";
  FailWrites(absl::InvalidArgumentError("no"));
  for (const char* key : {"a", "b"}) {
    EXPECT_EQ(tiered().Put(key, "1"), absl::OkStatus());
    EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
    End();
  }
  EXPECT_EQ(files_.Files().size(), 2u);
  const auto written = ReadDeadLetters<std::string, std::string>("dead", files_);
  ASSERT_TRUE(written.ok()) << written.status();
  ASSERT_EQ(written->size(), 2u);
  EXPECT_EQ((*written)[0].key, "a");
  EXPECT_EQ((*written)[1].key, "b");
}

TEST_F(TieredWriteBehind, WhatCloseLeavesIsSyncedToTheDeadLetterFileOnce) {
  options_.write_behind.dead_letter_path = "dead";
  FailWrites(absl::UnavailableError("down"));
  for (int i = 0; i < 50; ++i) EXPECT_EQ(tiered().Put(std::to_string(i), "1"), absl::OkStatus());
  const uint64_t calls = files_.calls();
  EXPECT_TRUE(absl::IsDeadlineExceeded(tiered().Close(absl::Milliseconds(1))));
  EXPECT_LT(files_.calls(), calls + 60);  // 50 are appended
  const auto left = files_.Crash(CrashKind::kUnsynced);
  const auto written = ReadDeadLetters<std::string, std::string>("dead", *left);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(written->size(), 50u);
}

// The writer of a key waits, with its lock, for the very call that uses the key.
TEST_F(TieredWriteBehind, WhatADeadLetterCallsNeverWaitsForAWriterThatWaitsForIt) {
  options_.write_behind.when_full = WhenFull::kWriteThrough;
  options_.write_behind.max_entries = 1;
  options_.write_behind.threads = 1;
  std::atomic<bool> in_flight{false};
  store_.set_script([&](Call call, const std::string&) {
    if (call == Call::kLoad) return absl::OkStatus();
    in_flight = true;
    in_flight.notify_all();
    while (tiered_->Stats().write_behind.write_through == 0) std::this_thread::yield();
    return absl::InvalidArgumentError("no");
  });
  absl::Status nested;
  std::string read;
  options_.on_dead_letter = [&](const Letter&) {
    nested = tiered_->Put("a", "3");
    tiered_->memory().Clear();
    read = Get("a");
  };
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  std::thread second([&] {
    in_flight.wait(false);
    EXPECT_TRUE(absl::IsInvalidArgument(tiered().Put("a", "2")));
  });
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  second.join();
  EXPECT_FALSE(nested.ok());
  EXPECT_EQ(read, "1");
}

// A listener of what one dead letter drops may write another key, whose writer waits for the store.
TEST_F(TieredWriteBehind, ARemovalListenerMayUseTheCache) {
  options_.cache.on_removal = [&](const std::string& key, const std::string&, RemovalCause) {
    if (key != "a") return;
    EXPECT_EQ(tiered_->Put("b", "2"), absl::OkStatus());
  };
  store_.set_script([&](Call call, const std::string& key) {
    return call == Call::kWrite && key == "a" ? absl::InvalidArgumentError("no") : absl::OkStatus();
  });
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("b"), "2"s);
}

TEST_F(TieredWriteBehind, AWriteThatNeverFitsIsToldItsSize) {
  options_.write_behind.max_bytes = 10;
  options_.write_behind.when_full = WhenFull::kBlock;
  const absl::Status status = tiered().Put("a", "1");
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  EXPECT_NE(status.message().find("is more than max_bytes, 10"), absl::string_view::npos) << status;
}

TEST_F(TieredWriteBehind, ValuesWithoutACodecWaitInMemoryOnly) {
  struct Value {
    std::unique_ptr<int> not_bytes;
    Value() = default;
    Value(const Value&) {}
    Value(Value&&) = default;
    Value& operator=(Value&&) = default;
  };
  class ValueStore : public Store<int, Value> {
    absl::StatusOr<Value> Load(const int&) override { return absl::NotFoundError(""); }
    absl::Status Write(const int&, const Value&, const WriteId&) override { return {}; }
    absl::Status Erase(const int&, const WriteId&) override { return {}; }
  } store;
  TieredCache<int, Value>::Options options;
  options.cache.capacity = 100;
  options.store = &store;
  options.write_policy = WritePolicy::kBehind;
  {
    auto cache = TieredCache<int, Value>::Create(options).value();
    EXPECT_EQ(cache->Put(1, Value()), absl::OkStatus());
    EXPECT_EQ(cache->Flush(kLong), absl::OkStatus());
  }
  options.write_behind.durability = Durability::kJournal;
  options.write_behind.journal_directory = "journal";
  const absl::Status status = TieredCache<int, Value>::Create(options).status();
  EXPECT_EQ(status, absl::InvalidArgumentError(
                        "durability: a journal needs a Codec of keys and of values"));
}

TEST_F(TieredWriteBehind, WrongOptionsAreNamed) {
  options_.write_behind.batch_size = 0;
  const absl::Status status = Tiered::Create(options_).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_NE(status.message().find("batch_size"), absl::string_view::npos) << status;
}

}  // namespace
}  // namespace larder::test
