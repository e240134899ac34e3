// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/pages.h"

#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
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

// As much is taken in small pages around the expected end of a reservation's use.
constexpr size_t kEndPages = 2 * kHugePage;

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

Reservation Reservation::Reserve(size_t least, size_t most) {
  const size_t smallest = RoundUp(least, kHugePage);
  // Others need address space, too.
  rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    most = std::min<size_t>(most, limit.rlim_cur / 8);
  }
  Reservation reservation;
  for (size_t bytes = RoundUp(std::min(most, SIZE_MAX / 4), kHugePage);; bytes /= 2) {
    bytes = std::max(RoundUp(bytes, kHugePage), smallest);
    // One huge page more, to align the beginning.
    void* whole = mmap(nullptr, bytes + kHugePage, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (whole == MAP_FAILED) {
      if (bytes == smallest) return reservation;
      continue;
    }
    const auto begin = reinterpret_cast<uintptr_t>(whole);
    const uintptr_t aligned = RoundUp(begin, kHugePage);
    if (aligned > begin) munmap(whole, aligned - begin);
    if (const size_t rest = begin + kHugePage - aligned; rest > 0) {
      munmap(reinterpret_cast<void*>(aligned + bytes), rest);
    }
    reservation.data_ = reinterpret_cast<char*>(aligned);
    reservation.bytes_ = bytes;
    return reservation;
  }
}

Reservation Reservation::SplitTail(size_t bytes) {
  bytes = RoundUp(bytes, kHugePage);
  Reservation tail;
  if (bytes >= bytes_) return tail;
  bytes_ -= bytes;
  tail.data_ = data_ + bytes_;
  tail.bytes_ = bytes;
  return tail;
}

void Reservation::ExpectEnd(size_t bytes) { end_ = bytes / kHugePage * kHugePage; }

void Reservation::Advise(size_t begin, size_t end, int advice) {
  begin = std::max(begin, committed_);
  if (begin < end) madvise(data_ + begin, end - begin, advice);
}

bool Reservation::Commit(size_t bytes) {
  if (bytes <= committed_) return true;
  if (bytes > bytes_) return false;
  // Few steps, since each is a system call: as much again, up to a bound.
  constexpr size_t kSmallestStep = size_t{64} << 10;
  constexpr size_t kLargestStep = size_t{32} << 20;
  const size_t step = std::clamp(committed_, kSmallestStep, kLargestStep);
  size_t end = RoundUp(std::max(bytes, committed_ + step), kSmallPage);
  if (end > kHugePage) end = RoundUp(end, kHugePage);
  end = std::min(end, bytes_);
  if (mprotect(data_ + committed_, end - committed_, PROT_READ | PROT_WRITE) != 0) return false;
  Advise(kHugePage, std::min(end, end_), MADV_HUGEPAGE);
  Advise(end_, std::min(end, end_ + kEndPages), MADV_NOHUGEPAGE);
  Advise(std::max(kHugePage, end_ + kEndPages), end, MADV_HUGEPAGE);
#if LARDER_LEAK_ROOTS
  if (committed_ > 0) __lsan_unregister_root_region(data_, committed_);
  __lsan_register_root_region(data_, end);
#endif
  committed_ = end;
  return true;
}

Reservation::~Reservation() {
  if (data_ == nullptr) return;
#if LARDER_LEAK_ROOTS
  if (committed_ > 0) __lsan_unregister_root_region(data_, committed_);
  ASAN_UNPOISON_MEMORY_REGION(data_, committed_);
#endif
  munmap(data_, bytes_);
}

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

void Pages::Populate(size_t offset, size_t bytes) {
#if defined(MADV_POPULATE_WRITE)
  // Kernels before 5.14 refuse, and so does one that is out of memory: it comes to that later,
  // then.
  if (bytes > 0) madvise(static_cast<char*>(data_) + offset, bytes, MADV_POPULATE_WRITE);
#endif
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
