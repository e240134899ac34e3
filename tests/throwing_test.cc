// SPDX-License-Identifier: Apache-2.0
#include "tests/support/throwing.h"

#include <memory>
#include <new>
#include <unordered_set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace larder::test {
namespace {

class ThrowingTest : public ::testing::Test {
 protected:
  ~ThrowingTest() override {
    EXPECT_EQ(Counted::Live(), 0);
    EXPECT_EQ(Counted::Violations(), 0);
    Counted::ForgetViolations();
  }
};

// Hides from the compiler which object a pointer names: using one that has ended, as the two tests
// below must, would otherwise be optimised on the promise that nobody does.
Counted* Opaque(Counted* value) {
  Counted* volatile opaque = value;
  return opaque;
}

TEST_F(ThrowingTest, CountsLiveInstances) {
  {
    Counted a(1);
    Counted b = a;
    Counted c = std::move(a);
    a = b;
    std::vector<Counted> many(10, c);
    EXPECT_EQ(Counted::Live(), 13);
    EXPECT_EQ(a, many.back());
  }
  EXPECT_EQ(Counted::Live(), 0);
}

TEST_F(ThrowingTest, SeesAUseAfterTheEnd) {
  alignas(Counted) unsigned char memory[sizeof(Counted)];
  Counted* value = Opaque(new (memory) Counted(1));
  value->~Counted();
  EXPECT_EQ(Counted::Violations(), 0);
  Opaque(value)->number();
  EXPECT_EQ(Counted::Violations(), 1);
  Counted::ForgetViolations();
}

TEST_F(ThrowingTest, SeesASecondDestruction) {
  alignas(Counted) unsigned char memory[sizeof(Counted)];
  Counted* value = Opaque(new (memory) Counted(1));
  value->~Counted();
  Opaque(value)->~Counted();
  EXPECT_EQ(Counted::Violations(), 1);
  EXPECT_EQ(Counted::Live(), -1);
  new (memory) Counted(1);  // evens out the count
  Counted::ForgetViolations();
}

TEST_F(ThrowingTest, SeesAReadOfAMovedFromValue) {
  Counted a(1);
  Counted b = std::move(a);
  a.number();
  EXPECT_EQ(Counted::Violations(), 1);
  Counted::ForgetViolations();
  a = b;
  EXPECT_EQ(a.number(), 1u);
}

TEST_F(ThrowingTest, ThrowsAtTheNthPointOnce) {
  ThrowingCopy value(1);
  FaultCountdown::Arm(3);
  ThrowingCopy first = value;
  ThrowingCopy moved = std::move(first);
  first = value;
  EXPECT_THROW(ThrowingCopy third = value, InjectedFault);
  ThrowingCopy fourth = value;
  EXPECT_TRUE(FaultCountdown::Disarm());
  ThrowingCopy fifth = value;
  FaultCountdown::Arm(2);
  ThrowingCopy sixth = value;
  EXPECT_FALSE(FaultCountdown::Disarm());
}

TEST_F(ThrowingTest, AFailedMoveLeavesItsSource) {
  ThrowingMove value(7);
  FaultCountdown::Arm(1);
  EXPECT_THROW(ThrowingMove moved = std::move(value), InjectedFault);
  FaultCountdown::Disarm();
  EXPECT_EQ(value.number(), 7u);
}

// The loop of the header's comment, on a container known to be right.
TEST_F(ThrowingTest, FindsEveryPointOfAnOperation) {
  using Set =
      std::unordered_set<ThrowingMove, ThrowingHash<ThrowingMove>, ThrowingEqual<ThrowingMove>>;
  int faults = 0;
  for (int64_t n = 1;; ++n) {
    Set set;
    set.insert(1);
    set.insert(2);
    FaultCountdown::Arm(n);
    try {
      set.insert(2);
      set.insert(3);
    } catch (const InjectedFault&) {
      ++faults;
      EXPECT_GE(set.size(), 2u);
    }
    if (!FaultCountdown::Disarm()) break;
    EXPECT_EQ(faults, n);
  }
  EXPECT_GE(faults, 4);  // two hashes, an equality, a move
}

}  // namespace
}  // namespace larder::test
