// SPDX-License-Identifier: Apache-2.0
#ifndef LARDER_TESTS_SUPPORT_JOURNAL_FIXTURE_H_
#define LARDER_TESTS_SUPPORT_JOURNAL_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/journal.h"
#include "tests/support/faulty_file_system.h"

namespace larder::test {

inline internal::JournalSettings SettingsOf(FaultyFileSystem& files,
                                            Durability durability = Durability::kJournalSync) {
  return {.directory = "journal",
          .schema = "test",
          .durability = durability,
          .sync_interval = absl::Hours(1),
          .segment_bytes = 4096,
          .file_system = &files};
}

struct OpenedJournal {
  std::unique_ptr<internal::Journal> journal;
  internal::JournalRecovery found;
};

inline OpenedJournal OpenJournal(const internal::JournalSettings& settings) {
  OpenedJournal opened;
  auto journal = internal::Journal::Open(settings, &opened.found);
  EXPECT_TRUE(journal.ok()) << journal.status();
  if (journal.ok()) opened.journal = *std::move(journal);
  return opened;
}

inline OpenedJournal OpenJournal(FaultyFileSystem& files,
                                 Durability durability = Durability::kJournalSync) {
  return OpenJournal(SettingsOf(files, durability));
}

// Appends, which has to succeed, and returns the sequence.
inline uint64_t Append(internal::Journal& journal, std::string_view payload) {
  const auto sequence = journal.Append(payload);
  EXPECT_TRUE(sequence.ok()) << sequence.status();
  return sequence.value_or(0);
}

inline std::vector<std::string> Payloads(const internal::JournalRecovery& found) {
  std::vector<std::string> payloads;
  for (const auto& write : found.writes) payloads.push_back(write.payload);
  return payloads;
}

// The journal's files, by ascending number.
inline std::vector<std::string> SegmentPaths(const FaultyFileSystem& files) {
  std::vector<std::string> paths;
  for (const auto& [path, bytes] : files.Files()) {
    if (path.ends_with(".journal")) paths.push_back(path);
  }
  return paths;
}

}  // namespace larder::test

#endif  // LARDER_TESTS_SUPPORT_JOURNAL_FIXTURE_H_
