// SPDX-License-Identifier: Apache-2.0
//
// DeadLetter: a write that will not reach its store.

#ifndef LARDER_DEAD_LETTER_H_
#define LARDER_DEAD_LETTER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "larder/codec.h"
#include "larder/file_system.h"
#include "larder/internal/dead_letter_file.h"
#include "larder/internal/write_payload.h"
#include "larder/write_id.h"

namespace larder {

// A write that was acknowledged, and then failed for good: the store refuses it, or the cache ended
// before the store could be reached.
template <class K, class V>
struct DeadLetter {
  K key;
  std::optional<V> value;  // nullopt: the key was to be erased
  WriteId id;
  absl::Status reason;
  int attempts = 0;  // 0: it was never tried
};

// What was written to dead-letter files, in that order; `path` as in
// WriteBehindOptions::dead_letter_path. The files, PATH.1, PATH.2, ..., may be removed once they
// are dealt with and no cache uses them; none is no error.
//
// Bytes that aren't intact, a last letter that was cut short among them, are added up in
// `damaged_bytes`; without that they are DataLoss. FailedPrecondition where a file was written with
// other codecs, naming them; what a Codec says of a letter that it can't decode; those of the file
// system.
template <Codable K, Codable V>
absl::StatusOr<std::vector<DeadLetter<K, V>>> ReadDeadLetters(
    const std::string& path, FileSystem& files = FileSystem::Default(),
    uint64_t* damaged_bytes = nullptr) {
  uint64_t damaged = 0;
  absl::StatusOr<std::vector<internal::DeadLetterRecord>> records =
      internal::ReadDeadLetterFiles(path, internal::WriteSchema<K, V>(), files, &damaged);
  if (!records.ok()) return records.status();
  if (damaged_bytes != nullptr) {
    *damaged_bytes = damaged;
  } else if (damaged > 0) {
    return absl::DataLossError(absl::StrCat(path, ": ", damaged, " bytes are damaged"));
  }
  std::vector<DeadLetter<K, V>> letters;
  letters.reserve(records->size());
  for (const internal::DeadLetterRecord& record : *records) {
    absl::StatusOr<std::pair<K, std::optional<V>>> write =
        internal::DecodeWrite<K, V>(record.payload);
    if (!write.ok()) {
      return absl::Status(write.status().code(),
                          absl::StrCat(path, ": letter of write ", record.id.sequence, ": ",
                                       write.status().message()));
    }
    letters.push_back({.key = std::move(write->first),
                       .value = std::move(write->second),
                       .id = record.id,
                       .reason = record.reason,
                       .attempts = record.attempts});
  }
  return letters;
}

}  // namespace larder

#endif  // LARDER_DEAD_LETTER_H_
