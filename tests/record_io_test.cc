// SPDX-License-Identifier: Apache-2.0
#include "larder/internal/record_io.h"
#include "larder/internal/bytes.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "src/crc32c.h"
#include "tests/support/rounds.h"

namespace larder::internal {
namespace {

using ::larder::test::Rounds;
using ::larder::test::SeedOfRound;

constexpr auto kKind = RecordFileKind::kJournal;

struct Span {
  size_t begin;  // of the frame
  size_t end;    // of the record
};

// A file as it was written.
struct Written {
  std::string bytes;
  std::vector<std::string> records;
  std::vector<Span> places;
};

Written Write(const std::vector<std::string>& records, uint64_t salt = 0x0123456789abcdef) {
  RecordWriter writer(kKind, 1, salt);
  Written file{writer.Header(), records, {}};
  for (const std::string& record : records) {
    const size_t begin = file.bytes.size();
    writer.Add(record, &file.bytes);
    file.places.push_back({begin, file.bytes.size()});
    EXPECT_EQ(writer.size(), file.bytes.size());
  }
  return file;
}

struct Found {
  std::vector<std::string> records;
  uint64_t damaged_bytes = 0;
  uint64_t torn_bytes = 0;

  bool operator==(const Found&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Found& found) {
  out << found.damaged_bytes << " damaged, " << found.torn_bytes << " torn, records:";
  for (const std::string& record : found.records) out << " '" << record.substr(0, 20) << "'";
  return out;
}

Found ReadAll(std::string_view bytes) {
  absl::StatusOr<RecordReader> reader = RecordReader::Open(kKind, 1, bytes);
  EXPECT_TRUE(reader.ok()) << reader.status();
  Found found;
  if (!reader.ok()) return found;
  while (const auto record = reader->Next()) found.records.emplace_back(*record);
  EXPECT_EQ(reader->Next(), std::nullopt);
  found.damaged_bytes = reader->damaged_bytes();
  found.torn_bytes = reader->torn_bytes();
  return found;
}

// What a reader must find in what has become of a file, whose header is as it was: the records
// whose bytes are where they were.
Found Expected(const Written& file, std::string_view now) {
  Found expected;
  size_t intact_end = kRecordFileHeaderBytes;
  for (size_t i = 0; i < file.records.size(); ++i) {
    const auto [begin, end] = file.places[i];
    if (end > now.size()) break;
    if (now.substr(begin, end - begin) != std::string_view(file.bytes).substr(begin, end - begin))
      continue;
    expected.records.push_back(file.records[i]);
    expected.damaged_bytes += begin - intact_end;
    intact_end = end;
  }
  expected.torn_bytes = now.size() - intact_end;
  return expected;
}

std::string RandomBytes(std::mt19937_64& random, size_t size) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::vector<std::string> RandomRecords(std::mt19937_64& random) {
  std::vector<std::string> records(random() % 20);
  for (std::string& record : records)
    record = RandomBytes(random, random() % 4 == 0 ? random() % 400 : random() % 30);
  return records;
}

const std::vector<std::string>& SmallRecords() {
  static const std::vector<std::string> records = {
      "first", "", std::string(40, '\0'), "", "x", std::string(100, 'y'), "last"};
  return records;
}

TEST(Crc32cTest, HasTheValuesOfRfc3720) {
  std::string ascending, descending;
  for (char i = 0; i < 32; ++i) {
    ascending += i;
    descending += static_cast<char>(31 - i);
  }
  EXPECT_EQ(ExtendCrc32c(0, ""), 0u);
  EXPECT_EQ(ExtendCrc32c(0, "123456789"), 0xe3069283u);
  EXPECT_EQ(ExtendCrc32c(0, std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(ExtendCrc32c(0, std::string(32, '\xff')), 0x62a8ab43u);
  EXPECT_EQ(ExtendCrc32c(0, ascending), 0x46dd794eu);
  EXPECT_EQ(ExtendCrc32c(0, descending), 0x113fdb5cu);
}

TEST(Crc32cTest, MayBeMadePieceByPiece) {
  std::mt19937_64 random(1);
  const std::string bytes = RandomBytes(random, 300);
  const std::string_view view = bytes;
  const uint32_t whole = ExtendCrc32c(0, view);
  for (size_t cut = 0; cut <= bytes.size(); ++cut)
    EXPECT_EQ(ExtendCrc32c(ExtendCrc32c(0, view.substr(0, cut)), view.substr(cut)), whole) << cut;
}

#ifdef LARDER_OWN_CRC32C
TEST(Crc32cTest, IsTheSameWithAndWithoutInstructions) {
  std::mt19937_64 random(2);
  for (size_t size = 0; size < 300; ++size) {
    const std::string bytes = RandomBytes(random, size + 8);
    const std::string_view view = std::string_view(bytes).substr(size % 8, size);
    const auto crc = static_cast<uint32_t>(random());
    EXPECT_EQ(ExtendCrc32c(crc, view), ExtendCrc32cWithTables(crc, view)) << size;
  }
}
#endif

TEST(RecordIoTest, WritesTheBytesThatTheFormatsDocumentSays) {
  RecordWriter writer(kKind, 7, 0x0123456789abcdef);
  std::string bytes = writer.Header();
  writer.Add("hello", &bytes);
  writer.Add("", &bytes);
  EXPECT_EQ(absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size())),
            "4c5244524a524e4c07000000efcdab89674523011604bb16"
            "05000000bf197c5bdaa7662568656c6c6f"
            "00000000f13e10e72ee5a9ed");
}

TEST(RecordIoTest, ReadsBackWhatWasWritten) {
  for (int round = 0; round < Rounds(500); ++round) {
    const uint64_t seed = SeedOfRound(round);
    std::mt19937_64 random(seed);
    const Written file = Write(RandomRecords(random), random());
    EXPECT_EQ(ReadAll(file.bytes), (Found{file.records, 0, 0})) << "seed " << seed;
  }
}

TEST(RecordIoTest, AFileMayHoldNoRecords) {
  EXPECT_EQ(ReadAll(Write({}).bytes), Found{});
  EXPECT_EQ(ReadAll(Write({""}).bytes), (Found{{""}, 0, 0}));
}

TEST(RecordIoTest, ReadsHugeRecords) {
  std::mt19937_64 random(3);
  const Written file = Write({"before", std::string(size_t{48} << 20, 'h'), "after"});
  EXPECT_EQ(ReadAll(file.bytes).records, file.records);
  std::string damaged = file.bytes;
  damaged[damaged.size() / 2] ^= 1;
  EXPECT_EQ(ReadAll(damaged).records, (std::vector<std::string>{"before", "after"}));
}

TEST(RecordIoTest, ACopyOfTheWriterGoesOnFromTheSamePlace) {
  RecordWriter writer(kKind, 1, 5);
  std::string bytes = writer.Header();
  writer.Add("one", &bytes);
  RecordWriter failed = writer;
  std::string lost;
  failed.Add("that never reached the file", &lost);
  writer.Add("two", &bytes);
  EXPECT_EQ(ReadAll(bytes), (Found{{"one", "two"}, 0, 0}));
}

TEST(RecordIoTest, TellsTheVersionAndRefusesNewerOnes) {
  const std::string bytes = RecordWriter(kKind, 3, 5).Header();
  EXPECT_EQ(RecordReader::Open(kKind, 3, bytes)->version(), 3u);
  EXPECT_EQ(RecordReader::Open(kKind, 4, bytes)->version(), 3u);
  const absl::Status status = RecordReader::Open(kKind, 2, bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_NE(status.message().find("version 3"), absl::string_view::npos) << status;
}

TEST(RecordIoTest, RefusesFilesOfAnotherKind) {
  const std::string bytes = RecordWriter(RecordFileKind::kSnapshot, 1, 5).Header();
  const absl::Status status = RecordReader::Open(kKind, 1, bytes).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(status.message().find("SNAP, not JRNL"), absl::string_view::npos) << status;
}

TEST(RecordIoTest, RefusesAHeaderWithAnyBitFlippedOrCutShort) {
  const std::string header = RecordWriter(kKind, 1, 5).Header();
  ASSERT_EQ(header.size(), kRecordFileHeaderBytes);
  for (size_t bit = 0; bit < header.size() * 8; ++bit) {
    std::string damaged = header;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(RecordReader::Open(kKind, 1, damaged).status().code(), absl::StatusCode::kDataLoss)
        << "bit " << bit;
  }
  for (size_t size = 0; size < header.size(); ++size)
    EXPECT_EQ(RecordReader::Open(kKind, 1, header.substr(0, size)).status().code(),
              absl::StatusCode::kDataLoss)
        << "first " << size;
}

TEST(RecordIoTest, AnyFlippedBitLosesTheRecordThatItIsInAndNoOther) {
  const Written file = Write(SmallRecords());
  for (size_t bit = kRecordFileHeaderBytes * 8; bit < file.bytes.size() * 8; ++bit) {
    std::string damaged = file.bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const Found found = ReadAll(damaged);
    EXPECT_EQ(found.records.size(), file.records.size() - 1) << "bit " << bit;
    EXPECT_EQ(found, Expected(file, damaged)) << "bit " << bit;
  }
}

TEST(RecordIoTest, AnyByteOfAnyValueLosesTheRecordThatItIsInAndNoOther) {
  const Written file = Write({"one", "", "three"});
  for (size_t at = kRecordFileHeaderBytes; at < file.bytes.size(); ++at) {
    std::string damaged = file.bytes;
    for (int value = 0; value < 256; ++value) {
      damaged[at] = static_cast<char>(value);
      EXPECT_EQ(ReadAll(damaged), Expected(file, damaged)) << "byte " << at << ": " << value;
    }
  }
}

TEST(RecordIoTest, AFileCutShortAnywhereHasTheRecordsBeforeTheCut) {
  const Written file = Write(SmallRecords());
  for (size_t size = kRecordFileHeaderBytes; size <= file.bytes.size(); ++size) {
    const std::string_view torn = std::string_view(file.bytes).substr(0, size);
    const Found found = ReadAll(torn);
    EXPECT_EQ(found, Expected(file, torn)) << "first " << size;
    EXPECT_EQ(found.damaged_bytes, 0u);
  }
}

TEST(RecordIoTest, ZerosOrGarbageAfterTheLastRecordAreTorn) {
  std::mt19937_64 random(4);
  const Written file = Write(SmallRecords());
  for (const std::string& tail : {std::string(5'000, '\0'), RandomBytes(random, 5'000)})
    EXPECT_EQ(ReadAll(file.bytes + tail), (Found{file.records, 0, 5'000}));
}

TEST(RecordIoTest, FramesInsideARecordAreNotRecords) {
  const Written inner = Write({"embedded", "embedded too"});
  Written outer =
      Write({"before", inner.bytes, inner.bytes.substr(kRecordFileHeaderBytes), "after"});
  EXPECT_EQ(ReadAll(outer.bytes), (Found{outer.records, 0, 0}));
  // Also where the search for the next record has to pass through them.
  for (const size_t record : {1, 2}) {
    std::string damaged = outer.bytes;
    damaged[outer.places[record].begin] ^= 1;
    EXPECT_EQ(ReadAll(damaged), Expected(outer, damaged)) << record;
  }
}

TEST(RecordIoTest, RecordsOfAnotherFileOrPlaceAreNotRecords) {
  const Written file = Write({"mine", "mine as well", "the last one"}, 1);
  const Written other = Write({"MINE", "MINE AS WELL", "THE LAST ONE"}, 2);
  const Written lower_half = Write({"MINE", "MINE AS WELL", "THE LAST ONE"}, uint64_t{1} << 32 | 1);
  ASSERT_EQ(file.bytes.size(), other.bytes.size());
  for (const Written* source : {&other, &lower_half, &file}) {
    for (size_t i = 0; i < file.places.size(); ++i) {
      for (size_t from = 0; from < file.places.size(); ++from) {
        if (source == &file && from == i) continue;
        const auto [begin, end] = source->places[from];
        std::string mixed = file.bytes;
        mixed.replace(file.places[i].begin, end - begin, source->bytes, begin, end - begin);
        EXPECT_EQ(ReadAll(mixed), Expected(file, mixed)) << i << " from " << from;
      }
    }
  }
}

// The length and its checksum, as a frame at this place begins with them.
std::string LengthOf(size_t at, uint32_t length, uint64_t salt) {
  char checked[16];
  StoreFixed(static_cast<uint32_t>(salt), checked);
  StoreFixed(static_cast<uint64_t>(at), checked + 4);
  StoreFixed(length, checked + 12);
  std::string bytes(8, '\0');
  StoreFixed(length, bytes.data());
  StoreFixed(ExtendCrc32c(0, {checked, sizeof(checked)}), bytes.data() + 4);
  return bytes;
}

TEST(RecordIoTest, ALengthOverTheLimitIsDamageEvenWithItsChecksum) {
  Written file = Write({"before", "after"}, 7);
  const size_t at = file.places[0].begin;
  file.bytes.replace(at, 8, LengthOf(at, kMaxRecordBytes + 1, 7));
  EXPECT_EQ(ReadAll(file.bytes).records, std::vector<std::string>{"after"});
}

TEST(RecordIoTest, AChecksummedLengthThatIsMetInASearchMovesItByOneByteOnly) {
  Written file = Write({"damaged", std::string(50, 'd'), "after", "after it"}, 7);
  file.bytes[file.places[0].begin] ^= 1;
  file.bytes[file.places[1].begin] ^= 1;
  const size_t at = file.places[1].begin + 20;
  const auto length = static_cast<uint32_t>(file.places[2].end - at - kRecordFrameBytes);
  file.bytes.replace(at, 8, LengthOf(at, length, 7));
  EXPECT_EQ(ReadAll(file.bytes).records, (std::vector<std::string>{"after", "after it"}));
}

TEST(RecordIoTest, ADamagedRecordIsPassedOverWithAllThatIsInIt) {
  // A frame that is right for where it is, as nobody can make one who doesn't know the salt.
  RecordWriter writer(kKind, 1, 7);
  std::string inside, ignored;
  writer.Add(std::string(8, 'i'), &ignored);  // as long as what is before it in the record
  writer.Add("inside", &inside);
  Written file = Write({std::string(20, 'i') + inside, "after"}, 7);
  file.bytes.replace(kRecordFileHeaderBytes + kRecordFrameBytes, 20 + inside.size(),
                     std::string(8, 'i') + inside + std::string(12, 'i'));
  EXPECT_EQ(ReadAll(file.bytes).records, std::vector<std::string>{"after"});
}

// One thing that goes wrong with a file.
void Damage(std::mt19937_64& random, const Written& file, std::string* bytes) {
  const auto place = [&] {
    return kRecordFileHeaderBytes + random() % (bytes->size() - kRecordFileHeaderBytes + 1);
  };
  const size_t at = place();
  const size_t size = std::min<size_t>(random() % 100, bytes->size() - at);
  switch (random() % 7) {
    case 0:
      for (size_t i = 0; i < size; i += 1 + random() % 30) (*bytes)[at + i] ^= 1 << random() % 8;
      break;
    case 1:
      bytes->replace(at, size, std::string(size, '\0'));
      break;
    case 2:
      bytes->replace(at, size, RandomBytes(random, size));
      break;
    case 3:  // other bytes of the file
      bytes->replace(at, size, file.bytes.substr(place() % file.bytes.size(), size));
      break;
    case 4:
      bytes->resize(at);
      break;
    case 5:
      bytes->erase(at, size);
      break;
    case 6:
      bytes->insert(at, RandomBytes(random, size));
      break;
  }
}

TEST(RecordIoTest, FindsExactlyTheRecordsThatNoDamageTouched) {
  uint64_t records = 0, found = 0;
  for (int round = 0; round < Rounds(5'000); ++round) {
    const uint64_t seed = SeedOfRound(round);
    std::mt19937_64 random(seed);
    const Written file = Write(RandomRecords(random), random());
    std::string bytes = file.bytes;
    for (uint64_t left = 1 + random() % 4; left > 0; --left) Damage(random, file, &bytes);
    const Found expected = Expected(file, bytes);
    ASSERT_EQ(ReadAll(bytes), expected) << "seed " << seed;
    records += file.records.size();
    found += expected.records.size();
  }
  EXPECT_GT(found, records / 10);
  EXPECT_LT(found, records * 9 / 10);
}

}  // namespace
}  // namespace larder::internal
