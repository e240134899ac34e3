// SPDX-License-Identifier: Apache-2.0

#include "larder/internal/remote_head.h"

#include "larder/internal/bytes.h"
#include "larder/internal/remote_seal.h"

namespace larder::internal {

std::string EntryHead(Stamp stamp) {
  std::string head(kRemoteMark);
  head.push_back(kRemoteVersion);
  AppendFixed(stamp.writer, &head);
  AppendFixed(stamp.sequence, &head);
  return head;
}

bool LooksLikeOurs(std::string_view bytes) { return bytes.starts_with(kRemoteMark); }

std::optional<Stamp> ParseHead(std::string_view bytes) {
  if (!LooksLikeOurs(bytes) || bytes.size() < kHeadBytes) return std::nullopt;
  ByteReader reader(bytes.substr(kRemoteMark.size() + 1));
  Stamp stamp;
  stamp.writer = reader.Fixed<uint64_t>();
  stamp.sequence = reader.Fixed<uint64_t>();
  return stamp;
}

}  // namespace larder::internal
