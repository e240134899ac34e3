// SPDX-License-Identifier: Apache-2.0
//
// The queue of write-behind against a model that looks at everything each time: random writes,
// batches, outcomes, flushes and times, with several batches under way.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "larder/internal/pending_write.h"
#include "larder/internal/write_queue.h"
#include "tests/support/rounds.h"
#include "tests/support/write_queue_model.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;
using ::larder::test::WriteQueueModel;
using Outcome = WriteQueue::Outcome;
using Resolved = WriteQueueModel::Resolved;

class NumberedWrite : public PendingWrite {
 public:
  // Half the keys share their hash with another one.
  NumberedWrite(int number, int key, uint64_t bytes)
      : PendingWrite(static_cast<uint64_t>(key / 2), bytes), key(key) {
    set_sequence(static_cast<uint64_t>(number));
  }

  bool SameKey(const PendingWrite& other) const override {
    return static_cast<const NumberedWrite&>(other).key == key;
  }

  const int key;
};

int NumberOf(const PendingWrite& write) { return static_cast<int>(write.sequence()); }
int KeyOf(const PendingWrite& write) { return static_cast<const NumberedWrite&>(write).key; }

// One queue's life.
class Life {
 public:
  explicit Life(uint64_t seed)
      : random_(seed), options_(DrawOptions()), queue_(options_), model_(options_) {
    keys_ = 1 + Draw(12);
    patience_ = Draw(3) == 0 ? 1 + Draw(40) : 1 + Draw(6);
  }

  void Run() {
    for (int i = 0; i < 400 && !::testing::Test::HasFailure(); ++i) {
      Step();
      Check();
      EXPECT_EQ(model_.CheckNextDue(now_, queue_.NextDue()), "") << "now " << now_;
    }
    End();
  }

  const std::map<std::string, uint64_t>& all_seen() const { return seen_; }

 private:
  struct Flush {
    WriteQueue::FlushMark mark;
    uint64_t position = 0;
  };

  uint64_t Draw(uint64_t n) { return random_() % n; }

  WriteQueue::Options DrawOptions() {
    WriteQueue::Options options;
    options.batch_size = 1 + Draw(5);
    options.batch_delay = static_cast<int64_t>(Draw(4) == 0 ? 0 : Draw(20));
    options.first_backoff = static_cast<int64_t>(1 + Draw(10));
    options.max_backoff = options.first_backoff * static_cast<int64_t>(1 + Draw(20));
    options.max_attempts = static_cast<int>(Draw(2) * Draw(5));
    options.keeps_all = Draw(2) == 0;
    options.seed = random_();
    return options;
  }

  void Step() {
    const uint64_t choice = Draw(100);
    if (choice < 35) {
      Add(/*is_through=*/Draw(8) == 0);
    } else if (choice < 50) {
      now_ += static_cast<int64_t>(Draw(patience_));
    } else if (choice < 70) {
      Take();
    } else if (choice < 95) {
      if (!in_flight_.empty()) CompleteOne();
    } else if (choice < 97) {
      BeginFlush();
    } else if (choice < 98) {
      if (!flushes_.empty()) EndFlush();
    } else {
      const bool hurries = Draw(4) == 0;
      queue_.set_hurries(hurries);
      model_.set_hurries(hurries);
    }
  }

  void Add(bool is_through) {
    const int number = ++last_number_;
    const int key = static_cast<int>(Draw(keys_));
    const uint64_t bytes = Draw(100);
    auto pending = std::make_shared<NumberedWrite>(number, key, bytes);
    const WriteAmount needs = queue_.NeedsOf(*pending);
    const WriteAmount expected = model_.NeedsOf(key, bytes);
    EXPECT_EQ(needs.entries, expected.entries);
    EXPECT_EQ(needs.bytes, expected.bytes);
    if (is_through) callers_.push_back(std::make_unique<ThroughWrite>());
    auto write =
        std::make_unique<QueuedWrite>(pending, is_through ? callers_.back().get() : nullptr);
    WriteQueue::Resolved resolved;
    queue_.Add(write, now_, &resolved);
    EXPECT_EQ(write, nullptr);
    const Resolved by_model =
        model_.Add(key, {.number = number, .bytes = bytes, .is_through = is_through}, now_);
    Compare(resolved, by_model);
    ++seen_[is_through ? "written through" : by_model.empty() ? "added" : "replaced"];
  }

