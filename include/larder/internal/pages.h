// SPDX-License-Identifier: Apache-2.0
//
// Pages, Reservation: large, zeroed, lazily committed memory straight from the kernel.

#ifndef LARDER_INTERNAL_PAGES_H_
#define LARDER_INTERNAL_PAGES_H_

#include <cstddef>
#include <cstdint>
#include <utility>

namespace larder::internal {

// Owns a mapping. Blocks of a huge page (2 MiB) and more are aligned to one and ask for huge pages:
// a cache's accesses are random, and most of what they cost is the walk of the page tables.
class Pages {
 public:
  Pages() = default;
  // Zeroed memory, at least `bytes`, aligned to a page. data() is nullptr where there is none to be
  // had. Requires: bytes > 0.
  static Pages Allocate(size_t bytes);

  Pages(Pages&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Pages& operator=(Pages&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Pages();

  // Has the kernel find memory for `bytes` from `offset` on now, and not when they are first
  // written to, if it can. Changes nothing else. Requires: both are multiples of 4096.
  void Populate(size_t offset, size_t bytes);

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Pages(void* data, size_t bytes) : data_(data), bytes_(bytes) {}

  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Owns address space, of which the first part is memory: for what must grow without moving.
class Reservation {
 public:
  Reservation() = default;
  // Address space for about `most` bytes, or for less where the system has no more (of a limited
  // address space, an eighth at most), but at least for `least`; data() is nullptr where there
  // isn't even that. Requires: 0 < least <= most.
  static Reservation Reserve(size_t least, size_t most);

  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  Reservation(Reservation&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        committed_(std::exchange(other.committed_, 0)),
        end_(std::exchange(other.end_, kUnknown)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(committed_, other.committed_);
    std::swap(end_, other.end_);
    return *this;
  }
  ~Reservation();

  char* data() const { return data_; }
  size_t bytes() const { return bytes_; }

  // Makes the last `bytes`, rounded up to huge pages, a reservation of its own; an empty one where
  // this has no more than that. Requires: nothing was committed.
  Reservation SplitTail(size_t bytes);

  // The use of what is reserved will probably end around byte `bytes`: from the huge page that this
  // is in on, small pages are taken for a while, so that none is taken whole for a small part.
  // Requires: nothing was committed.
  void ExpectEnd(size_t bytes);

  // Makes the first `bytes` usable: zeroed memory, taken from the system page by page as it is
  // touched; huge pages past the first two MiB, but around the end. False where there is none to be
  // had. Not thread-safe.
  bool Commit(size_t bytes);

 private:
  // Tells the kernel about bytes `begin` to `end`, but for those that were committed before.
  void Advise(size_t begin, size_t end, int advice);

  char* data_ = nullptr;
  size_t bytes_ = 0;
  size_t committed_ = 0;
  static constexpr size_t kUnknown = SIZE_MAX / 2;
  size_t end_ = kUnknown;  // the beginning of the small pages around the expected end
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_PAGES_H_
