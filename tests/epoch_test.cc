// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/epoch.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/thread_record.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;

// Whether what was unlinked before this call may be freed.
bool MayFreeNow() {
  const uint64_t tag = Epoch::Advance();
  return Epoch::OldestReader() > tag;
}

TEST(EpochTest, EachAdvanceEndsTheEpochThatTheOneBeforeBegan) {
  const uint64_t first = Epoch::Advance();
  EXPECT_EQ(Epoch::Advance(), first + 1);
  EXPECT_EQ(Epoch::Advance(), first + 2);
}

TEST(EpochTest, WithoutReadersAllMayBeFreed) { EXPECT_TRUE(MayFreeNow()); }

TEST(EpochTest, WhatALookHasSeenIsKnownToAll) {
  const uint64_t tag = Epoch::Advance();
  EXPECT_LE(Epoch::FreeBefore(), tag);
  EXPECT_GT(Epoch::LookAtReaders(), tag);
  EXPECT_GT(Epoch::FreeBefore(), tag);
}

TEST(EpochTest, ALookStopsAtTheOldestReader) {
  const uint64_t before = Epoch::Advance();
  std::optional<EpochGuard> reader(ThreadRecord::Current());
  const uint64_t after = Epoch::Advance();
  const uint64_t free_before = Epoch::LookAtReaders();
  EXPECT_GT(free_before, before);
  EXPECT_LE(free_before, after);
  reader.reset();
  EXPECT_GT(Epoch::LookAtReaders(), after);
}

// Else a look by a thread without readers would take back what was known, or allow too much.
TEST(EpochTest, WhatIsFreeNeverGoesBackNorPastTheLook) {
  const uint64_t first = Epoch::LookAtReaders();
  const EpochGuard reader(ThreadRecord::Current());
  EXPECT_GE(Epoch::LookAtReaders(), first);
  EXPECT_LE(Epoch::FreeBefore(), Epoch::Advance());
}

TEST(EpochTest, AGuardKeepsWhatWasThereWhenItBegan) {
  std::optional<EpochGuard> guard(ThreadRecord::Current());
  const uint64_t tag = Epoch::Advance();
  EXPECT_LE(Epoch::OldestReader(), tag);
  Epoch::Advance();
  EXPECT_LE(Epoch::OldestReader(), tag);
  guard.reset();
  EXPECT_GT(Epoch::OldestReader(), tag);
}

TEST(EpochTest, AGuardDoesNotKeepWhatWasUnlinkedBeforeIt) {
  const uint64_t tag = Epoch::Advance();
  const EpochGuard guard(ThreadRecord::Current());
  EXPECT_GT(Epoch::OldestReader(), tag);
}

TEST(EpochTest, NestedGuardsProtectUntilTheOuterOneEnds) {
  ThreadRecord& self = ThreadRecord::Current();
  std::optional<EpochGuard> outer(self);
  const uint64_t tag = Epoch::Advance();
  {
    const EpochGuard inner(self);
    EXPECT_LE(Epoch::OldestReader(), tag);
  }
  EXPECT_LE(Epoch::OldestReader(), tag) << "the inner guard's end ended the outer one";
  outer.reset();
  EXPECT_GT(Epoch::OldestReader(), tag);
}

TEST(EpochTest, AGuardOfAnotherThreadIsSeen) {
  std::latch begun(1);
  std::latch end(1);
  std::thread reader([&] {
    const EpochGuard guard(ThreadRecord::Current());
    begun.count_down();
    end.wait();
  });
  begun.wait();
  const uint64_t tag = Epoch::Advance();
  EXPECT_LE(Epoch::OldestReader(), tag);
  // A reader that stalls holds up its own epoch and later ones, and nothing older.
  EXPECT_GT(Epoch::OldestReader(), tag - 1);
  end.count_down();
  reader.join();
  EXPECT_GT(Epoch::OldestReader(), tag);
}

void ExpectTheOldestOfThreeGuardsToCount() {
  std::array<std::latch, 3> begun = {std::latch(1), std::latch(1), std::latch(1)};
  std::array<std::latch, 3> end = {std::latch(1), std::latch(1), std::latch(1)};
  std::array<uint64_t, 3> tags{};
  std::vector<std::thread> readers;
  for (size_t i = 0; i < 3; ++i) {
    readers.emplace_back([&, i] {
      const EpochGuard guard(ThreadRecord::Current());
      begun[i].count_down();
      end[i].wait();
    });
    begun[i].wait();
    tags[i] = Epoch::Advance();
  }
  EXPECT_EQ(Epoch::OldestReader(), tags[0]);
  const auto stop = [&](size_t i) {
    end[i].count_down();
    readers[i].join();
  };
  stop(1);
  EXPECT_EQ(Epoch::OldestReader(), tags[0]);
  stop(0);
  EXPECT_EQ(Epoch::OldestReader(), tags[2]);
  stop(2);
  EXPECT_GT(Epoch::OldestReader(), tags[2]);
}

