// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_CONSULTING_H_
#define LARDER_TESTS_SUPPORT_CONSULTING_H_

#include <cstdint>
#include <optional>

#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/throwing.h"

namespace larder::test {

// A number whose copies look it up in a cache, and put it there: `consulted`, unless that is null.
class Consulting {
 public:
  using ConsultedCache = Cache<uint64_t, Counted, S3Fifo>;

  explicit Consulting(uint64_t number) : value_(number) {}
  Consulting(const Consulting& other) : value_(other.value_) {
    if (consulted == nullptr) return;
    const uint64_t key = other.number();
    if (const std::optional<Counted> found = consulted->Get(key)) {
      EXPECT_EQ(found->number(), key);
    }
    EXPECT_TRUE(consulted->Put(key, key).ok());
    EXPECT_EQ(other.number(), key) << "still protected after a guard inside of this one";
  }
  Consulting(Consulting&&) noexcept = default;
  Consulting& operator=(const Consulting&) = default;
  Consulting& operator=(Consulting&&) noexcept = default;

  uint64_t number() const { return value_.number(); }

  static inline ConsultedCache* consulted = nullptr;

 private:
  Counted value_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_CONSULTING_H_
