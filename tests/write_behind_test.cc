// SPDX-License-Identifier: Apache-2.0
//
// When the engine of write-behind writes what, and what becomes of errors; and its options.
#include "larder/internal/write_behind.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/write_behind_options.h"
#include "tests/support/write_behind_fixture.h"
#include "tests/support/write_behind_target.h"

namespace larder::internal {
namespace {

using ::larder::test::FindNumber;
using ::larder::test::NumberTarget;
using ::larder::test::NumberWrite;
using ::larder::test::Unavailable;

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

using WriteBehindTest = ::larder::test::WriteBehindFixture;

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

}  // namespace
}  // namespace larder::internal
