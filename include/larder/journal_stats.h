// SPDX-License-Identifier: Apache-2.0
//
// JournalStats: what a journal has written, and how well the disk does.

#ifndef LARDER_JOURNAL_STATS_H_
#define LARDER_JOURNAL_STATS_H_

#include <cstdint>

#include "absl/status/status.h"

namespace larder {

// Counted since the journal was opened, where nothing else is said.
struct JournalStats {
  uint64_t appends = 0;         // that succeeded
  uint64_t failed_appends = 0;  // but for those after Close
  uint64_t groups = 0;          // writes to a file that carried appends, one or many each
  uint64_t syncs = 0;           // of files, not of directories; tried
  uint64_t failed_files = 0;    // given up after an error, or not even made
  uint64_t files = 0;           // that there are now
  uint64_t bytes = 0;           // of them
  uint64_t live_writes = 0;     // not acknowledged yet, the recovered ones included
  absl::Status last_error;      // of the file system; OK: none so far
};

}  // namespace larder

#endif  // LARDER_JOURNAL_STATS_H_
