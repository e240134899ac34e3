// SPDX-License-Identifier: Apache-2.0
#include "larder/remote_tier.h"

#include <utility>

#include "src/deadline.h"

namespace larder {

absl::StatusOr<std::vector<std::optional<std::string>>> RemoteTier::GetMany(
    absl::Span<const std::string_view> keys, absl::Duration timeout) {
  const internal::Deadline deadline = internal::Deadline::After(timeout);
  std::vector<std::optional<std::string>> values;
  values.reserve(keys.size());
  for (const std::string_view key : keys) {
    absl::StatusOr<std::optional<std::string>> value = Get(key, deadline.Remaining());
    if (!value.ok()) return value.status();
    values.push_back(*std::move(value));
  }
  return values;
}

absl::StatusOr<size_t> RemoteTier::EraseMany(absl::Span<const std::string_view> keys,
                                             absl::Duration timeout) {
  const internal::Deadline deadline = internal::Deadline::After(timeout);
  size_t erased = 0;
  for (const std::string_view key : keys) {
    const absl::StatusOr<bool> was_there = Erase(key, deadline.Remaining());
    if (!was_there.ok()) return was_there.status();
    erased += *was_there ? 1 : 0;
  }
  return erased;
}

}  // namespace larder
