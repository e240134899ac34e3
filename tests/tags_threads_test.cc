// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "larder/internal/tags.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

using Names = std::vector<std::string>;

constexpr size_t kNames = 6;

// How often each name was invalidated: calls that have begun, and calls that have returned. One
// thread invalidates one name.
struct Progress {
  std::array<std::atomic<uint64_t>, kNames> begun{};
  std::array<std::atomic<uint64_t>, kNames> returned{};
};

std::string Name(size_t i) { return absl::StrCat("name", i); }

// The even names are invalidated as prefixes, the odd ones as tags; the entry of a name carries it.
const TagSet* AcquireOf(Tags& tags, size_t name, std::mt19937_64& random) {
  Names names(random() % 3);
  for (std::string& extra : names) extra = absl::StrCat("never", random() % 3);
  if (name % 2 == 0) return tags.Acquire(names, tags.PrefixesOf(Name(name)));
  names.push_back(Name(name));
  return tags.Acquire(names);
}

void InvalidateName(Tags& tags, size_t name, Progress& progress) {
  progress.begun[name].fetch_add(1);
  if (name % 2 == 0) {
    ASSERT_TRUE(tags.InvalidatePrefix(Name(name)));
  } else {
    tags.Invalidate(Name(name));
  }
  progress.returned[name].fetch_add(1);
}

// Loads that are stamped, take their time, and are then stored or not; with invalidations beside
// them.
void LoadAndCheck(Tags& tags, const Progress& progress, bool forgets, uint64_t seed, int loads) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < loads; ++i) {
    const size_t name = random() % kNames;
    const uint64_t returned = progress.returned[name].load();
    const uint64_t stamp = tags.generation();
    const uint64_t begun = progress.begun[name].load();
    if (random() % 4 == 0) std::this_thread::yield();
    const TagSet* set = AcquireOf(tags, name, random);
    const bool had_returned = progress.returned[name].load() > begun;
    const bool valid = Tags::Valid(set, stamp);
    if (had_returned) {
      ASSERT_FALSE(valid) << "an invalidation began and returned after the stamp";
    }
    if (!forgets && progress.begun[name].load() == returned) {
      ASSERT_TRUE(valid) << "none began that hadn't returned before the stamp";
    }
    tags.Release(set);
  }
}

void RaceLoadsAndInvalidations(size_t remembered, uint64_t seed) {
  Tags tags({Name(0), Name(2), Name(4)}, remembered);
  Progress progress;
  std::atomic<int> loaders{2};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      LoadAndCheck(tags, progress, remembered < kNames, seed * 4 + static_cast<uint64_t>(t), 4000);
      loaders.fetch_sub(1);
    });
  }
  for (size_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      while (loaders.load() > 0) {
        for (size_t name = t; name < kNames; name += 2) {
          InvalidateName(tags, name, progress);
          std::this_thread::yield();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(tags.sets(), 0u);
  EXPECT_LE(tags.records(), remembered);
}

TEST(TagsThreadsTest, ALoadIsValidUnlessItsTagWasInvalidatedAfterItsStart) {
  for (int round = 0; round < Rounds(4); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RaceLoadsAndInvalidations(Tags::kRemembered, seed);
  }
}

TEST(TagsThreadsTest, OneThatForgetsServesNoLoadThatIsTooOld) {
  for (int round = 0; round < Rounds(4); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RaceLoadsAndInvalidations(/*remembered=*/1, seed);
  }
}

struct Entry {
  const TagSet* set = nullptr;
  std::atomic<uint64_t> validated{0};
};

// A lookup, as the contract of Tags describes it.
bool Lookup(Entry& entry, uint64_t generation) {
  uint64_t validated = entry.validated.load(std::memory_order_relaxed);
  if (validated >= generation) return true;
  if (!Tags::Valid(entry.set, validated)) return false;
  entry.validated.compare_exchange_strong(validated, generation, std::memory_order_relaxed);
  return true;
}

// Each name is invalidated once, while lookups of all of them go on.
void RaceLookupsAndInvalidations(uint64_t seed) {
  Tags tags({Name(0), Name(2), Name(4)});
  Progress progress;
  std::mt19937_64 random(seed);
  std::array<Entry, kNames> entries;
  for (size_t name = 0; name < kNames; ++name) {
    entries[name].set = AcquireOf(tags, name, random);
    entries[name].validated = tags.generation();
  }
  std::atomic<int> ready{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      ready.fetch_add(1);
      for (size_t left = kNames, i = t; left > 0; ++i) {
        const size_t name = i % kNames;
        const bool returned = progress.returned[name].load() > 0;
        const bool found = Lookup(entries[name], tags.generation());
        if (returned) {
          ASSERT_FALSE(found);
        }
        if (progress.begun[name].load() == 0) {
          ASSERT_TRUE(found);
        }
        left = returned ? left - 1 : kNames;
      }
    });
  }
  for (size_t t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      while (ready.load() < 2) std::this_thread::yield();
      for (size_t name = t; name < kNames; name += 2) {
        tags.Invalidate("another");
        InvalidateName(tags, name, progress);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (Entry& entry : entries) tags.Release(entry.set);
  EXPECT_EQ(tags.sets(), 0u);
}

TEST(TagsThreadsTest, ALookupFindsWhatIsValidAndNothingElse) {
  for (int round = 0; round < Rounds(50); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RaceLookupsAndInvalidations(seed);
  }
}

// The last holder's release against a new holder's arrival.
TEST(TagsThreadsTest, ASetThatIsReleasedAndAcquiredAtOnceStays) {
  Tags tags({}, /*remembered=*/1);
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 3; ++t) {
    threads.emplace_back([&tags, t] {
      std::mt19937_64 random(SeedOfRound(static_cast<int>(t)));
      for (int i = 0; i < 10000; ++i) {
        const TagSet* set = tags.Acquire(Names{"a", random() % 8 == 0 ? "b" : "c"});
        ASSERT_TRUE(Tags::Valid(set, UINT64_MAX));  // looks at its records
        if (i % 64 == 0) tags.Invalidate("b");
        tags.Release(set);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(tags.sets(), 0u);
  EXPECT_LE(tags.records(), 1u);
}

}  // namespace
}  // namespace larder::internal