  void Take() {
    const size_t most = 1 + Draw(4);
    const bool goes_on = Draw(4) == 0 && !batch_.empty();
    if (!goes_on) batch_.clear();
    const size_t before = batch_.size();
    const int64_t next_due = queue_.NextDue();
    EXPECT_EQ(model_.CheckNextDue(now_, next_due), "") << "now " << now_;
    const size_t taken = queue_.Take(now_, most, &batch_);
    ASSERT_EQ(batch_.size() - before, taken);
    if (before == 0) {
      EXPECT_EQ(taken > 0, next_due <= now_);
    }
    std::vector<int> keys;
    for (size_t i = before; i < batch_.size(); ++i) {
      const QueuedWrite& write = WriteQueue::InFlight(batch_[i]);
      const int key = KeyOf(*write.write);
      keys.push_back(key);
      in_flight_.push_back(batch_[i]);
    }
    EXPECT_EQ(model_.CheckTake(now_, most, before, keys), "") << "now " << now_;
    for (size_t i = before; i < batch_.size(); ++i) {
      const QueuedWrite& write = WriteQueue::InFlight(batch_[i]);
      const WriteQueueModel::Write& expected = model_.InFlight(KeyOf(*write.write));
      EXPECT_EQ(NumberOf(*write.write), expected.number);
      EXPECT_EQ(write.failed_for_good, expected.failed_for_good);
      EXPECT_EQ(write.attempts, expected.attempts);
    }
    ++seen_[taken == 0 ? "nothing due" : "taken"];
  }

  void CompleteOne() {
    std::swap(in_flight_[Draw(in_flight_.size())], in_flight_.back());
    WriteChain* const chain = in_flight_.back();
    in_flight_.pop_back();
    batch_.clear();  // what it has may be gone
    const QueuedWrite& write = WriteQueue::InFlight(chain);
    const int key = KeyOf(*write.write);
    WriteQueue::Resolved resolved;
    Resolved expected;
    if (write.failed_for_good) {
      GiveUp(chain, key, &resolved, &expected);
    } else {
      const uint64_t choice = Draw(8);
      const Outcome outcome = choice < 4   ? Outcome::kStored
                              : choice < 7 ? Outcome::kFailed
                                           : Outcome::kFailedForGood;
      const absl::Status status = outcome == Outcome::kStored ? absl::OkStatus() : Error();
      const bool gives_up = queue_.Complete(chain, outcome, status, now_, &resolved);
      EXPECT_EQ(gives_up, model_.Complete(key, outcome, status, now_, &expected));
      if (!status.ok()) {
        EXPECT_EQ(queue_.last_error(), status);
      }
      ++seen_[status.ok() ? "stored" : gives_up ? "failed for good" : "failed"];
      if (gives_up && Draw(2) == 0) {
        EXPECT_EQ(WriteQueue::InFlight(chain).error, status);
        GiveUp(chain, key, &resolved, &expected);
      } else if (gives_up) {
        in_flight_.push_back(chain);
      }
    }
    Compare(resolved, expected);
  }

  void GiveUp(WriteChain* chain, int key, WriteQueue::Resolved* resolved, Resolved* expected) {
    const absl::Status status = Draw(2) == 0 ? absl::OkStatus() : Error();
    queue_.CompleteGiveUp(chain, status, now_, resolved);
    model_.CompleteGiveUp(key, status, now_, expected);
    ++seen_[status.ok() ? "given up" : "not given up"];
  }

  absl::Status Error() { return absl::UnavailableError(absl::StrCat("error ", ++errors_)); }

  void BeginFlush() {
    auto flush = std::make_unique<Flush>();
    queue_.BeginFlush(&flush->mark, now_);
    model_.Flush();
    flush->position = model_.last_position();
    if (model_.counts().queued > 0) flushes_.push_back(std::move(flush));
  }

  void EndFlush() {
    const size_t i = Draw(flushes_.size());
    EXPECT_TRUE(queue_.EndFlush(&flushes_[i]->mark));
    EXPECT_FALSE(queue_.EndFlush(&flushes_[i]->mark));
    flushes_.erase(flushes_.begin() + static_cast<std::ptrdiff_t>(i));
    ++seen_["flushes given up"];
  }

  // Frees what the queue has resolved, and tells whether that is what the model has.
  void Compare(const WriteQueue::Resolved& resolved, const Resolved& expected) {
    Resolved numbers;
    for (QueuedWrite* write = resolved.writes; write != nullptr;) {
      const int number = NumberOf(*write->write);
      EXPECT_TRUE(numbers.try_emplace(number, absl::OkStatus()).second);
      if (write->through != nullptr) numbers[number] = write->error;
      EXPECT_TRUE(resolved_.try_emplace(number, true).second) << number << " was resolved twice";
      delete std::exchange(write, write->newer);
    }
    EXPECT_EQ(numbers, expected);
    for (WriteQueue::FlushMark* mark = resolved.flushes; mark != nullptr;) {
      WriteQueue::FlushMark* const next = mark->next;
      const auto is_mark = [mark](const auto& flush) { return &flush->mark == mark; };
      const auto flush = std::find_if(flushes_.begin(), flushes_.end(), is_mark);
      ASSERT_NE(flush, flushes_.end());
      EXPECT_EQ(model_.LeftUpTo((*flush)->position).entries, 0u);
      flushes_.erase(flush);
      ++seen_["flushes done"];
      mark = next;
    }
  }

