// SPDX-License-Identifier: Apache-2.0
// Handles, and the nodes that they keep alive.
#include "larder/handle.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "larder/internal/node.h"
#include "larder/internal/node_owner.h"
#include "larder/manual_clock.h"
#include "tests/support/rounds.h"
#include "tests/support/throwing.h"

namespace larder {
namespace {

using test::Counted;
using test::Rounds;
using Users = Cache<std::string, Counted>;

class HandleTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (cache_ != nullptr) {
      EXPECT_TRUE(cache_->CheckInvariants().ok()) << cache_->CheckInvariants();
    }
    cache_.reset();
    EXPECT_EQ(Counted::Live(), live_before_) << "values leaked, or destroyed twice";
    EXPECT_EQ(Counted::Violations(), violations_before_);
  }

  static Users::Options Options(uint64_t capacity, const Clock* clock) {
    Users::Options options;
    options.capacity = capacity;
    options.stripes = 1;
    options.clock = clock;
    return options;
  }

  int64_t live() const { return Counted::Live() - live_before_; }

  ManualClock clock_;
  const int64_t live_before_ = Counted::Live();
  const int64_t violations_before_ = Counted::Violations();
  std::unique_ptr<Users> cache_ = Users::Create(Options(10, &clock_)).value();
};

TEST_F(HandleTest, IsEmptyWithoutAnEntry) {
  Users::Handle none;
  EXPECT_FALSE(none);
  EXPECT_FALSE(cache_->Pin("key"));
}

TEST_F(HandleTest, ShowsKeyAndValueWithoutACopy) {
  ASSERT_TRUE(cache_->Put("key", 7).ok());
  const int64_t before = live();
  const Users::Handle handle = cache_->Pin("key");
  ASSERT_TRUE(handle);
  EXPECT_EQ(handle->number(), 7u);
  EXPECT_EQ((*handle).number(), 7u);
  EXPECT_EQ(handle.key(), "key");
  EXPECT_EQ(&*cache_->Pin("key"), &*handle);
  EXPECT_EQ(live(), before);
}

TEST_F(HandleTest, OutlivesWhateverRemovesItsEntry) {
  struct Case {
    const char* name;
    std::function<void()> remove;
  };
  const std::vector<Case> cases = {
      {"replace", [&] { ASSERT_TRUE(cache_->Put("key", 8).ok()); }},
      {"erase", [&] { ASSERT_TRUE(cache_->Erase("key")); }},
      {"erase if", [&] { cache_->EraseIf([](const auto& key, auto&) { return key == "key"; }); }},
      {"compute",
       [&] {
         const auto nothing = [](std::optional<Counted>) { return std::optional<Counted>(); };
         ASSERT_TRUE(cache_->Compute("key", nothing).ok());
       }},
      {"clear", [&] { cache_->Clear(); }},
      {"evict",
       [&] {
         for (int i = 0; i < 20; ++i) ASSERT_TRUE(cache_->Put(std::to_string(i), 0).ok());
         ASSERT_FALSE(cache_->Contains("key"));
       }},
      {"shrink", [&] { ASSERT_TRUE(cache_->SetCapacity(1).ok()); }},
      {"expire", [&] { clock_.Advance(absl::Hours(2)); }},
  };
  for (const auto& [name, remove] : cases) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(cache_->SetCapacity(10).ok());
    ASSERT_TRUE(cache_->Put("key", 7, {.ttl = absl::Hours(1)}).ok());
    ASSERT_TRUE(cache_->Put("other", 1).ok());
    const Users::Handle handle = cache_->Pin("key");
    ASSERT_TRUE(handle);
    remove();
    while (cache_->RunMaintenance(1'000) > 0) {
    }
    // Its slot isn't reused either.
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(cache_->Put(std::to_string(i), 1).ok());
    EXPECT_EQ(handle->number(), 7u);
    EXPECT_EQ(handle.key(), "key");
  }
}

TEST_F(HandleTest, OutlivesTheCache) {
  ASSERT_TRUE(cache_->Put("kept", 1).ok());
  ASSERT_TRUE(cache_->Put("replaced", 2).ok());
  ASSERT_TRUE(cache_->Put("not pinned", 3).ok());
  Users::Handle kept = cache_->Pin("kept");
  Users::Handle again = cache_->Pin("kept");
  Users::Handle replaced = cache_->Pin("replaced");
  ASSERT_TRUE(cache_->Put("replaced", 4).ok());
  cache_.reset();
  EXPECT_EQ(live(), 2);
  EXPECT_EQ(kept->number(), 1u);
  EXPECT_EQ(kept.key(), "kept");
  EXPECT_EQ(replaced->number(), 2u);
  kept = Users::Handle();
  EXPECT_EQ(live(), 2);
  EXPECT_EQ(again->number(), 1u);
  again = Users::Handle();
  EXPECT_EQ(live(), 1);
}

