// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_SNAPSHOT_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_SNAPSHOT_FIXTURE_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "larder/snapshot.h"
#include "tests/support/cache_fixture.h"
#include "tests/support/faulty_file_system.h"

namespace larder::test {

template <class CacheT>
auto ContentsOf(const CacheT& cache) {
  std::map<std::string, std::string> contents;
  cache.ForEach([&](const auto& key, const auto& value) {
    EXPECT_TRUE(contents.emplace(absl::StrCat(key), absl::StrCat(value)).second);
  });
  return contents;
}

// Saves and loads the snapshot kPath of a file system of its own, at a wall-clock time of its own.
class CacheSnapshotTest : public CacheFixture {
 protected:
  static constexpr char kPath[] = "snapshot";

  SnapshotOptions Options() {
    SnapshotOptions options;
    options.file_system = &files_;
    options.now = [this] { return wall_; };
    return options;
  }
  template <class CacheT>
  absl::StatusOr<SnapshotInfo> Save(const CacheT& cache) {
    return cache.SaveSnapshot(kPath, Options());
  }
  template <class CacheT>
  absl::StatusOr<SnapshotInfo> Load(CacheT& cache) {
    return cache.LoadSnapshot(kPath, Options());
  }
  // Time goes by for a process, and for the world.
  void Pass(absl::Duration time) {
    clock_.Advance(time);
    wall_ += time;
  }

  FaultyFileSystem files_;
  absl::Time wall_ = absl::FromUnixSeconds(1'700'000'000);
};

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_SNAPSHOT_FIXTURE_H_
