// SPDX-License-Identifier: Apache-2.0
//
// SnapshotWriter, SnapshotReader: entries of a cache as a record file; docs/formats.md has every
// byte. Knows of keys and values only their bytes.

#ifndef LARDER_INTERNAL_SNAPSHOT_FORMAT_H_
#define LARDER_INTERNAL_SNAPSHOT_FORMAT_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "larder/internal/node.h"
#include "larder/internal/record_io.h"

namespace larder::internal {

inline constexpr uint32_t kSnapshotVersion = 1;

// What a snapshot says once.
struct SnapshotHead {
  int64_t saved_at = 0;  // ns since 1970 UTC: the moment that its entries' times are counted from
  std::string key_schema;
  std::string value_schema;
  std::string policy;  // its kName
};

// What an entry's NodeTerms hold, but for what SnapshotEntry says. Times as there.
struct SnapshotTerms {
  int64_t age = 0;              // since it was written
  int64_t kept_for = 0;         // past its expiry
  int64_t refresh_in = kNever;  // 0: it was due
  uint32_t load_micros = 0;
  std::vector<std::string_view> tags = {};
};

// What a snapshot says of an entry. Times in ns, counted from when the snapshot was saved; kNever:
// never, or without end.
struct SnapshotEntry {
  std::string_view key;
  std::string_view value;

  uint64_t rank = 0;      // entries of higher ranks are to be evicted later
  uint32_t standing = 0;  // what else the policy knows of it; see policy.h

  int64_t ttl_left = kNever;   // until which an access can't prolong it any further
  int64_t idle_ttl = kNever;   // the option
  int64_t idle_left = kNever;  // of that, where there is one
  std::optional<uint64_t> weight = std::nullopt;  // none: what a cache gives it by itself

  std::optional<SnapshotTerms> terms = std::nullopt;
};

// Makes a snapshot's bytes. Not thread-safe.
class SnapshotWriter {
 public:
  // `salt`: random; see RecordWriter.
  SnapshotWriter(const SnapshotHead& head, uint64_t salt);

  // ResourceExhausted for an entry that is larger than a record may be; then the snapshot can't be
  // finished.
  absl::Status Add(const SnapshotEntry& entry);
  // To be called once, after all entries.
  void Finish();

  // What was made since it was last taken; grows by a block at a time.
  std::string& bytes() { return bytes_; }

  uint64_t entries() const { return entries_; }
  uint64_t size() const { return records_.size(); }

 private:
  void EndBlock();

  RecordWriter records_;
  std::string block_;  // of entries that aren't a record yet
  std::string bytes_;
  uint64_t entries_ = 0;
};

// Reads what SnapshotWriter made. Not thread-safe; a copy goes on by itself.
class SnapshotReader {
 public:
  // Of no entries.
  SnapshotReader() = default;

  // Looks at every byte of `file`, which must outlive this and what it gives. DataLoss where it
  // isn't a whole snapshot, or anything in it is damaged; Unimplemented for a newer version.
  static absl::StatusOr<SnapshotReader> Open(std::string_view file);

  const SnapshotHead& head() const { return head_; }
  uint64_t entries() const { return entries_; }

  // Reads the next entry; false where there is none, or what is there isn't one: see status().
  bool Next(SnapshotEntry* entry);
  // Where the entry that was read begins: for ReadAt.
  uint64_t position() const { return position_; }
  // DataLoss once Next has met what no writer makes, or another number of entries than was said.
  const absl::Status& status() const { return status_; }

  // Reads an entry again that Next has read.
  void ReadAt(uint64_t position, SnapshotEntry* entry) const;
  // Starts to fetch it.
  void Prefetch(uint64_t position) const;

 private:
  absl::Status ReadRecords(RecordReader& records);
  absl::Status ReadHead(std::string_view record);

  std::string_view file_;
  SnapshotHead head_;
  uint64_t entries_ = 0;
  std::vector<std::string_view> blocks_;  // of entries
  size_t next_block_ = 0;
  std::string_view block_;  // what is left of the one that is being read
  uint64_t entries_read_ = 0;
  uint64_t position_ = 0;
  absl::Status status_;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_SNAPSHOT_FORMAT_H_