// New threads' records come first in the list, those that are used again in its order.
TEST(EpochTest, TheOldestOfSeveralGuardsCounts) {
  for (int round = 0; round < 2; ++round) ExpectTheOldestOfThreeGuardsToCount();
}

TEST(EpochTest, AThreadThatEndedHoldsUpNothing) {
  for (int i = 0; i < 10; ++i) {
    std::thread([] { const EpochGuard guard(ThreadRecord::Current()); }).join();
    EXPECT_TRUE(MayFreeNow());
  }
}

// An object that knows whether it still is one. AddressSanitizer sees a use after it was freed,
// ThreadSanitizer a free that no reader's end happens before.
struct Object {
  explicit Object(uint64_t n) : number(n), check(~n) {}
  ~Object() { number = check = 0; }
  bool Sound() const { return check == ~number; }
  uint64_t number;
  uint64_t check;
};

// What the cache does with its nodes: one pointer, swapped by a writer and followed by readers.
class SharedObject {
 public:
  ~SharedObject() {
    for (const auto& [tag, object] : retired_) delete object;
    delete current_.load();
  }

  // Returns the number seen, 0 where it saw an object that was no more.
  uint64_t Read(ThreadRecord& self) const {
    const EpochGuard guard(self);
    const Object* object = current_.load(std::memory_order_acquire);
    return object->Sound() ? object->number : 0;
  }

  // For one writer at a time.
  void Write(uint64_t number) {
    Object* old = current_.exchange(new Object(number), std::memory_order_acq_rel);
    retired_.emplace_back(Epoch::Advance(), old);
    const uint64_t oldest_reader = Epoch::OldestReader();
    while (!retired_.empty() && retired_.front().first < oldest_reader) {
      delete retired_.front().second;
      retired_.erase(retired_.begin());
    }
  }

  size_t waiting() const { return retired_.size(); }

 private:
  std::atomic<Object*> current_{new Object(1)};
  std::vector<std::pair<uint64_t, Object*>> retired_;
};

TEST(EpochTest, ReadersNeverSeeAnObjectThatWasFreed) {
  SharedObject shared;
  std::atomic<bool> done{false};
  std::atomic<bool> unsound{false};
  std::atomic<bool> went_back{false};
  const auto read = [&] {
    ThreadRecord& self = ThreadRecord::Current();
    for (uint64_t last = 0; !done.load(std::memory_order_relaxed);) {
      const uint64_t seen = shared.Read(self);
      if (seen == 0) unsound.store(true);
      if (seen < last) went_back.store(true);
      last = seen;
    }
  };
  std::thread readers[] = {std::thread(read), std::thread(read), std::thread(read)};
  const auto writes = static_cast<uint64_t>(Rounds(30'000));
  for (uint64_t number = 2; number < writes; ++number) shared.Write(number);
  done.store(true);
  for (std::thread& reader : readers) reader.join();
  EXPECT_FALSE(unsound.load());
  EXPECT_FALSE(went_back.load());
  shared.Write(writes);
  EXPECT_EQ(shared.waiting(), 0u) << "no reader is left, but something still waits for one";
}

// Readers of a few operations each, thousands of them, while objects are swapped and freed: a
// thread that has just begun, or takes over the record of one that ended, is protected as well.
TEST(EpochTest, ThreadsThatComeAndGoAreProtected) {
  SharedObject shared;
  std::atomic<bool> done{false};
  std::thread writer([&] {
    for (uint64_t number = 2; !done.load(std::memory_order_relaxed); ++number) {
      shared.Write(number);
    }
  });
  std::atomic<bool> unsound{false};
  for (int i = 0; i < Rounds(1'000); ++i) {
    const auto read = [&] {
      for (int k = 0; k < 20; ++k) {
        if (shared.Read(ThreadRecord::Current()) == 0) unsound.store(true);
      }
    };
    std::thread first(read);
    std::thread second(read);
    first.join();
    second.join();
  }
  done.store(true);
  writer.join();
  EXPECT_FALSE(unsound.load());
}

// Several reclaimers, each of its own objects, which all readers read.
TEST(EpochTest, SeveralReclaimersAtOnce) {
  std::array<SharedObject, 2> shared;
  std::atomic<bool> done{false};
  std::atomic<bool> unsound{false};
  std::thread reader([&] {
    ThreadRecord& self = ThreadRecord::Current();
    while (!done.load(std::memory_order_relaxed)) {
      const EpochGuard outer(self);
      if (shared[0].Read(self) == 0 || shared[1].Read(self) == 0) unsound.store(true);
    }
  });
  std::vector<std::thread> writers;
  for (SharedObject& object : shared) {
    writers.emplace_back([&object] {
      const auto writes = static_cast<uint64_t>(Rounds(10'000));
      for (uint64_t number = 2; number < writes; ++number) object.Write(number);
    });
  }
  for (std::thread& writer : writers) writer.join();
  done.store(true);
  reader.join();
  EXPECT_FALSE(unsound.load());
}

}  // namespace
}  // namespace larder::internal
