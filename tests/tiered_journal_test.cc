// SPDX-License-Identifier: Apache-2.0
// What a journal keeps of a TieredCache's writes, as its users see it.

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/store.h"
#include "larder/tiered_cache.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/tiered_write_behind_fixture.h"

namespace larder::test {
namespace {

using std::string_literals::operator""s;

using TieredJournal = TieredWriteBehindFixture;

TEST_F(TieredJournal, WhatIsLeftInTheJournalIsWrittenByTheNextCache) {
  UseJournal();
  store_.SetRow("c", "old");
  FailWrites(absl::UnavailableError("down"));
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Put("b", "1"), absl::OkStatus());
  EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
  EXPECT_EQ(tiered().Erase("c"), absl::OkStatus());
  const absl::Status status = tiered().Close(absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(status));
  EXPECT_NE(status.message().find("journal"), absl::string_view::npos) << status;
  tiered_.reset();
  EXPECT_TRUE(letters_.empty());

  EXPECT_EQ(tiered().OpenedJournal().unacknowledged, 3u);
  EXPECT_EQ(tiered().OpenedJournal().damaged_bytes, 0u);
  // Reads find it before the store can be reached.
  EXPECT_EQ(Get("a"), "2");
  EXPECT_EQ(Get("b"), "1");
  EXPECT_TRUE(absl::IsNotFound(tiered().Get("c").status()));
  store_.set_script(nullptr);
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), "2"s);
  EXPECT_EQ(store_.Row("b"), "1"s);
  EXPECT_EQ(store_.Row("c"), std::nullopt);
  const size_t written = store_.writes().size();
  tiered_.reset();

  // Now there is nothing left.
  EXPECT_EQ(tiered().Stats().write_behind.queued, 0u);
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.writes().size(), written);
}

TEST_F(TieredJournal, AWriteKeepsItsIdAndLaterOnesHaveHigherOnes) {
  UseJournal();
  FailWrites(absl::UnavailableError("down"));
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  tiered_.reset();
  store_.set_script(nullptr);
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(tiered().Put("a", "2"), absl::OkStatus());
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  const auto writes = store_.writes();
  ASSERT_EQ(writes.size(), 2u);
  EXPECT_EQ(writes[0].id.sequence, 1u);
  EXPECT_EQ(writes[0].id.writer, writes[1].id.writer);
  EXPECT_LT(writes[0].id.sequence, writes[1].id.sequence);
}

TEST_F(TieredJournal, AFullDiskFailsTheWriterAndTheCacheGoesOn) {
  UseJournal();
  store_.SetRow("b", "1");
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  files_.LimitSpace(0);
  EXPECT_TRUE(absl::IsResourceExhausted(tiered().Put("a", "2")));
  EXPECT_TRUE(absl::IsResourceExhausted(tiered().Put("c", "1")));
  EXPECT_EQ(Get("a"), "1");
  EXPECT_EQ(Get("b"), "1");
  EXPECT_FALSE(tiered().memory().Contains("c"));
  files_.Heal();
  EXPECT_EQ(tiered().Put("c", "2"), absl::OkStatus());
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  EXPECT_EQ(store_.Row("a"), "1"s);
  EXPECT_EQ(store_.Row("c"), "2"s);
}

TEST_F(TieredJournal, AJournalIsOfOneCacheAtATimeAndOfItsTypes) {
  UseJournal();
  FailWrites(absl::UnavailableError("down"));
  EXPECT_EQ(tiered().Put("a", "1"), absl::OkStatus());
  const absl::Status second = Tiered::Create(options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(second)) << second;
  tiered_.reset();

  class NumberStore : public Store<std::string, int> {
    absl::StatusOr<int> Load(const std::string&) override { return absl::NotFoundError(""); }
    absl::Status Write(const std::string&, const int&, const WriteId&) override { return {}; }
    absl::Status Erase(const std::string&, const WriteId&) override { return {}; }
  } numbers;
  TieredCache<std::string, int>::Options options;
  options.cache.capacity = 100;
  options.store = &numbers;
  options.write_policy = WritePolicy::kBehind;
  options.write_behind = options_.write_behind;
  const absl::Status other_types = TieredCache<std::string, int>::Create(options).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(other_types));
  EXPECT_NE(other_types.message().find("string -> string"), absl::string_view::npos) << other_types;
}

TEST_F(TieredJournal, AJournalWithWritesIsNotLeftBehind) {
  UseJournal();
  FailWrites(absl::UnavailableError("down"));
  EXPECT_EQ(tiered().Put("a", "old"), absl::OkStatus());
  End();
  const Durability durability = options_.write_behind.durability;
  options_.write_behind.durability = Durability::kMemory;
  EXPECT_TRUE(absl::IsFailedPrecondition(Tiered::Create(options_).status()));
  options_.write_policy = WritePolicy::kThrough;
  const absl::Status status = Tiered::Create(options_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_NE(status.message().find("1 writes"), absl::string_view::npos) << status;

  options_.write_policy = WritePolicy::kBehind;
  options_.write_behind.durability = durability;
  store_.set_script(nullptr);
  EXPECT_EQ(tiered().Flush(kLong), absl::OkStatus());
  End();
  options_.write_policy = WritePolicy::kThrough;
  EXPECT_EQ(tiered().Put("a", "new"), absl::OkStatus());
}

}  // namespace
}  // namespace larder::test
