// SPDX-License-Identifier: Apache-2.0
//
// HostLookup with resolvers that answer when a test wants it. Nothing here asks a real one.
#include "src/host_lookup.h"

#include <atomic>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/internal/event.h"
#include "src/socket.h"
#include "tests/support/child.h"

namespace larder::internal {
namespace {

using test::RunInChild;

const Deadline kNever = Deadline::After(absl::InfiniteDuration());

Deadline Soon() { return Deadline::After(absl::Milliseconds(5)); }

// A resolver's affairs, which a thread of HostLookup's may need longer than the test.
struct World {
  std::atomic<int> asked{0};
  Event answer;
  absl::StatusOr<HostAddresses> known = nullptr;
};

HostAddresses Loopback() {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  EXPECT_EQ(getaddrinfo("127.0.0.1", "1", &hints, &found), 0);
  return HostAddresses(found, [](addrinfo* addresses) { freeaddrinfo(addresses); });
}

std::shared_ptr<World> MakeWorld() {
  auto world = std::make_shared<World>();
  world->known = Loopback();
  return world;
}

HostLookup::Resolver ResolverOf(std::shared_ptr<World> world) {
  return [world](const std::string& host, int port) {
    EXPECT_EQ(host, "cache-1");
    EXPECT_EQ(port, 6379);
    ++world->asked;
    world->answer.Wait();
    return world->known;
  };
}

TEST(HostLookupTest, ANumericAddressIsNotLookedUp) {
  const auto world = MakeWorld();
  HostLookup lookup(ResolverOf(world));
  for (const auto& [host, family] : {std::pair("127.0.0.1", AF_INET), std::pair("::1", AF_INET6)}) {
    const auto found = lookup.Find(host, 6379, kNever);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ((*found)->ai_family, family);
  }
  EXPECT_EQ(world->asked, 0);
}

TEST(HostLookupTest, WithoutMemoryItFailsAndTheNextLookupIsAnother) {
  std::atomic<int> asked{0};
  HostLookup lookup([&](const std::string&, int) -> absl::StatusOr<HostAddresses> {
    if (asked++ == 0) throw std::bad_alloc();
    return Loopback();
  });
  EXPECT_TRUE(absl::IsResourceExhausted(lookup.Find("cache-1", 6379, kNever).status()));
  EXPECT_TRUE(lookup.Find("cache-1", 6379, kNever).ok());
}

TEST(HostLookupTest, ACallerLeavesWhenItsTimeIsUpAndTheNextHasTheAnswer) {
  const auto world = MakeWorld();
  HostLookup lookup(ResolverOf(world));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(lookup.Find("cache-1", 6379, Soon()).status().code(),
              absl::StatusCode::kDeadlineExceeded);
  }
  world->answer.Set();
  const auto found = lookup.Find("cache-1", 6379, kNever);
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ(*found, *world->known);
  EXPECT_EQ(world->asked, 1) << "one at a time";
  EXPECT_TRUE(lookup.Find("cache-1", 6379, kNever).ok());
  EXPECT_EQ(world->asked, 2) << "an answer that was had is not kept";
}

TEST(HostLookupTest, AnErrorIsToldAndNotKept) {
  const auto world = MakeWorld();
  world->known = absl::UnavailableError("no such host");
  world->answer.Set();
  HostLookup lookup(ResolverOf(world));
  for (int i = 1; i <= 2; ++i) {
    EXPECT_EQ(lookup.Find("cache-1", 6379, kNever).status(), world->known.status());
    EXPECT_EQ(world->asked, i);
  }
}

TEST(HostLookupTest, ThreadsShareASearch) {
  const auto world = MakeWorld();
  HostLookup lookup(ResolverOf(world));
  // Begins the search, which the others find.
  EXPECT_FALSE(lookup.Find("cache-1", 6379, Soon()).ok());
  std::atomic<int> found{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      // One that comes too late for that search begins another, which ends at once.
      if (lookup.Find("cache-1", 6379, kNever).ok()) ++found;
    });
  }
  EXPECT_FALSE(lookup.Find("cache-1", 6379, Soon()).ok());
  EXPECT_LE(world->asked, 1);
  world->answer.Set();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(found, 4);
}

TEST(HostLookupTest, MayBeDestroyedBeforeItsThreads) {
  const auto world = MakeWorld();
  {
    HostLookup lookup(ResolverOf(world));
    EXPECT_FALSE(lookup.Find("cache-1", 6379, Soon()).ok());
  }
  world->answer.Set();
}

TEST(HostLookupTest, AConnectionIsGivenUpDuringTheLookup) {
  const auto world = MakeWorld();
  HostLookup lookup(ResolverOf(world));
  EXPECT_EQ(ConnectTcp("cache-1", 6379, Soon(), lookup).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  world->answer.Set();
  // Nobody listens at the address that is found.
  EXPECT_EQ(ConnectTcp("cache-1", 6379, kNever, lookup).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST(HostLookupTest, AChildHasOneOfItsOwn) {
  HostLookup* const ours = &HostLookup::ForProcess();
  EXPECT_EQ(&HostLookup::ForProcess(), ours);
  RunInChild([&] {
    CHILD_CHECK(&HostLookup::ForProcess() != ours);
    CHILD_CHECK(&HostLookup::ForProcess() == &HostLookup::ForProcess());
  });
}

}  // namespace
}  // namespace larder::internal
