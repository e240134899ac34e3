// SPDX-License-Identifier: Apache-2.0
//
// ControlBlock, RemoteTagRecord: what servers that share a tier agree on beside its entries, as
// bytes too; docs/formats.md has every one.

#ifndef LARDER_INTERNAL_REMOTE_CONTROL_H_
#define LARDER_INTERNAL_REMOTE_CONTROL_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/internal/remote_head.h"

namespace larder::internal {

// Where the control block is in the tier.
inline constexpr std::string_view kControlKey = "larder.control";
// Where a tag's record is: this, and the tag.
inline constexpr std::string_view kTagKeys = "larder.tag.";

std::string TagKey(std::string_view tag);
// Refers to `key`; nullopt for keys that aren't a tag's.
std::optional<std::string_view> TagOfKey(std::string_view key);

// Says which entries of a tier count. An entry is made under a generation, at a clock; it counts
// while the generation is the same and nothing that it belongs to was invalidated at a later clock.
//
// A value: what changes it makes another one, with the stamp that it is given. Thread-compatible.
class ControlBlock {
 public:
  // One more prefix begins a new generation.
  static constexpr size_t kMaxPrefixes = 4096;

  ControlBlock() = default;

  // A tier of which nothing counts so far. `generation`: RandomBits(). `incarnation`: of the server
  // that holds it, as Subscription::incarnation() has it.
  static ControlBlock New(Stamp stamp, uint64_t generation, std::string_view incarnation);

  // --- The same, changed

  // At the next clock.
  ControlBlock WithTick(Stamp stamp) const;

  // At the next clock, and what was made before that doesn't count if its key begins with `prefix`
  // (which may be empty). `spare_generation` is begun where there are too many prefixes.
  // O(prefixes).
  ControlBlock WithPrefix(Stamp stamp, std::string_view prefix, uint64_t spare_generation) const;

  // Nothing that was made before counts. At the next clock, without prefixes.
  ControlBlock Renewed(Stamp stamp, uint64_t generation, std::string_view incarnation) const;

  // --- What counts

  // Whether an entry of `key` counts, but for its tags. O(1) where no prefix is newer than it, else
  // a look-up for each length that prefixes have.
  bool Covers(std::string_view key, uint64_t generation, uint64_t clock) const;

  // Prefixes that were invalidated since the clock `clock`, in no order. For two blocks of the same
  // generation only.
  std::vector<std::string> PrefixesSince(uint64_t clock) const;

  Stamp stamp() const { return stamp_; }
  uint64_t generation() const { return generation_; }
  uint64_t clock() const { return clock_; }
  const std::string& incarnation() const { return incarnation_; }
  size_t prefixes() const { return prefixes_.size(); }

  // --- As bytes

  // They begin with EntryHead(stamp()).
  std::string Encode() const;
  // DataLoss for what Encode can't have made; Unimplemented for a version that isn't known here.
  static absl::StatusOr<ControlBlock> Decode(std::string_view bytes);

  // That they say the same.
  friend bool operator==(const ControlBlock&, const ControlBlock&) = default;

 private:
  void AddPrefix(std::string_view prefix, uint64_t clock);

  Stamp stamp_;
  uint64_t generation_ = 0;
  uint64_t clock_ = 0;
  std::string incarnation_;
  absl::flat_hash_map<std::string, uint64_t> prefixes_;  // and the clock of each
  std::vector<size_t> lengths_;                          // that prefixes have, ascending, each once
  uint64_t newest_prefix_ = 0;                           // its clock
};

// Since when a tag's entries count.
struct RemoteTagRecord {
  uint64_t generation = 0;
  uint64_t clock = 0;

  // Whether an entry with the tag counts, as far as the tag goes.
  bool Covers(uint64_t entry_generation, uint64_t entry_clock) const {
    return generation == entry_generation && clock <= entry_clock;
  }

  friend bool operator==(const RemoteTagRecord&, const RemoteTagRecord&) = default;
};

// They begin with EntryHead(stamp), and are valid for this tag alone.
std::string EncodeTagRecord(std::string_view tag, Stamp stamp, const RemoteTagRecord& record);
// Errors as for a control block.
absl::StatusOr<RemoteTagRecord> DecodeTagRecord(std::string_view tag, std::string_view bytes);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_CONTROL_H_