TEST_F(HandleTest, AValueGoesWithItsLastHandleOnceItWasRemoved) {
  ASSERT_TRUE(cache_->Put("key", 7).ok());
  std::vector<Users::Handle> handles;
  for (int i = 0; i < 10'000; ++i) handles.push_back(cache_->Pin("key"));
  ASSERT_TRUE(cache_->Erase("key"));
  while (cache_->RunMaintenance(1'000) > 0) {
  }
  EXPECT_EQ(live(), 1);
  while (handles.size() > 1) handles.pop_back();
  EXPECT_EQ(handles[0]->number(), 7u);
  handles.clear();
  EXPECT_EQ(live(), 0);
}

TEST_F(HandleTest, AValueThatIsStillInTheCacheStaysThere) {
  ASSERT_TRUE(cache_->Put("key", 7).ok());
  cache_->Pin("key");
  { const Users::Handle handle = cache_->Pin("key"); }
  EXPECT_EQ(live(), 1);
  EXPECT_EQ(cache_->Get("key")->number(), 7u);
}

TEST_F(HandleTest, MovesLeaveNothingBehind) {
  ASSERT_TRUE(cache_->Put("a", 1).ok());
  ASSERT_TRUE(cache_->Put("b", 2).ok());
  Users::Handle first = cache_->Pin("a");
  Users::Handle second(std::move(first));
  EXPECT_FALSE(first);  // NOLINT: what a move leaves is defined here
  EXPECT_EQ(second->number(), 1u);
  cache_->Clear();
  while (cache_->RunMaintenance(1'000) > 0) {
  }
  EXPECT_EQ(live(), 1);
  // What the target held goes at once, not when the source does.
  Users::Handle third;
  second = std::move(third);
  EXPECT_FALSE(second);
  EXPECT_EQ(live(), 0);
}

TEST_F(HandleTest, AMoveToItselfChangesNothing) {
  ASSERT_TRUE(cache_->Put("key", 7).ok());
  Users::Handle handle = cache_->Pin("key");
  Users::Handle& same = handle;
  handle = std::move(same);
  ASSERT_TRUE(handle);
  EXPECT_EQ(handle->number(), 7u);
  Users::Handle empty;
  Users::Handle& same_empty = empty;
  empty = std::move(same_empty);
  EXPECT_FALSE(empty);
}

TEST_F(HandleTest, CanBeSwapped) {
  ASSERT_TRUE(cache_->Put("a", 1).ok());
  ASSERT_TRUE(cache_->Put("b", 2).ok());
  Users::Handle a = cache_->Pin("a");
  Users::Handle b = cache_->Pin("b");
  std::swap(a, b);
  EXPECT_EQ(a->number(), 2u);
  EXPECT_EQ(b->number(), 1u);
}

TEST_F(HandleTest, ValuesThatCannotBeCopiedCanBePinned) {
  using Pointers = Cache<int, std::unique_ptr<Counted>>;
  Pointers::Options options;
  options.capacity = 2;
  auto cache = Pointers::Create(options).value();
  ASSERT_TRUE(cache->Put(1, std::make_unique<Counted>(7)).ok());
  const Pointers::Handle handle = cache->Pin(1);
  ASSERT_TRUE(cache->Put(1, nullptr).ok());
  cache.reset();
  EXPECT_EQ((*handle)->number(), 7u);
}

// The destructor of the last value to go may be what ends the cache's memory.
TEST_F(HandleTest, CanBeDroppedInOtherThreadsAfterTheCacheIsGone) {
  for (int round = 0; round < Rounds(50); ++round) {
    auto cache = Users::Create(Options(100, nullptr)).value();
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(cache->Put(std::to_string(i), i).ok());
    std::latch all_pinned(4);
    std::latch gone(1);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        std::vector<Users::Handle> handles;
        for (int i = 0; i < 50; ++i) handles.push_back(cache->Pin(std::to_string(i)));
        all_pinned.count_down();
        gone.wait();
        for (size_t i = 0; i < 50; ++i) EXPECT_EQ(handles[i]->number(), i);
      });
    }
    all_pinned.wait();
    cache.reset();
    gone.count_down();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(live(), 0);
  }
}

