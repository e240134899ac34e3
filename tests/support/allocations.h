// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_ALLOCATIONS_H_
#define LARDER_TESTS_SUPPORT_ALLOCATIONS_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

// Replaces the global allocation functions of the program, so only one of its sources may include
// this: such functions can't be inline, and in a library every test would get them.

namespace larder::test {

// What the calling thread takes from operator new, counted, and made to fail.
class Allocations {
 public:
  // By this thread, so far.
  static uint64_t Count() { return count_; }

  // After n more of this thread's allocations, one fails, once.
  static void FailAfter(int64_t n) { left_ = n; }

  // Ends what FailAfter began. Returns whether none has failed.
  static bool Disarm() {
    const bool none_failed = left_ >= 0;
    left_ = -1;
    return none_failed;
  }

  // For operator new. Returns null if it fails.
  static void* Allocate(std::size_t bytes) {
    ++count_;
    if (left_ >= 0 && left_-- == 0) return nullptr;
    return std::malloc(bytes == 0 ? 1 : bytes);
  }

 private:
  static inline thread_local uint64_t count_ = 0;
  static inline thread_local int64_t left_ = -1;  // negative: none is to fail
};

}  // namespace larder::test

// Every form but the aligned ones, which keep each other's company: a sanitizer takes memory from
// its own function and given to one of these for a mismatch. Not inlined, so that the compiler
// doesn't take malloc's memory, given to delete, for one.

[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (void* memory = larder::test::Allocations::Allocate(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return larder::test::Allocations::Allocate(bytes);
}
[[gnu::noinline]] void* operator new[](std::size_t bytes) { return operator new(bytes); }
[[gnu::noinline]] void* operator new[](std::size_t bytes, const std::nothrow_t& tag) noexcept {
  return operator new(bytes, tag);
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  std::free(memory);
}

#endif  // LARDER_TESTS_SUPPORT_ALLOCATIONS_H_
