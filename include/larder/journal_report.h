// SPDX-License-Identifier: Apache-2.0
//
// JournalReport: what was found when a journal was opened.

#ifndef LARDER_JOURNAL_REPORT_H_
#define LARDER_JOURNAL_REPORT_H_

#include <cstdint>

namespace larder {

struct JournalReport {
  uint64_t unacknowledged = 0;  // writes that are written to the store again
  uint64_t files = 0;
  uint64_t bytes = 0;  // of all files
  // Bytes that weren't intact, or not to be understood, and what they held is lost: before other,
  // intact records of their file (somebody or something changed them) ...
  uint64_t damaged_bytes = 0;
  // ... and at the end of a file: what a crash leaves of writes that nobody was told are safe, or
  // damage to the last records.
  uint64_t torn_bytes = 0;
  // Files that must have been there between others.
  uint64_t missing_files = 0;
};

}  // namespace larder

#endif  // LARDER_JOURNAL_REPORT_H_
