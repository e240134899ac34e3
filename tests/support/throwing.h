// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_THROWING_H_
#define LARDER_TESTS_SUPPORT_THROWING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <utility>

namespace larder::test {

// Types whose copies, moves, hashes, comparisons and destructors are watched, and made to fail, to
// show that a container neither leaks, nor loses, nor half-inserts when user code throws.

// What the types below throw, and nothing else.
class InjectedFault : public std::exception {
 public:
  const char* what() const noexcept override { return "injected fault"; }
};

// A process-wide countdown over all points that may throw: once armed, the n-th of them throws,
// once. To try every point of an operation in turn:
//
//   for (int64_t n = 1;; ++n) {
//     FaultCountdown::Arm(n);
//     try { Operation(); } catch (const InjectedFault&) {}
//     if (!FaultCountdown::Disarm()) break;  // ran to its end: it has fewer than n points
//   }
//
// Thread-safe; with several threads, the one that reaches the n-th point throws.
class FaultCountdown {
 public:
  // n = 1: the very next point.
  static void Arm(int64_t n) { left_.store(n, std::memory_order_relaxed); }
  // Whether it has thrown since it was armed.
  static bool Disarm() { return left_.exchange(kDisarmed, std::memory_order_relaxed) <= 0; }

  static void Point() {
    if (left_.load(std::memory_order_relaxed) == kDisarmed) return;
    if (left_.fetch_sub(1, std::memory_order_relaxed) == 1) throw InjectedFault();
  }

 private:
  static constexpr int64_t kDisarmed = INT64_MAX;
  static inline std::atomic<int64_t> left_{kDisarmed};
};

// A number that knows whether it is alive. Each instance constructed must be destroyed exactly once
// and not be touched afterwards; a value moved from may be assigned or destroyed, not read. Check
// at the end of a test:
//
//   EXPECT_EQ(Counted::Live(), 0);
//   EXPECT_EQ(Counted::Violations(), 0);
class Counted {
 public:
  Counted() : Counted(0) {}
  Counted(uint64_t number) : number_(number) { Born(); }  // NOLINT: implicit, as a number is
  Counted(const Counted& other) : number_(other.number()) { Born(); }
  Counted(Counted&& other) noexcept : number_(other.number()) {
    Born();
    other.canary_ = kMovedFrom;
  }
  Counted& operator=(const Counted& other) {
    number_ = other.number();
    Revive();
    return *this;
  }
  Counted& operator=(Counted&& other) noexcept {
    number_ = other.number();
    if (&other != this) other.canary_ = kMovedFrom;
    Revive();
    return *this;
  }
  ~Counted() {
    if (canary_ != kAlive && canary_ != kMovedFrom) Violate();
    canary_ = kDead;
    live_.fetch_sub(1, std::memory_order_relaxed);
  }

  uint64_t number() const {
    if (canary_ != kAlive) Violate();
    return number_;
  }

  friend bool operator==(const Counted& a, const Counted& b) { return a.number() == b.number(); }
  template <typename H>
  friend H AbslHashValue(H h, const Counted& c) {
    return H::combine(std::move(h), c.number());
  }

  // Instances constructed and not destroyed, in the whole process.
  static int64_t Live() { return live_.load(std::memory_order_relaxed); }
  // Uses of instances that were destroyed, moved from or never constructed.
  static int64_t Violations() { return violations_.load(std::memory_order_relaxed); }
  // For tests of this class, and between tests of which each answers for its own.
  static void ForgetViolations() { violations_.store(0, std::memory_order_relaxed); }

 private:
  static constexpr uint64_t kAlive = 0xA11FE0DDC0FFEE01;
  static constexpr uint64_t kMovedFrom = 0x60E0BEEF60E0BEEF;
  static constexpr uint64_t kDead = 0xDEADDEADDEADDEAD;

  void Born() {
    canary_ = kAlive;
    live_.fetch_add(1, std::memory_order_relaxed);
  }
  void Revive() {
    if (canary_ != kAlive && canary_ != kMovedFrom) Violate();
    canary_ = kAlive;
  }
  static void Violate() { violations_.fetch_add(1, std::memory_order_relaxed); }

  static inline std::atomic<int64_t> live_{0};
  static inline std::atomic<int64_t> violations_{0};

  // Volatile, or the compiler drops the destructor's store to an object that ends.
  volatile uint64_t canary_;
  uint64_t number_;
};

// A Counted whose copies are fault points; its moves never throw.
class ThrowingCopy {
 public:
  ThrowingCopy(uint64_t number) : value_(number) {}  // NOLINT: implicit, as Counted
  ThrowingCopy(const ThrowingCopy& other) : value_(Checked(other.value_)) {}
  ThrowingCopy(ThrowingCopy&&) noexcept = default;
  ThrowingCopy& operator=(const ThrowingCopy& other) {
    value_ = Checked(other.value_);
    return *this;
  }
  ThrowingCopy& operator=(ThrowingCopy&&) noexcept = default;

  uint64_t number() const { return value_.number(); }
  friend bool operator==(const ThrowingCopy&, const ThrowingCopy&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const ThrowingCopy& c) {
    return H::combine(std::move(h), c.value_);
  }

 private:
  static const Counted& Checked(const Counted& value) {
    FaultCountdown::Point();
    return value;
  }

  Counted value_;
};

// A Counted whose copies and moves are fault points. A move that throws leaves its source as it
// was.
class ThrowingMove {
 public:
  ThrowingMove(uint64_t number) : value_(number) {}  // NOLINT: implicit, as Counted
  ThrowingMove(const ThrowingMove& other) : value_((FaultCountdown::Point(), other.value_)) {}
  ThrowingMove(ThrowingMove&& other) noexcept(false)
      : value_((FaultCountdown::Point(), std::move(other.value_))) {}
  ThrowingMove& operator=(const ThrowingMove& other) {
    FaultCountdown::Point();
    value_ = other.value_;
    return *this;
  }
  ThrowingMove& operator=(ThrowingMove&& other) noexcept(false) {
    FaultCountdown::Point();
    value_ = std::move(other.value_);
    return *this;
  }

  uint64_t number() const { return value_.number(); }
  friend bool operator==(const ThrowingMove&, const ThrowingMove&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const ThrowingMove& c) {
    return H::combine(std::move(h), c.value_);
  }

 private:
  Counted value_;
};

// A hash that is a fault point. The inner hash decides its quality: the identity of std::hash on
// numbers makes collisions easy to build.
template <class K, class Inner = std::hash<K>>
struct ThrowingHash {
  size_t operator()(const K& key) const {
    FaultCountdown::Point();
    return Inner()(key);
  }
};

// An equality that is a fault point.
template <class K>
struct ThrowingEqual {
  bool operator()(const K& a, const K& b) const {
    FaultCountdown::Point();
    return a == b;
  }
};

}  // namespace larder::test

template <>
struct std::hash<larder::test::Counted> {
  size_t operator()(const larder::test::Counted& c) const { return c.number(); }
};
template <>
struct std::hash<larder::test::ThrowingCopy> {
  size_t operator()(const larder::test::ThrowingCopy& c) const { return c.number(); }
};
template <>
struct std::hash<larder::test::ThrowingMove> {
  size_t operator()(const larder::test::ThrowingMove& c) const { return c.number(); }
};

#endif  // LARDER_TESTS_SUPPORT_THROWING_H_
