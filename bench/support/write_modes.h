// SPDX-License-Identifier: Apache-2.0

#ifndef LARDER_BENCH_SUPPORT_WRITE_MODES_H_
#define LARDER_BENCH_SUPPORT_WRITE_MODES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "bench/support/put_target.h"
#include "larder/store.h"
#include "larder/write_behind_options.h"
#include "larder/write_policy.h"

namespace larder::bench {

// One way for a TieredCache to write.
struct WriteMode {
  std::string name;
  std::string title;
  std::string lost_with;  // with what a write that was acknowledged is lost
  WritePolicy policy = WritePolicy::kBehind;
  Durability durability = Durability::kMemory;
};

// Through, and behind with each durability.
std::vector<WriteMode> WriteModes();

// Of these, behind with a journal that is synced before a put returns, and with one that never is.
WriteMode SyncedJournal();
WriteMode UnsyncedJournal();

// A new TieredCache in front of `store`, which must outlive it, with room for 100,000 entries.
// `options` but for the durability and the journal, which is in `directory`.
absl::StatusOr<std::unique_ptr<PutTarget>> OpenTieredCache(const WriteMode& mode,
                                                           Store<std::string, std::string>& store,
                                                           const std::string& directory,
                                                           WriteBehindOptions options = {});

}  // namespace larder::bench

#endif  // LARDER_BENCH_SUPPORT_WRITE_MODES_H_
