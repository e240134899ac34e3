// SPDX-License-Identifier: Apache-2.0
//
// Three servers that use one key of a shared tier, step by step in an order drawn from a seed: what
// they have agrees with the store, whatever comes between what.

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "larder/internal/remote_cache.h"
#include "larder/internal/remote_entry.h"
#include "larder/remote_options.h"
#include "larder/remote_stats.h"
#include "tests/support/model_tier.h"
#include "tests/support/remote_server.h"
#include "tests/support/rounds.h"
#include "tests/support/stepped_server.h"

namespace larder::internal {
namespace {

using test::ModelServer;
using test::ModelTier;
using test::VersionedStore;
using Found = RemoteRead::Found;
using Server = test::SteppedServer;

using test::kSteppedKey;
constexpr const char* kTag = test::kSteppedTag;

// What may happen beside loads and writes.
struct Troubles {
  bool evictions = false;      // the tier drops what it likes
  bool invalidations = false;  // other programs write, and a server invalidates what they wrote
  bool faults = false;         // calls of the tier fail, made or not
};

class Interleaving {
 public:
  Interleaving(uint64_t seed, const Troubles& troubles) : random_(seed), troubles_(troubles) {
    RemoteOptions options = test::RemoteServer::DefaultOptions();
    options.negative_ttl = absl::Minutes(1);
    options.failures_to_open = 1'000'000;  // it would only be called less
    for (auto& server : servers_) server = std::make_unique<Server>(&redis_, &store_, options);
    // What a beginning changes is told to the others.
    for (int i = 0; i < 2; ++i) {
      for (auto& server : servers_) server->AwaitSettled();
    }
    for (auto& server : servers_) server->tier().HoldChanges();
  }

  void Run() {
    for (int steps = 10 + Draw(60); steps > 0; --steps) Step();
    for (auto& server : servers_) {
      while (server->writes()) Write(*server);
      while (server->loads()) Load(*server);
    }
    for (auto& server : servers_) server->tier().ReleaseChanges();
    // What one does to recover is told to the others.
    for (int i = 0; i < 2; ++i) {
      for (auto& server : servers_) server->AwaitSettled();
    }
    for (auto& server : servers_) ExpectAgreement(*server);
  }

  // What was wrong; empty: nothing.
  std::string wrong() const { return absl::StrJoin(wrong_, "\n"); }
  // All steps, one a line.
  std::string trace() const { return absl::StrJoin(trace_, "\n"); }
  uint64_t Sum(uint64_t RemoteStats::*counter) const {
    uint64_t sum = 0;
    for (const auto& server : servers_) sum += server->cache().Stats().*counter;
    return sum;
  }

 private:
  int Draw(int bound) { return static_cast<int>(random_() % static_cast<uint64_t>(bound)); }
  bool OneIn(int n) { return Draw(n) == 0; }

  void Say(const Server& server, const std::string& what) {
    const auto is_it = [&](const auto& each) { return each.get() == &server; };
    const auto it = std::find_if(servers_.begin(), servers_.end(), is_it);
    trace_.push_back(absl::StrCat("  server ", it - servers_.begin(), " ", what));
  }

  void Step() {
    Server& server = *servers_[static_cast<size_t>(Draw(3))];
    switch (Draw(8)) {
      case 0:
      case 1:
      case 2:
        return Load(server);
      case 3:
      case 4:
      case 5:
        return Write(server);
      case 6:
        return Tell(server);
      default:
        if (troubles_.evictions && OneIn(3)) return Evict();
        if (troubles_.invalidations) Invalidate(server);
    }
  }

  // Calls `step` while the tier perhaps fails.
  template <class StepOf>
  void Do(Server& server, const StepOf& step) {
    const bool fails = troubles_.faults && OneIn(6);
    if (fails) {
      const bool is_made = OneIn(2);
      server.tier().SetReach(is_made ? ModelTier::Reach::kDeaf : ModelTier::Reach::kUnreachable);
      Say(server, is_made ? "gets no answer:" : "reaches nothing:");
    }
    Say(server, step());
    if (fails) server.tier().SetReach(ModelTier::Reach::kWhole);
    // What it is now doing about it by itself comes before the next step. Not so where calls
    // failed: when it tries again is a matter of time.
    server.AwaitIdle();
  }

  void Load(Server& server) {
    Do(server, [&] { return server.Load(/*fails=*/OneIn(8)); });
  }

  void Write(Server& server) {
    Do(server, [&] {
      return server.Write({.erases = OneIn(6),
                           .has_tag = troubles_.invalidations && OneIn(2),
                           .is_around = OneIn(3)});
    });
  }

  void Tell(Server& server) {
    const bool is_all = OneIn(2);
    if (is_all) {
      server.tier().ReleaseChanges();
    } else {
      server.tier().TellHeld(static_cast<size_t>(1 + Draw(3)));
    }
    server.AwaitIdle();
    Say(server, is_all ? "is told all" : "is told some");
    if (!is_all) return;
    server.tier().HoldChanges();
    // A call that failed may have left something, which is removed later.
    if (!troubles_.faults && !server.loads() && !server.writes()) ExpectNothingOutdated(server);
  }

