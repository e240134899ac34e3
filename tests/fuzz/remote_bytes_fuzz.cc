// SPDX-License-Identifier: Apache-2.0
//
// What a shared tier may hold: entries, the control block, tag records. An input is a byte that
// says which, and whether the checksum is put right; a length and a key or tag; the value, without
// its checksum where that is put right.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "larder/internal/remote_control.h"
#include "larder/internal/remote_entry.h"
#include "larder/internal/remote_seal.h"
#include "tests/fuzz/fuzz_target.h"

namespace larder::fuzz {
namespace {

using namespace larder::internal;  // NOLINT

constexpr std::string_view kSchema = "s";
constexpr size_t kChecksumBytes = 4;

// The lower two bits of an input's first byte; 3 as 2.
enum What : uint8_t { kEntry = 0, kControl = 1, kTag = 2 };
// Its third bit.
constexpr uint8_t kAsItIs = 4;

void CheckStatus(const absl::Status& status, std::string_view value) {
  FUZZ_CHECK(absl::IsDataLoss(status) || absl::IsUnimplemented(status) ||
             absl::IsFailedPrecondition(status));
  if (!LooksLikeOurs(value)) FUZZ_CHECK(absl::IsDataLoss(status));
}

// What can be decoded is what would be encoded, to the byte, and is nothing for another key.
void CheckEntry(std::string_view key, std::string_view value) {
  const absl::StatusOr<RemoteEntry> entry = DecodeRemoteEntry(key, kSchema, value);
  if (!entry.ok()) return CheckStatus(entry.status(), value);
  FUZZ_CHECK(EncodeRemoteEntry(key, *entry) == value);
  FUZZ_CHECK(!DecodeRemoteEntry(std::string(key) + "x", kSchema, value).ok());
  const std::optional<PeekedEntry> peeked = PeekEntry(value.substr(0, kPeekBytes));
  FUZZ_CHECK(peeked.has_value());
  FUZZ_CHECK(peeked->kind == entry->kind && peeked->stamp == entry->stamp);
  FUZZ_CHECK(value.starts_with(EntryHead(entry->stamp)));
}

void CheckSame(const ControlBlock& block) {
  const absl::StatusOr<ControlBlock> decoded = ControlBlock::Decode(block.Encode());
  FUZZ_CHECK(decoded.ok() && *decoded == block);
}

void CheckControl(std::string_view key, std::string_view value) {
  const absl::StatusOr<ControlBlock> block = ControlBlock::Decode(value);
  if (!block.ok()) return CheckStatus(block.status(), value);
  FUZZ_CHECK(block->Encode() == value);
  FUZZ_CHECK(value.starts_with(EntryHead(block->stamp())));
  const uint64_t generation = block->generation();
  for (const uint64_t clock : {uint64_t{0}, block->clock() / 2, block->clock()}) {
    const std::vector<std::string> newer = block->PrefixesSince(clock);
    const bool has_one = std::any_of(newer.begin(), newer.end(), [key](const std::string& prefix) {
      return key.starts_with(prefix);
    });
    FUZZ_CHECK(block->Covers(key, generation, clock) == !has_one);
    FUZZ_CHECK(!block->Covers(key, generation + 1, clock));
  }
  const Stamp stamp = {1, 2};
  const ControlBlock prefixed = block->WithPrefix(stamp, key, generation + 1);
  FUZZ_CHECK(!prefixed.Covers(key, generation, block->clock()));
  if (prefixed.clock() > uint64_t{1} << 62) return;  // the last one
  CheckSame(prefixed);
  CheckSame(block->WithTick(stamp));
  CheckSame(block->Renewed(stamp, generation + 1, key));
}

void CheckTag(std::string_view tag, std::string_view value) {
  const absl::StatusOr<RemoteTagRecord> record = DecodeTagRecord(tag, value);
  if (!record.ok()) return CheckStatus(record.status(), value);
  const std::optional<Stamp> stamp = ParseHead(value);
  FUZZ_CHECK(stamp.has_value());
  FUZZ_CHECK(EncodeTagRecord(tag, *stamp, *record) == value);
  FUZZ_CHECK(!DecodeTagRecord(std::string(tag) + "x", value).ok());
}

// No checksum is looked at here: whatever is said, it is said without reading past the end.
void CheckHeads(std::string_view value) {
  for (size_t size = 0; size <= std::min<size_t>(value.size(), kPeekBytes + 1); ++size) {
    const std::string exact(value.substr(0, size));
    const std::optional<Stamp> stamp = ParseHead(exact);
    const std::optional<PeekedEntry> peeked = PeekEntry(exact);
    FUZZ_CHECK(stamp.has_value() == (LooksLikeOurs(exact) && size >= kHeadBytes));
    FUZZ_CHECK(!peeked.has_value() || (size >= kPeekBytes && peeked->stamp == *stamp));
  }
}

std::string Input(uint8_t what, std::string_view key, std::string value) {
  if ((what & kAsItIs) == 0) value.resize(value.size() - kChecksumBytes);
  std::string input(1, static_cast<char>(what));
  input.push_back(static_cast<char>(key.size()));
  input += key;
  return input + value;
}

}  // namespace

std::vector<std::string> Seeds() {
  RemoteEntry value;
  value.stamp = {0x0123456789abcdef, 77};
  value.generation = 5;
  value.clock = 3;
  value.stored_at = absl::FromUnixSeconds(1'700'000'000);
  value.schema = kSchema;
  value.payload = "payload";
  RemoteEntry tagged = value;
  tagged.tags = {"red", "blue"};
  tagged.fresh_until = value.stored_at + absl::Hours(1);
  RemoteEntry other = value;
  other.schema = "u64";
  RemoteEntry intent;
  intent.kind = RemoteEntryKind::kIntent;
  RemoteEntry negative = value;
  negative.kind = RemoteEntryKind::kNegative;

  const ControlBlock block = ControlBlock::New({1, 1}, 5, "server");
  const ControlBlock with_prefixes =
      block.WithPrefix({1, 2}, "ke", 6).WithTick({1, 3}).WithPrefix({1, 4}, "z", 6);

  std::string newer = EncodeRemoteEntry("key", value);
  newer[3] = 2;
  return {
      Input(kEntry, "key", EncodeRemoteEntry("key", value)),
      Input(kEntry, "key", EncodeRemoteEntry("key", tagged)),
      Input(kEntry, "key", EncodeRemoteEntry("key", other)),
      Input(kEntry, "", EncodeRemoteEntry("", intent)),
      Input(kEntry, "key", EncodeRemoteEntry("key", negative)),
      Input(kEntry, "key", newer),
      Input(kEntry | kAsItIs, "key", EncodeRemoteEntry("key", tagged)),
      Input(kControl, "key", block.Encode()),
      Input(kControl, "key", with_prefixes.Encode()),
      Input(kControl, "key", with_prefixes.Renewed({1, 5}, 6, "").Encode()),
      Input(kControl | kAsItIs, "key", with_prefixes.Encode()),
      Input(kTag, "red", EncodeTagRecord("red", {1, 1}, {5, 3})),
      Input(kTag | kAsItIs, "red", EncodeTagRecord("red", {1, 1}, {5, 3})),
  };
}

}  // namespace larder::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace larder::fuzz;      // NOLINT
  using namespace larder::internal;  // NOLINT
  if (size < 2) return 0;
  const uint8_t what = data[0];
  std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::string key(rest.substr(0, data[1]));
  rest.remove_prefix(key.size());
  std::string value(rest);
  if ((what & kAsItIs) == 0) {
    Seal((what & 3) == kEntry     ? key
         : (what & 3) == kControl ? std::string(kControlKey)
                                  : TagKey(key),
         &value);
  }
  CheckHeads(value);
  if ((what & 3) == kEntry) {
    CheckEntry(key, value);
  } else if ((what & 3) == kControl) {
    CheckControl(key, value);
  } else {
    CheckTag(key, value);
  }
  return 0;
}
