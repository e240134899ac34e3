// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/remote_entry.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "larder/internal/bytes.h"
#include "larder/internal/remote_seal.h"
#include "src/crc32c.h"

namespace larder::internal {
namespace {

constexpr std::string_view kKey = "user:17";
constexpr std::string_view kSchema = "string";

absl::Time At(int64_t millis) { return absl::FromUnixMillis(millis); }

RemoteEntry SomeValue() {
  RemoteEntry entry;
  entry.stamp = {0x0102030405060708, 0x1112131415161718};
  entry.generation = 77;
  entry.clock = 5;
  entry.stored_at = At(1'700'000'000'123);
  entry.fresh_until = At(1'700'000'060'456);
  entry.schema = kSchema;
  entry.tags = {"red", "", "blue"};
  entry.payload = "the value";
  return entry;
}

void ExpectSame(const RemoteEntry& a, const RemoteEntry& b) {
  EXPECT_EQ(a.kind, b.kind);
  EXPECT_EQ(a.stamp, b.stamp);
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.clock, b.clock);
  EXPECT_EQ(a.stored_at, b.stored_at);
  EXPECT_EQ(a.fresh_until, b.fresh_until);
  EXPECT_EQ(a.schema, b.schema);
  EXPECT_EQ(a.tags, b.tags);
  EXPECT_EQ(a.payload, b.payload);
}

TEST(RemoteEntryTest, IsDecodedAsItWasEncoded) {
  const RemoteEntry entry = SomeValue();
  const std::string bytes = EncodeRemoteEntry(kKey, entry);
  const auto decoded = DecodeRemoteEntry(kKey, kSchema, bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ExpectSame(*decoded, entry);
}

TEST(RemoteEntryTest, OfEachKindIsDecodedAsItWasEncoded) {
  for (const auto kind :
       {RemoteEntryKind::kNegative, RemoteEntryKind::kLease, RemoteEntryKind::kIntent}) {
    RemoteEntry entry;
    entry.kind = kind;
    entry.stamp = {1, 2};
    const std::string bytes = EncodeRemoteEntry("", entry);
    const auto decoded = DecodeRemoteEntry("", kSchema, bytes);
    ASSERT_TRUE(decoded.ok()) << decoded.status();
    ExpectSame(*decoded, entry);
  }
}

// Every byte as docs/formats.md says.
TEST(RemoteEntryTest, HasTheBytesThatAreDocumented) {
  RemoteEntry entry = SomeValue();
  entry.fresh_until = absl::InfiniteFuture();
  std::string expected("\xc1LR\1", 4);
  expected += std::string("\x08\7\6\5\4\3\2\1", 8) + "\x18\x17\x16\x15\x14\x13\x12\x11";
  expected += std::string("\1\0\0\0", 4);
  AppendFixed(uint64_t{77}, &expected);
  AppendFixed(uint64_t{5}, &expected);
  AppendFixed(uint64_t{1'700'000'000'123}, &expected);
  AppendFixed(uint64_t{INT64_MAX}, &expected);
  expected += std::string("\6string\3\3red\0\4blue", 18) + "the value";
  const std::string covered = std::string("\7\0\0\0\0\0\0\0user:17", 15) + expected;
  AppendFixed(ExtendCrc32c(0, covered), &expected);
  EXPECT_EQ(EncodeRemoteEntry(kKey, entry), expected);
}

TEST(RemoteEntryTest, RoundsTimesTowardsThePast) {
  RemoteEntry entry = SomeValue();
  entry.fresh_until = At(1000) + absl::Microseconds(999);
  entry.stored_at = absl::InfinitePast();
  const std::string bytes = EncodeRemoteEntry(kKey, entry);
  const auto decoded = DecodeRemoteEntry(kKey, kSchema, bytes);
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(decoded->fresh_until, At(1000));
  EXPECT_EQ(decoded->stored_at, absl::InfinitePast());
}

TEST(RemoteEntryTest, TellsAnotherSchemaFromDamage) {
  const std::string bytes = EncodeRemoteEntry(kKey, SomeValue());
  const absl::Status status = DecodeRemoteEntry(kKey, "u64", bytes).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_EQ(status.message(), "a value of string, where u64 is expected");
}

TEST(RemoteEntryTest, OfAnotherKeyIsAnError) {
  const std::string bytes = EncodeRemoteEntry(kKey, SomeValue());
  for (const char* key : {"user:18", "user:1", "user:17\xc1", ""})
    EXPECT_TRUE(absl::IsDataLoss(DecodeRemoteEntry(key, kSchema, bytes).status())) << key;
}

TEST(RemoteEntryTest, WithAnyBitFlippedIsAnError) {
  const std::string whole = EncodeRemoteEntry(kKey, SomeValue());
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] ^= static_cast<char>(1 << bit % 8);
    EXPECT_FALSE(DecodeRemoteEntry(kKey, kSchema, bytes).ok()) << bit;
  }
}

