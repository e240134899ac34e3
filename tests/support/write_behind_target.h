// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_WRITE_BEHIND_TARGET_H_
#define LARDER_TESTS_SUPPORT_WRITE_BEHIND_TARGET_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "larder/internal/mutex.h"
#include "larder/internal/pending_write.h"
#include "larder/internal/write_behind.h"

namespace larder::test {

// Writes a number under a number.
class NumberWrite : public internal::PendingWrite {
 public:
  // Half the keys share their hash with another one.
  static uint64_t HashOf(int key) { return static_cast<uint64_t>(key / 2); }

  NumberWrite(int key, int value, uint64_t bytes = 1)
      : PendingWrite(HashOf(key), bytes), key(key), value(value) {}

  bool SameKey(const PendingWrite& other) const override { return Of(other).key == key; }

  static const NumberWrite& Of(const PendingWrite& write) {
    return static_cast<const NumberWrite&>(write);
  }

  const int key;
  const int value;
};

// A store in memory, with a record of all that it was asked. Fails as `answer` says.
class NumberTarget : public internal::WriteBehind::Target {
 public:
  using WritePtr = internal::WriteBehind::WritePtr;
  struct GivenUp {
    int value;
    absl::Status reason;
    int attempts;
  };

  // Called for each write of a batch under no lock; what it returns is its result. Empty: OK.
  std::function<absl::Status(const NumberWrite&)> answer;
  // The same for GiveUp.
  std::function<absl::Status(const NumberWrite&)> answer_give_up;

  std::vector<absl::Status> Write(std::span<const WritePtr> batch) override {
    std::vector<absl::Status> results;
    std::vector<int> values;
    for (const WritePtr& write : batch) {
      const NumberWrite& number = NumberWrite::Of(*write);
      values.push_back(number.value);
      results.push_back(answer ? answer(number) : absl::OkStatus());
    }
    internal::MutexLock lock(&mutex_);
    for (size_t i = 0; i < batch.size(); ++i) {
      const NumberWrite& number = NumberWrite::Of(*batch[i]);
      if (results[i].ok()) stored_[number.key].push_back(number.value);
    }
    batches_.push_back(std::move(values));
    return results;
  }

  absl::Status GiveUp(const internal::PendingWrite& write, const absl::Status& reason,
                      int attempts) override {
    const NumberWrite& number = NumberWrite::Of(write);
    const absl::Status status = answer_give_up ? answer_give_up(number) : absl::OkStatus();
    internal::MutexLock lock(&mutex_);
    given_up_.push_back({.value = number.value, .reason = reason, .attempts = attempts});
    return status;
  }

  void Acknowledge(std::span<const uint64_t> sequences) override {
    internal::MutexLock lock(&mutex_);
    for (const uint64_t sequence : sequences) ++acknowledged_[sequence];
  }

  // Values by batch, those that failed included.
  std::vector<std::vector<int>> TakeBatches() {
    internal::MutexLock lock(&mutex_);
    return std::exchange(batches_, {});
  }
  std::vector<GivenUp> TakeGivenUp() {
    internal::MutexLock lock(&mutex_);
    return std::exchange(given_up_, {});
  }
  // All values that a key has had, in order.
  std::vector<int> Stored(int key) const {
    internal::MutexLock lock(&mutex_);
    const auto found = stored_.find(key);
    return found == stored_.end() ? std::vector<int>() : found->second;
  }
  // How often, by sequence.
  std::map<uint64_t, int> Acknowledged() const {
    internal::MutexLock lock(&mutex_);
    return acknowledged_;
  }

 private:
  mutable internal::Mutex mutex_;
  std::vector<std::vector<int>> batches_ ABSL_GUARDED_BY(mutex_);
  std::vector<GivenUp> given_up_ ABSL_GUARDED_BY(mutex_);
  std::map<int, std::vector<int>> stored_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, int> acknowledged_ ABSL_GUARDED_BY(mutex_);
};

// Queues a write as TieredCache does. The sequence is the value. Returns what Reserve or
// EnqueueAndWait do.
inline absl::Status PutNumber(internal::WriteBehind& engine, int key, int value,
                              uint64_t bytes = 1) {
  auto write = std::make_shared<NumberWrite>(key, value, bytes);
  write->set_sequence(static_cast<uint64_t>(value));
  absl::StatusOr<internal::WriteBehind::Reservation> room = engine.Reserve(*write);
  if (!room.ok()) return room.status();
  if (room->write_through()) return engine.EnqueueAndWait(*std::move(room), std::move(write));
  engine.Enqueue(*std::move(room), std::move(write));
  return absl::OkStatus();
}

// The value of the newest queued write of a key; 0: none.
inline int FindNumber(const internal::WriteBehind& engine, int key) {
  const auto found = engine.Find(
      NumberWrite::HashOf(key),
      [key](const internal::PendingWrite& write) { return NumberWrite::Of(write).key == key; });
  return found == nullptr ? 0 : NumberWrite::Of(*found).value;
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_WRITE_BEHIND_TARGET_H_
