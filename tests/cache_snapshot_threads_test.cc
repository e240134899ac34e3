// SPDX-License-Identifier: Apache-2.0
// Snapshots that are saved and loaded while threads use the cache.
#include <atomic>
#include <cstdint>
#include <map>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/policy.h"
#include "larder/snapshot.h"
#include "tests/support/rounds.h"
#include "tests/support/snapshot_fixture.h"
#include "tests/support/threads.h"

namespace larder::test {
namespace {

constexpr uint64_t kStaying = 500;  // keys that stay throughout
constexpr uint64_t kChanging = 500;

// A value that tells whether it is whole, and of which key.
std::string ValueOf(uint64_t key, uint64_t version) {
  return absl::StrCat(key, ":",
                      std::string(20 + version % 50, static_cast<char>('a' + version % 26)));
}
bool IsWhole(const std::string& key, const std::string& value) {
  if (!value.starts_with(absl::StrCat(key, ":"))) return false;
  const std::string rest = value.substr(key.size() + 1);
  return rest.size() >= 20 && rest == std::string(rest.size(), rest[0]);
}

template <class Policy>
class CacheSnapshotThreadsTest : public CacheSnapshotTest {};
using Policies = ::testing::Types<Lru, S3Fifo>;
TYPED_TEST_SUITE(CacheSnapshotThreadsTest, Policies);

TYPED_TEST(CacheSnapshotThreadsTest, EntriesThatStayAreSavedOnceAndAllAreWhole) {
  using CacheT = Cache<std::string, std::string, TypeParam>;
  for (const int stripes : {1, 4}) {
    typename CacheT::Options options;
    options.capacity = 2000;
    options.stripes = stripes;
    auto& cache = this->template Make<CacheT>(options);
    for (uint64_t i = 0; i < kStaying; ++i) {
      ASSERT_TRUE(cache.Put(absl::StrCat(i), ValueOf(i, i)).ok());
    }
    std::atomic<bool> done{false};
    RunThreads(4, [&](int thread) {
      if (thread > 0) {
        std::mt19937_64 random(static_cast<uint64_t>(thread));
        for (uint64_t n = 0; !done.load(std::memory_order_relaxed); ++n) {
          const uint64_t key = kStaying + random() % kChanging;
          const std::string text = absl::StrCat(key);
          switch (random() % 8) {
            case 0:
              cache.Erase(text);
              break;
            case 1:
              cache.Put(text, ValueOf(key, n), {.ttl = absl::Microseconds(50), .tags = {"t"}})
                  .IgnoreError();
              break;
            case 2:
              cache.Get(absl::StrCat(random() % kStaying));
              break;
            case 3:
              if (n % 64 == 0) cache.InvalidateTag("t");
              cache.RunMaintenance(100);
              break;
            default:
              cache.Put(text, ValueOf(key, n)).IgnoreError();
          }
        }
        return;
      }
      const auto save_and_look = [&] {
        ASSERT_EQ(this->Save(cache).status(), absl::OkStatus());
        auto loaded = CacheT::Create(options).value();
        std::map<std::string, int> times;
        const auto counted = [&](const std::string& key) { return ++times[key] > 0; };
        ASSERT_EQ(loaded->LoadSnapshot(this->kPath, this->Options(), counted).status(),
                  absl::OkStatus());
        std::map<std::string, std::string> contents = ContentsOf(*loaded);
        for (const auto& [key, value] : contents) EXPECT_TRUE(IsWhole(key, value)) << value;
        for (uint64_t key = 0; key < kStaying; ++key) {
          ASSERT_EQ(contents[absl::StrCat(key)], ValueOf(key, key));
          ASSERT_EQ(times[absl::StrCat(key)], 1) << key;
        }
      };
      for (int i = 0; i < Rounds(10); ++i) save_and_look();
      done = true;
    });
  }
}

TYPED_TEST(CacheSnapshotThreadsTest, SavesAndLoadsAndTrafficDontDisturbEachOther) {
  using CacheT = Cache<uint64_t, uint64_t, TypeParam>;
  typename CacheT::Options options;
  options.capacity = 300;
  auto& cache = this->template Make<CacheT>(options);
  for (uint64_t i = 0; i < 300; ++i) ASSERT_TRUE(cache.Put(i, 3 * i).ok());
  ASSERT_TRUE(this->Save(cache).ok());
  std::atomic<int> working{3};
  RunThreads(6, [&](int thread) {
    if (thread < 2) {
      for (int i = 0; i < Rounds(20); ++i) EXPECT_TRUE(this->Save(cache).ok());
      --working;
    } else if (thread == 2) {
      for (int i = 0; i < Rounds(20); ++i) {
        if (i % 4 == 0) cache.Clear();
        EXPECT_TRUE(this->Load(cache).ok());
      }
      --working;
    } else {
      std::mt19937_64 random(static_cast<uint64_t>(thread));
      while (working.load(std::memory_order_relaxed) > 0) {
        const uint64_t key = random() % 600;
        // Values are multiples of three, and overwritten where they are.
        if (random() % 4 == 0) cache.Put(key, 3 * (random() % 1000)).IgnoreError();
        EXPECT_EQ(cache.Get(key).value_or(0) % 3, 0u);
      }
    }
  });
  EXPECT_LE(cache.weight(), cache.capacity());
  EXPECT_TRUE(this->Save(cache).ok());
  EXPECT_EQ(this->files_.Files().size(), 1u);
}

}  // namespace
}  // namespace larder::test
