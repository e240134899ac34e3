// SPDX-License-Identifier: Apache-2.0
//
// Stamp, and the head that all of larder's values in a shared tier begin with; see docs/formats.md.

#ifndef LARDER_INTERNAL_REMOTE_HEAD_H_
#define LARDER_INTERNAL_REMOTE_HEAD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace larder::internal {

// Keys that begin with this are larder's own, not entries, ...
inline constexpr std::string_view kReservedKeys = "larder.";
// ... but for those that begin with this: the rest is an entry's key that would be one of those.
inline constexpr std::string_view kEscapedKeys = "larder.key.";

inline bool IsReservedKey(std::string_view key) {
  return key.starts_with(kReservedKeys) && !key.starts_with(kEscapedKeys);
}

// Where an entry is in the tier, and the key of the entry that is there.
inline std::string EscapedKey(std::string key) {
  return key.starts_with(kReservedKeys) ? std::string(kEscapedKeys) + key : key;
}
inline std::string_view UnescapedKey(std::string_view key) {
  return key.starts_with(kEscapedKeys) ? key.substr(kEscapedKeys.size()) : key;
}

// Names one operation on one key: no two of a tier have the same.
struct Stamp {
  uint64_t writer = 0;    // random, of one cache in one process
  uint64_t sequence = 0;  // of that writer's operations

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

// The head of what this version writes; kHeadBytes long.
std::string EntryHead(Stamp stamp);

// Whether larder wrote this, of whatever version. UTF-8 (so JSON) and MessagePack never look like
// that.
bool LooksLikeOurs(std::string_view bytes);

// The stamp of a value that begins with `bytes`, of whatever version; nullopt where larder didn't
// write it, or there are less than kHeadBytes.
std::optional<Stamp> ParseHead(std::string_view bytes);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_HEAD_H_
