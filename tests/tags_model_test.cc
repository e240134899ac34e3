// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
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

// Entries of random tags and keys, and an oracle that never forgets.
class TagsModel {
 public:
  TagsModel(uint64_t seed, size_t remembered)
      : random_(seed), remembered_(remembered), tags_(Prefixes(), remembered) {}

  ~TagsModel() {
    for (const Entry& entry : entries_) tags_.Release(entry.set);
    EXPECT_EQ(tags_.sets(), 0u);
    EXPECT_LE(tags_.records(), remembered_);
  }

  void Step() {
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        Add();
        break;
      case 3:
      case 4:
        if (!entries_.empty()) Remove();
        break;
      case 5: {
        const std::string tag = RandomTag();
        tags_invalidated_[tag] = tags_.Invalidate(tag);
        break;
      }
      case 6: {
        const std::string prefix = Prefixes()[random_() % Prefixes().size()];
        if (random_() % 4 != 0) break;
        ASSERT_TRUE(tags_.InvalidatePrefix(prefix));
        prefixes_invalidated_[prefix] = tags_.generation();
        break;
      }
      case 7:
        for (Entry& entry : entries_) {
          ASSERT_EQ(Tags::Valid(entry.set, entry.validated), Valid(entry));
          if (random_() % 2 != 0 && Valid(entry)) entry.validated = tags_.generation();
        }
        break;
    }
    CheckCounts();
  }

 private:
  struct Entry {
    Names tags;
    std::string key;
    uint64_t validated;
    const TagSet* set;
  };

  static const Names& Prefixes() {
    static const Names prefixes = {"u:", "u:a:", "i:"};
    return prefixes;
  }

  std::string RandomTag() { return absl::StrCat("tag", random_() % 12); }

  uint64_t Invalidated(const Entry& entry) const {
    uint64_t last = 0;
    for (const std::string& tag : entry.tags) {
      const auto found = tags_invalidated_.find(tag);
      if (found != tags_invalidated_.end()) last = std::max(last, found->second);
    }
    for (const auto& [prefix, generation] : prefixes_invalidated_) {
      if (entry.key.starts_with(prefix)) last = std::max(last, generation);
    }
    return last;
  }
  bool Valid(const Entry& entry) const { return Invalidated(entry) <= entry.validated; }

  // What a load brings that began some generations ago.
  void Add() {
    static const Names keys = {"u:1", "u:a:1", "i:1", "x"};
    Entry entry{Names(random_() % 4), keys[random_() % keys.size()], 0, nullptr};
    for (std::string& tag : entry.tags) tag = RandomTag();
    const uint64_t age = random_() % 2 == 0 ? 0 : random_() % 10;
    entry.validated = tags_.generation() - std::min(age, tags_.generation() - 1);
    entry.set = tags_.Acquire(entry.tags, tags_.PrefixesOf(entry.key));
    const bool valid = Tags::Valid(entry.set, entry.validated);
    if (valid || age == 0 || tags_invalidated_.size() <= remembered_) {
      ASSERT_EQ(valid, Valid(entry));
    }
    if (valid) {
      entries_.push_back(std::move(entry));
    } else {
      tags_.Release(entry.set);
    }
  }

  void Remove() {
    std::swap(entries_[random_() % entries_.size()], entries_.back());
    tags_.Release(entries_.back().set);
    entries_.pop_back();
  }

  void CheckCounts() {
    std::set<std::set<std::string>> sets;
    std::set<std::string> carried;
    for (const Entry& entry : entries_) {
      if (entry.tags.empty()) continue;
      std::set<std::string> members(entry.tags.begin(), entry.tags.end());
      carried.insert(members.begin(), members.end());
      for (const std::string& prefix : Prefixes()) {
        if (entry.key.starts_with(prefix)) members.insert(absl::StrCat("prefix ", prefix));
      }
      sets.insert(std::move(members));
    }
    ASSERT_EQ(tags_.sets(), sets.size());
    ASSERT_GE(tags_.records(), carried.size());
    ASSERT_LE(tags_.records(), carried.size() + remembered_);
  }

  std::mt19937_64 random_;
  const size_t remembered_;
  Tags tags_;
  std::vector<Entry> entries_;
  std::map<std::string, uint64_t> tags_invalidated_;
  std::map<std::string, uint64_t> prefixes_invalidated_;
};

TEST(TagsModelTest, AnswersAsOneThatNeverForgetsOrIsTooCareful) {
  for (int round = 0; round < Rounds(60); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    static constexpr size_t kLimits[] = {0, 1, 3, 6, 12};
    TagsModel model(seed, kLimits[seed % std::size(kLimits)]);
    for (int i = 0; i < 400 && !::testing::Test::HasFatalFailure(); ++i) model.Step();
    if (::testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace larder::internal
