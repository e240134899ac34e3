// SPDX-License-Identifier: Apache-2.0
// LoadWorld catches the bugs that a cache which loads is likely to have. Each is planted between
// the world and a real cache; without one, the world finds nothing.
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/async_load.h"
#include "larder/options.h"
#include "tests/support/load_world.h"
#include "tests/support/world_cache.h"

namespace larder::test {
namespace {

// Within so many seeds each bug must be caught.
constexpr uint64_t kSeeds = 500;

// The first seed that catches it; `most` + 1 if none does.
template <class Bug>
uint64_t FirstSeedThatCatches(uint64_t most = kSeeds) {
  uint64_t seed = 0;
  for (bool passes = true; passes && ++seed <= most;) {
    LoadWorld world(seed, [](const WorldCache::Inner::Options& options) {
      return std::make_unique<Bug>(options);
    });
    passes = world.Run();
  }
  return seed;
}

// Changes what a call asks for.
class OtherOptions : public WorldCache {
 public:
  using WorldCache::WorldCache;
  void Load(const std::string& key, Loader loader, Callback callback,
            const LoadOptions& options) override {
    WorldCache::Load(key, std::move(loader), std::move(callback), Changed(options));
  }
  void LoadLater(const std::string& key, AsyncLoader loader, Callback callback,
                 const LoadOptions& options) override {
    WorldCache::LoadLater(key, std::move(loader), std::move(callback), Changed(options));
  }

 protected:
  virtual LoadOptions Changed(LoadOptions options) = 0;
};

#define LARDER_PLANT_IN_OPTIONS(Name, change)           \
  class Name : public OtherOptions {                    \
   public:                                              \
    using OtherOptions::OtherOptions;                   \
                                                        \
   protected:                                           \
    LoadOptions Changed(LoadOptions options) override { \
      change;                                           \
      return options;                                   \
    }                                                   \
  }

constexpr absl::Duration kNever = absl::InfiniteDuration();
// Less than the world's times are apart, more than it waits at a time in between.
constexpr absl::Duration kSlack = absl::Milliseconds(2);

LARDER_PLANT_IN_OPTIONS(ForgetsTheHardTimeout, options.hard_timeout = kNever);
LARDER_PLANT_IN_OPTIONS(ForgetsTheSoftTimeout, options.soft_timeout = kNever);
LARDER_PLANT_IN_OPTIONS(ForgetsTheBackgroundTimeout, options.background_timeout = kNever);
LARDER_PLANT_IN_OPTIONS(NeverRefreshesAhead, options.refresh_after = RefreshAfter::Never());
LARDER_PLANT_IN_OPTIONS(AlwaysGoesOn, options.after_timeout = AfterTimeout::kGoOn);
LARDER_PLANT_IN_OPTIONS(AlwaysAbandons, options.after_timeout = AfterTimeout::kAbandon);
LARDER_PLANT_IN_OPTIONS(RetriesAtOnce, options.retry_after = absl::ZeroDuration());
LARDER_PLANT_IN_OPTIONS(ForgetsWhatWasNotFound, options.negative_ttl = absl::ZeroDuration());
LARDER_PLANT_IN_OPTIONS(ForgetsTags, options.tags.clear());

class ServesStalePastTheWindow : public OtherOptions {
 public:
  using OtherOptions::OtherOptions;

 protected:
  LoadOptions Changed(LoadOptions options) override {
    if (options.stale_while_revalidate) *options.stale_while_revalidate += kSlack;
    if (options.stale_if_error) *options.stale_if_error += kSlack;
    return options;
  }
};

class GivesUpEarly : public OtherOptions {
 public:
  using OtherOptions::OtherOptions;

 protected:
  LoadOptions Changed(LoadOptions options) override {
    if (options.hard_timeout) *options.hard_timeout /= 2;
    return options;
  }
};

// Changes what a call is answered; apart from the cache, since some answers come after its end.
template <class Change>
class OtherAnswersOf : public WorldCache {
 public:
  using WorldCache::WorldCache;
  void Load(const std::string& key, Loader loader, Callback callback,
            const LoadOptions& options) override {
    WorldCache::Load(key, std::move(loader), Changed(std::move(callback)), options);
  }
  void LoadLater(const std::string& key, AsyncLoader loader, Callback callback,
                 const LoadOptions& options) override {
    WorldCache::LoadLater(key, std::move(loader), Changed(std::move(callback)), options);
  }

