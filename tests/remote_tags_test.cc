// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/remote_tags.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

namespace larder::internal {
namespace {

RemoteTagRecord RecordAt(uint64_t clock) { return {7, clock}; }

// What is known of a tag: its record's clock; 0 for that there is none, -1 for nothing.
int64_t ClockOf(const std::optional<RemoteTags::Known>& known) {
  if (!known.has_value()) return -1;
  return known->record.has_value() ? static_cast<int64_t>(known->record->clock) : 0;
}

TEST(RemoteTagsTest, KnowWhatTheyLearned) {
  RemoteTags tags;
  EXPECT_EQ(ClockOf(tags.Find("red")), -1);
  EXPECT_TRUE(tags.Learn("red", tags.TicketFor("red"), {RecordAt(5)}));
  EXPECT_TRUE(tags.Learn("blue", tags.TicketFor("blue"), {std::nullopt}));
  EXPECT_EQ(ClockOf(tags.Find("red")), 5);
  EXPECT_EQ(tags.Find("red")->record->generation, 7u);
  EXPECT_EQ(ClockOf(tags.Find("blue")), 0);
  EXPECT_TRUE(tags.Learn("blue", tags.TicketFor("blue"), {RecordAt(6)}));
  EXPECT_EQ(ClockOf(tags.Find("blue")), 6);
  EXPECT_EQ(tags.size(), 2u);
}

TEST(RemoteTagsTest, ForgetWhatChanged) {
  RemoteTags tags;
  EXPECT_EQ(ClockOf(tags.Forget("red")), -1);
  tags.Learn("red", tags.TicketFor("red"), {RecordAt(5)});
  EXPECT_EQ(ClockOf(tags.Forget("red")), 5);
  EXPECT_EQ(ClockOf(tags.Find("red")), -1);
  EXPECT_EQ(tags.size(), 0u);
}

TEST(RemoteTagsTest, DoNotLearnWhatWasReadBeforeAChangeWasTold) {
  RemoteTags tags;
  const RemoteTags::Ticket ticket = tags.TicketFor("red");
  tags.Forget("red");
  EXPECT_FALSE(tags.Learn("red", ticket, {RecordAt(5)}));
  EXPECT_EQ(ClockOf(tags.Find("red")), -1);
  EXPECT_TRUE(tags.Learn("red", tags.TicketFor("red"), {RecordAt(6)}));
}

TEST(RemoteTagsTest, ForgetAllTags) {
  RemoteTags tags;
  std::vector<std::pair<std::string, RemoteTags::Ticket>> tickets;
  for (int i = 0; i < 100; ++i) {
    const std::string tag = std::to_string(i);
    const RemoteTags::Ticket ticket = tags.TicketFor(tag);
    tags.Learn(tag, ticket, {RecordAt(1)});
    tickets.emplace_back(tag, ticket);
  }
  tags.ForgetAll();
  EXPECT_EQ(tags.size(), 0u);
  for (const auto& [tag, ticket] : tickets) {
    EXPECT_EQ(ClockOf(tags.Find(tag)), -1);
    EXPECT_FALSE(tags.Learn(tag, ticket, {RecordAt(1)}));
  }
}

TEST(RemoteTagsTest, KnowABoundedNumber) {
  RemoteTags tags(160);
  for (int i = 0; i < 10'000; ++i) {
    const std::string tag = std::to_string(i);
    EXPECT_TRUE(tags.Learn(tag, tags.TicketFor(tag), {RecordAt(1)}));
  }
  EXPECT_EQ(tags.size(), 160u);
  EXPECT_EQ(ClockOf(tags.Find("9999")), 1);
  EXPECT_EQ(ClockOf(tags.Find("0")), -1);
}

// Threads read a record and learn it, while it changes and they are told: what is known once all is
// quiet is what it is now.
TEST(RemoteTagsTest, ThreadsLearnNothingOld) {
  constexpr uint64_t kChanges = 3000;
  RemoteTags tags;
  std::atomic<uint64_t> clock{1};
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i) {
    readers.emplace_back([&] {
      while (!done.load()) {
        const auto known = tags.Find("red");
        const RemoteTags::Ticket ticket = tags.TicketFor("red");
        const uint64_t read = clock.load();
        if (known.has_value()) {
          EXPECT_LE(ClockOf(known), static_cast<int64_t>(read));
        }
        tags.Learn("red", ticket, {RecordAt(read)});
      }
    });
  }
  for (uint64_t i = 0; i < kChanges; ++i) {
    clock.fetch_add(1);
    tags.Forget("red");
    const auto known = tags.Find("red");
    if (known.has_value()) {
      EXPECT_EQ(ClockOf(known), static_cast<int64_t>(clock.load()));
    }
  }
  done.store(true);
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace larder::internal
