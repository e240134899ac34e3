// SPDX-License-Identifier: Apache-2.0
//
// Loads that are asked for from where other loads run: by loaders, asynchronous ones among them,
// and by callbacks. None of them waits for what it holds up itself.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/cache.h"
#include "tests/support/load_fixture.h"

namespace larder::test {
namespace {

class CacheNestedLoadsTest : public LoadFixture {
 protected:
  LoadCache& MakeLimited(int max_concurrent_loads) {
    auto options = Options();
    options.max_concurrent_loads = max_concurrent_loads;
    return Make<LoadCache>(options);
  }
};

// What it asks for stands in the queue already, behind the slot that its own load has.
TEST_F(CacheNestedLoadsTest, AnAsynchronousLoaderBeginsTheQueuedLoadThatItJoins) {
  LoadCache& cache = MakeLimited(1);
  std::vector<std::string> results;
  const auto keep = [&](Value value) { results.push_back(Text(value)); };
  cache.GetOrLoadAsync(
      "outer",
      [&](const std::string&, AsyncLoad<std::string> load) {
        cache.GetOrLoadAsync("inner", Loading("of the loader"),
                             [load = std::make_shared<AsyncLoad<std::string>>(std::move(load))](
                                 Value value) { load->Finish(std::move(value)); });
      },
      keep);
  cache.GetOrLoadAsync("inner", Loading("queued"), keep);
  executor_.RunAll();
  EXPECT_EQ(results, (std::vector<std::string>{"of the loader", "of the loader"}));
  EXPECT_EQ(loads_, 1);
}

TEST_F(CacheNestedLoadsTest, AnAsynchronousLoaderThatWaitsForItsOwnKeyIsTold) {
  LoadCache& cache = Make<LoadCache>(Options());
  std::string inner;
  std::string outer;
  cache.GetOrLoadAsync(
      "key",
      [&](const std::string& key, AsyncLoad<std::string> load) {
        inner = Text(cache.GetOrLoad(key, Loading("never")));
        load.Finish(std::string("value"));
      },
      [&](Value value) { outer = Text(value); });
  executor_.RunAll();
  EXPECT_EQ(inner, "FAILED_PRECONDITION");
  EXPECT_EQ(outer, "value");
  EXPECT_EQ(loads_, 0);
}

// Once its loader has returned, nobody's thread leads it: whoever finishes it may wait for others.
TEST_F(CacheNestedLoadsTest, WhoFinishesAnAsynchronousLoadMayLoadOtherKeysFirst) {
  LoadCache& cache = Make<LoadCache>(Options());
  std::unique_ptr<AsyncLoad<std::string>> kept;
  std::string result;
  cache.GetOrLoadAsync(
      "key",
      [&](const std::string&, AsyncLoad<std::string> load) {
        kept = std::make_unique<AsyncLoad<std::string>>(std::move(load));
      },
      [&](Value value) { result = Text(value); });
  executor_.RunAll();
  kept->Finish(cache.GetOrLoad("other", Loading("part")));
  executor_.RunAll();
  EXPECT_EQ(result, "part");
}

TEST_F(CacheNestedLoadsTest, ALoadThatWasGivenUpMakesRoomInTheQueue) {
  auto options = Options();
  options.max_concurrent_loads = 1;
  options.max_queued_loads = 1;
  LoadCache& cache = Make<LoadCache>(options);
  std::vector<std::string> results;
  const auto keep = [&](Value value) { results.push_back(Text(value)); };
  std::unique_ptr<AsyncLoad<std::string>> running;
  cache.GetOrLoadAsync(
      "running",
      [&](const std::string&, AsyncLoad<std::string> load) {
        running = std::make_unique<AsyncLoad<std::string>>(std::move(load));
      },
      keep);
  executor_.RunAll();
  cache.GetOrLoadAsync("given up", Loading("never"), keep,
                       {.hard_timeout = absl::Seconds(1), .after_timeout = AfterTimeout::kAbandon});
  Advance(absl::Seconds(1));
  cache.RunMaintenance(100);
  executor_.RunAll();
  cache.GetOrLoadAsync("queued", Loading("value"), keep);
  running->Finish(std::string("at last"));
  executor_.RunAll();
  EXPECT_EQ(results, (std::vector<std::string>{"DEADLINE_EXCEEDED", "at last", "value"}));
  EXPECT_EQ(cache.Stats().refused_loads, 0u);
}

}  // namespace
}  // namespace larder::test
