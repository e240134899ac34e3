// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/remote_entry.h"

#include <limits>
#include <utility>

#include "larder/internal/bytes.h"
#include "larder/internal/remote_seal.h"
#include "src/text.h"

namespace larder::internal {
namespace {

constexpr int64_t kNeverMillis = std::numeric_limits<int64_t>::max();
constexpr int64_t kLongAgoMillis = std::numeric_limits<int64_t>::min();

// Fixed fields and their lengths: what a buffer begins with room for.
constexpr size_t kFixedBytes = kRemoteStartBytes + 4 * sizeof(uint64_t) + 2 + sizeof(uint32_t);

// Infinite times are the numbers' ends; absl rounds towards the past.
void AppendTime(absl::Time time, std::string* out) {
  AppendFixed(static_cast<uint64_t>(absl::ToUnixMillis(time)), out);
}

absl::Time ReadTime(ByteReader& reader) {
  const auto millis = static_cast<int64_t>(reader.Fixed<uint64_t>());
  if (millis == kNeverMillis) return absl::InfiniteFuture();
  if (millis == kLongAgoMillis) return absl::InfinitePast();
  return absl::FromUnixMillis(millis);
}

std::optional<PeekedEntry> EntryOfStart(const RemoteStart& start) {
  const auto kind = static_cast<RemoteEntryKind>(start.kind);
  if (kind < RemoteEntryKind::kValue || kind > RemoteEntryKind::kIntent) return std::nullopt;
  if (start.flags != 0) return std::nullopt;
  return PeekedEntry{kind, start.stamp};
}

absl::Status Damaged() { return absl::DataLossError("an entry that no larder writes"); }

}  // namespace

std::string EncodeRemoteEntry(std::string_view key, const RemoteEntry& entry) {
  std::string bytes =
      EncodeRemoteStart({entry.stamp, static_cast<uint8_t>(entry.kind), /*flags=*/0});
  size_t tag_bytes = 0;
  for (const std::string_view tag : entry.tags) tag_bytes += 2 + tag.size();
  bytes.reserve(kFixedBytes + entry.schema.size() + tag_bytes + entry.payload.size());
  AppendFixed(entry.generation, &bytes);
  AppendFixed(entry.clock, &bytes);
  AppendTime(entry.stored_at, &bytes);
  AppendTime(entry.fresh_until, &bytes);
  AppendString(entry.schema, &bytes);
  AppendVarint(entry.tags.size(), &bytes);
  for (const std::string_view tag : entry.tags) AppendString(tag, &bytes);
  if (entry.kind == RemoteEntryKind::kValue) bytes.append(entry.payload);
  Seal(key, &bytes);
  return bytes;
}

absl::StatusOr<RemoteEntry> DecodeRemoteEntry(std::string_view key, std::string_view schema,
                                              std::string_view bytes) {
  const absl::StatusOr<Unsealed> unsealed = Unseal(key, bytes);
  if (!unsealed.ok()) return unsealed.status();
  const std::optional<PeekedEntry> start = EntryOfStart(unsealed->start);
  if (!start.has_value()) return Damaged();
  RemoteEntry entry;
  entry.kind = start->kind;
  entry.stamp = start->stamp;
  ByteReader reader(unsealed->rest);
  entry.generation = reader.Fixed<uint64_t>();
  entry.clock = reader.Fixed<uint64_t>();
  entry.stored_at = ReadTime(reader);
  entry.fresh_until = ReadTime(reader);
  entry.schema = reader.String();
  for (uint64_t tags = reader.Varint(); tags > 0 && reader.ok(); --tags) {
    entry.tags.push_back(reader.String());
  }
  entry.payload = reader.rest();
  const bool is_value = entry.kind == RemoteEntryKind::kValue;
  if (!reader.ok() || (!is_value && !entry.payload.empty())) return Damaged();
  if (is_value && entry.schema != schema) {
    return absl::FailedPreconditionError(
        Concat("a value of ", entry.schema, ", where ", schema, " is expected"));
  }
  return entry;
}

std::optional<PeekedEntry> PeekEntry(std::string_view bytes) {
  const std::optional<RemoteStart> start = DecodeRemoteStart(bytes.substr(0, kPeekBytes));
  if (!start.has_value()) return std::nullopt;
  return EntryOfStart(*start);
}

}  // namespace larder::internal
