// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/snapshot_format.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "larder/internal/bytes.h"
#include "larder/internal/record_io.h"

namespace larder::internal {
namespace {

constexpr uint64_t kSalt = 0x1234567890abcdef;

SnapshotHead Head() {
  return {.saved_at = -5, .key_schema = "string", .value_schema = "User/2", .policy = "Lru"};
}

std::string FileOf(const std::vector<SnapshotEntry>& entries) {
  SnapshotWriter writer(Head(), kSalt);
  for (const SnapshotEntry& entry : entries) EXPECT_EQ(writer.Add(entry), absl::OkStatus());
  writer.Finish();
  EXPECT_EQ(writer.entries(), entries.size());
  EXPECT_EQ(writer.size(), writer.bytes().size());
  return writer.bytes();
}

// What a reader makes of a file: OK only if all of it is right.
absl::Status Read(std::string_view file, std::vector<SnapshotEntry>* entries = nullptr) {
  absl::StatusOr<SnapshotReader> reader = SnapshotReader::Open(file);
  if (!reader.ok()) return reader.status();
  for (SnapshotEntry entry; reader->Next(&entry);) {
    if (entries != nullptr) entries->push_back(entry);
  }
  return reader->status();
}

// One of each kind.
std::vector<SnapshotEntry> SomeEntries() {
  return {
      {.key = "", .value = ""},
      {.key = "a", .value = "b", .rank = 7, .standing = 4, .ttl_left = 1},
      {.key = "idle", .value = "c", .ttl_left = 1'000'000, .idle_ttl = 5, .idle_left = 3},
      {.key = "heavy", .value = "d", .rank = ~uint64_t{0}, .weight = 0},
      {.key = "tagged",
       .value = std::string_view("\0\1\2", 3),
       .ttl_left = kNever - 1,
       .weight = ~uint64_t{0},
       .terms = SnapshotTerms{.age = 9,
                              .kept_for = kNever,
                              .refresh_in = 0,
                              .load_micros = UINT32_MAX,
                              .tags = {"", "users", "x"}}},
      {.key = "terms", .value = "e", .terms = SnapshotTerms{.refresh_in = 77}},
  };
}

void ExpectEqual(const SnapshotEntry& a, const SnapshotEntry& b) {
  EXPECT_EQ(a.key, b.key);
  EXPECT_EQ(a.value, b.value);
  EXPECT_EQ(a.rank, b.rank);
  EXPECT_EQ(a.standing, b.standing);
  EXPECT_EQ(a.ttl_left, b.ttl_left);
  EXPECT_EQ(a.idle_ttl, b.idle_ttl);
  EXPECT_EQ(a.idle_left, b.idle_left);
  EXPECT_EQ(a.weight, b.weight);
  ASSERT_EQ(a.terms.has_value(), b.terms.has_value());
  if (!a.terms.has_value()) return;
  EXPECT_EQ(a.terms->age, b.terms->age);
  EXPECT_EQ(a.terms->kept_for, b.terms->kept_for);
  EXPECT_EQ(a.terms->refresh_in, b.terms->refresh_in);
  EXPECT_EQ(a.terms->load_micros, b.terms->load_micros);
  EXPECT_EQ(a.terms->tags, b.terms->tags);
}

TEST(SnapshotFormatTest, WhatIsWrittenIsRead) {
  const std::vector<SnapshotEntry> entries = SomeEntries();
  const std::string file = FileOf(entries);
  absl::StatusOr<SnapshotReader> reader = SnapshotReader::Open(file);
  ASSERT_EQ(reader.status(), absl::OkStatus());
  EXPECT_EQ(reader->head().saved_at, -5);
  EXPECT_EQ(reader->head().key_schema, "string");
  EXPECT_EQ(reader->head().value_schema, "User/2");
  EXPECT_EQ(reader->head().policy, "Lru");
  EXPECT_EQ(reader->entries(), entries.size());
  for (const SnapshotEntry& expected : entries) {
    SCOPED_TRACE(expected.key);
    SnapshotEntry entry;
    ASSERT_TRUE(reader->Next(&entry));
    ExpectEqual(entry, expected);
    SnapshotEntry again = SomeEntries().back();  // of which nothing is to be left
    reader->Prefetch(reader->position());
    reader->ReadAt(reader->position(), &again);
    ExpectEqual(again, expected);
  }
  SnapshotEntry entry;
  EXPECT_FALSE(reader->Next(&entry));
  EXPECT_EQ(reader->status(), absl::OkStatus());
}

TEST(SnapshotFormatTest, TheBytesAreThoseOfTheDocument) {
  const std::string file =
      FileOf({{.key = "k", .value = "vw", .rank = 300, .standing = 5, .ttl_left = 2}});
  absl::StatusOr<RecordReader> records = RecordReader::Open(RecordFileKind::kSnapshot, 1, file);
  ASSERT_EQ(records.status(), absl::OkStatus());
  EXPECT_EQ(records->version(), 1u);
  EXPECT_EQ(records->Next(),
            absl::StrCat("\1\xfb", std::string(7, '\xff'), "\6string\6User/2\3Lru"));
  EXPECT_EQ(records->Next(), "\2\3\xac\2\5\2\1k\2vw");
  EXPECT_EQ(records->Next(), std::string("\3\1\0\0\0\0\0\0\0", 9));
  EXPECT_EQ(records->Next(), std::nullopt);
}

TEST(SnapshotFormatTest, NoEntriesAreASnapshot) {
  std::vector<SnapshotEntry> entries;
  EXPECT_EQ(Read(FileOf({}), &entries), absl::OkStatus());
  EXPECT_TRUE(entries.empty());
}

TEST(SnapshotFormatTest, ManyEntriesMakeManyBlocks) {
  const std::string small(100, 's');
  const std::string large(300'000, 'l');
  std::vector<SnapshotEntry> entries;
  for (int i = 0; i < 2000; ++i) {
    entries.push_back({.key = "key", .value = i % 500 == 0 ? large : small});
  }
  const std::string file = FileOf(entries);
  std::vector<SnapshotEntry> read;
  ASSERT_EQ(Read(file, &read), absl::OkStatus());
  ASSERT_EQ(read.size(), entries.size());
  for (size_t i = 0; i < read.size(); ++i) EXPECT_EQ(read[i].value, entries[i].value);
}

TEST(SnapshotFormatTest, AnyByteThatIsWrongIsNoticed) {
  const std::string file = FileOf(SomeEntries());
  for (size_t i = 0; i < file.size(); ++i) {
    for (const unsigned flip : {0x01u, 0x80u, 0xffu}) {
      std::string damaged = file;
      damaged[i] = static_cast<char>(static_cast<unsigned char>(damaged[i]) ^ flip);
      EXPECT_TRUE(absl::IsDataLoss(Read(damaged))) << "byte " << i << ": " << Read(damaged);
    }
  }
}

TEST(SnapshotFormatTest, AnyTruncationIsNoticed) {
  const std::string file = FileOf(SomeEntries());
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(Read(file.substr(0, size)))) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(Read(file + '\0')));
}

// --- Records that are intact, and yet wrong: by another writer.

std::string FileOfRecords(const std::vector<std::string>& records,
                          uint32_t version = kSnapshotVersion) {
  RecordWriter writer(RecordFileKind::kSnapshot, version, kSalt);
  std::string file = writer.Header();
  for (const std::string& record : records) writer.Add(record, &file);
  return file;
}

std::string HeadRecord() {
  return absl::StrCat("\1", std::string(8, '\0'), "\6string\6User/2\3Lru");
}

std::string EndRecord(char entries) { return {'\3', entries, 0, 0, 0, 0, 0, 0, 0}; }

TEST(SnapshotFormatTest, RecordsInAnotherOrderAreRefused) {
  const std::string head = HeadRecord();
  const std::string entry = std::string("\2\0\0\1k\1v", 7);
  EXPECT_EQ(Read(FileOfRecords({head, entry, EndRecord(1)})), absl::OkStatus());
  for (const std::vector<std::string>& records : std::vector<std::vector<std::string>>{
           {},
           {head},
           {head, entry},
           {entry, EndRecord(1)},
           {EndRecord(0)},
           {entry, head, EndRecord(1)},
           {head, head, EndRecord(0)},
           {head, EndRecord(1), entry},
           {head, entry, EndRecord(1), EndRecord(1)},
           {head, entry, EndRecord(0)},
           {head, entry, EndRecord(2)},
           {head, "", EndRecord(0)},
           {head, "\4", EndRecord(0)},
           {head, entry, EndRecord(1) + "x"},
           {head, entry, "\3"},
           {head + "x", EndRecord(0)},
           {head.substr(0, 5), EndRecord(0)},
       }) {
    EXPECT_TRUE(absl::IsDataLoss(Read(FileOfRecords(records)))) << records.size();
  }
}

TEST(SnapshotFormatTest, EntriesThatNoWriterMakesAreRefused) {
  for (const std::string& entry : {
           std::string("\x20\0\1k\1v", 6),           // a flag that there isn't
           std::string("\0\0\1k\1", 5),              // a value that is missing
           std::string("\0\0\1k\7v", 6),             // one that is cut off
           std::string("\1\0", 2),                   // a standing that is missing
           std::string("\x10\0\0\0\0\0\x7f\1k", 9),  // tags that are missing
           std::string("\x10\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 16),
           std::string("\0\x80\0\1k\1v", 7),  // a number in more bytes than it needs
           std::string("\0\0\1k\1v\0", 7),    // half an entry after a whole one
       }) {
    EXPECT_TRUE(absl::IsDataLoss(
        Read(FileOfRecords({HeadRecord(), absl::StrCat("\2", entry), EndRecord(1)}))));
  }
}

TEST(SnapshotFormatTest, NumbersThatAreTooLargeAreAsLargeAsCanBe) {
  const std::string most = std::string(9, '\xff') + '\1';
  const std::string entry = absl::StrCat("\2\x17", std::string(1, '\0'), most, most, most, most,
                                         most, most, most, most, std::string("\0", 1), "\1k\1v");
  std::vector<SnapshotEntry> entries;
  const std::string file = FileOfRecords({HeadRecord(), entry, EndRecord(1)});
  ASSERT_EQ(Read(file, &entries), absl::OkStatus());
  EXPECT_EQ(entries[0].standing, UINT32_MAX);
  EXPECT_EQ(entries[0].ttl_left, kNever);
  EXPECT_EQ(entries[0].idle_ttl, kNever);
  EXPECT_EQ(entries[0].idle_left, kNever);
  EXPECT_EQ(entries[0].terms->age, kNever);
  EXPECT_EQ(entries[0].terms->kept_for, kNever);
  EXPECT_EQ(entries[0].terms->refresh_in, kNever - 1);
  EXPECT_EQ(entries[0].terms->load_micros, UINT32_MAX);
}

TEST(SnapshotFormatTest, OtherVersionsAreRefused) {
  const std::vector<std::string> records = {HeadRecord(), EndRecord(0)};
  EXPECT_EQ(Read(FileOfRecords(records)), absl::OkStatus());
  EXPECT_TRUE(absl::IsUnimplemented(Read(FileOfRecords(records, 2))));
  EXPECT_TRUE(absl::IsUnimplemented(Read(FileOfRecords(records, 0))));
}

}  // namespace
}  // namespace larder::internal
