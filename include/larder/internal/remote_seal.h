// SPDX-License-Identifier: Apache-2.0
//
// What all of larder's values in a shared tier begin and end with; see docs/formats.md.

#ifndef LARDER_INTERNAL_REMOTE_SEAL_H_
#define LARDER_INTERNAL_REMOTE_SEAL_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "larder/internal/remote_head.h"

namespace larder::internal {

inline constexpr std::string_view kRemoteMark = "\xc1LR";
inline constexpr char kRemoteVersion = 1;
// Before what the kind says.
inline constexpr size_t kRemoteStartBytes = 24;

// Kinds that are no entries'.
inline constexpr uint8_t kControlKind = 5;
inline constexpr uint8_t kTagKind = 6;

struct RemoteStart {
  Stamp stamp;
  uint8_t kind = 0;
  uint8_t flags = 0;
};

// kRemoteStartBytes bytes.
std::string EncodeRemoteStart(const RemoteStart& start);
// Of this version; nullopt for other ones, and for less bytes. Doesn't look at the checksum.
std::optional<RemoteStart> DecodeRemoteStart(std::string_view bytes);

// Appends the checksum of a value of `key`.
void Seal(std::string_view key, std::string* bytes);

struct Unsealed {
  RemoteStart start;
  std::string_view rest;  // what the kind says
};

// Of a value of `key` with the right checksum; Unimplemented for another version, DataLoss for
// anything else.
absl::StatusOr<Unsealed> Unseal(std::string_view key, std::string_view bytes);

}  // namespace larder::internal

#endif  // LARDER_INTERNAL_REMOTE_SEAL_H_
