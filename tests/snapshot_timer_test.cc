// SPDX-License-Identifier: Apache-2.0

#include "larder/snapshot_timer.h"

#include <atomic>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/snapshot_options.h"
#include "tests/support/threads.h"

namespace larder {
namespace {

SnapshotInfo InfoOf(uint64_t entries) {
  SnapshotInfo info;
  info.entries = entries;
  return info;
}

TEST(SnapshotTimerTest, SavesAgainAndAgainOnAThreadOfItsOwn) {
  std::atomic<uint64_t> saves{0};
  SnapshotTimer timer(absl::Microseconds(10), [&] { return InfoOf(++saves); });
  EXPECT_TRUE(test::Eventually([&] { return timer.counts().saved >= 3; }));
  EXPECT_GE(timer.LastSave()->entries, 3u);
  EXPECT_EQ(timer.counts().failed, 0u);
}

TEST(SnapshotTimerTest, EndsWithoutASaveOfItsOwn) {
  std::atomic<uint64_t> saves{0};
  {
    SnapshotTimer timer(absl::Hours(1), [&] { return InfoOf(++saves); });
  }
  EXPECT_EQ(saves, 0u);
}

TEST(SnapshotTimerTest, EndsAfterTheSaveThatIsUnderWay) {
  std::atomic<bool> begun{false};
  std::atomic<bool> ended{false};
  {
    SnapshotTimer timer(absl::Microseconds(10), [&]() -> absl::StatusOr<SnapshotInfo> {
      begun = true;
      for (int i = 0; i < 1000; ++i) std::this_thread::yield();
      ended = true;
      return InfoOf(1);
    });
    EXPECT_TRUE(test::Eventually([&] { return begun.load(); }));
  }
  EXPECT_TRUE(ended);
}

TEST(SnapshotTimerTest, SavesWhenAskedToAndTellsHowItWent) {
  uint64_t saves = 0;
  std::vector<uint64_t> told;
  SnapshotTimer timer(
      absl::InfiniteDuration(), [&] { return InfoOf(++saves); },
      [&](const absl::StatusOr<SnapshotInfo>& info) { told.push_back(info->entries); });
  EXPECT_TRUE(absl::IsUnavailable(timer.LastSave().status()));
  EXPECT_EQ(timer.SaveNow()->entries, 1u);
  EXPECT_EQ(timer.SaveNow()->entries, 2u);
  EXPECT_EQ(timer.LastSave()->entries, 2u);
  EXPECT_EQ(told, (std::vector<uint64_t>{1, 2}));
}

TEST(SnapshotTimerTest, GoesOnAfterFailuresAndExceptions) {
  int saves = 0;
  SnapshotTimer timer(absl::InfiniteDuration(), [&]() -> absl::StatusOr<SnapshotInfo> {
    switch (++saves) {
      case 1:
        return absl::ResourceExhaustedError("disk full");
      case 2:
        throw std::runtime_error("oops");
      case 3:
        throw 3;
      default:
        return InfoOf(4);
    }
  });
  EXPECT_TRUE(absl::IsResourceExhausted(timer.SaveNow().status()));
  EXPECT_EQ(timer.SaveNow().status(), absl::InternalError("saving a snapshot threw: oops"));
  EXPECT_EQ(timer.SaveNow().status(), absl::InternalError("saving a snapshot threw"));
  EXPECT_EQ(timer.counts().failed, 3u);
  EXPECT_EQ(timer.SaveNow()->entries, 4u);
  EXPECT_EQ(timer.counts().saved, 1u);
}

TEST(SnapshotTimerTest, OneSaveAtATimeFromManyThreads) {
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  SnapshotTimer timer(absl::Microseconds(10), [&] {
    if (++inside > 1) most = 2;
    std::this_thread::yield();
    --inside;
    return InfoOf(1);
  });
  test::RunThreads(4, [&](int) {
    for (int i = 0; i < 50; ++i) EXPECT_TRUE(timer.SaveNow().ok());
  });
  EXPECT_EQ(most, 0);
  EXPECT_GE(timer.counts().saved, 200u);
}

}  // namespace
}  // namespace larder
