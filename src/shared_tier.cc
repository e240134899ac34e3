// SPDX-License-Identifier: Apache-2.0
#include "larder/shared_tier.h"

#include <utility>

#include "src/deadline.h"

namespace larder {
namespace {

// The results of make(change, what is left of `timeout`), up to the first error.
template <class Result, class Make>
absl::StatusOr<std::vector<Result>> OneByOne(absl::Span<const SharedTier::Change> changes,
                                             absl::Duration timeout, const Make& make) {
  const internal::Deadline deadline = internal::Deadline::After(timeout);
  std::vector<Result> results;
  results.reserve(changes.size());
  for (const SharedTier::Change& change : changes) {
    absl::StatusOr<Result> result = make(change, deadline.Remaining());
    if (!result.ok()) return result.status();
    results.push_back(*std::move(result));
  }
  return results;
}

}  // namespace

absl::StatusOr<std::vector<bool>> SharedTier::SetManyIfAbsent(absl::Span<const Change> changes,
                                                              absl::Duration timeout) {
  return OneByOne<bool>(changes, timeout, [this](const Change& change, absl::Duration left) {
    return SetIfAbsent(change.key, change.value, change.ttl, left);
  });
}

absl::StatusOr<std::vector<bool>> SharedTier::SetManyIfHead(absl::Span<const Change> changes,
                                                            absl::Duration timeout) {
  return OneByOne<bool>(changes, timeout, [this](const Change& change, absl::Duration left) {
    return SetIfHead(change.key, change.head, change.value, change.ttl, left);
  });
}

absl::StatusOr<std::vector<std::optional<std::string>>> SharedTier::ExchangeMany(
    absl::Span<const Change> changes, size_t head_bytes, absl::Duration timeout) {
  return OneByOne<std::optional<std::string>>(
      changes, timeout, [this, head_bytes](const Change& change, absl::Duration left) {
        return Exchange(change.key, change.value, change.ttl, head_bytes, left);
      });
}

}  // namespace larder
