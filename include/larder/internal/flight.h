// SPDX-License-Identifier: Apache-2.0
//
// FlightBase, FlightTable: loads in progress, and who waits for them.

#ifndef LARDER_INTERNAL_FLIGHT_H_
#define LARDER_INTERNAL_FLIGHT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "larder/clock.h"
#include "larder/internal/event.h"
#include "larder/internal/mutex.h"
#include "larder/internal/thread_record.h"

namespace larder::internal {

// One load of one key, from when it is asked for until its outcome is known. Whoever begins it, a
// caller's thread or a task, runs its loader; others wait, in a thread or by a callback. What K and
// V there are is added by whoever knows them.
//
// Thread safety: all methods may be called from any thread.
class FlightBase {
 public:
  using Callback = absl::AnyInvocable<void() &&>;

  FlightBase() = default;
  FlightBase(const FlightBase&) = delete;
  FlightBase& operator=(const FlightBase&) = delete;

  // Whether the caller is the one to run the loader. `leader`: whose thread does.
  bool TryBegin(ThreadRecord* leader);

  // The thread that leads it goes on to other things, though it hasn't finished it.
  void LeaderLeaves() { leader_.store(nullptr, std::memory_order_release); }

  bool asked_for() const { return stage_.load(std::memory_order_acquire) == Stage::kAskedFor; }
  bool finished() const { return stage_.load() == Stage::kFinished; }

  // Nobody may begin it from now on. False where somebody has, or it has finished.
  bool TryRefuse();

  // Whether the caller is the one to say what comes of it. `begun`, where that isn't nullptr:
  // whether its loader had been begun.
  bool TryFinish(bool* begun = nullptr);

  // Waits until it has landed. DeadlineExceeded where that takes until `deadline` (see
  // Event::WaitUntil). FailedPrecondition, without waiting, where it would never happen: because
  // this thread leads the flight itself, or leads one that, over however many other threads and
  // caches, the flight's leader is waiting for.
  absl::Status Wait(ThreadRecord& thread, int64_t deadline, const Clock* clock) const;

  // Calls `callback` once it has landed, on the thread that lands it. False: it has already, and
  // the callback is left as it was.
  bool OnLanded(Callback&& callback);

  // The outcome is there: wakes all that wait. What was written before is visible to them.
  void Land();

  bool landed() const { return landed_.IsSet(); }

 private:
  enum class Stage : uint8_t { kAskedFor, kBegun, kRefused, kFinished };

  bool WaitsForever(const ThreadRecord& thread) const;

  std::atomic<Stage> stage_{Stage::kAskedFor};
  std::atomic<ThreadRecord*> leader_{nullptr};
  Event landed_;
  Mutex mutex_;
  std::vector<Callback> callbacks_ ABSL_GUARDED_BY(mutex_);
};

// Counts a thread as being inside a loader; such threads' waits are watched for cycles.
class LeaderScope {
 public:
  explicit LeaderScope(ThreadRecord& thread) : thread_(thread) { ++thread_.loads_led; }
  ~LeaderScope() { --thread_.loads_led; }
  LeaderScope(const LeaderScope&) = delete;
  LeaderScope& operator=(const LeaderScope&) = delete;

 private:
  ThreadRecord& thread_;
};

// The flights of one stripe; belongs to its lock. Flight derives from FlightBase and has a `key`, a
// shared_ptr `next` and a bool `outdated`.
template <class Flight>
class FlightTable {
 public:
  bool empty() const { return flights_.empty(); }

  template <class Q, class Eq>
  std::shared_ptr<Flight> Find(uint64_t hash, const Q& key, const Eq& eq) const {
    auto it = flights_.find(hash);
    if (it == flights_.end()) return nullptr;
    std::shared_ptr<Flight> flight = it->second;
    while (flight != nullptr && !eq(flight->key, key)) flight = flight->next;
    return flight;
  }

  // Requires: there is no flight of that key.
  void Add(uint64_t hash, std::shared_ptr<Flight> flight) {
    std::shared_ptr<Flight>& head = flights_[hash];  // the only thing that may throw
    flight->next = std::move(head);
    head = std::move(flight);
  }

  // Requires: `flight` was added.
  void Remove(uint64_t hash, const Flight* flight) {
    auto it = flights_.find(hash);
    std::shared_ptr<Flight>* link = &it->second;
    while (link->get() != flight) link = &(*link)->next;
    // In this order: `*link` may hold the last reference to what holds `next`.
    std::shared_ptr<Flight> next = std::move((*link)->next);
    *link = std::move(next);
    if (it->second == nullptr) flights_.erase(it);
  }

  std::vector<std::shared_ptr<Flight>> All() const {
    std::vector<std::shared_ptr<Flight>> all;
    for (const auto& [hash, first] : flights_) {
      for (std::shared_ptr<Flight> flight = first; flight != nullptr; flight = flight->next) {
        all.push_back(flight);
      }
    }
    return all;
  }

  // The key was written or removed: what a flight of it brings is out of date.
  template <class Q, class Eq>
  void Outdate(uint64_t hash, const Q& key, const Eq& eq) {
    if (flights_.empty()) [[likely]]
      return;
    if (std::shared_ptr<Flight> flight = Find(hash, key, eq)) flight->outdated = true;
  }

  // The same, for one of whose key's hash only HashBits::Home() is known. O(flights).
  template <class Eq, class K>
  void OutdateWithHome(uint32_t home, const K& key, const Eq& eq) {
    for (auto& [hash, first] : flights_) {
      if (static_cast<uint32_t>(hash) != home) continue;
      for (Flight* flight = first.get(); flight != nullptr; flight = flight->next.get()) {
        if (eq(flight->key, key)) flight->outdated = true;
      }
    }
  }

  void OutdateAll() {
    for (auto& [hash, first] : flights_) {
      for (Flight* flight = first.get(); flight != nullptr; flight = flight->next.get()) {
        flight->outdated = true;
      }
    }
  }

 private:
  // Unlike absl::flat_hash_map, whole after an allocation that failed.
  std::unordered_map<uint64_t, std::shared_ptr<Flight>> flights_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_FLIGHT_H_
