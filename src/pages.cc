// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/pages.h"

#include <sys/mman.h>

#include <cstdint>

#include "absl/base/config.h"

// A leak checker looks for pointers in memory that it knows of; ours is not from malloc.
#if defined(ABSL_HAVE_ADDRESS_SANITIZER) || defined(ABSL_HAVE_LEAK_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#define LARDER_LEAK_ROOTS 1
#else
#define LARDER_LEAK_ROOTS 0
#endif

namespace larder::internal {
namespace {

constexpr size_t kSmallPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

void* Map(size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return data == MAP_FAILED ? nullptr : data;
}

// Maps `bytes` at a multiple of a huge page, by mapping more and giving back both ends.
void* MapAligned(size_t bytes) {
  void* whole = Map(bytes + kHugePage);
  if (whole == nullptr) return nullptr;
  const auto begin = reinterpret_cast<uintptr_t>(whole);
  const uintptr_t aligned = RoundUp(begin, kHugePage);
  const uintptr_t end = begin + bytes + kHugePage;
  if (aligned > begin) munmap(whole, aligned - begin);
  if (end > aligned + bytes) {
    munmap(reinterpret_cast<void*>(aligned + bytes), end - (aligned + bytes));
  }
  void* data = reinterpret_cast<void*>(aligned);
  // A kernel that has no huge pages to give serves small ones; nothing else changes.
  madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

}  // namespace

Pages Pages::Allocate(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return Pages();
  const bool huge = bytes >= kHugePage;
  const size_t rounded = RoundUp(bytes, huge ? kHugePage : kSmallPage);
  void* data = huge ? MapAligned(rounded) : Map(rounded);
  if (data == nullptr) return Pages();
#if LARDER_LEAK_ROOTS
  __lsan_register_root_region(data, rounded);
#endif
  return Pages(data, rounded);
}

Pages::~Pages() {
  if (data_ == nullptr) return;
#if LARDER_LEAK_ROOTS
  __lsan_unregister_root_region(data_, bytes_);
  // Whoever the kernel gives these addresses to next must not inherit our poison (node.h).
  ASAN_UNPOISON_MEMORY_REGION(data_, bytes_);
#endif
  munmap(data_, bytes_);
}

}  // namespace larder::internal
