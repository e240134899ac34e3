// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/remote_control.h"

#include <algorithm>
#include <utility>

#include "absl/strings/string_view.h"
#include "larder/internal/bytes.h"
#include "larder/internal/remote_seal.h"

namespace larder::internal {
namespace {

// Nobody counts that far, so that a clock never begins again.
constexpr uint64_t kLastClock = uint64_t{1} << 62;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

absl::Status Damaged(const char* what) { return absl::DataLossError(what); }

}  // namespace

std::string TagKey(std::string_view tag) {
  std::string key(kTagKeys);
  key.append(tag);
  return key;
}

std::optional<std::string_view> TagOfKey(std::string_view key) {
  if (!key.starts_with(kTagKeys)) return std::nullopt;
  return key.substr(kTagKeys.size());
}

// --- ControlBlock

ControlBlock ControlBlock::New(Stamp stamp, uint64_t generation, std::string_view incarnation) {
  return ControlBlock().Renewed(stamp, generation, incarnation);
}

ControlBlock ControlBlock::WithTick(Stamp stamp) const {
  ControlBlock next = *this;
  next.stamp_ = stamp;
  ++next.clock_;
  return next;
}

ControlBlock ControlBlock::WithPrefix(Stamp stamp, std::string_view prefix,
                                      uint64_t spare_generation) const {
  ControlBlock next;
  next.stamp_ = stamp;
  next.generation_ = generation_;
  next.clock_ = clock_ + 1;
  next.incarnation_ = incarnation_;
  // What the new prefix covers, it covers for all clocks until now.
  for (const auto& [other, clock] : prefixes_) {
    if (!std::string_view(other).starts_with(prefix)) next.AddPrefix(other, clock);
  }
  if (next.prefixes_.size() == kMaxPrefixes) {
    return Renewed(stamp, spare_generation, incarnation_);
  }
  next.AddPrefix(prefix, next.clock_);
  return next;
}

ControlBlock ControlBlock::Renewed(Stamp stamp, uint64_t generation,
                                   std::string_view incarnation) const {
  ControlBlock next;
  next.stamp_ = stamp;
  next.generation_ = generation;
  next.clock_ = clock_ + 1;
  next.incarnation_ = std::string(incarnation);
  return next;
}

void ControlBlock::AddPrefix(std::string_view prefix, uint64_t clock) {
  prefixes_.emplace(std::string(prefix), clock);
  const auto at = std::lower_bound(lengths_.begin(), lengths_.end(), prefix.size());
  if (at == lengths_.end() || *at != prefix.size()) lengths_.insert(at, prefix.size());
  newest_prefix_ = std::max(newest_prefix_, clock);
}

bool ControlBlock::Covers(std::string_view key, uint64_t generation, uint64_t clock) const {
  if (generation != generation_) return false;
  if (clock >= newest_prefix_) return true;
  for (const size_t length : lengths_) {
    if (length > key.size()) break;
    const auto prefix = prefixes_.find(View(key.substr(0, length)));
    if (prefix != prefixes_.end() && prefix->second > clock) return false;
  }
  return true;
}

std::vector<std::string> ControlBlock::PrefixesSince(uint64_t clock) const {
  std::vector<std::string> newer;
  if (clock >= newest_prefix_) return newer;
  for (const auto& [prefix, at] : prefixes_) {
    if (at > clock) newer.push_back(prefix);
  }
  return newer;
}

std::string ControlBlock::Encode() const {
  std::string bytes = EncodeRemoteStart({stamp_, kControlKind, 0});
  AppendFixed(generation_, &bytes);
  AppendFixed(clock_, &bytes);
  AppendString(incarnation_, &bytes);
  std::vector<std::pair<std::string_view, uint64_t>> sorted(prefixes_.begin(), prefixes_.end());
  std::sort(sorted.begin(), sorted.end());
  AppendVarint(sorted.size(), &bytes);
  for (const auto& [prefix, clock] : sorted) {
    AppendString(prefix, &bytes);
    AppendVarint(clock, &bytes);
  }
  Seal(kControlKey, &bytes);
  return bytes;
}

absl::StatusOr<ControlBlock> ControlBlock::Decode(std::string_view bytes) {
  const absl::StatusOr<Unsealed> unsealed = Unseal(kControlKey, bytes);
  if (!unsealed.ok()) return unsealed.status();
  if (unsealed->start.kind != kControlKind || unsealed->start.flags != 0) {
    return Damaged("no control block");
  }
  ControlBlock block;
  block.stamp_ = unsealed->start.stamp;
  ByteReader reader(unsealed->rest);
  block.generation_ = reader.Fixed<uint64_t>();
  block.clock_ = reader.Fixed<uint64_t>();
  if (block.clock_ > kLastClock) return Damaged("a control block of a clock that none has");
  block.incarnation_ = std::string(reader.String());
  const uint64_t prefixes = reader.Varint();
  if (prefixes > kMaxPrefixes) return Damaged("a control block with too many prefixes");
  std::string_view last;
  for (uint64_t i = 0; i < prefixes && reader.ok(); ++i) {
    const std::string_view prefix = reader.String();
    const uint64_t clock = reader.Varint();
    if (clock > block.clock_ || (i > 0 && prefix <= last)) {
      return Damaged("a control block with prefixes that no larder writes");
    }
    block.AddPrefix(prefix, clock);
    last = prefix;
  }
  if (!reader.Finished()) return Damaged("a control block that no larder writes");
  return block;
}

// --- Tag records

std::string EncodeTagRecord(std::string_view tag, Stamp stamp, const RemoteTagRecord& record) {
  std::string bytes = EncodeRemoteStart({stamp, kTagKind, 0});
  AppendFixed(record.generation, &bytes);
  AppendFixed(record.clock, &bytes);
  Seal(TagKey(tag), &bytes);
  return bytes;
}

absl::StatusOr<RemoteTagRecord> DecodeTagRecord(std::string_view tag, std::string_view bytes) {
  const absl::StatusOr<Unsealed> unsealed = Unseal(TagKey(tag), bytes);
  if (!unsealed.ok()) return unsealed.status();
  if (unsealed->start.kind != kTagKind || unsealed->start.flags != 0) {
    return Damaged("no tag record");
  }
  ByteReader reader(unsealed->rest);
  RemoteTagRecord record;
  record.generation = reader.Fixed<uint64_t>();
  record.clock = reader.Fixed<uint64_t>();
  if (!reader.Finished()) return Damaged("a tag record that no larder writes");
  return record;
}

}  // namespace larder::internal
