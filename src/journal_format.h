// SPDX-License-Identifier: Apache-2.0
//
// The records of a journal's segments, and the segments' names; docs/formats.md has every byte.

#ifndef LARDER_SRC_JOURNAL_FORMAT_H_
#define LARDER_SRC_JOURNAL_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/types/span.h"
#include "larder/internal/record_io.h"

namespace larder::internal {

inline constexpr uint32_t kJournalVersion = 1;
inline constexpr uint64_t kMaxSequence = (uint64_t{1} << 63) - 1;
inline constexpr uint64_t kMaxJournalSegment =
    9'999'999'999'999'999;                       // as many digits as names have
inline constexpr size_t kJournalWriteBytes = 9;  // of a write's record, before its payload

// A record's payload and schema point into what it was decoded from.
struct JournalStartRecord {
  uint64_t writer = 0;
  uint64_t next_sequence = 0;
  uint64_t previous = 0;
  uint64_t acknowledgements = 0;
  bool has_live = false;
  std::string_view schema;
};
struct JournalWriteRecord {
  uint64_t sequence = 0;
  std::string_view payload;
};
struct JournalAcknowledgedRecord {
  uint64_t number = 0;
  uint64_t last_sequence = 0;
  std::vector<uint64_t> sequences;
};
struct JournalLiveRecord {
  std::vector<uint64_t> sequences;
};
using JournalRecord = std::variant<JournalStartRecord, JournalWriteRecord,
                                   JournalAcknowledgedRecord, JournalLiveRecord>;

// What a record's bytes are, the frame not included. `sequences` are ascending, each once.
std::string EncodeJournalStart(const JournalStartRecord& start);
std::string EncodeJournalWrite(const JournalWriteRecord& write);
std::string EncodeJournalAcknowledged(const JournalAcknowledgedRecord& acknowledged);
std::string EncodeJournalLive(absl::Span<const uint64_t> sequences);

// nullopt for bytes that none of these makes.
std::optional<JournalRecord> DecodeJournalRecord(std::string_view record);

// The name of a segment's file in its directory; the number of the segment that has a name, nullopt
// for other files.
std::string JournalSegmentName(uint64_t number);
std::optional<uint64_t> JournalSegmentNumber(std::string_view name);

}  // namespace larder::internal

#endif  // LARDER_SRC_JOURNAL_FORMAT_H_
