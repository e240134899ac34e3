// SPDX-License-Identifier: Apache-2.0
//
// OwnChanges and ForeignMarks as a server uses them, step by step in any order, and by threads.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdio>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "larder/internal/own_changes.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using Answer = OwnChanges::Answer;

constexpr char kKey[] = "key";

// A tier of one key: all that matters of one is its head, and word of its changes.
class TierOfOneKey {
 public:
  std::optional<Stamp> Head() {
    MutexLock lock(&mutex_);
    return head_;
  }
  std::optional<Stamp> Exchange(Stamp stamp) {
    MutexLock lock(&mutex_);
    ++told_;
    return std::exchange(head_, stamp);
  }
  bool SetIfHead(Stamp head, Stamp stamp) {
    MutexLock lock(&mutex_);
    if (head_ != head) return false;
    ++told_;
    head_ = stamp;
    return true;
  }
  void Invalidate() {
    MutexLock lock(&mutex_);
    ++told_;
    head_.reset();
  }
  // Changes since it was last asked.
  uint64_t TakeTold() {
    MutexLock lock(&mutex_);
    return std::exchange(told_, 0);
  }

 private:
  Mutex mutex_;
  std::optional<Stamp> head_ ABSL_GUARDED_BY(mutex_);
  uint64_t told_ ABSL_GUARDED_BY(mutex_) = 0;
};

// What a server has in memory for it: the stamp of the change that it comes from.
class MemoryOfOneKey {
 public:
  void Put(Stamp stamp) {
    MutexLock lock(&mutex_);
    stamp_ = stamp;
  }
  void Erase() {
    MutexLock lock(&mutex_);
    stamp_.reset();
  }
  std::optional<Stamp> Get() {
    MutexLock lock(&mutex_);
    return stamp_;
  }

 private:
  Mutex mutex_;
  std::optional<Stamp> stamp_ ABSL_GUARDED_BY(mutex_);
};

struct World {
  TierOfOneKey tier;
  MemoryOfOneKey memory;
  OwnChanges changes;
  ForeignMarks marks;
  StampSource own{1}, foreign{2};
};

// A write of this server, which puts into memory what it put into the tier.
class Write {
 public:
  explicit Write(World* world) : world_(world), stamp_(world->own.Next()) {}

  // False once it is done.
  bool Step() {
    switch (step_++) {
      case 0:
        mark_ = world_->marks.Of(kKey);
        operation_ = world_->changes.Begin(kKey, stamp_);
        return true;
      case 1:
        world_->tier.Exchange(stamp_);
        return true;
      case 2:
        operation_.MarkSent();
        return true;
      case 3:
        success_ = world_->tier.SetIfHead(stamp_, stamp_);
        return true;
      case 4:
        if (success_) world_->memory.Put(stamp_);
        return true;
      case 5:
        changed_ = operation_.Finish(success_, 0);
        return true;
      default:
        if (!success_ || changed_ || world_->marks.Of(kKey) != mark_) world_->memory.Erase();
        return false;
    }
  }

 private:
  World* const world_;
  const Stamp stamp_;
  int step_ = 0;
  uint64_t mark_ = 0;
  OwnChanges::Operation operation_;
  bool success_ = false;
  bool changed_ = false;
};

// The thread that changes are told to, again and again.
class Teller {
 public:
  explicit Teller(World* world) : world_(world) {}

  void Step() {
    switch (step_) {
      case 0:
        if (world_->tier.TakeTold() > 0) step_ = 1;
        break;
      case 1:
        answer_ = world_->changes.Told(kKey);
        step_ = answer_ == Answer::kNoted ? 0 : answer_ == Answer::kCheck ? 2 : 3;
        break;
      case 2: {
        const std::optional<Stamp> head = world_->tier.Head();
        step_ = head.has_value() && world_->changes.IsOwn(kKey, *head) ? 0 : 3;
        break;
      }
      case 3:
        world_->marks.Add(kKey);
        step_ = 4;
        break;
      default:
        world_->memory.Erase();
        step_ = 0;
    }
  }

  // Until nothing more is to be told.
  void Finish() {
    for (int i = 0; i < 12; ++i) Step();
  }

 private:
  World* const world_;
  int step_ = 0;
  Answer answer_ = Answer::kForeign;
};

void ChangeByOthers(World* world, bool set) {
  if (set) {
    world->tier.Exchange(world->foreign.Next());
  } else {
    world->tier.Invalidate();
  }
}

// Once all is quiet, memory has what the tier has, or nothing.
void ExpectCoherent(World* world) {
  const std::optional<Stamp> in_memory = world->memory.Get();
  if (in_memory.has_value()) {
    ASSERT_EQ(in_memory, world->tier.Head());
  }
  ASSERT_EQ(world->changes.under_way(), 0u);
}

TEST(OwnChangesInterleavingTest, NothingThatOthersChangedStaysInMemoryInAnyOrder) {
  int kept = 0;
  for (int round = 0; round < test::Rounds(20); ++round) {
    const uint64_t seed = test::SeedOfRound(round);
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::mt19937_64 random(seed);
    for (int i = 0; i < 200; ++i) {
      World world;
      Write first(&world);
      Write second(&world);
      Teller teller(&world);
      bool first_runs = true;
      bool second_runs = random() % 2 == 0;
      for (uint64_t others = random() % 3; first_runs || second_runs || others > 0;) {
        const uint64_t who = random() % 3;
        if (who == 0 && others > 0) ChangeByOthers(&world, others-- == 1);
        for (uint64_t steps = random() % 7; steps > 0; --steps) {
          if (who == 1) teller.Step();
          // A server's own writes of a key are one after the other.
          if (who == 2 && first_runs) {
            first_runs = first.Step();
          } else if (who == 2 && second_runs) {
            second_runs = second.Step();
          }
        }
      }
      teller.Finish();
      ASSERT_NO_FATAL_FAILURE(ExpectCoherent(&world)) << i;
      kept += world.memory.Get().has_value() ? 1 : 0;
    }
  }
  EXPECT_GT(kept, 0);
}

TEST(OwnChangesInterleavingTest, AloneItKeepsWhatItWrites) {
  World world;
  Teller teller(&world);
  for (int i = 0; i < 100; ++i) {
    Write write(&world);
    while (write.Step()) {
      for (int told = 0; told < i % 4; ++told) teller.Step();
    }
    teller.Finish();
    EXPECT_TRUE(world.memory.Get().has_value());
    EXPECT_EQ(world.memory.Get(), world.tier.Head());
  }
}

TEST(OwnChangesInterleavingTest, ThreadsAgreeToo) {
  constexpr int kWrites = 500;
  World world;
  Mutex write_mutex;
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < kWrites; ++j) {
        MutexLock lock(&write_mutex);
        Write write(&world);
        while (write.Step()) {
        }
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; i < kWrites; ++i) {
      ChangeByOthers(&world, i % 2 == 0);
      std::this_thread::yield();
    }
  });
  Teller teller(&world);
  std::thread telling([&] {
    while (!done.load()) {
      teller.Step();
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  done.store(true);
  telling.join();
  teller.Finish();
  ExpectCoherent(&world);
}

}  // namespace
}  // namespace larder::internal