TEST(RemoteEntryTest, CutShortAnywhereIsAnError) {
  const std::string whole = EncodeRemoteEntry(kKey, SomeValue());
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string bytes = whole.substr(0, size);
    EXPECT_TRUE(absl::IsDataLoss(DecodeRemoteEntry(kKey, kSchema, bytes).status())) << size;
  }
}

TEST(RemoteEntryTest, OfAnotherVersionIsUnimplementedAndItsStampIsRead) {
  std::string bytes = EncodeRemoteEntry(kKey, SomeValue());
  bytes[3] = 2;
  EXPECT_TRUE(absl::IsUnimplemented(DecodeRemoteEntry(kKey, kSchema, bytes).status()));
  EXPECT_TRUE(LooksLikeOurs(bytes));
  EXPECT_EQ(ParseHead(bytes), SomeValue().stamp);
  EXPECT_FALSE(PeekEntry(bytes).has_value());
}

TEST(RemoteEntryTest, WithARightChecksumAndNothingElseRightIsDamaged) {
  const auto sealed = [](uint8_t kind, uint8_t flags, const std::string& rest) {
    std::string bytes = EncodeRemoteStart({{1, 2}, kind, flags}) + rest;
    Seal(kKey, &bytes);
    return bytes;
  };
  const std::string numbers(32, 0);
  const std::string no_schema_no_tags(2, 0);
  const std::string rest = numbers + no_schema_no_tags;
  const std::vector<std::string> wrong = {
      sealed(0, 0, rest),
      sealed(5, 0, rest),
      sealed(1, 1, rest),
      sealed(4, 1, rest),
      sealed(1, 0, numbers.substr(1)),
      sealed(1, 0, numbers + "\5abc"),
      sealed(1, 0, numbers + std::string("\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\1", 11)),
      sealed(2, 0, rest + "payload"),
  };
  for (const std::string& bytes : wrong)
    EXPECT_TRUE(absl::IsDataLoss(DecodeRemoteEntry(kKey, "", bytes).status()));
  EXPECT_TRUE(DecodeRemoteEntry(kKey, "", sealed(1, 0, rest)).ok());
  EXPECT_TRUE(DecodeRemoteEntry(kKey, "", sealed(4, 0, rest)).ok());
}

TEST(RemoteEntryTest, TellsItsKindAndStampByItsFirstBytes) {
  RemoteEntry entry = SomeValue();
  entry.kind = RemoteEntryKind::kIntent;
  const std::string bytes = EncodeRemoteEntry(kKey, entry).substr(0, kPeekBytes);
  const auto peeked = PeekEntry(bytes);
  ASSERT_TRUE(peeked.has_value());
  EXPECT_EQ(peeked->kind, RemoteEntryKind::kIntent);
  EXPECT_EQ(peeked->stamp, entry.stamp);
  EXPECT_FALSE(PeekEntry(bytes.substr(0, kPeekBytes - 1)).has_value());
  EXPECT_FALSE(PeekEntry("").has_value());
}

TEST(RemoteHeadTest, IsWhatAnEntryBeginsWith) {
  const RemoteEntry entry = SomeValue();
  const std::string head = EntryHead(entry.stamp);
  EXPECT_EQ(head.size(), kHeadBytes);
  EXPECT_TRUE(EncodeRemoteEntry(kKey, entry).starts_with(head));
  EXPECT_EQ(ParseHead(head), entry.stamp);
  EXPECT_FALSE(ParseHead(head.substr(1)).has_value());
  EXPECT_FALSE(ParseHead(head.substr(0, kHeadBytes - 1)).has_value());
  EXPECT_FALSE(LooksLikeOurs(""));
  EXPECT_FALSE(LooksLikeOurs("a value that another program wrote"));
}

TEST(StampSourceTest, MakesEachStampOnce) {
  StampSource stamps(9);
  const Stamp first = stamps.Next();
  EXPECT_EQ(first, (Stamp{9, 1}));
  EXPECT_EQ(stamps.Next(), (Stamp{9, 2}));
}

}  // namespace
}  // namespace larder::internal
