// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_READ_ONLY_MEMORY_H_
#define LARDER_TESTS_SUPPORT_READ_ONLY_MEMORY_H_

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

// Replaces the global allocation functions of the program, so only one of its sources may include
// this: such functions can't be inline, and in a library every test would get them.

namespace larder::test {

// Where operator new takes its memory from while a ReadOnlyMemory collects. Never reused: what is
// protected holds nothing of anybody else's.
class Arena {
 public:
  struct Block {
    char* begin;
    size_t bytes;
  };

  static constexpr size_t kBytes = size_t{1} << 30;  // of addresses; memory only where touched

  // What is aligned to two cache lines is meant to be written by one thread at a time, each its own
  // lines: the cells of the statistics and the records of the threads, and nothing else. It isn't
  // placed here, so that it stays writable; ApartBlocks tells of it.
  static constexpr size_t kApart = 128;

  // Maps it, at first.
  static char* Begin() {
    char* memory = memory_.load(std::memory_order_acquire);
    if (memory != nullptr) return memory;
    void* mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) std::abort();
    memory_.store(static_cast<char*>(mapped), std::memory_order_release);
    return static_cast<char*>(mapped);
  }
  static bool Contains(const void* address) {
    const char* const memory = memory_.load(std::memory_order_acquire);
    const auto* const at = static_cast<const char*>(address);
    return memory != nullptr && at >= memory && at < memory + kBytes;
  }

  // For this thread: whether it allocates here. Requires: Begin() was called.
  static bool Use(bool use) { return std::exchange(used_, use); }

  static void* Allocate(size_t bytes, size_t alignment) {
    bytes = (bytes / alignment + 1) * alignment;
    if (!used_) return std::aligned_alloc(alignment, bytes);
    if (alignment >= kApart) {
      if (apart_count_ == kMostApart) std::abort();
      void* memory = std::aligned_alloc(alignment, bytes);
      apart_[apart_count_++] = {static_cast<char*>(memory), bytes};
      return memory;
    }
    taken_ = (taken_ + alignment - 1) / alignment * alignment;
    char* memory = Begin() + taken_;
    taken_ += bytes;
    return taken_ <= kBytes ? memory : nullptr;
  }

  static void Free(void* memory) {
    if (!Contains(memory)) std::free(memory);
  }

  // What was allocated apart, in the order of allocation.
  static std::vector<Block> ApartBlocks() { return {apart_, apart_ + apart_count_}; }

 private:
  static constexpr size_t kMostApart = 1000;

  static inline std::atomic<char*> memory_{nullptr};
  static inline thread_local bool used_ = false;
  // Written by the one thread that uses the arena.
  static inline size_t taken_ = 0;
  static inline size_t apart_count_ = 0;
  static inline Block apart_[kMostApart];
};

// The memory that something took to be made, to be read only for a while. Whoever writes to it then
// dies by SIGSEGV, after a word on stderr: kSaid. One at a time in a process.
class ReadOnlyMemory {
 public:
  static constexpr char kSaid[] = "a write to read-only memory";

  ReadOnlyMemory() = default;
  ReadOnlyMemory(const ReadOnlyMemory&) = delete;
  ReadOnlyMemory& operator=(const ReadOnlyMemory&) = delete;
  ~ReadOnlyMemory() { Restore(); }

  // Runs make(), which may use malloc only by way of operator new, while no other thread maps
  // memory. All pages that become writable meanwhile are taken for what it makes: those from mmap,
  // by whatever way, and the arena's.
  template <class Make>
  void Collect(Make&& make) {
    ranges_.reserve(kMostRanges);
    Ranges before;
    before.reserve(kMostRanges);
    Ranges after;
    after.reserve(kMostRanges);
    Arena::Begin();
    ReadWritable(before);
    const bool used = Arena::Use(true);
    make();
    Arena::Use(used);
    ReadWritable(after);
    const auto arena = reinterpret_cast<uintptr_t>(Arena::Begin());
    ranges_.push_back({arena, arena + Arena::kBytes});
    for (const Range& range : after) AddNew(range, before);
  }

