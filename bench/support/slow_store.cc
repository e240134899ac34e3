// SPDX-License-Identifier: Apache-2.0

#include "bench/support/slow_store.h"

#include <atomic>
#include <chrono>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "bench/support/delays.h"
#include "larder/store.h"
#include "larder/write_id.h"

namespace larder::bench {
namespace {

absl::Status Dead() { return absl::UnavailableError("the database doesn't answer"); }

// Waits at its end until the time drawn at its begin has passed.
class HeldBack {
 public:
  explicit HeldBack(Delays& delays)
      : until_(std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(delays.Next())) {}
  ~HeldBack() { std::this_thread::sleep_until(until_); }
  HeldBack(const HeldBack&) = delete;
  HeldBack& operator=(const HeldBack&) = delete;

 private:
  const std::chrono::steady_clock::time_point until_;
};

}  // namespace

absl::StatusOr<std::string> SlowStore::Load(const std::string& key) {
  const HeldBack held_back(delays_);
  if (dead_.load(std::memory_order_relaxed)) return Dead();
  return store_.Load(key);
}

absl::Status SlowStore::Write(const std::string& key, const std::string& value, const WriteId& id) {
  const HeldBack held_back(delays_);
  write_calls_.fetch_add(1, std::memory_order_relaxed);
  return dead_.load(std::memory_order_relaxed) ? Dead() : store_.Write(key, value, id);
}

absl::Status SlowStore::Erase(const std::string& key, const WriteId& id) {
  const HeldBack held_back(delays_);
  write_calls_.fetch_add(1, std::memory_order_relaxed);
  return dead_.load(std::memory_order_relaxed) ? Dead() : store_.Erase(key, id);
}

std::vector<absl::Status> SlowStore::WriteMany(
    std::span<const StoreWrite<std::string, std::string>> writes) {
  const HeldBack held_back(delays_);
  write_calls_.fetch_add(1, std::memory_order_relaxed);
  if (dead_.load(std::memory_order_relaxed)) {
    return std::vector<absl::Status>(writes.size(), Dead());
  }
  return store_.WriteMany(writes);
}

}  // namespace larder::bench
