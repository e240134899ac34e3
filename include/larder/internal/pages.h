// SPDX-License-Identifier: Apache-2.0
//
// Pages: large, zeroed, lazily committed memory straight from the kernel.

#ifndef LARDER_INTERNAL_PAGES_H_
#define LARDER_INTERNAL_PAGES_H_

#include <cstddef>
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

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  Pages(void* data, size_t bytes) : data_(data), bytes_(bytes) {}

  void* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_PAGES_H_
