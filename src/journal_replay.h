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
#include "absl/container/flat_hash_set.h"
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
    bool synced = false;  // else nobody knows: a process that was killed may have only written it
    std::string payload;
  };

  explicit JournalReplay(std::string schema) : schema_(std::move(schema)) {}

  // The segment's file. Requires: ascending numbers. Unimplemented for a newer version,
  // naming `path`: then nothing else may be called.
  absl::Status Add(uint64_t number, std::string_view path, std::string_view file);

  // Of the newest segment that tells it; nullopt: of none.
  std::optional<uint64_t> writer() const { return writer_; }

  // The highest sequence that may have been used; 0: none.
  uint64_t last_sequence() const { return last_sequence_; }

  // What to replay, by ascending sequence. To be called once, at the end.
  std::vector<Write> TakeWrites();

  // As in JournalRecovery.
  uint64_t damaged_bytes() const { return damaged_bytes_; }
  uint64_t torn_bytes() const { return torn_bytes_; }
  uint64_t missing_files() const { return missing_files_; }

  // FailedPrecondition where a write that is to be replayed was written with another schema, naming
  // both. A journal that has none left may go on with another one.
  absl::Status CheckSchema(const Write& write) const;

 private:
  void Start(const JournalStartRecord& start);
  void Apply(const JournalWriteRecord& write);
  void Apply(JournalAcknowledgedRecord acknowledged);
  void Apply(const JournalLiveRecord& live);
  void StartWasSynced();
  void SeenInOrder(uint64_t sequence);
  void Miss(uint64_t first, uint64_t last);
  void ApplyAcknowledged();
  void Seen(uint64_t sequence) { last_sequence_ = std::max(last_sequence_, sequence); }

  const std::string schema_;
  absl::flat_hash_map<uint64_t, std::string> foreign_;  // other schemas, of the segments with these
  std::optional<uint64_t> writer_;
  uint64_t last_sequence_ = 0;
  absl::flat_hash_map<uint64_t, Write> writes_;
  uint64_t number_ = 0;          // of the segment that is being added
  std::vector<uint64_t> older_;  // the numbers of those before it
  bool start_ends_ = false;      // the record before this one was a live record
  // What isn't there, though it must have been, since the last live record. Acknowledgements may be
  // missing: none count. Or writes: those that came after them wait until all are accounted for.
  bool incomplete_ = false;
  absl::flat_hash_set<uint64_t> missing_;
  std::vector<uint64_t> acknowledged_;
  uint64_t next_acknowledgement_ = 0;  // the number of the next record of them
  uint64_t last_write_ = 0;            // writes come in order but for those that are written again
  uint64_t damaged_bytes_ = 0;
  uint64_t torn_bytes_ = 0;
  uint64_t missing_files_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_SRC_JOURNAL_REPLAY_H_
