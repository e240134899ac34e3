// SPDX-License-Identifier: Apache-2.0
//
// TieredStats: what TieredCache counts.

#ifndef LARDER_TIERED_STATS_H_
#define LARDER_TIERED_STATS_H_

#include "absl/status/status.h"
#include "larder/journal_stats.h"
#include "larder/remote_stats.h"
#include "larder/snapshot_timer.h"
#include "larder/stats.h"
#include "larder/write_behind_stats.h"

namespace larder {

struct TieredStats {
  CacheStats memory = {};
  RemoteStats remote = {};
  WriteBehindStats write_behind = {};  // of WritePolicy::kBehind
  JournalStats journal = {};           // of that with a journal
  SnapshotTimer::Counts snapshots = {};
  absl::Status last_snapshot = absl::OkStatus();  // how the last save of one went
};

}  // namespace larder

#endif  // LARDER_TIERED_STATS_H_
