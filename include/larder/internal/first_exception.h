// SPDX-License-Identifier: Apache-2.0
//
// FirstException: carries on after a callback threw, and throws it at the end.

#ifndef LARDER_INTERNAL_FIRST_EXCEPTION_H_
#define LARDER_INTERNAL_FIRST_EXCEPTION_H_

#include <exception>
#include <utility>

namespace larder::internal {

// Collects what the callbacks of one operation throw, and keeps the first.
class FirstException {
 public:
  void Keep(std::exception_ptr thrown) {
    if (first_ == nullptr) first_ = std::move(thrown);
  }
  std::exception_ptr Take() { return std::exchange(first_, nullptr); }

 private:
  std::exception_ptr first_;
};

inline void Rethrow(std::exception_ptr thrown) {
  if (thrown != nullptr) std::rethrow_exception(std::move(thrown));
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_FIRST_EXCEPTION_H_
