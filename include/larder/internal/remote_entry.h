// SPDX-License-Identifier: Apache-2.0
//
// RemoteEntry: what a shared tier holds for a key, as bytes; docs/formats.md has every one. Knows
// of keys and values only their bytes.

#ifndef LARDER_INTERNAL_REMOTE_ENTRY_H_
#define LARDER_INTERNAL_REMOTE_ENTRY_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "larder/internal/remote_head.h"

namespace larder::internal {

enum class RemoteEntryKind : uint8_t {
  kValue = 1,
  kNegative = 2,  // the store has no such entry
  kLease = 3,     // somebody is loading it
  kIntent = 4,    // somebody is writing it
};

struct RemoteEntry {
  RemoteEntryKind kind = RemoteEntryKind::kValue;
  Stamp stamp;

  // The control block's, as they were before the load or write that the entry comes from began.
  uint64_t generation = 0;
  uint64_t clock = 0;

  // By the tier's clock, in whole milliseconds: what is written is rounded towards the past. May be
  // infinite.
  absl::Time stored_at = absl::InfinitePast();
  absl::Time fresh_until = absl::InfiniteFuture();

  // What the payload is: a text; empty for entries without one.
  std::string_view schema = {};
  std::vector<std::string_view> tags = {};
  std::string_view payload = {};
};

// `key` is not in the bytes, but they are only valid for it.
std::string EncodeRemoteEntry(std::string_view key, const RemoteEntry& entry);

// The entry refers to `bytes`. It was written for `key`, and with `schema` if it is a value;
// otherwise:
//   FailedPrecondition  a value of another schema; says which
//   Unimplemented       larder wrote it, but a version that isn't known here
//   DataLoss            anything else: damaged, of another key, or not larder's
absl::StatusOr<RemoteEntry> DecodeRemoteEntry(std::string_view key, std::string_view schema,
                                              std::string_view bytes);

// As many bytes as PeekEntry needs: the head, and what kind of entry it is.
inline constexpr size_t kPeekBytes = 24;

// What can be said of an entry by its first kPeekBytes.
struct PeekedEntry {
  RemoteEntryKind kind;
  Stamp stamp;
};

// nullopt for what is no entry of a version that is known here. No checksum is looked at: good for
// what does no harm where it is wrong.
std::optional<PeekedEntry> PeekEntry(std::string_view bytes);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_ENTRY_H_
