// SPDX-License-Identifier: Apache-2.0
//
// The engine of write-behind on a clock that is moved by hand and, but for writers that wait,
// without threads: RunOnce writes what is due.
#include "larder/internal/write_behind.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/manual_clock.h"
#include "larder/write_behind_options.h"
#include "tests/support/threads.h"
#include "tests/support/write_behind_target.h"

namespace larder::internal {
namespace {

using ::larder::test::Eventually;
using ::larder::test::FindNumber;
using ::larder::test::NumberTarget;
using ::larder::test::NumberWrite;
using ::larder::test::PutNumber;
using Batches = std::vector<std::vector<int>>;

constexpr absl::Duration kDelay = absl::Milliseconds(10);

TEST(WriteBehindOptionsTest, TheDefaultsAreValid) {
  EXPECT_TRUE(WriteBehindOptions{}.Validate().ok());
}

TEST(WriteBehindOptionsTest, WhatIsWrongIsNamedWithItsValue) {
  using Options = WriteBehindOptions;
  const auto expect = [](void (*change)(Options&), const std::string& field,
                         const std::string& value) {
    Options options;
    change(options);
    const absl::Status status = options.Validate();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << field;
    EXPECT_NE(status.ToString().find("WriteBehindOptions::" + field + " must"), std::string::npos)
        << status;
    EXPECT_NE(status.ToString().find("is " + value), std::string::npos) << status;
  };
  expect([](Options& o) { o.max_entries = 0; }, "max_entries", "0");
  expect([](Options& o) { o.max_bytes = 0; }, "max_bytes", "0");
  expect([](Options& o) { o.full_timeout = absl::Seconds(-1); }, "full_timeout", "-1s");
  expect([](Options& o) { o.batch_size = 0; }, "batch_size", "0");
  expect([](Options& o) { o.batch_delay = absl::Seconds(-1); }, "batch_delay", "-1s");
  expect([](Options& o) { o.threads = 0; }, "threads", "0");
  expect([](Options& o) { o.threads = 257; }, "threads", "257");
  expect([](Options& o) { o.first_backoff = absl::ZeroDuration(); }, "first_backoff", "0");
  expect([](Options& o) { o.max_backoff = absl::Milliseconds(49); }, "max_backoff", "49ms");
  expect([](Options& o) { o.max_attempts = -1; }, "max_attempts", "-1");
  expect([](Options& o) { o.close_timeout = absl::Seconds(-1); }, "close_timeout", "-1s");
  expect([](Options& o) { o.sync_interval = absl::ZeroDuration(); }, "sync_interval", "0");
  expect([](Options& o) { o.segment_bytes = 4'095; }, "segment_bytes", "4095");
  expect([](Options& o) { o.segment_bytes = (1 << 30) + 1; }, "segment_bytes", "1073741825");
  expect([](Options& o) { o.durability = Durability::kJournal; }, "journal_directory", "empty");
}

class WriteBehindTest : public ::testing::Test {
 protected:
  WriteBehind& Make(WriteBehindOptions options = {}) {
    EXPECT_TRUE(options.Validate().ok()) << options.Validate();
    engine_ = std::make_unique<WriteBehind>(options, &clock_, &target_, /*seed=*/1);
    return *engine_;
  }

  // Runs what is due; what that wrote.
  Batches Run() {
    while (engine_->RunOnce() > 0) {
    }
    return target_.TakeBatches();
  }

  Batches RunAfter(absl::Duration step) {
    clock_.Advance(step);
    return Run();
  }

  absl::Status Put(int key, int value, uint64_t bytes = 1) {
    return PutNumber(*engine_, key, value, bytes);
  }
  void MustPut(int key, int value, uint64_t bytes = 1) { ASSERT_TRUE(Put(key, value, bytes).ok()); }

  // From now on all attempts end so.
  void AnswerAlways(const absl::Status& status) {
    target_.answer = [status](const NumberWrite&) { return status; };
  }

  bool IsAcknowledged(int value) {
    const auto acknowledged = target_.Acknowledged();
    const auto found = acknowledged.find(static_cast<uint64_t>(value));
    if (found == acknowledged.end()) return false;
    EXPECT_EQ(found->second, 1) << value << " was acknowledged twice";
    return true;
  }

  ManualClock clock_;
  NumberTarget target_;
  std::unique_ptr<WriteBehind> engine_;
};

const absl::Status& Unavailable() {
  static const absl::Status status = absl::UnavailableError("down");
  return status;
}

TEST_F(WriteBehindTest, AWriteWaitsForBatchDelayAndIsFoundUntilItIsStored) {
  Make({.batch_delay = kDelay});
  MustPut(1, 100);
  EXPECT_EQ(FindNumber(*engine_, 1), 100);
  EXPECT_EQ(FindNumber(*engine_, 0), 0) << "a key of the same hash";
  EXPECT_EQ(RunAfter(kDelay - absl::Nanoseconds(1)), Batches());
  EXPECT_EQ(FindNumber(*engine_, 1), 100);
  EXPECT_FALSE(IsAcknowledged(100));
  EXPECT_EQ(engine_->Stats().oldest_age, kDelay - absl::Nanoseconds(1));
  target_.answer = [&](const NumberWrite&) {
    EXPECT_EQ(FindNumber(*engine_, 1), 100) << "in flight";
    EXPECT_EQ(engine_->Stats().in_flight, 1u);
    return absl::OkStatus();
  };
  EXPECT_EQ(RunAfter(absl::Nanoseconds(1)), Batches({{100}}));
  EXPECT_EQ(FindNumber(*engine_, 1), 0);
  EXPECT_TRUE(IsAcknowledged(100));
  const WriteBehindStats stats = engine_->Stats();
  EXPECT_EQ(stats.queued, 0u);
  EXPECT_EQ(stats.queued_bytes, 0u);
  EXPECT_EQ(stats.stored, 1u);
  EXPECT_EQ(stats.batches, 1u);
  EXPECT_EQ(stats.oldest_age, absl::ZeroDuration());
  EXPECT_TRUE(stats.last_error.ok());
}

TEST_F(WriteBehindTest, ABatchIsFullOrOverdueAndTakesTheOldestFirst) {
  Make({.batch_size = 3, .batch_delay = kDelay});
  MustPut(1, 1);
  MustPut(2, 2);
  EXPECT_EQ(Run(), Batches());
  MustPut(3, 3);
  EXPECT_EQ(Run(), Batches({{1, 2, 3}}));
  for (int i = 4; i <= 8; ++i) MustPut(i, i);
  EXPECT_EQ(Run(), Batches({{4, 5, 6}}));
  clock_.Advance(kDelay / 2);
  MustPut(9, 9);
  EXPECT_EQ(Run(), Batches({{7, 8, 9}}));
  MustPut(10, 10);
  EXPECT_EQ(RunAfter(kDelay / 2), Batches());
  MustPut(11, 11);
  EXPECT_EQ(RunAfter(kDelay / 2), Batches({{10, 11}})) << "what is due takes along what isn't";
}

TEST_F(WriteBehindTest, WithoutADelayEachWriteIsDueAtOnce) {
  Make({.batch_delay = absl::ZeroDuration()});
  MustPut(1, 1);
  EXPECT_EQ(Run(), Batches({{1}}));
}

TEST_F(WriteBehindTest, TheLatestWriteTakesThePlaceOfTheOneThatWaits) {
  Make({.batch_delay = kDelay});
  MustPut(1, 1, 10);
  MustPut(2, 2, 10);
  clock_.Advance(kDelay / 2);
  MustPut(1, 3, 25);
  EXPECT_TRUE(IsAcknowledged(1)) << "it needs no replay once the other one is queued";
  EXPECT_EQ(FindNumber(*engine_, 1), 3);
  EXPECT_EQ(engine_->Stats().queued, 2u);
  EXPECT_EQ(engine_->Stats().queued_bytes, 35u);
  EXPECT_EQ(engine_->Stats().coalesced, 1u);
  EXPECT_EQ(RunAfter(kDelay / 2), Batches({{3, 2}})) << "in its place in line";
}

TEST_F(WriteBehindTest, EachWriteInOrderWhereAllAreWanted) {
  Make({.coalescing = Coalescing::kNone, .batch_delay = kDelay});
  for (int i = 1; i <= 3; ++i) MustPut(1, i);
  MustPut(2, 4);
  EXPECT_EQ(FindNumber(*engine_, 1), 3);
  EXPECT_EQ(RunAfter(kDelay), Batches({{1, 4}, {2}, {3}})) << "one of a key at a time";
  EXPECT_EQ(engine_->Stats().coalesced, 0u);
}

TEST_F(WriteBehindTest, AWriteOfAKeyThatIsInFlightWaitsForItsEnd) {
  Make({.batch_delay = absl::ZeroDuration()});
  MustPut(1, 1);
  target_.answer = [&](const NumberWrite& write) {
    if (write.value != 1) return absl::OkStatus();
    MustPut(1, 2);
    MustPut(1, 3);
    EXPECT_EQ(FindNumber(*engine_, 1), 3);
    EXPECT_EQ(engine_->RunOnce(), 0u) << "another thread must not write the key now";
    EXPECT_FALSE(IsAcknowledged(1));
    EXPECT_TRUE(IsAcknowledged(2));
    return absl::OkStatus();
  };
  EXPECT_EQ(Run(), Batches({{1}, {3}}));
  EXPECT_EQ(target_.Stored(1), std::vector<int>({1, 3}));
}

TEST_F(WriteBehindTest, BackoffsDoubleUpToTheirLimitAndAreShortenedByHalfAtMost) {
  Make({.batch_delay = absl::ZeroDuration(),
        .first_backoff = absl::Milliseconds(100),
        .max_backoff = absl::Milliseconds(1'000)});
  AnswerAlways(Unavailable());
  MustPut(1, 1);
  EXPECT_EQ(Run(), Batches({{1}}));
  for (const int backoff : {100, 200, 400, 800, 1'000, 1'000}) {
    EXPECT_EQ(RunAfter(absl::Milliseconds(backoff) / 2 - absl::Nanoseconds(1)), Batches());
    EXPECT_EQ(RunAfter(absl::Milliseconds(backoff) / 2 + absl::Nanoseconds(1)), Batches({{1}}));
  }
  EXPECT_EQ(FindNumber(*engine_, 1), 1);
  EXPECT_FALSE(IsAcknowledged(1));
  EXPECT_EQ(engine_->Stats().failures, 7u);
  EXPECT_EQ(engine_->Stats().last_error, Unavailable());
  AnswerAlways(absl::OkStatus());
  EXPECT_EQ(RunAfter(absl::Seconds(1)), Batches({{1}}));
  AnswerAlways(Unavailable());
  MustPut(1, 2);
  EXPECT_EQ(Run(), Batches({{2}}));
  EXPECT_EQ(RunAfter(absl::Milliseconds(100)), Batches({{2}})) << "it begins anew after a success";
}

TEST_F(WriteBehindTest, OneWriteFailsAndTheOthersOfItsBatchDoNot) {
  Make({.batch_delay = kDelay});
  target_.answer = [](const NumberWrite& write) {
    return write.value == 2 ? Unavailable() : absl::OkStatus();
  };
  for (int i = 1; i <= 3; ++i) MustPut(i, i);
  EXPECT_EQ(RunAfter(kDelay), Batches({{1, 2, 3}}));
  EXPECT_EQ(engine_->Stats().queued, 1u);
  EXPECT_TRUE(IsAcknowledged(3));
  EXPECT_FALSE(IsAcknowledged(2));
}

TEST_F(WriteBehindTest, ALaterWriteReplacesOneThatFailedAndKeepsItsBackoff) {
  Make({.batch_delay = absl::ZeroDuration(), .first_backoff = absl::Milliseconds(100)});
  AnswerAlways(Unavailable());
  MustPut(1, 1);
  Run();
  MustPut(1, 2);
  EXPECT_TRUE(IsAcknowledged(1));
  EXPECT_EQ(RunAfter(absl::Milliseconds(49)), Batches()) << "the store isn't to be hurried";
  EXPECT_EQ(RunAfter(absl::Milliseconds(51)), Batches({{2}}));
}

TEST_F(WriteBehindTest, AWriteThatWaitedBehindOneThatFailedTakesItsPlace) {
  Make({.batch_delay = absl::ZeroDuration(), .first_backoff = absl::Milliseconds(100)});
  target_.answer = [&](const NumberWrite& write) {
    if (write.value == 1) MustPut(1, 2);
    return write.value == 1 ? Unavailable() : absl::OkStatus();
  };
  MustPut(1, 1);
  Run();
  EXPECT_TRUE(IsAcknowledged(1));
  EXPECT_EQ(engine_->Stats().queued, 1u);
  EXPECT_EQ(RunAfter(absl::Milliseconds(100)), Batches({{2}}));
}

TEST_F(WriteBehindTest, AFailedWriteIsRepeatedBeforeLaterOnesWhereAllAreWanted) {
  Make({.coalescing = Coalescing::kNone,
        .batch_delay = absl::ZeroDuration(),
        .first_backoff = absl::Milliseconds(100)});
  AnswerAlways(Unavailable());
  MustPut(1, 1);
  Run();
  MustPut(1, 2);
  EXPECT_EQ(RunAfter(absl::Milliseconds(40)), Batches());
  AnswerAlways(absl::OkStatus());
  EXPECT_EQ(RunAfter(absl::Milliseconds(60)), Batches({{1}, {2}}));
}

TEST_F(WriteBehindTest, ErrorsThatNoRepetitionMendsAreGivenUpAtOnce) {
  Make({.batch_delay = absl::ZeroDuration()});
  for (int code = 1; code <= 16; ++code) {
    const absl::Status error(static_cast<absl::StatusCode>(code), "why");
    AnswerAlways(error);
    MustPut(code, code);
    Run();
    const bool is_permanent = absl::IsInvalidArgument(error) || absl::IsAlreadyExists(error) ||
                              absl::IsFailedPrecondition(error) || absl::IsOutOfRange(error) ||
                              absl::IsPermissionDenied(error) || absl::IsUnimplemented(error) ||
                              absl::IsDataLoss(error);
    const std::vector<NumberTarget::GivenUp> given_up = target_.TakeGivenUp();
    ASSERT_EQ(given_up.size(), is_permanent ? 1u : 0u) << error;
    EXPECT_EQ(IsAcknowledged(code), is_permanent);
    EXPECT_EQ(FindNumber(*engine_, code), is_permanent ? 0 : code);
    if (!is_permanent) continue;
    EXPECT_EQ(given_up[0].value, code);
    EXPECT_EQ(given_up[0].reason, error);
    EXPECT_EQ(given_up[0].attempts, 1);
  }
  EXPECT_EQ(engine_->Stats().given_up, 7u);
}

TEST_F(WriteBehindTest, TheUserSaysWhichErrorsArePermanent) {
  Make({.batch_delay = absl::ZeroDuration(), .is_permanent = [](const absl::Status& error) {
          if (absl::IsAborted(error)) throw std::runtime_error("no idea");
          return absl::IsUnavailable(error);
        }});
  AnswerAlways(Unavailable());
  MustPut(1, 1);
  Run();
  EXPECT_EQ(target_.TakeGivenUp().size(), 1u);
  AnswerAlways(absl::InvalidArgumentError(""));
  MustPut(2, 2);
  Run();
  AnswerAlways(absl::AbortedError(""));
  MustPut(3, 3);
  Run();
  EXPECT_EQ(target_.TakeGivenUp().size(), 0u);
  EXPECT_EQ(engine_->Stats().queued, 2u);
}

TEST_F(WriteBehindTest, AWriteIsGivenUpAfterMaxAttemptsOfItsOwn) {
  Make({.batch_delay = absl::ZeroDuration(), .max_attempts = 3});
  AnswerAlways(Unavailable());
  MustPut(1, 1);
  Run();
  RunAfter(absl::Seconds(1));
  MustPut(1, 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(RunAfter(absl::Minutes(1)), Batches({{2}}));
    EXPECT_EQ(target_.TakeGivenUp().size(), 0u);
  }
  EXPECT_EQ(RunAfter(absl::Minutes(1)), Batches({{2}}));
  const std::vector<NumberTarget::GivenUp> given_up = target_.TakeGivenUp();
  ASSERT_EQ(given_up.size(), 1u);
  EXPECT_EQ(given_up[0].value, 2);
  EXPECT_EQ(given_up[0].attempts, 3);
}

TEST_F(WriteBehindTest, WhatCannotBeGivenUpStaysAndIsTriedAgainWithoutTheStore) {
  Make({.batch_delay = absl::ZeroDuration(), .first_backoff = absl::Milliseconds(100)});
  AnswerAlways(absl::DataLossError("broken"));
  target_.answer_give_up = [](const NumberWrite&) {
    return absl::ResourceExhaustedError("disk full");
  };
  MustPut(1, 1);
  EXPECT_EQ(Run(), Batches({{1}}));
  EXPECT_EQ(target_.TakeGivenUp().size(), 1u);
  EXPECT_EQ(FindNumber(*engine_, 1), 1);
  EXPECT_FALSE(IsAcknowledged(1));
  EXPECT_TRUE(absl::IsResourceExhausted(engine_->Stats().last_error));
  target_.answer_give_up = nullptr;
  EXPECT_EQ(RunAfter(absl::Milliseconds(49)), Batches());
  EXPECT_EQ(RunAfter(absl::Milliseconds(51)), Batches());
  const std::vector<NumberTarget::GivenUp> given_up = target_.TakeGivenUp();
  ASSERT_EQ(given_up.size(), 1u);
  EXPECT_TRUE(absl::IsDataLoss(given_up[0].reason)) << "the store's, as at first";
  EXPECT_TRUE(IsAcknowledged(1));
}

TEST_F(WriteBehindTest, WhatTheTargetThrowsCountsAsAnErrorThatMayPass) {
  Make({.batch_delay = absl::ZeroDuration()});
  target_.answer = [](const NumberWrite&) -> absl::Status { throw std::runtime_error("oops"); };
  MustPut(1, 1);
  Run();
  EXPECT_EQ(engine_->Stats().failures, 1u);
  EXPECT_TRUE(absl::IsInternal(engine_->Stats().last_error));
  EXPECT_NE(engine_->Stats().last_error.ToString().find("oops"), std::string::npos);
  target_.answer = [](const NumberWrite&) -> absl::Status { throw 1; };
  RunAfter(absl::Seconds(1));
  EXPECT_EQ(engine_->Stats().failures, 2u);
  AnswerAlways(absl::DataLossError(""));
  target_.answer_give_up = [](const NumberWrite&) -> absl::Status { throw 1; };
  RunAfter(absl::Seconds(1));
  EXPECT_EQ(engine_->Stats().queued, 1u);
  EXPECT_TRUE(absl::IsInternal(engine_->Stats().last_error));
}

TEST_F(WriteBehindTest, LimitsOfEntriesAndBytesRefuseWhatIsOverThem) {
  Make({.max_entries = 3, .max_bytes = 100, .when_full = WhenFull::kReject});
  MustPut(1, 1, 60);
  EXPECT_TRUE(absl::IsResourceExhausted(Put(2, 2, 41)));
  MustPut(2, 3, 40);
  MustPut(3, 4, 0);
  EXPECT_TRUE(absl::IsResourceExhausted(Put(4, 5, 0)));
  EXPECT_TRUE(absl::IsResourceExhausted(Put(5, 6, 101)));
  MustPut(1, 7, 60);
  EXPECT_TRUE(absl::IsResourceExhausted(Put(1, 8, 61))) << "replaces, but adds a byte";
  EXPECT_EQ(FindNumber(*engine_, 1), 7);
  MustPut(1, 9, 50);
  MustPut(2, 10, 50);
  const WriteBehindStats stats = engine_->Stats();
  EXPECT_EQ(stats.rejected, 4u);
  EXPECT_EQ(stats.queued_bytes, 100u);
  EXPECT_EQ(stats.queued, 3u);
  Run();
  MustPut(4, 11, 100);
}

TEST_F(WriteBehindTest, AReservationThatIsNotUsedGivesItsRoomBack) {
  Make({.max_entries = 1, .when_full = WhenFull::kReject});
  const NumberWrite write(1, 1);
  {
    const absl::StatusOr<WriteBehind::Reservation> room = engine_->Reserve(write);
    ASSERT_TRUE(room.ok());
    EXPECT_FALSE(engine_->Reserve(write).ok());
  }
  EXPECT_TRUE(engine_->Reserve(write).ok());
}

TEST_F(WriteBehindTest, AFullQueueDoesNotWaitForBatchDelay) {
  Make({.max_entries = 2, .when_full = WhenFull::kReject, .batch_delay = absl::Hours(1)});
  MustPut(1, 1);
  MustPut(2, 2);
  EXPECT_EQ(Run(), Batches());
  EXPECT_FALSE(Put(3, 3).ok());
  EXPECT_EQ(Run(), Batches({{1, 2}}));
  MustPut(3, 4);
  EXPECT_EQ(Run(), Batches());
}

TEST_F(WriteBehindTest, AWriterThatFindsItFullWaitsUpToItsTimeout) {
  Make({.max_entries = 1, .full_timeout = absl::ZeroDuration()});
  MustPut(1, 1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Put(2, 2)));
  EXPECT_EQ(engine_->Stats().blocked, 1u);
  EXPECT_EQ(engine_->Stats().timeouts, 1u);
  MustPut(1, 3);
  EXPECT_TRUE(absl::IsResourceExhausted(Put(1, 4, uint64_t{1} << 40))) << "will never fit";
}

TEST_F(WriteBehindTest, WritersThatWaitForRoomGetItInOrder) {
  Make({.max_entries = 4, .max_bytes = 10, .full_timeout = absl::InfiniteDuration()});
  MustPut(1, 1, 10);
  // The first needs it all; what would fit beside it later must not overtake it.
  std::vector<std::thread> writers;
  for (int i = 2; i <= 4; ++i) {
    writers.emplace_back([this, i] { MustPut(i, i, i == 2 ? 10 : 5); });
    EXPECT_TRUE(Eventually([&] { return engine_->Stats().blocked == uint64_t(i - 1); }));
  }
  EXPECT_EQ(engine_->Stats().queued, 1u);
  EXPECT_EQ(engine_->RunOnce(), 1u);
  writers[0].join();
  EXPECT_EQ(FindNumber(*engine_, 2), 2);
  EXPECT_EQ(FindNumber(*engine_, 3) + FindNumber(*engine_, 4), 0);
  EXPECT_EQ(engine_->RunOnce(), 1u);
  writers[1].join();
  writers[2].join();
  EXPECT_EQ(engine_->Stats().queued_bytes, 10u);
}

TEST_F(WriteBehindTest, AReservationThatIsGivenBackGoesToWhoWaits) {
  Make({.max_entries = 1, .full_timeout = absl::InfiniteDuration()});
  const NumberWrite write(1, 1);
  absl::StatusOr<WriteBehind::Reservation> room = engine_->Reserve(write);
  ASSERT_TRUE(room.ok());
  std::thread writer([this] { MustPut(2, 2); });
  EXPECT_TRUE(Eventually([&] { return engine_->Stats().blocked == 1; }));
  room = absl::CancelledError("not needed");
  writer.join();
  EXPECT_EQ(FindNumber(*engine_, 2), 2);
}

TEST_F(WriteBehindTest, WrittenThroughWhereItIsFull) {
  Make({.max_entries = 1, .when_full = WhenFull::kWriteThrough, .batch_delay = absl::Hours(1)});
  MustPut(1, 1);
  MustPut(2, 2);
  EXPECT_EQ(target_.TakeBatches(), Batches({{2, 1}})) << "at once, and takes others along";
  MustPut(1, 3);
  MustPut(2, 4);
  AnswerAlways(Unavailable());
  MustPut(1, 5);
  EXPECT_EQ(Put(2, 6), Unavailable()) << "one attempt";
  EXPECT_EQ(FindNumber(*engine_, 2), 0);
  EXPECT_TRUE(IsAcknowledged(6)) << "its caller was told: nothing to replay";
  EXPECT_EQ(engine_->Stats().write_through, 3u);
  EXPECT_EQ(engine_->Stats().through_failures, 1u);
}

TEST_F(WriteBehindTest, AWriteThroughGoesAfterEarlierOnesOfItsKeyAndReplacesNone) {
  Make({.max_entries = 1,
        .max_bytes = 10,
        .when_full = WhenFull::kWriteThrough,
        .coalescing = Coalescing::kNone,
        .batch_delay = absl::Hours(1)});
  MustPut(1, 1);
  MustPut(1, 2);
  EXPECT_EQ(target_.TakeBatches(), Batches({{1}, {2}}));
  EXPECT_EQ(target_.Stored(1), std::vector<int>({1, 2}));
  AnswerAlways(Unavailable());
  MustPut(1, 3);
  EXPECT_EQ(Put(1, 4), Unavailable());
  EXPECT_EQ(target_.TakeBatches(), Batches({{3}})) << "the one before it failed: no attempt";
  EXPECT_EQ(FindNumber(*engine_, 1), 3);
  EXPECT_TRUE(IsAcknowledged(4));
  EXPECT_FALSE(IsAcknowledged(3));
}

TEST_F(WriteBehindTest, FlushWritesWhatIsQueuedWhateverItWaitsFor) {
  Make({.batch_size = 2,
        .batch_delay = absl::Hours(1),
        .first_backoff = absl::Hours(1),
        .max_backoff = absl::Hours(1)});
  EXPECT_TRUE(engine_->Flush(absl::ZeroDuration()).ok());
  AnswerAlways(Unavailable());
  for (int i = 1; i <= 3; ++i) MustPut(i, i, 7);
  const absl::Status failed = engine_->Flush(absl::InfiniteDuration());
  EXPECT_TRUE(absl::IsDeadlineExceeded(failed));
  for (const char* part : {"3 writes", "21 bytes", "down"}) {
    EXPECT_NE(failed.ToString().find(part), std::string::npos) << failed;
  }
  EXPECT_EQ(target_.TakeBatches(), Batches({{1, 2}, {3}})) << "one attempt each";
  EXPECT_EQ(RunAfter(absl::Minutes(29)), Batches()) << "then the backoff";
  AnswerAlways(absl::OkStatus());
  MustPut(4, 4);
  EXPECT_TRUE(engine_->Flush(absl::InfiniteDuration()).ok());
  EXPECT_EQ(engine_->Stats().queued, 0u);
  MustPut(5, 5);
  target_.TakeBatches();
  EXPECT_EQ(Run(), Batches()) << "what comes later is not in a hurry";
}

// A flush must not take a write for done that failed for good, since a later one of its key makes
// it needless, while that one isn't in the store either.
TEST_F(WriteBehindTest, FlushWaitsForTheLaterWriteThatTookThePlaceOfOne) {
  Make({.batch_delay = absl::Hours(1)});
  target_.answer = [&](const NumberWrite& write) {
    if (write.value == 1) MustPut(1, 2);
    return write.value == 1 ? absl::DataLossError("") : absl::OkStatus();
  };
  MustPut(1, 1);
  EXPECT_TRUE(engine_->Flush(absl::InfiniteDuration()).ok());
  EXPECT_EQ(target_.Stored(1), std::vector<int>({2}));
  EXPECT_TRUE(target_.TakeGivenUp().empty()) << "the store is asked for the latest only";
  EXPECT_TRUE(IsAcknowledged(1));
}

TEST_F(WriteBehindTest, CloseWritesWhatIsQueuedAndRefusesMore) {
  Make({.batch_delay = absl::Hours(1)});
  MustPut(1, 1);
  const WriteBehind::Left left = engine_->Close(absl::InfiniteDuration(), true);
  EXPECT_TRUE(left.status.ok()) << left.status;
  EXPECT_TRUE(left.writes.empty());
  EXPECT_EQ(target_.Stored(1), std::vector<int>({1}));
  EXPECT_TRUE(absl::IsFailedPrecondition(Put(1, 2)));
  EXPECT_EQ(engine_->RunOnce(), 0u);
  EXPECT_TRUE(engine_->Flush(absl::ZeroDuration()).ok());
  EXPECT_TRUE(engine_->Close(absl::InfiniteDuration(), true).status.ok());
}

TEST_F(WriteBehindTest, CloseWaitsForWritesThatHaveRoom) {
  for (int i = 1; i <= 20; ++i) {
    Make({.batch_delay = absl::Hours(1)});
    auto write = std::make_shared<NumberWrite>(i, i);
    absl::StatusOr<WriteBehind::Reservation> room = engine_->Reserve(*write);
    ASSERT_TRUE(room.ok());
    std::thread closer(
        [this] { EXPECT_TRUE(engine_->Close(absl::InfiniteDuration(), false).status.ok()); });
    EXPECT_TRUE(Eventually([&] { return absl::IsFailedPrecondition(Put(0, 1'000 + i)); }));
    engine_->Enqueue(*std::move(room), std::move(write));
    closer.join();
    EXPECT_EQ(target_.Stored(i), std::vector<int>({i}));
  }
}

TEST_F(WriteBehindTest, CloseLeavesWhatTheStoreDoesNotTake) {
  Make({.coalescing = Coalescing::kNone});
  AnswerAlways(Unavailable());
  MustPut(2, 1);
  MustPut(1, 2);
  MustPut(2, 3);
  for (int i = 0; i < 2; ++i) {
    const WriteBehind::Left left = engine_->Close(absl::ZeroDuration(), false);
    EXPECT_TRUE(absl::IsDeadlineExceeded(left.status)) << left.status;
    std::vector<int> values;
    for (const auto& write : left.writes) values.push_back(NumberWrite::Of(*write).value);
    EXPECT_EQ(values, std::vector<int>({1, 2, 3}));
  }
  EXPECT_EQ(FindNumber(*engine_, 2), 3) << "reads still see it";
  EXPECT_TRUE(target_.Acknowledged().empty());
  EXPECT_TRUE(target_.TakeGivenUp().empty());
}

TEST_F(WriteBehindTest, CloseGivesUpWhatTheStoreDoesNotTakeIfAskedTo) {
  Make({.coalescing = Coalescing::kNone, .batch_size = 1});
  target_.answer = [](const NumberWrite& write) {
    return write.value <= 2 ? Unavailable() : absl::OkStatus();
  };
  target_.answer_give_up = [](const NumberWrite& write) {
    return write.value == 1 ? absl::DataLossError("") : absl::OkStatus();
  };
  MustPut(1, 1);
  MustPut(2, 2);
  MustPut(3, 3);
  MustPut(1, 4);
  const WriteBehind::Left left = engine_->Close(absl::ZeroDuration(), true);
  EXPECT_TRUE(absl::IsDeadlineExceeded(left.status)) << left.status;
  ASSERT_EQ(left.writes.size(), 1u);
  EXPECT_EQ(NumberWrite::Of(*left.writes[0]).value, 1) << "what could not be given up";
  const std::vector<NumberTarget::GivenUp> given_up = target_.TakeGivenUp();
  ASSERT_EQ(given_up.size(), 3u);
  EXPECT_EQ(given_up[0].reason, Unavailable());
  EXPECT_EQ(given_up[0].attempts, 1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(given_up[2].reason)) << "4 was never tried";
  EXPECT_EQ(given_up[2].attempts, 0);
  EXPECT_FALSE(IsAcknowledged(1));
  for (int i = 2; i <= 4; ++i) EXPECT_TRUE(IsAcknowledged(i));
}

TEST_F(WriteBehindTest, RestoredWritesIgnoreTheLimitsAndKeepTheirOrder) {
  Make({.max_entries = 1, .when_full = WhenFull::kReject, .batch_delay = kDelay});
  std::vector<WriteBehind::WritePtr> writes;
  for (const auto& [key, value] : std::vector<std::pair<int, int>>{{1, 1}, {2, 2}, {1, 3}}) {
    auto write = std::make_shared<NumberWrite>(key, value);
    write->set_sequence(static_cast<uint64_t>(value));
    writes.push_back(std::move(write));
  }
  engine_->Restore(std::move(writes));
  EXPECT_TRUE(IsAcknowledged(1)) << "replaced by a later one";
  EXPECT_EQ(FindNumber(*engine_, 1), 3);
  EXPECT_FALSE(Put(3, 4).ok());
  EXPECT_EQ(RunAfter(kDelay), Batches({{3, 2}}));
}

TEST_F(WriteBehindTest, SequencesAscendFromOne) {
  Make();
  EXPECT_EQ(engine_->NextSequence(), 1u);
  EXPECT_EQ(engine_->NextSequence(), 2u);
}

// A store that writes to its own cache, or flushes it, would wait for itself.
TEST_F(WriteBehindTest, TheTargetIsNeverMadeToWaitForItself) {
  Make({.max_entries = 1, .full_timeout = absl::InfiniteDuration()});
  bool called = false;
  target_.answer = [&](const NumberWrite& write) {
    if (write.key != 1) return absl::OkStatus();
    EXPECT_TRUE(absl::IsResourceExhausted(Put(2, 2)));
    EXPECT_TRUE(absl::IsFailedPrecondition(engine_->Flush(absl::InfiniteDuration())));
    EXPECT_TRUE(absl::IsFailedPrecondition(engine_->Close(absl::InfiniteDuration(), true).status));
    called = true;
    return absl::OkStatus();
  };
  MustPut(1, 1);
  EXPECT_TRUE(engine_->Flush(absl::InfiniteDuration()).ok());
  EXPECT_TRUE(called);
}

TEST_F(WriteBehindTest, BatchesLargerThanASliceAreWrittenWhole) {
  Make({.batch_size = 1'000});
  target_.answer = [](const NumberWrite& write) {
    return write.value % 10 == 0   ? Unavailable()
           : write.value % 10 == 1 ? absl::DataLossError("")
                                   : absl::OkStatus();
  };
  for (int i = 1; i <= 1'500; ++i) MustPut(i, i);
  EXPECT_EQ(engine_->RunOnce(), 1'000u);
  EXPECT_EQ(target_.TakeBatches()[0].size(), 1'000u);
  EXPECT_EQ(target_.TakeGivenUp().size(), 100u);
  EXPECT_EQ(engine_->Stats().queued, 600u);
  EXPECT_EQ(engine_->Stats().stored, 800u);
}

TEST_F(WriteBehindTest, ThreadsOnAClockOfTheUsersLookWhenToldTo) {
  Make({.batch_delay = kDelay, .threads = 2});
  ASSERT_TRUE(engine_->Start().ok());
  MustPut(1, 1);
  clock_.Advance(kDelay);
  engine_->RunDue();
  EXPECT_TRUE(Eventually([&] { return engine_->Stats().stored == 1; }));
  MustPut(2, 2);
  EXPECT_TRUE(engine_->Flush(absl::InfiniteDuration()).ok());
  EXPECT_EQ(engine_->Stats().stored, 2u);
}

// Of which the first other thread that reads it learns the time late.
class LateClock final : public Clock {
 public:
  int64_t NowNanos() const override {
    const int64_t now = clock_.NowNanos();
    if (std::this_thread::get_id() != owner_ && !is_read_.exchange(true)) {
      EXPECT_TRUE(Eventually([this] { return goes_on_.load(); }));
    }
    return now;
  }

  // Moves time on once that thread has read it, and lets it go on after `f`.
  template <class F>
  void AdvanceUnseen(absl::Duration step, F&& f) {
    EXPECT_TRUE(Eventually([this] { return is_read_.load(); }));
    clock_.Advance(step);
    f();
    goes_on_.store(true);
  }

 private:
  const std::thread::id owner_ = std::this_thread::get_id();
  ManualClock clock_;
  mutable std::atomic<bool> is_read_{false};
  std::atomic<bool> goes_on_{false};
};

TEST(WriteBehindOnAManualClockTest, AThreadThatKnowsAnOldTimeDoesNotSleepOverWhatIsDue) {
  LateClock clock;
  NumberTarget target;
  WriteBehind engine({.batch_delay = kDelay, .threads = 1}, &clock, &target, 1);
  ASSERT_TRUE(PutNumber(engine, 1, 1).ok());
  ASSERT_TRUE(engine.Start().ok());
  clock.AdvanceUnseen(kDelay, [&] { engine.RunDue(); });
  EXPECT_TRUE(Eventually([&] { return engine.Stats().stored == 1; }));
}

TEST(WriteBehindOnTheProcessClockTest, ThreadsWakeWhenSomethingFallsDue) {
  NumberTarget target;
  std::atomic<int> failures{3};
  target.answer = [&](const NumberWrite&) {
    return failures.fetch_sub(1) > 0 ? Unavailable() : absl::OkStatus();
  };
  WriteBehind engine(
      {.batch_delay = absl::Milliseconds(1), .threads = 3, .first_backoff = absl::Milliseconds(1)},
      nullptr, &target, 1);
  ASSERT_TRUE(engine.Start().ok());
  for (int i = 1; i <= 10; ++i) {
    ASSERT_TRUE(PutNumber(engine, i, i).ok());
    ASSERT_TRUE(Eventually([&] { return engine.Stats().stored == uint64_t(i); }));
  }
  EXPECT_EQ(engine.Stats().failures, 3u);
}

}  // namespace
}  // namespace larder::internal