 private:
  static Callback Changed(Callback callback) {
    return [callback = std::move(callback)](Result result) mutable {
      Change()(callback, std::move(result));
    };
  }
};

struct LoseCancelled {
  void operator()(WorldCache::Callback& callback, WorldCache::Result result) const {
    if (!absl::IsCancelled(result.status())) callback(std::move(result));
  }
};
struct LoseTimeouts {
  void operator()(WorldCache::Callback& callback, WorldCache::Result result) const {
    if (!absl::IsDeadlineExceeded(result.status())) callback(std::move(result));
  }
};
struct AnswerTwiceWhereRefused {
  void operator()(WorldCache::Callback& callback, WorldCache::Result result) const {
    if (absl::IsResourceExhausted(result.status())) callback(result);
    callback(std::move(result));
  }
};
struct CallStaleMemory {
  void operator()(WorldCache::Callback& callback, WorldCache::Result result) const {
    if (result.ok() && result->source == LoadSource::kStale) result->source = LoadSource::kMemory;
    callback(std::move(result));
  }
};
struct TellNoAge {
  void operator()(WorldCache::Callback& callback, WorldCache::Result result) const {
    if (result.ok()) result->age = absl::ZeroDuration();
    callback(std::move(result));
  }
};

// A load whose outcome goes elsewhere.
class OtherTarget final : public internal::AsyncLoadTarget<uint64_t> {
 public:
  using End = absl::AnyInvocable<void(absl::StatusOr<Loaded<uint64_t>>, LoadContext<uint64_t>&)>;
  OtherTarget(const uint64_t* old, std::stop_token stop, End end)
      : context_(old, std::move(stop)), end_(std::move(end)) {}
  LoadContext<uint64_t>& context() override { return context_; }
  void Finish(absl::StatusOr<Loaded<uint64_t>> result) noexcept override {
    end_(std::move(result), context_);
  }

 private:
  LoadContext<uint64_t> context_;
  End end_;
};

// Stores what a load brings once more, whatever has become of the key: as one that doesn't look
// whether it is outdated.
class StoresOutdatedLoads : public WorldCache {
 public:
  using WorldCache::WorldCache;
  void LoadLater(const std::string& key, AsyncLoader loader, Callback callback,
                 const LoadOptions& options) override {
    const std::weak_ptr<bool> alive = alive_;
    auto stores = [this, alive, loader = std::move(loader)](const std::string& key,
                                                            AsyncLoad<uint64_t> load) mutable {
      const uint64_t* const old = load.old_value();
      std::stop_token stop = load.stop_token();
      auto end = [this, alive, key, load = std::move(load)](
                     absl::StatusOr<Loaded<uint64_t>> result,
                     LoadContext<uint64_t>& context) mutable {
        if (context.not_modified()) return load.FinishNotModified(context.ttl());
        const absl::StatusOr<Loaded<uint64_t>> copy = result;
        load.Finish(std::move(result));
        if (copy.ok() && !alive.expired() && !Contains(key)) {
          EXPECT_TRUE(Put(key, copy->value, {}).ok());
        }
      };
      loader(key, AsyncLoad<uint64_t>(
                      std::make_unique<OtherTarget>(old, std::move(stop), std::move(end))));
    };
    WorldCache::LoadLater(key, std::move(stores), std::move(callback), options);
  }

 private:
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// Asks the database twice for what is refreshed.
class RefreshesTwice : public WorldCache {
 public:
  using WorldCache::WorldCache;
  void LoadLater(const std::string& key, AsyncLoader loader, Callback callback,
                 const LoadOptions& options) override {
    auto twice = [loader = std::move(loader)](const std::string& key,
                                              AsyncLoad<uint64_t> load) mutable {
      const bool again = load.old_value() != nullptr;
      loader(key, std::move(load));
      if (!again) return;
      auto end = [](absl::StatusOr<Loaded<uint64_t>>, LoadContext<uint64_t>&) {};
      loader(key, AsyncLoad<uint64_t>(
                      std::make_unique<OtherTarget>(nullptr, std::stop_token(), std::move(end))));
    };
    WorldCache::LoadLater(key, std::move(twice), std::move(callback), options);
  }
};

// Some calls look for a load of their key in the wrong place.
class StartsASecondLoad : public WorldCache {
 public:
  explicit StartsASecondLoad(const Inner::Options& options)
      : WorldCache(options), other_(options) {}
  void LoadLater(const std::string& key, AsyncLoader loader, Callback callback,
                 const LoadOptions& options) override {
    const bool astray = ++calls_ % 4 == 0 && !Contains(key);
    (astray ? other_ : static_cast<WorldCache&>(*this))
        .WorldCache::LoadLater(key, std::move(loader), std::move(callback), options);
  }

