// SPDX-License-Identifier: Apache-2.0
//
// The limits of write-behind, flushes, the end, and how threads wake.
#include "larder/internal/write_behind.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/clock.h"
#include "larder/manual_clock.h"
#include "larder/write_behind_options.h"
#include "tests/support/threads.h"
#include "tests/support/write_behind_fixture.h"
#include "tests/support/write_behind_target.h"

namespace larder::internal {
namespace {

using ::larder::test::Eventually;
using ::larder::test::FindNumber;
using ::larder::test::NumberTarget;
using ::larder::test::NumberWrite;
using ::larder::test::PutNumber;
using ::larder::test::Unavailable;

constexpr absl::Duration kDelay = absl::Milliseconds(10);

using WriteBehindLimitsTest = ::larder::test::WriteBehindFixture;

TEST_F(WriteBehindLimitsTest, LimitsOfEntriesAndBytesRefuseWhatIsOverThem) {
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

TEST_F(WriteBehindLimitsTest, AReservationThatIsNotUsedGivesItsRoomBack) {
  Make({.max_entries = 1, .when_full = WhenFull::kReject});
  const NumberWrite write(1, 1);
  {
    const absl::StatusOr<WriteBehind::Reservation> room = engine_->Reserve(write);
    ASSERT_TRUE(room.ok());
    EXPECT_FALSE(engine_->Reserve(write).ok());
  }
  EXPECT_TRUE(engine_->Reserve(write).ok());
}

TEST_F(WriteBehindLimitsTest, AFullQueueDoesNotWaitForBatchDelay) {
  Make({.max_entries = 2, .when_full = WhenFull::kReject, .batch_delay = absl::Hours(1)});
  MustPut(1, 1);
  MustPut(2, 2);
  EXPECT_EQ(Run(), Batches());
  EXPECT_FALSE(Put(3, 3).ok());
  EXPECT_EQ(Run(), Batches({{1, 2}}));
  MustPut(3, 4);
  EXPECT_EQ(Run(), Batches());
}

TEST_F(WriteBehindLimitsTest, AWriterThatFindsItFullWaitsUpToItsTimeout) {
  Make({.max_entries = 1, .full_timeout = absl::ZeroDuration()});
  MustPut(1, 1);
  EXPECT_TRUE(absl::IsDeadlineExceeded(Put(2, 2)));
  EXPECT_EQ(engine_->Stats().blocked, 1u);
  EXPECT_EQ(engine_->Stats().timeouts, 1u);
  MustPut(1, 3);
  EXPECT_TRUE(absl::IsResourceExhausted(Put(1, 4, uint64_t{1} << 40))) << "will never fit";
}

TEST_F(WriteBehindLimitsTest, WritersThatWaitForRoomGetItInOrder) {
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

TEST_F(WriteBehindLimitsTest, AReservationThatIsGivenBackGoesToWhoWaits) {
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

TEST_F(WriteBehindLimitsTest, WrittenThroughWhereItIsFull) {
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

TEST_F(WriteBehindLimitsTest, AWriteThroughGoesAfterEarlierOnesOfItsKeyAndReplacesNone) {
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

TEST_F(WriteBehindLimitsTest, FlushWritesWhatIsQueuedWhateverItWaitsFor) {
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
TEST_F(WriteBehindLimitsTest, FlushWaitsForTheLaterWriteThatTookThePlaceOfOne) {
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

TEST_F(WriteBehindLimitsTest, CloseWritesWhatIsQueuedAndRefusesMore) {
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

TEST_F(WriteBehindLimitsTest, CloseWaitsForWritesThatHaveRoom) {
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

TEST_F(WriteBehindLimitsTest, CloseLeavesWhatTheStoreDoesNotTake) {
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

TEST_F(WriteBehindLimitsTest, CloseGivesUpWhatTheStoreDoesNotTakeIfAskedTo) {
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

TEST_F(WriteBehindLimitsTest, RestoredWritesIgnoreTheLimitsAndKeepTheirOrder) {
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

TEST_F(WriteBehindLimitsTest, SequencesAscendFromOne) {
  Make();
  EXPECT_EQ(engine_->NextSequence(), 1u);
  EXPECT_EQ(engine_->NextSequence(), 2u);
}

// A store that writes to its own cache, or flushes it, would wait for itself.
TEST_F(WriteBehindLimitsTest, TheTargetIsNeverMadeToWaitForItself) {
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

TEST_F(WriteBehindLimitsTest, ThreadsOnAClockOfTheUsersLookWhenToldTo) {
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
