// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_WRITE_QUEUE_MODEL_H_
#define LARDER_TESTS_SUPPORT_WRITE_QUEUE_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "larder/internal/write_queue.h"

namespace larder::test {

// The rules of WriteQueue in plain words: looks at everything each time. Jitter is left open: times
// of backoffs are ranges.
class WriteQueueModel {
 public:
  using Options = internal::WriteQueue::Options;
  using Outcome = internal::WriteQueue::Outcome;
  using Counts = internal::WriteQueue::Counts;
  using Resolved = std::map<int, absl::Status>;  // by number of the write

  struct Write {
    int number = 0;
    uint64_t bytes = 0;
    bool is_through = false;
    int attempts = 0;
    bool failed_for_good = false;
  };
  struct Place {
    Write write;
    uint64_t position = 0;
    int64_t queued_at = 0;
  };
  struct Key {
    std::deque<Place> places;
    bool is_in_flight = false;
    uint32_t failures = 0;
    // Where its oldest write failed: the next attempt is due between these.
    bool backs_off = false;
    int64_t earliest = 0;
    int64_t latest = 0;
  };

  explicit WriteQueueModel(const Options& options) : options_(options) {}

  internal::WriteAmount NeedsOf(int key, uint64_t bytes) const;
  Resolved Add(int key, const Write& write, int64_t now);
  // What is wrong with Take having taken these keys, in this order; empty: nothing.
  std::string CheckTake(int64_t now, size_t most, size_t before, const std::vector<int>& taken);
  // What is wrong with that as NextDue; empty: nothing.
  std::string CheckNextDue(int64_t now, int64_t next_due) const;
  // Whether it is now to be given up.
  bool Complete(int key, Outcome outcome, const absl::Status& status, int64_t now,
                Resolved* resolved);
  void CompleteGiveUp(int key, const absl::Status& status, int64_t now, Resolved* resolved);
  void Flush();
  void set_hurries(bool hurries) { hurries_ = hurries; }
  void Remove(int number, const absl::Status& error, Resolved* resolved);

  // The number of the newest one that isn't written through; 0: none.
  int Find(int key) const;
  const Write& InFlight(int key) const { return keys_.at(key).places.front().write; }
  // By position.
  std::vector<int> Queued() const;
  internal::WriteAmount LeftUpTo(uint64_t position) const;
  uint64_t last_position() const { return last_position_; }
  int64_t OldestQueuedAt() const;
  Counts counts() const;

 private:
  bool CanReplace(const Key& key) const;
  bool IsFresh(const Key& key) const;
  bool IsDueAtOnce(const Key& key) const;
  int64_t EarliestDue(const Key& key) const;
  int64_t LatestDue(const Key& key) const;
  size_t Waiting() const;
  bool FailForGood(Key& key, Resolved* resolved);
  void TryAgain(Key& key, const absl::Status& status, int64_t now, Resolved* resolved);
  void KeepLatest(Key& key, Resolved* resolved);
  void GoOn(Key& key);
  void Resolve(Key& key, size_t index, const absl::Status& status, Resolved* resolved);

  const Options options_;
  std::map<int, Key> keys_;
  uint64_t last_position_ = 0;
  uint64_t flushed_ = 0;
  bool hurries_ = false;
  Counts counts_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_WRITE_QUEUE_MODEL_H_
