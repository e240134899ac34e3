// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/pages.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace larder::internal {
namespace {

constexpr size_t kSmallPage = 4096;
constexpr size_t kHugePage = size_t{2} << 20;

TEST(PagesTest, AreZeroedAlignedAndLargeEnough) {
  for (const size_t bytes : {size_t{1}, kSmallPage, kSmallPage + 1, kHugePage - 1}) {
    const Pages pages = Pages::Allocate(bytes);
    ASSERT_NE(pages.data(), nullptr);
    EXPECT_GE(pages.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.data()) % kSmallPage, 0u);
    auto* data = static_cast<unsigned char*>(pages.data());
    for (size_t i = 0; i < pages.bytes(); ++i) ASSERT_EQ(data[i], 0) << i;
    data[0] = data[pages.bytes() - 1] = 1;
  }
}

TEST(PagesTest, LargeBlocksAreAlignedToHugePages) {
  for (const size_t bytes : {kHugePage, kHugePage + 1, 5 * kHugePage - kSmallPage}) {
    const Pages pages = Pages::Allocate(bytes);
    ASSERT_NE(pages.data(), nullptr);
    EXPECT_GE(pages.bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.data()) % kHugePage, 0u);
    auto* data = static_cast<unsigned char*>(pages.data());
    for (size_t i = 0; i < pages.bytes(); i += kSmallPage) {
      ASSERT_EQ(data[i], 0) << i;
      data[i] = 1;
    }
    data[pages.bytes() - 1] = 1;
  }
}

TEST(PagesTest, MemoryIsCommittedOnlyWhereItIsUsed) {
  constexpr size_t kBytes = size_t{256} << 20;
  const Pages pages = Pages::Allocate(kBytes);
  ASSERT_NE(pages.data(), nullptr);
  static_cast<char*>(pages.data())[kBytes / 2] = 1;
  std::vector<unsigned char> resident(kBytes / kSmallPage);
  ASSERT_EQ(mincore(pages.data(), kBytes, resident.data()), 0);
  const auto in_use = std::count_if(resident.begin(), resident.end(),
                                    [](unsigned char page) { return (page & 1) != 0; });
  EXPECT_GE(in_use, 1);
  EXPECT_LE(in_use, static_cast<ptrdiff_t>(kHugePage / kSmallPage));
}

TEST(PagesTest, WhatTheAddressSpaceCannotHoldIsRefused) {
  for (const size_t bytes : {SIZE_MAX, SIZE_MAX / 2, SIZE_MAX / 4}) {
    EXPECT_EQ(Pages::Allocate(bytes).data(), nullptr);
    EXPECT_EQ(Pages::Allocate(bytes).bytes(), 0u);
  }
}

TEST(ReservationTest, GrowsWithoutMoving) {
  Reservation reservation = Reservation::Reserve(kSmallPage, size_t{1} << 30);
  ASSERT_NE(reservation.data(), nullptr);
  EXPECT_GE(reservation.bytes(), kSmallPage);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(reservation.data()) % kHugePage, 0u);
  char* const data = reservation.data();
  for (size_t end = 1; end < 20 * kHugePage; end = end * 3 / 2 + 1) {
    ASSERT_TRUE(reservation.Commit(end));
    ASSERT_EQ(reservation.data(), data);
    EXPECT_EQ(data[end - 1], 0);
    data[end - 1] = 1;
  }
  EXPECT_EQ(data[0], 1);
  EXPECT_FALSE(reservation.Commit(reservation.bytes() + 1));
}

// Pages of `reservation` that memory was taken for.
size_t ResidentPages(const Reservation& reservation) {
  std::vector<unsigned char> resident(reservation.bytes() / kSmallPage);
  EXPECT_EQ(mincore(reservation.data(), reservation.bytes(), resident.data()), 0);
  return static_cast<size_t>(
      std::count_if(resident.begin(), resident.end(), [](unsigned char page) { return page & 1; }));
}

TEST(ReservationTest, NoHugePageIsTakenForAFewBytesWhereTheEndIsExpected) {
  Reservation reservation = Reservation::Reserve(16 * kHugePage, 16 * kHugePage);
  ASSERT_NE(reservation.data(), nullptr);
  reservation.ExpectEnd(8 * kHugePage + 1);
  ASSERT_TRUE(reservation.Commit(16 * kHugePage));
  for (const size_t at : {8 * kHugePage, 9 * kHugePage}) {
    const size_t before = ResidentPages(reservation);
    reservation.data()[at] = 1;
    EXPECT_EQ(ResidentPages(reservation), before + 1) << "at " << at;
  }
}

TEST(ReservationTest, ItsTailBecomesAReservationOfItsOwn) {
  Reservation whole = Reservation::Reserve(4 * kHugePage, 4 * kHugePage);
  ASSERT_EQ(whole.bytes(), 4 * kHugePage);
  Reservation tail = whole.SplitTail(1);
  EXPECT_EQ(whole.bytes(), 3 * kHugePage);
  EXPECT_EQ(tail.bytes(), kHugePage);
  EXPECT_EQ(tail.data(), whole.data() + whole.bytes());
  ASSERT_TRUE(tail.Commit(tail.bytes()) && whole.Commit(whole.bytes()));
  whole.data()[whole.bytes() - 1] = tail.data()[0] = 1;
  EXPECT_EQ(whole.SplitTail(whole.bytes()).data(), nullptr);
}

TEST(ReservationTest, WhatTheAddressSpaceCannotHoldIsRefused) {
  EXPECT_EQ(Reservation::Reserve(size_t{1} << 60, size_t{1} << 60).data(), nullptr);
}

TEST(PagesTest, OwnershipMoves) {
  Pages empty;
  EXPECT_EQ(empty.data(), nullptr);
  Pages first = Pages::Allocate(kSmallPage);
  void* const data = first.data();
  Pages second(std::move(first));
  EXPECT_EQ(second.data(), data);
  EXPECT_EQ(first.data(), nullptr);  // NOLINT: what a move leaves is defined here
  empty = std::move(second);
  EXPECT_EQ(empty.data(), data);
  static_cast<char*>(empty.data())[0] = 1;
}

// Bytes of address space that this process has.
size_t AddressSpaceInUse() {
  std::ifstream file("/proc/self/statm");
  size_t pages = 0;
  EXPECT_TRUE(file >> pages);
  return pages * kSmallPage;
}

TEST(PagesTest, MemoryIsGivenBack) {
  for (const size_t bytes : {kSmallPage, kHugePage + kSmallPage}) {
    const size_t before = AddressSpaceInUse();
    constexpr size_t kTimes = 20'000;
    for (size_t i = 0; i < kTimes; ++i) ASSERT_NE(Pages::Allocate(bytes).data(), nullptr);
    EXPECT_LT(AddressSpaceInUse(), before + kTimes * bytes / 2);
  }
}

}  // namespace
}  // namespace larder::internal