  void Protect() {
    InstallHandler();
    Change(PROT_READ);
    protected_ = true;
  }
  void Restore() {
    if (std::exchange(protected_, false)) Change(PROT_READ | PROT_WRITE);
  }

  bool Covers(const void* address) const {
    const auto at = reinterpret_cast<uintptr_t>(address);
    for (const Range& range : ranges_) {
      if (range.begin <= at && at < range.end) return true;
    }
    return false;
  }

  // Other than the arena's.
  size_t MappedBytes() const {
    size_t bytes = 0;
    for (size_t i = 1; i < ranges_.size(); ++i) bytes += ranges_[i].end - ranges_[i].begin;
    return bytes;
  }

 private:
  struct Range {
    uintptr_t begin;
    uintptr_t end;
  };
  using Ranges = std::vector<Range>;
  static constexpr size_t kMostRanges = 4096;

  // The process's writable memory, in order, but for malloc's and the main thread's stack.
  static void ReadWritable(Ranges& ranges) {
    std::FILE* maps = std::fopen("/proc/self/maps", "re");
    if (maps == nullptr) std::abort();
    char line[4400];
    while (std::fgets(line, sizeof(line), maps) != nullptr) {
      Range range;
      char writable = 0;
      if (std::sscanf(line, "%lx-%lx %*c%c", &range.begin, &range.end, &writable) != 3)
        std::abort();
      if (writable != 'w' || std::strstr(line, "[heap]") != nullptr ||
          std::strstr(line, "[stack]") != nullptr) {
        continue;
      }
      if (ranges.size() == kMostRanges) std::abort();
      ranges.push_back(range);
    }
    std::fclose(maps);
  }

  // Adds the parts of `range` that aren't in `before`.
  void AddNew(Range range, const Ranges& before) {
    for (const Range& old : before) {
      if (old.end <= range.begin || old.begin >= range.end) continue;
      if (old.begin > range.begin) ranges_.push_back({range.begin, old.begin});
      range.begin = old.end;
      if (range.begin >= range.end) return;
    }
    ranges_.push_back(range);
  }

  void Change(int protection) {
    for (const Range& range : ranges_) {
      if (mprotect(reinterpret_cast<void*>(range.begin), range.end - range.begin, protection) !=
          0) {
        std::abort();
      }
    }
  }

  static void InstallHandler() {
    struct sigaction action = {};
    action.sa_sigaction = OnFault;
    action.sa_flags = SA_SIGINFO | static_cast<int>(SA_RESETHAND);
    if (sigaction(SIGSEGV, &action, nullptr) != 0) std::abort();
  }

  // Once it returns the instruction is run again, and this time the signal kills.
  static void OnFault(int /*signal*/, siginfo_t* info, void* /*context*/) {
    if (info->si_code != SEGV_ACCERR) return;
    char text[sizeof(kSaid) + 32];
    const int length = std::snprintf(text, sizeof(text), "%s: %p\n", kSaid, info->si_addr);
    [[maybe_unused]] const auto written = write(STDERR_FILENO, text, static_cast<size_t>(length));
  }

  Ranges ranges_;
  bool protected_ = false;
};

}  // namespace larder::test

// Not inlined, so that the compiler doesn't take malloc's memory, given to delete, for a mismatch.
// The other forms of operator new call these.

[[gnu::noinline]] void* operator new(std::size_t bytes) {
  if (void* memory = larder::test::Arena::Allocate(bytes, alignof(std::max_align_t))) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  if (void* memory = larder::test::Arena::Allocate(bytes, static_cast<size_t>(alignment))) {
    return memory;
  }
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { larder::test::Arena::Free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept {
  larder::test::Arena::Free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept {
  larder::test::Arena::Free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  larder::test::Arena::Free(memory);
}

#endif  // LARDER_TESTS_SUPPORT_READ_ONLY_MEMORY_H_
