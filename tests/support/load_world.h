// SPDX-License-Identifier: Apache-2.0
//
// LoadWorld: one life of a cache, on one thread, in an order drawn from a seed.
#ifndef LARDER_TESTS_SUPPORT_LOAD_WORLD_H_
#define LARDER_TESTS_SUPPORT_LOAD_WORLD_H_

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/str_cat.h"
#include "larder/async_load.h"
#include "larder/executor.h"
#include "larder/manual_clock.h"
#include "larder/options.h"
#include "tests/support/load_model.h"
#include "tests/support/world_cache.h"

namespace larder::test {

// Draws options, then steps: calls, changes, the passing of time, maintenance, a task of the
// executor that runs, a load that ends; some of them from within loaders. At some moment the cache
// is destroyed, whatever is under way; then what is left of tasks and loads comes to its end. After
// each step the cache must have done what LoadModel says: which loaders run, with which old value,
// told to stop or not; what each call is answered, and that it is so once; what each key has.
//
// The same seed makes the same run, unless the cache differs.
class LoadWorld {
 public:
  using MakeCache =
      std::function<std::unique_ptr<WorldCache>(const WorldCache::Inner::Options& options)>;

  explicit LoadWorld(uint64_t seed, MakeCache make_cache = MakeRealCache);
  ~LoadWorld();

  static std::unique_ptr<WorldCache> MakeRealCache(const WorldCache::Inner::Options& options);

  // Whether all was as it should be. Once.
  bool Run();

  // What wasn't, and the steps that led there.
  std::string Explanation() const;

  // What has happened.
  const LoadModel::Counts& counts() const { return model_->counts(); }

 private:
  // Keeps tasks, or refuses them.
  class Tasks final : public Executor {
   public:
    bool Execute(absl::AnyInvocable<void() &&> task) override {
      if (refusing) return false;
      tasks.push_back(std::move(task));
      return true;
    }
    std::deque<absl::AnyInvocable<void() &&>> tasks;
    bool refusing = false;
  };

  static constexpr std::array<const char*, 3> kKeys = {"a:1", "a:2", "b:1"};

  class SyncLoader;
  class LaterLoader;
  struct OpenLoad;

  // --- What is drawn.
  uint64_t Draw(uint64_t below) { return random_() % below; }
  bool OneIn(uint64_t n) { return Draw(n) == 0; }
  std::string DrawKey();
  std::string DrawTag();
  absl::Duration DrawTime();
  WorldCache::Inner::Options DrawOptions();
  LoadOptions DrawLoadOptions();
  PutOptions DrawPutOptions();
  LoadEnd DrawEnd(bool has_old);

  // --- Steps. `nested`: from within a synchronous loader.
  void Step(bool nested);
  void PutSomething(bool only_if_absent);
  void ComputeSomething();
  void Invalidate(uint64_t kind);
  void Ask();
  void PassTime();
  void Maintain();
  void RunTask();
  void EndSomeLoad();
  void Destroy();
  void Settle();

  // --- Loads.
  bool BeginLoad(int call, bool nested, const uint64_t* old, bool stop);
  void EndLoad(int call, const LoadEnd& end);
  void EndOpen(OpenLoad open);

  // --- Checks.
  void Check();
  void CheckCalls();
  void CheckKeys();
  void CheckStats();
  template <class... What>
  void Broken(const What&... what) {
    if (broken_.empty()) broken_ = absl::StrCat(what...);
  }
  template <class... What>
  void Trace(const What&... what) {
    trace_.push_back(absl::StrCat(std::string(2 * static_cast<size_t>(depth_), ' '), what...));
  }

  std::mt19937_64 random_;
  const uint64_t seed_;
  // On the heap, to go as soon as it may.
  std::unique_ptr<ManualClock> clock_;
  Tasks executor_;
  CacheOptions options_;
  std::unique_ptr<LoadModel> model_;
  std::unique_ptr<WorldCache> cache_;
  bool closed_ = false;
  int depth_ = 0;
  uint64_t last_value_ = 0;
  int calls_ = 0;
  std::map<int, std::vector<CallAnswer>> answers_;
  std::vector<OpenLoad> open_;
  // Synchronous loads that have come back, of which the model isn't told yet.
  std::vector<std::pair<int, LoadEnd>> ends_;
  std::vector<int> gone_;  // calls whose loaders have been destroyed
  std::vector<std::string> trace_;
  std::string broken_;
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_LOAD_WORLD_H_
