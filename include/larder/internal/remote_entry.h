// SPDX-License-Identifier: Apache-2.0
//
// RemoteEntry: what a shared tier holds for a key, as bytes; docs/formats.md has every one. Knows
// of keys and values only their bytes.

#ifndef LARDER_INTERNAL_REMOTE_ENTRY_H_
#define LARDER_INTERNAL_REMOTE_ENTRY_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace larder::internal {

// --- Keys

// Keys that begin with this are larder's own, not entries.
inline constexpr std::string_view kReservedKeys = "larder.";

inline bool IsReservedKey(std::string_view key) { return key.starts_with(kReservedKeys); }

// --- What all values in the tier begin with

// Names one change of one key: no two changes of a tier have the same.
struct Stamp {
  uint64_t writer = 0;    // random, of one cache in one process
  uint64_t sequence = 0;  // of that writer's changes

  friend bool operator==(const Stamp&, const Stamp&) = default;
};

// Makes stamps. Thread-safe.
class StampSource {
 public:
  // `writer`: RandomBits().
  explicit StampSource(uint64_t writer) : writer_(writer) {}

  Stamp Next() { return {writer_, 1 + last_.fetch_add(1, std::memory_order_relaxed)}; }
  uint64_t writer() const { return writer_; }

 private:
  const uint64_t writer_;
  std::atomic<uint64_t> last_{0};
};

// What a change is found by: a mark, a version and the stamp. To be compared as a whole.
inline constexpr size_t kHeadBytes = 20;
// The head, and what kind of value it is: what PeekEntry needs.
inline constexpr size_t kPeekBytes = 24;

// The head of what this version writes; kHeadBytes long.
std::string EntryHead(Stamp stamp);

// Whether larder wrote this, of whatever version. A text in UTF-8, JSON and MessagePack never look
// like that.
bool LooksLikeOurs(std::string_view bytes);

// The stamp of a value that begins with `bytes`, of whatever version; nullopt where larder didn't
// write it, or there are less than kHeadBytes.
std::optional<Stamp> ParseHead(std::string_view bytes);

// --- Entries

enum class RemoteEntryKind : uint8_t {
  kValue = 1,
  kNegative = 2,  // the store has no such entry
  kLease = 3,     // somebody is loading it
  kIntent = 4,    // somebody is writing it
};

struct RemoteEntry {
  RemoteEntryKind kind = RemoteEntryKind::kValue;
  Stamp stamp;
  // Of an intent: several are writing the key, and nobody knows who was last.
  bool contended = false;

  // The control block's, as they were before the load or write that the entry comes from began.
  uint64_t generation = 0;
  uint64_t clock = 0;

  // By the tier's clock, in whole milliseconds: what is written is rounded towards the past. May be
  // infinite.
  absl::Time stored_at = absl::InfinitePast();
  absl::Time fresh_until = absl::InfiniteFuture();

  // What the payload is: a text; empty for entries without one.
  std::string_view schema;
  std::vector<std::string_view> tags;
  std::string_view payload;
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

// What can be said of an entry by its first kPeekBytes.
struct PeekedEntry {
  RemoteEntryKind kind;
  Stamp stamp;
  bool contended;
};

// nullopt for what is no entry of a version that is known here. No checksum is looked at: good for
// what does no harm where it is wrong.
std::optional<PeekedEntry> PeekEntry(std::string_view bytes);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_ENTRY_H_
