// SPDX-License-Identifier: Apache-2.0
//
// MissedKeys: keys whose change a shared tier could not be told of.

#ifndef LARDER_INTERNAL_MISSED_KEYS_H_
#define LARDER_INTERNAL_MISSED_KEYS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "larder/internal/mutex.h"

namespace larder::internal {

// What is still to be removed from the tier. A key that is added while it is being removed, after a
// further change that couldn't be told, stays: each addition has a number, and what is said to be
// done is done up to a number.
//
// Bounded: where a key more than `max_keys` is added, it has overflowed. Then every key is as good
// as missed, until everything in the tier is disregarded (a new generation).
//
// Thread-safe, under one mutex; reading is without one while nothing is missed.
class MissedKeys {
 public:
  struct Missed {
    std::string key;
    uint64_t number;  // of its last addition
  };

  explicit MissedKeys(size_t max_keys) : max_keys_(max_keys) {}
  MissedKeys(const MissedKeys&) = delete;
  MissedKeys& operator=(const MissedKeys&) = delete;

  // After the change that couldn't be told.
  void Add(std::string_view key);

  // Whether what the tier has for `key` may be older than a change that was missed. One load where
  // nothing is missed.
  bool Contains(std::string_view key) const;

  // Up to `most` keys, those added longest ago first; none while overflowed. They stay, until
  // Removed.
  std::vector<Missed> Take(size_t most) const;

  // `missed.key` was removed from the tier after Take gave it. It is dropped, unless it was added
  // again.
  void Removed(const Missed& missed);

  // --- When everything in the tier is to be disregarded

  // The number of the last addition. To be asked before.
  uint64_t last_number() const;
  // After everything that was in the tier when last_number() said `number` doesn't count any more:
  // drops all keys that weren't added since, and the overflow if it was before that.
  void RemovedAll(uint64_t number);

  bool overflowed() const;
  // Keys that are remembered.
  size_t size() const;
  // Nothing is missed: neither keys nor an overflow. One load.
  bool empty() const { return !any_.load(std::memory_order_acquire); }

 private:
  void SetAny() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_keys_;

  mutable Mutex mutex_;
  std::map<uint64_t, std::string> keys_ ABSL_GUARDED_BY(mutex_);  // by their numbers
  // Refer to the keys in `keys_`.
  absl::flat_hash_map<absl::string_view, uint64_t> numbers_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_number_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t overflow_number_ ABSL_GUARDED_BY(mutex_) = 0;  // of the last addition lost; 0: none
  std::atomic<bool> any_{false};
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_MISSED_KEYS_H_