  void Evict() {
    const bool is_tag = troubles_.invalidations && OneIn(2);
    redis_.Remove(is_tag ? TagKey(kTag) : kSteppedKey);
    trace_.push_back(is_tag ? "  evicts the tag" : "  evicts");
  }

  // Another program writes, and this server hears of it.
  void Invalidate(Server& server) {
    // It would be undefined which comes last, or whether a row that is being written has the tag.
    for (const auto& each : servers_) {
      if (each->writes()) return;
    }
    const auto old = store_.Find();
    const bool is_tagged = old.has_value() && !old->tags.empty();
    const auto row = store_.Write(OneIn(6), OneIn(2));
    trace_.push_back(absl::StrCat("  another program stores ", VersionedStore::Text(row)));
    Do(server, [&]() -> std::string {
      const std::string keys[] = {kSteppedKey};
      switch (Draw(is_tagged ? 6 : 2)) {
        case 0:
          (void)server.cache().InvalidateKeys(keys);
          server.memory().Drop(kSteppedKey);
          return "invalidates the key";
        case 1:
          (void)server.cache().InvalidatePrefixed("ke");
          server.memory().DropPrefix("ke");
          return "invalidates a prefix";
        default:
          (void)server.cache().InvalidateTagged(kTag);
          server.memory().DropTag(kTag);
          return "invalidates the tag";
      }
    });
    returned_ = store_.version();
  }

  // All that a server has that was told all is as new as the last change that has returned.
  void ExpectNothingOutdated(Server& server) {
    for (const auto& each : servers_) returned_ = std::max(returned_, each->written());
    const auto check = [&](const char* where, const std::string& value) {
      if (VersionedStore::VersionOf(value) >= returned_) return;
      wrong_.push_back(absl::StrCat(where, " has ", value, " after ", returned_, " was written"));
      Say(server, wrong_.back());
    };
    if (const auto row = server.memory().Find(); row.has_value()) check("memory", row->value);
    // Not always, since reading leaves traces in the tier.
    if (!OneIn(3)) return;
    RemoteRead read = server.cache().Read(kSteppedKey, /*is_refresh=*/false);
    if (read.found() == Found::kValue) check("the tier", read.payload());
    server.cache().Abandon(read);
  }

  // At the end: nobody has anything else than the store.
  void ExpectAgreement(Server& server) {
    const auto row = store_.Find();
    const auto check = [&](const char* where, const std::optional<std::string>& value) {
      if (row.has_value() ? value == row->value : !value.has_value()) return;
      wrong_.push_back(absl::StrCat(where, " has ", value.value_or("none"), ", the store has ",
                                    VersionedStore::Text(row)));
      Say(server, wrong_.back());
    };
    if (const auto kept = server.memory().Find(); kept.has_value()) check("memory", kept->value);
    RemoteRead read = server.cache().Read(kSteppedKey, /*is_refresh=*/false);
    if (read.found() == Found::kValue) check("the tier", read.payload());
    if (read.found() == Found::kNegative) check("the tier", std::nullopt);
    server.cache().Abandon(read);
  }

  std::mt19937_64 random_;
  const Troubles troubles_;
  ModelServer redis_;
  VersionedStore store_;
  std::array<std::unique_ptr<Server>, 3> servers_;
  int returned_ = 0;  // the newest version whose change has returned
  std::vector<std::string> wrong_;
  std::vector<std::string> trace_;
};

void RunInManyOrders(const Troubles& troubles) {
  uint64_t hits = 0;
  uint64_t fills = 0;
  uint64_t refused = 0;
  uint64_t own = 0;
  for (int round = 0; round < test::Rounds(120); ++round) {
    const uint64_t seed = test::SeedOfRound(round);
    Interleaving interleaving(seed, troubles);
    interleaving.Run();
    ASSERT_EQ(interleaving.wrong(), "") << "seed " << seed << ":\n" << interleaving.trace();
    hits += interleaving.Sum(&RemoteStats::hits);
    fills += interleaving.Sum(&RemoteStats::fills);
    refused += interleaving.Sum(&RemoteStats::fills_refused);
    own += interleaving.Sum(&RemoteStats::own_changes);
  }
  // There was something that could go wrong.
  EXPECT_GT(hits, 0u);
  EXPECT_GT(fills, 0u);
  EXPECT_GT(refused, 0u);
  EXPECT_GT(own, 0u);
}

TEST(RemoteCacheInterleavingTest, ServersAgreeInAnyOrder) { RunInManyOrders({}); }

TEST(RemoteCacheInterleavingTest, ServersAgreeWhateverTheTierEvicts) {
  RunInManyOrders({.evictions = true});
}

TEST(RemoteCacheInterleavingTest, WhatIsInvalidatedIsGoneInAnyOrder) {
  RunInManyOrders({.invalidations = true});
}

TEST(RemoteCacheInterleavingTest, WhatIsInvalidatedIsGoneWhateverTheTierEvicts) {
  RunInManyOrders({.evictions = true, .invalidations = true});
}

TEST(RemoteCacheInterleavingTest, ServersAgreeInTheEndWhateverFails) {
  RunInManyOrders({.evictions = true, .invalidations = true, .faults = true});
}

}  // namespace
}  // namespace larder::internal