  void Check() {
    for (const std::unique_ptr<Flush>& flush : flushes_) {
      const WriteAmount left = model_.LeftUpTo(flush->position);
      EXPECT_GT(left.entries, 0u) << "a flush is over and wasn't told";
      EXPECT_EQ(flush->mark.entries, left.entries);
      EXPECT_EQ(flush->mark.bytes, left.bytes);
    }
    const WriteQueue::Counts counts = queue_.counts();
    const WriteQueue::Counts expected = model_.counts();
    EXPECT_EQ(counts.queued, expected.queued);
    EXPECT_EQ(counts.queued_bytes, expected.queued_bytes);
    EXPECT_EQ(counts.in_flight, expected.in_flight);
    EXPECT_EQ(counts.stored, expected.stored);
    EXPECT_EQ(counts.failures, expected.failures);
    EXPECT_EQ(counts.coalesced, expected.coalesced);
    EXPECT_EQ(counts.given_up, expected.given_up);
    EXPECT_EQ(counts.write_through, expected.write_through);
    EXPECT_EQ(counts.through_failures, expected.through_failures);
    if (counts.queued > 0) {
      EXPECT_EQ(queue_.oldest_queued_at(), model_.OldestQueuedAt());
    }
    std::vector<int> queued;
    for (const QueuedWrite* write = queue_.FirstQueued(); write != nullptr;
         write = WriteQueue::NextQueued(write)) {
      queued.push_back(NumberOf(*write->write));
    }
    EXPECT_EQ(queued, model_.Queued());
    for (int key = 0; key < static_cast<int>(keys_); ++key) {
      const WriteQueue::WritePtr found =
          queue_.Find(static_cast<uint64_t>(key / 2),
                      [key](const PendingWrite& write) { return KeyOf(write) == key; });
      EXPECT_EQ(found == nullptr ? 0 : NumberOf(*found), model_.Find(key));
    }
  }

  // Batches end; half of what is left is taken out, in any order.
  void End() {
    while (!in_flight_.empty() && !::testing::Test::HasFailure()) CompleteOne();
    std::vector<QueuedWrite*> left;
    for (QueuedWrite* write = queue_.FirstQueued(); write != nullptr;
         write = WriteQueue::NextQueued(write)) {
      left.push_back(write);
    }
    std::shuffle(left.begin(), left.end(), random_);
    left.resize(left.size() / 2);
    for (QueuedWrite* write : left) {
      if (::testing::Test::HasFailure()) return;
      const absl::Status error = Error();
      Resolved expected;
      model_.Remove(NumberOf(*write->write), error, &expected);
      WriteQueue::Resolved resolved;
      queue_.Remove(write, error, &resolved);
      Compare(resolved, expected);
      Check();
    }
    EXPECT_EQ(resolved_.size() + queue_.counts().queued, static_cast<size_t>(last_number_));
  }

  std::mt19937_64 random_;
  const WriteQueue::Options options_;
  WriteQueue queue_;
  WriteQueueModel model_;
  uint64_t keys_;
  uint64_t patience_;
  int64_t now_ = 1'000;
  int last_number_ = 0;
  int errors_ = 0;
  std::vector<WriteChain*> batch_;  // the last one; empty once any was completed
  std::vector<WriteChain*> in_flight_;
  std::vector<std::unique_ptr<ThroughWrite>> callers_;
  std::vector<std::unique_ptr<Flush>> flushes_;
  std::map<int, bool> resolved_;
  std::map<std::string, uint64_t> seen_;
};

TEST(WriteQueueModelTest, DoesAsTheModel) {
  std::map<std::string, uint64_t> seen;
  for (int round = 0; round < Rounds(200); ++round) {
    const uint64_t seed = SeedOfRound(round);
    SCOPED_TRACE(seed);
    Life life(seed);
    life.Run();
    for (const auto& [what, times] : life.all_seen()) seen[what] += times;
    if (HasFailure()) return;
  }
  for (const char* what :
       {"added", "replaced", "written through", "nothing due", "taken", "stored", "failed",
        "failed for good", "given up", "not given up", "flushes done", "flushes given up"}) {
    EXPECT_GT(seen[what], 50u) << "the test doesn't reach what it is for: " << what;
  }
}

}  // namespace
}  // namespace larder::internal
