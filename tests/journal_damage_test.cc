// SPDX-License-Identifier: Apache-2.0
//
// Journals that somebody or something has changed.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "larder/internal/journal.h"
#include "larder/internal/record_io.h"
#include "src/journal_format.h"
#include "src/text.h"
#include "tests/support/faulty_file_system.h"
#include "tests/support/journal_fixture.h"

namespace larder::internal {
namespace {

using test::Append;
using test::CrashKind;
using test::FaultyFileSystem;
using test::OpenedJournal;
using test::OpenJournal;
using test::Payloads;
using test::SegmentPaths;

using Strings = std::vector<std::string>;

// Where each record of a file begins, and where the last one ends.
std::vector<size_t> RecordPlaces(const std::string& file) {
  std::vector<size_t> places = {kRecordFileHeaderBytes};
  auto reader = RecordReader::Open(RecordFileKind::kJournal, kJournalVersion, file);
  while (const auto record = reader->Next()) {
    places.push_back(places.back() + kRecordFrameBytes + record->size());
  }
  return places;
}

// What a journal holds after something was done to one file.
OpenedJournal Changed(const FaultyFileSystem& files, const std::string& path,
                      std::optional<std::string> bytes) {
  const auto disk = files.Crash(CrashKind::kProcess);
  disk->SetFile(path, std::move(bytes));
  OpenedJournal opened = OpenJournal(*disk);
  const auto payloads = Payloads(opened.found);
  // Whatever was found, it goes on from there.
  if (opened.journal != nullptr) {
    Append(*opened.journal, "afterwards");
    opened.journal.reset();
    auto after = payloads;
    after.push_back("afterwards");
    EXPECT_EQ(Payloads(OpenJournal(*disk).found), after);
  }
  return opened;
}

TEST(JournalDamageTest, ATornTailLosesWhatWasTornAndSaysHowMuch) {
  FaultyFileSystem files;
  {
    const OpenedJournal opened = OpenJournal(files);
    for (const char* payload : {"one", "two", "three"}) Append(*opened.journal, payload);
  }
  const std::string path = SegmentPaths(files).front();
  const std::string file = files.Files().at(path);
  const std::vector<size_t> places = RecordPlaces(file);
  ASSERT_EQ(places.size(), 6u);  // start, live, three writes, the end
  for (size_t length = places[2]; length <= file.size(); ++length) {
    const OpenedJournal opened = Changed(files, path, file.substr(0, length));
    Strings expected;
    size_t intact = places[2];
    for (size_t i = 0; i < 3 && places[3 + i] <= length; ++i) {
      expected.push_back(std::vector{"one", "two", "three"}[i]);
      intact = places[3 + i];
    }
    EXPECT_EQ(Payloads(opened.found), expected) << length;
    EXPECT_EQ(opened.found.torn_bytes, length - intact);
    EXPECT_EQ(opened.found.damaged_bytes, 0u);
    EXPECT_EQ(opened.found.bytes, length);
  }
}

TEST(JournalDamageTest, AFileWithoutAHeaderIsPassedOver) {
  FaultyFileSystem files;
  Append(*OpenJournal(files).journal, "one");
  const std::string next = "journal/" + JournalSegmentName(2);
  EXPECT_EQ(Payloads(Changed(files, next, "").found), Strings({"one"}));
  EXPECT_EQ(Changed(files, next, "LRDR").found.torn_bytes, 4u);
  EXPECT_EQ(Changed(files, next, std::string(1000, 'x')).found.damaged_bytes, 1000u);
}

TEST(JournalDamageTest, ADamagedWriteIsLostAloneAndReported) {
  FaultyFileSystem files;
  {
    const OpenedJournal opened = OpenJournal(files);
    for (const char* payload : {"one", "two", "three"}) Append(*opened.journal, payload);
  }
  const std::string path = SegmentPaths(files).front();
  const std::string file = files.Files().at(path);
  const std::vector<size_t> places = RecordPlaces(file);
  for (size_t place = places[3]; place < places[4]; ++place) {
    std::string damaged = file;
    damaged[place] = static_cast<char>(damaged[place] ^ 0x10);
    const OpenedJournal opened = Changed(files, path, damaged);
    EXPECT_EQ(Payloads(opened.found), Strings({"one", "three"})) << place;
    EXPECT_EQ(opened.found.damaged_bytes, places[4] - places[3]);
    EXPECT_EQ(opened.found.torn_bytes, 0u);
  }
}

TEST(JournalDamageTest, AVersionThatALostOneSupersededIsFoundUnlessThatOneWasStored) {
  FaultyFileSystem files;
  const OpenedJournal opened = OpenJournal(files);
  const uint64_t older = Append(*opened.journal, "older");
  const uint64_t newer = Append(*opened.journal, "newer");
  opened.journal->Acknowledge({older});
  const auto without_newer = [&] {
    const std::string path = SegmentPaths(files).front();
    std::string file = files.Files().at(path);
    ++file[RecordPlaces(file)[3] + kRecordFrameBytes + kJournalWriteBytes];
    return Payloads(Changed(files, path, file).found);
  };
  EXPECT_EQ(without_newer(), Strings({"older"}));
  opened.journal->Acknowledge({newer});
  EXPECT_EQ(without_newer(), Strings());
}

TEST(JournalDamageTest, AMissingFileIsReported) {
  FaultyFileSystem files;
  OpenedJournal opened = OpenJournal(files);
  Strings appended;
  while (SegmentPaths(files).size() < 4) {
    appended.push_back(Concat(appended.size(), ":", std::string(500, 'x')));
    Append(*opened.journal, appended.back());
  }
  opened.journal.reset();
  const OpenedJournal changed = Changed(files, SegmentPaths(files)[1], std::nullopt);
  EXPECT_EQ(changed.found.missing_files, 1u);
  EXPECT_EQ(changed.found.files, 3u);
  EXPECT_LT(changed.found.writes.size(), appended.size());
  for (const std::string& payload : Payloads(changed.found)) {
    EXPECT_NE(std::find(appended.begin(), appended.end(), payload), appended.end());
  }
  // The oldest ones are deleted when they aren't needed, so nobody misses them.
  EXPECT_EQ(Changed(files, SegmentPaths(files)[0], std::nullopt).found.missing_files, 0u);
}

// A journal whose writes all are in the store, as versions of a few keys.
struct Stored {
  FaultyFileSystem files;
  std::map<char, int> versions;
};

std::unique_ptr<Stored> StoreAll(uint64_t seed) {
  auto stored = std::make_unique<Stored>();
  std::mt19937_64 random(seed);
  std::map<char, std::vector<uint64_t>> waiting;
  int version = 0;
  OpenedJournal opened = OpenJournal(stored->files);
  // Never acknowledged, so that no file is deleted.
  Append(*opened.journal, "z0");
  stored->versions['z'] = 0;
  const auto acknowledge = [&](char key) {
    opened.journal->Acknowledge(waiting[key]);
    waiting[key].clear();
  };
  for (int i = 0; i < 80; ++i) {
    const char key = static_cast<char>('a' + random() % 3);
    if (random() % 3 == 0) {
      acknowledge(key);
    } else if (random() % 40 == 0) {
      opened.journal.reset();
      opened = OpenJournal(stored->files);
    } else {
      const std::string payload = Concat(std::string(1, key), ++version, std::string(80, ' '));
      waiting[key].push_back(Append(*opened.journal, payload));
      stored->versions[key] = version;
    }
  }
  for (const char key : {'a', 'b', 'c'}) acknowledge(key);
  return stored;
}

// Older versions must not be replayed without the newest one, that is, written over it.
void ExpectNewest(const Stored& stored, const std::string& path, std::optional<std::string> bytes) {
  const auto disk = stored.files.Crash(CrashKind::kProcess);
  disk->SetFile(path, std::move(bytes));
  std::map<char, int> versions = stored.versions;
  for (const JournalWrite& write : OpenJournal(*disk).found.writes) {
    versions[write.payload[0]] = std::stoi(write.payload.substr(1));
  }
  EXPECT_EQ(versions, stored.versions);
}

TEST(JournalDamageTest, AFlippedBitDoesNotBringBackOldVersions) {
  const auto stored = StoreAll(1);
  ASSERT_GT(SegmentPaths(stored->files).size(), 1u);
  for (const std::string& path : SegmentPaths(stored->files)) {
    const std::string file = stored->files.Files().at(path);
    // A lost header takes the whole file along, and its newest writes.
    for (size_t place = kRecordFileHeaderBytes; place < file.size(); ++place) {
      std::string damaged = file;
      damaged[place] = static_cast<char>(damaged[place] ^ (1 << place % 8));
      SCOPED_TRACE(Concat(path, " at ", place));
      ExpectNewest(*stored, path, std::move(damaged));
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(JournalDamageTest, ALostTailOfAFileDoesNotBringBackOldVersions) {
  const auto stored = StoreAll(2);
  const std::string path = SegmentPaths(stored->files).back();
  const std::string file = stored->files.Files().at(path);
  // Back to where the last write was: without that an older one may be the newest there is.
  std::vector<size_t> places = RecordPlaces(file);
  for (size_t length = places.end()[-4]; length < file.size(); ++length) {
    SCOPED_TRACE(length);
    ExpectNewest(*stored, path, file.substr(0, length));
  }
}

TEST(JournalDamageTest, RecordsAreReadAsTheyWereWritten) {
  const std::vector<uint64_t> sequences = {1, 2, 200, uint64_t{1} << 40, kMaxSequence};
  const auto acknowledged = DecodeJournalRecord(EncodeJournalAcknowledged({7, 9, sequences}));
  ASSERT_TRUE(acknowledged.has_value());
  EXPECT_EQ(std::get<JournalAcknowledgedRecord>(*acknowledged).sequences, sequences);
  EXPECT_EQ(std::get<JournalAcknowledgedRecord>(*acknowledged).number, 7u);
  EXPECT_EQ(std::get<JournalAcknowledgedRecord>(*acknowledged).last_sequence, 9u);
  const auto live = DecodeJournalRecord(EncodeJournalLive(sequences));
  ASSERT_TRUE(live.has_value());
  EXPECT_EQ(std::get<JournalLiveRecord>(*live).sequences, sequences);
}

TEST(JournalDamageTest, RecordsThatNobodyWritesAreRefused) {
  const std::string max = EncodeJournalLive({kMaxSequence});
  for (const std::string& record :
       {std::string(), std::string("\0", 1), std::string("\5", 1), std::string("\1short"),
        std::string("\2short"), std::string("\3short"), std::string("\4\0", 2),  // twice the same
        std::string("\4\xff"), max + '\1', "\4" + std::string(10, '\xff'),
        EncodeJournalWrite({0, "payload"}), EncodeJournalWrite({kMaxSequence + 1, "payload"})}) {
    EXPECT_FALSE(DecodeJournalRecord(record).has_value()) << testing::PrintToString(record);
  }
}

}  // namespace
}  // namespace larder::internal
