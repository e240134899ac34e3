// SPDX-License-Identifier: Apache-2.0
//
// Record files: records of bytes, one after the other, each with its length and checksums.
// Journals, dead-letter files and snapshots are such files; docs/formats.md has every byte.

#ifndef LARDER_INTERNAL_RECORD_IO_H_
#define LARDER_INTERNAL_RECORD_IO_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace larder::internal {

// What a file holds; four characters, written into its header.
enum class RecordFileKind : uint32_t {
  kJournal = 0x4c4e524a,      // "JRNL"
  kDeadLetters = 0x44414544,  // "DEAD"
  kSnapshot = 0x50414e53,     // "SNAP"
};

inline constexpr size_t kRecordFileHeaderBytes = 24;
inline constexpr size_t kRecordFrameBytes = 12;             // before each record
inline constexpr size_t kMaxRecordBytes = size_t{1} << 30;  // of a record

// Makes the bytes of a record file: its header, then one frame for each record. Checksums include a
// random number that is the file's own, and the record's place in it, so that no record can be
// taken for one of another file, nor bytes inside a record's value for a record.
//
// Not thread-safe. A copy continues from where the original was: for bytes that may not reach the
// file.
class RecordWriter {
 public:
  // `salt` is to be random: no two files should have the same.
  RecordWriter(RecordFileKind kind, uint32_t version, uint64_t salt);

  // The file's first bytes.
  std::string Header() const;

  // Appends a record's frame and the record itself to `out`. Requires: at most kMaxRecordBytes.
  void Add(std::string_view record, std::string* out);

  // How many bytes were made so far, the header included: the file's length once all are written.
  uint64_t size() const { return size_; }

 private:
  uint64_t salt_;
  uint64_t size_;
  RecordFileKind kind_;
  uint32_t version_;
};

// Reads what RecordWriter made, whatever has become of it since.
class RecordReader {
 public:
  // `file` must outlive this and what Next returns. DataLoss where it has no intact header of this
  // kind; Unimplemented for a version that is newer than `newest_version`.
  static absl::StatusOr<RecordReader> Open(RecordFileKind kind, uint32_t newest_version,
                                           std::string_view file);

  // The next intact record; nullopt where there is none left. What is damaged is passed over: a
  // record whose length is intact by that, anything else by a search for the next intact one.
  std::optional<std::string_view> Next();

  uint32_t version() const { return version_; }

  // Bytes passed over so far that weren't intact and came before an intact record.
  uint64_t damaged_bytes() const { return damaged_bytes_; }
  // Bytes after the last intact record, once Next has returned nullopt: what a write that wasn't
  // finished leaves, or damage to the last records.
  uint64_t torn_bytes() const { return file_.size() - intact_end_; }

 private:
  RecordReader() = default;

  // The length of the record whose frame is at `offset`; nullopt where no intact one is, or where
  // the record would end after the file.
  std::optional<uint32_t> IntactLength(size_t offset) const;

  std::string_view file_;
  uint64_t salt_ = 0;
  size_t position_ = kRecordFileHeaderBytes;    // where the next frame is looked for
  size_t intact_end_ = kRecordFileHeaderBytes;  // of the last intact record, or of the header
  uint64_t damaged_bytes_ = 0;
  uint32_t version_ = 0;
};

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_RECORD_IO_H_
