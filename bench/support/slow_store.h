// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_SLOW_STORE_H_
#define LARDER_BENCH_SUPPORT_SLOW_STORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/delays.h"
#include "bench/support/slow_database.h"
#include "larder/store.h"
#include "larder/write_id.h"

namespace larder::bench {

// A store as slow as a loaded database across a network: each call is done by `store` and held back
// until it has taken a time drawn uniformly from SlowDatabase's range, a batch as long as one
// write. Until ComeBack() after Die() calls take as long, do nothing, and are Unavailable.
//
// Thread-safe; how many calls there are at once makes no difference to how long they take.
class SlowStore : public Store<std::string, std::string> {
 public:
  using Base = Store<std::string, std::string>;

  // `store` must outlive it.
  SlowStore(Base& store, uint64_t seed)
      : SlowStore(store, seed, SlowDatabase::kFastest, SlowDatabase::kSlowest) {}
  SlowStore(Base& store, uint64_t seed, absl::Duration fastest, absl::Duration slowest)
      : store_(store), delays_(fastest, slowest, seed) {}

  absl::StatusOr<std::string> Load(const std::string& key) override;
  absl::Status Write(const std::string& key, const std::string& value, const WriteId& id) override;
  absl::Status Erase(const std::string& key, const WriteId& id) override;
  std::vector<absl::Status> WriteMany(
      std::span<const StoreWrite<std::string, std::string>> writes) override;

  void Die() { dead_.store(true, std::memory_order_relaxed); }
  void ComeBack() { dead_.store(false, std::memory_order_relaxed); }

  // Calls that write or erase, begun so far.
  uint64_t write_calls() const { return write_calls_.load(std::memory_order_relaxed); }

 private:
  Base& store_;
  Delays delays_;
  std::atomic<bool> dead_{false};
  std::atomic<uint64_t> write_calls_{0};
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_SLOW_STORE_H_
