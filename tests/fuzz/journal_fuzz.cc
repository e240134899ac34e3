// SPDX-License-Identifier: Apache-2.0
//
// Journal::Open. An input is some segments: a byte, the segment's number less one, a length of two
// bytes, lower one first, and as many bytes of a script.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "larder/internal/journal.h"
#include "src/journal_format.h"
#include "tests/fuzz/fuzz_target.h"
#include "tests/fuzz/record_script.h"
#include "tests/support/faulty_file_system.h"

namespace larder::fuzz {
namespace {

using internal::Journal;
using internal::JournalRecovery;
using internal::JournalSettings;
using internal::JournalWrite;
using internal::RecordFileKind;
using test::CrashKind;
using test::FaultyFileSystem;

constexpr std::string_view kDirectory = "journal";
constexpr char kSchema[] = "s";

using Writes = std::map<uint64_t, std::string>;  // payloads by sequence

// What a journal's segments say. What isn't there, though it must have been, decides which
// acknowledgements count; where something isn't, this knows only between which bounds the truth is.
class Model {
 public:
  // In ascending order of numbers. False: the journal can't be opened.
  bool Add(uint64_t number, const ScriptedFile& segment) {
    if (static_cast<uint8_t>(segment.bytes[8]) > internal::kJournalVersion) return false;
    if (torn_) complete_ = false;
    bool announced = false;  // a live record
    is_foreign_ = false;
    for (size_t i = 0; i < segment.intact.size(); ++i) {
      if (segment.after_damage[i]) complete_ = false;
      const auto record = internal::DecodeJournalRecord(segment.intact[i]);
      const auto* start =
          record.has_value() ? std::get_if<internal::JournalStartRecord>(&*record) : nullptr;
      if (!record.has_value() || (start == nullptr) == (i == 0)) complete_ = false;
      if (!record.has_value() || (start != nullptr && i > 0)) continue;
      if (start != nullptr) {
        is_foreign_ = start->schema != kSchema;
        announced = start->has_live;
        Apply(*start);
      } else if (const auto* live = std::get_if<internal::JournalLiveRecord>(&*record)) {
        announced = false;
        Apply(*live);
      } else if (const auto* write = std::get_if<internal::JournalWriteRecord>(&*record)) {
        Apply(*write);
      } else {
        Apply(std::get<internal::JournalAcknowledgedRecord>(*record));
      }
    }
    if (announced || segment.intact.empty()) complete_ = false;
    torn_ = segment.torn;
    last_number_ = number;
    return true;
  }

  void CheckFound(const Writes& found) const {
    FUZZ_CHECK(std::includes(written_.begin(), written_.end(), found.begin(), found.end()));
    Writes never_acknowledged = written_;
    for (const uint64_t sequence : acknowledged_) never_acknowledged.erase(sequence);
    FUZZ_CHECK(std::includes(found.begin(), found.end(), never_acknowledged.begin(),
                             never_acknowledged.end()));
    if (complete_) FUZZ_CHECK(found == live_);
    for (const auto& write : found) FUZZ_CHECK(!foreign_.contains(write.first));
  }

  uint64_t last_sequence() const { return last_sequence_; }
  // Whether some writes have another schema, so that a journal that has them left isn't opened.
  bool has_foreign() const { return !foreign_.empty(); }

 private:
  void Apply(const internal::JournalStartRecord& start) {
    Seen(start.next_sequence - 1);
    if (last_number_ != 0 &&
        (start.previous != last_number_ || start.next_sequence - 1 != last_write_ ||
         start.acknowledgements != next_acknowledgement_))
      complete_ = false;
    last_write_ = start.next_sequence - 1;
    next_acknowledgement_ = start.acknowledgements;
  }

  void Apply(const internal::JournalWriteRecord& write) {
    Seen(write.sequence);
    if (write.sequence > last_write_ + 1 || acknowledged_.contains(write.sequence))
      complete_ = false;
    last_write_ = std::max(last_write_, write.sequence);
    written_[write.sequence] = live_[write.sequence] = std::string(write.payload);
    if (is_foreign_) {
      foreign_.insert(write.sequence);
    } else {
      foreign_.erase(write.sequence);
    }
  }

  void Apply(const internal::JournalAcknowledgedRecord& acknowledged) {
    if (acknowledged.number != next_acknowledgement_) complete_ = false;
    if (acknowledged.last_sequence != last_write_) complete_ = false;
    next_acknowledgement_ = acknowledged.number + 1;
    for (const uint64_t sequence : acknowledged.sequences) {
      Seen(sequence);
      acknowledged_.insert(sequence);
      live_.erase(sequence);
    }
  }

