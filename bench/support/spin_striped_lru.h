// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_SPIN_STRIPED_LRU_H_
#define LARDER_BENCH_SUPPORT_SPIN_STRIPED_LRU_H_

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "bench/support/abseil_index.h"
#include "bench/support/list_lru.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace larder::bench {

// One exchange to lock and one store to unlock: the cheapest lock there is without contention. It
// gives up the processor when the owner seems not to be running.
class SpinLock {
 public:
  void lock() {
    while (held_.exchange(true, std::memory_order_acquire)) Wait();
  }
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  void Wait() {
    constexpr int kPausesBeforeYield = 1000;
    for (int i = 0; held_.load(std::memory_order_relaxed); ++i) {
      if (i >= kPausesBeforeYield) std::this_thread::yield();
#if defined(__x86_64__)
      _mm_pause();
#endif
    }
  }

  std::atomic<bool> held_{false};
};

// What a careful engineer writes next: stripes chosen by the key's hash, each a spin lock around
// abseil's hash map and a list, on cache lines of its own. Exact LRU per stripe. Thread-safe.
template <class K, class V>
class SpinStripedLru {
 public:
  // capacity: > 0, divided evenly. stripes: a power of two, at most 2^16.
  explicit SpinStripedLru(size_t capacity, size_t stripes = 64) : shift_(ShiftFor(stripes)) {
    for (size_t i = 0; i < stripes; ++i) {
      stripes_.push_back(std::make_unique<Stripe>((capacity + stripes - 1) / stripes));
    }
  }

  // A copy of the value, which becomes the stripe's most recently used.
  template <class Q>
  std::optional<V> Get(const Q& key) {
    Stripe& stripe = StripeOf(key);
    const std::lock_guard lock(stripe.lock);
    const V* const value = stripe.lru.Find(key);
    return value == nullptr ? std::nullopt : std::optional<V>(*value);
  }

  // Calls look(const V&) under the lock, if there is a value. Returns whether there was.
  template <class Q, class Look>
  bool Visit(const Q& key, Look&& look) {
    Stripe& stripe = StripeOf(key);
    const std::lock_guard lock(stripe.lock);
    const V* const value = stripe.lru.Find(key);
    if (value == nullptr) return false;
    look(*value);
    return true;
  }

  void Put(const K& key, V value) {
    Stripe& stripe = StripeOf(key);
    const std::lock_guard lock(stripe.lock);
    stripe.lru.Put(key, std::move(value));
  }

  // Which stripe has the key: 0..stripes-1.
  template <class Q>
  size_t StripeIndex(const Q& key) const {
    return (KeyHash<K>{}(key) >> shift_) & (stripes_.size() - 1);
  }

 private:
  struct alignas(64) Stripe {
    explicit Stripe(size_t capacity) : lru(capacity) {}

    SpinLock lock;
    ListLru<K, V, FlatIndex> lru;
  };

  // The map itself uses the hash's low bits.
  static int ShiftFor(size_t stripes) { return 63 - std::bit_width(stripes - 1); }

  template <class Q>
  Stripe& StripeOf(const Q& key) {
    return *stripes_[StripeIndex(key)];
  }

  const int shift_;
  std::vector<std::unique_ptr<Stripe>> stripes_;
};

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_SPIN_STRIPED_LRU_H_