// Readers pin, look and drop, while writers replace, erase and evict: each value is whole while a
// handle is held, and destroyed once.
TEST_F(HandleTest, PinsRaceWithRemovals) {
  constexpr int kKeys = 8;
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&] {
      Users::Handle kept;
      for (int i = 0; !done.load(std::memory_order_relaxed); ++i) {
        const std::string key = std::to_string(i % kKeys);
        Users::Handle handle = cache_->Pin(key);
        if (!handle) continue;
        EXPECT_EQ(std::to_string(handle->number() % kKeys), key);
        EXPECT_EQ(handle.key(), key);
        if (i % 3 == 0) kept = std::move(handle);
      }
    });
  }
  const int writes = Rounds(30'000);
  std::vector<std::thread> writers;
  for (int t = 0; t < 2; ++t) {
    writers.emplace_back([&, t] {
      for (int i = t; i < writes; i += 2) {
        const std::string key = std::to_string(i % kKeys);
        if (i % 5 == 0) {
          cache_->Erase(key);
        } else {
          EXPECT_TRUE(cache_->Put(key, static_cast<uint64_t>(i)).ok());
        }
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  done.store(true);
  for (std::thread& reader : readers) reader.join();
}

// Owns one node, and counts what becomes of it.
class OneNodeOwner final : public internal::NodeOwner {
 public:
  explicit OneNodeOwner(std::atomic<int>* freed, std::atomic<int>* destroyed)
      : freed_(*freed), destroyed_(*destroyed) {}
  ~OneNodeOwner() override { destroyed_.fetch_add(1); }

  void Pin() { node_.state.fetch_add(1); }
  void Unpin() { NodeOwner::Unpin(0, node_); }
  // The cache's part: frees the node, unless it is pinned, and lets go of it.
  void Reclaim() {
    if (MayFree(node_)) freed_.fetch_add(1);
    DropReference();
  }

 private:
  void FreeOrphan(internal::NodeIndex) override {
    freed_.fetch_add(1);
    DropReference();
  }

  std::atomic<int>& freed_;
  std::atomic<int>& destroyed_;
  internal::NodeHeader node_{};
};

TEST(NodeOwnerTest, ANodeThatIsNotPinnedIsFreedByTheOwner) {
  std::atomic<int> freed{0};
  std::atomic<int> destroyed{0};
  (new OneNodeOwner(&freed, &destroyed))->Reclaim();
  EXPECT_EQ(freed.load(), 1);
  EXPECT_EQ(destroyed.load(), 1);
}

TEST(NodeOwnerTest, APinnedNodeIsFreedWithItsLastPinAndTheOwnerWithIt) {
  std::atomic<int> freed{0};
  std::atomic<int> destroyed{0};
  auto* owner = new OneNodeOwner(&freed, &destroyed);
  owner->Pin();
  owner->Pin();
  owner->Pin();
  owner->Unpin();
  owner->Reclaim();
  EXPECT_EQ(freed.load(), 0);
  owner->Unpin();
  EXPECT_EQ(freed.load(), 0);
  EXPECT_EQ(destroyed.load(), 0);
  owner->Unpin();
  EXPECT_EQ(freed.load(), 1);
  EXPECT_EQ(destroyed.load(), 1);
}

// Lets two threads pass each point together.
class Meeting {
 public:
  void Pass(int point) {
    arrived_.fetch_add(1);
    for (int spins = 0; arrived_.load() < 2 * point; ++spins) {
      if (spins > 1'000) std::this_thread::yield();
    }
  }

 private:
  std::atomic<int> arrived_{0};
};

TEST(NodeOwnerTest, TheLastPinAndTheReclaimerRaceAndOneOfThemFrees) {
  const int rounds = Rounds(50'000);
  std::atomic<int> freed{0};
  std::atomic<int> destroyed{0};
  Meeting meeting;
  OneNodeOwner* owner = nullptr;
  std::thread unpin([&] {
    for (int round = 1; round <= rounds; ++round) {
      meeting.Pass(2 * round - 1);
      // The one or the other is a little later.
      for (int i = 0; i < round % 1024; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
      owner->Unpin();
      meeting.Pass(2 * round);
    }
  });
  for (int round = 1; round <= rounds; ++round) {
    owner = new OneNodeOwner(&freed, &destroyed);
    owner->Pin();
    meeting.Pass(2 * round - 1);
    for (int i = 0; i < 512; ++i) std::atomic_signal_fence(std::memory_order_seq_cst);
    owner->Reclaim();
    meeting.Pass(2 * round);
  }
  unpin.join();
  EXPECT_EQ(freed.load(), rounds);
  EXPECT_EQ(destroyed.load(), rounds);
}

}  // namespace
}  // namespace larder
