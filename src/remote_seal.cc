// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/remote_seal.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "larder/internal/bytes.h"
#include "src/crc32c.h"

namespace larder::internal {
namespace {

constexpr size_t kChecksumBytes = 4;

// The key's length comes first: a byte at its end can't be taken for one at the value's start.
uint32_t Checksum(std::string_view key, std::string_view bytes) {
  char size[sizeof(uint64_t)];
  StoreFixed(uint64_t{key.size()}, size);
  return ExtendCrc32c(ExtendCrc32c(ExtendCrc32c(0, {size, sizeof(size)}), key), bytes);
}

}  // namespace

std::string EncodeRemoteStart(const RemoteStart& start) {
  std::string bytes = EntryHead(start.stamp);
  AppendFixed(start.kind, &bytes);
  AppendFixed(start.flags, &bytes);
  AppendFixed(uint16_t{0}, &bytes);
  return bytes;
}

std::optional<RemoteStart> DecodeRemoteStart(std::string_view bytes) {
  const std::optional<Stamp> stamp = ParseHead(bytes);
  if (!stamp.has_value() || bytes[kRemoteMark.size()] != kRemoteVersion) return std::nullopt;
  ByteReader reader(bytes.substr(kHeadBytes));
  RemoteStart start;
  start.stamp = *stamp;
  start.kind = reader.Fixed<uint8_t>();
  start.flags = reader.Fixed<uint8_t>();
  const auto unused = reader.Fixed<uint16_t>();
  if (!reader.ok() || unused != 0) return std::nullopt;
  return start;
}

void Seal(std::string_view key, std::string* bytes) { AppendFixed(Checksum(key, *bytes), bytes); }

absl::StatusOr<Unsealed> Unseal(std::string_view key, std::string_view bytes) {
  if (!LooksLikeOurs(bytes)) return absl::DataLossError("larder didn't write this value");
  if (bytes.size() > kRemoteMark.size() && bytes[kRemoteMark.size()] != kRemoteVersion) {
    return absl::UnimplementedError(
        absl::StrCat("a value of version ", static_cast<unsigned char>(bytes[kRemoteMark.size()])));
  }
  if (bytes.size() < kRemoteStartBytes + kChecksumBytes) {
    return absl::DataLossError("a value that was cut short");
  }
  const std::string_view checked = bytes.substr(0, bytes.size() - kChecksumBytes);
  if (Checksum(key, checked) != LoadFixed<uint32_t>(bytes.data() + checked.size())) {
    return absl::DataLossError("a value that is damaged, or another key's");
  }
  const std::optional<RemoteStart> start = DecodeRemoteStart(checked);
  if (!start.has_value()) return absl::DataLossError("a value that no larder writes");
  return Unsealed{*start, checked.substr(kRemoteStartBytes)};
}

}  // namespace larder::internal