 private:
  WorldCache other_;
  int calls_ = 0;
};

class IgnoresEveryThirdTag : public WorldCache {
 public:
  using WorldCache::WorldCache;
  void InvalidateTag(const std::string& tag) override {
    if (++invalidations_ % 3 != 0) WorldCache::InvalidateTag(tag);
  }

 private:
  int invalidations_ = 0;
};

class IgnoresPrefixes : public WorldCache {
 public:
  using WorldCache::WorldCache;
  void InvalidatePrefix(const std::string&) override {}
};

// What isn't there can still be on its way.
class ErasesOnlyWhatIsThere : public WorldCache {
 public:
  using WorldCache::WorldCache;
  bool Erase(const std::string& key) override {
    return Contains(key) ? WorldCache::Erase(key) : false;
  }
};

class ClearsOnlyWhatIsThere : public WorldCache {
 public:
  using WorldCache::WorldCache;
  void Clear() override {
    for (const char* key : {"a:1", "a:2", "b:1"}) {
      if (Contains(key)) Erase(key);
    }
  }
};

class ExpiresByErasing : public WorldCache {
 public:
  using WorldCache::WorldCache;
  bool Expire(const std::string& key) override { return Erase(key); }
};

class ForgetsLateInvalidations : public WorldCache {
 public:
  using WorldCache::WorldCache;
  absl::Status InvalidateAfter(const std::string&, absl::Duration) override {
    return absl::OkStatus();
  }
};

// A cache with one option other than it was made with.
template <void (*change)(WorldCache::Inner::Options&)>
class OtherCache : public WorldCache {
 public:
  explicit OtherCache(Inner::Options options) : WorldCache((change(options), options)) {}
};

void LoadOneMore(WorldCache::Inner::Options& options) {
  if (options.max_concurrent_loads > 0) ++options.max_concurrent_loads;
}
void QueueOneMore(WorldCache::Inner::Options& options) { ++options.max_queued_loads; }
void FailOnceMore(WorldCache::Inner::Options& options) {
  if (options.circuit_breaker.failures > 0) ++options.circuit_breaker.failures;
}

TEST(PlantedLoadBugs, ACacheWithoutThemPasses) {
  EXPECT_EQ(FirstSeedThatCatches<WorldCache>(50), 51u);
}

TEST(PlantedLoadBugs, CatchesTimeoutsThatAreForgotten) {
  EXPECT_LE(FirstSeedThatCatches<ForgetsTheHardTimeout>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<ForgetsTheSoftTimeout>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<ForgetsTheBackgroundTimeout>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<GivesUpEarly>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesWhatBecomesOfLoadsThatTookTooLong) {
  EXPECT_LE(FirstSeedThatCatches<AlwaysGoesOn>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<AlwaysAbandons>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesRefreshesThatAreMissedOrDone) {
  EXPECT_LE(FirstSeedThatCatches<NeverRefreshesAhead>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<RefreshesTwice>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<RetriesAtOnce>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesStaleValuesPastTheirWindow) {
  EXPECT_LE(FirstSeedThatCatches<ServesStalePastTheWindow>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesWhatIsForgottenOfALoad) {
  EXPECT_LE(FirstSeedThatCatches<ForgetsWhatWasNotFound>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<ForgetsTags>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesCallbacksThatAreLostOrCalledTwice) {
  EXPECT_LE(FirstSeedThatCatches<OtherAnswersOf<LoseCancelled>>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<OtherAnswersOf<LoseTimeouts>>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<OtherAnswersOf<AnswerTwiceWhereRefused>>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesResultsThatSayTheWrongThing) {
  EXPECT_LE(FirstSeedThatCatches<OtherAnswersOf<CallStaleMemory>>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<OtherAnswersOf<TellNoAge>>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesLoadsThatAreStoredThoughOutdated) {
  EXPECT_LE(FirstSeedThatCatches<StoresOutdatedLoads>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesASecondLoadOfAKey) {
  EXPECT_LE(FirstSeedThatCatches<StartsASecondLoad>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesInvalidationsThatAreIgnored) {
  EXPECT_LE(FirstSeedThatCatches<IgnoresEveryThirdTag>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<IgnoresPrefixes>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<ErasesOnlyWhatIsThere>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<ClearsOnlyWhatIsThere>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<ExpiresByErasing>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<ForgetsLateInvalidations>(), kSeeds);
}

TEST(PlantedLoadBugs, CatchesLimitsThatAreOffByOne) {
  EXPECT_LE(FirstSeedThatCatches<OtherCache<&LoadOneMore>>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<OtherCache<&QueueOneMore>>(), kSeeds);
  EXPECT_LE(FirstSeedThatCatches<OtherCache<&FailOnceMore>>(), kSeeds);
}

}  // namespace
}  // namespace larder::test