  void Apply(const internal::JournalLiveRecord& live) {
    const std::set<uint64_t> kept(live.sequences.begin(), live.sequences.end());
    if (!kept.empty()) Seen(*kept.rbegin());
    for (Writes* writes : {&written_, &live_})
      std::erase_if(*writes, [&](const auto& write) { return !kept.contains(write.first); });
    // Whatever was missing before it: unless these may have been acknowledged, it says what is
    // left.
    const auto acknowledged = [&](uint64_t sequence) { return acknowledged_.contains(sequence); };
    if (std::none_of(kept.begin(), kept.end(), acknowledged)) {
      live_ = written_;
      complete_ = true;
    }
  }

  void Seen(uint64_t sequence) { last_sequence_ = std::max(last_sequence_, sequence); }

  Writes written_;                   // that live records left
  std::set<uint64_t> acknowledged_;  // anywhere
  Writes live_;                      // what is to be found if nothing is missing
  bool is_foreign_ = false;          // the segment
  std::set<uint64_t> foreign_;       // in a segment with another schema, the last time
  bool complete_ = true;
  bool torn_ = false;  // the last segment
  uint64_t last_number_ = 0;
  uint64_t last_sequence_ = 0;
  uint64_t last_write_ = 0;
  uint64_t next_acknowledgement_ = 0;
};

JournalSettings SettingsOf(FaultyFileSystem& files) {
  return {.directory = std::string(kDirectory),
          .schema = kSchema,
          .durability = Durability::kJournalSync,
          .segment_bytes = 300,
          .file_system = &files};
}

// By number.
std::map<uint64_t, ScriptedFile> SegmentsOf(std::string_view input) {
  std::map<uint64_t, ScriptedFile> segments;
  while (input.size() >= 3) {
    const auto byte = static_cast<uint8_t>(input[0]);
    const size_t length = static_cast<uint8_t>(input[1]) | static_cast<uint8_t>(input[2]) << 8;
    const std::string_view script = input.substr(3, length);
    input.remove_prefix(3 + script.size());
    segments[byte + uint64_t{1}] = FileOfScript(RecordFileKind::kJournal, script);
  }
  return segments;
}

Writes ByEachSequence(const JournalRecovery& found) {
  Writes writes;
  uint64_t before = 0;
  for (const JournalWrite& write : found.writes) {
    FUZZ_CHECK(write.sequence > before);
    before = write.sequence;
    writes[write.sequence] = write.payload;
  }
  return writes;
}

Writes Reopened(FaultyFileSystem& files) {
  JournalRecovery found;
  FUZZ_CHECK(Journal::Open(SettingsOf(files), &found).ok());
  return ByEachSequence(found);
}

bool Contains(const Writes& all, const Writes& some) {
  return std::includes(all.begin(), all.end(), some.begin(), some.end());
}

// A journal that was opened goes on from what it found.
void Use(Journal& journal, uint64_t last_sequence, const JournalRecovery& found,
         FaultyFileSystem& files) {
  Writes expected = ByEachSequence(found);
  const absl::StatusOr<uint64_t> sequence = journal.Append("new");
  FUZZ_CHECK(sequence.ok());
  FUZZ_CHECK(*sequence > last_sequence);
  expected[*sequence] = "new";
  FUZZ_CHECK(Reopened(*files.Crash(CrashKind::kProcess)) == expected);
  FUZZ_CHECK(Reopened(*files.Crash(CrashKind::kUnsynced)) == expected);
  const Writes before = expected;
  if (!found.writes.empty()) {
    journal.Acknowledge({found.writes[0].sequence});
    expected.erase(found.writes[0].sequence);
  }
  FUZZ_CHECK(journal.Close().ok());
  const Writes torn = Reopened(*files.Crash(CrashKind::kTorn));
  FUZZ_CHECK(Contains(before, torn) && Contains(torn, expected));
}

std::string Segment(uint8_t number, const std::string& script) {
  return Step(static_cast<uint8_t>(number - 1), script);
}

// The scripts of a real journal's segments, by number.
std::map<uint8_t, std::string> Scripts(const FaultyFileSystem& files) {
  std::map<uint8_t, std::string> scripts;
  for (const auto& [path, bytes] : files.Files()) {
    const auto number =
        internal::JournalSegmentNumber(std::string_view(path).substr(kDirectory.size() + 1));
    if (number.has_value())
      scripts[static_cast<uint8_t>(*number)] = ScriptOfFile(RecordFileKind::kJournal, bytes);
  }
  return scripts;
}

// A journal of some segments, opened twice, with a failure, some of whose writes are acknowledged.
std::map<uint8_t, std::string> BusyJournal() {
  FaultyFileSystem files;
  std::vector<uint64_t> sequences;
  for (int open = 0; open < 2; ++open) {
    JournalRecovery found;
    const auto journal = Journal::Open(SettingsOf(files), &found);
    FUZZ_CHECK(journal.ok());
    for (int i = 0; i < 7; ++i) {
      if (i == 3) files.FailCall(files.calls() + 1, FaultyFileSystem::NoSpace());
      const absl::StatusOr<uint64_t> sequence = (*journal)->Append(std::string(10 * i, 'a' + i));
      if (sequence.ok()) sequences.push_back(*sequence);
      if (i == 5) (*journal)->Acknowledge({sequences[1], sequences[2]});
    }
  }
  return Scripts(files);
}

}  // namespace

std::vector<std::string> Seeds() {
  const std::map<uint8_t, std::string> scripts = BusyJournal();
  std::string all, gap, damaged, newer;
  for (const auto& [number, script] : scripts) {
    all += Segment(number, script);
    if (number != scripts.begin()->first + 1) gap += Segment(number, script);
    damaged += Segment(number, script + Step(kWrongRecordCrc, "x") + Step(kWrongLengthCrc, "y"));
    newer += Segment(number, '\2' + script.substr(1));
  }
  const internal::JournalStartRecord other = {.writer = 1, .next_sequence = 1, .schema = "other"};
  const internal::JournalStartRecord last = {
      .writer = 1, .next_sequence = internal::kMaxSequence, .schema = "s"};
  const std::string write = internal::EncodeJournalWrite({5, "five"});
  const std::string start =
      internal::EncodeJournalStart({.writer = 1, .next_sequence = 5, .schema = "s"});
  const std::string acknowledged = internal::EncodeJournalAcknowledged({0, 5, {5}});
  const std::string live = internal::EncodeJournalLive({5, 300});
  std::vector<std::string> seeds = {
      all,
      gap,
      damaged,
      newer,
      Segment(1, ScriptOfRecords({internal::EncodeJournalStart(other)})),
      Segment(1, ScriptOfRecords({internal::EncodeJournalStart(last)})),
      Segment(1, ScriptOfRecords({start, write, acknowledged, live, write})),
      Segment(1, ScriptOfRecords({start, write}) + Step(kLooseBytes, "garbage") +
                     Step(kIntact, acknowledged) + Step(kCutShort, "1")),
  };
  for (const auto& [number, script] : scripts) seeds.push_back(Segment(number, script));
  return seeds;
}

}  // namespace larder::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace larder::fuzz;  // NOLINT
  FaultyFileSystem files;
  Model model;
  bool opens = true;
  for (const auto& [number, segment] : SegmentsOf({reinterpret_cast<const char*>(data), size})) {
    opens = opens && model.Add(number, segment);
    files.SetFile(std::string(kDirectory) + "/" + larder::internal::JournalSegmentName(number),
                  segment.bytes);
  }
  const auto before = files.Files();
  JournalRecovery found;
  const auto journal = Journal::Open(SettingsOf(files), &found);
  if (journal.ok()) {
    FUZZ_CHECK(opens);
    model.CheckFound(ByEachSequence(found));
    FUZZ_CHECK(found.damaged_bytes + found.torn_bytes <= found.bytes);
    Use(**journal, model.last_sequence(), found, files);
    return 0;
  }
  // A newer version or another schema; or all sequences were used. And no file was touched.
  const bool used_up = absl::IsResourceExhausted(journal.status());
  FUZZ_CHECK(absl::IsFailedPrecondition(journal.status()) ||
             absl::IsUnimplemented(journal.status()) || used_up);
  FUZZ_CHECK(!opens || (used_up && model.last_sequence() > larder::internal::kMaxSequence / 2) ||
             (absl::IsFailedPrecondition(journal.status()) && model.has_foreign()));
  auto after = files.Files();
  after.erase(std::string(kDirectory) + "/LOCK");
  FUZZ_CHECK(after == before);
  return 0;
}
