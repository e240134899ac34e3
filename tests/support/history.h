// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_HISTORY_H_
#define LARDER_TESTS_SUPPORT_HISTORY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

namespace larder::test {

// What an operation did to the one key it names. Values are 64-bit numbers; a test that writes each
// number only once makes the checker as sharp as it can be.
enum class OpKind : uint8_t {
  kGet,          // Get, Visit or Pin: saw `before`
  kContains,     // answered `result`
  kPut,          // wrote `after`
  kPutIfAbsent,  // wrote `after` if `result`
  kErase,        // removed a value if `result`
  kClear,        // removed whatever there was
  kCompute,      // saw `before`, left `after`; leaving nothing is an erase
  kVoidLoads,    // made a load in progress void, and changed nothing else
  kGetOrLoad,    // returned `before`, from the cache or from somebody else's load
  // A call of GetOrLoad that ran its own loader is three operations, in this order:
  kLoadBegin,  // found the key absent and registered the load of `after`
  kLoadStore,  // stored `after`, if nobody wrote or erased the key since kLoadBegin
  kLoadEnd,    // the load can no longer be joined
};

// One operation on one key, as seen from outside: it took effect at some instant between `invoked`
// and `responded`, both read from the recorder's counter.
struct Operation {
  OpKind kind = OpKind::kGet;
  int thread = 0;
  uint64_t key = 0;
  uint64_t invoked = 0;
  uint64_t responded = 0;
  std::optional<uint64_t> before = std::nullopt;
  std::optional<uint64_t> after = std::nullopt;
  bool result = false;
};

std::string ToString(const Operation& operation);
std::string ToString(const std::optional<uint64_t>& value);
std::ostream& operator<<(std::ostream& out, const Operation& operation);

// Operations of several threads; those of one thread stand in program order. A call that takes
// effect in several steps is several operations with the same two instants.
using History = std::vector<Operation>;

// Linearizability is local: a history is linearizable if and only if each object's part is
// (Herlihy & Wing 1990, theorem 1), so keys are checked one by one.
std::map<uint64_t, History> SplitByKey(const History& history);

// The global order of events: each call returns a number larger than every number returned before.
//
// On x86 a relaxed read-modify-write is a full barrier of the processor, and the signal fences stop
// the compiler, so real time order is kept; being relaxed, it creates no happens-before edge that
// would hide a data race of the code under test from ThreadSanitizer. Elsewhere it must pay for
// sequential consistency.
class EventCounter {
 public:
  uint64_t Next() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
#if defined(__x86_64__)
    const uint64_t ticket = next_.fetch_add(1, std::memory_order_relaxed);
#else
    const uint64_t ticket = next_.fetch_add(1, std::memory_order_seq_cst);
#endif
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return ticket;
  }

 private:
  alignas(64) std::atomic<uint64_t> next_{1};
};

// One thread's part of a history. Use: read `Now()`, run the operation, then call the method that
// names it, which reads the counter for the response:
//
//   const uint64_t invoked = log.Now();
//   log.Get(key, invoked, cache.Get(key));
//
// Not thread-safe: each thread has its own.
class alignas(64) ThreadLog {
 public:
  ThreadLog(int thread, EventCounter* counter, size_t reserve);

  uint64_t Now() { return counter_->Next(); }

  void Get(uint64_t key, uint64_t invoked, std::optional<uint64_t> value) {
    Add({.kind = OpKind::kGet, .key = key, .invoked = invoked, .before = value});
  }
  void Contains(uint64_t key, uint64_t invoked, bool present) {
    Add({.kind = OpKind::kContains, .key = key, .invoked = invoked, .result = present});
  }
  void Put(uint64_t key, uint64_t invoked, uint64_t value) {
    Add({.kind = OpKind::kPut, .key = key, .invoked = invoked, .after = value});
  }
  void PutIfAbsent(uint64_t key, uint64_t invoked, uint64_t value, bool stored) {
    Add({.kind = OpKind::kPutIfAbsent,
         .key = key,
         .invoked = invoked,
         .after = value,
         .result = stored});
  }
  void Erase(uint64_t key, uint64_t invoked, bool erased) {
    Add({.kind = OpKind::kErase, .key = key, .invoked = invoked, .result = erased});
  }
  // `responded` is shared by the operations on all the keys that one call was about.
  void Clear(uint64_t key, uint64_t invoked, uint64_t responded) {
    AddAt(responded, {.kind = OpKind::kClear, .key = key, .invoked = invoked});
  }
  // EraseIf: makes the loads of all keys void, then erases; `erased` tells whether this key was.
  // One that erased nothing says nothing of what was there: it may miss what is put meanwhile.
  void EraseIf(uint64_t key, uint64_t invoked, uint64_t responded, bool erased);
  void Compute(uint64_t key, uint64_t invoked, std::optional<uint64_t> before,
               std::optional<uint64_t> after) {
    Add({.kind = OpKind::kCompute,
         .key = key,
         .invoked = invoked,
         .before = before,
         .after = after});
  }
  void GetOrLoad(uint64_t key, uint64_t invoked, uint64_t value) {
    Add({.kind = OpKind::kGetOrLoad, .key = key, .invoked = invoked, .before = value});
  }
  // A GetOrLoad that ran its own loader, from `loader_began` to `loader_ended`. `loaded` identifies
  // the load also when it failed (`ok` false): it must differ from every other value.
  void Load(uint64_t key, uint64_t invoked, uint64_t loader_began, uint64_t loader_ended,
            uint64_t loaded, bool ok);

  const History& operations() const { return operations_; }

 private:
  void Add(Operation operation) { AddAt(Now(), std::move(operation)); }
  void AddAt(uint64_t responded, Operation operation) {
    operation.thread = thread_;
    operation.responded = responded;
    operations_.push_back(std::move(operation));
  }

  const int thread_;
  EventCounter* const counter_;
  History operations_;
};

// Records a history without locks: one buffer a thread, reserved in advance. Collect() after the
// threads were joined.
class HistoryRecorder {
 public:
  HistoryRecorder(int threads, size_t operations_per_thread);

  ThreadLog& log(int thread) { return *logs_.at(static_cast<size_t>(thread)); }
  History Collect() const;

 private:
  EventCounter counter_;
  std::vector<std::unique_ptr<ThreadLog>> logs_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_HISTORY_H_
