// SPDX-License-Identifier: Apache-2.0
//
// JournalReplay: makes of a journal's segments what it held.

#ifndef LARDER_SRC_JOURNAL_REPLAY_H_
#define LARDER_SRC_JOURNAL_REPLAY_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "src/journal_format.h"

namespace larder::internal {

// Follows the section "Reading" of a journal in docs/formats.md. Does no I/O: it is given the
// segments' bytes, whatever is in them. Not thread-safe.
class JournalReplay {
 public:
  // A write that needs replay, and where it was found last.
  struct Write {
    uint64_t sequence = 0;
    uint64_t segment = 0;
    std::string payload;
  };

  explicit JournalReplay(std::string schema) : schema_(std::move(schema)) {}

  // The segment's file. Requires: ascending numbers. FailedPrecondition for another schema,
  // Unimplemented for a newer version, both naming `path`: then nothing else may be called.
  absl::Status Add(uint64_t number, std::string_view path, std::string_view file);

  // Of the newest segment that tells it; nullopt: of none.
  std::optional<uint64_t> writer() const { return writer_; }

  // The highest sequence that may have been used; 0: none.
  uint64_t last_sequence() const { return last_sequence_; }

  // The first segment of which nobody knows whether all of it was synced; 0: that goes for all.
  uint64_t first_unsynced() const { return last_complete_; }

  // What to replay, by ascending sequence. To be called once, at the end.
  std::vector<Write> TakeWrites();

  // As in JournalRecovery.
  uint64_t damaged_bytes() const { return damaged_bytes_; }
  uint64_t torn_bytes() const { return torn_bytes_; }
  uint64_t missing_files() const { return missing_files_; }

 private:
  absl::Status Start(const JournalStartRecord& start, std::string_view path);
  void Apply(JournalRecord record);
  void Seen(uint64_t sequence) { last_sequence_ = std::max(last_sequence_, sequence); }

  const std::string schema_;
  std::optional<uint64_t> writer_;
  uint64_t last_sequence_ = 0;
  absl::flat_hash_map<uint64_t, Write> writes_;
  uint64_t number_ = 0;          // of the segment that is being added
  std::vector<uint64_t> older_;  // the numbers of those before it
  uint64_t last_complete_ = 0;   // the newest that has all that it was begun with; 0: none
  // Something may be missing between the last live record and here: acknowledgements don't count.
  bool incomplete_ = false;
  uint64_t damaged_bytes_ = 0;
  uint64_t torn_bytes_ = 0;
  uint64_t missing_files_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_JOURNAL_REPLAY_H_
