// SPDX-License-Identifier: Apache-2.0
//
// A write as bytes, for journals and dead-letter files: see docs/formats.md.

#ifndef LARDER_INTERNAL_WRITE_PAYLOAD_H_
#define LARDER_INTERNAL_WRITE_PAYLOAD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "larder/codec.h"
#include "larder/internal/bytes.h"

namespace larder::internal {

enum class WriteKind : uint8_t { kPut = 1, kErase = 2 };

// Names the types of a cache's keys and values: bytes of other ones aren't decoded.
template <Codable K, Codable V>
std::string WriteSchema() {
  return absl::StrCat("write/1 ", SchemaOf<K>(), " -> ", SchemaOf<V>());
}

// `value`: nullptr for an erasure.
template <Codable K, Codable V>
absl::StatusOr<std::string> EncodeWrite(const K& key, const V* value) {
  std::string bytes;
  bytes.push_back(static_cast<char>(value == nullptr ? WriteKind::kErase : WriteKind::kPut));
  if (absl::Status status = EncodePart(key, &bytes); !status.ok()) return status;
  if (value != nullptr) {
    if (absl::Status status = Encode(*value, &bytes); !status.ok()) return status;
  }
  return bytes;
}

// DataLoss for what EncodeWrite can't have made.
template <Codable K, Codable V>
absl::StatusOr<std::pair<K, std::optional<V>>> DecodeWrite(std::string_view bytes) {
  ByteReader reader(bytes);
  const auto kind = static_cast<WriteKind>(reader.Fixed<uint8_t>());
  absl::StatusOr<K> key = DecodePart<K>(reader);
  if (!key.ok()) return key.status();
  const bool is_erasure = kind == WriteKind::kErase;
  if (!reader.ok() || (is_erasure ? !reader.Finished() : kind != WriteKind::kPut)) {
    return absl::DataLossError(absl::StrCat(bytes.size(), " bytes that are no write"));
  }
  if (is_erasure) return std::pair<K, std::optional<V>>(*std::move(key), std::nullopt);
  absl::StatusOr<V> value = Decode<V>(reader.rest());
  if (!value.ok()) return value.status();
  return std::pair<K, std::optional<V>>(*std::move(key), *std::move(value));
}

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_WRITE_PAYLOAD_H_
